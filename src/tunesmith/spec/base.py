"""The settings that every kind of training job shares."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from tunesmith.core.described import Described
from tunesmith.core.types import AdamParams
from tunesmith.spec.bounds import Limits, check


def count_of(value: Any) -> Any:
    """'32k' is 32 * 1024, for settings that count tokens."""
    if isinstance(value, str) and value[:-1].isdigit() and value[-1] in "kK":
        return int(value[:-1]) * 1024
    return value


Tokens = Annotated[int, BeforeValidator(count_of)]
TrackerName = Literal["wandb", "mlflow", "tensorboard", "trackio", "otel"]


def names_of(value: Any) -> Any:
    """'a,b' is [a, b], alone and within a list, so that a flag can be given once or several times."""
    parts = [value] if isinstance(value, str) else value
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        return value
    return [name.strip() for part in parts for name in part.split(",") if name.strip()]


class Spec(Described):
    """Unknown keys are errors; the docstring under a field is its help, its schema text and its documentation."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TrainSpec(Spec):
    """Fields of every job. Subclasses add what their kind needs."""

    kind: Literal["rft", "sft", "dpo"]
    """Kind of job."""
    base_model: str = "embedded"
    """Model to tune: `embedded`, a folder in Hugging Face format, or the folder of a full-parameter run."""
    dataset: str
    """Training rows, a JSONL file."""
    warm_start_from: str | None = None
    """Adapter folder or run folder to start from instead of a fresh adapter."""
    evaluation_dataset: str | None = None
    """Held-out rows, a JSONL file of the same kind."""
    eval_auto_carveout: bool = True
    """Set aside held-out rows from the dataset when there is no evaluation_dataset: a tenth, at most 200."""
    eval_every: Annotated[int, Field(ge=0)] = 0
    """Evaluate after every this many steps; 0 evaluates before the first and after the last step only."""
    early_stop_patience: Annotated[int, Field(ge=1)] | None = None
    """Stop when this many evaluations in a row bring no better held-out result, and keep the best; needs eval_every."""
    stop_on_findings: bool = False
    """Stop at a finding of level error, for the run then learns nothing."""
    save_every: Annotated[int, Field(ge=1)] = 1
    """Checkpoint after every this many steps; a crash loses the steps since."""
    keep_checkpoints: Annotated[int, Field(ge=2)] = 2
    """Checkpoints that are kept, the newest first; a run can be forked at each."""
    output_dir: str | None = None
    """Run folder; default runs/<kind>-<dataset>-<time>."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """The same spec with the same seed on the same machine gives the same bits."""
    limits: Limits = "managed"
    """Which bounds apply: managed, extended (also rank 64 and 128), or off (warn instead of refusing)."""
    skip_bad_rows: bool = False
    """Leave out rows that fail validation, and list them, instead of refusing the dataset."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    """Step size of AdamW. Too high: reward spikes, then collapses. Too low: an early plateau."""
    learning_rate_warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Optimizer updates over which the rate rises linearly from 0."""
    learning_rate_schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the rate falls after warm-up."""
    min_lr_ratio: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the learning rate that a linear or cosine schedule ends at."""
    epochs: Annotated[int, Field(ge=1)] = 1
    """Passes over the dataset."""
    lora_rank: Annotated[int, Field(ge=0)] = 8
    """Rank of the adapter on every linear layer; 0 trains all parameters."""
    lora_alpha: Annotated[float, Field(gt=0)] = 32.0
    """The adapter adds alpha / rank times its product: a change acts as another learning rate."""
    lora_head: bool = False
    """Adapt the output head too."""
    max_context_length: Annotated[Tokens, Field(ge=16, multiple_of=16)] = 8192
    """Longest sequence in tokens, a multiple of 16; longer rows are refused by line, never cut."""
    adam_beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Decay of the gradient's running mean."""
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """Decay of the squared gradient's running mean."""
    adam_eps: Annotated[float, Field(gt=0)] = 1e-12
    """Added to AdamW's denominator."""
    optimizer_weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Decoupled weight decay."""
    grad_clip: Annotated[float, Field(ge=0)] = 1.0
    """Largest L2 norm of the accumulated gradient; 0 is off."""
    report_to: Annotated[list[TrackerName], BeforeValidator(names_of)] = Field(default=[])
    """Experiment trackers to report to: wandb, mlflow, tensorboard, trackio, otel; several with commas."""
    tracker_project: str = "tunesmith"
    """Project, or experiment, of the run at its trackers."""
    tracker_entity: str | None = None
    """Team or user at a tracker that has them."""
    tracker_run: str | None = None
    """Name of the run at its trackers; default the run folder's."""

    @model_validator(mode="after")
    def _within_limits(self) -> "TrainSpec":
        refusals, _ = check(self.model_dump(), self.limits)
        if refusals:
            raise ValueError("; ".join(refusals))
        return self

    @model_validator(mode="after")
    def _adapter_settings_need_an_adapter(self) -> "TrainSpec":
        if self.lora_rank == 0 and self.lora_head:
            raise ValueError("lora_head: adapts the head of an adapter, and lora_rank 0 makes none")
        if self.lora_rank == 0 and self.warm_start_from is not None:
            raise ValueError("warm_start_from: is for adapters; with lora_rank 0 give that run as base_model instead")
        return self

    @model_validator(mode="after")
    def _patience_needs_evaluations(self) -> "TrainSpec":
        if self.early_stop_patience is not None and self.eval_every == 0:
            raise ValueError("early_stop_patience: counts evaluations, and eval_every 0 makes none on the way")
        return self

    def warnings(self) -> list[str]:
        """What is allowed but worth saying before anything is spent."""
        return check(self.model_dump(), self.limits)[1]

    def adam(self, learning_rate: float) -> AdamParams:
        """One update's optimizer settings at a scheduled learning rate."""
        return AdamParams(
            learning_rate,
            self.adam_beta1,
            self.adam_beta2,
            self.adam_eps,
            self.optimizer_weight_decay,
            self.grad_clip,
        )
