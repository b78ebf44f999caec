"""Graders through OpenAI's own SDK: tried out, validated, refused, and trained with."""

from typing import Any

import pytest
from clients.conftest import Ask


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
        ("judge", "grader.type", "score_model has no equal here"),
        ("metric", "grader.evaluation_metric", "needs a model of embeddings"),
        ("formula", "grader.calculate_output", "the graders are digits, near, right"),
    ],
)
def test_refusals_name_what_they_refuse(found, what, param, words):
    refused = found["refused"][what]
    assert (refused["kind"], refused["param"]) == ("BadRequestError", param)
    assert words in refused["text"]


def test_a_job_trains_with_it(found):
    job = found["job"]
    assert job["status"] == "succeeded", job["error"]
    assert job["method"]["reinforcement"]["grader"]["name"] == "sum"
    rewards = [event["data"] for event in job["events"] if event["type"] == "metrics"]
    assert rewards
