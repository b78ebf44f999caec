"""Evaluation jobs over the wire: what becomes of the fields, and what is refused."""

from typing import Any

import pytest
from server.fireworks.conftest import Call

EXACT = "accounts/tunesmith/evaluators/exact-match"
BASE = "accounts/tunesmith/models/embedded"
JOBS = "/evaluationJobs"


def job(**changes: Any) -> dict[str, Any]:
    return {"evaluator": EXACT, "inputDataset": "rows", "outputDataset": "accounts/somebody/datasets/out"} | changes


def create(call: Call, name: str, **changes: Any) -> Any:
    return call("POST", JOBS, json={"evaluationJobId": name, "evaluationJob": job(**changes)})


def test_an_evaluation_is_a_job(app: Any, call: Call, uploaded: Any) -> None:
    uploaded("rows")
    sampling = {"maxOutputTokens": 16, "responseCandidatesCount": 2}
    made = create(call, "e", model=BASE, inferenceParameters=sampling, displayName="E")
    assert made.status_code == 200, made.text
    body = made.json()
    assert (body["state"], body["displayName"]) == ("JOB_STATE_PENDING", "E")
    assert body["inputDataset"] == "accounts/somebody/datasets/rows"
    settings = app.state.evaluations.find("somebody", "eval", "e").settings
    assert settings == {
        "evaluator": "exact_match",
        "model": "tunesmith/embedded",
        "output_dataset": "out",
        "max_tokens": 16,
        "eval_samples": 2,
    }
    assert call("GET", JOBS).json()["totalSize"] == 1
    assert call("GET", f"{JOBS}/e:getExecutionLogEndpoint").status_code == 404
    assert call("POST", f"{JOBS}/e:cancel").json() == {}
    assert call("GET", f"{JOBS}/e").json()["state"] == "JOB_STATE_CANCELLED"
    assert create(call, "e").status_code == 409
    assert call("DELETE", f"{JOBS}/e").json() == {}
    assert call("GET", f"{JOBS}/e").status_code == 404


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"evaluator": ""}, 400, "evaluator"),
        ({"evaluator": "accounts/somebody/evaluators/none"}, 404, "not found in account"),
        ({"inputDataset": "none"}, 404, "no such dataset"),
        ({"outputDataset": "rows"}, 409, "is the id of a dataset already"),
        ({"model": "accounts/somebody/models/none"}, 404, "unknown 'none'"),
        ({"model": f"{BASE}#accounts/somebody/deployments/d"}, 404, "no such deployment"),
        ({"model": "accounts/else/deployments/d"}, 403, "is not the account of this key"),
        ({"model": BASE, "inferenceParameters": {"temperature": 9}}, 400, "outside valid range"),
        ({"inferenceParameters": {"temperature": 1}}, 400, "without a model"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(
    call: Call, uploaded: Any, changes: dict[str, Any], status: int, words: str
) -> None:
    uploaded("rows")
    refused = create(call, "e", **changes)
    assert (refused.status_code, words in refused.text) == (status, True), refused.text
    assert call("GET", JOBS).json()["totalSize"] == 0
