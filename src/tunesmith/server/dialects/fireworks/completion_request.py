"""The body of a completions request, and what of it this server can do."""

from collections.abc import Mapping
from secrets import randbits
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from tunesmith.core.errors import UserError
from tunesmith.core.types import SamplingParams
from tunesmith.server.dialects.bodies import SEED_BITS
from tunesmith.server.dialects.response_format import grammar_of

UNHEARD: Mapping[str, tuple[Any, ...]] = {
    "min_p": (0, None),
    "typical_p": (1, None),
    "repetition_penalty": (1, None),
    "presence_penalty": (0, None),
    "frequency_penalty": (0, None),
    "mirostat_target": (None,),
    "logit_bias": (None, {}),
    "ignore_eos": (False, None),
    "images": (None, []),
    "echo_last": (None,),
    "top_sampling_logprobs": (None,),
    "sampling_mask": (None,),
    "routing_matrix_format": (None, "base64_inline"),
    "suffix": (None, ""),
    "best_of": (1, None),
}
"""Settings that would change what is sampled or sent, and the values that ask for nothing."""


class CompletionRequest(BaseModel):
    """Fields we do not know are left alone, but for those of ``UNHEARD``."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    model: str
    prompt: str | list[int]
    n: Annotated[int, Field(ge=1, le=128)] = 1
    max_tokens: Annotated[int, Field(ge=1)] = 1024
    temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=-1, le=1 << 30)] = 0
    """-1 and 0: all."""
    stop: str | list[str] | None = None
    seed: int | None = None
    stream: bool = False
    echo: bool = False
    logprobs: bool | int | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    raw_output: bool | None = None
    response_format: dict[str, Any] | None = None
    return_token_ids: bool | None = None
    include_routing_matrix: bool | None = None
    perf_metrics_in_response: bool | None = None

    @property
    def likeliest(self) -> int:
        """How many of the likeliest tokens to report; a number under ``logprobs`` says it too."""
        count = self.logprobs if isinstance(self.logprobs, int) and not isinstance(self.logprobs, bool) else 0
        return self.top_logprobs if self.top_logprobs is not None else min(count, 20)


def check(given: CompletionRequest) -> None:
    """
    Raises:
        UserError: a setting that this server has not, or an empty text to stop at.
    """
    for name, value in (given.model_extra or {}).items():
        if name in UNHEARD and value not in UNHEARD[name]:
            raise UserError(name, f"is not among the settings of this server (got {value!r:.60})", "Leave it out")
    if given.stop == "" or (isinstance(given.stop, list) and "" in given.stop):
        raise UserError("stop", "holds an empty text", "Leave it out")


def sampling_params(given: CompletionRequest) -> SamplingParams:
    """Without a seed every request has one of its own."""
    stop = (given.stop,) if isinstance(given.stop, str) else tuple(given.stop or ())
    return SamplingParams(
        max_tokens=given.max_tokens,
        temperature=given.temperature,
        top_p=given.top_p,
        top_k=max(0, given.top_k),
        stop=stop,
        seed=(randbits(63) if given.seed is None else given.seed) & SEED_BITS,
        top_logprobs=given.likeliest if given.logprobs else 0,
        routing=bool(given.include_routing_matrix),
        grammar=grammar_of(given.response_format),
    )
