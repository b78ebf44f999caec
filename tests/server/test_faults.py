"""An engine that dies in the middle of a stream, and weights that change under one."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from server.warm import WarmServer

pytestmark = pytest.mark.thorough
ASKED = {"model": "tunesmith/embedded", "prompt": [11, 12, 13], "temperature": 1.0, "seed": 1}
LONG = {
    "type": "json_schema",
    "json_schema": {"name": "long", "schema": {"type": "array", "items": {"type": "integer"}, "minItems": 300}},
}
"""What no completion of 400 tokens can end before: left alone, the embedded model ends after two or three."""


def engine_of(client: httpx2.Client) -> int:
    [engine] = client.get("/tunesmith/v1/status").json()["engines"]
    return int(engine["pid"])


def test_a_stream_whose_engine_is_killed_ends_with_an_error_and_the_next_is_served(tmp_path: Path) -> None:
    server = WarmServer(tmp_path / "data").start()
    headers = {"x-api-key": server.key}
    try:
        with httpx2.Client(base_url=server.base_url, headers=headers, timeout=90) as client:
            before = client.post("/v1/completions", json={**ASKED, "max_tokens": 4})
            assert before.status_code == 200, before.text
            pid, lines = engine_of(client), list[str]()
            asked = {**ASKED, "max_tokens": 400, "n": 16, "stream": True, "response_format": LONG}
            with client.stream("POST", "/v1/completions", json=asked) as answer:
                for line in answer.iter_lines():
                    if line.startswith("data: "):
                        lines.append(line.removeprefix("data: "))
                    if len(lines) == 3:
                        os.kill(pid, signal.SIGKILL)
            parsed: list[dict[str, Any]] = [json.loads(line) for line in lines if line != "[DONE]"]
            [error] = [piece["error"] for piece in parsed if "error" in piece]
            assert error["message"] and parsed[-1] == {"error": error}, "the error is the last piece"
            began = time.monotonic()
            unready = client.get("/readyz")
            assert (unready.status_code, unready.json()["because"]) == (503, ["an engine died and starts again"])
            assert time.monotonic() - began < 5 and client.get("/healthz").status_code == 200
            while client.get("/readyz").status_code != 200:
                assert time.monotonic() - began < 120, "nobody but the probe asks, so the probe brings it back"
                time.sleep(0.2)
            began = time.monotonic()
            after = client.post("/v1/completions", json={**ASKED, "max_tokens": 4})
            assert after.status_code == 200, after.text
            assert time.monotonic() - began < 60
            assert after.json()["choices"] == before.json()["choices"]
            assert engine_of(client) != pid
        assert "Traceback" not in server.log()
    finally:
        server.kill()
