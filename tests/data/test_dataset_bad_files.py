"""Every class of bad file is refused with the line it is on, what stands there and what to do."""

import gzip
import json
import os
from typing import Any

import pytest
from data.dataset_files import ASSISTANT, CALL, DPO, RFT, SFT, TOOL, USER, good, said, write

from tunesmith.core.errors import NotFound, UserError
from tunesmith.data import check_file, load_rows

SFT_TEXT = json.dumps(SFT)
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
AUDIO = {"type": "input_audio", "input_audio": {"data": "AA=="}}


def user(content: Any) -> dict[str, Any]:
    return said({"role": "user", "content": content}, ASSISTANT)


def called(**changes: Any) -> dict[str, Any]:
    function = {name: value for name, value in ({**CALL["function"], **changes}).items() if value is not ...}
    return said(USER, {"role": "assistant", "tool_calls": [{**CALL, "function": function}]})


def paired(**changes: Any) -> dict[str, Any]:
    return good("dpo", **changes)


BAD_TEXT: dict[str, tuple[str | bytes, str, str]] = {
    # name: (a line's text, words of the problem, words of the mend)
    "cut off": (SFT_TEXT[:-2], "invalid JSON", "add ]} at its end"),
    "cut off inside text": (SFT_TEXT[:40], "invalid JSON", "cut off"),
    "single quotes": ("{'messages': []}", "invalid JSON", "double quotes"),
    "python literal": ('{"messages": None}', "invalid JSON", "null, true and false"),
    "trailing comma in object": ('{"messages": [],}', "invalid JSON", "remove the comma"),
    "trailing comma in list": ('{"messages": [1,]}', "invalid JSON", "remove the comma"),
    "comment": ('{"messages": [] // none}', "invalid JSON", "no comments"),
    "leading comment": ("# {}", "invalid JSON", "no comments"),
    "two objects on a line": (SFT_TEXT + SFT_TEXT, "invalid JSON", "line of its own"),
    "comma between rows": (SFT_TEXT + ",", "invalid JSON", "line of its own"),
    "carriage returns only": (SFT_TEXT + "\r" + SFT_TEXT, "invalid JSON", "not \\r alone"),
    "raw tab in text": ('{"messages": "a\tb"}', "invalid JSON", "\\t"),
    "bad escape": ('{"messages": "\\frac \\d"}', "invalid JSON", "\\\\"),
    "no colon": ('{"messages" []}', "invalid JSON", "Expecting ':' delimiter"),
    "unquoted key": ("{messages: []}", "invalid JSON", "double quotes"),
    "csv": ("prompt,completion", "invalid JSON", "one JSON object per line"),
    "NaN": ('{"messages": [], "score": NaN}', "not a JSON number", "finite number"),
    "infinity": ('{"messages": [], "score": -Infinity}', "not a JSON number", "finite number"),
    "float overflow": ('{"messages": [], "score": 1e999}', "number too large", "as a string"),
    "huge integer": ('{"messages": [], "score": ' + "9" * 5000 + "}", "number too long", "as a string"),
    "duplicate key": ('{"messages": [], "messages": []}', "duplicate key", "Keep one"),
    "duplicate key deep down": ('{"messages": [{"role": "user", "role": "user"}]}', "duplicate key", "Keep one"),
    "lone surrogate": ('{"messages": [{"role": "user", "content": "\\ud83d"}]}', "surrogate", "pair of \\u escapes"),
    "lone surrogate in a key": ('{"\\ud83d": 1}', "surrogate", "pair of \\u escapes"),
    "65 levels of lists": ('{"messages": ' + "[" * 65 + "]" * 65 + "}", "nested too deep", "at most 64"),
    "10,000 levels of lists": ("[" * 10_000, "nested too deep", "at most 64"),
    "10,000 levels of objects": ('{"a":' * 10_000, "nested too deep", "at most 64"),
    "string": ('"messages"', "not an object", "one JSON object per line"),
    "number": ("42", "not an object", "one JSON object per line"),
    "null": ("null", "not an object", "one JSON object per line"),
    "list": ("[1]", "not an object", "one JSON object per line"),
    "NUL byte": (b'{"messages": "\0"}', "not text", "UTF-16"),
    "invalid UTF-8": (b'{"messages": "caf\xe9"}', "not valid UTF-8", "Save it as UTF-8"),
    "encoded surrogate": (b'{"messages": "\xed\xa0\xbd"}', "not valid UTF-8", "Save it as UTF-8"),
    "line over 10 MB": ('{"messages": "' + "x" * 10 * 2**20 + '"}', "line too long", "Split the row"),
}

BAD_SFT: dict[str, tuple[dict[str, Any], str, str, str]] = {
    # name: (a row, its field, words of the problem, words of the mend)
    "no messages": ({"id": 1}, "messages", "Missing required field 'messages'", "Write"),
    "empty row": ({}, "messages", "Missing required field 'messages'", "Write"),
    "empty messages": (said(), "messages", "no messages", "at least one message"),
    "messages null": ({"messages": None}, "messages", "no messages", "at least one message"),
    "messages an object": ({"messages": {"role": "user"}}, "messages", "not a list of messages", "at least one"),
    "messages as text": ({"messages": "[]"}, "messages", "text, not a list", "Write ["),
    "message as text": (said("hi", ASSISTANT), "messages[0]", "not a message", "role"),
    "no role": (said({"content": "hi"}, ASSISTANT), "messages[0].role", "Missing required field 'role'", "Use system"),
    "unknown role": (said(USER, {"role": "narrator", "content": ""}), "messages[1].role", "unknown role", "Use system"),
    "role of another shape": (
        said(USER, {"role": "GPT", "content": "4"}),
        "messages[1].role",
        "unknown",
        "'assistant'",
    ),
    "role not text": (said({"role": ["user"], "content": "hi"}), "messages[0].role", "unknown role", "Use system"),
    "system not first": (
        said(USER, {"role": "system", "content": ""}),
        "messages[1].role",
        "out of order",
        "the start",
    ),
    "two users": (said(USER, USER, ASSISTANT), "messages[1].role", "out of order after user", "assistant"),
    "assistant first": (said(ASSISTANT), "messages[0].role", "out of order after the start", "user or tool"),
    "assistant after system": (
        said({"role": "system", "content": "x"}, ASSISTANT),
        "messages[1].role",
        "out of order after system",
        "user or tool",
    ),
    "two assistants": (said(USER, ASSISTANT, ASSISTANT), "messages[2].role", "out of order", "user or tool"),
    "tool after user": (
        said(USER, {"role": "tool", "content": "4"}, ASSISTANT),
        "messages[1].role",
        "out of order",
        "assistant or tool",
    ),
    "ends with user": (said(USER), "messages[0].role", "does not end with an assistant", "rft job"),
    "content null": (user(None), "messages[0].content", "Missing required field 'content'", "Write text"),
    "content missing": (said({"role": "user"}, ASSISTANT), "messages[0].content", "Missing", "Write text"),
    "content a number": (user(4), "messages[0].content", "not text", "list of parts"),
    "content an empty list": (user([]), "messages[0].content", "not text", "list of parts"),
    "part as text": (user(["hi"]), "messages[0].content[0]", "not a content part", '"type": "text"'),
    "part without type": (user([{"text": "hi"}]), "messages[0].content[0].type", "unknown kind", '"type": "text"'),
    "part with value": (user([{"type": "text", "value": "hi"}]), "messages[0].content[0].value", "unknown", "to text"),
    "part text null": (user([{"type": "text", "text": None}]), "messages[0].content[0].text", "not text", "text"),
    "image": (user([{"type": "text", "text": "see"}, IMAGE]), "messages[0].content[1].type", "not text", "text-only"),
    "audio part": (user([AUDIO]), "messages[0].content[0].type", "not text", "text-only"),
    "audio reply": (said(USER, {**ASSISTANT, "audio": {"id": "a"}}), "messages[1].audio", "not text", "text-only"),
    "loss_weight": (said(USER, {**ASSISTANT, "loss_weight": 1.0}), "messages[1].loss_weight", "unknown", "to weight"),
    "thinking": (said(USER, {**ASSISTANT, "thinking": "hm"}), "messages[1].thinking", "unknown", "reasoning_content"),
    "from and value": (said({"from": "human", "value": "hi"}), "messages[0].from", "unknown field", "role"),
    "function_call": (
        said(USER, {**ASSISTANT, "function_call": {}}),
        "messages[1].function_call",
        "unknown",
        "tool_calls",
    ),
    "weight 2": (said({**USER, "weight": 2}, ASSISTANT), "messages[0].weight", "invalid message weight", "0 (not"),
    "weight 0.5": (said(USER, {**ASSISTANT, "weight": 0.5}), "messages[1].weight", "invalid", "Weight must be 0"),
    "weight true": (said(USER, {**ASSISTANT, "weight": True}), "messages[1].weight", "invalid", "Weight must be 0"),
    "nothing to train: weights 0": (said(USER, {**ASSISTANT, "weight": 0}), "messages", "no assistant", "weight 1"),
    "nothing to train: empty": (said(USER, {**ASSISTANT, "content": ""}), "messages", "no assistant", "weight 1"),
    "root weight as text": (said(USER, ASSISTANT, weight="1"), "weight", "not a number", "finite number"),
    "root weight true": (said(USER, ASSISTANT, weight=True), "weight", "not a number", "finite number"),
    "root weight too large": (said(USER, ASSISTANT, weight=10**400), "weight", "too large", "near 1"),
    "name not text": (said({**USER, "name": 1}, ASSISTANT), "messages[0].name", "not text", "Write name as text"),
    "reasoning of a user": (
        said({**USER, "reasoning_content": "hm"}, ASSISTANT),
        "messages[0].reasoning_content",
        "only assistants reason",
        "Move it",
    ),
    "tools as text": (said(USER, ASSISTANT, tools="[]"), "tools", "JSON text", "the list itself"),
    "tools an object": (said(USER, ASSISTANT, tools=TOOL), "tools", "not a list of tools", "the list itself"),
    "tool as text": (said(USER, ASSISTANT, tools=["add"]), "tools[0]", "not a tool", '"type": "function"'),
    "tool unwrapped": (said(USER, ASSISTANT, tools=[TOOL["function"]]), "tools[0].type", "not a", "inside function"),
    "tool without function": (
        said(USER, ASSISTANT, tools=[{"type": "function"}]),
        "tools[0].function",
        "not a",
        "Write",
    ),
    "tool without name": (
        said(USER, ASSISTANT, tools=[{"type": "function", "function": {}}]),
        "tools[0].function.name",
        "no function name",
        "Write",
    ),
    "tool parameters as text": (
        said(USER, ASSISTANT, tools=[{"type": "function", "function": {"name": "a", "parameters": "{}"}}]),
        "tools[0].function.parameters",
        "not a JSON schema",
        "Write",
    ),
    "tool_calls an object": (
        said(USER, {**ASSISTANT, "tool_calls": CALL}),
        "messages[1].tool_calls",
        "not a list",
        "Write",
    ),
    "tool call as text": (
        said(USER, {**ASSISTANT, "tool_calls": ["add"]}),
        "messages[1].tool_calls[0]",
        "not a",
        "Write",
    ),
    "tool call of a user": (said({**USER, "tool_calls": [CALL]}, ASSISTANT), "messages[0].tool_calls", "user", "Move"),
    "call without name": (called(name=...), "messages[1].tool_calls[0].function.name", "no function name", "Write"),
    "call without arguments": (called(arguments=...), "messages[1].tool_calls[0].function.arguments", "not JSON", "{}"),
    "call with bad arguments": (
        called(arguments="{a: 1}"),
        "messages[1].tool_calls[0].function.arguments",
        "not",
        "{}",
    ),
    "call with a list": (called(arguments="[1]"), "messages[1].tool_calls[0].function.arguments", "but not of", "{}"),
    "call with empty text": (called(arguments=""), "messages[1].tool_calls[0].function.arguments", "not JSON", "{}"),
    "ShareGPT": ({"conversations": [{"from": "human", "value": "hi"}]}, "messages", "Missing", "'conversations' to"),
    "plain text": ({"text": "Once upon a time"}, "messages", "Missing", "split 'text'"),
    "instruction and output": ({"instruction": "a", "output": "b"}, "messages", "Missing", "'instruction'"),
    "prompt and completion": ({"prompt": "a", "completion": "b"}, "messages", "Missing", "'completion' as the"),
    "question and answer": ({"question": "a", "answer": "b"}, "messages", "Missing", "'question' as the user's"),
    "preference row": (DPO, "messages", "Missing", "run a dpo job"),
    "messages misspelt": ({"mesages": []}, "messages", "Missing", "Rename 'mesages'"),
    "messages capitalised": ({"Messages": []}, "messages", "Missing", "Rename 'Messages'"),
    "messages by another name": ({"dialog": [USER, ASSISTANT]}, "messages", "Missing", "Rename 'dialog'"),
}

BAD_DPO: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "no input": (paired(input=...), "input", "Missing required field 'input'", "Write"),
    "no better answer": (paired(preferred_output=...), "preferred_output", "Missing", "Write"),
    "no worse answer": (paired(non_preferred_output=None), "non_preferred_output", "Missing", "Write"),
    "input as text": (paired(input="2+2?"), "input", "not an object", "messages"),
    "input without messages": (paired(input={"tools": []}), "input.messages", "Missing", "messages"),
    "input empty": (paired(input={"messages": []}), "input.messages", "no messages", "at least one"),
    "input ends with assistant": (
        paired(input={"messages": [USER, ASSISTANT]}),
        "input.messages[1].role",
        "nothing to answer",
        "user or tool",
    ),
    "input only a system prompt": (
        paired(input={"messages": [{"role": "system", "content": "x"}]}),
        "input.messages[0].role",
        "nothing to answer",
        "user or tool",
    ),
    "answer as text": (paired(preferred_output="4"), "preferred_output", "exactly one", "list of one"),
    "answer as object": (paired(preferred_output=ASSISTANT), "preferred_output", "exactly one", "list of one"),
    "two answers": (paired(preferred_output=[ASSISTANT, ASSISTANT]), "preferred_output", "exactly one", "list of one"),
    "answer by user": (paired(preferred_output=[USER]), "preferred_output[0].role", "not an assistant", "list of one"),
    "empty answer": (
        paired(preferred_output=[{"role": "assistant", "content": ""}]),
        "preferred_output[0].content",
        "an empty answer",
        "remove the row",
    ),
    "equal answers": (paired(non_preferred_output=[ASSISTANT]), "non_preferred_output", "the same answer", "different"),
    "tools outside": (paired(tools=[TOOL]), "tools", "outside input", "into input"),
    "image in the prompt": (
        paired(input={"messages": [{"role": "user", "content": [IMAGE]}]}),
        "input.messages[0].content[0].type",
        "not text",
        "text-only",
    ),
    "chosen and rejected": (
        {"prompt": "a", "chosen": "b", "rejected": "c"},
        "input",
        "Missing",
        "'chosen' in preferred",
    ),
    "chosen_messages": (
        {"chosen_messages": [USER, ASSISTANT], "rejected_messages": [USER, ASSISTANT]},
        "input",
        "Missing",
        "'rejected_messages' in non_preferred_output",
    ),
}

BAD_RFT: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "no prompt": ({"seed": 1}, "messages", "Missing required field 'messages'", "Add 'prompt'"),
    "question": ({"question": "a", "answer": "b"}, "messages", "Missing", "Rename 'question' to 'prompt'"),
    "prompt a number": ({"prompt": 4}, "prompt", "not a list of messages", "at least one"),
    "prompt null": ({"prompt": None}, "prompt", "no messages", "at least one"),
    "prompt of bad messages": ({"prompt": [{"role": "bot", "content": "x"}]}, "prompt[0].role", "unknown role", "Use"),
    "only a system prompt": (
        {"messages": [{"role": "system", "content": "x"}]},
        "messages[0].role",
        "nothing to answer",
        "user or tool",
    ),
    "only an answer": ({"messages": [ASSISTANT]}, "messages[0].role", "out of order", "user or tool"),
    "messages empty": (good("rft", messages=[]), "messages", "no messages", "at least one"),
    "tools bad": (good("rft", tools=[{}]), "tools[0].type", "not a function tool", "Write"),
}

ROWS = [("sft", *case) for case in BAD_SFT.items()]
ROWS += [("dpo", *case) for case in BAD_DPO.items()]
ROWS += [("rft", *case) for case in BAD_RFT.items()]


@pytest.mark.parametrize(("bad", "problem", "mend"), BAD_TEXT.values(), ids=BAD_TEXT)
def test_a_bad_line_is_named(tmp_path, bad, problem, mend):
    found = check_file(write(tmp_path / "train.jsonl", SFT, SFT, bad, SFT), "sft").problems
    assert [p.line for p in found] == [3]
    assert problem in found[0].problem and mend in found[0].mend
    assert str(found[0]).startswith("train.jsonl:3: ")


@pytest.mark.parametrize(("kind", "name", "case"), ROWS, ids=[f"{kind} {name}" for kind, name, _ in ROWS])
def test_a_bad_row_is_named(tmp_path, kind, name, case):
    row, field, problem, mend = case
    found = check_file(write(tmp_path / "train.jsonl", good(kind), good(kind), row, good(kind)), kind).problems
    assert {p.line for p in found} == {3}
    assert found[0].field == field
    assert problem in found[0].problem and mend in found[0].mend


WHOLE: dict[str, tuple[bytes, str]] = {
    # name: (a file's bytes, words of the message)
    "empty": (b"", "File is empty"),
    "only blank lines": (b"\n \n\r\n", "File is empty"),
    "gzip": (gzip.compress(SFT_TEXT.encode()), "gunzip"),
    "zip": (b"PK\x03\x04rest", "unzip"),
    "bzip2": (b"BZh9rest", "bunzip2"),
    "xz": (b"\xfd7zXZ\0", "unxz"),
    "zstd": (b"\x28\xb5\x2f\xfdrest", "unzstd"),
    "parquet": (b"PAR1rest", "parquet file"),
    "UTF-16": (SFT_TEXT.encode("utf-16"), "UTF-16"),
    "UTF-16 big-endian": (b"\xfe\xff" + SFT_TEXT.encode("utf-16-be"), "UTF-16"),
    "UTF-32": (SFT_TEXT.encode("utf-32"), "UTF-32"),
    "UTF-16 without mark": (SFT_TEXT.encode("utf-16-le"), "UTF-16"),
    "git lfs pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "web page": (b"<!DOCTYPE html>\n<html></html>\n", "raw file"),
    "JSON array on one line": (f"[{SFT_TEXT}, {SFT_TEXT}]".encode(), "jq -c '.[]'"),
    "JSON array over lines": (json.dumps([SFT] * 5, indent=2).encode(), "jq -c '.[]'"),
    "pretty-printed object": (json.dumps(SFT, indent=2).encode(), "each object on one line"),
    "too few rows": (f"{SFT_TEXT}\n{SFT_TEXT}\n".encode(), "sft needs at least 3 rows"),
    "torn last line": (f"{SFT_TEXT}\n{SFT_TEXT}\n{SFT_TEXT[:90]}".encode(), "invalid JSON on line 3"),
}


@pytest.mark.parametrize(("content", "message"), WHOLE.values(), ids=WHOLE)
def test_a_bad_file_is_refused_whole(tmp_path, content, message):
    path = tmp_path / "train.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"train\.jsonl:\d+: ") as refused:
        load_rows(path, "sft")
    assert message in str(refused.value)
    assert len(check_file(path, "sft").problems) <= 2


def test_weights_on_some_rows_only_name_the_first_that_differs(tmp_path):
    path = write(tmp_path / "t.jsonl", said(USER, ASSISTANT, weight=2), said(USER, ASSISTANT), said(USER, ASSISTANT))
    (problem,) = check_file(path, "sft").problems
    assert (problem.line, problem.found) == (2, "it on 1 of 3 rows")


def test_weights_of_zero_everywhere_train_nothing(tmp_path):
    (problem,) = check_file(write(tmp_path / "t.jsonl", *[said(USER, ASSISTANT, weight=0)] * 3), "sft").problems
    assert problem.problem == "nothing to train"


@pytest.mark.parametrize("skip_bad", [False, True])
def test_a_file_that_is_not_there(tmp_path, skip_bad):
    with pytest.raises(NotFound, match="no such dataset file"):
        load_rows(tmp_path / "none.jsonl", "rft", skip_bad)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="a folder, not a dataset file"):
        check_file(tmp_path, "sft")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_forbidden_file_is_refused(tmp_path):
    path = write(tmp_path / "t.jsonl", SFT)
    path.chmod(0)
    with pytest.raises(UserError, match="chmod"):
        check_file(path, "sft")


def test_an_unknown_kind_names_the_known(tmp_path):
    with pytest.raises(UserError, match="Known: dpo, rft, sft"):
        check_file(write(tmp_path / "t.jsonl", RFT), "stf")


def test_the_message_has_one_line_per_cause(tmp_path):
    rows = [said(USER, {"role": "bot", "content": str(i)}) for i in range(30)]
    path = write(tmp_path / "train.jsonl", *rows, "{")
    with pytest.raises(UserError) as refused:
        load_rows(path, "sft")
    text = str(refused.value)
    assert "Dataset validation failed: unknown role on line 1" in text
    first = "train.jsonl:1: messages[1].role: found 'bot', unknown role. Use system, user, assistant or tool"
    assert first in text and "the same on 29 more lines: 2, 3" in text
    assert "train.jsonl:31: column 2" in text
    assert "skip_bad_rows" in text


def test_more_than_twenty_causes_are_counted(tmp_path):
    path = write(tmp_path / "train.jsonl", *[{f"field{i}": [USER]} for i in range(32)])
    report = check_file(path, "sft")
    assert len(report.problems) == report.counts.problems == 32
    with pytest.raises(UserError, match="and 12 more"):
        report.raise_if_bad()


def test_problems_are_counted_beyond_those_kept(tmp_path):
    report = check_file(write(tmp_path / "t.jsonl", *["x"] * 10_050), "sft")
    assert (len(report.problems), report.counts.problems) == (10_000, 10_050)
