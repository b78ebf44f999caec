"""A grader that is written in the page: built, taken into the draft, mended where it is refused, changed later."""

import re

import pytest

from tunesmith.core.errors import UserError
from tunesmith.server.web.row_examples import ROW_EXAMPLES
from tunesmith.server.web.write_page import EXAMPLE
from tunesmith.services.entry_points import entry_point_of

AT = "/create/evaluator"
GOOD = "def grade(completion, row):\n    return 1.0\n"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (EXAMPLE, "grade"),
        ("import re\nasync def mine(completion, row):\n    return 1\n", "mine"),
        ("def helper(x):\n    return x\ndef score(completion, row):\n    return 1\n", "score"),
        (
            "def grade(x):\n    return x\n@evaluation_test(input_dataset=[])\ndef test_it(row):\n    return row\n",
            "test_it",
        ),
        ("def _inner(x):\n    return x\ndef only(completion, row):\n    return 1\n", "only"),
    ],
)
def test_the_function_that_scores_is_found(source, name):
    assert entry_point_of("mine.py", source) == f"mine.py::{name}"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def grade(:\n", "mine.py:1: is no Python"),
        ("x = 1\n", "has no function"),
        ("def one(a):\n    pass\ndef two(a):\n    pass\n", "several functions: one, two"),
    ],
)
def test_what_could_not_be_meant_is_refused(source, said):
    with pytest.raises(UserError, match=re.escape(said)):
        entry_point_of("mine.py", source)


def test_it_is_built_and_ticked_in_the_draft_that_asked_for_it(app, get, post, job):
    page = get(f"{AT}?kind=rft&dataset=sums").text
    assert 'value="my-grader"' in page and "ground_truth" in page
    answer = post(AT, name="mine", source=EXAMPLE, edit="", kind="rft", dataset="sums")
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/dashboard/create/grader?kind=rft")
    ticked = get(answer.headers["location"].removeprefix("/dashboard")).text
    assert re.search(r'value="uploaded:mine" checked', ticked)
    assert app.state.evaluators.get("ann", "mine").entry_point == "grader.py::grade"


def test_a_refused_text_stays_and_can_be_mended_under_its_name(app, get, post):
    said = post(AT, name="mine", source="def grade(:\n", edit="")
    assert said.status_code == 400 and "is no Python" in said.text and "def grade(:" in said.text
    assert app.state.evaluators.page("ann")[1] == 0
    said = post(AT, name="mine", source="import no_such_package\n" + GOOD, edit="")
    assert said.status_code == 400 and "no_such_package" in said.text and 'name="edit" value="mine"' in said.text
    answer = post(AT, name="mine", source=GOOD, edit="mine")
    assert answer.headers["location"] == "/dashboard/evaluators/mine"
    assert app.state.evaluators.get("ann", "mine").state == "ACTIVE"
    page = get("/evaluators/mine").text
    assert "/create/evaluator?edit=mine" in page and "/create?evaluator=uploaded:mine" in page
    assert "return 1.0" in get(f"{AT}?edit=mine").text


def test_another_evaluator_of_that_name_is_not_replaced(app, get, post):
    post(AT, name="my-grader", source=GOOD, edit="")
    said = post(AT, name="my-grader", source="def grade(c, row):\n    return 0.0\n", edit="")
    assert said.status_code == 400 and "already" in said.text
    assert "1.0" in app.state.evaluators.source("ann", "my-grader").read_text()
    assert 'value="my-grader-2"' in get(AT).text


def test_lines_that_are_shown_as_examples_are_good(app):
    from tunesmith.data import check_file

    for kind, (_, line) in ROW_EXAMPLES.items():
        file = app.state.settings.data_dir / f"{kind}.jsonl"
        file.write_text(f"{line}\n" * 3)
        assert check_file(file, kind).problems == (), kind
