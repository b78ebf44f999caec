"""Projects that score replies sampled elsewhere: scores, labelled failures, and what cannot score a reply by itself."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from evaluators.projects import NUMBERS, POINTWISE, written

from tunesmith.cli.main import main
from tunesmith.core.errors import UserError
from tunesmith.core.ports import GradingError
from tunesmith.core.types import Rollout, Score
from tunesmith.grading.projects import manifest
from tunesmith.grading.projects.manifest import Entry, Project, Traits
from tunesmith.services.local_projects import built
from tunesmith.services.project_grader import any_grader
from tunesmith.spec import RftSpec

GRADER = """
import os

async def grade(completion, row):
    if row["kind"] == "raise":
        raise ValueError("no such thing")
    if row["kind"] == "nothing":
        return None
    return {"reward": len(completion), "reason": os.environ.get("MY_SECRET", "none")}
"""


def graded(folder: Path, traits: Traits, *kinds: str) -> list[Score | GradingError]:
    """What the project says of the reply "four" to rows of these kinds."""
    written({"grader.py": GRADER}, folder / "source")
    # Another name of this Python, so that the project is run in a process of its own.
    python = Path(sys.executable).resolve()
    assert python != Path(sys.executable), "the tests run in a virtual environment"
    manifest.write(Project(folder, folder / "source", Entry("grader.py", "grade"), python, traits))
    spec = RftSpec(dataset="d", evaluator=f"project:{folder}", grader_timeout_s=10, limits="off")

    async def all_of_them() -> list[Any]:
        async with any_grader(spec, {"MY_SECRET": "hush"}) as grader:
            asked = (grader(Rollout((), "four", 0, "stop"), {"kind": kind, "messages": []}) for kind in kinds)
            return await asyncio.gather(*asked, return_exceptions=True)

    return asyncio.run(all_of_them())


def test_replies_are_scored_one_by_one(tmp_path: Path) -> None:
    score, raised, nothing = graded(tmp_path, Traits("grader"), "length", "raise", "nothing")
    assert isinstance(score, Score) and (score.reward, score.reason) == (4.0, "hush")
    assert isinstance(raised, GradingError) and raised.label == "error" and "no such thing" in raised.detail
    assert isinstance(nothing, GradingError) and nothing.label == "bad_value"


def test_a_folder_is_built_once_for_each_content(tmp_path: Path) -> None:
    folder = written({"pack/grader.py": GRADER, ".venv/lib/other.py": "1 / 0"}, tmp_path / "mine")
    said: list[str] = []
    first = built(folder, "pack/grader.py::grade", tmp_path / "data", said.append)
    assert said[-1] == "it is a grader: ready"
    assert built(folder, "pack/grader.py::grade", tmp_path / "data", said.append) == first and len(said) == 3
    project = manifest.read(Path(first.removeprefix("project:")))
    assert [file.name for file in project.root.rglob("*.py")] == ["grader.py"]
    (folder / "pack" / "grader.py").write_text(GRADER.replace("no such thing", "another thing"))
    assert built(folder, "pack/grader.py::grade", tmp_path / "data", said.append) != first
    with pytest.raises(UserError, match="has no function 'judge'"):
        built(folder, "pack/grader.py::judge", tmp_path / "data", said.append)
    with pytest.raises(UserError, match="relative to the project"):
        built(folder, "", tmp_path / "data", said.append)


@pytest.mark.thorough
def test_a_project_of_eval_protocol_is_tried_from_its_folder(
    tmp_path: Path, environments: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".tunesmith").mkdir()
    (tmp_path / ".tunesmith" / "environments").symlink_to(environments)
    folder = written({"test_sum.py": POINTWISE, "numbers_of.py": NUMBERS}, tmp_path / "project")
    row = {"messages": [{"role": "user", "content": "What is 17 + 25?"}], "ground_truth": "42"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    words = ["evaluator", "test", f"{folder}::test_sum.py::test_sum", "--dataset", str(tmp_path / "rows.jsonl")]
    monkeypatch.setattr(sys, "argv", ["tunesmith", *words, "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert not ended.value.code, said.err
    found = json.loads(said.out.splitlines()[-1])
    assert (found["attempts"], found["reward_mean"], found["failures"]) == (1, 1.0, {})


@pytest.mark.parametrize(
    ("traits", "why"),
    [
        (Traits("test", mode="groupwise"), r"scores groups \(groupwise\)"),
        (Traits("test", single_turn=False, processor="AgentProcessor"), "makes its attempts itself: AgentProcessor"),
    ],
)
def test_what_needs_more_than_a_reply_is_refused(tmp_path: Path, traits: Traits, why: str) -> None:
    with pytest.raises(UserError, match=why):
        graded(tmp_path, traits, "length")
