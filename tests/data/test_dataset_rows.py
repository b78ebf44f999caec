"""Good rows: what they become, what is noted, and what passes through untouched."""

import codecs
import json

import pytest
from data.dataset_files import ASSISTANT, DPO, RFT, SFT, TOOL, USER, good, said, write

from tunesmith.data import check_file, load_rows


def only_row(tmp_path, kind, row):
    """The first row of a file that repeats one line often enough."""
    return load_rows(write(tmp_path / "t.jsonl", row, row, row), kind).rows[0]


def test_an_sft_row_is_ready_for_chat_templates(tmp_path):
    row = only_row(tmp_path, "sft", SFT)
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": {"a": 2, "b": 2}}}
    assert row.messages == (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is 2+2?"},
        {"role": "assistant", "content": "", "tool_calls": [call], "weight": 1},
        {"role": "tool", "content": "4", "tool_call_id": "c1"},
        {"role": "assistant", "content": "It is 4.", "weight": 1},
    )
    assert (row.line, row.tools, row.weight) == (1, (TOOL,), 1.0)


def test_weights_are_kept(tmp_path):
    row = only_row(tmp_path, "sft", said(USER, {**ASSISTANT, "weight": 0.0}, USER, ASSISTANT, weight=-0.5))
    assert [m.get("weight") for m in row.messages] == [None, 0, None, 1]
    assert row.weight == -0.5


def test_arguments_may_be_an_object_already(tmp_path):
    calls = [{"function": {"name": "add", "arguments": {"a": 1}}}]
    row = only_row(tmp_path, "sft", said(USER, {"role": "assistant", "tool_calls": calls}))
    assert row.messages[1]["tool_calls"] == [{"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}]


def test_a_dpo_row(tmp_path):
    row = only_row(tmp_path, "dpo", DPO)
    assert (row.messages, row.tools) == ((USER,), ())
    assert (row.preferred, row.rejected) == (ASSISTANT, {"role": "assistant", "content": "5"})


def test_answers_may_differ_in_their_reasoning_alone(tmp_path):
    thoughts = [[{**ASSISTANT, "reasoning_content": text}] for text in ("2 and 2", "a guess")]
    row = only_row(tmp_path, "dpo", good("dpo", preferred_output=thoughts[0], non_preferred_output=thoughts[1]))
    assert (row.preferred, row.rejected) == (thoughts[0][0], thoughts[1][0])


def test_an_rft_row_keeps_everything_for_the_grader(tmp_path):
    row = only_row(tmp_path, "rft", RFT)
    assert (row.prompt_id, row.messages, row.row) == ("sum-1", (USER,), RFT)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"id": "a", "prompt_id": "b"}, "a"),
        ({"id": 0}, "0"),
        ({"id": None, "prompt_id": 7}, "7"),
        ({"id": "", "input_metadata": {"row_id": "q669"}}, "q669"),
        ({"id": True, "prompt_id": ["x"], "input_metadata": "x"}, "row-1"),
        ({}, "row-1"),
    ],
)
def test_the_name_of_a_prompt(tmp_path, row, expected):
    assert only_row(tmp_path, "rft", {"messages": [USER], **row}).prompt_id == expected


@pytest.mark.parametrize("prompt", ["2+2?", [USER]])
def test_a_prompt_may_be_text_or_messages(tmp_path, prompt):
    assert only_row(tmp_path, "rft", {"prompt": prompt, "answer": 4}).messages == (USER,)


def test_messages_win_over_a_prompt_that_is_for_the_grader(tmp_path):
    assert only_row(tmp_path, "rft", {"prompt": 3, "messages": [USER]}).messages == (USER,)


def test_a_saved_evaluation_row_loses_its_old_answer_but_only_in_the_prompt(tmp_path):
    broken = {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": "{"}}]}
    saved = {"messages": [USER, ASSISTANT, broken], "tools": None, "rollout_status": {"code": 101}, "ground_truth": "4"}
    report = load_rows(write(tmp_path / "t.jsonl", saved), "rft")
    assert report.rows[0].messages == (USER,)
    assert report.rows[0].row == saved
    assert report.notes == ("a trailing assistant message is earlier output: it is left out of the prompt (1 rows)",)


def test_earlier_turns_stay_in_a_prompt(tmp_path):
    messages = [USER, ASSISTANT, USER]
    assert only_row(tmp_path, "rft", {"messages": messages}).messages == tuple(messages)


def test_reasoning_makes_one_example_per_assistant_turn(tmp_path):
    thought = [{**ASSISTANT, "content": text, "reasoning_content": f"hm {text}"} for text in "abc"]
    thought[1]["weight"] = 0
    conversation = said(USER, thought[0], USER, thought[1], USER, thought[2], weight=2)
    report = load_rows(write(tmp_path / "t.jsonl", conversation, conversation, conversation), "sft")
    first, second = report.rows[:2]
    assert first.messages == (USER, {**thought[0], "weight": 1})
    history = [{**ASSISTANT, "content": text, "weight": 0} for text in "ab"]
    assert second.messages == (USER, history[0], USER, history[1], USER, {**thought[2], "weight": 1})
    assert [row.line for row in report.rows] == [1, 1, 2, 2, 3, 3]
    assert [row.weight for row in report.rows] == [2.0] * 6
    assert (report.counts.lines, report.counts.examples) == (3, 6)
    assert any("one example per assistant turn" in note and "(3 rows)" in note for note in report.notes)


def test_without_reasoning_a_conversation_stays_whole(tmp_path):
    report = load_rows(write(tmp_path / "t.jsonl", *[said(USER, ASSISTANT, USER, ASSISTANT)] * 3), "sft")
    assert report.counts.examples == 3


@pytest.mark.parametrize(
    ("kind", "row", "note"),
    [
        ("sft", good("sft", id=1, source="web"), "ignored fields: id, source"),
        ("sft", said({**USER, "mood": "calm", "audio": None}, ASSISTANT), "ignored fields: messages[].mood"),
        ("sft", said({**USER, "weight": 1}, ASSISTANT), "weight 1 on a system, user or tool message has no effect"),
        ("dpo", good("dpo", input={"messages": [USER], "parallel_tool_calls": True}), "ignored fields: input.parallel"),
        ("dpo", good("dpo", preferred_output=[{**ASSISTANT, "weight": 1}]), "message weights have no effect"),
        ("rft", good("rft", messages=[USER, {**ASSISTANT, "weight": 0}, USER]), "message weights have no effect"),
    ],
)
def test_nothing_is_ignored_in_silence(tmp_path, kind, row, note):
    report = check_file(write(tmp_path / "t.jsonl", row, row, row), kind)
    assert not report.problems
    assert [found for found in report.notes if found.startswith(note)]


def test_a_clean_file_has_no_notes(tmp_path):
    for kind in ("sft", "dpo", "rft"):
        assert check_file(write(tmp_path / "t.jsonl", *[good(kind)] * 3), kind).notes == ()


def test_byte_order_mark_crlf_blank_lines_and_no_last_newline_are_accepted(tmp_path):
    line = json.dumps(SFT).encode()
    path = tmp_path / "t.jsonl"
    path.write_bytes(codecs.BOM_UTF8 + line + b"\r\n\r\n" + line + b"\n  \n" + line)
    report = load_rows(path, "sft")
    assert [row.line for row in report.rows] == [1, 3, 5]
    assert (report.counts.blank, report.notes) == (2, ("skipped 2 blank lines",))


def test_counts(tmp_path):
    counts = check_file(write(tmp_path / "t.jsonl", SFT, SFT, SFT), "sft").counts
    assert (counts.lines, counts.blank, counts.examples, counts.messages, counts.problems) == (3, 0, 3, 15, 0)


@pytest.mark.parametrize(
    "text",
    ["", " ", "\u2028", "\u0000", "\U0001f469\u200d\U0001f4bb", "\u202etxet", "\\ud83d", "[[{{", "</s><|im_end|>", "ﬁ"],
)
def test_awkward_text_comes_back_as_it_was(tmp_path, text):
    for spelt in (json.dumps, lambda row: json.dumps(row, ensure_ascii=False)):
        assert only_row(tmp_path, "rft", spelt({"prompt": text})).messages[0]["content"] == text


def test_64_levels_are_accepted_and_brackets_in_text_are_no_levels(tmp_path):
    deep = '{"prompt": "' + "[{" * 200 + '", "extra": ' + "[" * 63 + "]" * 63 + "}"
    assert only_row(tmp_path, "rft", deep).messages[0]["content"] == "[{" * 200
