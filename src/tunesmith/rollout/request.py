"""What is asked of a sampler, refused before it meets anyone else's requests where it can't be answered."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from tunesmith.core.errors import UserError
from tunesmith.core.ports import Form
from tunesmith.core.types import Completion, Ints, OnToken, SamplingParams
from tunesmith.models.config import DecoderConfig
from tunesmith.rollout.stops import Stops

COLDEST = 1e-30
"""Logits divided by less are not finite; 0 itself means the likeliest token."""


@dataclass(slots=True, eq=False)
class Request:
    """n completions of one prompt."""

    prompt: Ints
    params: SamplingParams
    n: int
    stops: Stops
    on_token: OnToken | None = None
    """Hears of every token of every candidate."""
    form: Callable[[], Form] | None = None
    """The beginning of what a candidate has to look like; None where it may be any text."""
    error: UserError | None = None
    """Why it can't be finished."""
    begun: int = 0
    """Candidates that have their row, or had it."""
    done: dict[int, Completion] = field(default_factory=dict)
    """By candidate."""

    @property
    def finished(self) -> bool:
        return len(self.done) == self.n


def check_request(prompt: Ints, params: SamplingParams, n: int, config: DecoderConfig) -> None:
    """
    Raises:
        UserError: what the model can't do: ids it does not have, more tokens than its context holds, settings out of
            their range.
    """
    check_ids("prompt", prompt, config.vocab)
    if not len(prompt):
        raise UserError("prompt", "is empty", "Give at least one token")
    p, vocab = params, config.vocab
    bounds = (
        ("n", n, n >= 1, "Give 1 or more"),
        ("max_tokens", p.max_tokens, p.max_tokens >= 1, "Give 1 or more"),
        ("top_p", p.top_p, 0 <= p.top_p <= 1, "Give a share from 0 to 1"),
        ("top_k", p.top_k, p.top_k >= 0, "Give how many tokens to keep, or 0 for all"),
        (
            "top_logprobs",
            p.top_logprobs,
            0 <= p.top_logprobs <= vocab,
            f"Give 0 to {vocab}, the size of the vocabulary",
        ),
        ("stop", p.stop, all(p.stop), "Leave out the empty text, which ends everything"),
        ("begun", p.begun, 0 <= p.begun < len(prompt), "Give fewer tokens than the prompt has"),
        ("routing", p.routing, not (p.routing and p.begun), "Leave it out where a reply was begun"),
        ("routing", p.routing, not p.routing or config.moe is not None, "This model has no experts: leave it out"),
    )
    for where, value, good, mend in bounds:
        if not good:
            raise UserError(where, f"can't be {value!r}", mend)
    check_temperature(p.temperature)
    check_seed(p.seed)
    unknown = [i for i in p.stop_ids or () if not 0 <= i < vocab]
    if unknown:
        raise UserError("stop_ids", f"{unknown[0]} is no id of this model", f"Give ids from 0 to {vocab - 1}")
    room = config.max_positions - len(prompt)
    if room < p.max_tokens:
        sum_ = f"{len(prompt)} + {p.max_tokens} > {config.max_positions}"
        problem = f"Prompt length plus max_tokens exceeds the model's context window: {sum_}"
        raise UserError("prompt", problem, f"Set max_tokens to at most {max(room, 0)}")


def check_ids(where: str, ids: Ints, vocab: int) -> None:
    """Refuse ids that the model has no embedding for."""
    wrong = ids[(ids < 0) | (ids >= vocab)]
    if len(wrong):
        raise UserError(where, f"{int(wrong[0])} is no id of this model", f"Give ids from 0 to {vocab - 1}")


def check_temperature(temperature: float) -> None:
    if temperature != 0 and not COLDEST <= temperature < math.inf:
        raise UserError("temperature", f"can't be {temperature!r}", "Give 0 for the likeliest token, or more")


def check_seed(seed: int) -> None:
    if not 0 <= seed < 2**64:
        raise UserError("seed", f"can't be {seed!r}", "Give a whole number from 0 to 2**64 - 1")
