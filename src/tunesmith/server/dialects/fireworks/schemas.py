"""The JSON bodies of this wire. Fields we do not know are left alone: older and newer clients send others."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tunesmith.services.sessions.shape import LARGEST_RANK

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


class Heartbeat(Body):
    session_id: str


class Lora(Body):
    rank: int
    alpha: float | None = None
    seed: int | None = None
    init_method: str | None = None
    train_unembed: bool = True
    train_mlp: bool = True
    train_attn: bool = True


class CreateModel(Body):
    session_id: str
    model_seq_id: Seq
    base_model: Annotated[str, Field(min_length=1)]
    lora_config: Lora | None = None
    base_only: bool = False
    projection_head_dim: int | None = None
    user_metadata: Metadata | None = None


class ModelId(Body):
    model_id: str


class Tensor(Body):
    """Numbers in a row and their shape; rows of a matrix may come as CSR."""

    data: list[int] | list[float]
    dtype: str
    shape: list[int] | None = None
    sparse_crow_indices: list[int] | None = None
    sparse_col_indices: list[int] | None = None


class Chunk(Body):
    type: str = "encoded_text"
    tokens: list[int] = []


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


class WeightsInfo(Body):
    tinker_path: str


class CreateSampler(Body):
    session_id: str
    sampling_session_seq_id: Seq
    base_model: str | None = None
    model_path: str | None = None


class SamplingRoute(Body):
    base_model: str | None = None
    training_run: str | None = None


class Sampling(Body):
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    seed: int | None = None
    stop: str | list[str] | list[int] | None = None
    temperature: Positive = 1.0
    top_k: Annotated[int, Field(ge=-1, le=1 << 30)] = -1
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0


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

    baseModel: Annotated[str, Field(min_length=1)]
    loraRank: Annotated[int, Field(ge=0, le=LARGEST_RANK)] = 0
    maxContextLength: Annotated[int, Field(ge=0)] | None = None


class CreateJob(Body):
    model_config = ConfigDict(extra="allow", protected_namespaces=())

    trainingConfig: TrainingConfig
    forwardOnly: bool = False


class CreateDeployment(Body):
    model_config = ConfigDict(extra="allow", protected_namespaces=())

    baseModel: Annotated[str, Field(min_length=1)]
    hotLoadTrainerJob: str = ""
    maxReplicaCount: Annotated[int, Field(ge=0, le=10_000)] | None = None


class ChangeDeployment(Body):
    model_config = ConfigDict(extra="allow", protected_namespaces=())

    hotLoadTrainerJob: str | None = None
    maxReplicaCount: Annotated[int, Field(ge=0, le=10_000)] | None = None


class HotLoad(Body):
    identity: Annotated[str, Field(min_length=1)]
    incremental_snapshot_metadata: Any = None
