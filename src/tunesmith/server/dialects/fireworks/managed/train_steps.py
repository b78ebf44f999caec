"""Steps of a trainer job: each a managed job on a dataset of attempts, made and scored by the client.

A trainer job that is not kept alive is one such job, on the dataset that it names. One that is kept alive takes a step
whenever it is told to, and each step goes on from the model that the last one made.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from fastapi import Request
from pydantic import ValidationError

from tunesmith.core.errors import Conflict, NotFound, UserError
from tunesmith.server.dialects.fireworks.managed import job_objects, job_routes
from tunesmith.server.dialects.fireworks.managed.bodies import Wire, full_name
from tunesmith.server.dialects.fireworks.managed.creating import is_retry, taken
from tunesmith.server.dialects.fireworks.managed.job_kinds import KINDS, new_job
from tunesmith.server.dialects.fireworks.managed.rft_request import Rft
from tunesmith.server.dialects.fireworks.managed.speaking import speaking
from tunesmith.server.dialects.fireworks.managed.training import check_unset
from tunesmith.server.errors import explain
from tunesmith.services.jobs.job import Job
from tunesmith.services.jobs.jobs import Jobs
from tunesmith.services.jobs.moves import ENDED
from tunesmith.services.trainers import RUNNING, TrainerRow, Trainers, TrainerStepRow
from tunesmith.services.tuned_models import TunedModels

RFT = next(kind for kind in KINDS if kind.kind == "rft")
SUCCEEDED = ("succeeded", "early_stopped")
BY_HAND = "a step's output model is loaded when you say so: POST /deployedModels"
REFUSED = {
    "evaluation_dataset": "scores of recorded attempts judge no new ones",
    "forward_only": "a step trains",
    "hot_load_deployment_id": BY_HAND,
    "rollout_deployment_name": BY_HAND,
}
TOLD = (
    "status",
    "completedTime",
    "trainingConfig",
    "lossConfig",
    "jobProgress",
    "outputMetrics",
    "acceleratorSeconds",
    "trainerLogsSignedUrl",
    "metricsFileSignedUrl",
)
"""Members of the last step that a trainer job has too."""


class ExecuteStep(Wire):
    dataset: str = ""
    output_model: str = ""


class ScoredAttempts(Rft):
    """What a trainer job asks of its steps."""

    service_mode: bool = False
    keep_alive: bool = False
    forward_only: bool = False
    hot_load_deployment_id: str = ""
    rollout_deployment_name: str = ""
    reward_weights: tuple[str, ...] = ()

    @property
    def takes_steps(self) -> bool:
        """Whether its data come as datasets, and not from a client that drives it."""
        return not self.service_mode and (self.keep_alive or bool(self.dataset))

    def settings(self) -> dict[str, Any]:
        """
        Raises:
            UserError: something that this server does not do.
        """
        check_unset(self, "", REFUSED)
        weights = [_weight(i, text) for i, text in enumerate(self.reward_weights)]
        return super().settings() | {"evaluator": [f"recorded:{text}" for text in weights] or "recorded"}


def read(members: Mapping[str, Any]) -> ScoredAttempts:
    """What a request for a trainer job says of its steps.

    Raises:
        UserError: a field that is not what it should be, or that no step could have.
    """
    try:
        asked = ScoredAttempts.model_validate(members)
    except ValidationError as e:
        raise explain(e, "body") from None
    if asked.service_mode and asked.dataset:
        raise UserError("dataset", "is not read in service mode: its client sends the data", "Leave one of them out")
    if asked.takes_steps:
        asked.settings()
    if asked.keep_alive and asked.training_config.lora_rank == 0:
        mend = "Give a rank such as 8, or make a trainer job for each step, with the last one's model as its base"
        raise UserError("training_config.lora_rank", "is 0, and steps of one trainer go on from adapters", mend)
    return asked


def queue(request: Request, row: TrainerRow, dataset: str, output_model: str) -> Job:
    """Queue the next step of a trainer job; the one that is there already, where an answer was lost.

    Raises:
        Conflict: the last step has not ended.
        UserError, NotFound: what a managed job on that dataset would be refused for.
    """
    jobs: Jobs = request.app.state.jobs
    asked, earlier = read(row.asked), _jobs_of(request, row)
    last = earlier[-1] if earlier else None
    if last and is_retry(request) and (last.dataset, last.output_model) == (_id(dataset), _id(output_model)):
        return last
    if last and last.state not in ENDED:
        problem = f"is still at the step that makes {last.output_model}"
        raise Conflict(row.id, problem, "Wait until its state is JOB_STATE_IDLE")
    steps = _steps(request, row)
    config = asked.training_config.model_copy(update={"output_model": output_model, **_start(request, row, steps)})
    body = asked.model_copy(update={"dataset": dataset, "training_config": config})
    name = f"{row.id}-{len(steps) + 1}" if asked.keep_alive else row.id
    with speaking(False), taken(full_name(row.owner, RFT.collection, name), name, output_model):
        new = new_job(request, row.owner, RFT, body, name)
        return jobs.create(row.owner, new, retry=is_retry(request))


def shown(request: Request, row: TrainerRow) -> Mapping[str, Any]:
    """What its last step has to say, and where the trainer job stands by it."""
    keep_alive = bool(row.asked.get("keepAlive"))
    steps = _jobs_of(request, row)
    if not steps:
        return {"state": "JOB_STATE_IDLE"} if keep_alive and row.state == RUNNING else {}
    last = job_objects.body(request, steps[-1])
    told = {name: last[name] for name in TOLD if name in last}
    if row.state != RUNNING:
        return told
    waits = keep_alive and steps[-1].state in SUCCEEDED
    return told | {"state": "JOB_STATE_IDLE" if waits else last["state"]}


def cancel(request: Request, row: TrainerRow) -> None:
    """Stop the step that runs; what is not kept alive and has ended refuses."""
    jobs: Jobs = request.app.state.jobs
    steps = _jobs_of(request, row)
    if steps and not (row.asked.get("keepAlive") and steps[-1].state in ENDED):
        job_routes.cancel(jobs, steps[-1])


def resume(request: Request, row: TrainerRow) -> None:
    jobs: Jobs = request.app.state.jobs
    steps = _jobs_of(request, row)
    if steps and steps[-1].state == "cancelled":
        jobs.resume(row.owner, steps[-1].id)


def delete(request: Request, row: TrainerRow) -> None:
    """Its steps go with all that they wrote; the models that they made stay."""
    jobs: Jobs = request.app.state.jobs
    for job in _jobs_of(request, row):
        jobs.delete(row.owner, job.id)


def _start(request: Request, row: TrainerRow, steps: Sequence[TrainerStepRow]) -> dict[str, str]:
    """Where the next step goes on: at the newest model that a step made and that is there; empty for the first."""
    tuned: TunedModels = request.app.state.tuned_models
    for step in reversed(steps):
        with suppress(NotFound):
            tuned.find(row.owner, step.output_model)
            return {"base_model": "", "warm_start_from": full_name(row.owner, "models", step.output_model)}
    return {}


def _steps(request: Request, row: TrainerRow) -> Sequence[TrainerStepRow]:
    trainers: Trainers = request.app.state.trainers
    return trainers.steps(row.owner, row.id)


def _jobs_of(request: Request, row: TrainerRow) -> list[Job]:
    """The jobs of its steps that are there, oldest first."""
    jobs: Jobs = request.app.state.jobs
    found = []
    for step in _steps(request, row):
        with suppress(NotFound):
            found.append(jobs.get(row.owner, step.job_id))
    return found


def _id(name: str) -> str:
    return name.rpartition("/")[2]


def _weight(index: int, text: str) -> str:
    """One of ``rewardWeights``, checked."""
    name, equals, number = text.partition("=")
    try:
        weight = float(number) if equals else math.nan
    except ValueError:
        weight = math.nan
    if not name or not math.isfinite(weight):
        raise UserError(f"reward_weights[{index}]", f"cannot read {text[:60]!r}", "Write <name of a score>=<weight>")
    return text
