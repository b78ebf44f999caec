"""Rows of attempts that were made and judged elsewhere: where their prompt ends, and what is refused."""

import pytest
from data.dataset_files import ASSISTANT, CALL, RFT, TOOL, USER, write

from tunesmith.core.errors import UserError
from tunesmith.data import load_rows

WRONG = {"role": "assistant", "content": "5"}
SYSTEM = {"role": "system", "content": "Be brief."}


def attempt(*messages, **evals):
    return {"messages": list(messages), "evals": evals or {"score": 1.0}}


BAD = [
    ([], "samples: found an empty list, not a list of attempts"),
    ("4", "samples: found '4', not a list of attempts"),
    (["4"], "samples[0]: found '4', not an attempt"),
    ([attempt(USER)], "samples[0].messages: found a list of 1, an attempt without an answer"),
    ([{"messages": [USER, ASSISTANT]}], "samples[0].evals: found null, no score"),
    ([attempt(USER, ASSISTANT, score="good")], "samples[0].evals: found an object with score, no score"),
    ([attempt(USER, ASSISTANT, score=True)], "samples[0].evals: found an object with score, no score"),
    ([attempt(SYSTEM, USER, ASSISTANT), attempt(USER, ASSISTANT)], "attempts that do not answer the same prompt"),
    ([{"evals": {"score": 1}}], "samples[0].messages: found null, no messages"),
    ([attempt(USER, ASSISTANT, score=10**400)], "samples[0].evals.score: found an integer of 1329 bits, too large"),
]
"""Samples, and what is said of them."""


def read(tmp_path, row):
    [found] = load_rows(write(tmp_path / "t.jsonl", row), "rft").rows
    return found


def roles(messages):
    return [message["role"] for message in messages]


def test_what_all_attempts_begin_with_is_the_prompt(tmp_path):
    samples = [
        attempt(SYSTEM, USER, ASSISTANT, score=1, style=0.5, reason="right"),
        attempt(SYSTEM, USER, WRONG, score=0),
    ]
    row = read(tmp_path, {"id": "sum-1", "samples": samples, "ground_truth": "4"})
    assert (row.prompt_id, row.messages) == ("sum-1", (SYSTEM, USER))
    assert [a.scores for a in row.attempts] == [{"score": 1.0, "style": 0.5}, {"score": 0.0}]
    assert [a.messages[-1]["content"] for a in row.attempts] == ["4", "5"]
    assert row.row["ground_truth"] == "4"


def test_attempts_of_several_turns_part_where_the_assistant_first_speaks_otherwise(tmp_path):
    more = {"role": "user", "content": "Sure?"}
    row = read(
        tmp_path, {"samples": [attempt(USER, ASSISTANT, more, WRONG), attempt(USER, ASSISTANT, more, ASSISTANT)]}
    )
    assert roles(row.messages) == ["user", "assistant", "user"]
    row = read(tmp_path, {"samples": [attempt(USER, ASSISTANT, more, WRONG), attempt(USER, WRONG)]})
    assert roles(row.messages) == ["user"]


def test_what_came_back_from_a_tool_is_no_part_of_the_prompt(tmp_path):
    calls = {"role": "assistant", "tool_calls": [CALL]}
    said = [{"role": "tool", "tool_call_id": "c1", "content": content} for content in ("4", "error")]
    row = read(
        tmp_path,
        {"samples": [attempt(USER, calls, said[0], ASSISTANT), attempt(USER, calls, said[1], WRONG)], "tools": [TOOL]},
    )
    assert (roles(row.messages), row.tools) == (["user"], (TOOL,))


def test_attempts_that_are_all_alike_still_have_an_answer(tmp_path):
    row = read(tmp_path, {"samples": [attempt(USER, ASSISTANT), attempt(USER, ASSISTANT, score=0)]})
    assert roles(row.messages) == ["user"]


def test_beside_a_prompt_they_are_a_field_like_any_other(tmp_path):
    row = read(tmp_path, {**RFT, "samples": "whatever"})
    assert (row.attempts, row.row["samples"]) == ((), "whatever")


@pytest.mark.parametrize(("samples", "said"), BAD)
def test_what_is_refused(tmp_path, samples, said):
    with pytest.raises(UserError) as refused:
        read(tmp_path, {"samples": samples})
    assert said in str(refused.value)
