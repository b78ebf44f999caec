"""Bad lines that ``skip_bad`` leaves out, and the files that it does not mend."""

import gzip
import json

import pytest
from data.dataset_files import SFT, write

from tunesmith.core.errors import UserError
from tunesmith.data import load_rows

SFT_TEXT = json.dumps(SFT)


def test_bad_lines_can_be_left_out_and_are_listed(tmp_path):
    report = load_rows(write(tmp_path / "t.jsonl", SFT, "{", SFT, {"text": "x"}, SFT), "sft", skip_bad=True)
    assert report.skipped == (2, 4)
    assert [row.line for row in report.rows] == [1, 3, 5]
    assert len(report.problems) == 2 and "left out 2 bad lines" in report.notes


@pytest.mark.parametrize(
    "lines", [["{]"] * 5, [SFT_TEXT, "{]", SFT_TEXT], ["{]"] * 10_001], ids=["all bad", "too few left", "very many bad"]
)
def test_leaving_out_never_ends_with_too_few_rows(tmp_path, lines):
    with pytest.raises(UserError, match="too few rows"):
        load_rows(write(tmp_path / "t.jsonl", *lines), "sft", skip_bad=True)


def test_a_torn_gzip_is_not_skipped(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_bytes(gzip.compress(SFT_TEXT.encode()))
    with pytest.raises(UserError, match="gunzip"):
        load_rows(path, "sft", skip_bad=True)
