"""Floating-point operations that a step cannot do without, and the time they would take at the machine's full rate.

Counted are matrix products with the model's weights and of attention, each shared prompt once; not the small change
of norms, activations and adapters.
"""

import random
from dataclasses import dataclass

from bench.machine import Limits
from bench.workload import COMPLETIONS, DPO_PAIRS, MAX_TOKENS, PROMPTS, SFT_ROWS, SIZES, VOCAB, Case, answer_length

HEAD = SIZES["hidden_size"] // SIZES["num_attention_heads"]
QKV = (SIZES["num_attention_heads"] + 2 * SIZES["num_key_value_heads"]) * HEAD
LAYER_WEIGHTS = SIZES["hidden_size"] * (QKV + SIZES["hidden_size"] + 3 * SIZES["intermediate_size"])
WEIGHTS = SIZES["num_hidden_layers"] * LAYER_WEIGHTS + VOCAB * SIZES["hidden_size"]


@dataclass(frozen=True, slots=True)
class Work:
    """Gigaflops of one optimizer step."""

    passes: float
    """In products of many rows: prefill, reference, forward and backward."""
    decode: float
    """In products of one row per completion."""

    def least_s(self, limits: Limits) -> float:
        return self.passes / limits.pass_gflops + self.decode / limits.decode_gflops


def of(case: Case) -> Work:
    """A backward pass is as long as the forward under LoRA, whose base weights have no gradient, else twice."""
    train = 2 if case.rank else 3
    if case.kind == "rft":
        prompts = PROMPTS * _sequence(case.prompt)
        replies = PROMPTS * COMPLETIONS * (_sequence(case.prompt + MAX_TOKENS - 1) - _sequence(case.prompt))
        return Work((train + 1) * (prompts + replies) + prompts, replies)
    rng = random.Random(case.seed)
    sequences = SFT_ROWS if case.kind == "sft" else 2 * DPO_PAIRS
    lengths = [case.prompt + answer_length(rng) for _ in range(sequences * case.steps)]
    forward = sum(map(_sequence, lengths)) / case.steps
    return Work((train + (case.kind == "dpo")) * forward, 0.0)


def _sequence(tokens: int) -> float:
    """Gigaflops of a causal forward over one sequence: every weight once per token, half of all pairs attended."""
    attended = SIZES["num_hidden_layers"] * SIZES["num_attention_heads"] * HEAD * 2 * tokens * tokens
    return (2 * WEIGHTS * tokens + attended) / 1e9
