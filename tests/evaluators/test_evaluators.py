"""Uploaded evaluators: what is built, what is refused, and what the log says."""

from pathlib import Path

import pytest
from evaluators.projects import GRADER, packed, wheel

from tunesmith.core.errors import Conflict, NotFound, UserError
from tunesmith.services.evaluator_rows import Evaluator
from tunesmith.services.evaluators import Evaluators


def built(evaluators: Evaluators, name: str, entry: str, data: bytes, filename: str = "project.tar.gz") -> Evaluator:
    evaluators.create("ann", name, entry_point=entry)
    with evaluators.upload("ann", name, filename) as incoming:
        incoming.write(data)
    return evaluators.build("ann", name)


def log_of(evaluators: Evaluators, name: str) -> str:
    return evaluators.log("ann", name).read_text()


def test_one_file_is_an_evaluator(evaluators: Evaluators):
    made = built(evaluators, "g", "grader.py::grade", GRADER.encode(), "grader.py")
    assert (made.state, made.traits["kind"]) == ("ACTIVE", "grader")
    assert evaluators.source("ann", "g").read_text() == GRADER
    assert "ready" in log_of(evaluators, "g")
    assert (evaluators.resolve("ann", "g") / "evaluator.json").is_file()


def test_a_project_may_have_folders(evaluators: Evaluators):
    files = {"pkg/score.py": "from helper import half\ndef grade(completion, row):\n    return half()\n"}
    files["helper.py"] = "def half():\n    return 0.5\n"
    for entry in ("pkg/score.py::grade", "pkg.score::grade"):
        name = f"p{len(entry)}"
        assert built(evaluators, name, entry, packed(files)).state == "ACTIVE"


@pytest.mark.parametrize(
    ("source", "entry", "said"),
    [
        ("def grade(completion, row):\n    return 1\n\nraise ValueError('broken')\n", "a.py::grade", 'a.py", line 4'),
        ("def grade(completion, row)\n", "a.py::grade", "line 1"),
        ("def other(completion, row):\n    return 1\n", "a.py::grade", "it defines other"),
        ("def grade(text):\n    return 1\n", "a.py::grade", "neither an @evaluation_test nor takes (completion, row)"),
        ("def grade(completion, row):\n    return 1\n", "b.py::grade", "no file b.py"),
        ("import os\nos._exit(3)\n", "a.py::grade", "exit status 3"),
        ("import nowhere_to_be_found\n", "a.py::grade", "No module named 'nowhere_to_be_found'"),
    ],
)
def test_a_failed_build_names_the_line(evaluators: Evaluators, source: str, entry: str, said: str):
    made = built(evaluators, "bad", entry, packed({"a.py": source}))
    assert made.state == "BUILD_FAILED"
    assert said in made.reason and said in log_of(evaluators, "bad")
    with pytest.raises(Conflict, match="BUILD_FAILED"):
        evaluators.resolve("ann", "bad")


def test_what_is_no_archive(evaluators: Evaluators):
    assert "is broken" in built(evaluators, "z", "a.py::grade", b"nonsense").reason


def test_requirements_that_do_not_exist(evaluators: Evaluators):
    files = {"a.py": GRADER, "requirements.txt": "tunesmith-has-no-such-package==1.2.3\n"}
    made = built(evaluators, "r", "a.py::grade", packed(files))
    assert made.state == "BUILD_FAILED" and "tunesmith-has-no-such-package" in made.reason


def test_requirements_are_installed_once(evaluators: Evaluators, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    index = tmp_path / "index"
    index.mkdir()
    wheel(index, "tunesmith_probe", "ANSWER = 0.75\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    source = "import numpy\nfrom tunesmith_probe import ANSWER\ndef grade(completion, row):\n    return ANSWER\n"
    data = packed({"a.py": source, "requirements.txt": "# ours\ntunesmith-probe==1.0\n"})
    first, second = (built(evaluators, name, "a.py::grade", data) for name in ("one", "two"))
    assert (first.state, second.state) == ("ACTIVE", "ACTIVE"), first.reason
    assert "installing tunesmith-probe==1.0" in log_of(evaluators, "one")
    assert "installed already" in log_of(evaluators, "two")


def test_another_upload_mends_it(evaluators: Evaluators):
    built(evaluators, "g", "a.py::grade", packed({"a.py": "x ="}))
    with evaluators.upload("ann", "g", "p.tar.gz") as incoming:
        incoming.write(packed({"a.py": GRADER}))
    assert evaluators.build("ann", "g").state == "ACTIVE"


def test_refusals(evaluators: Evaluators):
    with pytest.raises(UserError, match="cannot be called"):
        evaluators.create("ann", "Bad_Id")
    for entry in ("../a.py::f", "/a.py::f", "a.py", "a.py::b::c"):
        with pytest.raises(UserError, match="entryPoint"):
            evaluators.create("ann", "e", entry_point=entry)
    evaluators.create("ann", "e", entry_point="a.py::f")
    with pytest.raises(Conflict, match="already"):
        evaluators.create("ann", "e")
    with pytest.raises(NotFound):
        evaluators.get("bob", "e")
    with pytest.raises(Conflict, match="no source"):
        evaluators.start_build("ann", "e")
    with pytest.raises(UserError, match="filename"), evaluators.upload("ann", "e", "../x.tar.gz"):
        pass
    evaluators.delete("ann", "e")
    assert evaluators.page("ann") == ([], 0)
