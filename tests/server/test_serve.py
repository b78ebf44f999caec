"""The real server in its own process: starting, stopping, and the commands that work beside it."""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import psutil
import pytest
from server.running import STOP_S, RunningServer

from tunesmith.services.keys import KNOWN_S
from tunesmith.services.names import embedded_model

pytestmark = pytest.mark.thorough
TUNESMITH = str(Path(sys.executable).with_name("tunesmith"))
PATHS_INFO = "/api/models/tunesmith/embedded/paths-info/main"


def tunesmith(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """A command as a shell runs it: (exit code, stdout, stderr)."""
    done = subprocess.run(
        [TUNESMITH, *arguments], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def status_of(server: RunningServer, key: str) -> int:
    """The HTTP status that a key gets."""
    try:
        with urlopen(Request(server.base_url + "/tunesmith/v1/status", headers={"x-api-key": key}), timeout=10) as r:
            return int(r.status)
    except HTTPError as e:
        return e.code


def connection(server: RunningServer) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(server.base_url).netloc, timeout=60)


def test_the_first_start_gives_a_key_and_a_second_takes_up_its_data(tmp_path: Path) -> None:
    server = RunningServer(tmp_path / "data").start()
    try:
        lines = [line for line in server.log().splitlines() if line.startswith("export ")]
        url = server.base_url
        assert lines == [
            f"export TINKER_BASE_URL={url}",
            f"export TINKER_API_KEY={server.key}",
            f"export HF_ENDPOINT={url}",
        ]
        assert (status_of(server, server.key), status_of(server, server.key + "x")) == (200, 401)
        assert stat.S_IMODE(server.data_dir.stat().st_mode) == 0o700, "nobody else's to read"
        assert server.stop() == 0
        said = server.log()
        server.start()
        assert server.base_url == url and status_of(server, server.key) == 200
        assert "tunesmith keys create" in server.log()[len(said) :]
        assert server.log().count("TINKER_API_KEY") == 1
        server.kill()
        assert status_of(server.start(), server.key) == 200
        assert server.process is not None
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(STOP_S) == 0
        assert "Traceback" not in server.log()
    finally:
        server.kill()


def test_a_data_directory_has_one_server_and_a_port_too(server: RunningServer, tmp_path: Path) -> None:
    assert server.process is not None
    code, _, said = tunesmith("serve", "--data-dir", str(server.data_dir), "--port", "0")
    assert code == 5
    assert re.search(rf"error: .*another server \(process {server.process.pid}\) is using it", said)
    port = str(urlsplit(server.base_url).port)
    code, out, said = tunesmith("serve", "--data-dir", str(tmp_path / "other"), "--port", port)
    assert (code, out) == (5, "")
    assert f"127.0.0.1:{port}: the port is in use" in said
    assert not (tmp_path / "other" / "tunesmith.db").exists()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--host", "256.1.1.1"], "is no address"),
        (["--host", "192.0.2.1"], "cannot listen there"),
        (["--database-url", "mysql://a/b"], "unknown kind of database"),
        (["--port", "70000"], "--port"),
    ],
)
def test_what_serve_refuses(tmp_path: Path, flags: list[str], says: str) -> None:
    code, out, said = tunesmith("serve", "--data-dir", str(tmp_path), "--port", "0", *flags)
    assert (code, out) == (2, "") and says in said and "Traceback" not in said


def until_closed(server: RunningServer) -> None:
    """Wait until it takes no more connections."""
    with contextlib.suppress(ConnectionError):
        while True:
            socket.create_connection(("127.0.0.1", urlsplit(server.base_url).port or 0), timeout=30).close()
            time.sleep(0.02)


def test_a_request_in_hand_is_finished_when_the_server_is_told_to_stop(tmp_path: Path) -> None:
    server = RunningServer(tmp_path / "data").start()
    try:
        assert server.process is not None
        body = b'{"paths": ["config.json"]}'
        head = f"POST {PATHS_INFO} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        with socket.create_connection(("127.0.0.1", urlsplit(server.base_url).port or 0), timeout=30) as line:
            line.sendall(f"{head}Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n".encode())
            assert line.recv(65536).startswith(b"HTTP/1.1 100 "), "it waits for the body"
            line.sendall(body[:5])
            server.process.send_signal(signal.SIGTERM)
            until_closed(server)
            assert server.process.poll() is None
            line.sendall(body[5:])
            answer = b"".join(iter(lambda: line.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 200 ") and b'"path":"config.json"' in answer
        assert server.process.wait(STOP_S) == 0
    finally:
        server.kill()


def test_a_small_answer_does_not_wait_for_more(server: RunningServer) -> None:
    """Nagle's algorithm and delayed acknowledgements together would cost 40 ms each time."""
    caller = connection(server)
    took = []
    for _ in range(20):
        began = time.perf_counter()
        caller.request("GET", "/healthz")
        assert caller.getresponse().read() == b'{"status":"ok"}'
        took.append(time.perf_counter() - began)
    caller.close()
    # One of them at least was not held up by something else on this machine.
    assert min(took) < 0.03


def memory_of(server: RunningServer) -> int:
    assert server.process is not None
    return int(psutil.Process(server.process.pid).memory_info().rss)


@pytest.mark.parametrize("declared", [True, False])
def test_a_gigabyte_is_refused_in_words_and_not_held(server: RunningServer, declared: bool) -> None:
    before = memory_of(server)
    caller = connection(server)
    caller.putrequest("POST", PATHS_INFO)
    caller.putheader("content-type", "application/json")
    if declared:
        caller.putheader("content-length", str(1 << 30))
    else:
        caller.putheader("transfer-encoding", "chunked")
    caller.endheaders()
    piece = bytes(1 << 20)
    sent = 0
    try:
        while sent < 1 << 30:
            caller.send(piece if declared else b"100000\r\n" + piece + b"\r\n")
            sent += len(piece)
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert sent < 1 << 28
    answer = caller.getresponse()
    assert answer.status == 413
    assert "larger than 1048576 bytes" in json.loads(answer.read())["detail"]
    caller.close()
    assert memory_of(server) - before < 64 << 20
    assert status_of(server, server.key) == 200


def test_keys_made_beside_the_server_count_at_once_and_revoked_ones_within_a_second(server: RunningServer) -> None:
    place = ("--data-dir", str(server.data_dir))
    code, out, _ = tunesmith("keys", "create", "--name", "laptop", "--owner", "me", "--json", *place)
    made = json.loads(out)
    assert code == 0 and set(made) == {"key", "id", "name", "owner"} and made["owner"] == "me"
    assert status_of(server, made["key"]) == 200
    _, out, _ = tunesmith("keys", "list", *place)
    [line] = [line for line in out.splitlines() if made["id"] in line]
    assert made["key"][:8] in line and made["key"] not in out and line.endswith("admin")
    assert tunesmith("keys", "revoke", made["id"], *place)[0] == 0
    time.sleep(KNOWN_S)
    assert status_of(server, made["key"]) == 401
    listed = {info["id"]: info for info in json.loads(tunesmith("keys", "list", "--json", *place)[1])}
    assert listed[made["id"]]["revoked_at"] and listed[made["id"]]["last_used_at"]
    code, _, said = tunesmith("keys", "revoke", "key-0", *place)
    assert (code, "no key has the id 'key-0'" in said) == (3, True)


def test_models_added_beside_the_server_are_offered_at_once(server: RunningServer) -> None:
    place = ("--data-dir", str(server.data_dir))
    assert tunesmith("models", "add", "Qwen/Qwen3-8B", str(embedded_model()), *place)[0] == 0
    with urlopen(server.base_url + "/Qwen/Qwen3-8B/resolve/main/tokenizer.json", timeout=10) as answer:
        assert answer.read() == (embedded_model() / "tokenizer.json").read_bytes()
    names = [model["name"] for model in json.loads(tunesmith("models", "list", "--local", "--json", *place)[1])]
    assert names == ["tunesmith/embedded", "Qwen/Qwen3-8B"]
    assert "Qwen/Qwen3-8B" in tunesmith("models", "list", "--local", *place)[1]
    assert tunesmith("models", "remove", "Qwen/Qwen3-8B", *place)[0] == 0
    code, _, said = tunesmith("models", "remove", "Qwen/Qwen3-8B", *place)
    assert (code, "unknown 'Qwen/Qwen3-8B'" in said) == (3, True)


def test_status_says_what_the_server_says(server: RunningServer) -> None:
    code, out, _ = tunesmith("status", "--url", server.base_url, "--json", TUNESMITH_API_KEY=server.key)
    said = json.loads(out)
    assert code == 0 and said["base_models"][0]["name"] == "tunesmith/embedded"
    out = tunesmith("status", TINKER_BASE_URL=server.base_url, TINKER_API_KEY=server.key)[1]
    assert re.search(r"^base models +name tunesmith/embedded  max_context \d+$", out, re.MULTILINE)
    for wanted, environment, says in (
        (4, {"TUNESMITH_API_KEY": "tml-no"}, "answers 401: x-api-key: unknown, revoked or expired key"),
        (2, {"TUNESMITH_API_KEY": server.key, "TUNESMITH_BASE_URL": "http://127.0.0.1:1"}, "no server answers there"),
        (2, {"TUNESMITH_API_KEY": server.key, "TUNESMITH_URL": "nonsense"}, "url: cannot be 'nonsense'"),
    ):
        code, _, err = tunesmith("status", **{"TINKER_BASE_URL": server.base_url, **environment})
        assert code == wanted and says in err


def test_pull_fetches_from_a_hub_and_says_when_it_cannot(server: RunningServer, tmp_path: Path) -> None:
    """Our own look-alike is the hub: a repository that an operator put there shows its weights too."""
    shutil.copytree(embedded_model(), server.data_dir / "hub" / "models" / "me" / "tiny")
    (server.data_dir / "hub" / "models" / "me" / "tiny" / "model.py").write_text("raise SystemExit")
    place = ("--data-dir", str(tmp_path / "mine"))
    environment = {"HF_ENDPOINT": server.base_url, "HF_HOME": str(tmp_path / "home")}
    code, _, said = tunesmith("models", "pull", "me/tiny", "--name", "you/tiny", *place, **environment)
    assert code == 0, said
    folder = tmp_path / "mine" / "models" / "me" / "tiny"
    assert (folder / "model.safetensors").read_bytes() == (embedded_model() / "model.safetensors").read_bytes()
    assert not (folder / "model.py").exists()
    assert "you/tiny" in tunesmith("models", "list", "--local", *place)[1]
    code, _, said = tunesmith("models", "pull", "me/nothing", *place, **environment)
    assert code == 2 and "me/nothing: cannot be fetched from http" in said and "Traceback" not in said
    code, _, said = tunesmith("models", "pull", "me/other", *place, HF_ENDPOINT="http://127.0.0.1:1", HF_HOME="none")
    assert code == 2 and "me/other: cannot be fetched from http://127.0.0.1:1" in said and "Traceback" not in said
