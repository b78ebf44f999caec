"""JSON bodies that the Tinker wire and its siblings have in common, and what they say in the core's words."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from tunesmith.core.errors import UserError
from tunesmith.core.types import AdamParams, SamplingParams
from tunesmith.services.sessions.shape import PolicyShape

Metadata = dict[str, Any]
Seq = Annotated[int, Field(ge=0, lt=1 << 62)]
Positive = Annotated[float, Field(ge=0, allow_inf_nan=False)]
SEED_BITS = (1 << 63) - 1


class Body(BaseModel):
    """Strict about kinds; fields we do not know are left alone, since older and newer clients send others."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())


class CreateSession(Body):
    sdk_version: str = ""
    tags: list[str] = []
    user_metadata: Metadata | None = None
    project_id: str | None = None
    display_name: str | None = None


class Heartbeat(Body):
    session_id: str


class ModelId(Body):
    model_id: str


class Lora(Body):
    rank: int
    seed: int | None = None
    train_unembed: bool = True
    train_mlp: bool = True
    train_attn: bool = True

    def shape(self) -> PolicyShape:
        return PolicyShape(self.rank, self.train_attn, self.train_mlp, self.train_unembed, self.seed or 0)


class Chunk(Body):
    type: str = "encoded_text"
    tokens: list[int] = []


class Adam(Body):
    learning_rate: Positive = 1e-4
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.95
    eps: Positive = 1e-12
    weight_decay: Positive = 0.0
    grad_clip_norm: Positive = 0.0

    def params(self) -> AdamParams:
        betas = self.beta1, self.beta2
        return AdamParams(self.learning_rate, *betas, self.eps, self.weight_decay, grad_clip=self.grad_clip_norm)


class WeightsInfo(Body):
    tinker_path: str


class CreateSampler(Body):
    session_id: str
    sampling_session_seq_id: Seq
    base_model: str | None = None
    model_path: str | None = None


class Sampling(Body):
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    seed: int | None = None
    stop: str | list[str] | list[int] | None = None
    temperature: Positive = 1.0
    top_k: Annotated[int, Field(ge=-1, le=1 << 30)] = -1
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0

    def params(self, room: int, own_seed: int, top_logprobs: int = 0) -> SamplingParams:
        """How to draw tokens.

        Args:
            room: tokens that the context has left; without max_tokens a completion may fill them.
            own_seed: of a request that names none.
        """
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        words = tuple(s for s in stop if isinstance(s, str))
        if any(not word for word in words):
            raise UserError("sampling_params.stop", "holds an empty text", "Leave it out")
        ids = tuple(i for i in stop if isinstance(i, int))
        return SamplingParams(
            max_tokens=self.max_tokens if self.max_tokens is not None else max(1, room),
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=max(0, self.top_k),
            stop=words,
            # A list without texts says exactly what stops: an empty one, nothing.
            stop_ids=None if words or self.stop is None else ids,
            top_logprobs=top_logprobs,
            seed=(own_seed if self.seed is None else self.seed) & SEED_BITS,
        )
