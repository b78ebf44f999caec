"""A disk that fills up at one write or another: the job says so, what it saved is whole, and room lets it go on."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from fingerprint import fingerprint
from test_kill import job_settings
from zygote import Zygote

NAMES = ("rft", "sft, all weights", "dpo")


def size_kb(run: Path) -> int:
    """Pages of a whole run, as a memory disk counts them."""
    return sum(-(-p.stat().st_size // 4096) * 4 for p in run.rglob("*") if p.is_file())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sizes", [6, pytest.param(60, marks=pytest.mark.slow)], ids=["few", "many"])
def test_a_full_disk_stops_the_job_and_room_lets_it_go_on(
    name: str, sizes: int, zygote: Zygote, undisturbed: Any, jobs_folder: Path, tmp_path: Path
) -> None:
    spec = job_settings(name, jobs_folder)
    expected, _ = undisturbed(spec)
    assert zygote.start(spec).status == 0
    whole = size_kb(Path(spec["output_dir"]))
    shutil.rmtree(spec["output_dir"])
    disk, keep = tmp_path / "disk", tmp_path / "keep"
    disk.mkdir()
    spec["output_dir"] = str(disk / "run")
    stopped = said_in_state = 0
    for size in range(4, whole, max(4, whole // sizes)):
        ended = zygote.on_small_disk(spec, size, keep)
        if "NotPermitted" in ended.said:
            pytest.skip(f"no disk of our own here: {ended.said.splitlines()[-1]}")
        assert ended.status == 0, f"{size} KB: {ended.said}"
        assert fingerprint(keep) == expected, f"{size} KB"
        shutil.rmtree(keep)
        if "stopped: " in ended.said:
            stopped += 1
            assert re.search(r"the disk is full; a checkpoint needs about \d+ MB\. Make room, then: ", ended.said)
            said_in_state += "state: PAUSED disk full; a checkpoint needs" in ended.said
    assert stopped >= sizes / 2
    assert said_in_state, "the state never told, though the half-written checkpoint was cleared away"
