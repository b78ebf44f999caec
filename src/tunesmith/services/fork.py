"""Fork a run: another with one or more settings changed, that shares the past of the first up to a kept step.

A fork is prepared as a folder that looks as if its own process had stopped after that step; ``worker.resume`` goes on.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tunesmith.core import durable
from tunesmith.core.errors import Conflict, NotFound, UserError
from tunesmith.services import checkpoints
from tunesmith.services.run_folder import Parent, RunFolder
from tunesmith.spec import AnySpec, build_spec

FROM_THE_START = frozenset(
    {
        "kind",
        "base_model",
        "dataset",
        "evaluation_dataset",
        "eval_auto_carveout",
        "skip_bad_rows",
        "max_context_length",
        "warm_start_from",
        "lora_rank",
        "lora_head",
        "lora_alpha",
        "seed",
        "chunk_size",
        "batch_size_samples",
    }
)
"""Settings that decide which rows a step sees, or the shape of the weights: a past under others cannot be shared."""


GOES_ON = frozenset({"epochs"})
"""Settings whose increase adds steps after the last one."""


def kept_steps(run: RunFolder) -> list[int]:
    """Steps that a run can be forked at, ascending; 0, the start, is always one."""
    folders = (run.path / "checkpoints").glob("step-*")
    return sorted({0, *(int(folder.name.removeprefix("step-")) for folder in folders)})


def begin_of_fork(run: RunFolder, adds_steps: bool) -> int:
    """The newest kept step after which there is something to train: the last one only where steps are added."""
    end = run.state().num_steps
    return max(step for step in kept_steps(run) if adds_steps or step in (0, *range(end)))


def fork(
    parent: RunFolder, changes: Mapping[str, Any], at_step: int | None = None, to: Path | None = None
) -> RunFolder:
    """Prepare a run with other settings; nothing is computed.

    Args:
        at_step: share the past up to this step; 0 shares only the settings; None is the newest kept step that leaves
            something to train.
        to: its folder; None is one beside the parent.

    Raises:
        NotFound: no checkpoint of that step is kept.
        UserError: nothing changes, a setting that the shared past rests on, or nothing would be left to train.
        Conflict: the folder exists.
    """
    folder = to or _beside(parent)
    old = parent.spec()
    spec = build_spec({**old, **changes, "output_dir": str(folder)}, parent.state().kind)
    changed = _changed(old, spec)
    if not changed:
        raise UserError("fork", "no setting differs from the run's own", "Give at least one setting with another value")
    step = _checked_step(parent, at_step, spec.epochs > old["epochs"])
    if fixed := sorted(FROM_THE_START & changed.keys()):
        if step and at_step is not None:
            raise UserError(fixed[0], f"the {step} steps to be shared rest on it", "Fork at step 0")
        step = 0
    if folder.exists():
        raise Conflict(str(folder), "exists already", "Give another output_dir")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with durable.new_folder(folder) as temporary:
        _fill(temporary, parent, spec, Parent(str(parent.path), step, changed, parent.name))
    return RunFolder.open(folder)


def _checked_step(parent: RunFolder, at_step: int | None, adds_steps: bool) -> int:
    kept, newest = kept_steps(parent), begin_of_fork(parent, adds_steps)
    if at_step is not None and at_step not in kept:
        mend = f"Kept: {', '.join(map(str, kept))}; keep_checkpoints keeps more"
        raise NotFound("at_step", f"no checkpoint of step {at_step} is kept", mend)
    if at_step is not None and at_step > newest:
        mend = f"Fork at step {newest} or before, or raise epochs"
        raise UserError("at_step", f"{at_step} is the last step: nothing would be left to train", mend)
    return newest if at_step is None else at_step


def _fill(folder: Path, parent: RunFolder, spec: AnySpec, origin: Parent) -> None:
    run = RunFolder(folder).create(spec.model_dump(), spec.kind)
    durable.write_json(folder / "parent.json", asdict(origin))
    if origin.step:
        _share(parent, folder, origin.step)
    what = ", ".join(f"{name}: {old} -> {new}" for name, (old, new) in origin.changed.items())
    run.log(f"forked from {origin.run} at step {origin.step} with {what}")
    run.set_state("PAUSED", step=origin.step, num_steps=parent.state().num_steps, reason=f"forked at {origin.step}")


def _share(parent: RunFolder, folder: Path, step: int) -> None:
    """Metrics, times and attempts up to a step, and its checkpoint.

    Raises:
        UserError: the checkpoint is damaged.
        Conflict: the parent goes on, and has replaced it.
    """
    checkpoint = parent.path / "checkpoints" / f"step-{step:06d}"
    copy = folder / "checkpoints" / checkpoint.name
    try:
        shutil.copytree(checkpoint, copy)
        wrong = checkpoints.problem(copy)
    except OSError:
        if checkpoint.is_dir():
            raise
        wrong = "gone"
    if wrong and not checkpoint.is_dir():
        # A run that goes on replaces its checkpoints.
        raise Conflict("at_step", f"the checkpoint of step {step} was replaced by a newer one meanwhile", "Try again")
    if wrong:
        raise UserError("at_step", f"the checkpoint of step {step} is damaged: {wrong}", "Fork at another step")
    size = checkpoints.metrics_size(copy)
    durable.write_file(folder / "metrics.jsonl", (parent.path / "metrics.jsonl").read_bytes()[:size])
    for line in parent.timing():
        if line["step"] <= step:
            RunFolder(folder).append_timing(int(line["step"]), line)
    for name in ("step", "eval"):
        for earlier in (s for s in parent.rollout_steps(name) if s <= step):
            file = Path("rollouts") / f"{name}-{earlier:06d}.parquet"
            _link(parent.path / file, folder / file)


def _link(source: Path, target: Path) -> None:
    """The same file under a second name where the disk can; runs never change a rollouts file, they replace it."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _changed(old: Mapping[str, Any], spec: AnySpec) -> dict[str, list[Any]]:
    """Settings that differ; ones that the run's version did not know count with their default."""
    defaults = {name: field.default for name, field in type(spec).model_fields.items()}
    pairs = {name: [old.get(name, defaults[name]), value] for name, value in spec.model_dump().items()}
    return {name: pair for name, pair in pairs.items() if name != "output_dir" and pair[0] != pair[1]}


def _beside(parent: RunFolder) -> Path:
    """The first free name of its kind beside the parent."""
    number = 1
    while (folder := parent.path.with_name(f"{parent.path.name}-fork{number}")).exists():
        number += 1
    return folder
