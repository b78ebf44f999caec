"""What our own wire takes: fields of its own, and settings of the specs beside them."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from tunesmith.core.described import Described
from tunesmith.services.jobs import job
from tunesmith.services.jobs.job_kinds import EVALUATION
from tunesmith.services.keys import MOST_DAYS, Scope


class Given(Described):
    """Fields that are not known are refused."""

    model_config = ConfigDict(extra="forbid")

    def named(self) -> dict[str, Any]:
        """The fields that are no settings."""
        return {name: getattr(self, name) for name in type(self).model_fields}


class WithSettings(Given):
    """Every setting of the kind's spec is a field too."""

    model_config = ConfigDict(extra="allow")

    @property
    def settings(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class NewJob(WithSettings):
    """A job to be made. Every setting of the kind's spec is a field too."""

    kind: str
    """rft, sft or dpo."""
    dataset: str
    """Id of a READY dataset."""
    evaluation_dataset: str | None = None
    name: str | None = None
    """Unique among the jobs of the kind; default the job's id."""
    display_name: str = ""
    output_model: str | None = None
    """Name of what comes out; default the job's name."""

    @property
    def given(self) -> set[str]:
        """Names of what was sent."""
        return self.model_fields_set | self.settings.keys()

    def job(self) -> job.NewJob:
        return job.NewJob(
            self.kind,
            self.settings,
            self.dataset,
            self.evaluation_dataset,
            self.name,
            self.display_name,
            self.output_model,
        )


class NewEvaluation(WithSettings):
    """An evaluation to be made. The settings of rft that sample and grade are fields too."""

    dataset: str
    """Id of a READY dataset of prompts."""
    evaluator: str | list[str]
    """As the setting of that name."""
    model: str | None = None
    """Whose answers are graded, by any name that is sampled by; null grades the answers that the rows hold."""
    name: str | None = None
    """Unique among the evaluations; default its id."""
    display_name: str = ""
    output_dataset: str | None = None
    """Id of the dataset that it leaves; default the name with `-results`."""

    def job(self) -> job.NewJob:
        named = {"evaluator": self.evaluator, "model": self.model, "output_dataset": self.output_dataset}
        settings = self.settings | {name: value for name, value in named.items() if value is not None}
        return job.NewJob(EVALUATION, settings, self.dataset, None, self.name, self.display_name)


class Clone(WithSettings):
    """What is to be different. Every setting of the kind's spec is a field too."""

    name: str | None = None
    """Of the new job; default its id."""
    output_model: str | None = None
    """Default the new job's name."""
    dataset: str | None = None
    evaluation_dataset: str | None = None


class Fork(WithSettings):
    """What is to be different. Every setting of the kind's spec is a field too."""

    at_step: int | None = None
    """Kept step to share the past up to; null is the newest with more to train, 0 shares the settings alone."""
    name: str | None = None
    """Of the new job; default its id."""
    output_model: str | None = None
    """Default the new job's name."""


class Advised(Given):
    """Which finding is acted on, and what comes of it is called."""

    finding: str | None = None
    """Its rule; null is the first of the advice."""
    name: str | None = None
    """Of the new job; default its id."""
    output_model: str | None = None
    """Default the new job's name."""


class Regrade(Given):
    """A changed grader, and the attempts that it sees."""

    evaluator: str | list[str]
    """As the setting of that name."""
    steps: Annotated[int, Field(ge=1)] | None = None
    """Only the newest so many; null is all."""
    held_out: bool = False
    """The attempts of evaluations instead of those of training."""


class Promotion(Given):
    """Weights that get a name."""

    path: str
    """`tinker://...` of a checkpoint of the Training API."""


class Rename(Given):
    name: str


class NewKey(Given):
    name: str = ""
    """What it is for."""
    scope: Scope = "admin"
    """What it may do; each scope includes those before it."""
    days: Annotated[float, Field(gt=0, le=MOST_DAYS, allow_inf_nan=False)] | None = None
    """How long it is good; null for ever."""


class NewSecret(Given):
    value: str


class NewDeployment(Given):
    id: str
    """Up to 63 of a-z, 0-9 and -."""
    model: str
    """Base or tuned model that it serves."""


class Scale(Given):
    replicas: int
    """0 closes the name."""


class Load(Given):
    model: str
    """Tuned model of the same base model."""
    default: bool = False
    """The deployment's own name means it from now on."""


class Unload(Given):
    model: str
