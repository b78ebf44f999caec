"""Fine-tuning's wire by hand: forms in any pieces, what becomes of settings, requests that come twice, other owners."""

import json
from typing import Any

import pytest
from fastapi import FastAPI
from server.conftest import Ask

from tunesmith.services.jobs.job import NewJob
from tunesmith.services.jobs.jobs import Jobs
from tunesmith.services.registry import EMBEDDED
from tunesmith.spec import AnySpec

TURN = {"messages": [{"role": "user", "content": "What is 2+2?"}, {"role": "assistant", "content": "4"}]}
PAIR = {
    "input": {"messages": [{"role": "user", "content": "What is 2+2?"}]},
    "preferred_output": [{"role": "assistant", "content": "4"}],
    "non_preferred_output": [{"role": "assistant", "content": "5"}],
}
PROMPT = {"messages": [{"role": "user", "content": "What is 2+2?"}], "answer": "4"}
ROWS = {"supervised": TURN, "dpo": PAIR, "reinforcement": PROMPT}
CHECK = {
    "type": "string_check",
    "name": "right",
    "operation": "eq",
    "input": "{{ sample.output_text }}",
    "reference": "{{item.answer}}",
}


@pytest.fixture
def call(ask: Ask, key: str) -> Any:
    """``call("POST", "/v1/...")`` with the key: (status, body)."""

    def one(method: str, path: str, headers: dict[str, str] | None = None, **request: Any) -> tuple[int, Any]:
        answer = ask(method, path, headers={"authorization": f"Bearer {key}", **(headers or {})}, **request)
        return answer.status_code, answer.json()

    return one


@pytest.fixture
def upload(call: Any) -> Any:
    """``upload("dpo")``: the id of a file of rows for a method."""

    def one(method: str) -> str:
        lines = "".join(json.dumps({**ROWS[method], "id": str(i)}) + "\n" for i in range(4))
        status, body = call("POST", "/v1/files", files={"file": ("a.jsonl", lines)}, data={"purpose": "fine-tune"})
        assert status == 200, body
        return str(body["id"])

    return one


@pytest.fixture
def create(call: Any, upload: Any) -> Any:
    """``create("dpo", hyperparameters={...})``: (status, body) of a job with a file of its own."""

    def one(kind: str = "supervised", file: str = "", headers: Any = None, top: Any = None, **method: Any) -> Any:
        body = {"model": EMBEDDED, "training_file": file or upload(kind), "method": {"type": kind, kind: method}}
        return call("POST", "/v1/fine_tuning/jobs", headers, json=body | (top or {}))

    return one


def spec_of(app: FastAPI, body: dict[str, Any]) -> AnySpec:
    jobs: Jobs = app.state.jobs
    return jobs.spec("somebody", body["id"].removeprefix("ft"))


def test_settings_of_a_supervised_job(app, create):
    _, body = create(hyperparameters={"n_epochs": 3, "batch_size": 8, "learning_rate_multiplier": 0.5})
    spec = spec_of(app, body)
    assert (spec.kind, spec.epochs, spec.batch_size_samples) == ("sft", 3, 8)
    assert spec.learning_rate == pytest.approx(5e-5), "half of 1e-4"


def test_auto_is_our_default(app, create):
    auto = dict.fromkeys(("n_epochs", "batch_size", "learning_rate_multiplier"), "auto")
    _, body = create(hyperparameters=auto)
    assert body["method"]["supervised"]["hyperparameters"] == auto
    spec = spec_of(app, body)
    assert (spec.epochs, spec.batch_size_samples, spec.learning_rate, spec.seed) == (1, 32, 1e-4, 0)


def test_settings_of_a_dpo_job(app, create):
    _, body = create("dpo", hyperparameters={"beta": 0.2, "learning_rate_multiplier": 2}, top={"seed": 9})
    spec = spec_of(app, body)
    assert (spec.kind, spec.dpo_beta, spec.seed) == ("dpo", 0.2, 9)
    assert spec.learning_rate == pytest.approx(2e-5), "twice 1e-5"


def test_settings_of_a_reinforcement_job(app, create):
    hyperparameters = {"eval_interval": 2, "eval_samples": 3, "batch_size": 2, "reasoning_effort": "default"}
    status, body = create("reinforcement", grader=CHECK, hyperparameters=hyperparameters)
    assert status == 200, body
    spec = spec_of(app, body)
    assert spec.evaluator.startswith("composed:")
    assert json.loads(spec.evaluator.removeprefix("composed:")) == CHECK
    assert (spec.eval_every, spec.eval_samples, spec.chunk_size) == (2, 3, 2)
    assert body["method"]["reinforcement"]["grader"] == CHECK


def test_the_older_place_of_hyperparameters(app, call, upload):
    asked = {"model": EMBEDDED, "training_file": upload("supervised"), "hyperparameters": {"n_epochs": 4}}
    _, body = call("POST", "/v1/fine_tuning/jobs", json=asked)
    assert spec_of(app, body).epochs == 4
    assert body["hyperparameters"]["n_epochs"] == 4
    both = asked | {"method": {"type": "supervised"}}
    assert call("POST", "/v1/fine_tuning/jobs", json=both)[1]["error"]["param"] == "hyperparameters"


@pytest.mark.parametrize("suffix", [None, "Mine"])
@pytest.mark.parametrize(
    ("headers", "same"),
    [({}, False), ({"x-stainless-retry-count": "0"}, False), ({"x-stainless-retry-count": "1"}, True)],
)
def test_a_request_that_comes_again_makes_one_job(call, create, upload, suffix, headers, same):
    file = upload("supervised")
    made = [create(file=file, headers=h, top={"suffix": suffix})[1] for h in ({}, headers)]
    assert (made[0]["id"] == made[1]["id"]) is same
    assert len(call("GET", "/v1/fine_tuning/jobs")[1]["data"]) == (1 if same else 2)


def test_a_key_of_the_client_stands_for_its_job(create, upload):
    file, key = upload("supervised"), {"idempotency-key": "one"}
    first, again = (create(file=file, headers=key, top={"suffix": "mine"})[1] for _ in range(2))
    other = create(file=file, headers={"idempotency-key": "two"}, top={"suffix": "mine"})[1]
    assert first["id"] == again["id"] != other["id"]


def test_two_jobs_with_one_suffix_have_two_names(app, create, upload):
    file = upload("supervised")
    made = [create(file=file, top={"suffix": "Größe 7B!"})[1]["id"] for _ in range(2)]
    names = {app.state.jobs.get("somebody", name.removeprefix("ft")).output_model for name in made}
    assert len(names) == 2 and all(name.startswith("gr-e-7b-") for name in names)


def test_pages_of_jobs(call, create, upload):
    file = upload("supervised")
    made = [create(file=file, top={"metadata": {"n": str(i)}})[1]["id"] for i in range(3)]
    first = call("GET", "/v1/fine_tuning/jobs?limit=2")[1]
    assert ([job["id"] for job in first["data"]], first["has_more"]) == (made[:0:-1], True)
    last = call("GET", f"/v1/fine_tuning/jobs?after={first['last_id']}")[1]
    assert ([job["id"] for job in last["data"]], last["has_more"]) == (made[:1], False)
    assert [job["id"] for job in call("GET", "/v1/fine_tuning/jobs?metadata[n]=1")[1]["data"]] == [made[1]]


def test_a_job_of_another_wire_is_shown_too(app, call, upload):
    new = NewJob("sft", {"base_model": EMBEDDED}, upload("supervised"), asked={"method": "M", "metadata": 3})
    job = app.state.jobs.create("somebody", new)
    (shown,) = call("GET", "/v1/fine_tuning/jobs")[1]["data"]
    assert (shown["id"], shown["model"], shown["method"]["type"]) == (f"ft{job.id}", EMBEDDED, "supervised")
    assert call("GET", "/v1/fine_tuning/jobs?metadata[n]=1")[1]["data"] == []


def test_a_file_in_use_stays(call, create, upload):
    file = upload("supervised")
    _, job = create(file=file)
    assert call("DELETE", f"/v1/files/{file}")[0] == 400
    assert call("POST", f"/v1/fine_tuning/jobs/{job['id']}/cancel")[1]["status"] == "cancelled"
    assert call("POST", f"/v1/fine_tuning/jobs/{job['id']}/cancel")[0] == 200
    assert call("DELETE", f"/v1/files/{file}")[1] == {"id": file, "object": "file", "deleted": True}


def test_others_see_nothing(app, ask, create, upload):
    file = upload("supervised")
    _, job = create(file=file)
    other = {"authorization": f"Bearer {app.state.keys.create('else')}"}
    paths = [f"/v1/files/{file}", f"/v1/files/{file}/content", f"/v1/fine_tuning/jobs/{job['id']}"]
    paths += [f"{paths[-1]}/{part}" for part in ("events", "checkpoints")]
    assert [ask("GET", path, headers=other).status_code for path in paths] == [404] * len(paths)
    assert [ask("GET", path, headers=other).json()["data"] for path in ("/v1/files", "/v1/fine_tuning/jobs")] == [
        [],
        [],
    ]
    assert [ask("GET", path).status_code for path in [*paths, "/v1/files"]] == [401] * 6


@pytest.mark.parametrize(
    ("method", "param"),
    [
        ({"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.9}}}, "beta"),
        ({"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 0}}}, "n_epochs"),
        ({"type": "supervised", "dpo": {}}, "method"),
        ({"type": "reinforcement"}, "method"),
        ({"type": "distillation"}, "method.type"),
        (
            {"type": "reinforcement", "reinforcement": {"grader": CHECK, "hyperparameters": {"compute_multiplier": 2}}},
            "compute_multiplier",
        ),
        ({"type": "reinforcement", "reinforcement": {"grader": CHECK, "response_format": {}}}, "response_format"),
    ],
)
def test_methods_that_are_refused(call, upload, method, param):
    kind = method["type"] if method["type"] in ROWS else "supervised"
    asked = {"model": EMBEDDED, "training_file": upload(kind), "method": method}
    status, body = call("POST", "/v1/fine_tuning/jobs", json=asked)
    assert status == 400
    assert param in body["error"]["param"]
