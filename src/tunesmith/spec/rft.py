"""Reinforcement fine-tuning: prompts, a grader, and a policy that learns from its own attempts."""

import math
import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from tunesmith.core.types import SamplingParams
from tunesmith.spec.base import Tokens, TrainSpec
from tunesmith.spec.loss import KlEstimator, MethodName, PolicyLoss, method_loss

DEFAULT_CHUNK = 200
SMALL_CHUNK, LARGE_CHUNK = 16, 32
"""What is proposed where more prompts than the second make a single chunk."""
DEFAULT_CONCURRENCY = 96

MAKING_ATTEMPTS = (
    "evaluation_dataset",
    "temperature",
    "temperature_schedule",
    "temperature_end",
    "top_p",
    "top_k",
    "response_candidates_count",
    "max_tokens",
    "max_concurrent_rollouts",
    "max_grader_error_rate",
    "grader_timeout_s",
    "grader_memory_mb",
    "rollout_timeout_s",
    "grader_network",
    "eval_samples",
)
"""Settings of making attempts and judging them."""


def is_recorded(evaluator: object) -> bool:
    """Whether an evaluator names scores of attempts that a dataset holds."""
    names = evaluator if isinstance(evaluator, list) else [evaluator]
    return any(re.match(r"recorded($|[:=])", str(name)) for name in names)


class RftSpec(TrainSpec):
    """A managed RFT job."""

    kind: Literal["rft"] = "rft"
    """Kind of job."""
    evaluator: str | list[str]
    """Grader: `file.py::function` or a built-in, each optionally `=weight`; several make a weighted sum. Alone:
    `project:` and the folder of a built project; on a server `uploaded:` and an evaluator's id. `recorded`: the rows
    hold attempts and their scores, and the job makes none."""
    batch_size: Annotated[Tokens, Field(gt=0)] = 32768
    """Real tokens in one forward/backward pass, never padding; `32k` is 32768."""
    gradient_accumulation_steps: Annotated[int, Field(ge=1)] = 1
    """Passes per optimizer update, inside one chunk."""
    chunk_size: Annotated[int, Field(ge=-1)] = 0
    """Prompts rolled out before each training step; 0 means 200 when the dataset has 400 rows or more, -1 is off."""
    rl_loss_method: MethodName = "grpo"
    """Policy loss: grpo, dapo or gspo-token."""
    rl_kl_beta: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the KL to the starting weights; 0 is the method's own (grpo 0.001); grpo only."""
    kl_estimator: KlEstimator = "k3"
    """How that KL is estimated: k3 as hosted services do, k2 or k3_unbiased for an exact gradient."""
    length_norm: bool = False
    """Average tokens within each response first, so that long responses do not weigh more."""
    advantage_clip: Annotated[float, Field(gt=0)] | None = None
    """Symmetric bound on advantages; off by default."""
    temperature: Annotated[float, Field(gt=0)] = 0.7
    """Randomness of the rollouts. Too low: all attempts alike, no signal. Too high: incoherent text."""
    temperature_schedule: Literal["constant", "linear"] = "constant"
    """Constant, or linear from temperature to temperature_end over the job."""
    temperature_end: Annotated[float, Field(gt=0)] | None = None
    """Temperature of the last step under a linear schedule."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Sample from the smallest set of tokens with this mass, after top_k."""
    top_k: Annotated[int, Field(ge=0)] = 40
    """Sample from the k likeliest tokens; 0 is off."""
    response_candidates_count: Annotated[int, Field(ge=2)] = 8
    """Responses per prompt: the group that advantages are relative to."""
    max_tokens: Annotated[Tokens, Field(ge=1)] = 2048
    """Longest response in tokens."""
    max_concurrent_rollouts: Annotated[int, Field(ge=1)] | None = None
    """Rollouts in flight at once, default 96; throughput only, any value gives the same result."""
    max_grader_error_rate: Annotated[float, Field(ge=0, le=1)] = 0.2
    """The job stops when a larger share of a step's gradings fails."""
    grader_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    """Wall time of one grading in seconds."""
    grader_memory_mb: Annotated[int, Field(ge=64)] = 2048
    """Memory of one grader process in MB."""
    rollout_timeout_s: Annotated[float, Field(gt=0)] = 600.0
    """Longest time in seconds that an uploaded evaluator's rollout may go on without asking the model for anything."""
    grader_network: bool = False
    """Whether a grader may reach the network; on a server it may not."""
    eval_samples: Annotated[int, Field(ge=1)] = 4
    """Responses per held-out row when evaluating, at the rollouts' own temperature."""

    @model_validator(mode="after")
    def _consistent(self) -> "RftSpec":
        self.loss()
        if (self.temperature_schedule == "linear") != (self.temperature_end is not None):
            raise ValueError("temperature_end goes with temperature_schedule: linear, and only with it")
        return self

    @model_validator(mode="after")
    def _recorded_attempts_are_not_made(self) -> "RftSpec":
        fields = type(self).model_fields
        if self.recorded and (unread := [n for n in MAKING_ATTEMPTS if getattr(self, n) != fields[n].default]):
            raise ValueError(f"{unread[0]}: has no effect, for recorded attempts are neither made nor judged here")
        return self

    @property
    def recorded(self) -> bool:
        """Whether the attempts stand in the dataset, with their scores."""
        return is_recorded(self.evaluator)

    def loss(self) -> PolicyLoss:
        return method_loss(self.rl_loss_method, self.rl_kl_beta, self.kl_estimator, self.length_norm)

    def prompts_per_chunk(self, rows: int) -> int:
        """Prompts of one step; the dataset as a whole when chunking is off or not worth it."""
        if self.chunk_size > 0:
            return min(self.chunk_size, rows)
        chunked = self.chunk_size == 0 and rows >= 2 * DEFAULT_CHUNK
        return DEFAULT_CHUNK if chunked else rows

    def num_steps(self, rows: int) -> int:
        """ceil(rows / chunk) * epochs."""
        return math.ceil(rows / self.prompts_per_chunk(rows)) * self.epochs

    def notes(self, rows: int) -> list[str]:
        """What is worth saying of a job on so many rows before it begins."""
        if rows <= LARGE_CHUNK or self.prompts_per_chunk(rows) < rows:
            return []
        steps = [spec.num_steps(rows) for spec in (self.model_copy(update={"chunk_size": SMALL_CHUNK}), self)]
        many = f"chunk_size {SMALL_CHUNK} would make {steps[0]} of {steps[1]}"
        return [f"all {rows} rows are one chunk, which makes few steps: {many}"]

    def concurrency(self) -> int:
        return self.max_concurrent_rollouts or DEFAULT_CONCURRENCY

    def temperature_at(self, step: int, num_steps: int) -> float:
        """Temperature of a 1-based step."""
        if self.temperature_end is None or num_steps <= 1:
            return self.temperature
        return self.temperature + (self.temperature_end - self.temperature) * (step - 1) / (num_steps - 1)

    def sampling(self, temperature: float, seed: int) -> SamplingParams:
        return SamplingParams(self.max_tokens, temperature, self.top_p, self.top_k, (), seed, entropies=True)
