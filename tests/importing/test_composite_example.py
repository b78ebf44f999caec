"""The example of several rewards, as its page says to run it: imported, trained with four real graders, gated."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from docs.pages import ROOT, blocks

EXAMPLE = ROOT / "examples" / "composite_rewards"


@pytest.mark.thorough
def test_the_example_learns_and_passes_its_gates(tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("wordllama")
    work = tmp_path / "example"
    shutil.copytree(EXAMPLE, work)
    [block] = blocks((EXAMPLE / "README.md").read_text("utf-8"), "")
    commands = [line for line in block.splitlines() if not line.startswith("pip ")]
    assert len(commands) == 4
    for command in commands:
        run(command, work)
    card = json.loads((work / "run" / "card.json").read_text())
    assert card["heldout_reward_after"] > card["heldout_reward_before"] + 0.25
    last = json.loads((work / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    parts = {f"part/{name}/{form}" for name in ("right", "sound", "near", "short") for form in ("raw", "weighted")}
    assert parts <= set(last)


def run(command, folder):
    """A line of the page, with this interpreter's own programs."""
    program, *arguments = command.split()
    path = sys.executable if program == "python" else str(Path(sys.executable).with_name(program))
    done = subprocess.run(
        [path, *arguments], cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
