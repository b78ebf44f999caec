"""A database that is locked, restarted or on a full disk: the server says so at once, and goes on when it is back.

Its readiness is false meanwhile, and it is alive all along.
"""

import os
import sqlite3
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest
from databases import Postgres
from server.running import RunningServer
from server.warm import WarmServer

from tunesmith.services.store import FILE_NAME

ROW = b'{"messages": [{"role": "user", "content": "1+1="}, {"role": "assistant", "content": "2"}]}\n'
PATIENCE_S = 6.0
"""What a client may have to wait for an answer, whatever the database does."""
UNREADY_S = 5.0
"""A server that cannot do its work says so within it."""


def client_of(server: RunningServer) -> httpx2.Client:
    return httpx2.Client(base_url=server.base_url, headers={"x-api-key": server.key}, timeout=60)


def upload(server: RunningServer, name: str) -> tuple[int, float, str]:
    """(status, seconds, Retry-After) of a request that writes."""
    began = time.monotonic()
    with client_of(server) as client:
        answer = client.put(f"/api/v1/datasets/{name}", params={"kind": "sft"}, content=ROW * 8)
    return answer.status_code, time.monotonic() - began, answer.headers.get("retry-after", "")


def session(server: RunningServer) -> tuple[int, float, str]:
    """The same of one that writes in the thread of the event loop."""
    began = time.monotonic()
    with client_of(server) as client:
        answer = client.post("/api/v1/create_session", json={"tags": [], "sdk_version": "1"})
    return answer.status_code, time.monotonic() - began, answer.headers.get("retry-after", "")


def look(server: RunningServer) -> tuple[int, float]:
    began = time.monotonic()
    with client_of(server) as client:
        status = client.get("/api/v1/jobs").status_code
    return status, time.monotonic() - began


def until_ready(server: RunningServer, wanted: bool) -> tuple[float, list[str]]:
    """Seconds until ``/readyz`` said so, and the reasons it gave; ``/healthz`` answers all along."""
    began = time.monotonic()
    with client_of(server) as client:
        while time.monotonic() - began < 30:
            answer = client.get("/readyz")
            assert client.get("/healthz").json() == {"status": "ok"}
            assert answer.status_code in (200, 503)
            if (answer.status_code == 200) == wanted:
                return time.monotonic() - began, answer.json().get("because", [])
            time.sleep(0.1)
    raise AssertionError(f"it never said {wanted}: {answer.text}")


@pytest.mark.thorough
@pytest.mark.parametrize("seconds", [8.0, pytest.param(30.0, marks=pytest.mark.slow)])
def test_a_locked_database(tmp_path: Path, seconds: float) -> None:
    """Another program holds it: what only reads is answered as ever, what writes with 503 within 6 seconds."""
    server = WarmServer(tmp_path / "data").start()
    try:
        assert upload(server, "before")[0] == 200
        other = sqlite3.connect(server.data_dir / FILE_NAME, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        until = time.monotonic() + seconds
        took, because = until_ready(server, False)
        assert took < UNREADY_S and because == ["the database takes no writes"]
        with ThreadPoolExecutor(12) as pool:
            while time.monotonic() < until - PATIENCE_S:
                writes = [pool.submit(upload, server, f"while-{n}") for n in range(4)]
                writes += [pool.submit(session, server) for _ in range(4)]
                reads = [pool.submit(look, server) for _ in range(4)]
                for written in writes:
                    status, took, retry = written.result()
                    assert (status, retry) == (503, "1") and took < PATIENCE_S, (status, took)
                assert [read.result()[0] for read in reads] == [200] * 4
                assert max(read.result()[1] for read in reads) < PATIENCE_S
        other.execute("COMMIT")
        other.close()
        until_ready(server, True)
        assert (upload(server, "after")[0], session(server)[0]) == (200, 200)
        assert "internal error" not in server.log()
    finally:
        server.kill()


@pytest.mark.thorough
def test_a_server_that_starts_waits_for_a_database_that_is_busy(tmp_path: Path) -> None:
    """Longer than a request would: a refusal would be its end."""
    server = WarmServer(tmp_path / "data").start()
    server.kill()
    other = sqlite3.connect(server.data_dir / FILE_NAME, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    unlock = threading.Timer(8, other.execute, ["COMMIT"])
    unlock.start()
    try:
        began = time.monotonic()
        server.start()
        assert time.monotonic() - began > 6, "it started while it could write nothing"
        assert session(server)[0] == 200
    finally:
        unlock.join()
        other.close()
        server.kill()


@pytest.mark.thorough
def test_postgresql_is_restarted_under_the_server(tmp_path: Path, postgres: Postgres) -> None:
    server = WarmServer(tmp_path / "data", "--database-url", postgres.url).start()
    try:
        assert upload(server, "before")[0] == 200
        postgres.stop()
        for what in (upload(server, "while"), session(server), (*look(server), "1")):
            assert (what[0], what[2]) == (503, "1") and what[1] < PATIENCE_S, what
        took, because = until_ready(server, False)
        assert took < UNREADY_S and because == ["the database takes no writes"]
        postgres.start()
        until_ready(server, True)
        assert (upload(server, "after")[0], session(server)[0], look(server)[0]) == (200, 200, 200)
        assert "internal error" not in server.log()
    finally:
        server.kill()


def fill(file: Path) -> None:
    """Take what is left of a disk."""
    with file.open("wb") as taken, suppress(OSError):
        while True:
            os.write(taken.fileno(), bytes(1 << 16))


@pytest.mark.thorough
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk(tmp_path: Path) -> None:
    """The data directory on a disk of 6 MB: what does not fit is refused with 507 or 503, and nothing is broken."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("no disk can be mounted here")
    server = WarmServer(disk / "data")
    try:
        server.start()
        with client_of(server) as client:
            sent = [client.put(f"/api/v1/datasets/d{n}", params={"kind": "sft"}, content=ROW * 16000) for n in range(8)]
            statuses = [answer.status_code for answer in sent]
            assert statuses[0] == 200 and set(statuses) <= {200, 503, 507} and statuses[-1] != 200, statuses
            assert client.get("/api/v1/jobs").status_code == 200
            for n, status in enumerate(statuses):
                if status == 200:
                    assert client.get(f"/api/v1/datasets/d{n}/content").content == ROW * 16000
            fill(disk / "filling")
            took, because = until_ready(server, False)
            assert took < UNREADY_S and because == ["the disk takes no files: No space left on device"]
            subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
            until_ready(server, True)
            again = client.put("/api/v1/datasets/again", params={"kind": "sft"}, content=ROW * 16000)
            assert again.status_code == 200, again.text
        assert "internal error" not in server.log()
        with sqlite3.connect(server.data_dir / FILE_NAME) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        db.close()
    finally:
        server.kill()
        subprocess.run(["umount", "-l", str(disk)], check=False)
