"""Rollouts as a parquet table: one row per attempt, per-token columns as lists, readable by any data tool.

Equal groups give equal bytes, so that reruns can be compared by checksum.
"""

import io
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tunesmith.core.types import Floats, Group, Ints, Rollout
from tunesmith.recipes.report import Judgement, TokenUpdate

SCHEMA = pa.schema(
    [
        ("step", pa.int64()),
        ("prompt_id", pa.string()),
        ("candidate", pa.int32()),
        ("row", pa.string()),
        ("prompt_text", pa.string()),
        ("text", pa.string()),
        ("tokens", pa.list_(pa.int32())),
        ("sampled", pa.list_(pa.bool_())),
        ("logprobs", pa.list_(pa.float32())),
        ("entropies", pa.list_(pa.float32())),
        ("ratios", pa.list_(pa.float32())),
        ("clipped", pa.list_(pa.bool_())),
        ("segment_lengths", pa.list_(pa.int32())),
        ("temperature", pa.float32()),
        ("reward", pa.float64()),
        ("parts", pa.string()),
        ("reason", pa.string()),
        ("error", pa.string()),
        ("advantage", pa.float64()),
        ("trained", pa.bool_()),
        ("dropped", pa.string()),
        ("stop", pa.string()),
        ("version", pa.int64()),
    ]
)
_PER_TOKEN = {"tokens": np.int32, "sampled": np.bool_, "logprobs": np.float32}


def encode(
    step: int,
    groups: Sequence[Group],
    judged: Sequence[Sequence[Judgement]],
    decode: Callable[[Ints], str],
    updates: Sequence[Sequence[TokenUpdate | None]] = (),
) -> bytes:
    """The parquet file of one step.

    Args:
        judged: one judgement per rollout of each group, in the same order.
        updates: the same of what an update saw; none at all for attempts that no update is made from.
    """
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    columns: dict[str, Any] = {name: [] for name in SCHEMA.names}
    for group, judgements in zip(groups, judged, strict=True):
        row = _compact(group.row)
        prompt_text = _prompt_text(group, decode)
        for candidate, (rollout, judgement) in enumerate(zip(group.rollouts, judgements, strict=True)):
            cells = {"step": step, "prompt_id": group.prompt_id, "candidate": candidate, "row": row}
            cells |= {"prompt_text": prompt_text} | _verdict(rollout, judgement)
            for name, value in cells.items():
                columns[name].append(value)
    for name, dtype in _PER_TOKEN.items():
        columns[name] = _lists([_joined(rollout, name, dtype) for rollout in rollouts], dtype)
    columns["entropies"] = _lists([_entropies(rollout) for rollout in rollouts], np.float32)
    seen = [update for group in updates for update in group] or [None] * len(rollouts)
    columns["ratios"] = _lists([None if u is None else u.ratios for u in seen], np.float32)
    columns["clipped"] = _lists([None if u is None else u.clipped for u in seen], np.bool_)
    lengths = [np.array([len(s.tokens) for s in rollout.segments], np.int32) for rollout in rollouts]
    columns["segment_lengths"] = _lists(lengths, np.int32)
    sink = io.BytesIO()
    pq.write_table(pa.table(columns, schema=SCHEMA), sink, compression="zstd", compression_level=3)
    return sink.getvalue()


def decode_table(data: bytes, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """One dict per attempt, in the order written; ``row`` and ``parts`` come back as the objects they were."""
    table = pq.read_table(io.BytesIO(data), columns=None if columns is None else list(columns))
    records: list[dict[str, Any]] = table.to_pylist()
    for record in records:
        for name in {"row", "parts"} & record.keys():
            record[name] = json.loads(record[name])
    return records


def _verdict(rollout: Rollout, judgement: Judgement) -> dict[str, Any]:
    advantage, dropped = judgement
    score = rollout.score
    return {
        "text": rollout.text,
        "temperature": rollout.segments[0].temperature if rollout.segments else None,
        "reward": None if score is None else score.reward,
        "parts": _compact({} if score is None else score.parts),
        "reason": "" if score is None else score.reason,
        "error": rollout.error,
        "advantage": advantage,
        "trained": advantage is not None and not dropped,
        "dropped": dropped,
        "stop": rollout.stop,
        "version": rollout.version,
    }


def _prompt_text(group: Group, decode: Callable[[Ints], str]) -> str:
    """What the model was first shown: everything before its first own token; the same for a whole group."""
    segment = next((rollout.segments[0] for rollout in group.rollouts if rollout.segments), None)
    if segment is None:
        return ""
    length = int(np.argmax(segment.sampled)) if segment.sampled.any() else len(segment.tokens)
    return decode(segment.tokens[:length])


def _joined(rollout: Rollout, name: str, dtype: Any) -> Any:
    """One per-token column over all segments of a rollout."""
    return np.concatenate([np.zeros(0, dtype), *(getattr(s, name) for s in rollout.segments)]).astype(dtype)


def _entropies(rollout: Rollout) -> Floats | None:
    """Over all segments; None where one of them has none."""
    parts = [s.entropies for s in rollout.segments if s.entropies is not None]
    return np.concatenate(parts) if parts and len(parts) == len(rollout.segments) else None


def _lists(arrays: Iterable[Any], dtype: Any) -> pa.ListArray:
    """Numpy arrays, or None for null -> a list column, without a Python object per token."""
    parts = list(arrays)
    offsets = np.cumsum([0, *(0 if part is None else len(part) for part in parts)]).astype(np.int32)
    values = pa.array(np.concatenate([np.zeros(0, dtype), *(part for part in parts if part is not None)]))
    return pa.ListArray.from_arrays(offsets, values, mask=pa.array([part is None for part in parts], pa.bool_()))


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False, separators=(",", ":"))
