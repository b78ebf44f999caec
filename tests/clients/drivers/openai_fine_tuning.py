"""OpenAI's own SDK with another base URL: files, a supervised job to its end, its model, refusals, a cancel."""

import io
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import openai

ADDRESS = {"base_url": os.environ["TINKER_BASE_URL"] + "/v1", "api_key": os.environ["TINKER_API_KEY"]}
ENDED = ("succeeded", "failed", "cancelled")
LIMIT_S = 90


def main(model: str) -> dict[str, Any]:
    client = openai.OpenAI(**ADDRESS, max_retries=0)
    file = client.files.create(file=("sums.jsonl", rows(12)), purpose="fine-tune")
    client.files.wait_for_processing(file.id, poll_interval=0.1)
    held_out = client.files.create(file=("held-out.jsonl", rows(4)), purpose="fine-tune")
    hyperparameters = {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 2.0}
    job = client.fine_tuning.jobs.create(
        model=model,
        training_file=file.id,
        validation_file=held_out.id,
        suffix="Sums & more",
        seed=3,
        metadata={"team": "sums"},
        method={"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
    )
    ended = wait(client, job.id)
    jobs = client.fine_tuning.jobs
    return {
        "file": [file.model_dump(), client.files.retrieve(file.id).model_dump()],
        "files": [f.id for f in client.files.list(purpose="fine-tune", limit=1)],
        "both": [held_out.id, file.id],
        "in_parts": in_parts(client),
        "content": client.files.content(file.id).text == rows(12).getvalue().decode(),
        "job": job.model_dump(),
        "ended": ended.model_dump(),
        "events": [e.model_dump() for e in jobs.list_events(job.id, limit=2)],
        "checkpoints": [c.model_dump() for c in jobs.checkpoints.list(job.id)],
        "metadata": [[j.id for j in jobs.list(metadata={"team": team})] for team in ("sums", "none")],
        "results": client.files.content(ended.result_files[0]).text if ended.result_files else "",
        "results_file": client.files.retrieve(ended.result_files[0]).model_dump() if ended.result_files else {},
        "chat": chat(client, ended.fine_tuned_model),
        "early_chat": chat(client, list(jobs.checkpoints.list(job.id))[-1].fine_tuned_model_checkpoint),
        "refused": refused(client, model, file.id),
        "halted": halted(client, model, file.id),
        "deleted": client.files.delete(held_out.id).model_dump(),
        "gone": refusal(lambda: client.files.retrieve(held_out.id)),
    }


def in_parts(client: openai.OpenAI) -> dict[str, Any]:
    """A file of many parts, sent by the SDK's own loop, and an upload that is given up."""
    whole = rows(40).getvalue()
    done = client.uploads.upload_file_chunked(
        file=whole, filename="many.jsonl", bytes=len(whole), mime_type="text/jsonl", purpose="fine-tune", part_size=1000
    )
    assert done.file is not None
    content = client.files.content(done.file.id).content
    client.files.delete(done.file.id)
    begun = client.uploads.create(bytes=10, filename="few.jsonl", mime_type="text/jsonl", purpose="fine-tune")
    part = client.uploads.parts.create(begun.id, data=b"0123456789")
    return {
        "upload": done.model_dump(),
        "same": content == whole,
        "part": part.model_dump(),
        "cancelled": client.uploads.cancel(begun.id).model_dump(),
    }


def rows(num: int) -> io.BytesIO:
    turns = [[f"What is {a}+1?", str(a + 1)] for a in range(num)]
    lines = [{"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]} for q, a in turns]
    return io.BytesIO("".join(json.dumps(line) + "\n" for line in lines).encode())


def wait(client: openai.OpenAI, job_id: str) -> Any:
    deadline = time.monotonic() + LIMIT_S
    while (job := client.fine_tuning.jobs.retrieve(job_id)).status not in ENDED and time.monotonic() < deadline:
        time.sleep(0.3)
    return job


def chat(client: openai.OpenAI, model: str) -> str:
    messages = [{"role": "user", "content": "What is 3+1?"}]
    answer = client.chat.completions.create(model=model, messages=messages, max_tokens=8, temperature=0)
    return answer.model


def halted(client: openai.OpenAI, model: str, file_id: str) -> list[str]:
    """Statuses of a long job that is paused, goes on, and is cancelled."""
    method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 10, "batch_size": 1}}}
    job = client.fine_tuning.jobs.create(model=model, training_file=file_id, method=method)
    found = [job.status, client.fine_tuning.jobs.pause(job.id).status]
    deadline = time.monotonic() + LIMIT_S
    while not any("paused" in e.message for e in client.fine_tuning.jobs.list_events(job.id)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    found.append(client.fine_tuning.jobs.resume(job.id).status)
    found.append(client.fine_tuning.jobs.cancel(job.id).status)
    return [*found, wait(client, job.id).status]


def refused(client: openai.OpenAI, model: str, file_id: str) -> dict[str, Any]:
    def upload(text: str, purpose: str = "fine-tune") -> Callable[[], Any]:
        return lambda: client.files.create(file=("a.jsonl", io.BytesIO(text.encode())), purpose=purpose)

    def job(**changed: Any) -> Callable[[], Any]:
        return lambda: client.fine_tuning.jobs.create(**{"model": model, "training_file": file_id, **changed})

    def supervised(**hyperparameters: Any) -> dict[str, Any]:
        return {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}

    check = {"type": "string_check", "name": "a", "operation": "is", "input": "", "reference": ""}
    judge = {"type": "score_model", "name": "a", "model": "gpt-4o", "input": [{"role": "user", "content": "?"}]}
    question = {"type": "score_model", "name": "a", "model": model, "input": []}
    wrong = client.files.create(file=("b.jsonl", io.BytesIO(b'{"a": 1}\n' * 4)), purpose="fine-tune").id
    asked = {
        "lines": upload('{"a": 1}\nnot json\n'),
        "empty": upload(""),
        "purpose": upload("{}\n", "vision"),
        "rows": job(training_file=wrong),
        "no_file": job(training_file="file-none"),
        "no_validation_file": job(validation_file="file-none"),
        "model": job(model="gpt-4o-mini"),
        "epochs": job(method=supervised(n_epochs=50)),
        "rate": job(method=supervised(learning_rate_multiplier=1000.0)),
        "unknown": job(method=supervised(warmup=1)),
        "integrations": job(integrations=[{"type": "wandb", "wandb": {"project": "a"}}]),
        "tags": job(integrations=[{"type": "wandb", "wandb": {"project": "a", "tags": ["b"]}}]),
        "operation": job(method={"type": "reinforcement", "reinforcement": {"grader": check}}),
        "judge": job(method={"type": "reinforcement", "reinforcement": {"grader": judge}}),
        "question": job(method={"type": "reinforcement", "reinforcement": {"grader": question}}),
        "job": lambda: client.fine_tuning.jobs.retrieve("ftjob-none"),
        "after": lambda: list(client.fine_tuning.jobs.list(after="ftjob-none")),
    }
    return {name: refusal(call) for name, call in asked.items()}


def refusal(call: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"kind": "none", "text": str(call())}
    except openai.APIStatusError as e:
        return {"kind": type(e).__name__, "param": e.param, "code": e.code, "text": e.message}


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
