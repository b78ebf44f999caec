"""However a good file is damaged, the answer is rows or a refusal that names a line; never another exception."""

import json
import random
import re
from typing import Any

import pytest
from data.dataset_files import good, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunesmith.core.errors import UserError
from tunesmith.data import check_file, load_rows

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES = ["messages", "role", "content", "text", "value", "tools", "tool_calls", "weight", "input", "prompt", "chosen"]
DAMAGE = st.tuples(
    st.sampled_from(["sft", "dpo", "rft"]),
    st.sampled_from(["value", "rename", "drop", "byte", "cut", "insert", "swap"]),
    st.integers(0, 2**32 - 1),
    JSON,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to everything inside a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, child in items for found in [(*path, key), *places(child, (*path, key))]]


def damage_row(row: dict[str, Any], how: str, chance: random.Random, new: Any) -> None:
    *path, last = chance.choice(places(row))
    inside: Any = row
    for key in path:
        inside = inside[key]
    if how == "value":
        inside[last] = new
    elif how == "rename" and isinstance(inside, dict):
        inside[chance.choice(NAMES)] = inside.pop(last)
    else:
        del inside[last]


def damage_bytes(line: bytes, how: str, chance: random.Random) -> bytes:
    at = chance.randrange(len(line))
    if how == "byte":
        return line[:at] + bytes([chance.randrange(256)]) + line[at + 1 :]
    if how == "cut":
        return line[:at]
    if how == "insert":
        return line[:at] + chance.choice([b"\n", b"\r", b"\0", b"\xff", b"NaN", b"{", b"]", b'"', b"\\"]) + line[at:]
    return line[at:] + line[:at]


def judge(tmp_path, damage):
    kind, how, seed, new = damage
    chance = random.Random(seed)
    lines = [json.dumps(good(kind)).encode() for _ in range(4)]
    at = chance.randrange(4)
    if how in ("value", "rename", "drop"):
        row = good(kind)
        damage_row(row, how, chance, new)
        lines[at] = json.dumps(row, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
    else:
        lines[at] = damage_bytes(lines[at], how, chance)
    path = write(tmp_path / "train.jsonl", *lines)
    report = check_file(path, kind)
    assert all(1 <= p.line <= 5 and p.mend and p.field for p in report.problems)
    try:
        rows = load_rows(path, kind).rows
    except UserError as e:
        assert report.problems and re.search(r"train\.jsonl:[1-5]: ", str(e))
    else:
        assert not report.problems and rows
        for row in rows:
            json.dumps(row.messages, allow_nan=False).encode()
            assert all(isinstance(message["content"], str) for message in row.messages)


QUIET = settings(deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True)


@settings(QUIET, max_examples=300)
@given(damage=DAMAGE)
def test_damaged_files(tmp_path_factory, damage):
    judge(tmp_path_factory.getbasetemp(), damage)


@pytest.mark.thorough
@settings(QUIET, max_examples=2000)
@given(damage=DAMAGE)
def test_many_damaged_files(tmp_path_factory, damage):
    judge(tmp_path_factory.getbasetemp(), damage)
