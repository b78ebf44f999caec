"""The pages under test, and the parts of Markdown that the tests read: tables, sections, code blocks."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "AGENTS.md", ROOT / "CONTRIBUTING.md", *DOCS]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def page(name: str) -> str:
    """A page of docs/."""
    return (ROOT / "docs" / name).read_text("utf-8")


def section(text: str, heading: str) -> str:
    """From a heading of level 2 to the next."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"no section {heading!r}"
    return found[1]


def table_rows(text: str) -> list[list[str]]:
    """The cells of every table row whose first cell begins with code."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in row] for row in rows]


def keys(text: str) -> list[str]:
    """Every `code` in the first cells of a section's tables."""
    return [name for row in table_rows(text) for name in re.findall(r"`([^`]+)`", row[0])]


def blocks(text: str, language: str | None = None) -> list[str]:
    return [body for kind, body in BLOCK.findall(text) if language in (None, kind)]


def commands(text: str) -> list[str]:
    """Calls of tunesmith in code blocks, from a shell or a virtual environment."""
    lines = [part.strip() for block in blocks(text) for line in block.splitlines() for part in line.split("&&")]
    return [re.sub(r"^(\$ |\S*/bin/)", "", line) for line in lines if re.match(r"(\$ |\S*/bin/)?tunesmith ", line)]


def named_files(text: str) -> dict[str, str]:
    """Code blocks whose first line is `# name.ext`, by name."""
    found = (re.match(r"# ([\w.-]+\.\w+)\n", body) for body in blocks(text))
    return {m[1]: m.string for m in found if m}
