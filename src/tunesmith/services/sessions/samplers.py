"""What clients sample from: base models, checkpoints and snapshots, each pinned to the weights it was made with."""

import asyncio
import logging
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.core.errors import Conflict, Denied, NotFound, UserError
from tunesmith.core.types import Ints, OnToken, PromptScoring, SamplingParams
from tunesmith.services.sessions.clients import Clients
from tunesmith.services.sessions.engine import Engine
from tunesmith.services.sessions.engines import Engines
from tunesmith.services.sessions.finished import FinishedLog
from tunesmith.services.sessions.futures import Future, Futures
from tunesmith.services.sessions.models import Models
from tunesmith.services.sessions.parked import snapshot_folder
from tunesmith.services.sessions.results import Failed, Said, Sampled
from tunesmith.services.sessions.rows import ModelRow, SamplerRow
from tunesmith.services.sessions.vault import Vault
from tunesmith.services.store import Store

log = logging.getLogger(__name__)
SEQ_OF_CLONE = 1_000_000_000
"""Sequence numbers of a sampler's n-th clone begin at n times this."""
MOST_SAMPLES = 1024
"""Completions of one request."""


@dataclass(frozen=True, slots=True)
class LiveSampler:
    """A sampler, and where its weights can be read again."""

    row: SamplerRow
    folder: Path | None
    context: int
    vocab: int


class Samplers:
    """All samplers of a server."""

    def __init__(
        self,
        store: Store,
        clients: Clients,
        engines: Engines,
        futures: Futures,
        models: Models,
        vault: Vault,
        folder: Path,
    ) -> None:
        self.store, self.clients, self.engines, self.futures = store, clients, engines, futures
        self.models, self.vault, self.folder = models, vault, folder
        self.sampled_tokens = 0
        self._live: dict[str, LiveSampler] = {}
        self._running: dict[str, asyncio.Task[Any]] = {}
        self._finished: dict[tuple[str, int], FinishedLog] = {}

    def create(
        self, owner: str, session_id: str, number: int, base_model: str | None, model_path: str | None
    ) -> SamplerRow:
        """A sampler of a base model, or of a checkpoint; the same number twice is the same sampler."""
        self.clients.check(owner, session_id)
        return self._add(self._row(owner, f"{session_id}:sample:{number}", session_id, base_model, model_path))

    def weights(self, owner: str, base_model: str | None, model_path: str | None = None) -> LiveSampler:
        """What ``draw`` samples from: a base model, or the weights that a checkpoint holds now. Needs no session."""
        return self._to_live(self._row(owner, "", "", base_model, model_path))

    def adapter(self, owner: str, base_model: str, key: str, folder: Path | None) -> LiveSampler:
        """What ``draw`` samples from: a base model with the adapter in a folder.

        Args:
            base_model: a name that ``engines`` knows.
            key: names these weights and no others, ever; the engine holds them under it.
            folder: None for the base model alone; the key is empty then.
        """
        model = self.engines.model(base_model)
        row = SamplerRow(
            id="", session_id="", owner=owner, base_model=model.name, weights=key, model_path=None, clones=0
        )
        return LiveSampler(row, folder, model.context, model.vocab)

    async def draw(
        self,
        live: LiveSampler,
        prompt: Ints,
        params: SamplingParams,
        n: int,
        scoring: PromptScoring | None = None,
        on_token: OnToken | None = None,
    ) -> Sampled | Failed:
        """n completions of a prompt, at once; cancelled with the task that waits.

        Args:
            on_token: hears of every token as it is drawn, all before the result.

        Raises:
            UserError: more than the context holds, ids out of the vocabulary, too many samples.
        """
        _check(prompt, params, n, live)
        task = asyncio.create_task(self._answer(live, "draw", prompt, params, n, scoring, on_token))
        name = f"draw:{id(task)}"
        self._running[name] = task
        try:
            return await task
        finally:
            del self._running[name]

    def publish(self, owner: str, model: ModelRow, seq: int, number: int, inflight: bool) -> str:
        """The weights of a model as they are when its turn comes, under a sampler of the model's session."""
        sampler_id = f"{model.session_id}:sample:{number}"
        key = f"{model.id}:inflight" if inflight else sampler_id
        row = SamplerRow(
            id=sampler_id,
            session_id=model.session_id,
            owner=owner,
            base_model=model.base_model,
            weights=key,
            model_path=None,
            clones=0,
        )

        def then() -> Said:
            self._add(row)
            return Said({"sampling_session_id": sampler_id})

        return self.models.publish(owner, model.id, seq, key, snapshot_folder(self.folder, key), then)

    def find(self, owner: str, sampler_id: str) -> LiveSampler:
        """
        Raises:
            NotFound: no such sampler. Denied: somebody else's.
        """
        live = self._live.get(sampler_id)
        if live is None:
            with self.store.read() as db:
                row = db.get(SamplerRow, sampler_id)
            if row is None:
                problem = f"there is no sampler {sampler_id!r}"
                raise NotFound("sampling_session_id", problem, "Create a sampling client")
            live = self._live[sampler_id] = self._to_live(row)
        if live.row.owner != owner:
            raise Denied(
                "sampling_session_id", "You do not have access to this sampler", "Use the key it was made with"
            )
        return live

    def join(self, owner: str, sampler_id: str) -> int:
        """One more client shares the sampler: its number among them, from 1."""
        self.find(owner, sampler_id)
        with self.store.begin() as db:
            row = db.get_one(SamplerRow, sampler_id)
            row.clones += 1
            return row.clones

    def sample(
        self,
        owner: str,
        sampler_id: str,
        seq: int,
        prompt: Ints,
        params: SamplingParams,
        n: int,
        scoring: PromptScoring | None = None,
        sparse_targets: list[NDArray[np.int64]] | None = None,
    ) -> str:
        """Begin n completions of a prompt; returns the request id. The same number twice is the same request.

        Args:
            sparse_targets: the layout of ``scoring.targets``, given back with the result.

        Raises:
            UserError: more than the context holds, ids out of the vocabulary, too many samples.
        """
        live = self.find(owner, sampler_id)
        _check(prompt, params, n, live)
        request_id = f"{sampler_id}:{seq}"
        if request_id in self.futures:
            return request_id
        future = self.futures.open(request_id, owner)
        work = self._answer(live, request_id, prompt, params, n, scoring)
        task = self._running[request_id] = asyncio.create_task(self._run(future, work, sparse_targets))
        task.add_done_callback(lambda _: self._running.pop(request_id, None))
        return request_id

    def finished(self, owner: str, sampler_id: str, clone: int) -> FinishedLog:
        """Requests of one clone of a sampler (0 for the sampler itself) that are done."""
        self.find(owner, sampler_id)
        return self._finished.setdefault((sampler_id, clone), FinishedLog())

    def note_finished(self, future: Future) -> None:
        """Enter a finished request where its clone asks for news."""
        sampler_id, _, seq = future.request_id.rpartition(":")
        log_of = self._finished.setdefault((sampler_id, int(seq) // SEQ_OF_CLONE), FinishedLog())
        log_of.add(future.request_id, isinstance(future.result, Failed))

    def cancel(self, owner: str, request_id: str) -> None:
        """Stop a request that is still running; one that is done stays as it is."""
        self.futures.find(request_id, owner)
        if (task := self._running.get(request_id)) is not None:
            task.cancel()

    @property
    def running(self) -> int:
        return len(self._running)

    async def drained(self) -> None:
        """Return when nothing is being sampled."""
        while self._running:
            await asyncio.wait(self._running.values())

    def free(self, session_id: str, for_good: bool) -> None:
        """Let go of a session's samplers; snapshots without a name go from the disk too when it is for good."""
        for sampler_id in [i for i, live in self._live.items() if live.row.session_id == session_id]:
            row = self._live.pop(sampler_id).row
            if for_good and row.weights.startswith(f"{session_id}:sample:"):
                engine = self.engines.of(row.base_model)
                engine.turns.add(row.weights, self._dropping(engine, row.weights))
        for log_of in [key for key in self._finished if key[0].startswith(f"{session_id}:")]:
            del self._finished[log_of]

    def _dropping(self, engine: Engine, key: str) -> Callable[[], Awaitable[None]]:
        async def job() -> None:
            await engine.call("drop_weights", key=key)
            shutil.rmtree(snapshot_folder(self.folder, key), ignore_errors=True)

        return job

    async def _run(
        self, future: Future, work: Awaitable[Sampled | Failed], layout: list[NDArray[np.int64]] | None
    ) -> None:
        future.begun = True
        try:
            result = await work
        except asyncio.CancelledError:
            result = Failed("the request was cancelled", "user")
        if isinstance(result, Sampled) and layout is not None:
            result = replace(result, sparse_targets=layout)
        future.finish(result)
        self.note_finished(future)

    async def _answer(
        self,
        live: LiveSampler,
        request_id: str,
        prompt: Ints,
        params: SamplingParams,
        n: int,
        scoring: PromptScoring | None,
        on_token: OnToken | None = None,
    ) -> Sampled | Failed:
        weights = {"key": live.row.weights, "folder": live.folder}
        given = {**weights, "prompt": prompt, "params": params, "n": n, "scoring": scoring}
        try:
            engine = self.engines.of(live.row.base_model)
            result = await engine.call_telling("sample", on_token, given)
        except UserError as e:
            return Failed(str(e), "user")
        except Exception as e:
            log.exception("%s failed", request_id)
            return Failed(f"the server failed ({type(e).__name__}); its log says more", "server")
        assert isinstance(result, Sampled | Failed), "the verb gives completions"
        if isinstance(result, Sampled):
            self.sampled_tokens += sum(len(c.tokens) for c in result.completions)
        return result

    def _row(
        self, owner: str, sampler_id: str, session_id: str, base_model: str | None, model_path: str | None
    ) -> SamplerRow:
        weights = ""
        if model_path is not None:
            found = self.vault.find(model_path, owner)
            if found.kind == "external_weights":
                raise UserError("model_path", f"{model_path} was saved to be taken away", "Give sampler_weights")
            base_model = found.base_model
            weights = f"{found.model_id}:inflight" if found.inflight else found.path
        if base_model is None:
            raise UserError("base_model", "is required", "Give base_model or model_path")
        return SamplerRow(
            id=sampler_id,
            session_id=session_id,
            owner=owner,
            base_model=self.engines.model(base_model).name,
            weights=weights,
            model_path=model_path,
            clones=0,
        )

    def _add(self, row: SamplerRow) -> SamplerRow:
        with self.store.begin() as db:
            old = db.get(SamplerRow, row.id)
            if old is None:
                db.add(row)
            elif (old.owner, old.base_model, old.weights) != (row.owner, row.base_model, row.weights):
                problem = f"{row.id} is another sampler already"
                raise Conflict("sampling_session_seq_id", problem, "Count up from one sampler to the next")
        self._live[row.id] = self._to_live(row)
        return row

    def _to_live(self, row: SamplerRow) -> LiveSampler:
        model = self.engines.model(row.base_model)
        folder = None
        if row.model_path is not None:
            folder = self.vault.adapter(self.vault.find(row.model_path, row.owner))
        elif row.weights:
            folder = snapshot_folder(self.folder, row.weights)
        return LiveSampler(row, folder, model.context, model.vocab)


def _check(prompt: Ints, params: SamplingParams, n: int, live: LiveSampler) -> None:
    if not 1 <= n <= MOST_SAMPLES:
        raise UserError("num_samples", f"must be 1 to {MOST_SAMPLES} (got {n})", "Send several requests for more")
    if not len(prompt):
        raise UserError("prompt", "is empty", "Give at least one token")
    if prompt.min() < 0 or prompt.max() >= live.vocab:
        bad = int(prompt[(prompt < 0) | (prompt >= live.vocab)][0])
        problem = f"token {bad} is not in the vocabulary of {live.row.base_model} (0 to {live.vocab - 1})"
        raise UserError("prompt", problem, "Encode with the tokenizer of this model")
    if len(prompt) + params.max_tokens > live.context:
        total = f"{len(prompt)} + {params.max_tokens} > {live.context}"
        problem = f"Prompt length plus max_tokens exceeds the model's context window: {total}"
        raise UserError("max_tokens", problem, f"Set max_tokens to at most {max(0, live.context - len(prompt))}")
