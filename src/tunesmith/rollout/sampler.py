"""The embedded sampling engine: continuous batching in this process, every request on the weights it began with."""

import asyncio
from collections.abc import Callable, Iterable

import numpy as np
import torch

from tunesmith.core.errors import UserError
from tunesmith.core.ports import Weights
from tunesmith.core.types import Completion, Floats, Ints, SamplingParams
from tunesmith.models.attention import Family, PackedAttention
from tunesmith.models.decoder import Decoder
from tunesmith.models.head import selected_logprobs
from tunesmith.models.lora import Adapter
from tunesmith.rollout.batch import ROWS, Batch, Request


class LocalSampler:
    """Samples from a decoder and, after ``load``, from a snapshot of an adapter on it."""

    def __init__(
        self, model: Decoder, stop_ids: Iterable[int], decode: Callable[[Ints], str], max_rows: int = 96
    ) -> None:
        """
        Args:
            stop_ids: ids that end a completion.
            decode: ids to text, for stop strings.
            max_rows: completions in flight; throughput only.
        """
        self.model, self.stop_ids, self.decode, self.max_rows = model, frozenset(stop_ids), decode, max_rows
        self._weights = Weights("base", 0, None)
        self._batches: dict[int, Batch] = {}
        self._futures: dict[int, asyncio.Future[None]] = {}
        self._running: asyncio.Task[None] | None = None

    @property
    def version(self) -> int:
        return self._weights.version

    async def load(self, weights: Weights) -> None:
        """Serve a snapshot from now on; running requests finish on their own."""
        self._weights = weights

    async def sample(self, prompt: Ints, params: SamplingParams, n: int) -> list[Completion]:
        """n continuations, in the order of their candidate numbers.

        Raises:
            UserError: an empty prompt, or one that leaves no room for max_tokens in the model's context.
        """
        room = self.model.config.max_positions - len(prompt)
        if not len(prompt):
            raise UserError("prompt", "is empty", "Give at least one token")
        if room < params.max_tokens:
            given = f"{len(prompt)} prompt tokens and max_tokens {params.max_tokens}"
            limit = f"exceed the model's context of {self.model.config.max_positions}"
            raise UserError("prompt", f"{given} {limit}", f"Set max_tokens to at most {max(room, 0)}")
        request = Request(prompt, params, n)
        future = asyncio.get_running_loop().create_future()
        self._futures[id(request)] = future
        self._batch().add(request)
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        await future
        return [request.done[i] for i in range(n)]

    async def compute_logprobs(self, tokens: Ints) -> Floats:
        """[L] tokens -> [L] log-probabilities in nats at temperature 1; the first is 0."""
        device, length = self.model.device, len(tokens) - 1
        if length < 1:
            return np.zeros(len(tokens), np.float32)
        rows = max(length, ROWS)  # padding comes last, where no token can see it
        attend = PackedAttention([Family(0, 0, (rows,))], self.model.config.windows, device)
        ids = torch.from_numpy(np.pad(tokens.astype(np.int64), (0, rows - length))).to(device)
        adapter = self._adapter()
        with torch.no_grad():
            hidden = self.model(ids[:-1], torch.arange(rows, device=device), attend, adapter)
            pair = self.model.head_pair(adapter)
            a, b = (None, None) if pair is None else (pair.a.to(hidden.dtype), pair.spread_b().to(hidden.dtype))
            ones = torch.ones(rows, device=device)
            scored = selected_logprobs(hidden, self.model.head_weight, ids[1:], ones, a, b)
        return np.concatenate([np.zeros(1, np.float32), scored[:length].float().cpu().numpy()])

    def _adapter(self) -> Adapter | None:
        return self._weights.payload if isinstance(self._weights.payload, Adapter) else None

    def _batch(self) -> Batch:
        """The batch of the weights that serve now; others drain beside it."""
        key = id(self._weights)
        if key not in self._batches:
            self._batches[key] = Batch(self.model, self._weights, self.stop_ids, self.decode, self.max_rows)
        return self._batches[key]

    async def _run(self) -> None:
        """Step every batch in turn until all are idle, letting graders and callers in between."""
        try:
            while self._batches:
                for key, batch in list(self._batches.items()):
                    for request in batch.step():
                        self._settle(request)
                    if batch.idle:
                        del self._batches[key]
                await asyncio.sleep(0)
        except Exception as e:
            self._batches.clear()
            for future in self._futures.values():
                if not future.done():
                    future.set_exception(e)
            self._futures.clear()

    def _settle(self, request: Request) -> None:
        future = self._futures.pop(id(request))
        if not future.done():
            future.set_result(None)
