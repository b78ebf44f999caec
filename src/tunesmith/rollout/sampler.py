"""The embedded sampling engine: continuous batching in this process, every request on the weights it began with."""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np

from tunesmith.core.errors import UserError
from tunesmith.core.ports import Form, Weights
from tunesmith.core.types import Completion, Floats, Ints, OnToken, PromptScores, PromptScoring, SamplingParams
from tunesmith.models.decoder import Decoder
from tunesmith.models.lora import Adapter
from tunesmith.rollout.batch import Batch
from tunesmith.rollout.request import Request, check_request
from tunesmith.rollout.score import score
from tunesmith.rollout.stops import Stops

BASE = Weights("base", 0, None)
"""The model as it is."""


class LocalSampler:
    """Samples from a decoder and, after ``load``, from a snapshot of an adapter on it."""

    def __init__(
        self,
        model: Decoder,
        stop_ids: Iterable[int],
        decode: Callable[[Ints], str],
        max_rows: int = 96,
        form: Callable[[str], Form] | None = None,
        weights: Weights = BASE,
    ) -> None:
        """
        Args:
            stop_ids: ids that end a completion.
            decode: ids to text, for stop strings.
            max_rows: completions in flight; throughput only.
            form: how a completion of a grammar begins; None where none is served.
            weights: what serves until ``load``.
        """
        self.model, self.stop_ids, self.decode, self.max_rows = model, frozenset(stop_ids), decode, max_rows
        self._form = form
        self._weights = weights
        self._batches: dict[int, Batch] = {}
        self._futures: dict[Request, asyncio.Future[None]] = {}
        self._running: asyncio.Task[None] | None = None

    @property
    def version(self) -> int:
        return self._weights.version

    @property
    def idle(self) -> bool:
        """Nothing is being sampled."""
        return not self._futures

    async def load(self, weights: Weights) -> None:
        """Serve a snapshot from now on; running requests finish on their own."""
        self._weights = weights

    async def sample(
        self, prompt: Ints, params: SamplingParams, n: int, on_token: OnToken | None = None
    ) -> list[Completion]:
        """n continuations, in the order of their candidate numbers; cancelled, it frees their room at once.

        Args:
            on_token: hears of every token when it is drawn, those of one candidate in order.

        Raises:
            UserError: a prompt that is empty or leaves no room for max_tokens in the model's context, ids that the
                model does not have, settings out of their range.
        """
        check_request(prompt, params, n, self.model.config)
        ids = self.stop_ids if params.stop_ids is None or params.grammar else frozenset(params.stop_ids)
        stops, form = Stops(ids, params.stop, self.decode), self._form_of(params)
        request = Request(prompt.astype(np.int32), params, n, stops, on_token, form)
        batch, future = self._batch(), asyncio.get_running_loop().create_future()
        self._futures[request] = future
        batch.add(request)
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        try:
            await future
        except asyncio.CancelledError:
            if self._futures.pop(request, None) is not None:
                batch.abort(request)
            raise
        return [request.done[i] for i in range(n)]

    async def score(self, tokens: Ints, scoring: PromptScoring) -> PromptScores:
        """What the weights that serve now say about [L] given tokens.

        Raises:
            UserError: ids that the model does not have, more of them than its context holds, settings out of range.
        """
        return score(self.model, self._adapter(), tokens, scoring)

    async def compute_logprobs(self, tokens: Ints) -> Floats:
        """[L] tokens -> [L] log-probabilities in nats at temperature 1; the first is 0."""
        scored = (await self.score(tokens, PromptScoring())).logprobs
        scored[:1] = 0
        return scored

    def _form_of(self, params: SamplingParams) -> Callable[[], Form] | None:
        """
        Raises:
            UserError: a grammar that cannot be enforced, or a sampler that enforces none.
        """
        if not params.grammar:
            return None
        if self._form is None:
            raise UserError("grammar", "is not enforced by this sampler", "Sample through a server")
        self._form(params.grammar)
        return partial(self._form, params.grammar)

    def _adapter(self) -> Adapter | None:
        return self._weights.payload if isinstance(self._weights.payload, Adapter) else None

    def _batch(self) -> Batch:
        """The batch of the weights that serve now; others drain beside it."""
        key = id(self._weights)
        if key not in self._batches:
            self._batches[key] = Batch(self.model, self._weights, self.max_rows)
        return self._batches[key]

    async def _run(self) -> None:
        """Step every batch in turn until all are idle, letting graders and callers in between."""
        while self._batches:
            for key, batch in list(self._batches.items()):
                self._step(batch)
                if not batch.requests:
                    del self._batches[key]
            await asyncio.sleep(0)

    def _step(self, batch: Batch) -> None:
        """One token for every row; a batch that breaks takes with it the requests that it held, and no others."""
        try:
            for request in batch.step():
                self._settle(request, request.error)
        except Exception as e:
            for request in list(batch.requests):
                del batch.requests[request]
                self._settle(request, e)

    def _settle(self, request: Request, error: Exception | None) -> None:
        future = self._futures.pop(request)
        if future.done():  # cancelled, and its task has not run yet
            return
        if request.finished or error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
