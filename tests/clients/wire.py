"""The protobuf wire format by hand and a plain HTTP client, for requests that no SDK would send.

Written from the format's description and not with the product's own codec, so that a mistake cannot cancel itself.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import httpx2
import numpy as np

FLOAT32, INT64, INT32, BFLOAT16 = 1, 2, 3, 4
"""DType of a Tensor."""


def varint(number: int) -> bytes:
    """A non-negative number in groups of seven bits; a negative one as its 64-bit complement."""
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def double(field: int, value: float) -> bytes:
    return varint(field << 3 | 1) + struct.pack("<d", value)


def piece(field: int, value: bytes | str) -> bytes:
    """A string, bytes or message field."""
    raw = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(raw)) + raw


def mapping(field: int, entries: Mapping[str, bytes]) -> bytes:
    """A map of messages: one entry of {1: key, 2: value} after the other."""
    return b"".join(piece(field, piece(1, key) + piece(2, value)) for key, value in entries.items())


def tensor(values: Any, dtype: int = FLOAT32, shape: Sequence[int] | None = None) -> bytes:
    """A dense Tensor; ``shape`` may contradict the values."""
    array = np.asarray(values, {FLOAT32: np.float32, INT64: np.int64, INT32: np.int32}.get(dtype, np.uint16))
    sizes = array.shape if shape is None else shape
    packed = b"".join(varint(size) for size in sizes)
    return piece(1, array.tobytes()) + number(3, dtype) + piece(4, packed)


def text(tokens: Iterable[int]) -> bytes:
    """A chunk of encoded text."""
    return piece(1, piece(1, np.asarray(list(tokens), np.int32).tobytes()))


def datum(tokens: Sequence[int], inputs: Mapping[str, bytes]) -> bytes:
    return piece(1, text(tokens)) + mapping(2, inputs)


def plain_datum(tokens: Sequence[int], weight: float = 1.0) -> bytes:
    """L ids as a datum of cross_entropy over their L - 1 targets."""
    columns = {"target_tokens": tensor(tokens[1:], INT64), "weights": tensor([weight] * (len(tokens) - 1))}
    return datum(tokens[:-1], columns)


def forward_backward(
    model: str,
    seq: int,
    data: Iterable[bytes],
    loss: str = "cross_entropy",
    settings: Mapping[str, float] | None = None,
) -> bytes:
    """A ForwardBackwardRequest."""
    config = {key: double(1, value) for key, value in (settings or {}).items()}
    return piece(1, model) + number(2, seq) + b"".join(piece(3, d) for d in data) + piece(4, loss) + mapping(7, config)


class Wire:
    """One user's requests to a server, with nothing between."""

    def __init__(self, base_url: str, key: str) -> None:
        self._client = httpx2.Client(base_url=f"{base_url}/api/v1/", headers={"x-api-key": key}, timeout=60)

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *problem: object) -> None:
        self._client.close()

    def post(self, path: str, body: Any) -> httpx2.Response:
        """JSON, or protobuf where the body is bytes."""
        if isinstance(body, bytes):
            return self._client.post(path, content=body, headers={"content-type": "application/x-protobuf"})
        return self._client.post(path, json=body)

    def request(self, method: str, path: str, **settings: Any) -> httpx2.Response:
        return self._client.request(method, path, **settings)

    def session(self) -> str:
        return str(
            checked(self.post("create_session", {"sdk_version": "0.38.0", "type": "create_session"}))["session_id"]
        )

    def policy(self, session: str, base_model: str, place: int = 0, rank: int = 4) -> str:
        body = {"session_id": session, "model_seq_id": place, "base_model": base_model, "type": "create_model"}
        made = checked(self.post("create_model", body | {"lora_config": {"rank": rank, "seed": 1}}))
        self.result(made["request_id"])
        return f"{session}:train:{place}"

    def optim_step(self, model: str, seq: int, rate: float = 0.0) -> Any:
        adam = {
            "learning_rate": rate,
            "beta1": 0.9,
            "beta2": 0.95,
            "eps": 1e6,
            "weight_decay": 0.0,
            "grad_clip_norm": 0.0,
        }
        body = {"model_id": model, "seq_id": seq, "adam_params": adam, "type": "optim_step"}
        return checked(self.post("optim_step", body))

    def result(self, request_id: str) -> Any:
        """The result of a future: JSON, or bytes where it is protobuf. Polls as the SDK does."""
        accept = {"accept": "application/x-protobuf, application/json"}
        while True:
            body = {"request_id": request_id, "allow_metadata_only": False}
            answer = self._client.post("retrieve_future", json=body, headers=accept)
            if answer.status_code == 408:
                continue
            assert answer.status_code == 200, answer.text
            if "json" not in answer.headers["content-type"]:
                return answer.content
            if answer.json().get("type") != "try_again":
                return answer.json()


def checked(answer: httpx2.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()
