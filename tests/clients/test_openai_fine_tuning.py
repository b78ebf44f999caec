"""Fine-tuning through OpenAI's own SDK: files, a job from its creation to its model, halts and refusals."""

from typing import Any

import pytest
from clients.conftest import MODEL, Ask


@pytest.fixture
def found(ask: Ask) -> Any:
    return ask("openai", "openai_fine_tuning")


def test_a_file_comes_back_as_it_was(found):
    made, read = found["file"]
    assert made == read
    assert (made["filename"], made["purpose"], made["status"]) == ("sums.jsonl", "fine-tune", "processed")
    assert found["content"]
    assert found["files"][:2] == found["both"], "the newest first, over several pages"
    assert found["deleted"]["deleted"]
    assert found["gone"]["kind"] == "NotFoundError"


def test_a_file_in_parts_is_a_file(found):
    upload, part = found["in_parts"]["upload"], found["in_parts"]["part"]
    assert (upload["status"], upload["object"], upload["file"]["filename"]) == ("completed", "upload", "many.jsonl")
    assert found["in_parts"]["same"] and upload["bytes"] == upload["file"]["bytes"] > 3000
    assert (part["object"], found["in_parts"]["cancelled"]["status"]) == ("upload.part", "cancelled")


def test_a_job_reaches_its_end(found):
    job, ended = found["job"], found["ended"]
    assert job["status"] in ("validating_files", "queued")
    assert (job["model"], job["seed"], job["fine_tuned_model"]) == (MODEL, 3, None)
    assert ended["status"] == "succeeded", ended["error"]
    assert ended["fine_tuned_model"].startswith("sums-more-")
    assert ended["method"]["supervised"]["hyperparameters"]["n_epochs"] == 2
    assert ended["metadata"] == {"team": "sums"}
    assert ended["trained_tokens"] > 100
    assert ended["created_at"] <= ended["finished_at"]
    assert found["metadata"] == [[job["id"]], []]


def test_its_model_answers(found):
    assert found["chat"] == found["ended"]["fine_tuned_model"]


def test_its_events_are_on_several_pages_the_newest_first(found):
    said = [event["message"] for event in found["events"]]
    assert said[0] == "The job is succeeded"
    assert [s for s in said if s.startswith("The job is ")][-1] == "The job is validating_files"
    assert len(said) > 2 and len({event["id"] for event in found["events"]}) == len(said)
    steps = [event["data"] for event in found["events"] if event["type"] == "metrics"]
    assert [data["step"] for data in steps] == [6, 5, 4, 3, 2, 1, 0]
    assert "full_valid_loss" in steps[0] and "train_loss" not in steps[-1], "step 0 evaluates alone"
    assert all(data["train_loss"] > 0 and data["total_steps"] == 6 for data in steps[:-1])
    assert said.index("The job is running") == len(said) - 3, "after validating_files and queued"


def test_its_metrics_are_a_file_and_a_checkpoint(found):
    head, *lines = found["results"].splitlines()
    assert head.startswith("step,") and "train/loss" in head
    assert lines[-1].startswith("6"), "two passes over three batches"
    assert found["results_file"]["purpose"] == "fine-tune-results"
    checkpoint, earlier = found["checkpoints"]
    assert earlier["step_number"] == 5
    assert (
        found["early_chat"]
        == earlier["fine_tuned_model_checkpoint"]
        == f"{found['ended']['fine_tuned_model']}:ckpt-step-5"
    )
    assert checkpoint["step_number"] == 6
    assert checkpoint["fine_tuned_model_checkpoint"] == found["ended"]["fine_tuned_model"]
    assert checkpoint["metrics"]["train_loss"] > 0 and checkpoint["metrics"]["full_valid_loss"] > 0


def test_pause_resume_cancel(found):
    first, paused, resumed, cancelled, ended = found["halted"]
    assert first in ("validating_files", "queued", "running")
    assert (paused, resumed, cancelled, ended) == ("paused", "validating_files", "cancelled", "cancelled")


@pytest.mark.parametrize(
    ("what", "kind", "param", "words"),
    [
        ("lines", "BadRequestError", "file", "on line 2"),
        ("empty", "BadRequestError", "file", "File is empty"),
        ("purpose", "BadRequestError", "purpose", "Known: evals, fine-tune"),
        ("rows", "BadRequestError", "training_file", "messages"),
        ("no_file", "NotFoundError", "training_file", "no such dataset"),
        ("no_validation_file", "NotFoundError", "validation_file", "no such dataset"),
        ("model", "NotFoundError", "model", "unknown 'gpt-4o-mini'. Known: "),
        ("epochs", "BadRequestError", "n_epochs", "outside valid range [1, 10] (got 50)"),
        ("rate", "BadRequestError", "learning_rate_multiplier", "outside valid range"),
        ("unknown", "BadRequestError", "method.supervised.hyperparameters.warmup", "not permitted"),
        ("integrations", "BadRequestError", "integrations", "wandb is not installed"),
        ("tags", "BadRequestError", "integrations.0.wandb.tags", "at most 0 items"),
        ("operation", "BadRequestError", "method.reinforcement.grader.operation", "unknown 'is'"),
        ("judge", "NotFoundError", "method.reinforcement.grader.model", "unknown 'gpt-4o'. Known: "),
        ("question", "BadRequestError", "method.reinforcement.grader.input", "is no list of messages"),
        ("job", "NotFoundError", None, "no such job"),
        ("after", "NotFoundError", "after", "ftjob-none"),
    ],
)
def test_refusals_name_what_they_refuse(found, what, kind, param, words):
    refused = found["refused"][what]
    assert refused["kind"] == kind, refused["text"]
    assert param in (None, refused["param"])
    assert words in refused["text"]
