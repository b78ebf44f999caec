"""Evaluation jobs: answers graded as they are or sampled first, killed and gone on with, and what they leave."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from jobs_service.workplace import MODEL, Workplace

from tunesmith.core.errors import Conflict, NotFound, UserError
from tunesmith.services.evaluation import run_evaluation
from tunesmith.services.jobs.job import Job, NewJob
from tunesmith.services.jobs.job_kinds import EVALUATION
from tunesmith.services.jobs.jobs import Jobs
from tunesmith.services.registry import Registry
from tunesmith.services.run_folder import RunFolder
from tunesmith.spec import RftSpec

ENDED = ("succeeded", "failed")
ANSWERED = [("a", "4", "4"), ("b", "5", "4"), ("c", "4", "4"), ("d", "3", "4")]


@pytest.fixture
def evaluations(place: Workplace) -> Jobs:
    services = (place.store, place.datasets, place.evaluators, Registry(place.store), place.data_dir)
    return Jobs(*services, kinds=(EVALUATION,))


@pytest.fixture
def ended(place: Workplace, evaluations: Jobs) -> Callable[[Job], Job]:
    def wait(job: Job) -> Job:
        place.look_until(lambda: evaluations.get("ann", job.id).state in ENDED)
        return evaluations.get("ann", job.id)

    return wait


def line(name: str, said: str, answer: str) -> str:
    messages = [{"role": "user", "content": "2+2"}, {"role": "assistant", "content": said}]
    return json.dumps({"id": name, "messages": messages, "ground_truth": answer}) + "\n"


def new(dataset: str, **settings: Any) -> NewJob:
    return NewJob(EVALUATION, {"evaluator": "exact_match", "output_dataset": "found", **settings}, dataset)


def rows_of(place: Workplace, dataset: str) -> list[dict[str, Any]]:
    return [json.loads(text) for text in place.datasets.file("ann", dataset).read_text().splitlines()]


@pytest.mark.thorough
def test_answers_that_rows_hold_are_graded(place: Workplace, evaluations: Jobs, ended: Callable[[Job], Job]) -> None:
    place.upload("ann", "answers", "".join(line(*row) for row in ANSWERED).encode())
    job = ended(evaluations.create("ann", new("answers")))
    assert (job.state, job.kind) == ("succeeded", EVALUATION), job.reason
    card = evaluations.run("ann", job.id).card()
    assert (card["reward_mean"], card["rows"], card["failed_share"]) == (0.5, 4, 0.0)
    # Two of four: the deviation is sqrt(1/3), so half the interval is 3.182 x 0.577 / 2.
    assert card["reward_ci95"] == pytest.approx([0.5 - 0.9186, 0.5 + 0.9186], abs=1e-3)
    found = rows_of(place, "found")
    assert [row["evaluation_result"]["score"] for row in found] == [1.0, 0.0, 1.0, 0.0]
    assert [m["role"] for m in found[1]["messages"]] == ["user", "assistant"]
    assert place.datasets.get("ann", "found").asked == {"evaluationResult": {"evaluationJobId": job.name}}


@pytest.mark.thorough
def test_rows_without_an_answer_say_so(place: Workplace, evaluations: Jobs, ended: Callable[[Job], Job]) -> None:
    place.upload("ann", "rft")
    job = ended(evaluations.create("ann", new("rft")))
    assert job.state == "failed"
    assert "bad_row" in job.reason and "name a model" in job.reason


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True)
@pytest.mark.thorough
def test_a_killed_evaluation_of_a_model_ends_the_same(
    place: Workplace, evaluations: Jobs, ended: Callable[[Job], Job], tmp_path: Any
) -> None:
    prompts = [{"id": str(i), "messages": [{"role": "user", "content": f"{i}"}], "answer": "1"} for i in range(70)]
    place.upload("ann", "prompts", "".join(json.dumps(p) + "\n" for p in prompts).encode())
    asked = {"model": MODEL, "max_tokens": 16, "max_context_length": 64, "eval_samples": 2, "evaluator": "contains"}
    job = evaluations.create("ann", new("prompts", **asked))
    run = evaluations.run("ann", job.id)
    place.look_until(lambda: len(run.metrics()) > 0)
    place.kill(job)
    assert ended(job).state == "succeeded", evaluations.get("ann", job.id).reason
    assert evaluations.get("ann", job.id).starts == 2

    spec = evaluations.spec("ann", job.id)
    assert isinstance(spec, RftSpec)
    calm = run_evaluation(RunFolder(tmp_path / "calm"), spec, True)
    for name in ("results.jsonl", "metrics.jsonl", "card.json"):
        assert (run.path / name).read_bytes() == (calm.path / name).read_bytes()
    assert len(rows_of(place, "found")) == 140


def test_jobs_that_train_and_jobs_that_evaluate_do_not_mix(place: Workplace, evaluations: Jobs) -> None:
    place.upload("ann", "answers", line(*ANSWERED[0]).encode() * 4)
    job = evaluations.create("ann", new("answers"))
    assert place.jobs.page("ann") == ([], 0)
    assert [one.id for one in evaluations.page("ann")[0]] == [job.id]
    with pytest.raises(NotFound):
        place.jobs.get("ann", job.id)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"model": "nobody"}, NotFound, "unknown 'nobody'"),
        ({"output_dataset": "answers"}, Conflict, "is the id of a dataset already"),
        ({"output_dataset": "../x"}, UserError, "cannot be called"),
        ({"evaluator": "nothing"}, UserError, "unknown 'nothing'"),
        ({"base_model": MODEL}, UserError, "Give the model by its name"),
        ({"evaluator": "composed:" + json.dumps({"type": "label_model"})}, UserError, "names no model"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(
    place: Workplace, evaluations: Jobs, settings: dict[str, Any], error: type[UserError], words: str
) -> None:
    place.upload("ann", "answers", line(*ANSWERED[0]).encode() * 4)
    with pytest.raises(error, match=words):
        evaluations.create("ann", new("answers", **settings))
