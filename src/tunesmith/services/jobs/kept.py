"""The checkpoints that a job keeps, as models: sampled while the job runs and after, until they are let go."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from tunesmith.services.checkpoints import ADAPTER, MODEL
from tunesmith.services.jobs.folders import Folders
from tunesmith.services.jobs.job import Job, shown
from tunesmith.services.jobs.rows import JobRow
from tunesmith.services.registry import EMBEDDED
from tunesmith.services.store import Store

_NAME = re.compile(r"([a-z0-9-]{1,63}):ckpt-step-(\d{1,9})")


@dataclass(frozen=True, slots=True)
class Kept:
    """The weights of one checkpoint."""

    job: Job
    step: int
    folder: Path
    """An adapter in PEFT form, or a whole model."""

    @property
    def whole(self) -> bool:
        """Whether it is a model of its own, not an adapter."""
        return self.folder.name == MODEL

    @property
    def name(self) -> str:
        """What it is sampled by."""
        return f"{self.job.output_model}:ckpt-step-{self.step}"

    @property
    def key(self) -> str:
        """Of these weights and no others: a step that is taken again has the same."""
        return f"{self.job.id}:step-{self.step}"

    @property
    def base_model(self) -> str:
        return str(self.job.settings.get("base_model", EMBEDDED))


class KeptCheckpoints:
    """Those of all jobs; an owner sees only its own."""

    def __init__(self, store: Store, folders: Folders) -> None:
        self._store, self._folders = store, folders

    def of(self, job: Job) -> Sequence[Kept]:
        """Newest first."""
        run = self._folders.run(job.id).path
        folders = sorted((f for name in (ADAPTER, MODEL) for f in run.glob(f"checkpoints/step-*/{name}")), reverse=True)
        return [Kept(job, int(folder.parent.name.removeprefix("step-")), folder) for folder in folders]

    def find(self, owner: str, name: str) -> Kept | None:
        """The checkpoint of that name, of the newest job that has one; None where there is none."""
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        those = select(JobRow).where(JobRow.owner == owner, JobRow.output_model == found[1])
        with self._store.read() as db:
            jobs = [shown(row) for row in db.scalars(those.order_by(JobRow.created_at.desc()))]
        kept = [kept for job in jobs for kept in self.of(job)]
        return next((one for one in kept if one.step == int(found[2])), None)
