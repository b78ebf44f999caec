"""All completions that run on one snapshot of the weights: finished rows leave, waiting ones enter, every step."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tunesmith.core.ports import Weights
from tunesmith.core.types import Completion, Floats, Ints, SamplingParams, StopReason
from tunesmith.models.attention import Family, PackedAttention
from tunesmith.models.decoder import Decoder
from tunesmith.models.exact_attention import key_places, round_up
from tunesmith.models.lora import Adapter
from tunesmith.rollout.cache import Block, CachedAttention, Step, seating
from tunesmith.rollout.draw import Drawn, draw, stream, uniforms

ROWS = 16
"""Rows are padded to a multiple: from 16 rows up, a matrix product gives each row the same bits in any batch."""


@dataclass(slots=True)
class Request:
    """n completions of one prompt."""

    prompt: Ints
    params: SamplingParams
    n: int
    done: dict[int, Completion] = field(default_factory=dict)
    """By candidate."""

    @property
    def finished(self) -> bool:
        return len(self.done) == self.n


@dataclass(slots=True)
class _Group:
    request: Request
    slot: int
    first: Tensor
    """[1, V] logits after the prompt, which every candidate's first token is drawn from."""
    waiting: deque[int]
    """Candidates that have not begun."""


@dataclass(slots=True)
class _Row:
    group: _Group
    candidate: int
    stream: np.uint64
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    sampling_logprobs: list[float] = field(default_factory=list)


class Batch:
    """The rows in flight of one version."""

    def __init__(
        self,
        model: Decoder,
        weights: Weights,
        stop_ids: Iterable[int],
        decode: Callable[[Ints], str],
        max_rows: int,
    ) -> None:
        self.model, self.weights, self.version = model, weights, weights.version
        self.adapter = weights.payload if isinstance(weights.payload, Adapter) else None
        self.stop_ids, self.decode, self.max_rows = frozenset(stop_ids), decode, max_rows
        self._prompts = Block(model.config, model.device, model.embed.dtype)
        self._own = Block(model.config, model.device, model.embed.dtype)
        self._waiting: deque[Request] = deque()
        self._groups: list[_Group] = []
        self._rows: list[_Row] = []

    def add(self, request: Request) -> None:
        self._waiting.append(request)

    @property
    def idle(self) -> bool:
        return not (self._waiting or self._groups)

    @torch.no_grad()
    def step(self) -> list[Request]:
        """Admit what fits, draw one token for every row; returns the requests that finished."""
        finished = self._admit()
        if self._rows:
            logits = self._decode()
            finished += self._take(self._rows, logits)
        return finished

    def _admit(self) -> list[Request]:
        """Begin waiting candidates while there are free rows; each gets its first token from its prompt's logits."""
        begun: list[_Row] = []
        logits: list[Tensor] = []
        while len(self._rows) + len(begun) < self.max_rows:
            group = next((g for g in reversed(self._groups) if g.waiting), None)
            if group is None:
                if not self._waiting:
                    break
                group = self._prefill(self._waiting.popleft())
            candidate = group.waiting.popleft()
            begun.append(_Row(group, candidate, stream(group.request.params.seed, candidate)))
            logits.append(group.first)
        if not begun:
            return []
        self._rows += begun
        return self._take(begun, torch.cat(logits))

    def _prefill(self, request: Request) -> _Group:
        """Run a prompt alone, so that its bits depend on nothing else; keep its keys and values for the group."""
        slot, length = len(self._groups), len(request.prompt)
        self._prompts.reserve(slot + 2, length)  # one more slot is for padding rows
        device, rows = self.model.device, max(length, ROWS)  # padding comes last, where no prompt token can see it
        family = PackedAttention([Family(0, 0, (rows,))], self.model.config.windows, device)

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            self._prompts.put(slot, layer, k[:length], v[:length])
            return family(layer, q, k, v)

        tokens = torch.from_numpy(np.pad(request.prompt.astype(np.int64), (0, rows - length))).to(device)
        positions = torch.arange(rows, device=device)
        hidden = self.model(tokens, positions, attend, self.adapter, positions[-ROWS:])
        first = self.model.logits(hidden, self.adapter)[length - 1 - rows][None]
        self._groups.append(_Group(request, slot, first, deque(range(request.n))))
        return self._groups[-1]

    def _decode(self) -> Tensor:
        """[R, V] logits after each row's newest token."""
        step, tokens, positions = self._lay_out()
        attend = CachedAttention(self._prompts, self._own, step, self.model.config.windows)
        hidden = self.model(tokens, positions, attend, self.adapter)
        return self.model.logits(hidden, self.adapter)[: len(self._rows)]

    def _lay_out(self) -> tuple[Step, Tensor, Tensor]:
        real, count = len(self._rows), round_up(len(self._rows), ROWS)
        group, seat, at, prompt, token = np.zeros((5, count), np.int64)
        group[real:] = len(self._groups)
        for i, row in enumerate(self._rows):
            group[i], seat[i] = row.group.slot, row.candidate
            at[i], prompt[i], token[i] = len(row.tokens) - 1, len(row.group.request.prompt), row.tokens[-1]
        longest, own = key_places(int(prompt.max())), key_places(int(at.max()) + 1)
        self._own.reserve(count, own)
        device, dtype = self.model.device, self.model.embed.dtype
        windows = set(self.model.config.windows)
        bias = {w: torch.from_numpy(_bias(prompt, at, longest, own, w)).to(device, dtype) for w in windows}
        groups, width = len(self._groups) + 1, round_up(max(4, *(g.request.n for g in self._groups)), 2)
        tables = seating(group, seat, groups, width, self.model.config.kv_heads)
        columns = (*tables, self._own.places_of(at), token, prompt + at)
        seats, seat_of, new, tokens, positions = (torch.from_numpy(x).to(device) for x in columns)
        step = Step(seats, seat_of, new, bias, groups, longest, own)
        return step, tokens, positions

    def _take(self, rows: list[_Row], logits: Tensor) -> list[Request]:
        """Draw a token for each of rows and let finished rows go."""
        drawn = self._draw(rows, logits)
        columns = (drawn.tokens.tolist(), drawn.logprobs.tolist(), drawn.sampling_logprobs.tolist())
        ended: list[tuple[_Row, StopReason]] = []
        for row, token, logprob, sampling in zip(rows, *columns, strict=True):
            row.tokens.append(token)
            row.logprobs.append(logprob)
            row.sampling_logprobs.append(sampling)
            reason = self._stop_reason(row)
            if reason:
                ended.append((row, reason))
        return self._leave(ended)

    def _draw(self, rows: list[_Row], logits: Tensor) -> Drawn:
        params = [r.group.request.params for r in rows]
        device = logits.device
        index = np.array([len(r.tokens) for r in rows], np.uint64)
        uniform = uniforms(np.array([r.stream for r in rows], np.uint64), index)
        return draw(
            logits,
            torch.tensor([p.temperature for p in params], device=device),
            torch.tensor([p.top_k for p in params], device=device),
            torch.tensor([p.top_p for p in params], device=device),
            torch.from_numpy(uniform).to(device),
        )

    def _stop_reason(self, row: _Row) -> StopReason | None:
        params = row.group.request.params
        if row.tokens[-1] in self.stop_ids:
            return "stop"
        if params.stop:
            text = self.decode(np.array(row.tokens, np.int32))
            if any(s in text for s in params.stop):
                return "stop"
        return "length" if len(row.tokens) >= params.max_tokens else None

    def _leave(self, ended: list[tuple[_Row, StopReason]]) -> list[Request]:
        """Record finished rows, close their gaps, and drop groups with nothing left to do."""
        finished = []
        for row, reason in ended:
            request = row.group.request
            request.done[row.candidate] = Completion(
                np.array(row.tokens, np.int32),
                np.array(row.logprobs, np.float32),
                np.array(row.sampling_logprobs, np.float32),
                reason,
                self.version,
            )
            self._close_row(row)
            if request.finished:
                finished.append(request)
                self._close_group(row.group)
        return finished

    def _close_row(self, row: _Row) -> None:
        gap, last = next(i for i, r in enumerate(self._rows) if r is row), self._rows.pop()
        if last is not row:
            if len(last.tokens) > 1:
                self._own.move(len(self._rows), gap, len(last.tokens))
            self._rows[gap] = last

    def _close_group(self, group: _Group) -> None:
        last = self._groups.pop()
        if last is not group:
            self._prompts.move(last.slot, group.slot, len(last.request.prompt))
            last.slot = group.slot
            self._groups[group.slot] = last


def _bias(prompt: NDArray[np.int64], at: NDArray[np.int64], longest: int, own: int, window: int | None) -> Floats:
    """[R, 1, 1, P + S] that opens to each row its own prompt and its own tokens so far."""
    place = np.arange(longest + own)[None]
    seen = (place < prompt[:, None]) | ((place >= longest) & (place - longest <= at[:, None]))
    if window is not None:
        position = np.where(place < longest, place, prompt[:, None] + place - longest)
        seen &= position > (prompt + at)[:, None] - window
    bias = np.where(seen, np.float32(0), np.float32(-np.inf))
    return np.ascontiguousarray(bias[:, None, None])
