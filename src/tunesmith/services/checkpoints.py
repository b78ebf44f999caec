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


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint whose files have all been verified."""

    folder: Path
    step: int
    metrics_size: int
    """Bytes of metrics.jsonl when it was made."""
    state: Mapping[str, float]
    """What the recipe needs to go on."""


def save(run: RunFolder, trainer: Trainer, step: int, metrics_size: int, state: Mapping[str, float]) -> Path:
    """Write checkpoints/step-<step>, and drop those older than the last two."""
    folder = run.path / "checkpoints" / f"step-{step:06d}"
    _write(folder, trainer, {"step": step, "metrics_size": metrics_size, "state": dict(state)})
    for old in _steps(run)[:-KEEP]:
        shutil.rmtree(old)
    return folder


def save_best(run: RunFolder, trainer: Trainer, step: int) -> None:
    """Keep the weights with the lowest held-out loss, whatever comes later."""
    _write(run.path / "checkpoints" / BEST, trainer, {"step": step, "metrics_size": 0, "state": {}})


def best(run: RunFolder) -> Checkpoint | None:
    folder = run.path / "checkpoints" / BEST
    return _verified(folder) if folder.is_dir() and problem(folder) is None else None


def newest(run: RunFolder) -> Checkpoint | None:
    """The newest whole checkpoint; damaged ones are logged and passed over, half-written ones removed."""
    for leftover in (run.path / "checkpoints").glob(".tmp-*"):
        shutil.rmtree(leftover)
    for folder in reversed(_steps(run)):
        wrong = problem(folder)
        if wrong is None:
            return _verified(folder)
        run.log(f"checkpoint {folder.name} is damaged ({wrong}); trying the one before")
    return None


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


def _write(folder: Path, trainer: Trainer, about: dict[str, Any]) -> None:
    folder.parent.mkdir(exist_ok=True)
    temporary = folder.with_name(f".tmp-{folder.name}")
    if temporary.exists():
        shutil.rmtree(temporary)
    temporary.mkdir()
    trainer.save_state(temporary)
    manifest = {**about, "files": {p.name: durable.sha256(p) for p in sorted(temporary.iterdir())}}
    durable.write_json(temporary / "manifest.json", {**manifest, "checksum": _checksum(manifest)})
    durable.commit_folder(temporary, folder)


def _verified(folder: Path) -> Checkpoint:
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    return Checkpoint(folder, manifest["step"], manifest["metrics_size"], manifest["state"])


def _checksum(manifest: Mapping[str, Any]) -> str:
    return durable.sha256_of(json.dumps(manifest, sort_keys=True).encode())


def _steps(run: RunFolder) -> list[Path]:
    """Checkpoint folders by step, oldest first."""
    return sorted((run.path / "checkpoints").glob("step-*"))
