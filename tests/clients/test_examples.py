"""The examples of the Training API, its page and the loop of the README, run as they stand: each of them learns."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from clients.environments import python_of, run
from docs.pages import ROOT, blocks, named_files, page
from server.running import RunningServer

CLIENT = "tinker-0.38.0"
EXAMPLES = ROOT / "examples" / "training_api"
Script = Callable[..., str]


def steps(said: str) -> list[float]:
    """The numbers of the lines ``step 3: 0.5``."""
    return [float(text) for text in re.findall(r"^step \d+: ([\d.]+)$", said, re.MULTILINE)]


@pytest.fixture
def script(server: RunningServer, tmp_path: Path) -> Script:
    """``script(path)``: what a script printed, run in a client's environment from a folder of its own."""
    home = tmp_path / "home"
    return lambda path, limit_s=120.0: run([str(python_of(CLIENT)), str(path)], server, home, limit_s)


def of_sft(said: Any) -> bool:
    before, after = said["before"], said["after"]
    return after["nll"] < before["nll"] / 3 and before["solved"] < 0.1 and after["solved"] > 0.7


def of_grpo(said: Any) -> bool:
    first, *_, last = said["rewards"]
    return said["before"] < 0.1 and said["after"] > 0.6 and last > first + 0.2


def of_dpo(said: Any) -> bool:
    before, after = said["before"], said["after"]
    # The adapter is new, so the policy is the reference: its margin is 0 but for nothing.
    return before["margin"] == 0 and after["margin"] > 3 and after["solved"] > before["solved"] + 0.3


def of_distillation(said: Any) -> bool:
    return said["after"] < said["before"] / 3 and said["teacher"] > 0.8 and said["solved"] > 0.5


LEARNED = {"sft": of_sft, "grpo": of_grpo, "dpo_custom_loss": of_dpo, "distillation": of_distillation}


@pytest.mark.parametrize("name", LEARNED)
def test_an_example_learns(script: Script, tmp_path: Path, name: str):
    # A copy, so that the interpreter leaves nothing behind in the tree.
    shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    said = json.loads(script(tmp_path / "examples" / f"{name}.py").splitlines()[-1])
    assert LEARNED[name](said), said


def test_every_example_is_run_and_short():
    files = {path.stem: path.read_text("utf-8") for path in EXAMPLES.glob("*.py")}
    assert set(files) - set(LEARNED) == {"sums"}
    assert {name: n for name, text in files.items() if (n := len(text.splitlines())) > 80} == {}


def test_the_page_runs_from_top_to_bottom(script: Script, tmp_path: Path):
    whole = tmp_path / "page.py"
    text = page("training-api.md")
    named = named_files(text).values()
    whole.write_text("\n".join(block for block in blocks(text, "python") if block not in named), "utf-8")
    said = script(whole)
    losses = steps(said)
    assert len(losses) == 10 and losses[-1] < losses[0] / 2
    assert said.splitlines()[-1] == "as before: True"


def test_the_loop_with_the_other_sdk_learns(server: RunningServer, tmp_path: Path):
    loop = tmp_path / "fireworks_loop.py"
    loop.write_text(named_files(page("training-api.md"))[loop.name], "utf-8")
    said = run([str(python_of("fireworks")), str(loop)], server, tmp_path / "home")
    losses = steps(said)
    assert len(losses) == 5 and losses[-1] < losses[0]


def test_the_loop_of_the_readme_learns(script: Script, tmp_path: Path):
    loop = tmp_path / "over_http.py"
    loop.write_text(named_files((ROOT / "README.md").read_text("utf-8"))["over_http.py"], "utf-8")
    rewards = steps(script(loop))
    assert len(rewards) == 8 and max(rewards[-3:]) > rewards[0] + 0.2
