"""Each benchmark writes its own part of the results."""

from pathlib import Path
from runpy import run_path

write_part = run_path(str(Path(__file__).parents[2] / "bench" / "results.py"))["write_part"]


def test_parts_do_not_touch_one_another(tmp_path):
    file = tmp_path / "RESULTS.md"
    write_part("# Results\n\nold\n\n## Missed targets\n\nNone.\n", file)
    write_part("# Serving\n\nfirst\n", file)
    write_part("# Results\n\nnew\n", file)
    assert file.read_text() == "# Results\n\nnew\n\n# Serving\n\nfirst\n"
    write_part("# Serving\n\nsecond\n", file)
    assert file.read_text() == "# Results\n\nnew\n\n# Serving\n\nsecond\n"
