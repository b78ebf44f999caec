"""The Training API's services in one place: who is connected, what they train and sample from, what was saved."""

import asyncio
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

from tunesmith.services.nursery import Nursery
from tunesmith.services.registry import Registry
from tunesmith.services.sessions.clients import Clients
from tunesmith.services.sessions.engines import Engines
from tunesmith.services.sessions.futures import Futures
from tunesmith.services.sessions.models import Models
from tunesmith.services.sessions.parked import give_up
from tunesmith.services.sessions.results import from_bytes, to_bytes
from tunesmith.services.sessions.rows import ResultRow
from tunesmith.services.sessions.samplers import Samplers
from tunesmith.services.sessions.vault import Vault
from tunesmith.services.store import Store

log = logging.getLogger(__name__)
ROUND_SECONDS = 15.0
"""How often lost clients, expired checkpoints and results nobody needs any more are looked for."""
REST_SECONDS = 900.0
"""An engine without work and policies gives back its memory after so long."""
DRAIN_SECONDS = 60.0
"""How long a stopping server lets queued work go on."""


class Sessions:
    """Built once per server. ``stop`` keeps everything that a client may come back for."""

    def __init__(self, store: Store, registry: Registry, data_dir: Path, nursery: Nursery) -> None:
        folder = self.folder = data_dir / "training"
        self.store = store
        self.clients, self.engines, self.futures = Clients(store), Engines(registry, nursery), Futures()
        self.vault = Vault(store, folder / "checkpoints")
        self.models = Models(store, self.clients, self.engines, self.futures, self.vault, folder)
        self.samplers = Samplers(store, self.clients, self.engines, self.futures, self.models, self.vault, folder)
        self._rounds: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take up what an earlier server left."""
        self.vault.sweep_orphans()
        with self.store.begin() as db:
            for row in db.query(ResultRow):
                future = self.futures.open(row.request_id, row.owner)
                future.finish(from_bytes(row.body))
                if ":sample:" in row.request_id:
                    self.samplers.note_finished(future)
                db.delete(row)
        self._rounds = asyncio.create_task(self._keep_house())

    async def stop(self) -> None:
        """Finish what is queued, write policies, snapshots and results to disk, end the engines."""
        if self._rounds is not None:
            self._rounds.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                await self.samplers.drained()
                await asyncio.gather(*(e.turns.drained() for e in self.engines))
        self.models.park()
        for engine in self.engines:
            await engine.turns.drained()
            if engine.pid is not None:
                await engine.call("park_weights")
            await engine.stop()
        with self.store.begin() as db:
            for future in self.futures.unfetched():
                assert future.result is not None, "unfetched means finished"
                db.merge(ResultRow(request_id=future.request_id, owner=future.owner, body=to_bytes(future.result)))

    def end(self, owner: str, session_id: str, ending: str) -> None:
        """A client's goodbye: its models and samplers leave memory, its checkpoints stay."""
        if self.clients.end(owner, session_id, ending):
            self.models.free(session_id)
            self.samplers.free(session_id, for_good=True)

    def fallen(self) -> int:
        """How many engines died by themselves and are not back; whoever asks has them started again."""
        away = [engine for engine in self.engines if engine.fallen]
        for engine in away:
            engine.rise()
        return len(away)

    def status(self) -> dict[str, Any]:
        """What runs, for people and gauges."""
        engines = [
            {"base_model": e.base_model, "pid": e.pid, "waiting": e.turns.waiting, "restarts": e.losses}
            for e in self.engines
        ]
        models = [
            {"id": m.id, "base_model": m.base_model, "rank": m.rank, "owner": m.owner} for m in self.models.live()
        ]
        return {
            "sessions": self.clients.connected,
            "engines": engines,
            "models": models,
            "sampling": self.samplers.running,
            "pending": self.futures.pending(),
            "trained_tokens": self.models.trained_tokens,
            "sampled_tokens": self.samplers.sampled_tokens,
        }

    async def _rest(self) -> None:
        """End engines that nobody has used for a while and that hold no policy; the next call starts them again."""
        for engine in self.engines:
            holds = any(self.engines.of(m.base_model) is engine for m in self.models.live())
            if engine.idle_s > REST_SECONDS and not holds and not engine.turns.busy:
                await engine.call("park_weights")
                await engine.stop()

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(ROUND_SECONDS)
            try:
                for session_id in self.clients.silent():
                    log.warning("no heartbeat from %s: its models go to disk until it is back", session_id)
                    self.models.park(session_id)
                    self.samplers.free(session_id, for_good=False)
                self.vault.sweep()
                give_up(self.store, self.folder)
                self.futures.prune()
                await self._rest()
            except Exception:
                log.exception("housekeeping failed; trying again in %s s", ROUND_SECONDS)
