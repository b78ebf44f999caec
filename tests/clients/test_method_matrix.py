"""The table of docs/method_matrix.md is what a run of the newest SDK gives; --write-matrix writes it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from clients.conftest import Ask

SDK = "0.38.0"
PAGE = Path(__file__).parents[2] / "docs" / "method_matrix.md"
LEAST_SHARE = 0.95
REASONS = {
    "get_audit_log": "for administrators of the hosted service; this server keeps no such log",
    "get_billing_usage": "for administrators of the hosted service; nothing is billed here",
    "whoami": "the SDK reads it from a JWT, and keys here are not JWTs",
}
"""Why a method does not work, where there is more to say than the error of the run."""


@pytest.fixture
def rows(ask: Ask) -> Any:
    return ask(f"tinker-{SDK}", "matrix")


def test_nearly_every_public_method_works(rows):
    failing = {f"{r['client']}.{r['method']}": r["reason"] for r in rows if not r["works"]}
    assert len(rows) > 90
    assert 1 - len(failing) / len(rows) >= LEAST_SHARE, failing


def test_every_method_is_exercised(rows):
    assert [f"{r['client']}.{r['method']}" for r in rows if r["reason"] == "not exercised"] == []


def test_the_table_says_what_the_run_gave(rows, request: pytest.FixtureRequest):
    table = render(rows)
    if request.config.getoption("--write-matrix", default=False):
        PAGE.write_text(table, "utf-8")
    assert PAGE.read_text("utf-8") == table, "run: pytest tests/clients/test_method_matrix.py --write-matrix"


def render(rows: Sequence[dict[str, Any]]) -> str:
    """The page: one line per method, those with a twin for asyncio in one line with it."""
    working = sum(r["works"] for r in rows)
    lines = [
        "# Methods of the Tinker SDK",
        "",
        f"Every public method of `tinker` {SDK}, called against a running server: {working} of {len(rows)} work.",
        "Written by `pytest tests/clients/test_method_matrix.py --write-matrix`.",
    ]
    works = {(r["client"], r["method"]): r["works"] for r in rows}
    for client in dict.fromkeys(r["client"] for r in rows):
        lines += ["", f"## {client}", "", "| method | works | |", "|---|---|---|"]
        lines += [line(r, works) for r in rows if r["client"] == client and not is_twin(r, works)]
    return "\n".join(lines) + "\n"


def is_twin(row: dict[str, Any], works: dict[tuple[str, str], bool]) -> bool:
    """The asyncio form of a method that works, or does not, just as the other."""
    plain = row["method"].removesuffix("_async")
    return plain != row["method"] and works.get((row["client"], plain)) == row["works"]


def line(row: dict[str, Any], works: dict[tuple[str, str], bool]) -> str:
    twin = f"{row['method']}_async"
    also = f", `{twin}`" if works.get((row["client"], twin)) == row["works"] else ""
    why = REASONS.get(row["method"].removesuffix("_async"), row["reason"])
    reason = "" if row["works"] else why.replace("|", "\\|")
    return f"| `{row['method']}`{also} | {'yes' if row['works'] else 'no'} | {reason} |"
