"""What to do about a run: its findings ranked, the one change to try next, and whether there is a baseline to judge by.

The command line, REST and the web page call these; nothing here computes with a model.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tunesmith.core.errors import NotFound, UserError
from tunesmith.core.types import Change, Finding
from tunesmith.data import load_rows
from tunesmith.health import examine
from tunesmith.health.learning_rate import Rate, learning_rate_rule
from tunesmith.health.task import Choice, Task, choose_kind
from tunesmith.models.config import read_config
from tunesmith.services import names
from tunesmith.services.fork import FROM_THE_START, GOES_ON, fork, kept_steps
from tunesmith.services.run_folder import ENDED, RunFolder
from tunesmith.spec.load import KINDS

NOT_A_CHOICE = frozenset(
    {"kind", "base_model", "dataset", "evaluation_dataset", "evaluator", "output_dir", "seed", "max_tokens"}
    | {"max_context_length", "eval_every", "eval_samples", "save_every", "keep_checkpoints"}
)
"""Settings that say what the task is or how closely it is watched; a baseline may have any."""
THE_TASK = ("kind", "base_model", "dataset", "evaluator")
SPOILT = frozenset({"reward_spike_then_crash"})
"""Findings that are seen long after what they tell of: no step before them is known to be sound."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What the rules say of a run as it stands."""

    run: str
    findings: list[Finding]
    """Gravest first; of one level, causes before what they cause."""
    change: Change | None
    """The one thing to do next: what the first finding proposes. None where there is no finding."""
    fork_at: int | None
    """Where a fork with that change would begin; None where only a person can make it."""
    baseline: str
    """A run of the same task under default settings, or the advice to make one."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def advise(run: RunFolder, others: Iterable[RunFolder] = ()) -> Advice:
    """Examine a run anew, with the rules of this version and the times of its clock.

    Args:
        others: runs among which a baseline is looked for.
    """
    state = run.state()
    timing = run.timing()
    found = examine(run.metrics(), run.spec(), finished=state.state in ENDED, timing=timing)
    arose = {(f.rule, f.level): f.step for f in run.findings()}
    pinned = [Finding(f.rule, f.level, arose.get((f.rule, f.level), f.step), f.saw, f.advice, f.change) for f in found]
    change = pinned[0].change if pinned else None
    at = fork_step(run, pinned[0]) if change and not change.by_hand else None
    return Advice(str(run.path), pinned, change, at, _baseline(run, others))


def fork_step(run: RunFolder, finding: Finding) -> int:
    """Where to begin again with a finding's change: at the end for more epochs, else before the finding arose."""
    change, kept = finding.change, kept_steps(run)
    if change is None or change.setting in FROM_THE_START or finding.rule in SPOILT:
        return 0
    if change.setting in GOES_ON and change.new > change.old:
        return kept[-1]
    return max(step for step in kept if step == 0 or step < finding.step)


def fork_with(run: RunFolder, advice: Advice, rule: str | None = None, to: Path | None = None) -> RunFolder:
    """Prepare a fork of a run with the one change of its first finding, or of the finding of a rule.

    Raises:
        NotFound, UserError: as ``actionable``.
    """
    finding, change = actionable(advice, rule)
    return fork(run, {change.setting: change.new}, fork_step(run, finding), to)


def actionable(advice: Advice, rule: str | None = None) -> tuple[Finding, Change]:
    """The first finding, or the one of a rule, with the change that a program can make.

    Raises:
        NotFound: the run has no finding, or none of that rule.
        UserError: only a person can make the change.
    """
    chosen = [f for f in advice.findings if rule in (None, f.rule)]
    if not chosen or chosen[0].change is None:
        known = ", ".join(f.rule for f in advice.findings) or "none"
        raise NotFound(
            "finding", f"this run has no finding {rule!r}" if rule else "has no finding", f"There are: {known}"
        )
    change = chosen[0].change
    if change.by_hand:
        others = [f.rule for f in advice.findings if f.change and not f.change.by_hand]
        also = f", or take another finding: {', '.join(others)}" if others else ""
        raise UserError(chosen[0].rule, f"its change is one for you: {change.setting}: {change.new}", f"Make it{also}")
    return chosen[0], change


def learning_rate_for(model: str, lora: bool = True) -> Rate:
    """What the learning-rate rule says of a base model, from its own config."""
    config = read_config(names.base_model(model))
    return learning_rate_rule(config.family, config.hidden, lora)


def task_for(dataset: Path | None, labels: int | None, reasoning: bool, verifiable: bool) -> tuple[Task, Choice]:
    """SFT or RFT, from flags or from a dataset's own counts of right answers.

    Raises:
        UserError: neither labels nor a dataset, or a file that is none.
    """
    if labels is None and dataset is None:
        raise UserError("task", "needs the number of right answers", "Give labels, or a dataset to count them in")
    counted = _labels(dataset) if labels is None and dataset is not None else labels or 0
    task = Task(counted, reasoning, verifiable)
    return task, choose_kind(task)


LABELS = ("ground_truth", "answer", "target", "expected", "solution", "label")
"""Fields of a row that hold a right answer beside its messages."""


def _labels(dataset: Path) -> int:
    """Rows that end with an assistant's answer, or hold one in a field of their own."""
    rows = [row.row for row in load_rows(dataset, "rft", skip_bad=True).rows]
    return sum(_is_labelled(row) for row in rows)


def _is_labelled(row: dict[str, Any]) -> bool:
    messages = row.get("messages") or []
    answered = bool(messages) and isinstance(messages[-1], dict) and messages[-1].get("role") == "assistant"
    return answered or any(row.get(name) not in (None, "", []) for name in LABELS)


def _baseline(run: RunFolder, others: Iterable[RunFolder]) -> str:
    """Whether the run can be compared with one of defaults."""
    if _is_default(run):
        return "this run is one of default settings: the baseline of its task"
    task = [run.spec().get(name) for name in THE_TASK]
    for other in others:
        same = other.path.resolve() != run.path.resolve() and [other.spec().get(name) for name in THE_TASK] == task
        if same and other.state().state in ENDED and _is_default(other):
            return f"{other.path} ran the same task with default settings: compare with it"
    return "none: no run of this task has default settings, so nothing says what a setting did; make one first"


def _is_default(run: RunFolder) -> bool:
    fields = KINDS[run.state().kind].model_fields
    spec = run.spec()
    return all(spec[name] == field.default for name, field in fields.items() if name in spec.keys() - NOT_A_CHOICE)
