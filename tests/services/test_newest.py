"""Lines from the end of a file, whatever its length is beside a block's."""

from itertools import islice

import pytest

from tunesmith.services import newest
from tunesmith.services.newest import newest_lines


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(newest, "BLOCK_BYTES", 8)


@pytest.mark.parametrize("unfinished", ["", "x", "a line in the making that is longer than several blocks"])
@pytest.mark.parametrize("count", range(7))
@pytest.mark.parametrize("length", [1, 6, 7, 8, 9, 15, 16, 17, 40])
def test_complete_lines_newest_first(tmp_path, count, length, unfinished):
    lines = [f"{number}".rjust(length, "-") for number in range(count)]
    file = tmp_path / "lines"
    file.write_text("".join(line + "\n" for line in lines) + unfinished)
    assert [line.decode() for line in newest_lines(file)] == lines[::-1]


def test_no_more_is_read_than_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(newest, "BLOCK_BYTES", 16)
    file = tmp_path / "lines"
    with file.open("wb") as longer_than_memory:
        longer_than_memory.truncate(1 << 40)
        longer_than_memory.seek(0, 2)
        longer_than_memory.write(b"\n1234567\n1234568\n")
    assert list(islice(newest_lines(file), 2)) == [b"1234568", b"1234567"]


def test_a_file_that_is_not_there_has_none(tmp_path):
    assert list(newest_lines(tmp_path / "none")) == []
