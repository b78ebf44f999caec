"""Each benchmark writes its own part of the results."""

from bench.results import FOUND, Line, cells, part, write_part


def test_parts_do_not_touch_one_another(tmp_path):
    file = tmp_path / "RESULTS.md"
    write_part("# Results\n\nold\n\n## Missed targets\n\nNone.\n", file)
    write_part("# Serving\n\nfirst\n", file)
    write_part("# Results\n\nnew\n", file)
    assert file.read_text() == "# Results\n\nnew\n\n# Serving\n\nfirst\n"
    write_part("# Serving\n\nsecond\n", file)
    assert file.read_text() == "# Results\n\nnew\n\n# Serving\n\nsecond\n"


def test_a_part_is_its_words_its_machine_and_its_table():
    lines = [Line("speed", "9", "10", False, "of 3"), Line("errors", "0", "0", True)]
    assert (
        part("Serving", "Written by us.", {"Date": "today"}, FOUND, map(cells, lines))
        == """# Serving

Written by us.

- Date: today

| what | found | target | | beside it |
|---|---|---|---|---|
| speed | 9 | 10 | missed | of 3 |
| errors | 0 | 0 | met | |
"""
    )
