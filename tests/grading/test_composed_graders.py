"""Graders that are data: what they score, in the process that jobs run them in, and what is refused."""

import asyncio
import json

import pytest

from tunesmith.core.errors import UserError
from tunesmith.core.ports import GradingError
from tunesmith.core.types import Rollout, Score
from tunesmith.grading import build_grader
from tunesmith.grading.composed import PREFIX, check, formula, runs_python
from tunesmith.grading.composed.similarity import METRICS

OUT = "{{sample.output_text}}"


def compare(operation, reference="{{ item.answer }}", **more):
    return {"type": "string_check", "name": "c", "operation": operation, "input": OUT, "reference": reference, **more}


def alike(metric, reference="{{item.answer}}"):
    return {"type": "text_similarity", "name": "s", "evaluation_metric": metric, "input": OUT, "reference": reference}


def source(text):
    return {"type": "python", "name": "p", "source": text}


def multi(calculate_output, **graders):
    return {"type": "multi", "name": "m", "graders": graders, "calculate_output": calculate_output}


def grade(grader, *cases, timeout_s=20):
    """Scores, or failures, of (completion, row) pairs in one worker."""

    async def one_by_one():
        found = []
        async with build_grader(PREFIX + json.dumps(grader), timeout_s=timeout_s, memory_mb=512, workers=1) as pool:
            for completion, row in cases:
                try:
                    found.append(await pool(Rollout((), completion, 0, "stop"), row))
                except GradingError as e:
                    found.append(e)
        return found

    return asyncio.run(one_by_one())


def test_comparisons_and_templates():
    row = {"answer": "Four", "all": {"words": ["a", "b"]}, "n": 4}
    cases = {
        "a": (compare("eq"), 1.0),
        "b": (compare("ne"), 0.0),
        "c": (compare("like", "our"), 1.0),
        "d": (compare("ilike", "FOUR"), 1.0),
        "e": (compare("like", "FOUR"), 0.0),
        "f": (compare("eq", "{{item.all.words.1}}", input="b"), 1.0),
        "g": (compare("eq", "{{item.n}} of 4", input="4 of {{ item.n }}"), 1.0),
    }
    [score] = grade(multi("+".join(cases), **{name: grader for name, (grader, _) in cases.items()}), ("Four\n", row))
    assert score.parts == {name: value for name, (_, value) in cases.items()}
    assert score.reward == 5.0


def test_a_field_of_the_models_json_and_one_that_is_not_there():
    grader = compare("eq", input="{{sample.output_json.x}}")
    right, no_json, no_row = grade(
        grader, ('{"x": 3}', {"answer": "3"}), ("3", {"answer": "3"}), ('{"x": 3}', {"b": 1})
    )
    assert right == Score(1.0)
    assert (no_json.label, no_row.label) == ("bad_value", "bad_row")
    assert "has no answer; it has b" in no_row.detail


# Words: "the cat sat" against "the cat sat down". Runs of words: 3+2+1 = 6 against 4+3+2+1 = 10, 6 in common.
ALIKE = {
    "fuzzy_match": 2 * 11 / (11 + 16),
    "gleu": 6 / 10,
    "rouge_1": 2 * 3 / (3 + 4),
    "rouge_2": 2 * 2 / (2 + 3),
    "rouge_3": 2 * 1 / (1 + 2),
    "rouge_4": 0.0,
    "rouge_5": 0.0,
    "rouge_l": 2 * 3 / (3 + 4),
}


@pytest.mark.parametrize("metric", METRICS)
def test_likeness(metric):
    assert METRICS[metric]("the cat sat", "the cat sat down") == pytest.approx(ALIKE[metric])
    assert METRICS[metric]("The cat sat on the mat", "The cat sat on the mat") == 1.0
    assert METRICS[metric]("quick", "blow") == 0.0
    assert 0 <= METRICS[metric]("", "a b") <= 1


def test_likeness_in_a_worker():
    assert grade(alike("rouge_l"), ("the cat sat", {"answer": "the cat sat down"}))[0].reward == pytest.approx(6 / 7)


def test_python_source():
    text = "def grade(sample, item):\n    return len(sample['output_text']) / item['most']\n"
    half, failed = grade(source(text), ("abc", {"most": 6}), ("abc", {"most": 0}))
    assert half == Score(0.5)
    assert failed.label == "error"
    assert "return len(sample['output_text']) / item['most']" in failed.detail and "build.py" not in failed.detail


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def grade(sample item): pass", "SyntaxError"),
        ("import no_such_module", "No module named"),
        ("grade = 3", "defines no function grade"),
    ],
)
def test_source_that_cannot_be_loaded_is_refused_at_the_start(text, says):
    with pytest.raises(UserError, match=says):
        grade(source(text))


def test_source_runs_in_the_sandbox(tmp_path):
    secret = tmp_path / "key"
    secret.write_text("tml-secret")
    text = f"def grade(sample, item):\n    return float(len(open({str(secret)!r}).read()))\n"
    [failed] = grade(source(text), ("", {}))
    assert failed.label == "error"
    assert "FileNotFoundError" in failed.detail


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.7 * a + b / 2", 0.7 * 2 + 3 / 2),
        ("-(a - b)^2 + 1", 0.0),
        ("max(a, b, 1) - min(a, b)", 1.0),
        ("floor(a / b) + ceil(a / b)", 1.0),
        ("sqrt(abs(a - b)) * exp(0 * a) + log(1 + b - b)", 1.0),
    ],
)
def test_formulas(text, value):
    tree = formula.parse(text)
    assert tree is not None
    assert formula.value(tree, {"a": 2.0, "b": 3.0}) == pytest.approx(value)


@pytest.mark.parametrize(
    "text",
    [
        *("", "a +", "a b", "a if b else 1", "lambda: a", "a.b", "a[0]", "[a]", "'a'", "a < b", "a and b", "a; b"),
        *("__import__('os')", "exec('a')", "abs(a, b)", "max()", "max(a, key=b)", "1e400 * a", "True + a", "a // b"),
        *("(" * 400 + "a" + ")" * 400, "a" + " + a" * 400, "10**10 * a"),
    ],
)
def test_what_is_no_formula(text):
    tree = formula.parse(text)
    assert tree is None or (text == "10**10 * a" and formula.value(tree, {"a": 1.0}) == 1e10)


def test_a_formula_without_a_value_fails_with_a_label():
    [failed] = grade(multi("1 / a", a=compare("eq")), ("x", {"answer": "y"}))
    assert failed.label == "bad_value"
    assert "division by zero" in failed.detail


@pytest.mark.parametrize(
    ("grader", "where", "says"),
    [
        ([], "g", "is no object"),
        ({"type": "magic"}, "g.type", "unknown 'magic'"),
        (compare("eq", pass_threshold=1), "g", "unknown 'pass_threshold'"),
        (compare("eq", input=3), "g.input", "is no text"),
        (alike("cosine"), "g.evaluation_metric", "needs a model of embeddings"),
        (alike("bleu"), "g.evaluation_metric", "gleu is its like"),
        (alike("meteor"), "g.evaluation_metric", "dictionary of synonyms"),
        (alike("best"), "g.evaluation_metric", "unknown 'best'"),
        (source(" "), "g.source", "is no Python source"),
        (source("#" * 300_000), "g.source", "more than 256 kB"),
        (multi("a", a=multi("b", b=compare("eq"))), "g.graders.a", "a multi inside a multi"),
        (multi("a", a=compare("near")), "g.graders.a.operation", "unknown 'near'"),
        (multi("a + b", a=compare("eq")), "g.calculate_output", "names a, b; the graders are a"),
        (multi("a", a=compare("eq"), b=compare("eq")), "g.calculate_output", "names a; the graders are a, b"),
        (multi("a", **{"max": compare("eq")}), "g.graders", "'max' is no name"),
        (multi("a"), "g.graders", "no object of graders"),
    ],
)
def test_what_is_refused(grader, where, says):
    with pytest.raises(UserError) as refusal:
        check(grader, "g")
    assert refusal.value.where == where
    assert says in str(refusal.value)


def test_which_graders_run_source():
    assert runs_python(source("x")) and runs_python(multi("a", a=source("x")))
    assert not runs_python(multi("a", a=compare("eq")))
