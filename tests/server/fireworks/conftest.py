"""Requests of the managed wire to an app in this process, with the key of one account."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from server.conftest import Ask

ACCOUNT = "/v1/accounts/somebody"
Call = Callable[..., httpx2.Response]
ROWS = b'{"messages":[{"role":"user","content":"2+3"},{"role":"assistant","content":"5"}]}\n' * 4


@pytest.fixture
def call(ask: Ask, key: str) -> Call:
    """``call("GET", "/datasets")``: one request below the account; other addresses begin with ``//``."""

    def one(method: str, path: str, **request: Any) -> httpx2.Response:
        headers = {"authorization": f"Bearer {key}", **request.pop("headers", {})}
        return ask(method, path[1:] if path.startswith("//") else ACCOUNT + path, headers=headers, **request)

    return one


@pytest.fixture
def uploaded(call: Call) -> Callable[..., str]:
    """``uploaded("d1")``: a READY dataset of four conversations; its full name."""

    def make(dataset_id: str, data: bytes = ROWS) -> str:
        assert call("POST", "/datasets", json={"datasetId": dataset_id, "dataset": {}}).status_code == 200
        sent = call("POST", f"/datasets/{dataset_id}:upload", files={"file": ("rows.jsonl", data)})
        assert sent.status_code == 200, sent.text
        return f"accounts/somebody/datasets/{dataset_id}"

    return make
