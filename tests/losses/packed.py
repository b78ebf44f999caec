"""Small packed micro-batches for the tests of losses."""

from dataclasses import replace

import torch
from torch import Tensor

from tunesmith.losses import LossInputs

COLUMNS = ("logprobs", "weights", "old_logprobs", "ref_logprobs", "advantages")


def packed(ratios: list[list[float]], advantages: list[float], ref_gap: float = 0.0) -> LossInputs:
    """Sequences with the given p/q per token, all trained; ln ref - ln p is ``ref_gap`` everywhere."""
    lengths = torch.tensor([len(sequence) for sequence in ratios])
    segment = torch.repeat_interleave(torch.arange(len(ratios)), lengths)
    log_ratio = torch.tensor([r for sequence in ratios for r in sequence], dtype=torch.float64).log()
    return LossInputs(
        logprobs=(log_ratio - 1).requires_grad_(),
        weights=torch.ones(len(segment), dtype=torch.float64),
        segment=segment,
        num_sequences=len(ratios),
        old_logprobs=torch.full_like(log_ratio, -1),
        ref_logprobs=log_ratio - 1 + ref_gap,
        advantages=torch.tensor(advantages, dtype=torch.float64)[segment],
    )


def random_batch(lengths: list[int], seed: int = 0) -> LossInputs:
    """Sequences of the given lengths with random columns and a few untrained tokens, never a whole sequence."""
    generator = torch.Generator().manual_seed(seed)
    num_tokens = sum(lengths)
    segment = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    old, noise, gap, advantages, draw = torch.randn(5, num_tokens, dtype=torch.float64, generator=generator)
    first = torch.cat([torch.ones(1, dtype=torch.bool), segment[1:] != segment[:-1]])
    old = -old.abs() - 0.5
    return LossInputs(
        logprobs=(old + 0.2 * noise).requires_grad_(),
        weights=((draw > -0.7) | first).double(),
        segment=segment,
        num_sequences=len(lengths),
        old_logprobs=old,
        ref_logprobs=old + 0.3 * gap,
        advantages=advantages,
    )


def sequences_of(x: LossInputs, chosen: list[int]) -> LossInputs:
    """The chosen sequences, in that order, as a micro-batch of its own."""
    tokens = torch.cat([(x.segment == i).nonzero().flatten() for i in chosen])
    lengths = torch.tensor([int((x.segment == i).sum()) for i in chosen])
    segment = torch.repeat_interleave(torch.arange(len(chosen)), lengths)
    columns = {name: getattr(x, name)[tokens] for name in COLUMNS if getattr(x, name) is not None}
    columns["logprobs"] = columns["logprobs"].detach().requires_grad_()
    return LossInputs(segment=segment, num_sequences=len(chosen), **columns)


def with_junk(x: LossInputs, position: int) -> LossInputs:
    """An untrained token with wild numbers in every column, put before ``position`` into that token's sequence."""
    junk = {"logprobs": -10, "weights": 0, "old_logprobs": -90, "ref_logprobs": -60, "advantages": 50}
    junk["segment"] = int(x.segment[position])

    def widen(column: Tensor, value: int) -> Tensor:
        return torch.cat([column[:position], column.new_tensor([value]), column[position:]]).detach()

    wide = {name: widen(getattr(x, name), value) for name, value in junk.items()}
    wide["logprobs"].requires_grad_()
    return replace(x, **wide)
