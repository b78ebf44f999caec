"""A remote rollout server in a process of its own, of the standard library alone. The row's text says what it does.

The number of turns follows the words: "fail" reports an internal error, "silent" never reports, "refuse" answers
/init with 500, "redirect" with a redirect; "plain" makes one turn, anything else two.
"""

import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SEEN = "seen.jsonl"


def post(url: str, key: str, body: dict[str, Any]) -> Any:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=60) as answer:
        return json.loads(answer.read())


def talk(given: dict[str, Any], turns: int) -> None:
    messages = list(given["messages"])
    asked = messages[-1]
    for turn in range(turns):
        if turn:
            messages.append(asked)
        body = {**given["completion_params"], "messages": messages}
        answer = post(given["model_base_url"] + "/chat/completions", given["api_key"], body)
        messages.append({k: v for k, v in answer["choices"][0]["message"].items() if k in ("role", "content")})


def rolled(given: dict[str, Any], text: str) -> None:
    status = {"code": 100, "message": "done", "details": []}
    try:
        talk(given, 1 if "plain" in text or "fail" in text else 2)
    except OSError as e:
        status = {"code": 13, "message": f"{e} {getattr(e, 'read', lambda: b'')()!r:.300}", "details": []}
    if "fail" in text:
        status = {"code": 13, "message": "the tool broke", "details": []}
    base = os.environ.get("FW_TRACING_GATEWAY_BASE_URL") or given["model_base_url"].partition("/rollout_id/")[0]
    key = os.environ.get("FIREWORKS_API_KEY") or given["api_key"]
    rollout = given["metadata"]["rollout_id"]
    line = {"program": "eval_protocol", "message": "over", "tags": [f"rollout_id:{rollout}"], "status": status}
    if "silent" not in text:
        post(base + "/logs", key, {**line, "message": "at work", "status": {"code": 101, "message": "", "details": []}})
        post(base + "/logs", key, {**line, "extras": {"steps": 2, "level": "INFO"}})


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with Path(SEEN).open("a") as file:
            file.write(json.dumps(given) + "\n")
        text = str(given["messages"][-1]["content"])
        status = 500 if "refuse" in text else 307 if "redirect" in text else 200
        self.send_response(status)
        if status == 307:
            self.send_header("Location", f"http://localhost:{self.server.server_address[1]}/elsewhere")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")
        if status == 200:
            threading.Thread(target=rolled, args=(given, text), daemon=True).start()

    def log_message(self, *_: Any) -> None:
        pass


class RemoteServer:
    """``with remote_server(folder) as remote:`` a live one; ``seen`` are the requests that began rollouts."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder, self.base_url = folder, f"http://localhost:{port}"

    @property
    def seen(self) -> list[dict[str, Any]]:
        file = self._folder / SEEN
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@contextmanager
def remote_server(folder: Path, **environment: str) -> Iterator[RemoteServer]:
    command = [sys.executable, __file__]
    kept = {k: v for k, v in os.environ.items() if k not in ("FIREWORKS_API_KEY", "FW_TRACING_GATEWAY_BASE_URL")}
    process = subprocess.Popen(command, cwd=folder, env=kept | environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield RemoteServer(folder, int(process.stdout.readline()))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


if __name__ == "__main__":
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()
