"""A real server on the tiny model, and what goes on behind its back: its rows, its workers, their run folders."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx2
from jobs_service.workplace import MODEL, SHAPES, WAIT_S, Workplace
from server.running import RunningServer
from server.warm import WarmServer

from tunesmith.services.jobs.job import Job
from tunesmith.services.keys import Keys

OWNER = "ann"
SETTINGS = {"base_model": MODEL, "learning_rate": 5e-4, "lora_rank": 4, "max_context_length": 64}


class House:
    """A server that can be killed. Its client asks again for as long as nobody answers, as real clients do.

    It starts with its imports in memory; a test whose figure is the time of a start gives ``RunningServer``.
    """

    def __init__(
        self,
        data_dir: Path,
        tiny: Path,
        *flags: str,
        database_url: str = "",
        server: type[RunningServer] = WarmServer,
    ) -> None:
        self.place = Workplace(data_dir, tiny, url=database_url)
        self.server = server(data_dir, *flags, *(["--database-url", database_url] if database_url else []))
        self.key = Keys(self.place.store).create(OWNER)
        self.starts_s: list[float] = []
        """How long each start took until the server was ready."""
        self._tiny = tiny
        self.start()
        self.client = httpx2.Client(base_url=self.server.base_url, headers={"x-api-key": self.key}, timeout=60)

    def start(self) -> None:
        began = time.monotonic()
        self.server.start()
        self.starts_s.append(time.monotonic() - began)

    def restart(self) -> None:
        """kill -9 of the server, and another in its place."""
        self.server.kill()
        self.start()

    def ask(self, method: str, path: str, **request: Any) -> Any:
        """The JSON of an answer, which has to be 2xx."""
        answer = self.client.request(method, f"/api/v1{path}", **request)
        assert answer.is_success, (answer.status_code, answer.text)
        return answer.json() if answer.content else None

    def upload(self, kind: str, times: int = 1, name: str = "") -> str:
        """A READY dataset of so many times twelve rows; its id."""
        rows = (self._tiny / "data" / f"{kind}.jsonl").read_bytes() * times
        self.ask("PUT", f"/datasets/{name or kind}?kind={kind}", content=rows)
        return name or kind

    def create(self, kind: str, **changes: Any) -> Job:
        """A job over the kind's dataset, asked for over HTTP."""
        asked = {"kind": kind, "dataset": kind, **SETTINGS, **SHAPES[kind], **changes}
        return self.place.jobs.get(OWNER, self.ask("POST", "/jobs", json=asked)["id"])

    def until(self, done: Callable[[], bool], seconds: float = WAIT_S) -> float:
        """Wait until something is so; the seconds that it took."""
        began = time.monotonic()
        while not done():
            assert time.monotonic() - began < seconds, self.place.said() + self.server.log()[-3000:]
            time.sleep(0.05)
        return time.monotonic() - began

    def at_work(self, job: Job, least: int) -> bool:
        """Whether a worker lives and has done so many steps."""
        return self.place.step(job) >= least and bool(self.place.pid(job))

    def close(self) -> None:
        self.client.close()
        self.server.close()
        self.place.close()


def middle_and_most(seconds: Sequence[float]) -> str:
    ordered = sorted(seconds)
    return f"{ordered[len(ordered) // 2]:.1f} s, at most {ordered[-1]:.1f} s"
