"""The three kinds of managed jobs, and how the requests for them become jobs of ours."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from pydantic import ValidationError

from tunesmith.core.errors import NotFound, UserError
from tunesmith.grading import GRADERS
from tunesmith.server.dialects.fireworks import names
from tunesmith.server.dialects.fireworks.managed.bodies import id_in
from tunesmith.server.dialects.fireworks.managed.rft_request import Rft
from tunesmith.server.dialects.fireworks.managed.training import Training
from tunesmith.server.dialects.fireworks.managed.tuning_requests import Dpo, Sft
from tunesmith.server.errors import explain
from tunesmith.services.datasets import Datasets
from tunesmith.services.evaluators import PREFIX, Evaluators
from tunesmith.services.jobs.job import NewJob
from tunesmith.services.trackers.companion import check_installed
from tunesmith.services.tuned_models import TunedModels

AnyRequest = Rft | Sft | Dpo
FEWEST, MOST = 3, 3_000_000
"""Examples of supervised and preference tuning; of the product with the epochs, the most too."""
PUBLIC_EVALUATORS = "accounts/tunesmith/evaluators/"
"""Before the name of a built-in grader, with ``-`` for ``_``."""


@dataclass(frozen=True, slots=True)
class JobKind:
    """One collection of jobs."""

    kind: str
    """rft, sft or dpo."""
    collection: str
    singular: str
    """The member that holds the job where a client wraps it."""
    model: type[AnyRequest]

    @property
    def flat(self) -> bool:
        return self.model is Sft

    @property
    def id_parameter(self) -> str:
        return f"{self.singular}Id"

    def parse(self, members: Mapping[str, Any]) -> AnyRequest:
        """
        Raises:
            UserError: a field that is not what it should be; names it.
        """
        inner = members.get(self.singular)
        try:
            return self.model.model_validate(inner if isinstance(inner, dict) else members)
        except ValidationError as e:
            raise explain(e, "body") from None


KINDS = (
    JobKind("rft", "reinforcementFineTuningJobs", "reinforcementFineTuningJob", Rft),
    JobKind("sft", "supervisedFineTuningJobs", "supervisedFineTuningJob", Sft),
    JobKind("dpo", "dpoJobs", "dpoJob", Dpo),
)


def new_job(request: Request, owner: str, kind: JobKind, body: AnyRequest, name: str | None) -> NewJob:
    """
    Raises:
        UserError: a field that this server cannot follow, or too few examples.
        NotFound: a model, dataset or evaluator that is not there. Denied: another account's.
    """
    body.check()
    settings = body.settings() | models_of(request, owner, body.training) | _tracker(body)
    if isinstance(body, Rft) and "evaluator" not in settings:
        settings["evaluator"] = evaluator_of(request, owner, body.evaluator)
    dataset = id_in("dataset", owner, "datasets", body.dataset)
    if not isinstance(body, Rft):
        _check_examples(request.app.state.datasets, owner, dataset, int(settings.get("epochs", 1)))
    evaluation = id_in("evaluation_dataset", owner, "datasets", body.evaluation_dataset) or None
    output = id_in("output_model", owner, "models", body.training.output_model) or None
    asked = body.model_dump(mode="json", by_alias=True, exclude_unset=True)
    asked.get("wandbConfig", {}).pop("apiKey", None)
    return NewJob(kind.kind, settings, dataset, evaluation, name, body.display_name, output, asked)


def models_of(request: Request, owner: str, training: Training) -> dict[str, Any]:
    """The base model, or the tuned model to go on from with its own base model."""
    if bool(training.base_model) == bool(training.warm_start_from):
        problem = "are both set" if training.base_model else "are both missing"
        raise UserError("base_model and warm_start_from", problem, "Give exactly one of them")
    registry = request.app.state.registry
    if training.base_model:
        return {"base_model": names.our_model(registry, owner, training.base_model)}
    tuned: TunedModels = request.app.state.tuned_models
    found = tuned.find(owner, names.our_model(registry, owner, training.warm_start_from))
    return {"base_model": found.base_model, "warm_start_from": found.name}


def _tracker(body: AnyRequest) -> dict[str, Any]:
    """What Weights & Biases is told, where a client wants that.

    Raises:
        UserError: its library is not installed here.
    """
    wandb = body.wandb_config
    if not wandb.enabled:
        return {}
    check_installed(["wandb"])
    given = {"tracker_project": wandb.project, "tracker_entity": wandb.entity, "tracker_run": wandb.run_id}
    return {"report_to": ["wandb"], **{name: value for name, value in given.items() if value}}


def evaluator_of(request: Request, owner: str, name: str) -> str:
    """An uploaded evaluator, or a built-in grader by its public name."""
    if not name:
        raise UserError("evaluator", "is missing", "Name one, accounts/<account>/evaluators/<id>")
    if name.startswith(PUBLIC_EVALUATORS):
        grader = name.removeprefix(PUBLIC_EVALUATORS).replace("-", "_")
        if grader in GRADERS:
            return grader
        known = ", ".join(sorted(known.replace("_", "-") for known in GRADERS))
        raise NotFound("evaluator", f"Evaluator {name!r:.200} not found in account", f"Built in: {known}")
    evaluators: Evaluators = request.app.state.evaluators
    found = id_in("evaluator", owner, "evaluators", name)
    try:
        evaluators.get(owner, found)
    except NotFound:
        mend = f"Upload it first, or name a built-in grader such as {PUBLIC_EVALUATORS}exact-match"
        raise NotFound("evaluator", f"Evaluator '{found[:80]}' not found in account", mend) from None
    return f"{PREFIX}{found}"


def _check_examples(datasets: Datasets, owner: str, dataset: str, epochs: int) -> None:
    verdict = datasets.get(owner, dataset).verdict
    rows = None if verdict is None else verdict.rows
    if rows is None:
        # Not READY, which is refused by who makes the job.
        return
    if rows < FEWEST:
        problem = f"Dataset validation failed: {rows} examples, and at least {FEWEST} are needed"
        raise UserError(dataset, problem, "Upload more")
    if rows * epochs > MOST:
        problem = f"{rows:,} examples in {epochs} epochs are more than {MOST:,}"
        raise UserError(dataset, problem, "Take fewer epochs or a smaller dataset")
