"""The JSON bodies that only this wire has."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from tunesmith.server.dialects import bodies
from tunesmith.server.dialects.bodies import Adam, Body, Chunk, Metadata, Sampling, Seq
from tunesmith.services.sessions.shape import LARGEST_RANK


class Lora(bodies.Lora):
    alpha: float | None = None
    init_method: str | None = None


class CreateModel(Body):
    session_id: str
    model_seq_id: Seq
    base_model: Annotated[str, Field(min_length=1)]
    lora_config: Lora | None = None
    base_only: bool = False
    projection_head_dim: int | None = None
    user_metadata: Metadata | None = None


class Tensor(Body):
    """Numbers in a row and their shape; rows of a matrix may come as CSR."""

    data: list[int] | list[float]
    dtype: str
    shape: list[int] | None = None
    sparse_crow_indices: list[int] | None = None
    sparse_col_indices: list[int] | None = None


class ModelInput(Body):
    chunks: list[Chunk]
    routing_matrices: list[str] | None = None
    routing_references: Any = None
    top_sampling_references: Any = None
    sampling_mask_references: Any = None


class Datum(Body):
    model_input: ModelInput
    loss_fn_inputs: dict[str, Tensor]


class Pass(Body):
    data: list[Datum]
    loss_fn: str
    loss_fn_config: dict[str, Any] | None = None


class Forward(Body):
    model_id: str
    seq_id: Seq
    forward_input: Pass


class ForwardBackward(Body):
    model_id: str
    seq_id: Seq
    forward_backward_input: Pass


class OptimStep(Body):
    model_id: str
    seq_id: Seq
    adam_params: Adam = Adam()
    grad_accumulation_normalization: Literal["none", "num_loss_tokens", "num_sequences"] | None = None


class SaveWeights(Body):
    model_id: str
    seq_id: Seq
    path: str
    ttl_seconds: int | None = None
    overwrite: bool = False


class SaveForSampler(Body):
    model_id: str
    seq_id: Seq
    path: str
    ttl_seconds: int | None = None
    checkpoint_type: str | None = None
    export_precision: str | None = None
    metadata: Any = None


class LoadWeights(Body):
    model_id: str
    seq_id: Seq
    path: str
    optimizer: bool = False


class LoadAdapter(Body):
    model_id: str
    seq_id: Seq


class RetrieveFuture(Body):
    request_id: str


class SamplingRoute(Body):
    base_model: str | None = None
    training_run: str | None = None


class Sample(Body):
    sampling_session_id: str
    seq_id: Seq
    prompt: ModelInput
    sampling_params: Sampling = Sampling()
    num_samples: int = 1
    prompt_logprobs: bool | None = None
    topk_prompt_logprobs: int = 0


class Promote(Body):
    output_model: str
    base_model: str = ""


class PromoteOfJob(Promote):
    trainer_job_id: str


class TrainingConfig(Body):
    """Kept whole, to be shown again."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    baseModel: str = ""
    loraRank: Annotated[int, Field(ge=0, le=LARGEST_RANK)] = 0
    maxContextLength: Annotated[int, Field(ge=0)] | None = None


class CreateJob(Body):
    model_config = ConfigDict(extra="allow", protected_namespaces=())

    trainingConfig: TrainingConfig
    forwardOnly: bool = False


class HotLoad(Body):
    identity: Annotated[str, Field(min_length=1)]
    incremental_snapshot_metadata: Any = None
