"""Graders that ask a model: the question, the form of its answer, the score, and what cannot be asked."""

import asyncio
import json

import pytest

from tunesmith.core.errors import UserError
from tunesmith.core.ports import Answer, GradingError
from tunesmith.core.types import Rollout
from tunesmith.grading import build_grader
from tunesmith.grading.composed import PREFIX, check
from tunesmith.services.local_judge import judge_of

ASK = [{"role": "developer", "content": "Rate."}, {"role": "user", "content": "{{item.q}}: {{sample.output_text}}"}]
SCORE = {"type": "score_model", "name": "j", "model": "embedded", "input": ASK}
LABEL = {
    "type": "label_model",
    "name": "l",
    "model": "embedded",
    "input": ASK,
    "labels": ["good", "bad"],
    "passing_labels": ["good"],
}
EXACT = {"type": "string_check", "name": "e", "operation": "eq", "input": "{{sample.output_text}}", "reference": "4"}
PYTHON = {"type": "python", "name": "p", "source": "def grade(sample, item):\n    return len(sample) + len(item)\n"}
MULTI = {
    "type": "multi",
    "name": "m",
    "graders": {"judge": {**SCORE, "range": [0, 10]}, "label": LABEL, "exact": EXACT, "python": PYTHON},
    "calculate_output": "judge / 10 + label + exact + python",
}


SHORT = {"temperature": 1.0, "max_completions_tokens": 32}


class Says:
    """A judge with one answer for everything; keeps what it was asked."""

    def __init__(self, text):
        self.text, self.asked = text, []

    async def __call__(self, question):
        self.asked.append(question)
        if isinstance(self.text, Exception):
            raise self.text
        return Answer(self.text, 7, 19)


def grade(grader, judge, completion="4", row=None, times=1):
    async def run():
        pool = build_grader(PREFIX + json.dumps(grader), timeout_s=20, memory_mb=512, workers=1, judge=judge)
        async with pool:
            attempt = Rollout((), completion, 0, "stop")
            return await asyncio.gather(*(pool(attempt, row or {"q": "2+2"}) for _ in range(times)))

    return asyncio.run(run())


def test_the_question_is_filled_in_and_the_answer_is_the_score():
    steps = [{"description": "read", "conclusion": "fine"}]
    judge = Says(json.dumps({"steps": steps, "result": 0.75}))
    [score] = grade({**SCORE, "pass_threshold": 0.5, "sampling_params": {"seed": 3, "temperature": 0.5}}, judge)
    [asked] = judge.asked
    assert asked.messages == [{"role": "system", "content": "Rate."}, {"role": "user", "content": "2+2: 4"}]
    assert (asked.params.seed, asked.params.temperature, asked.params.top_k) == (3, 0.5, 0)
    assert (score.reward, score.reason) == (0.75, "read: fine")
    assert score.parts == {"passed": 1.0, "judge_calls": 1.0, "judge_tokens": 19.0}


def test_a_formula_over_models_and_source():
    class Two(Says):
        async def __call__(self, question):
            words = "enum" in question.schema["properties"]["result"]
            return Answer(json.dumps({"result": "bad" if words else 5}), 1, 10)

    [score] = grade(MULTI, Two(""))
    # 5 / 10 + 0 (bad does not pass) + 1 (4 is 4) + 2 fields of the sample and 1 of the row
    assert score.reward == 4.5
    sub = {name: score.parts[name] for name in ("judge", "label", "exact", "python")}
    assert sub == {"judge": 5.0, "label": 0.0, "exact": 1.0, "python": 3.0}
    assert (score.parts["judge_calls"], score.parts["judge_tokens"]) == (2.0, 20.0)
    assert "label: bad" in score.reason


@pytest.mark.parametrize(
    ("text", "row", "label", "words"),
    [
        ('{"steps": [{"descr', None, "judge", "embedded came to no result within 7 tokens; raise"),
        (UserError("embedded", "a question of 9 tokens leaves no room", "Shorten"), None, "judge", "leaves no room"),
        ('{"result": 1}', {"p": 1}, "bad_row", "has no q; it has p"),
    ],
)
def test_failures_have_labels(text, row, label, words):
    with pytest.raises(GradingError) as caught:
        grade(SCORE, Says(text), row=row)
    assert caught.value.label == label
    assert words in caught.value.detail


@pytest.mark.parametrize(
    ("change", "where", "words"),
    [
        ({"model": ""}, "g.model", "names no model"),
        ({"input": []}, "g.input", "no list of messages"),
        ({"input": [{"role": "judge", "content": ""}]}, "g.input[0]", "has no role of system"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "g.input[0].content", "is no text"),
        ({"input": [{"role": "user", "content": "{{x.y}}"}]}, "g.input[0].content", "names 'x.y'"),
        ({"range": [1, 1]}, "g.range", "is no range"),
        ({"range": [0, 1e-9]}, "g.range", "narrower than"),
        ({"pass_threshold": 2}, "g.pass_threshold", "can't be 2"),
        ({"sampling_params": {"temperature": 3}}, "g.sampling_params.temperature", "can't be 3"),
        ({"sampling_params": {"seed": 0.5}}, "g.sampling_params.seed", "can't be 0.5"),
        ({"sampling_params": {"reasoning_effort": "low"}}, "g.sampling_params.reasoning_effort", "no dial"),
        ({"sampling_params": {"top_k": 1}}, "g.sampling_params", "unknown 'top_k'"),
        ({"labels": ["a"]}, "g", "unknown 'labels'"),
        ({**LABEL, "passing_labels": ["best"]}, "g.passing_labels", "not some of the labels"),
        ({**LABEL, "labels": ["good", "good"]}, "g.labels", "no list of different texts"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(change, where, words):
    with pytest.raises(UserError, match=words) as caught:
        check({**SCORE, **change} if "labels" not in change or len(change) == 1 else change, "g")
    assert caught.value.where == where


def test_a_real_model_keeps_to_the_form_and_says_the_same_again():
    grader = {**MULTI, "graders": {"judge": {**MULTI["graders"]["judge"], "sampling_params": SHORT}}}
    grader |= {"calculate_output": "judge"}
    scores = grade(grader, judge_of(PREFIX + json.dumps(grader)), times=3)
    again = grade(grader, judge_of(PREFIX + json.dumps(grader)))
    assert 0 <= scores[0].reward <= 10
    assert scores == [scores[0]] * 3 and again == scores[:1]
    assert scores[0].parts["judge_tokens"] > 20


def test_a_judge_with_more_tokens_may_write_its_steps_first():
    def properties(budget):
        judge = Says('{"result": 1}')
        grade({**SCORE, "sampling_params": {"max_completions_tokens": budget}}, judge)
        return judge.asked[0].schema["properties"]

    assert list(properties(99)) == ["result"]
    steps, result = properties(300).values()
    assert steps["items"]["properties"]["conclusion"]["maxLength"] == 100
    assert result == {"type": "number", "minimum": 0, "maximum": 1, "multipleOf": 0.01}


def test_a_model_that_runs_out_of_tokens_is_no_score_of_0():
    grader = {**LABEL, "sampling_params": {"max_completions_tokens": 3}}
    with pytest.raises(GradingError, match="came to no result within 3 tokens"):
        grade(grader, judge_of(PREFIX + json.dumps(grader)))
