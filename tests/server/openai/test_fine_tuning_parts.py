"""Forms in pieces of any size, and OpenAI's graders as strings of ours."""

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tunesmith.core.errors import UserError
from tunesmith.grading.evaluator import ComposedTarget, parse_evaluators
from tunesmith.server.dialects.multipart import Form, read_form
from tunesmith.server.dialects.openai.fine_tuning_request import CreateJob
from tunesmith.server.dialects.openai.graders import evaluator

TYPE = 'multipart/form-data; boundary="xyz"'
CONTENT = b'{"a": 1}\r\n--xy\r\n\r\n--xy-not\r\n{"b": 2}\n'
BODY = (
    b'--xyz\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
    b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a b.jsonl"\r\nContent-Type: text/plain\r\n\r\n'
    + CONTENT
    + b'\r\n--xyz\r\nContent-Disposition: form-data; name="last"\r\n\r\n\r\n--xyz--\r\n'
)


def read(body: bytes, size: int = 1 << 20, content_type: str = TYPE, most: int = 1 << 20) -> tuple[Form, bytes]:
    """A form that arrives in pieces of a size: (what it held, its file)."""

    async def stream() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    file = io.BytesIO()
    form = asyncio.run(read_form(content_type, stream(), file, most))
    return form, file.getvalue()


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64, 1000])
def test_a_form_is_the_same_in_any_pieces(size):
    form, content = read(BODY, size)
    assert form == Form({"purpose": "fine-tune", "last": ""}, "a b.jsonl")
    assert content == CONTENT


@pytest.mark.parametrize(
    ("body", "content_type", "where", "words"),
    [
        (BODY[:-10], TYPE, "body", "cut off"),
        (b"", TYPE, "body", "cut off"),
        (BODY, "application/json", "content-type", "'application/json'"),
        (BODY, "", "content-type", "''"),
        (BODY, "multipart/form-data", "content-type", "multipart/form-data"),
        (b"--xyz\r\nContent-Type: a\r\n\r\nb\r\n--xyz--", TYPE, "body", "has no name"),
        (b"--xyz\r\n" + b"a" * 20_000, TYPE, "body", "too many lines"),
        (BODY.replace(b"fine-tune", b"a" * 70_000), TYPE, "body", "more text than a form needs"),
    ],
)
def test_forms_that_are_refused(body, content_type, where, words):
    with pytest.raises(UserError) as refusal:
        read(body, 4096, content_type)
    assert refusal.value.where == where
    assert words in str(refusal.value)


def test_a_file_may_be_as_large_as_the_limit_and_no_larger():
    assert read(BODY, most=len(CONTENT))[1] == CONTENT
    with pytest.raises(UserError, match="is larger than"):
        read(BODY, most=len(CONTENT) - 1)


def check(operation: str = "eq", **changes: str) -> dict[str, Any]:
    own = {"input": "{{sample.output_text}}", "reference": "{{ item.answer }}"}
    return {"type": "string_check", "name": "a", "operation": operation, **own, **changes}


def multi(formula: str, **graders: Any) -> dict[str, Any]:
    parts = graders or {"a": check(), "b": check("ilike", reference="{{item.other}}")}
    return {"type": "multi", "name": "sum", "graders": parts, "calculate_output": formula}


@pytest.mark.parametrize("grader", [check(), check("ne"), multi("0.75 * a - max(b, 0.5)^2")])
def test_graders_that_run_here_are_taken_as_they_are(grader):
    [parsed] = parse_evaluators(evaluator(grader))
    assert isinstance(parsed.target, ComposedTarget)
    assert parsed.target.grader == grader
    assert parsed.name == grader["name"]


@pytest.mark.parametrize(
    ("grader", "where", "words"),
    [
        (check("is"), "grader.operation", "unknown 'is'"),
        (check(input="{{sample.output_audio}}"), "grader.input", "a sample has output_text and output_json"),
        (check(reference="{{row.answer}}"), "grader.reference", "neither item.<field> nor sample.<field>"),
        (check(extra="1"), "grader", "unknown 'extra'"),
        ({"type": "python", "source": "", "image_tag": "2025-05-08"}, "grader", "unknown 'image_tag'"),
        ({"type": "score_model"}, "grader.model", "names no model"),
        ({"type": ["multi"]}, "grader.type", "unknown"),
        ({}, "grader.type", "unknown 'None'"),
        (multi("a", a={"type": "label_model"}), "graders.a.model", "names no model"),
        (multi("a", a={"type": "endpoint"}), "graders.a.type", "endpoint has no equal here"),
    ],
)
def test_graders_without_an_equal_here(grader, where, words):
    with pytest.raises(UserError) as refusal:
        evaluator(grader)
    assert refusal.value.where.endswith(where)
    assert words in str(refusal.value)


def test_an_integration_becomes_a_tracker():
    wandb = {"project": "sums", "name": "first", "entity": "us"}
    given = CreateJob(model="m", training_file="f", integrations=[{"type": "wandb", "wandb": wandb}])
    settings = given.job("m", None, None).settings
    assert settings["report_to"] == ["wandb"]
    assert [settings[f"tracker_{part}"] for part in ("project", "run", "entity")] == ["sums", "first", "us"]
    plain = CreateJob(model="m", training_file="f", integrations=[])
    assert "report_to" not in plain.job("m", None, None).settings
