"""Keeps the artefact store the same as what is finished here: in the background, so that no job depends on it.

What is missing here comes back on start. What this data directory had put there and no row names any more is deleted;
what others put there is never touched.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import select

from tunesmith.core import durable
from tunesmith.services.artefacts import Artefacts
from tunesmith.services.datasets import DatasetRow
from tunesmith.services.jobs.rows import JobRow
from tunesmith.services.store import Store
from tunesmith.services.tuned_models import TunedModelRow

LOOK_S = 30.0
OWN = "artefacts.json"
"""In the data directory: keys that it has put into the store."""
DONE = ("succeeded", "early_stopped")
"""States of jobs that cannot be resumed: their folders change no more."""
log = logging.getLogger(__name__)


class Mirror:
    """One data directory and its store."""

    def __init__(self, store: Store, artefacts: Artefacts) -> None:
        self._store, self._artefacts, self._data_dir = store, artefacts, artefacts.data_dir
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.waiting = 0
        """Finished folders that are not in the store yet."""

    async def start(self) -> None:
        """Bring back what is missing here, then look now and then. A store that is away holds up nothing."""
        await asyncio.to_thread(self._try, self.bring_back)
        self._task = asyncio.create_task(self._repeat())

    async def stop(self) -> None:
        """Put away what is finished, and end."""
        self._stopping.set()
        if self._task is not None:
            await self._task

    async def _repeat(self) -> None:
        over = False
        while not over:
            try:
                await asyncio.wait_for(self._stopping.wait(), LOOK_S)
                over = True
            except TimeoutError:
                over = False
            await asyncio.to_thread(self._try, self.look)

    def _try(self, what: Callable[[], None]) -> None:
        try:
            what()
        except Exception as e:  # whatever a file system of somebody else's raises
            log.warning("the artefact store does not answer, trying again: %s: %s", type(e).__name__, e)

    def look(self) -> None:
        """One round: put there what is new, delete what nothing names any more."""
        wanted, kept = self.finished(), self._artefacts.kept()
        new = [key for key in wanted if key not in kept and (self._data_dir / key).is_dir()]
        self.waiting = len(new)
        for key in new:
            self._note(self._own() | {key})
            self._artefacts.put(key)
            self.waiting -= 1
        for key in sorted(self._own() - set(wanted)):
            self._artefacts.remove(key)
            self._note(self._own() - {key})

    def bring_back(self) -> None:
        """Fetch every finished folder that is not here."""
        missing = [key for key in self.finished() if not (self._data_dir / key).is_dir()]
        kept = self._artefacts.kept() if missing else set()
        for key in missing:
            if key in kept:
                log.warning("%s is not here and comes from the artefact store", key)
                self._artefacts.fetch(key)
                self._note(self._own() | {key})

    def finished(self) -> list[str]:
        """Folders that change no more, as paths below the data directory."""
        with self._store.read() as db:
            models = [Path(folder) for folder in db.scalars(select(TunedModelRow.folder))]
            datasets = [Path("datasets", key) for key in db.scalars(_READY)]
            jobs = [Path("jobs", job) for job in db.scalars(select(JobRow.id).where(JobRow.state.in_(DONE)))]
        inside = [folder.relative_to(self._data_dir) for folder in models if folder.is_relative_to(self._data_dir)]
        return sorted({path.as_posix() for path in (*inside, *datasets, *jobs)})

    def _own(self) -> set[str]:
        file = self._data_dir / OWN
        return set(json.loads(file.read_text("utf-8"))) if file.is_file() else set()

    def _note(self, keys: set[str]) -> None:
        durable.write_json(self._data_dir / OWN, sorted(keys))


_READY = select(DatasetRow.key).where(DatasetRow.state == "READY", DatasetRow.key != "")
