"""The JSON bodies of the Tinker wire. Fields we do not know are left alone: newer clients send more."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Metadata = dict[str, Any]
Seq = Annotated[int, Field(ge=0, lt=1 << 62)]
Positive = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Body(BaseModel):
    """Strict about kinds, lenient about extras."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())


class CreateSession(Body):
    sdk_version: str = ""
    tags: list[str] = []
    user_metadata: Metadata | None = None
    project_id: str | None = None
    display_name: str | None = None


class Heartbeat(Body):
    session_id: str


class Ending(Body):
    type: str = "success"


class Finish(Body):
    reason: Ending = Ending()


class Lora(Body):
    rank: int
    seed: int | None = None
    train_unembed: bool = True
    train_mlp: bool = True
    train_attn: bool = True


class Optimizer(Body):
    type: str = "adamw"


class CreateModel(Body):
    session_id: str
    model_seq_id: Seq
    base_model: Annotated[str, Field(min_length=1)]
    lora_config: Lora | None = None
    optimizer_config: Optimizer = Optimizer()
    user_metadata: Metadata | None = None


class ModelId(Body):
    model_id: str


class WeightChange(Body):
    model_id: str
    seq_id: Seq


class Adam(Body):
    learning_rate: Positive = 1e-4
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.95
    eps: Positive = 1e-12
    weight_decay: Positive = 0.0
    grad_clip_norm: Positive = 0.0


class OptimStep(Body):
    model_id: str
    seq_id: Seq
    adam_params: Adam | None = None
    optimizer_params: Optimizer | None = None


class SaveWeights(Body):
    model_id: str
    seq_id: Seq
    path: str
    ttl_seconds: int | None = None
    overwrite: bool = False
    user_metadata: Metadata | None = None


class SaveForSampler(Body):
    model_id: str
    seq_id: Seq
    path: str | None = None
    sampling_session_seq_id: Seq | None = None
    kind: Literal["snapshot", "inflight"] = "snapshot"
    ttl_seconds: int | None = None
    user_metadata: Metadata | None = None


class SaveExternal(Body):
    model_id: str
    seq_id: Seq
    path: str
    ttl_seconds: int | None = None
    age_encryption_recipients: list[str] | None = None


class LoadWeights(Body):
    """Either into a new model of a session, or into a model that is there."""

    path: str
    optimizer: bool = False
    session_id: str | None = None
    model_seq_id: Seq | None = None
    model_id: str | None = None
    seq_id: Seq | None = None
    optimizer_config: Optimizer = Optimizer()
    user_metadata: Metadata | None = None
    weights_access_token: str | None = None


class CreateSampler(Body):
    session_id: str
    sampling_session_seq_id: Seq
    base_model: str | None = None
    model_path: str | None = None


class JoinSampler(Body):
    sampling_session_id: str


class Chunk(Body):
    type: str = "encoded_text"
    tokens: list[int] = []


class Prompt(Body):
    chunks: list[Chunk]


class Sampling(Body):
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    seed: int | None = None
    stop: str | list[str] | list[int] | None = None
    temperature: Positive = 1.0
    top_k: int = -1
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0


class JsonTensor(Body):
    data: list[int]
    shape: list[int] | None = None
    sparse_crow_indices: list[int] | None = None
    sparse_col_indices: list[int] | None = None


class Sample(Body):
    sampling_session_id: str
    seq_id: Seq
    prompt: Prompt
    sampling_params: Sampling = Sampling()
    num_samples: int = 1
    prompt_logprobs: bool | None = None
    topk_prompt_logprobs: Annotated[int, Field(ge=0, le=1000)] = 0
    topk_sample_logprobs: Annotated[int, Field(ge=0, le=1000)] = 0
    prompt_alt_tokens_k: Annotated[int, Field(ge=0, le=1000)] = 0
    prompt_logprobs_last_n: Annotated[int, Field(ge=0)] | None = None
    target_prompt_logprobs: JsonTensor | None = None


class RetrieveFuture(Body):
    request_id: str
    allow_metadata_only: bool = False


class SamplingTarget(Body):
    sampling_session_id: str
    cloned_sampler_id: Annotated[int, Field(ge=0)] = 0


class RetrieveFutures(Body):
    target: SamplingTarget
    prev_cursor: int = 0
    timeout: Annotated[float, Field(ge=0)] | None = None


class CancelFuture(Body):
    request_id: str


class WeightsInfo(Body):
    tinker_path: str


class CopyWeights(Body):
    source_path: str
    destination_project_id: str | None = None
    weights_access_token: str | None = None
    session_id: str | None = None
    model_seq_id: Seq | None = None
    ttl_seconds: int | None = None


class Ttl(Body):
    ttl_seconds: int | None = None


class Project(Body):
    project_id: str | None = None


class SearchCursor(Body):
    last_created_at: datetime
    last_session_id: str


class StatusQuery(Body):
    type: str
    reasons: list[str] | None = None


class SearchSessions(Body):
    session_id: str | None = None
    display_name: str | None = None
    user_metadata: dict[str, str] = {}
    statuses: list[StatusQuery] | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: SearchCursor | None = None
