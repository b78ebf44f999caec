"""The bodies of inference requests, and what of them this server can do."""

from collections.abc import Mapping
from secrets import randbits
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tunesmith.core.errors import UserError
from tunesmith.core.types import SamplingParams
from tunesmith.server.dialects.bodies import SEED_BITS
from tunesmith.server.dialects.response_format import grammar_of

MOST_STOPS = 16
MOST_LIKELIEST = 20
IGNORED = frozenset(
    {
        "user",
        "metadata",
        "store",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "prediction",
    }
)
"""Settings that change nothing in an answer: who asks, what it costs, what is kept."""
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "min_p": (0,),
    "typical_p": (1,),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "best_of": (1,),
    "suffix": ("",),
    "ignore_eos": (False,),
    "audio": (),
    "reasoning_effort": (),
    "verbosity": (),
    "web_search_options": (),
}
"""Settings that would change an answer and that this server has not, with the values that ask for nothing."""


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="ignore")

    include_usage: bool = False
    """Also send an event with the token counts, the last one."""


class SamplingRequest(BaseModel):
    """What both kinds of request have; an absent field and null are the same."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    model: str
    """A base model, a tuned model or the path of a checkpoint."""
    n: Annotated[int, Field(ge=1, le=128)] = 1
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=-1, le=1 << 30)] = 0
    """-1 and 0: all."""
    stop: Annotated[list[str], Field(max_length=MOST_STOPS)] = []
    """Texts that end a completion and are left out of it; one may come without its list."""
    seed: int = Field(default_factory=lambda: randbits(63))
    """Without one every request has its own."""
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    return_token_ids: bool = False
    response_format: dict[str, Any] | None = None
    """What an answer has to look like."""

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        present = {k: v for k, v in given.items() if v is not None}
        return present | ({"stop": [present["stop"]]} if isinstance(present.get("stop"), str) else {})

    def params(self, max_tokens: int, likeliest: int) -> SamplingParams:
        """How to draw; a completion ends at max_tokens."""
        return SamplingParams(
            max_tokens=max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=max(0, self.top_k),
            stop=tuple(self.stop),
            seed=self.seed & SEED_BITS,
            top_logprobs=likeliest,
            grammar=grammar_of(self.response_format),
        )


class ChatRequest(SamplingRequest):
    """``POST /v1/chat/completions``."""

    messages: Annotated[list[dict[str, Any]], Field(min_length=1)]
    tools: list[dict[str, Any]] = []
    tool_choice: Any = "auto"
    """auto, none, required (``any`` is the same), or the function to call."""
    parallel_tool_calls: bool = True
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    """The newer name of max_tokens; without either, as many as the context has room for."""
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_LIKELIEST)] = 0

    @property
    def limit(self) -> int | None:
        """Tokens of a reply; None for the room that there is."""
        limits = [x for x in (self.max_tokens, self.max_completion_tokens) if x is not None]
        return min(limits) if limits else None


class CompletionRequest(SamplingRequest):
    """``POST /v1/completions``."""

    prompt: str | list[int] | list[str] | list[list[int]]
    max_tokens: Annotated[int, Field(ge=0)] = 16
    """0 only with ``echo``, to score a text."""
    logprobs: Annotated[int, Field(ge=0, le=MOST_LIKELIEST)] | None = None
    """So many of the likeliest tokens beside each token's own log-probability."""
    echo: bool = False
    """The prompt comes back before the completion."""

    @property
    def prompts(self) -> list[str] | list[list[int]]:
        """One or more, as texts or as ids."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        ids = [i for i in self.prompt if isinstance(i, int)]
        return [ids] if ids else self.prompt  # type: ignore[return-value]


def check(given: SamplingRequest) -> None:
    """
    Raises:
        UserError: a setting that this server does not know or has not, or an empty text to stop at.
    """
    for name, value in (given.model_extra or {}).items():
        if name in NEUTRAL and value not in NEUTRAL[name]:
            raise UserError(name, f"is not supported by this server (got {value!r:.60})", "Leave it out")
        if name not in NEUTRAL and name not in IGNORED:
            raise UserError(name[:100], "is no setting of this request", "Leave it out")
    if "" in given.stop:
        raise UserError("stop", "holds an empty text", "Leave it out")
    if isinstance(given, ChatRequest) and given.top_logprobs and not given.logprobs:
        raise UserError("top_logprobs", "is only for requests with logprobs", "Set logprobs: true")
    if isinstance(given, CompletionRequest) and given.max_tokens == 0 and not given.echo:
        raise UserError("max_tokens", "is 0, which asks for nothing", "Give 1 or more, or set echo: true")
