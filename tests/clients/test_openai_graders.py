"""Graders through OpenAI's own SDK: tried out, validated, refused, and trained with."""

from typing import Any

import pytest
from clients.conftest import MODEL, Ask


@pytest.fixture
def found(ask: Ask) -> Any:
    return ask("openai", "openai_graders")


def test_graders_score_a_sample(found):
    assert found["check"] == [1.0, 0.0]
    assert found["alike"]["reward"] == 0.75, "three of four characters"
    assert found["python"]["reward"] == 0.5, "two digits of four characters"
    assert found["python"]["metadata"]["type"] == "python"
    assert found["sum"]["reward"] == pytest.approx(1.0)
    assert found["sum"]["sub_rewards"] == {"right": 1.0, "near": 1.0, "digits": 1.0}


def test_a_model_is_the_judge(found):
    judged = found["judged"]
    assert 0 <= judged["reward"] <= 5 and judged["metadata"]["sampled_model_name"] == MODEL
    assert found["judged_again"]["reward"] == judged["reward"], "the same seed"
    [tokens] = judged["api_model_grader_token_usage_per_model"].values()
    assert tokens == judged["metadata"]["token_usage"] > 20
    assert set(judged["sub_rewards"]) == {"passed"}
    errors = found["speechless"]["metadata"]["errors"]
    assert (
        errors["api_model_grader_parse_error"]
        and "came to no result" in errors["api_model_grader_server_error_details"]
    )


def test_a_failure_is_named_in_the_errors(found):
    errors = found["no_field"]["metadata"]["errors"]
    assert errors["invalid_variable_error"] is True
    assert "has no answer; it has other" in errors["python_grader_runtime_error_details"]
    assert not any(value for value in found["sum"]["metadata"]["errors"].values())


def test_source_of_a_client_sees_no_file_of_the_server(found):
    errors = found["peek"]["metadata"]["errors"]
    assert errors["python_grader_runtime_error"] is True
    assert "/etc/shadow" in errors["python_grader_runtime_error_details"]
    assert found["peek"]["reward"] == 0.0


def test_a_grader_that_is_sound_comes_back(found):
    assert found["validated"]["grader"]["calculate_output"] == "0.5 * right + 0.3 * near + 0.2 * digits"


@pytest.mark.parametrize(
    ("what", "param", "words"),
    [
        ("source", "evaluator digits", "SyntaxError"),
        ("judge", "grader.model", "unknown 'any'. Known: "),
        ("range", "grader.graders.judge.range", "is no range"),
        ("metric", "grader.evaluation_metric", "needs a model of embeddings"),
        ("formula", "grader.calculate_output", "the graders are digits, near, right"),
    ],
)
def test_refusals_name_what_they_refuse(found, what, param, words):
    refused = found["refused"][what]
    assert (refused["kind"], refused["param"]) == ("NotFoundError" if what == "judge" else "BadRequestError", param)
    assert words in refused["text"]


@pytest.mark.parametrize(("job", "name"), [("job", "sum"), ("judged_job", "both")])
def test_a_job_trains_with_it(found, job, name):
    job = found[job]
    assert job["status"] == "succeeded", job["error"]
    assert job["method"]["reinforcement"]["grader"]["name"] == name
    rewards = [event["data"] for event in job["events"] if event["type"] == "metrics"]
    assert rewards
