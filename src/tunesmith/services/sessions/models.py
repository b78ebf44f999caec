"""The policies that clients train: made, trained, saved, parked on disk, freed. Operations queue in arrival order."""

import logging
import shutil
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select, update

from tunesmith.core.errors import Denied, NotFound, UserError
from tunesmith.core.types import AdamParams, Datum
from tunesmith.services.pages import page_of
from tunesmith.services.sessions.clients import Clients
from tunesmith.services.sessions.engine import Engine
from tunesmith.services.sessions.engines import Engines
from tunesmith.services.sessions.futures import Futures
from tunesmith.services.sessions.parked import FREED, LIVE, PARKED, policy_folder
from tunesmith.services.sessions.results import Failed, Result, Said, Trained
from tunesmith.services.sessions.rows import CheckpointRow, ModelRow, now
from tunesmith.services.sessions.saving import recipients_of, saved
from tunesmith.services.sessions.shape import Divisor, Managed, PolicyShape
from tunesmith.services.sessions.vault import Vault
from tunesmith.services.store import Store

log = logging.getLogger(__name__)
Work = Callable[[], Awaitable[Result]]


@dataclass(slots=True)
class LiveModel:
    """A policy in an engine, or on its way there."""

    row: ModelRow
    engine: Engine
    losses: int
    """How often the engine had died when the policy was made: one more death, and it is gone."""
    seen: dict[int, str] = field(default_factory=dict)
    """Sequence number -> request id: a request that is sent again is not carried out again."""

    @property
    def lost(self) -> bool:
        return self.engine.losses != self.losses


class Models:
    """All policies of a server."""

    def __init__(
        self, store: Store, clients: Clients, engines: Engines, futures: Futures, vault: Vault, folder: Path
    ) -> None:
        self.store, self.clients, self.engines, self.futures, self.vault = store, clients, engines, futures, vault
        self.folder = folder
        self.trained_tokens = 0
        self._live: dict[str, LiveModel] = {}
        with store.begin() as db:  # those of a server that was killed: their weights went with its memory
            db.execute(update(ModelRow).where(ModelRow.state == LIVE).values(state=FREED))

    def create(
        self,
        owner: str,
        session_id: str,
        number: int,
        base_model: str,
        shape: PolicyShape,
        user_metadata: Mapping[str, Any] | None = None,
        start: CheckpointRow | None = None,
        optimizer: bool = False,
        model_id: str = "",
    ) -> tuple[str, str]:
        """(request id, model id) of a new policy; from a checkpoint where one is given, else from nothing.

        ``model_id`` is for wires that name models in their own way; the same session and number give the same id.
        """
        self.clients.check(owner, session_id)
        model_id = model_id or f"{session_id}:train:{number}"
        request_id = f"{model_id}:create"
        if request_id in self.futures:
            return request_id, model_id
        row = ModelRow(
            id=model_id,
            session_id=session_id,
            owner=owner,
            base_model=base_model,
            rank=shape.rank,
            train_attn=shape.attention,
            train_mlp=shape.mlp,
            train_unembed=shape.head,
            user_metadata=dict(user_metadata or {}),
            state=LIVE,
            seen={},
            created_at=now(),
            last_request_at=now(),
        )
        engine = self.engines.of(base_model)
        with self.store.begin() as db:
            if db.get(ModelRow, model_id) is not None:
                raise UserError("model_seq_id", f"{model_id} exists already", "Count up from one model to the next")
            db.add(row)
        live = self._live[model_id] = LiveModel(row, engine, engine.losses)
        folder = None if start is None else self._start_folder(start)

        async def work() -> Result:
            made = await engine.call("create_policy", policy=model_id, shape=shape, start=folder, optimizer=optimizer)
            path = {} if start is None else {"path": start.path}
            return made if isinstance(made, Failed) else Said({"model_id": model_id, **path})

        self._queue(live, request_id, work)
        return request_id, model_id

    def load(self, owner: str, model_id: str, seq: int, start: CheckpointRow, optimizer: bool) -> str:
        """Saved state into a policy of the same shape that is there already."""
        live = self._find(owner, model_id)
        theirs, ours = (shape_of(x) for x in (start, live.row))
        if start.kind != "weights" or theirs != ours or start.base_model != live.row.base_model:
            problem = f"{start.path} holds rank {theirs.rank} of {start.base_model}, not what this model trains"
            raise UserError("path", problem, "Create a training client from the checkpoint instead")

        async def work() -> Result:
            folder = self.vault.files(start)
            done = await live.engine.call("load_policy", policy=model_id, start=folder, optimizer=optimizer)
            return done if isinstance(done, Failed) else Said({"path": start.path})

        return self._queue(live, f"{model_id}:{seq}", work, seq)

    def forward_backward(
        self,
        owner: str,
        model_id: str,
        seq: int,
        data: Sequence[Datum],
        loss: str,
        settings: Mapping[str, Any],
        forward_only: bool = False,
        managed: Managed | None = None,
    ) -> str:
        """Queue a batch; its gradient adds to what is there. Returns the request id."""
        live = self._find(owner, model_id)

        async def work() -> Result:
            given: dict[str, Any] = {"data": data, "loss": loss, "settings": settings, "forward_only": forward_only}
            given |= {} if managed is None else {"managed": managed}
            result = await live.engine.call("forward_backward", policy=model_id, **given)
            if isinstance(result, Trained):
                self.trained_tokens += sum(len(d.tokens) for d in data)
            return result

        return self._queue(live, f"{model_id}:{seq}", work, seq)

    def optim_step(self, owner: str, model_id: str, seq: int, params: AdamParams, divide_by: Divisor = "none") -> str:
        """Queue an update by the gradient so far, divided by what it was accumulated over."""
        live = self._find(owner, model_id)

        async def work() -> Result:
            return await live.engine.call("optim_step", policy=model_id, params=params, divide_by=divide_by)

        return self._queue(live, f"{model_id}:{seq}", work, seq)

    def weight_change(self, owner: str, model_id: str, seq: int) -> str:
        """Queue the question how far the weights are from the base model's."""
        live = self._find(owner, model_id)

        async def work() -> Result:
            return await live.engine.call("weight_change", policy=model_id)

        return self._queue(live, f"{model_id}:{seq}", work, seq)

    def unload(self, owner: str, model_id: str) -> str:
        """Queue a model's end: after what was queued before it leaves memory for good."""
        request_id = f"{model_id}:unload"
        if request_id in self.futures:
            return request_id
        live = self._find(owner, model_id)

        async def work() -> Result:
            done = await live.engine.call("drop_policy", policy=model_id)
            if not isinstance(done, Failed):
                self._live.pop(model_id, None)
                self._set_state(live, FREED)
            return done if isinstance(done, Failed) else Said({"model_id": model_id})

        return self._queue(live, request_id, work)

    def save(
        self, owner: str, model_id: str, seq: int, kind: str, name: str, recipients: Iterable[str] = (), **given: Any
    ) -> str:
        """Save under a name: state to go on from, an adapter to sample from, or files to take away.

        Args:
            recipients: age public keys; the files are encrypted for them and end in ``.age``.
            given: overwrite, ttl_seconds, user_metadata, inflight of ``Vault.saving``.
        """
        live = self._find(owner, model_id)
        request_id = f"{model_id}:{seq}"
        if seq in live.seen:
            return live.seen[seq]
        keys = recipients_of(recipients)
        saving = self.vault.saving(model_id, kind, name, **given)
        return self._queue(live, request_id, lambda: saved(live.engine, self.vault, live.row, saving, keys), seq)

    def publish(self, owner: str, model_id: str, seq: int, key: str, folder: Path, then: Callable[[], Said]) -> str:
        """Serve the weights as they are now under ``key``; ``then`` makes the answer."""
        live = self._find(owner, model_id)

        async def work() -> Result:
            done = await live.engine.call("publish", policy=model_id, key=key, folder=folder)
            return done if isinstance(done, Failed) else then()

        return self._queue(live, f"{model_id}:{seq}", work, seq)

    def placeholder(self, owner: str, session_id: str, number: int, source: CheckpointRow) -> ModelRow:
        """A model that is nothing but a name for copied checkpoints, of the shape of their source."""
        self.clients.find(owner, session_id)
        row = ModelRow(
            id=f"{session_id}:train:{number}",
            session_id=session_id,
            owner=owner,
            base_model=source.base_model,
            rank=source.rank,
            train_attn=source.train_attn,
            train_mlp=source.train_mlp,
            train_unembed=source.train_unembed,
            user_metadata={},
            state=FREED,
            seen={},
            created_at=now(),
            last_request_at=now(),
        )
        with self.store.begin() as db:
            old = db.get(ModelRow, row.id)
            if old is not None and (old.base_model, shape_of(old)) != (row.base_model, shape_of(row)):
                raise UserError("model_seq_id", f"{row.id} is a model of another shape", "Choose another number")
            return old or db.merge(row)

    def find(self, owner: str, model_id: str) -> ModelRow:
        """
        Raises:
            NotFound: no such model. Denied: somebody else's.
        """
        if (live := self._live.get(model_id)) is not None and live.row.owner == owner:
            return live.row
        with self.store.read() as db:
            row = db.get(ModelRow, model_id)
        if row is None:
            raise NotFound("model_id", f"there is no model {model_id!r}", "Create one with create_model")
        if row.owner != owner:
            raise Denied("model_id", "You do not have access to this model", "Use the key it was created with")
        return row

    def page(self, owner: str, limit: int = 100, offset: int = 0) -> tuple[Sequence[ModelRow], int]:
        """(those used last first, how many there are)."""
        mine = select(ModelRow).where(ModelRow.owner == owner)
        with self.store.read() as db:
            return page_of(db, mine, (ModelRow.last_request_at.desc(), ModelRow.id), limit, offset)

    def live(self) -> list[ModelRow]:
        """Those in memory."""
        return [m.row for m in self._live.values()]

    def waiting_before(self, model_id: str) -> int:
        """Operations that wait on the model's engine, its own included."""
        live = self._live.get(model_id)
        return 0 if live is None else live.engine.turns.waiting

    def free(self, session_id: str) -> None:
        """Give back the memory of a session's policies, for good. Checkpoints stay."""
        for model_id in self._of(session_id):
            live = self._live.pop(model_id)
            self._set_state(live, FREED)
            shutil.rmtree(policy_folder(self.folder, model_id), ignore_errors=True)
            live.engine.turns.add(model_id, _dropping(live.engine, model_id))

    def park(self, session_id: str | None = None) -> None:
        """Move policies (of one session, or all) from memory to disk, to be taken up where they are."""
        for model_id in self._of(session_id):
            live = self._live.pop(model_id)
            live.row.seen = {str(seq): request for seq, request in live.seen.items()}
            self._set_state(live, PARKED)  # at once: a client that is back meanwhile queues up behind the parking
            live.engine.turns.add(model_id, self._parking(live))

    def _of(self, session_id: str | None) -> list[str]:
        return [i for i, m in self._live.items() if session_id is None or m.row.session_id == session_id]

    def _find(self, owner: str, model_id: str) -> LiveModel:
        """The policy, taken up again where it was parked."""
        row = self.find(owner, model_id)
        live = self._live.get(model_id)
        if live is None and row.state == PARKED:
            live = self._wake(row)
        if live is None or live.lost:
            self._live.pop(model_id, None)
            problem = f"model {model_id} is no longer in memory: its session ended, or the server or its engine died"
            raise NotFound("model_id", problem, "Create a training client from its last checkpoint")
        self.clients.check(owner, row.session_id)
        row.last_request_at = now()
        return live

    def _wake(self, row: ModelRow) -> LiveModel:
        engine, folder = self.engines.of(row.base_model), policy_folder(self.folder, row.id)
        live = self._live[row.id] = LiveModel(row, engine, engine.losses, {int(k): v for k, v in row.seen.items()})
        self._set_state(live, LIVE)

        async def job() -> None:
            given = {"shape": shape_of(row), "start": folder, "optimizer": True}
            result = await engine.call("create_policy", policy=row.id, **given)
            if isinstance(result, Failed):
                log.error("%s could not be taken up again: %s", row.id, result.error)

        engine.turns.add(row.id, job)
        return live

    def _parking(self, live: LiveModel) -> Callable[[], Awaitable[None]]:
        async def job() -> None:
            model_id = live.row.id
            folder = policy_folder(self.folder, model_id)
            result = await live.engine.call("park_policy", policy=model_id, folder=folder)
            if isinstance(result, Failed):
                log.error("%s could not be parked: %s", model_id, result.error)
                self._set_state(live, FREED)

        return job

    def _set_state(self, live: LiveModel, state: str) -> None:
        live.row.state = state
        with self.store.begin() as db:
            db.merge(live.row)

    def _start_folder(self, start: CheckpointRow) -> Path:
        if start.kind == "external_weights":
            raise UserError("path", f"{start.path} was saved to be taken away", "Load weights or sampler_weights")
        return self.vault.files(start)

    def _queue(self, live: LiveModel, request_id: str, work: Work, seq: int | None = None) -> str:
        """Line up work whose result answers ``request_id``; the same number twice is the same request."""
        if seq is not None:
            if seq in live.seen:
                return live.seen[seq]
            live.seen[seq] = request_id
        future = self.futures.open(request_id, live.row.owner)

        async def job() -> None:
            future.begun = True
            try:
                future.finish(await work())
            except UserError as e:
                future.finish(Failed(str(e), "user"))
            except Exception as e:
                log.exception("%s failed", request_id)
                future.finish(Failed(f"the server failed ({type(e).__name__}); its log says more", "server"))

        live.engine.turns.add(live.row.id, job)
        return request_id


def shape_of(row: CheckpointRow | ModelRow) -> PolicyShape:
    """What a saved or live policy trains."""
    return PolicyShape(row.rank, row.train_attn, row.train_mlp, row.train_unembed)


def _dropping(engine: Engine, model_id: str) -> Callable[[], Awaitable[None]]:
    async def job() -> None:
        await engine.call("drop_policy", policy=model_id)

    return job
