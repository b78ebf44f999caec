"""Checkpoints that are whole or not there: a manifest with a checksum per file; resuming takes the newest whole one."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.core import durable
from tunesmith.core.ports import Trainer
from tunesmith.services.run_folder import RunFolder

KEEP = 2
BEST = "best"
ADAPTER, MODEL = "adapter", "model"
"""Below a checkpoint: its weights as other tools open them, in PEFT form or, where all are trained, as a model."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint whose files have all been verified."""

    folder: Path
    step: int
    metrics_size: int
    """Bytes of metrics.jsonl when it was made."""
    state: Mapping[str, float]
    """What the recipe needs to go on."""


def save(
    run: RunFolder,
    trainer: Trainer,
    step: int,
    metrics_size: int,
    state: Mapping[str, float],
    keep: int = KEEP,
    weights: str = "",
) -> Path:
    """Write checkpoints/step-<step>, and keep it and those before, ``keep`` in all.

    Later ones go too: they were damaged and passed over when the run resumed, and must not count among the last.

    Args:
        weights: ``ADAPTER`` or ``MODEL``, which is what is trained: it can be used from there as it is.
    """
    folder = run.path / "checkpoints" / f"step-{step:06d}"
    _write(folder, trainer, {"step": step, "metrics_size": metrics_size, "state": dict(state)}, weights)
    kept = [p for p in _steps(run) if p.name <= folder.name][-keep:]
    for other in _steps(run):
        if other not in kept:
            shutil.rmtree(other)
    return folder


def save_best(run: RunFolder, trainer: Trainer, step: int) -> None:
    """Keep the weights with the best held-out result, whatever comes later."""
    _write(run.path / "checkpoints" / BEST, trainer, {"step": step, "metrics_size": 0, "state": {}})


def best(run: RunFolder) -> Checkpoint | None:
    """The checkpoint of the best weights; None where there is none, or a damaged one, which is logged."""
    folder = run.path / "checkpoints" / BEST
    if not folder.is_dir():
        return None
    wrong = problem(folder)
    if wrong is None:
        return _verified(folder)
    run.log(f"checkpoint {BEST} is damaged ({wrong}); the last weights are taken instead of the best", "warning")
    return None


def newest(run: RunFolder) -> Checkpoint | None:
    """The newest whole checkpoint; damaged ones are logged and passed over, half-written ones removed."""
    for leftover in (run.path / "checkpoints").glob(".tmp-*"):
        shutil.rmtree(leftover)
    for folder in reversed(_steps(run)):
        wrong = problem(folder)
        if wrong is None:
            return _verified(folder)
        run.log(f"checkpoint {folder.name} is damaged ({wrong}); trying the one before", "warning")
    return None


def size_bytes(run: RunFolder) -> int:
    """Size of the largest checkpoint; 0 before the first."""
    folders = (run.path / "checkpoints").glob("*")
    return max((sum(p.stat().st_size for p in files_in(folder)) for folder in folders), default=0)


def files_in(folder: Path) -> list[Path]:
    """All files of a checkpoint, in one order."""
    return sorted(p for p in folder.rglob("*") if p.is_file())


def metrics_size(folder: Path) -> int:
    """Bytes of metrics.jsonl when a whole checkpoint was made."""
    return _verified(folder).metrics_size


def problem(folder: Path) -> str | None:
    """What is wrong with a checkpoint's files, or None; every byte is compared with the manifest's checksums."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
        checksums, claimed = manifest["files"], manifest.pop("checksum")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "its manifest cannot be read"
    if claimed != _checksum(manifest):
        return "its manifest was altered"
    for name, checksum in checksums.items():
        if not (folder / name).is_file():
            return f"{name} is missing"
        if durable.sha256(folder / name) != checksum:
            return f"{name} differs from its checksum"
    return None


def _write(folder: Path, trainer: Trainer, about: dict[str, Any], weights: str = "") -> None:
    folder.parent.mkdir(exist_ok=True)
    with durable.new_folder(folder) as temporary:
        trainer.save_state(temporary)
        if weights:
            trainer.export(temporary / weights)
        files = {p.relative_to(temporary).as_posix(): durable.sha256(p) for p in files_in(temporary)}
        manifest = {**about, "files": files}
        durable.write_json(temporary / "manifest.json", {**manifest, "checksum": _checksum(manifest)})


def _verified(folder: Path) -> Checkpoint:
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    return Checkpoint(folder, manifest["step"], manifest["metrics_size"], manifest["state"])


def _checksum(manifest: Mapping[str, Any]) -> str:
    return durable.sha256_of(json.dumps(manifest, sort_keys=True).encode())


def _steps(run: RunFolder) -> list[Path]:
    """Checkpoint folders by step, oldest first."""
    return sorted((run.path / "checkpoints").glob("step-*"))
