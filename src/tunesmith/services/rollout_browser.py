"""Looking through the rollouts of a step: groups in an order, one group, one attempt's tokens.

Of a file, only the columns and rows that are asked for become Python objects; searching and sorting are the table's.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tunesmith.core.errors import NotFound, unknown

ORDERS = {
    "file": "as sampled",
    "reward": "highest mean reward",
    "-reward": "lowest mean reward",
    "spread": "most different rewards",
    "advantage": "largest advantage",
    "surprise": "least expected texts",
}
"""How groups can be sorted, in words."""
_COLUMNS = ("prompt_id", "candidate", "reward", "advantage", "trained", "dropped", "error")
_TEXTS = ("prompt_text", "text", "reason", "error")
_PER_TOKEN = ("sampled", "tokens", "logprobs", "entropies", "ratios", "clipped")
"""The last three came later, and older files have none of them."""
_ATTEMPT = ("candidate", "text", "reward", "parts", "reason", "error", "advantage", "trained", "dropped", "stop")


@dataclass(frozen=True, slots=True)
class GroupLine:
    """One group in a list."""

    prompt_id: str
    prompt: str
    rewards: list[float]
    """Of the attempts that were graded, in the order of the candidates."""
    attempts: int
    trained: int
    why: str
    """Why some were not trained on; empty where all were."""


@dataclass(frozen=True, slots=True)
class Token:
    """One sampled token; what its file does not say is None, and no token that was not trained on is clipped."""

    id: int
    logprob: float
    entropy: float | None
    ratio: float | None
    clipped: bool

    @property
    def probability(self) -> float:
        return math.exp(self.logprob)


def load() -> None:
    """Have at hand what the first look would wait for: half a second where pandas is installed, which comes along."""
    for name in ("pyarrow.dataset", "pyarrow.acero"):
        import_module(name)


def groups(file: Path, order: str, search: str, limit: int, offset: int) -> tuple[list[GroupLine], int]:
    """(some groups of a step, how many match).

    Args:
        order: one of ORDERS.
        search: text that has to be in a prompt, an attempt, its grader's reason or its error, in any case.
    """
    if order not in ORDERS:
        raise unknown("order", order, ORDERS)
    more = [*(_TEXTS if search else ()), *(("logprobs", "sampled") if order == "surprise" else ())]
    table = pq.read_table(file, columns=list(dict.fromkeys([*_COLUMNS, *more])))
    ids = _in_order(_matching(table, search) if search else table, order)
    shown = ids[offset : offset + limit]
    rows = table.select(_COLUMNS).filter(pc.is_in(table["prompt_id"], pa.array(shown, pa.string()))).to_pylist()
    prompts = _prompts(file, shown)
    return [_line(i, prompts[i], [row for row in rows if row["prompt_id"] == i]) for i in shown], len(ids)


def attempts(file: Path, prompt_id: str) -> tuple[str, list[dict[str, Any]]]:
    """(the prompt, its attempts, best reward first) without the per-token columns.

    Raises:
        NotFound: the step has no such group.
    """
    columns = ["prompt_text", "row", *_ATTEMPT]
    rows = pq.read_table(file, columns=columns, filters=[("prompt_id", "=", prompt_id)]).to_pylist()
    if not rows:
        raise NotFound("prompt", f"no group {prompt_id[:80]!r} in this step", "Choose one from the list of the step")
    for row in rows:
        row |= {name: json.loads(row[name]) for name in ("row", "parts")}
    graded = sorted(rows, key=lambda row: (row["reward"] is None, -(row["reward"] or 0.0)))
    return rows[0]["prompt_text"], graded


def tokens(file: Path, prompt_id: str, candidate: int) -> list[Token]:
    """What one attempt's model sampled.

    Raises:
        NotFound: the step has no such attempt.
    """
    wanted = [("prompt_id", "=", prompt_id), ("candidate", "=", candidate)]
    there = [name for name in _PER_TOKEN if name in pq.read_schema(file).names]
    rows = pq.read_table(file, columns=there, filters=wanted).to_pylist()
    if not rows:
        raise NotFound("attempt", f"no attempt {candidate} in this group", "Choose one from the group")
    row = rows[0]
    nothing = [None] * len(row["tokens"])
    told = zip(*(row.get(name) or nothing for name in _PER_TOKEN), strict=True)
    return [Token(i, logp, h, r, bool(clipped)) for sampled, i, logp, h, r, clipped in told if sampled]


def _matching(table: pa.Table, search: str) -> pa.Table:
    masks = [pc.match_substring(table[name], search, ignore_case=True) for name in _TEXTS]
    found = masks[0]
    for mask in masks[1:]:
        found = pc.or_kleene(found, mask)
    return table.filter(found)


def _in_order(table: pa.Table, order: str) -> list[str]:
    """Prompt ids."""
    if order == "surprise":
        table = table.append_column("surprise", _surprise(table))
    kinds = [("reward", "mean"), ("reward", "max"), ("reward", "min"), ("advantage", "max")]
    kinds += [("surprise", "max")] if order == "surprise" else []
    found = table.group_by("prompt_id", use_threads=False).aggregate(kinds)
    if order == "file":
        return list(found["prompt_id"].to_pylist())
    column = {"advantage": "advantage_max", "surprise": "surprise_max"}.get(order, "reward_mean")
    if order == "spread":
        column = "spread"
        found = found.append_column(column, pc.subtract(found["reward_max"], found["reward_min"]))
    direction = "ascending" if order == "-reward" else "descending"
    return list(found.sort_by([(column, direction), ("prompt_id", "ascending")])["prompt_id"].to_pylist())


def _surprise(table: pa.Table) -> pa.Array:
    """Per attempt, the mean of -log p over its sampled tokens."""
    logprobs, sampled = table["logprobs"].combine_chunks(), table["sampled"].combine_chunks()
    parents = pc.list_parent_indices(logprobs)
    flat = pa.table({"row": parents, "x": pc.negate(pc.list_flatten(logprobs)), "own": pc.list_flatten(sampled)})
    means = flat.filter(flat["own"]).group_by("row").aggregate([("x", "mean")])
    place = pc.index_in(pa.array(range(len(table)), means["row"].type), value_set=means["row"].combine_chunks())
    return means["x_mean"].combine_chunks().take(place)


def _prompts(file: Path, ids: Sequence[str]) -> dict[str, str]:
    wanted = [("prompt_id", "in", list(ids)), ("candidate", "=", 0)]
    rows = pq.read_table(file, columns=["prompt_id", "prompt_text"], filters=wanted).to_pylist() if ids else []
    return {row["prompt_id"]: row["prompt_text"] for row in rows}


def _line(prompt_id: str, prompt: str, rows: list[dict[str, Any]]) -> GroupLine:
    whys = {row["dropped"] or row["error"] for row in rows if not row["trained"]}
    return GroupLine(
        prompt_id,
        prompt,
        [row["reward"] for row in rows if row["reward"] is not None],
        len(rows),
        sum(row["trained"] for row in rows),
        "; ".join(sorted(why.splitlines()[0] for why in whys if why)),
    )
