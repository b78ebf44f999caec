"""bench/RESULTS.md: a part per benchmark, each written by its own script without touching the others."""

import re
from pathlib import Path

RESULTS = Path(__file__).with_name("RESULTS.md")
_PART = re.compile(r"(?m)^(?=# )")


def write_part(text: str, results: Path = RESULTS) -> None:
    """Replace the part that begins with the same ``# heading`` as ``text``, or add it at the end."""
    heading = text.splitlines()[0]
    assert heading.startswith("# "), "a part begins with its heading"
    before = results.read_text("utf-8") if results.is_file() else ""
    parts = [part.rstrip() for part in _PART.split(before) if part.strip()]
    places = [i for i, part in enumerate(parts) if part.splitlines()[0] == heading]
    for i in places or [len(parts)]:
        parts[i : i + 1] = [text.rstrip()]
    results.write_text("\n\n".join(parts) + "\n", "utf-8")
