"""The JSON bodies that only the Tinker wire has."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from tunesmith.server.dialects.bodies import Adam, Body, Chunk, Lora, Metadata, Sampling, Seq


class Ending(Body):
    type: str = "success"


class Finish(Body):
    reason: Ending = Ending()


class Optimizer(Body):
    type: str = "adamw"


class CreateModel(Body):
    session_id: str
    model_seq_id: Seq
    base_model: Annotated[str, Field(min_length=1)]
    lora_config: Lora | None = None
    optimizer_config: Optimizer = Optimizer()
    user_metadata: Metadata | None = None


class WeightChange(Body):
    model_id: str
    seq_id: Seq


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


class JoinSampler(Body):
    sampling_session_id: str


class Prompt(Body):
    chunks: list[Chunk]


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
    user_metadata: dict[str, str] | None = None
    statuses: list[StatusQuery] | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: SearchCursor | None = None
