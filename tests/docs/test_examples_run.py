"""The code of the README and of the quickstart runs as it stands, in a folder of its own, on the embedded model."""

import runpy
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main
from docs.pages import ROOT, blocks, commands, named_files, page, section

from tunesmith.cli.main import build
from tunesmith.core.errors import Conflict
from tunesmith.services.run_folder import RunFolder, all_runs

README = (ROOT / "README.md").read_text("utf-8")


def call(line: str) -> None:
    """A command as the installed program runs it, in this process."""
    words = shlex.split(line)[1:]
    typer.main.get_command(build(words[0])).main(words, prog_name="tunesmith", standalone_mode=False)


def test_the_job_of_the_readme_learns(finished_run: Any) -> None:
    card = finished_run.card()
    assert card["heldout_reward_after"] > card["heldout_reward_before"]
    assert card["sampler_gap_max"] == 0.0


def test_every_python_block_of_the_readme_is_a_named_file() -> None:
    assert len(blocks(README, "python")) == len(named_files(README)) == 4


def test_the_commands_of_the_readme_run(
    readme_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(readme_folder)
    # Those of a server are run by the tests of the command line, against a server.
    text = README.replace(section(README, "A server"), "")
    lines = [line for line in commands(text) if "demo" not in line]
    assert len(lines) == 6
    for line in lines:
        call(line)
    said = capsys.readouterr()
    assert "time per call" in said.out
    assert len(all_runs(readme_folder / "runs")) == 3


def test_the_loop_of_the_readme_learns(
    readme_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(readme_folder)
    runpy.run_path("loop.py", run_name="__main__")
    rewards = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()]
    assert max(rewards[-3:]) > rewards[0] + 0.1
    assert (readme_folder / "my-adapter" / "adapter_model.safetensors").is_file()


@pytest.mark.slow
def test_the_quickstart_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = page("quickstart.md")
    for name, body in named_files(text).items():
        (tmp_path / name).write_text(body)
    monkeypatch.chdir(tmp_path)
    for line in [line for block in blocks(text, "sh") for line in block.splitlines()]:
        if line.startswith("python "):
            runpy.run_path(line.split()[1], run_name="__main__")
        else:
            call(line)
    runpy.run_path("from_python.py", run_name="__main__")
    assert sorted(run.path.name for run in all_runs()) == ["both", "first", "python", "shown", "slower"]
    assert "Only learning_rate differs" in capsys.readouterr().out
    with pytest.raises(Conflict, match="nothing to resume"):
        call("tunesmith resume runs/first")
    assert RunFolder.open("runs/both").spec()["warm_start_from"] == "runs/shown"
