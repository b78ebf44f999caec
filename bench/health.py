"""``python -m bench.health``: is each fault named by the right rule first, and are healthy runs left alone?

Writes docs/health.md. ``--only TEXT,TEXT`` runs the cases whose name contains one of them, and prints.
"""

import argparse
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from bench.health_runs import FAULTY, HEALTHY, QUICK, Case, write_rows
from tunesmith.core.types import Finding, Metrics
from tunesmith.health import examine
from tunesmith.health.history import series
from tunesmith.services import worker
from tunesmith.spec import RftSpec, build_spec

PAGE = Path(__file__).parents[1] / "docs" / "health.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the rules said of one run."""

    case: Case
    findings: list[Finding]
    seconds: float
    history: Sequence[Metrics] = ()

    @property
    def first(self) -> str:
        return self.findings[0].rule if self.findings else ""

    @property
    def right(self) -> bool:
        """The fault is named first; or a healthy run has no warning."""
        return self.first == self.case.rule if self.case.rule else all(f.level == "info" for f in self.findings)


def judge(case: Case, folder: Path) -> Outcome:
    """Run a case, or take its recorded numbers, and ask the rules."""
    began = perf_counter()
    if case.recorded is not None:
        lines = case.recorded(random.Random(case.seed))
        spec = RftSpec(dataset="rows.jsonl", evaluator="last_number").model_dump()
        found = examine([] if case.timed else lines, spec, finished=True, timing=lines if case.timed else ())
        return Outcome(case, found, perf_counter() - began)
    run = worker.start(build_spec(_settings(case, folder), case.kind))
    found = examine(run.metrics(), run.spec(), finished=True, timing=run.timing())
    return Outcome(case, found, perf_counter() - began, run.metrics())


SHOWN = ("rollout/reward_mean", "rollout/signal_share", "eval/loss", "eval/reward_mean", "policy/clip_share_last")


def _curves(o: Outcome) -> list[str]:
    """What a person needs to see why the rules were wrong."""
    curves = {name: series(o.history, name).values for name in SHOWN}
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
        how = "recorded" if o.case.recorded else f"{o.case.kind}, {o.seconds:.0f} s"
        first = o.findings[0] if o.findings else None
        said = (first.saw, first.advice) if first else ("", "")
        wanted = f"`{o.case.rule}`" if o.case.rule else "none of level warning"
        named = (f"`{o.first}`" if first else "none") + ("" if o.right else " ✗")
        lines.append(f"| {o.case.name} | {how} | {wanted} | {named} | {said[0]} | {said[1]} |")
    return lines


def report(outcomes: Sequence[Outcome]) -> str:
    """The part of docs/health.md between its marks."""
    faulty = [o for o in outcomes if o.case.rule]
    well = [o for o in outcomes if not o.case.rule]
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


def measure(cases: Sequence[Case], show: bool = True) -> list[Outcome]:
    with tempfile.TemporaryDirectory() as folder:
        write_rows(Path(folder))
        outcomes = []
        for case in cases:
            outcomes.append(judge(case, Path(folder)))
            if show:
                o = outcomes[-1]
                names = ", ".join(f"{f.rule} ({f.level})" for f in o.findings) or "none"
                if not o.right and case.kind:
                    print(*_curves(o), sep="\n")
                print(f"{'ok   ' if o.right else 'WRONG'} {o.seconds:5.1f} s  {case.name}: {names}", flush=True)
        return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.health", description=__doc__)
    parser.add_argument("--only", default="", help="cases whose name contains this; prints, writes nothing")
    given = parser.parse_args()
    outcomes = measure(
        [case for case in [*FAULTY, *HEALTHY] if any(text in case.name for text in given.only.split(","))]
    )
    text = report(outcomes)
    if given.only:
        print(text)
        return
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", "utf-8")
    print(f"written to {PAGE}")


if __name__ == "__main__":
    main()
