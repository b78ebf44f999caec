"""What a job has made: rollouts, findings, the card, the report, and the files of its result."""

from typing import Annotated, Any, Literal

from fastapi import Query, Request
from fastapi.responses import HTMLResponse, StreamingResponse

from tunesmith.core.errors import NotFound
from tunesmith.server.auth import Owner
from tunesmith.server.dialects.tunesmith import answers
from tunesmith.server.dialects.tunesmith.envelope import new_router
from tunesmith.server.dialects.tunesmith.jobs import Limit, Offset, in_names, jobs_of
from tunesmith.server.tar import tar_response
from tunesmith.services.run_folder import RunFolder

router = new_router("jobs")


@router.get("/jobs/{job_id}/findings", response_model=answers.Findings)
def findings(request: Request, owner: Owner, job_id: str) -> dict[str, Any]:
    """What the health rules say of the run so far."""
    return {"items": jobs_of(request).findings(owner, job_id)}


@router.get("/jobs/{job_id}/card")
def card(request: Request, owner: Owner, job_id: str) -> dict[str, Any]:
    """The summary of an ended run, as `card.json` has it."""
    found = _run(request, owner, job_id).card()
    if not found:
        raise NotFound(job_id, "has no card yet", "It is written when the job ends")
    # Without what names folders of this machine.
    return {name: value for name, value in found.items() if name not in ("run_dir", "reproduce")}


@router.get("/jobs/{job_id}/rollouts", response_model=answers.RolloutSteps)
def rollout_steps(request: Request, owner: Owner, job_id: str) -> dict[str, Any]:
    """Steps whose attempts can be read."""
    run = jobs_of(request).run(owner, job_id)
    return {name: run.rollout_steps(name) for name in ("step", "eval")}


@router.get("/jobs/{job_id}/rollouts/{step}", response_model=answers.Page[answers.Rollout])
def rollouts(
    request: Request,
    owner: Owner,
    job_id: str,
    step: int,
    of: Annotated[Literal["step", "eval"], Query(description="Of training, or of an evaluation.")] = "step",
    limit: Limit = 50,
    offset: Offset = 0,
) -> dict[str, Any]:
    """The attempts of a step: prompt, text, reward with its parts, advantage, and why one was not trained on."""
    run = jobs_of(request).run(owner, job_id)
    if step not in run.rollout_steps(of):
        kept = ", ".join(map(str, run.rollout_steps(of)[-20:])) or "none"
        raise NotFound("step", f"no {of} rollouts of step {step}", f"Steps kept: {kept}")
    rows = run.read_rollouts(of, step, list(answers.Rollout.model_fields))
    return answers.page(rows[offset : offset + limit], len(rows), offset)


@router.get("/jobs/{job_id}/report.html", response_class=HTMLResponse)
def report(request: Request, owner: Owner, job_id: str) -> HTMLResponse:
    """One page, to be read without a network: curves, findings, samples, settings."""
    from tunesmith.services.report import Ways, report_page

    run, job = _run(request, owner, job_id), jobs_of(request).get(owner, job_id)
    more = [("Every number of these curves:", f"tunesmith jobs metrics {job.name}")]
    ways = Ways(f"tunesmith chat {job.output_model}", f"tunesmith jobs resume {job.name}", more)
    return HTMLResponse(report_page(run, in_names(run.spec(), job), ways))


@router.get("/jobs/{job_id}/result.tar", response_class=StreamingResponse)
def result(request: Request, owner: Owner, job_id: str) -> StreamingResponse:
    """What it trained, as a tar of an adapter in PEFT format or of a model in Hugging Face's."""
    run = _run(request, owner, job_id)
    folder = next((run.path / name for name in ("adapter", "model") if (run.path / name).is_dir()), None)
    if folder is None:
        raise NotFound(job_id, "has made no model yet", "Wait until the job has succeeded")
    return tar_response(folder, job_id)


def _run(request: Request, owner: str, job_id: str) -> RunFolder:
    """
    Raises:
        NotFound: no such job, or no worker has begun it.
    """
    run = jobs_of(request).run(owner, job_id)
    if not (run.path / "state.json").is_file():
        raise NotFound(job_id, "has not begun", "Wait until the job runs")
    return run
