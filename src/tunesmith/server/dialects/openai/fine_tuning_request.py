"""The body of ``POST /fine_tuning/jobs``, and the job that it asks for in our own words."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from tunesmith.core.errors import UserError
from tunesmith.server.dialects.openai.graders import evaluator
from tunesmith.services.jobs.job import NewJob
from tunesmith.spec.load import KINDS

METHODS: Mapping[str, str] = {"supervised": "sft", "dpo": "dpo", "reinforcement": "rft"}
"""Method -> kind of job."""
OUR_WORDS = {
    "epochs": "n_epochs",
    "learning_rate": "learning_rate_multiplier",
    "batch_size_samples": "batch_size",
    "chunk_size": "batch_size",
    "dpo_beta": "beta",
    "eval_every": "eval_interval",
    "base_model": "model",
    "warm_start_from": "model",
    "output_model": "suffix",
    "evaluator": "method.reinforcement.grader",
    "evaluator.model": "method.reinforcement.grader.model",
    "report_to": "integrations",
    "tracker_project": "integrations.wandb.project",
    "tracker_run": "integrations.wandb.name",
    "tracker_entity": "integrations.wandb.entity",
}
"""Setting of a spec -> the name that the client knows it by."""
Auto = BeforeValidator(lambda value: None if value == "auto" else value)
Count = Annotated[int | None, Field(ge=1), Auto]
Factor = Annotated[float | None, Field(gt=0, allow_inf_nan=False), Auto]
Key = Annotated[str, Field(max_length=64)]
Text = Annotated[str, Field(max_length=512)]
_NO_WORD = re.compile(r"[^a-z0-9]+")


class Wire(BaseModel):
    """What is not known here is refused by name; null is the same as nothing."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class Hyperparameters(Wire):
    """``auto`` is our own default."""

    n_epochs: Count = None
    batch_size: Count = None
    """Conversations or pairs of an update; prompts of a step in reinforcement."""
    learning_rate_multiplier: Factor = None
    """Of the default learning rate of the kind of job."""

    def settings(self, kind: str) -> dict[str, Any]:
        """Fields of the kind's spec, those that were given."""
        rate = None
        if self.learning_rate_multiplier is not None:
            rate = KINDS[kind].model_fields["learning_rate"].default * self.learning_rate_multiplier
        batch = "chunk_size" if kind == "rft" else "batch_size_samples"
        found = {"epochs": self.n_epochs, batch: self.batch_size, "learning_rate": rate}
        return {name: value for name, value in found.items() if value is not None}


class DpoHyperparameters(Hyperparameters):
    beta: Factor = None

    def settings(self, kind: str) -> dict[str, Any]:
        beta = {} if self.beta is None else {"dpo_beta": self.beta}
        return Hyperparameters.settings(self, kind) | beta


class ReinforcementHyperparameters(Hyperparameters):
    eval_interval: Count = None
    eval_samples: Count = None
    compute_multiplier: Annotated[Literal[1] | None, Auto] = None
    """There is no dial for it here."""
    reasoning_effort: Literal["default"] | None = None

    def settings(self, kind: str) -> dict[str, Any]:
        found = {"eval_every": self.eval_interval, "eval_samples": self.eval_samples}
        return Hyperparameters.settings(self, kind) | {k: v for k, v in found.items() if v is not None}


class Supervised(Wire):
    hyperparameters: Hyperparameters | None = None


class Dpo(Wire):
    hyperparameters: DpoHyperparameters | None = None


class Reinforcement(Wire):
    grader: dict[str, Any]
    hyperparameters: ReinforcementHyperparameters | None = None


class Method(Wire):
    type: Literal["supervised", "dpo", "reinforcement"]
    supervised: Supervised | None = None
    dpo: Dpo | None = None
    reinforcement: Reinforcement | None = None

    @model_validator(mode="after")
    def _of_one_type(self) -> "Method":
        for name in METHODS:
            if name != self.type and getattr(self, name) is not None:
                raise ValueError(f"{name} is set, but type is {self.type}")
        if self.type == "reinforcement" and self.reinforcement is None:
            raise ValueError("reinforcement is missing: it names the grader")
        return self

    @property
    def hyperparameters(self) -> Hyperparameters:
        own: Supervised | Dpo | Reinforcement | None = getattr(self, self.type)
        return (own.hyperparameters if own is not None else None) or Hyperparameters()


class Wandb(Wire):
    """Where Weights & Biases is told of the job; its key is a secret of the owner's."""

    project: Text
    name: Text | None = None
    entity: Text | None = None
    tags: Annotated[list[str], Field(max_length=0)] | None = None
    """None: runs are not tagged here."""


class Integration(Wire):
    type: Literal["wandb"]
    wandb: Wandb

    def settings(self) -> dict[str, Any]:
        found = {
            "tracker_project": self.wandb.project,
            "tracker_run": self.wandb.name,
            "tracker_entity": self.wandb.entity,
        }
        return {"report_to": ["wandb"], **{name: value for name, value in found.items() if value is not None}}


class CreateJob(Wire):
    """``POST /fine_tuning/jobs``."""

    model: str
    """A base model, or a tuned model to go on from."""
    training_file: str
    validation_file: str | None = None
    suffix: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    method: Method | None = None
    hyperparameters: Hyperparameters | None = None
    """The older place of those of a supervised job."""
    metadata: Annotated[dict[Key, Text], Field(max_length=16)] | None = None
    integrations: Annotated[list[Integration], Field(max_length=1)] | None = None

    def asked(self) -> dict[str, Any]:
        """To be shown again."""
        return self.model_dump(mode="json", exclude_none=True)

    @property
    def kind(self) -> str:
        return METHODS[self.method.type] if self.method is not None else "sft"

    def job(self, base_model: str, warm_start_from: str | None, output_model: str | None) -> NewJob:
        """
        Raises:
            UserError: a grader that has no equal here, or hyperparameters in two places.
        """
        if self.hyperparameters is not None and self.method is not None:
            raise UserError("hyperparameters", "is set beside method", "Put them into the method")
        own = self.method.hyperparameters if self.method is not None else self.hyperparameters or Hyperparameters()
        settings: dict[str, Any] = {"base_model": base_model, **own.settings(self.kind)}
        if warm_start_from is not None:
            settings["warm_start_from"] = warm_start_from
        if self.seed is not None:
            settings["seed"] = self.seed
        for integration in self.integrations or ():
            settings |= integration.settings()
        if self.method is not None and self.method.reinforcement is not None:
            settings["evaluator"] = evaluator(self.method.reinforcement.grader)
        return NewJob(
            self.kind,
            settings,
            self.training_file,
            self.validation_file,
            output_model=output_model,
            asked=self.asked(),
        )

    def stem(self) -> str | None:
        """The suffix as a part of a name; None without one.

        Raises:
            UserError: it has no letter or digit.
        """
        if self.suffix is None:
            return None
        stem = _NO_WORD.sub("-", self.suffix.lower()).strip("-")[:45].strip("-")
        if not stem:
            raise UserError("suffix", f"{self.suffix!r} has no letter or digit from which to make a name", "Add one")
        return stem

    @contextmanager
    def speaking(self) -> Iterator[None]:
        """What is refused inside is said in the client's words."""
        try:
            yield
        except UserError as e:
            files = {self.validation_file: "validation_file", self.training_file: "training_file"}
            where = files.get(e.where) or OUR_WORDS.get(e.where, e.where)
            raise type(e)(where, e.problem, e.mend) from None
