"""The folder of one run: the only place that knows its file names. It explains itself without us.

Files are written whole or line by line and reach the disk before a call returns; readers tolerate a last line that
a crash cut short, and ``rewind`` removes it.
"""

import fcntl
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from tunesmith import __version__
from tunesmith.core import durable
from tunesmith.core.errors import Conflict, JobStopped, NotFound, UserError, unknown
from tunesmith.core.types import Change, Finding, Group, Ints, Level, Metrics
from tunesmith.recipes.report import Judgement, TokenUpdate
from tunesmith.services import rollout_table
from tunesmith.services.newest import newest_lines

State = Literal["CREATED", "RUNNING", "PAUSED", "COMPLETED", "FAILED", "EARLY_STOPPED"]
STATES: tuple[State, ...] = get_args(State)
ENDED: tuple[State, ...] = ("COMPLETED", "FAILED", "EARLY_STOPPED")
RUNS = Path("runs")
_STEP = re.compile(rb'\{"step": (\d+)[,}]')
_OURS = ("spec.yaml", "metrics.jsonl", "timing.jsonl", "findings.json", "card.json", "checkpoints", "adapter", "model")


@dataclass(frozen=True, slots=True)
class RunState:
    """Where a run stands; ``state.json`` holds exactly these fields."""

    state: State
    kind: str
    step: int = 0
    """Last finished step, 1-based; 0 before the first."""
    num_steps: int = 0
    """Steps planned; 0 while unknown."""
    reason: str = ""
    """Why the run is in this state, for FAILED, EARLY_STOPPED and PAUSED."""
    started_at: str | None = None
    """UTC, RFC 3339: first time the run was RUNNING."""
    ended_at: str | None = None
    """UTC, RFC 3339; None while the run can go on."""
    version: str = __version__
    """Version of Tunesmith that wrote the state."""


@dataclass(frozen=True, slots=True)
class Parent:
    """Where a forked run comes from; ``parent.json`` holds exactly these fields."""

    run: str
    """Folder of the run that it shares its past with."""
    step: int
    """Last step that both have; 0 where they share the settings alone."""
    changed: dict[str, list[Any]]
    """Setting -> [its value there, its value here]."""
    name: str = ""
    """What people call that run; empty in older files."""


class RunFolder:
    """Read and write one run. Cheap to make; nothing is cached, so several processes may look at once."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    @classmethod
    def open(cls, path: Path | str) -> "RunFolder":
        """The run that lives at path; NotFound when there is none."""
        run = cls(path)
        if not run._file("state.json").is_file():
            problem = "is not a run folder (it has no state.json)" if run.path.exists() else "no such run"
            raise NotFound(str(path), problem, "Give the folder of a run, the beginning of its name, or @latest")
        return run

    def refuse_another(self) -> None:
        """
        Raises:
            Conflict: the folder holds a run already.
        """
        if self._file("state.json").exists():
            mend = f"Go on with it (tunesmith resume {self.path}) or give another output_dir"
            raise Conflict(str(self.path), "holds a run already", mend)

    def create(self, spec: Mapping[str, Any], kind: str) -> "RunFolder":
        """Start a run here; state.json comes last, so a crash in between leaves no half run.

        Raises:
            Conflict: the folder holds a run already, or files that one would overwrite.
        """
        self.refuse_another()
        text = yaml.safe_dump(dict(spec), sort_keys=False, allow_unicode=True).encode()
        taken = [name for name in _OURS if self._file(name).exists()]
        if taken and not (taken == ["spec.yaml"] and self._file("spec.yaml").read_bytes() == text):
            raise Conflict(
                str(self.path), f"holds {', '.join(taken)}, which a run would overwrite", "Give another output_dir"
            )
        self._file("rollouts").mkdir(parents=True, exist_ok=True)
        durable.write_file(self._file("spec.yaml"), text)
        durable.write_json(self._file("state.json"), asdict(RunState("CREATED", kind)))
        return self

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the run while this process works on it; the hold ends with the process, however it ends.

        Raises:
            Conflict: another process holds it.
        """
        with self._file(".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                mend = "Wait until it ends, or stop that process first"
                raise Conflict(str(self.path), "another process is running this job", mend) from None
            yield

    @property
    def name(self) -> str:
        """What people call it: what it was named, else the name of its folder."""
        file = self._file("name.txt")
        return file.read_text("utf-8").strip() if file.is_file() else self.path.name

    def set_name(self, name: str) -> None:
        """Name a run, or one that is about to be created here, otherwise than its folder."""
        self.path.mkdir(parents=True, exist_ok=True)
        durable.write_file(self._file("name.txt"), f"{name}\n".encode())

    def spec(self) -> dict[str, Any]:
        """The settings as they were when the run was created, defaults included."""
        return dict(yaml.safe_load(self._file("spec.yaml").read_text("utf-8")))

    def state(self) -> RunState:
        return RunState(**self._json("state.json", {}))

    def set_state(
        self, state: str, *, step: int | None = None, num_steps: int | None = None, reason: str = ""
    ) -> RunState:
        """Record where the run stands. Times follow by themselves; step and num_steps stay when not given."""
        if state not in STATES:
            raise unknown("state", state, STATES)
        old, now = self.state(), _now()
        new = replace(
            old,
            state=state,
            step=old.step if step is None else step,
            num_steps=old.num_steps if num_steps is None else num_steps,
            reason=reason,
            started_at=old.started_at or (now if state == "RUNNING" else None),
            ended_at=now if state in ENDED else None,
            version=__version__,
        )
        durable.write_json(self._file("state.json"), asdict(new))
        return new

    def parent(self) -> Parent | None:
        """The run that this one was forked from; None for one that began by itself."""
        stored = self._json("parent.json", None)
        return None if stored is None else Parent(**stored)

    def append_metrics(self, step: int, metrics: Mapping[str, float]) -> int:
        """Add a line to metrics.jsonl, the same bytes for the same numbers; returns the file's size after it.

        Raises:
            JobStopped: a number is NaN or infinite; names the metric.
        """
        return durable.append_line(self._file("metrics.jsonl"), _line(step, metrics))

    def metrics(self) -> list[Metrics]:
        """One dict per line, oldest first, each with "step"."""
        return self._lines("metrics.jsonl")

    def newest_metrics(self) -> Iterator[Metrics]:
        """The same, newest first, read from the end of the file as far as it is asked for."""
        return (json.loads(line) for line in newest_lines(self._file("metrics.jsonl")))

    def metrics_after(self, step: int) -> list[Metrics]:
        """The lines of later steps, oldest first."""
        return [json.loads(line) for line in self.metric_lines_after(step)]

    def metric_lines_after(self, step: int) -> list[bytes]:
        """The same as they stand in the file: JSON objects, for who passes them on and need not look into them."""
        return list(takewhile(lambda line: _step_of(line) > step, newest_lines(self._file("metrics.jsonl"))))[::-1]

    def append_timing(self, step: int, metrics: Mapping[str, float]) -> int:
        """Like append_metrics, for what a clock measured: that differs between reruns, so it has its own file."""
        return durable.append_line(self._file("timing.jsonl"), _line(step, metrics))

    def timing(self) -> list[Metrics]:
        return self._lines("timing.jsonl")

    def newest_timing(self) -> Iterator[Metrics]:
        """The same, newest first."""
        return (json.loads(line) for line in newest_lines(self._file("timing.jsonl")))

    def rewind(self, metrics_size: int, step: int) -> None:
        """Go back to a checkpoint: metrics.jsonl to its size in bytes then, and nothing of later steps elsewhere."""
        file = self._file("metrics.jsonl")
        size = file.stat().st_size if file.exists() else 0
        if size < metrics_size:
            problem = f"has {size} bytes, but had {metrics_size} at the checkpoint of step {step}"
            raise Conflict(str(file), problem, "Restore the file from a copy, or start the run afresh")
        durable.truncate(file, metrics_size)
        if self._file("timing.jsonl").exists():
            kept = [_line(int(line["step"]), line) + "\n" for line in self.timing() if line["step"] <= step]
            durable.write_file(self._file("timing.jsonl"), "".join(kept).encode())
        for name in ("step", "eval"):
            for later in (s for s in self.rollout_steps(name) if s > step):
                self._rollout_file(name, later).unlink()
        for folder in (self.path, self._file("rollouts")):
            for leftover in folder.glob(".tmp-*"):
                if leftover.is_file():
                    leftover.unlink()

    def write_rollouts(
        self,
        name: str,
        step: int,
        groups: Sequence[Group],
        judged: Sequence[Sequence[Judgement]],
        decode: Callable[[Ints], str],
        updates: Sequence[Sequence[TokenUpdate | None]] = (),
    ) -> Path:
        """Keep a step's attempts as rollouts/<name>-<step>.parquet; ``name`` is "step" (training) or "eval".

        Args:
            judged: per group, per rollout: its advantage or None, and why it was not trained on ("" if it was).
            decode: ids -> text, for the prompt column.
            updates: per group, per rollout: what its update saw of its tokens; None or left out without one.
        """
        file = self._rollout_file(name, step)
        file.parent.mkdir(exist_ok=True)
        durable.write_file(file, rollout_table.encode(step, groups, judged, decode, updates))
        return file

    def read_rollouts(self, name: str, step: int, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """One dict per attempt; name the columns when the per-token ones are not needed, it is much faster."""
        return rollout_table.decode_table(self.rollout_file(name, step).read_bytes(), columns)

    def rollout_steps(self, name: str = "step") -> list[int]:
        """Steps whose rollouts are kept, ascending."""
        return sorted(int(p.stem.removeprefix(f"{name}-")) for p in self._file("rollouts").glob(f"{name}-*.parquet"))

    def rollout_file(self, name: str, step: int) -> Path:
        """Where a step's attempts are.

        Raises:
            NotFound: they are not kept.
        """
        file = self._rollout_file(name, step)
        if not file.is_file():
            kept = ", ".join(map(str, self.rollout_steps(name))) or "none"
            raise NotFound(file.name, f"no {name} rollouts of step {step}", f"Steps kept: {kept}")
        return file

    def write_findings(self, findings: Sequence[Finding]) -> None:
        durable.write_json(self._file("findings.json"), [asdict(finding) for finding in findings])

    def findings(self) -> list[Finding]:
        return [_finding(finding) for finding in self._json("findings.json", [])]

    def write_card(self, card: Mapping[str, Any]) -> None:
        durable.write_json(self._file("card.json"), dict(card))

    def card(self) -> dict[str, Any]:
        """The summary written when the run ended; empty before."""
        return dict(self._json("card.json", {}))

    def write_report(self, page: str) -> Path:
        return self.write_page("report.html", page)

    def write_page(self, name: Literal["report.html", "card.md", "card.html"], page: str) -> Path:
        durable.write_file(self._file(name), page.encode())
        return self._file(name)

    def log(self, text: str, level: Level = "info") -> None:
        """Add a time-stamped entry to log.txt, with its level above info; further lines of the text are indented."""
        label = "" if level == "info" else f"{level.upper()} "
        durable.append_line(self._file("log.txt"), f"{_now()} {label}" + text.rstrip().replace("\n", "\n    "))

    def _file(self, name: str) -> Path:
        return self.path / name

    def _rollout_file(self, name: str, step: int) -> Path:
        if name not in ("step", "eval"):
            raise unknown("rollouts", name, ("step", "eval"))
        return self._file("rollouts") / f"{name}-{step:06d}.parquet"

    def _json(self, name: str, absent: Any) -> Any:
        file = self._file(name)
        return json.loads(file.read_text("utf-8")) if file.exists() else absent

    def _lines(self, name: str) -> list[Metrics]:
        file = self._file(name)
        complete = file.read_text("utf-8").split("\n")[:-1] if file.exists() else []
        try:
            return [json.loads(line) for line in complete]
        except json.JSONDecodeError as e:
            bad = next(i for i, line in enumerate(complete, start=1) if line == e.doc)
            raise UserError(
                f"{file}:{bad}", f"not JSON: {e.msg}", "Take the line out, or resume from a checkpoint"
            ) from None


def find_run(name: str, root: Path = RUNS) -> RunFolder:
    """A run by path, by unique beginning of its name under root, or '@latest' for the one created last.

    Raises:
        NotFound: there is none; the message lists near ones.
        Conflict: several names begin so; the message lists them.
    """
    if Path(name, "state.json").is_file():
        return RunFolder.open(name)
    runs = all_runs(root)
    names = [run.path.name for run in runs]
    if name == "@latest" and runs:
        return runs[-1]
    matches = [run for run in runs if run.path.name == name] or [run for run in runs if run.path.name.startswith(name)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        several = ", ".join(run.path.name for run in matches)
        raise Conflict("run", f"{len(matches)} runs begin with {name!r}: {several}", "Give more of the name")
    known = f"The latest: {', '.join(names[:-6:-1])}" if names else f"There are no runs under {root}"
    raise NotFound("run", f"no run {name!r}", known)


def all_runs(root: Path = RUNS) -> list[RunFolder]:
    """Every run directly under root, oldest first."""
    specs = [file.parent / "spec.yaml" for file in root.glob("*/state.json")]
    return [RunFolder(s.parent) for s in sorted(specs, key=lambda s: (s.stat().st_mtime_ns, s))]


def _line(step: int, metrics: Mapping[str, float]) -> str:
    """One JSON object: step first, then names in order. A metric called "step" has to agree."""
    values = {name: float(metrics[name]) for name in sorted(metrics) if name != "step"}
    if metrics.get("step", step) != step:
        raise UserError("step", f"the metrics say {metrics['step']}, the caller {step}", "Pass the step of the metrics")
    for name, value in values.items():
        if not math.isfinite(value):
            mend = "Lower learning_rate, or look at this step's rollouts; the run can be resumed from its checkpoint"
            raise JobStopped(name, f"is {value} at step {step}, which no metric may be", mend)
    return json.dumps({"step": step, **values}, allow_nan=False)


def _step_of(line: bytes) -> int:
    """Of what ``_line`` made, without reading the rest."""
    found = _STEP.match(line)
    return int(found[1]) if found else int(json.loads(line)["step"])


def _finding(stored: dict[str, Any]) -> Finding:
    change = stored.get("change")
    return Finding(**{**stored, "change": Change(**change) if change else None})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
