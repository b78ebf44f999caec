"""The worker process of one job: takes up the run where it stands and brings it to its end.

``python -m tunesmith.services.jobs.worker_main JOB_ID FENCE DATA_DIR LOCK``, the number of the open lock that makes it
the job's only worker; on stdin a line with the database's URL, and one with what the server tells. SIGTERM ends it
after the step in hand, a second one at once. It may be killed at any moment: another goes on from the last checkpoint.
"""

import logging
import os
import signal
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from tunesmith.core.addresses import LOOPBACK, networks
from tunesmith.core.errors import UserError
from tunesmith.core.types import Finding
from tunesmith.services.datasets import Datasets
from tunesmith.services.evaluators import Evaluators
from tunesmith.services.gateway.rollouts import KEY_FILE
from tunesmith.services.jobs.job_kinds import JOB_KINDS
from tunesmith.services.jobs.jobs import Jobs
from tunesmith.services.jobs.lease import LOST, Lease, LeaseLost
from tunesmith.services.jobs.moves import State, move, note
from tunesmith.services.jobs.results import publish_results
from tunesmith.services.jobs.rows import JobRow
from tunesmith.services.jobs.workers import STOPPED, take_over
from tunesmith.services.key_files import secret_in
from tunesmith.services.keys import Keys
from tunesmith.services.outside import Outside, Reach, Server
from tunesmith.services.registry import Registry
from tunesmith.services.run_folder import RunFolder, RunState
from tunesmith.services.secrets import Secrets
from tunesmith.services.store import PATIENT_MS, open_store
from tunesmith.spec import AnySpec, RftSpec

ENDINGS: dict[str, State] = {
    "COMPLETED": "succeeded",
    "EARLY_STOPPED": "early_stopped",
    "FAILED": "failed",
    "PAUSED": "paused",
}
NICENESS = 10


@dataclass(frozen=True, slots=True)
class Work:
    """One claim of one job."""

    jobs: Jobs
    lease: Lease
    job_id: str
    run: RunFolder
    data_dir: Path
    secrets: Secrets
    server: Server

    def do(self) -> None:
        """Run the job to its end and move its row there."""
        with self.jobs.store.read() as db:
            row = db.get_one(JobRow, self.job_id)
        try:
            spec = self.jobs.specs.build(row.owner, row.id, row)
            outside = self._outside(row.owner)
            work = self._train if JOB_KINDS[row.kind].outcome == "model" else self._evaluate
            state = work(row, spec, outside)
        except UserError as e:
            self._finish(self._stopped_as(), str(e))
        except OperationalError:
            # The database is away, not the job at fault: another worker goes on from the last checkpoint.
            raise
        except Exception as e:
            traceback.print_exc()
            self._finish("failed", f"{type(e).__name__}: {e}")
        else:
            self._finish(ENDINGS[state.state], state.reason)

    def _outside(self, owner: str) -> Outside:
        """
        Raises:
            UserError: secrets that were encrypted to another key.
        """
        allowed = networks(self.server.allowed)
        # With more than one account, this machine's other services are not everybody's to reach.
        if self.server.loopback and Keys(self.jobs.store).owners() <= {owner}:
            allowed += LOOPBACK
        secret = secret_in(self.data_dir / KEY_FILE)
        reach = Reach(self.job_id, self.jobs.folders.of(self.job_id), self.server.base_url, allowed, secret)
        return Outside(self.secrets.environment(owner), reach)

    def _train(self, row: JobRow, spec: AnySpec, outside: Outside) -> RunState:
        # Here, because torch takes seconds to load: the lease is held by now.
        from tunesmith.services import worker
        from tunesmith.services.keeping import Watcher

        watcher = Watcher(started=self._started, found=self._found, warned=self._warned)
        if not (self.run.path / "state.json").is_file():
            self.run.set_name(row.name)
            worker.start(spec, watcher, outside)
        elif not (self.run.state().state in ("COMPLETED", "EARLY_STOPPED") and self.run.card()):
            worker.resume(self.run, watcher, outside)
        self._publish(row)
        return self.run.state()

    def _evaluate(self, row: JobRow, spec: AnySpec, outside: Outside) -> RunState:
        from tunesmith.services import evaluation
        from tunesmith.services.keeping import Watcher

        assert isinstance(spec, RftSpec), "that is what an evaluation's settings make"
        if not self.run.card():
            watcher = Watcher(started=self._started)
            evaluation.run_evaluation(self.run, spec, "model" in row.settings, watcher, outside)
        try:
            publish_results(self.jobs.datasets, row, self.run, self.lease)
        except UserError as e:
            text = f"the results are no dataset: {e}"
            self.lease.write(lambda db, now: note(db, now, text, level="warning"))
        return self.run.state()

    def _publish(self, row: JobRow) -> None:
        """A name that was taken meanwhile does not undo the training: the result is in the run folder."""
        try:
            self.jobs.results.publish(row, self.run, self.lease)
        except UserError as e:
            text = f"the result has no name: {e}"
            self.lease.write(lambda db, now: note(db, now, text, level="warning"))

    def _stopped_as(self) -> State:
        """A job that stopped for want of room can go on; another refusal is its end."""
        there = (self.run.path / "state.json").is_file()
        return "paused" if there and self.run.state().state == "PAUSED" else "failed"

    def _started(self, _run: RunFolder, _num_steps: int, notes: list[str]) -> None:
        def write(db: Session, row: JobRow) -> None:
            for text in notes:
                note(db, row, text)

        self.lease.write(write)

    def _found(self, finding: Finding) -> None:
        text = f"{finding.rule}: {finding.saw}. {finding.advice}"
        self.lease.write(lambda db, row: note(db, row, text, "finding", finding.level))

    def _warned(self, text: str) -> None:
        shown = text.replace(f"{self.data_dir}/", "")
        self.lease.write(lambda db, row: note(db, row, shown, level="warning"))

    def _finish(self, to: State, why: str) -> None:
        """Where the job was told to stop meanwhile, the server has the last word."""

        def write(db: Session, row: JobRow) -> None:
            if row.state == "running":
                move(db, row, to, why.replace(f"{self.data_dir}/", ""))

        self.lease.write(write)


def _give_way() -> None:
    """On a machine that is full, those who wait for an answer come before a job.

    Linux may share processors out by session first, and a worker is one: that share is lowered too where there is one.
    """
    os.nice(NICENESS)
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(NICENESS))


def main() -> int:
    """Exit code: 0 when the row says how the job ended, ``STOPPED`` after SIGTERM, ``LOST`` when it is another's."""
    job_id, fence, data_dir, lock = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    take_over(lock)
    _give_way()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    # asyncio turns the first interrupt into a cancelled task and the second into an end at once.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        store = open_store(sys.stdin.readline().strip(), PATIENT_MS)
        server = Server.of_line(sys.stdin.readline())
        secrets = Secrets(store, data_dir)
        evaluators = Evaluators(store, data_dir, secrets)
        jobs = Jobs(store, Datasets(store, data_dir), evaluators, Registry(store), data_dir)
        lease = Lease(store, job_id, fence)
        with lease.kept():
            Work(jobs, lease, job_id, jobs.folders.run(job_id), data_dir, secrets, server).do()
    except KeyboardInterrupt:
        return STOPPED
    except LeaseLost as e:
        print(e, file=sys.stderr)
        return LOST
    return 0


if __name__ == "__main__":
    sys.exit(main())
