"""Checkpoints with a flipped byte, a cut-off or missing file: found out, named in the log, and passed over."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from fingerprint import fingerprint
from test_kill import job_settings
from zygote import Zygote

from tunesmith.services import checkpoints
from tunesmith.services.checkpoints import files_in
from tunesmith.services.run_folder import RunFolder

MUTATIONS = 200


@pytest.fixture
def interrupted(zygote: Zygote, jobs_folder: Path, run_folder: Path) -> RunFolder:
    """An RFT run that died in step 3, with the checkpoints of steps 1 and 2."""
    for at in range(110, 150):
        shutil.rmtree(run_folder, ignore_errors=True)
        zygote.start(job_settings("rft", jobs_folder), fail_at=at)
        if sorted(p.name for p in (run_folder / "checkpoints").glob("step-*")) == ["step-000001", "step-000002"]:
            return RunFolder(run_folder)
    raise AssertionError("no operation leaves exactly two checkpoints")


def mutate(folder: Path, rng: random.Random) -> str:
    """Damage one file of a checkpoint; says how."""
    file = rng.choice(files_in(folder))
    data = bytearray(file.read_bytes())
    how = rng.choice(("flip", "truncate", "delete"))
    if how == "delete":
        file.unlink()
    elif how == "truncate":
        file.write_bytes(data[: rng.randrange(len(data))])
    else:
        data[rng.randrange(len(data))] ^= rng.randrange(1, 256)
        file.write_bytes(data)
    return f"{how} {file.name}"


def says_the_same(folder: Path, original: Path) -> bool:
    """Only white space in the manifest was hit: nothing that is read has changed."""
    try:
        return bool(json.loads((folder / "manifest.json").read_text()) == json.loads((original).read_text()))
    except (OSError, ValueError):
        return False


def test_every_damage_is_found_and_the_checkpoint_before_is_used(interrupted: RunFolder, tmp_path: Path) -> None:
    rng = random.Random(0)
    newest = interrupted.path / "checkpoints" / "step-000002"
    whole = shutil.copytree(newest, tmp_path / "whole")
    log = interrupted.path / "log.txt"
    for _ in range(MUTATIONS):
        shutil.rmtree(newest)
        shutil.copytree(whole, newest)
        how = mutate(newest, rng)
        if "manifest" in how and says_the_same(newest, whole / "manifest.json"):
            continue
        log.unlink()
        used = checkpoints.newest(interrupted)
        assert used is not None and used.step == 1, how
        assert "checkpoint step-000002 is damaged" in log.read_text(), how


def test_resuming_from_the_checkpoint_before_gives_the_same_bytes(
    interrupted: RunFolder, zygote: Zygote, jobs_folder: Path, tmp_path: Path, undisturbed: Any
) -> None:
    dead = shutil.copytree(interrupted.path, tmp_path / "dead")
    shutil.rmtree(interrupted.path)
    expected, _ = undisturbed(job_settings("rft", jobs_folder))
    rng = random.Random(1)
    for _ in range(4):
        shutil.copytree(dead, interrupted.path)
        how = mutate(interrupted.path / "checkpoints" / "step-000002", rng)
        ended = zygote.resume(interrupted.path)
        assert ended.status == 0, ended.said
        assert fingerprint(interrupted.path) == expected, how
        assert "resumed after step 1" in (interrupted.path / "log.txt").read_text()
        shutil.rmtree(interrupted.path)


def test_when_all_are_damaged_the_run_begins_anew_and_says_so(
    interrupted: RunFolder, zygote: Zygote, jobs_folder: Path, tmp_path: Path, undisturbed: Any
) -> None:
    dead = shutil.copytree(interrupted.path, tmp_path / "dead")
    shutil.rmtree(interrupted.path)
    expected, _ = undisturbed(job_settings("rft", jobs_folder))
    shutil.copytree(dead, interrupted.path)
    for folder in (interrupted.path / "checkpoints").glob("step-*"):
        (folder / "weights.safetensors").write_bytes(b"")
    ended = zygote.resume(interrupted.path)
    assert ended.status == 0, ended.said
    assert fingerprint(interrupted.path) == expected
    log = (interrupted.path / "log.txt").read_text()
    assert "step-000001 is damaged" in log and "step-000002 is damaged" in log
    assert "no whole checkpoint: began anew" in log


def test_a_run_that_began_anew_keeps_its_own_checkpoints_and_not_the_damaged_later_ones(
    interrupted: RunFolder, zygote: Zygote
) -> None:
    for folder in (interrupted.path / "checkpoints").glob("step-*"):
        (folder / "trainer.json").unlink()
    assert zygote.resume(interrupted.path, fail_at=60).killed
    kept = sorted((interrupted.path / "checkpoints").glob("step-*"))
    assert kept[0].name == "step-000000" and checkpoints.problem(kept[0]) is None
    assert all(checkpoints.problem(folder) is None for folder in kept)


def test_a_damaged_best_checkpoint_is_named_and_not_used(zygote: Zygote, jobs_folder: Path, run_folder: Path) -> None:
    ended = zygote.start(job_settings("sft", jobs_folder))
    assert ended.status == 0, ended.said
    (run_folder / "checkpoints" / "best" / "weights.safetensors").write_bytes(b"x")
    assert checkpoints.best(RunFolder(run_folder)) is None
    assert "checkpoint best is damaged (weights.safetensors differs" in (run_folder / "log.txt").read_text()
