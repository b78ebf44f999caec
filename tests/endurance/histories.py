"""Clients that create, list, cancel and delete jobs, each of whom knows what it was told and holds the server to it."""

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx2

ENOUGH = 12
"""Jobs of one client after which it deletes some."""
PAUSE_S = (0.02, 0.3)
CANCELLED = ("cancelling", "cancelled")


@dataclass
class Client:
    """One account that asks one thing after another, and repeats what was not answered."""

    base_url: str
    key: str
    seed: int
    asked: dict[str, Any]
    """The job that it creates."""
    known: dict[str, bool] = field(default_factory=dict)
    """Id of each job that it was told of and did not delete -> whether a cancellation was acknowledged."""
    acknowledged: int = 0
    repeated: int = 0
    wrong: list[str] = field(default_factory=list)

    def act(self, over: threading.Event) -> None:
        """Until told to stop; the last request is brought to an answer."""
        drawn = random.Random(self.seed)
        with httpx2.Client(base_url=self.base_url, headers={"x-api-key": self.key}, timeout=30) as client:
            while not over.wait(drawn.uniform(*PAUSE_S)):
                can = [self.create, self.look] + ([self.cancel] if self.known else [])
                can += [self.delete] if len(self.known) >= ENOUGH else []
                try:
                    drawn.choice(can)(client, drawn)
                except AssertionError as e:
                    self.wrong.append(str(e)[:500])

    def create(self, client: httpx2.Client, _: random.Random) -> None:
        headers = {"idempotency-key": str(uuid4())}
        answer, _ = self._insist(lambda: client.post("/api/v1/jobs", json=self.asked, headers=headers))
        assert answer.status_code == 200, answer.text
        made = answer.json()["id"]
        assert made not in self.known, "two creations, one job"
        self.known[made] = False

    def cancel(self, client: httpx2.Client, drawn: random.Random) -> None:
        job = drawn.choice(list(self.known))
        answer, _ = self._insist(lambda: client.post(f"/api/v1/jobs/{job}/cancel"))
        if answer.status_code == 409 and "succeeded" in answer.text:
            return
        assert answer.status_code == 200 and answer.json()["state"] in CANCELLED, answer.text
        self.known[job] = True

    def delete(self, client: httpx2.Client, drawn: random.Random) -> None:
        job = drawn.choice(list(self.known))
        answer, times = self._insist(lambda: client.delete(f"/api/v1/jobs/{job}"))
        assert answer.status_code == 204 or (answer.status_code == 404 and times > 1), answer.text
        del self.known[job]

    def look(self, client: httpx2.Client, _: random.Random | None = None) -> None:
        """What it is shown is what it was told, no more and no less."""
        answer, _ = self._insist(lambda: client.get("/api/v1/jobs?limit=200"))
        assert answer.status_code == 200, answer.text
        shown = {job["id"]: job["state"] for job in answer.json()["items"]}
        assert len(shown) == len(answer.json()["items"]), "one twice"
        shown = {job: state for job, state in shown.items() if job in self.known or state != "deleting"}
        assert shown.keys() == self.known.keys(), f"lost or doubled: {shown.keys() ^ self.known.keys()}"
        for job, cancelled in self.known.items():
            assert not cancelled or shown[job] in CANCELLED, f"{job} was cancelled and is {shown[job]}"

    def _insist(self, send: Callable[[], httpx2.Response]) -> tuple[httpx2.Response, int]:
        """(the answer, how often it was asked): while nobody answers, or the server says that it is busy."""
        times = 0
        while True:
            times += 1
            try:
                answer = send()
            except httpx2.HTTPError:
                self.repeated += 1
                time.sleep(min(0.1 * 2**times, 2.0))
                continue
            if answer.status_code == 503:
                time.sleep(0.2)
                continue
            assert answer.status_code < 500, answer.text
            self.acknowledged += 1
            return answer, times


def crowd(clients: Sequence[Client], meanwhile: Callable[[], None]) -> None:
    """Let all of them act while something happens; then each looks once more."""
    over = threading.Event()
    threads = [threading.Thread(target=client.act, args=(over,)) for client in clients]
    for thread in threads:
        thread.start()
    try:
        meanwhile()
    finally:
        over.set()
        for thread in threads:
            thread.join()
    for client in clients:
        with httpx2.Client(base_url=client.base_url, headers={"x-api-key": client.key}, timeout=30) as http:
            client.look(http)
