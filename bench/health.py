"""``python -m bench.health``: is each fault named by the right rule first, and are healthy runs left alone?

Writes health_results.json and, from it, docs/health.md. ``--only TEXT,TEXT`` measures the cases whose name contains one
of them, and keeps the others' results.
"""

import argparse
import json
import random
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

from bench.health_runs import FAULTY, HEALTHY, QUICK, Case, write_rows
from tunesmith.core.types import Finding, Metrics
from tunesmith.health import examine
from tunesmith.health.history import series
from tunesmith.services import worker
from tunesmith.spec import RftSpec, build_spec

PAGE = Path(__file__).parents[1] / "docs" / "health.md"
RESULTS = Path(__file__).with_name("health_results.json")
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the rules said of one run; ``health_results.json`` holds a list of these."""

    name: str
    rule: str
    """That has to name it first; "" for a healthy run."""
    how: str
    """rft, sft or dpo, or recorded."""
    seconds: float
    findings: list[dict[str, str]]
    """rule, level, saw and advice, the first first."""

    @property
    def first(self) -> str:
        return self.findings[0]["rule"] if self.findings else ""

    @property
    def right(self) -> bool:
        """The fault is named first; or a healthy run has no warning."""
        return self.first == self.rule if self.rule else all(f["level"] == "info" for f in self.findings)


def judge(case: Case, folder: Path) -> Outcome:
    """Run a case, or take its recorded numbers, and ask the rules."""
    began = perf_counter()
    if case.recorded is not None:
        lines = case.recorded(random.Random(case.seed))
        spec = RftSpec(dataset="rows.jsonl", evaluator="last_number").model_dump()
        found = examine([] if case.timed else lines, spec, finished=True, timing=lines if case.timed else ())
        return _outcome(case, found, began)
    run = worker.start(build_spec(_settings(case, folder), case.kind))
    found = examine(run.metrics(), run.spec(), finished=True, timing=run.timing())
    outcome = _outcome(case, found, began)
    if not outcome.right:
        print(*_curves(run.metrics()), sep="\n")
    return outcome


def _outcome(case: Case, found: Sequence[Finding], began: float) -> Outcome:
    told = [{"rule": f.rule, "level": f.level, "saw": f.saw, "advice": f.advice} for f in found]
    return Outcome(case.name, case.rule, case.kind or "recorded", round(perf_counter() - began, 1), told)


SHOWN = ("rollout/reward_mean", "rollout/signal_share", "eval/loss", "eval/reward_mean", "policy/clip_share_last")


def _curves(history: Sequence[Metrics]) -> list[str]:
    """What a person needs to see why the rules were wrong."""
    curves = {name: series(history, name).values for name in SHOWN}
    return [f"      {name}: {' '.join(f'{v:.3g}' for v in values)}" for name, values in curves.items() if values]


def _settings(case: Case, folder: Path) -> dict[str, object]:
    """A folder and a file of the first rows of its own for each case."""
    own = folder / case.name.replace(" ", "-")
    own.mkdir()
    rows = (folder / f"{case.kind}.jsonl").read_text().splitlines(keepends=True)[: case.rows]
    (own / "rows.jsonl").write_text("".join(rows))
    quick = QUICK if case.kind == "rft" else {n: QUICK[n] for n in ("max_context_length", "limits")}
    given = {**quick, "dataset": str(own / "rows.jsonl"), "output_dir": str(own / "run"), "seed": case.seed}
    if case.kind != "rft" or "eval_every" in case.settings:
        given["evaluation_dataset"] = str(folder / f"heldout-{case.kind}.jsonl")
    given |= case.settings
    graders = given.get("evaluator", "")
    named = [graders] if isinstance(graders, str) else graders
    placed = [name.replace("graders.py", str(folder / "graders.py")) for name in named]
    return given | ({"evaluator": placed} if case.kind == "rft" else {})


def table(outcomes: Sequence[Outcome]) -> list[str]:
    lines = ["| run | how | rule to name it | named first | what it saw | proposed |", "|---|---|---|---|---|---|"]
    for o in outcomes:
        how = o.how if o.how == "recorded" else f"{o.how}, {o.seconds:.0f} s"
        said = (o.findings[0]["saw"], o.findings[0]["advice"]) if o.findings else ("", "")
        wanted = f"`{o.rule}`" if o.rule else "no warning"
        named = (f"`{o.first}`" if o.first else "none") + ("" if o.right else " ✗")
        lines.append(f"| {o.name} | {how} | {wanted} | {named} | {said[0]} | {said[1]} |")
    return lines


def report(outcomes: Sequence[Outcome]) -> str:
    """The part of docs/health.md between its marks."""
    faulty = [o for o in outcomes if o.rule]
    well = [o for o in outcomes if not o.rule]
    named, quiet = sum(o.right for o in faulty), sum(o.right for o in well)
    return "\n".join(
        [
            f"**{named} of {len(faulty)}** faulty runs are named by the right rule first, "
            f"and **{quiet} of {len(well)}** healthy ones have no warning.",
            "",
            "### Faulty runs",
            "",
            *table(faulty),
            "",
            "### Healthy runs",
            "",
            *table(well),
        ]
    )


def measure(cases: Sequence[Case]) -> None:
    """Run the cases one after the other; each takes the place of its older result as soon as it is there."""
    with tempfile.TemporaryDirectory() as folder:
        write_rows(Path(folder))
        for case in cases:
            o = judge(case, Path(folder))
            names = ", ".join(f"{f['rule']} ({f['level']})" for f in o.findings) or "none"
            print(f"{'ok   ' if o.right else 'WRONG'} {o.seconds:5.1f} s  {case.name}: {names}", flush=True)
            known = {other.name: other for other in read_results()} | {o.name: o}
            kept = [known[c.name] for c in (*FAULTY, *HEALTHY) if c.name in known]
            RESULTS.write_text(json.dumps([asdict(k) for k in kept], indent=1) + "\n", "utf-8")


def read_results() -> list[Outcome]:
    return [Outcome(**o) for o in json.loads(RESULTS.read_text("utf-8"))] if RESULTS.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.health", description=__doc__)
    parser.add_argument("--only", default="", help="cases whose name contains one of these, with commas between")
    given = parser.parse_args()
    measure([case for case in (*FAULTY, *HEALTHY) if any(text in case.name for text in given.only.split(","))])
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{report(read_results())}\n{END}{rest.partition(END)[2]}", "utf-8")
    print(f"written to {PAGE}")


if __name__ == "__main__":
    main()
