"""docs/datasets.md lists the wording of every refusal, and none that does not exist."""

import json
import re
from pathlib import Path

from data.dataset_files import ASSISTANT, CALL, SFT, TOOL, USER, said, write
from data.test_dataset_bad_files import BAD_TEXT, ROWS, WHOLE
from data.test_recorded_attempts import BAD as BAD_SAMPLES

from tunesmith.data import check_file

DOCS = Path(__file__).resolve().parents[2] / "docs" / "datasets.md"
TABLE = DOCS.read_text("utf-8").partition("## What is refused")[2].partition("## Held-out")[0]
WORDINGS = re.findall(r"^\| `([^`]+)` \|", TABLE, re.MULTILINE)
ELSEWHERE = {"too many rows"}
"""Too slow to produce here."""


def every_problem(tmp_path):
    path = tmp_path / "t.jsonl"
    for bad, _, _ in BAD_TEXT.values():
        yield from check_file(write(path, SFT, bad), "sft").problems
    for kind, _, (row, _, _, _) in ROWS:
        yield from check_file(write(path, row), kind).problems
    for samples, _ in BAD_SAMPLES:
        yield from check_file(write(path, {"samples": samples}), "rft").problems
    for content, _ in WHOLE.values():
        path.write_bytes(content)
        yield from check_file(path, "sft").problems
    for weights in ((0, 0, 0), (1, 1, None)):
        yield from check_file(write(path, *[said(USER, ASSISTANT, weight=w) for w in weights]), "sft").problems
    call = said(USER, {**ASSISTANT, "tool_calls": [{**CALL, "type": "code"}]}, tools=[TOOL])
    yield from check_file(write(path, call), "sft").problems


def test_every_wording_is_documented_and_every_documented_wording_exists(tmp_path):
    said_by_code = {problem.problem for problem in every_problem(tmp_path)}
    assert [text for text in said_by_code if not any(wording in text for wording in WORDINGS)] == []
    unused = {w for w in WORDINGS if not any(w in text for text in said_by_code)}
    assert unused == ELSEWHERE


def test_the_examples_of_the_three_shapes_are_good(tmp_path):
    examples = re.findall(r"```json\n(\{.*\})\n```", DOCS.read_text("utf-8"))
    for kind, example in zip(("sft", "dpo", "rft", "rft"), examples, strict=True):
        assert check_file(write(tmp_path / "t.jsonl", *[json.loads(example)] * 3), kind).problems == ()
