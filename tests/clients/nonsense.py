"""Requests that a server has to refuse in words: valid ones of every endpoint, with one thing about them spoiled."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from clients import wire
from clients.wire import FLOAT32, INT64, tensor
from hypothesis import strategies as st

TOKENS = [5, 6, 7, 8, 9]
VOCABULARY = 384
CONTEXT = 4096


@dataclass(frozen=True, slots=True)
class Ground:
    """What valid requests speak of."""

    session: str
    model: str
    sampler: str
    state: str
    base_model: str


def bodies(ground: Ground) -> dict[str, dict[str, Any]]:
    """A valid body for every JSON endpoint that a user's mistake can reach; none of them is sent as it is."""
    adam = {"learning_rate": 0.0, "beta1": 0.9, "beta2": 0.95, "eps": 1e-12, "weight_decay": 0.0, "grad_clip_norm": 0.0}
    model, later = {"model_id": ground.model}, {"seq_id": 10**9}
    chunks = [{"tokens": TOKENS, "type": "encoded_text"}]
    sampling = {"max_tokens": 2, "temperature": 1.0, "top_k": -1, "top_p": 1.0, "seed": 1, "stop": ["\n"]}
    new_model = {"session_id": ground.session, "model_seq_id": 7000}
    return {
        "create_session": {"tags": [], "user_metadata": {}, "sdk_version": "0.38.0", "type": "create_session"},
        "session_heartbeat": {"session_id": ground.session, "type": "session_heartbeat"},
        "create_model": new_model | {"base_model": ground.base_model, "lora_config": {"rank": 4, "seed": 1}},
        "get_info": model,
        "optim_step": model | later | {"adam_params": adam},
        "save_weights": model | later | {"path": "spoiled", "ttl_seconds": 7200},
        "load_weights": new_model | {"model_seq_id": 7001, "path": ground.state, "optimizer": True},
        "save_weights_for_sampler": model | later | {"path": "spoiled", "kind": "snapshot"},
        "save_weights_external": model | later | {"path": "spoiled"},
        "create_sampling_session": {"session_id": ground.session, "sampling_session_seq_id": 7000, "model_path": None}
        | {"base_model": ground.base_model},
        "asample": {
            "sampling_session_id": ground.sampler,
            "num_samples": 1,
            "prompt": {"chunks": chunks},
            "sampling_params": sampling,
            "prompt_logprobs": True,
            "topk_prompt_logprobs": 1,
            "prompt_alt_tokens_k": 0,
        }
        | later,
        "retrieve_future": {"request_id": "none", "allow_metadata_only": False},
        "weights_info": {"tinker_path": ground.state},
        "copy_weights": {"source_path": ground.state, "destination_project_id": "p"},
    }


ODD = st.one_of(
    st.sampled_from(
        [None, True, -1, 0, 0.5, 2**31, 2**63, 2**70, -(2**63), 1e308, "", "x", "NaN", [], {}, [[]], [None]]
    ),
    st.text(max_size=30),
    st.lists(st.integers(-(2**40), 2**40), max_size=4),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
    st.just("a" * 100_000),
)
"""Values that are of the wrong type or size for nearly every field."""


@st.composite
def spoiled_json(draw: Callable[..., Any], ground: Ground) -> tuple[str, dict[str, Any]]:
    """(endpoint, body) with one field of the body, at any depth, replaced or taken away."""
    endpoint = draw(st.sampled_from(sorted(bodies(ground))))
    body = bodies(ground)[endpoint]
    inside = body
    while True:
        key = draw(st.sampled_from(sorted(inside)))
        if isinstance(inside[key], dict) and inside[key] and draw(st.booleans()):
            inside[key] = dict(inside[key])
            inside = inside[key]
            continue
        break
    if draw(st.integers(0, 4)) == 0:
        del inside[key]
    else:
        inside[key] = draw(ODD)
    return endpoint, body


def columns(**changed: bytes | None) -> dict[str, bytes]:
    """The columns of a policy-gradient datum over TOKENS, some replaced and those that are None left out."""
    count = len(TOKENS) - 1
    right = {
        "target_tokens": tensor(TOKENS[1:], INT64),
        "logprobs": tensor([-1.0] * count),
        "advantages": tensor([1.0] * count),
    }
    return {name: value for name, value in (right | changed).items() if value is not None}


def spoiled_datums() -> dict[str, bytes]:
    """Datums of importance_sampling, each wrong in one way."""
    inputs = TOKENS[:-1]
    nan, huge = tensor([1.0, float("nan"), 1.0, 1.0]), tensor([1.0, float("inf"), 1.0, 1.0])
    image = wire.piece(1, wire.piece(2, wire.piece(1, b"\x89PNG") + wire.piece(2, "png")))
    audio = wire.piece(1, wire.piece(3, wire.piece(1, b"wave")))
    return {
        "no targets": wire.datum(inputs, columns(target_tokens=None)),
        "no logprobs": wire.datum(inputs, columns(logprobs=None)),
        "no advantages": wire.datum(inputs, columns(advantages=None)),
        "no columns": wire.datum(inputs, {}),
        "no input": wire.datum([], columns()),
        "nothing": b"",
        "short targets": wire.datum(inputs, columns(target_tokens=tensor(TOKENS[2:], INT64))),
        "long logprobs": wire.datum(inputs, columns(logprobs=tensor([-1.0] * 9))),
        "targets as floats": wire.datum(inputs, columns(target_tokens=tensor([6.5, 7, 8, 9]))),
        "shape of more": wire.datum(inputs, columns(advantages=tensor([1.0] * 4, shape=(5,)))),
        "shape below zero": wire.datum(inputs, columns(advantages=tensor([1.0] * 4, shape=(-4,)))),
        "three dimensions": wire.datum(inputs, columns(target_tokens=tensor([[[6, 7, 8, 9]]], INT64))),
        "two dimensions": wire.datum(inputs, columns(target_tokens=tensor([[6, 7]] * 4, INT64))),
        "unknown dtype": wire.datum(inputs, columns(advantages=tensor([1.0] * 4, dtype=9))),
        "odd bytes": wire.datum(inputs, columns(advantages=wire.piece(1, b"\x00" * 7) + wire.number(3, FLOAT32))),
        "nan advantages": wire.datum(inputs, columns(advantages=nan)),
        "infinite logprobs": wire.datum(inputs, columns(logprobs=huge)),
        "input beyond the vocabulary": wire.datum([5, VOCABULARY, 7, 8], columns()),
        "input below zero": wire.datum([5, -1, 7, 8], columns()),
        "target beyond the vocabulary": wire.datum(inputs, columns(target_tokens=tensor([6, 7, 2**40, 9], INT64))),
        "target below zero": wire.datum(inputs, columns(target_tokens=tensor([6, 7, -8, 9], INT64))),
        "unknown column": wire.datum(inputs, columns(advantage=tensor([1.0] * 4))),
        "broken sparse rows": wire.datum(inputs, columns(target_tokens=broken_sparse())),
        "longer than the context": wire.datum([5] * (CONTEXT + 8), long_columns()),
        "image": image + wire.mapping(2, columns()),
        "audio": audio + wire.mapping(2, columns()),
    }


def broken_sparse() -> bytes:
    """A sparse tensor whose rows end before they begin and whose columns lie outside."""
    crow, col = np.array([0, 3, 1, 9], np.int64), np.array([7, -1], np.int64)
    csr = wire.piece(1, np.array([6, 7], np.int64).tobytes()) + wire.piece(2, crow.tobytes())
    csr += wire.piece(3, col.tobytes())
    return wire.piece(2, csr) + wire.number(3, INT64) + wire.piece(4, wire.varint(4) + wire.varint(2))


def long_columns() -> dict[str, bytes]:
    count = CONTEXT + 8
    return columns(
        target_tokens=tensor([6] * count, INT64), logprobs=tensor([-1.0] * count), advantages=tensor([1.0] * count)
    )


SETTINGS: dict[str, Mapping[str, float]] = {
    "unknown setting": {"clip": 0.2},
    "threshold below zero": {"clip_low_threshold": -1.0},
    "nan threshold": {"clip_high_threshold": float("nan")},
    "crossed thresholds": {"clip_low_threshold": 1.5, "clip_high_threshold": 0.5},
}


def spoiled_bytes(good: bytes) -> st.SearchStrategy[bytes]:
    """A good message cut short, with bytes changed or with others in it; or no message at all."""
    flips = st.lists(st.tuples(st.integers(0, len(good) - 1), st.integers(0, 255)), min_size=1, max_size=4)
    return st.one_of(
        st.binary(max_size=200),
        st.integers(0, len(good) - 1).map(lambda end: good[:end]),
        flips.map(lambda changes: _changed(good, changes)),
        st.tuples(st.integers(0, len(good)), st.binary(min_size=1, max_size=9)).map(
            lambda at: good[: at[0]] + at[1] + good[at[0] :]
        ),
    )


def _changed(good: bytes, changes: list[tuple[int, int]]) -> bytes:
    out = bytearray(good)
    for place, value in changes:
        out[place] = value
    return bytes(out)
