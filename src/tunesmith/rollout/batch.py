"""All completions that run on one snapshot of the weights: finished rows leave, waiting ones enter, every step."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from tunesmith.core.errors import UserError
from tunesmith.core.ports import Form, Weights
from tunesmith.core.types import Bools, Completion, Floats, Ints, NewToken, Routes, StopReason
from tunesmith.models.decoder import Decoder
from tunesmith.models.lora import Adapter
from tunesmith.models.moe import Routing
from tunesmith.rollout.begun import encode_begun
from tunesmith.rollout.cache import Block
from tunesmith.rollout.decode import CachedAttention, Layout
from tunesmith.rollout.draw import Drawing, streams, uniforms
from tunesmith.rollout.prompts import Prompt, Prompts
from tunesmith.rollout.request import Request


@dataclass(slots=True, eq=False)
class _Row:
    request: Request
    prompt: Prompt
    candidate: int
    stream: np.uint64
    form: Form | None = None
    """How far it is in what it has to look like."""
    tokens: list[int] = field(default_factory=list)
    """All that comes after its prompt: what was begun before, then what is drawn."""
    logprobs: list[float] = field(default_factory=list)
    sampling_logprobs: list[float] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)
    likeliest: list[tuple[Ints, Floats]] = field(default_factory=list)
    routes: list[Routes] = field(default_factory=list)
    """[1, sparse layers, k] of each of its tokens that has been fed in, where they were asked for."""

    @property
    def drawn(self) -> list[int]:
        """Its own tokens."""
        begun = self.request.params.begun
        return self.tokens[begun:] if begun else self.tokens

    def ended(self) -> StopReason | None:
        """Why it needs no further token."""
        drawn = self.drawn
        if self.request.stops.end(drawn):
            return "stop"
        return "length" if len(drawn) >= self.request.params.max_tokens else None

    def newest(self, stop: StopReason | None) -> NewToken:
        ids, nats = self.likeliest[-1] if self.likeliest else (None, None)
        return NewToken(self.candidate, self.tokens[-1], self.logprobs[-1], self.sampling_logprobs[-1], ids, nats, stop)

    def completion(self, stop: StopReason, version: int) -> Completion:
        ids, nats = zip(*self.likeliest, strict=True) if self.likeliest else (None, None)
        return Completion(
            np.array(self.drawn, np.int32),
            np.array(self.logprobs, np.float32),
            np.array(self.sampling_logprobs, np.float32),
            stop,
            version,
            top_ids=None if ids is None else np.stack(ids),
            top_logprobs=None if nats is None else np.stack(nats),
            routing=None if self.prompt.routes is None else np.concatenate([self.prompt.routes, *self.routes]),
            entropies=np.array(self.entropies, np.float32) if self.request.params.entropies else None,
        )


class Batch:
    """The requests of one version."""

    def __init__(self, model: Decoder, weights: Weights, max_rows: int) -> None:
        self.model, self.weights, self.version, self.max_rows = model, weights, weights.version, max_rows
        self.adapter = weights.payload if isinstance(weights.payload, Adapter) else None
        self._prompts = Prompts(model, self.adapter)
        self._own = Block(model.config, model.device, model.embed.dtype)
        self.requests: dict[Request, None] = {}
        """All that ``step`` has not returned, in the order of arrival."""
        self._waiting: deque[Request] = deque()
        """Those with candidates that have not begun."""
        self._held: dict[Request, Prompt] = {}
        """The prompt of every request that has begun and is not finished."""
        self._rows: list[_Row] = []
        self._attend: CachedAttention | None = None
        """Of ``_rows``; None when one has joined or left."""
        self._drawing: Drawing | None = None
        """The same."""

    def add(self, request: Request) -> None:
        self.requests[request] = None
        self._waiting.append(request)

    def abort(self, request: Request) -> None:
        """Forget a request that nobody waits for; its rows give their room to others."""
        self.requests.pop(request)
        self._drop(request)

    def _drop(self, request: Request) -> None:
        if request in self._waiting:
            self._waiting.remove(request)
        for row in [r for r in self._rows if r.request is request]:
            self._close_row(row)
        self._close(request)

    @torch.no_grad()
    def step(self) -> list[Request]:
        """Admit what fits, draw one token for every row; returns the requests that finished."""
        finished = self._admit()
        if self._rows:
            logits = self._decode()
            self._drawing = self._drawing or self._drawing_of(self._rows)
            finished += self._take(self._rows, logits, self._drawing)
        for request in finished:
            del self.requests[request]
        return finished

    def _admit(self) -> list[Request]:
        """Begin waiting candidates while there are free rows; each gets its first token from its prompt's logits."""
        begun = self._begun()
        if not begun:
            return []
        new = list(dict.fromkeys(request for request, _ in begun if request not in self._held))
        self._held |= zip(new, self._prompts.hold([(_first(r), r.params.routing) for r in new]), strict=True)
        rows = [
            _Row(
                request,
                self._held[request],
                i,
                streams(request.params.seed, np.array([i]))[0],
                None if request.form is None else request.form(),
            )
            for request, i in begun
        ]
        self._rows += rows
        self._changed()
        return self._take(rows, torch.cat(self._logits_of(rows)), self._drawing_of(rows))

    def _logits_of(self, rows: Sequence[_Row]) -> list[Tensor]:
        """[1, V] logits before the first draw of rows that were just added at the end."""
        first = len(self._rows) - len(rows)
        going_on = [(i, row) for i, row in enumerate(rows) if row.request.params.begun]
        logits = [row.prompt.first for row in rows]
        if not going_on:
            return logits
        for _, row in going_on:
            row.tokens = row.request.prompt[-row.request.params.begun :].tolist()
        self._own.reserve(len(self._rows), max(len(row.tokens) for _, row in going_on) + 1)
        given = [(first + i, row.prompt.tokens, np.array(row.tokens, np.int32)) for i, row in going_on]
        for (i, _), after in zip(going_on, encode_begun(self.model, self.adapter, self._own, given), strict=True):
            logits[i] = after
        return logits

    def _begun(self) -> list[tuple[Request, int]]:
        """(request, candidate) for as many rows as are free, in the order of arrival."""
        begun: list[tuple[Request, int]] = []
        while self._waiting and (free := self.max_rows - len(self._rows) - len(begun)) > 0:
            request = self._waiting[0]
            first, request.begun = request.begun, min(request.n, request.begun + free)
            begun += [(request, i) for i in range(first, request.begun)]
            if request.begun == request.n:
                self._waiting.popleft()
        return begun

    def _decode(self) -> Tensor:
        """[R, V] logits after each row's newest token."""
        if self._attend is None or self._attend.layout.full:
            tokens = [r.tokens for r in self._rows]
            prompts = [r.prompt for r in self._rows]
            layout = Layout(self.model, self._own, prompts, tokens, len(self._prompts))
            self._attend = CachedAttention(self._prompts.block, self._own, layout, self.model.config.windows)
        else:
            self._attend.layout.advance(torch.tensor([r.tokens[-1] for r in self._rows], device=self.model.device))
        layout = self._attend.layout
        routed = [(i, r) for i, r in enumerate(self._rows) if r.prompt.routes is not None]
        routing = Routing(self.model.config) if routed else None
        hidden = self.model(layout.tokens, layout.positions, self._attend, self.adapter, None, routing)
        if routing is not None:
            noted = routing.noted()
            for i, row in routed:
                row.routes.append(noted[i : i + 1])
        return self.model.logits(hidden, self.adapter)[: len(self._rows)]

    def _drawing_of(self, rows: Sequence[_Row]) -> Drawing:
        return Drawing([r.request.params for r in rows], self.model.config.vocab, self.model.device)

    def _take(self, rows: Sequence[_Row], logits: Tensor, drawing: Drawing) -> list[Request]:
        """Draw a token for each of rows and let finished rows go."""
        allowed = _allowed(rows)
        index = np.array([len(r.drawn) for r in rows], np.uint64)
        uniform = uniforms(np.array([r.stream for r in rows], np.uint64), index)
        drawn = drawing.draw(logits, torch.from_numpy(uniform).to(logits.device), allowed)
        columns = (drawn.tokens.tolist(), drawn.logprobs.tolist(), drawn.sampling_logprobs.tolist())
        entropies = [] if drawn.entropies is None else drawn.entropies.tolist()
        ended: list[tuple[_Row, StopReason]] = []
        for i, (row, token, logprob, sampling) in enumerate(zip(rows, *columns, strict=True)):
            if row.request.error is not None:
                continue
            row.tokens.append(token)
            row.logprobs.append(logprob)
            row.sampling_logprobs.append(sampling)
            if row.request.params.entropies:
                row.entropies.append(entropies[i])
            if i in drawn.likeliest:
                row.likeliest.append(drawn.likeliest[i])
            if (reason := row.ended()) is not None:
                ended.append((row, reason))
            elif row.form is not None:
                row.form.take(token)
            if row.request.on_token is not None:
                row.request.on_token(row.newest(reason))
        broken = list(dict.fromkeys(row.request for row in rows if row.request.error is not None))
        for request in broken:
            self._drop(request)
        return self._leave(ended) + broken

    def _leave(self, ended: Sequence[tuple[_Row, StopReason]]) -> list[Request]:
        """Record finished rows; returns the requests that have no other."""
        finished = []
        for row, reason in ended:
            row.request.done[row.candidate] = row.completion(reason, self.version)
            self._close_row(row)
            if row.request.finished:
                finished.append(row.request)
                self._close(row.request)
        return finished

    def _close_row(self, row: _Row) -> None:
        """The last row takes its place."""
        gap, last = self._rows.index(row), self._rows.pop()
        if last is not row:
            if len(last.tokens) > 1:
                self._own.move(len(self._rows), gap, len(last.tokens))
            self._rows[gap] = last
        self._changed()

    def _close(self, request: Request) -> None:
        if request in self._held:
            self._prompts.release(self._held.pop(request))
            self._changed()

    def _changed(self) -> None:
        self._attend = self._drawing = None


def _first(request: Request) -> Ints:
    """The prompt before anything was begun."""
    return request.prompt[: len(request.prompt) - request.params.begun]


def _allowed(rows: Sequence[_Row]) -> dict[int, Bools]:
    """Number of a row that has to look like something -> [V] what it may draw; one that can't be told fails alone."""
    found: dict[int, Bools] = {}
    for i, row in enumerate(rows):
        if row.form is not None:
            try:
                found[i] = row.form.allowed()
            except UserError as e:
                row.request.error = e
    return found
