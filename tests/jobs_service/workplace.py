"""A server's data directory without the server: its job services, and a scheduler that is stepped by hand."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from crash.fingerprint import fingerprint
from server.warm import warm_nursery
from sqlalchemy.exc import OperationalError

from tunesmith.services.datasets import Datasets
from tunesmith.services.evaluators import Evaluators
from tunesmith.services.jobs.job import Job, NewJob
from tunesmith.services.jobs.jobs import Jobs
from tunesmith.services.jobs.scheduler import Scheduler
from tunesmith.services.jobs.workers import Workers
from tunesmith.services.registry import Registry
from tunesmith.services.run_folder import RunFolder
from tunesmith.services.secrets import Secrets
from tunesmith.services.store import file_url, open_store

MODEL = "test/tiny"
WAIT_S = 120.0
SHAPES: dict[str, dict[str, Any]] = {
    "rft": {"evaluator": "contains", "chunk_size": 4, "response_candidates_count": 4, "max_tokens": 16, "top_k": 0},
    "sft": {"batch_size_samples": 4},
    "dpo": {"batch_size_samples": 4, "learning_rate": 1e-4},
}
"""Three steps of four rows each, before ``epochs`` multiplies them."""


class Workplace:
    """Owners named here have each kind's dataset under the kind's name."""

    def __init__(self, data_dir: Path, tiny: Path, max_running: int = 1, url: str = "") -> None:
        self.data_dir, self.url, self.tiny = data_dir, url or file_url(data_dir), tiny
        self.store = open_store(self.url)
        registry = Registry(self.store)
        registry.add(MODEL, tiny / "model")
        self.datasets = Datasets(self.store, data_dir)
        self.evaluators = Evaluators(self.store, data_dir, Secrets(self.store, data_dir))
        self.jobs = Jobs(self.store, self.datasets, self.evaluators, registry, data_dir)
        self.max_running = max_running
        self._earlier: list[Workers] = []
        self.restart()

    def restart(self, **given: Any) -> Scheduler:
        """A scheduler that knows nothing, as after a server was killed; workers of the one before live on."""
        workers = Workers(self.jobs.folders, self.data_dir, self.url, warm_nursery())
        self.scheduler, self.workers = Scheduler(self.jobs, workers, self.max_running, **given), workers
        self._earlier.append(workers)
        return self.scheduler

    def upload(self, owner: str, kind: str, data: bytes | None = None, name: str = "") -> str:
        """A READY dataset; its id."""
        name = name or kind
        self.datasets.create(owner, name)
        with self.datasets.upload(owner, name) as incoming:
            incoming.write((self.tiny / "data" / f"{kind}.jsonl").read_bytes() if data is None else data)
        self.datasets.finish(owner, name)
        return name

    def new(self, kind: str, **changes: Any) -> NewJob:
        settings = {"base_model": MODEL, "learning_rate": 5e-4, "lora_rank": 4, "max_context_length": 64}
        return NewJob(kind, {**settings, **SHAPES[kind], **changes}, kind)

    def create(self, kind: str, owner: str = "ann", **changes: Any) -> Job:
        """A queued job of an owner who may have no dataset yet."""
        if kind not in {d.id for d in self.datasets.page(owner)[0]}:
            self.upload(owner, kind)
        return self.jobs.create(owner, self.new(kind, **changes))

    def start_to_die(self, job: Job, operation: int) -> None:
        """Start its worker, and wait until it has been killed at its n-th write: in the middle for certain.

        The scheduler sees the start and nothing after it.
        """
        os.environ["TUNESMITH_FAIL_AT"] = str(operation)
        try:
            self.look_until(lambda: self.jobs.get(job.owner, job.id).starts == 1)
        finally:
            del os.environ["TUNESMITH_FAIL_AT"]
        self.until_gone([job])

    def run(self, job: Job) -> RunFolder:
        return self.jobs.run(job.owner, job.id)

    def look_until(self, done: Callable[[], bool], seconds: float = WAIT_S) -> float:
        """Step the scheduler until something is so; the seconds that it took."""
        began = time.monotonic()
        while not done():
            assert time.monotonic() - began < seconds, self.said()
            # Like a server's: it looks again where the database was a worker's for too long.
            with suppress(OperationalError):
                self.scheduler.look()
            time.sleep(0.02)
        return time.monotonic() - began

    def until_gone(self, jobs: list[Job]) -> float:
        """Wait, and let the scheduler see nothing, until no worker of theirs lives; the seconds that it took."""
        began = time.monotonic()
        while any(self.workers.lives(job.id) for job in jobs):
            assert time.monotonic() - began < WAIT_S, self.said()
            time.sleep(0.05)
        return time.monotonic() - began

    def state(self, job: Job) -> str:
        return self.jobs.get(job.owner, job.id).state

    def until_state(self, job: Job, *states: str) -> Job:
        self.look_until(lambda: self.state(job) in states)
        return self.jobs.get(job.owner, job.id)

    def moves(self, job: Job) -> list[str]:
        """States in the order that the job had them."""
        return [e.to_state for e in self.jobs.events(job.owner, job.id, limit=1000) if e.kind == "move"]

    def pid(self, job: Job) -> int | None:
        """Process id of the job's worker."""
        return self.workers.pid(job.id) or None

    def step(self, job: Job) -> int:
        """The last that is finished."""
        return self.jobs.progress(job.owner, job.id).step

    def kill(self, job: Job) -> bool:
        """kill -9 of a job's worker and what it started; False when it had ended just before."""
        if pid := self.pid(job):
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
                return True
        return False

    def calm(self, job: Job, folder: Path) -> dict[str, str]:
        """What the same spec gives in this process, undisturbed."""
        from tunesmith.services import worker

        spec = self.jobs.spec(job.owner, job.id)
        return fingerprint(worker.start(spec.model_copy(update={"output_dir": str(folder)})).path)

    def fingerprint(self, job: Job) -> dict[str, str]:
        return fingerprint(self.run(job).path)

    def said(self) -> str:
        """Rows and what workers printed, for a failed test."""
        rows = [f"{job.id} {job.state} {job.reason}" for job in self.jobs.page("ann")[0]]
        return "\n".join(rows + [log.read_text()[-3000:] for log in self.data_dir.glob("jobs/*/worker.log")])

    def close(self) -> None:
        self.evaluators.close()
        self.scheduler.drain()
        for workers in self._earlier:
            workers.close()
        self.store.close()
