"""What an evaluation has found so far: the score with its interval, how rewards spread, and the answers in an order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tunesmith.core.errors import unknown
from tunesmith.grading.forecast import histogram
from tunesmith.services.card import mean_interval
from tunesmith.services.rollout_table import decode_table
from tunesmith.services.run_folder import RunFolder

ORDERS = {"file": "as in the dataset", "worst": "lowest reward first", "best": "highest reward first"}
"""How answers can be sorted, in words; those whose grading failed come last but as in the dataset."""
_SCORED = ("prompt_id", "reward")
_SHOWN = ("prompt_id", "candidate", "row", "prompt_text", "text", "reward", "parts", "reason", "error", "stop")


@dataclass(frozen=True, slots=True)
class Score:
    """How good the answers are."""

    reward_mean: float
    """Mean over rows of the mean over their answers."""
    reward_ci95: tuple[float, float] | None
    """Of that mean, by Student's t; None for fewer than two rows."""
    rows: int
    """With at least one answer that was graded."""
    attempts: int
    """Answers, those whose grading failed included."""
    failed_share: float
    """Of the answers: those whose grading failed."""
    histogram: Sequence[tuple[float, float, int]]
    """(from, to, answers) of equal spans of the reward."""


def score_of(graded: Sequence[tuple[str, float | None]]) -> Score | None:
    """None while no answer was graded.

    Args:
        graded: (row, reward or None where grading failed) of each answer.
    """
    rows: dict[str, list[float]] = {}
    for row, reward in graded:
        if reward is not None:
            rows.setdefault(row, []).append(reward)
    if not rows:
        return None
    means, rewards = [fmean(own) for own in rows.values()], [reward for own in rows.values() for reward in own]
    failed = (len(graded) - len(rewards)) / len(graded)
    return Score(fmean(means), mean_interval(means), len(means), len(graded), failed, histogram(rewards))


def score(run: RunFolder) -> Score | None:
    """That of an ended evaluation, or of what one that runs has graded so far."""
    card = run.card()
    return score_on(card) if card else score_of(_graded(run))


def score_on(card: Mapping[str, Any]) -> Score:
    """As an ended evaluation's card has it; one of an older release has no histogram."""
    interval = card["reward_ci95"]
    bars = [(low, high, count) for low, high, count in card.get("histogram", ())]
    rows, attempts, failed = card["rows"], card["attempts"], card["failed_share"]
    return Score(
        card["reward_mean"], None if interval is None else (interval[0], interval[1]), rows, attempts, failed, bars
    )


def answers(run: RunFolder, order: str, limit: int, offset: int) -> tuple[list[dict[str, Any]], int]:
    """(some of the graded answers, how many there are): prompt, text, reward with its parts, the grader's reason."""
    if order not in ORDERS:
        raise unknown("order", order, ORDERS)
    tables = {
        step: pq.read_table(run.rollout_file("eval", step), columns=["reward"]) for step in run.rollout_steps("eval")
    }
    places = [(step, row) for step, table in tables.items() for row in range(len(table))]
    if not places:
        return [], 0
    if order != "file":
        rewards = pa.concat_tables(tables.values())["reward"].combine_chunks()
        direction = "ascending" if order == "worst" else "descending"
        # Numbers of rows stand beside the rewards, so that equal ones stay in their order; none at all comes last.
        table = pa.table({"reward": rewards, "place": pa.array(range(len(places)))})
        by = pc.sort_indices(table, [("reward", direction), ("place", "ascending")])
        places = [places[i] for i in by.to_pylist()]
    shown = places[offset : offset + limit]
    read = {step: _texts(run, step, [row for at, row in shown if at == step]) for step in {step for step, _ in shown}}
    return [read[step][row] for step, row in shown], len(places)


def _texts(run: RunFolder, step: int, rows: Sequence[int]) -> dict[int, dict[str, Any]]:
    stored = decode_table(run.rollout_file("eval", step).read_bytes(), _SHOWN)
    return {row: _told(stored[row]) for row in rows}


def _told(attempt: dict[str, Any]) -> dict[str, Any]:
    """An answer that its row held was never shown to a model: the row says what was asked."""
    asked = attempt["prompt_text"] or str(asked_messages(attempt.pop("row"))[-1]["content"] or "")
    return {**attempt, "prompt_text": asked}


def asked_messages(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The conversation of a row up to the answer, which it may hold too."""
    given = row.get("messages") or row["prompt"]
    given = [{"role": "user", "content": given}] if isinstance(given, str) else given
    return [m for i, m in enumerate(given) if any(later["role"] != "assistant" for later in given[i:])]


def _graded(run: RunFolder) -> list[tuple[str, float | None]]:
    found: list[tuple[str, float | None]] = []
    for step in run.rollout_steps("eval"):
        table = pq.read_table(run.rollout_file("eval", step), columns=list(_SCORED))
        found += zip(table["prompt_id"].to_pylist(), table["reward"].to_pylist(), strict=True)
    return found
