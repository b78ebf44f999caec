"""Scoring tokens that are given: their log-probabilities, and what else the policy would have said in their places.

Legend: L tokens, rows 0..L-2 of hidden states, of which row i speaks about position i + 1; V vocabulary.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from tunesmith.core.errors import UserError
from tunesmith.core.types import Floats, Ints, PromptScores, PromptScoring
from tunesmith.models.attention import Family, PackedAttention
from tunesmith.models.config import DecoderConfig
from tunesmith.models.decoder import Decoder
from tunesmith.models.head import CHUNK_NUMBERS, selected_logprobs
from tunesmith.models.lora import Adapter
from tunesmith.rollout.draw import invert, streams, uniforms
from tunesmith.rollout.prompts import ROWS
from tunesmith.rollout.request import check_ids, check_seed, check_temperature


@torch.no_grad()
def score(model: Decoder, adapter: Adapter | None, tokens: Ints, scoring: PromptScoring) -> PromptScores:
    """What ``scoring`` asks about [L] tokens, never holding the logits of more than a few rows.

    Raises:
        UserError: ids that the model does not have, more of them than its context holds, settings out of range.
    """
    check_scoring(tokens, scoring, model.config)
    rows = max(0, len(tokens) - 1)
    own = rows - (scoring.last_n or rows)  # the tokens before this row are not asked for
    logprobs = np.full(len(tokens), np.nan, np.float32)
    extras = _Extras(len(tokens), scoring, own)
    first = min(own, extras.first)
    if first < rows:
        hidden, begin = _hidden(model, adapter, tokens, first)
        logprobs[own + 1 :] = _logprobs(model, adapter, hidden, tokens[begin + 1 :])[own - begin : rows - begin]
        size = max(ROWS, CHUNK_NUMBERS.get(model.device.type, CHUNK_NUMBERS["cpu"]) // model.config.vocab)
        for start in range(extras.first, rows, size):
            part = slice(start, min(start + size, rows))
            extras.add(part, model.logits(hidden[part.start - begin : part.stop - begin], adapter))
    return PromptScores(logprobs, *extras.columns)


def check_scoring(tokens: Ints, scoring: PromptScoring, config: DecoderConfig) -> None:
    """
    Raises:
        UserError: as ``score`` does.
    """
    check_ids("prompt", tokens, config.vocab)
    check_temperature(scoring.temperature)
    check_seed(scoring.seed)
    rows, vocab, targets = len(tokens) - 1, config.vocab, scoring.targets
    if len(tokens) > config.max_positions:
        problem = f"{len(tokens)} tokens exceed the model's context window: {config.max_positions}"
        raise UserError("prompt", problem, "Give fewer tokens")
    if scoring.last_n is not None and not 1 <= scoring.last_n <= rows:
        raise UserError("last_n", f"can't be {scoring.last_n}", f"Give 1 to {rows}: the first token is not predicted")
    if not 0 <= scoring.top_k <= vocab:
        raise UserError("top_k", f"can't be {scoring.top_k}", f"Give 0 to {vocab}, the size of the vocabulary")
    if scoring.alternatives < 0:
        raise UserError("alternatives", f"can't be {scoring.alternatives}", "Give how many to draw")
    if targets is not None:
        if targets.ndim != 2 or len(targets) != max(rows, 0):
            problem = f"has shape {targets.shape} for {len(tokens)} tokens"
            raise UserError("targets", problem, f"Give a row for each token after the first: [{max(rows, 0)}, K]")
        check_ids("targets", targets[targets != -1], vocab)


class _Extras:
    """What is wanted beside the tokens' own log-probabilities, filled in a few rows at a time."""

    def __init__(self, length: int, scoring: PromptScoring, own: int) -> None:
        rows, draws, targets = max(0, length - 1), scoring.alternatives, scoring.targets
        self.scoring, self.own = scoring, own
        wanted = [
            own if scoring.top_k else rows,
            0 if draws else rows,
            rows if targets is None else _first_of(targets),
        ]
        self.first = min(wanted)
        """The first row whose logits are needed."""
        top, drawn = (length, scoring.top_k), (rows, draws)
        self.top_ids = np.zeros(top, np.int32) if scoring.top_k else None
        self.top_logprobs = np.full(top, np.nan, np.float32) if scoring.top_k else None
        self.target_logprobs = None if targets is None else np.zeros(targets.shape, np.float32)
        self.drawn_ids = np.zeros(drawn, np.int32) if draws else None
        self.drawn_logprobs = np.zeros(drawn, np.float32) if draws else None

    @property
    def columns(self) -> tuple[Ints | None, Floats | None, Floats | None, Ints | None, Floats | None]:
        return self.top_ids, self.top_logprobs, self.target_logprobs, self.drawn_ids, self.drawn_logprobs

    def add(self, rows: slice, logits: Tensor) -> None:
        """[m, V] logits of ``rows``."""
        logp = logits - logits.logsumexp(-1, keepdim=True)
        if self.top_ids is not None and self.top_logprobs is not None and rows.stop > self.own:
            begin = max(rows.start, self.own)
            nats, ids = logp[begin - rows.start :].topk(self.scoring.top_k)
            self.top_ids[begin + 1 : rows.stop + 1] = ids.cpu().numpy()
            self.top_logprobs[begin + 1 : rows.stop + 1] = nats.cpu().numpy()
        if self.target_logprobs is not None and self.scoring.targets is not None:
            targets = self.scoring.targets[rows]
            ids = torch.from_numpy(np.maximum(targets, 0).astype(np.int64)).to(logp.device)
            self.target_logprobs[rows] = np.where(targets < 0, 0, logp.gather(1, ids).cpu().numpy())
        if self.drawn_ids is not None and self.drawn_logprobs is not None:
            ids = self._draw(rows, logits)
            self.drawn_ids[rows] = ids.cpu().numpy()
            self.drawn_logprobs[rows] = logp.gather(1, ids).cpu().numpy()

    def _draw(self, rows: slice, logits: Tensor) -> Tensor:
        """[m, V] -> [m, alternatives] ids; every row has a stream of its own."""
        count = self.scoring.alternatives
        if self.scoring.temperature == 0:
            return logits.argmax(-1, keepdim=True).expand(-1, count)
        own = streams(self.scoring.seed, np.arange(rows.start, rows.stop))
        uniform = torch.from_numpy(uniforms(own[:, None], np.arange(count, dtype=np.uint64)[None]))
        probabilities = (logits / self.scoring.temperature).double().softmax(-1)
        return invert(probabilities.cumsum(-1), uniform.to(logits.device))


def _first_of(targets: NDArray[np.int32]) -> int:
    """The first row that names an id."""
    named = (targets >= 0).any(-1)
    return int(named.argmax()) if named.any() else len(targets)


def _hidden(model: Decoder, adapter: Adapter | None, tokens: Ints, first: int) -> tuple[Tensor, int]:
    """([m, H] hidden states of the rows from ``begin`` on, at least ROWS, with padding after the last; begin)."""
    rows, device = max(len(tokens) - 1, ROWS), model.device  # padding comes last, where no token can see it
    begin = min(first, rows - ROWS)
    attend = PackedAttention([Family(0, 0, (rows,))], model.config.windows, device)
    ids = torch.from_numpy(np.pad(tokens[:-1].astype(np.int64), (0, rows + 1 - len(tokens)))).to(device)
    positions = torch.arange(rows, device=device)
    hidden = model(ids, positions, attend, adapter, positions[begin:] if begin else None)
    return hidden, begin


def _logprobs(model: Decoder, adapter: Adapter | None, hidden: Tensor, targets: Ints) -> Floats:
    """[m, H] and the ids that its first rows predict -> [m] nats, as the trainer's forward computes them."""
    pair = model.head_pair(adapter)
    a, b = (None, None) if pair is None else (pair.a.to(hidden.dtype), pair.spread_b().to(hidden.dtype))
    ids = F.pad(torch.from_numpy(targets.astype(np.int64)), (0, len(hidden) - len(targets))).to(hidden.device)
    ones = torch.ones(len(hidden), device=hidden.device)
    return selected_logprobs(hidden, model.head_weight, ids, ones, a, b).float().cpu().numpy()
