"""The managed service through Fireworks' own SDK: every method, and jobs of each kind to their end and their model.

The table of docs/compatibility.md is what the run gives; --write-matrix writes it.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from clients.conftest import MODEL
from clients.environments import drive
from server.running import RunningServer
from server.warm import WarmServer

SDK = "1.2.28"
PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"
LIMIT_S = 900
ABSENT = {
    "batch_inference_jobs": "no batches of inference run here: send the requests",
    "deployment_shape_versions": "one machine has no shapes to choose from",
    "deployment_shapes": "one machine has no shapes to choose from",
}
"""What does not work, or belongs elsewhere, by resource or method, and why."""
pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One of its own: lists are counted here, and other tests leave things on theirs."""
    running = WarmServer(tmp_path_factory.mktemp("managed") / "data")
    try:
        yield running.start()
    finally:
        running.kill()


@pytest.fixture(scope="module")
def found(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    home = tmp_path_factory.mktemp("fireworks-home")
    return drive("fireworks-managed", "fireworks_managed", server, home, {"model": MODEL}, LIMIT_S)


def test_every_method_works_but_those_with_a_reason(found):
    failing = {name: why for name, why in found["methods"].items() if why and not reason(name)}
    assert failing == {}
    assert len(found["methods"]) > 90


@pytest.mark.parametrize("kind", ["sft", "dpo", "rft"])
def test_a_job_of_each_kind_comes_to_its_end_and_its_model_answers(found, kind: str):
    job = found[kind]
    assert job["state"] == "JOB_STATE_COMPLETED", job["status"]
    assert job["jobProgress"]["percent"] == 100 and job["log"]
    assert int(job["acceleratorSeconds"].popitem()[1]) >= 0
    assert job["answer"], "the tuned model says something"


def test_what_jobs_say_of_themselves(found):
    assert json.loads(found["sft"]["outputMetrics"])["loss"] > 0
    assert 0 <= json.loads(found["rft"]["outputMetrics"])["reward"] <= 1
    assert found["rft"]["jobProgress"]["totalProcessedRequests"] == 16 * 4 * 2, "rows, candidates, epochs"
    assert found["rft"]["lossConfig"] == {"method": "GRPO", "klBeta": 0.01}
    assert found["rft"]["trainingConfig"]["outputModel"] == "accounts/default/models/rft-out"
    assert found["dpo"]["steps"][-1] >= 2


def test_an_evaluation_scores_a_tuned_model(found):
    metrics, rows = found["evaluation"]["metrics"], found["evaluation"]["rows"]
    assert metrics["rows"] == len(rows) == 16, found["evaluation"]["status"]
    scores = [row["evaluation_result"]["score"] for row in rows]
    assert metrics["reward_mean"] == pytest.approx(sum(scores) / 16)
    assert all(row["messages"][-1]["role"] == "assistant" for row in rows)


def test_cancelled_and_resumed(found):
    assert found["halted"] == ["JOB_STATE_CANCELLED"] * 6


def test_an_adapter_answers_under_all_its_names(found):
    answers = found["answers"]
    assert answers["tuned"] == answers["prefixed"] == answers["both"] == answers["copy"] == answers["default"]
    assert answers["base"] == answers["deployment"] != answers["tuned"]
    assert answers["streamed"]


def test_a_loop_of_steps_on_scored_attempts(found):
    """Each goes on from the last; the attempts of the second step are those of the model of the first."""
    last = found["loop"]
    assert last["state"] == "JOB_STATE_IDLE" and last["jobProgress"]["percent"] == 100, last["status"]
    assert last["trainingConfig"]["warmStartFrom"] == "accounts/default/models/looped-1"
    assert json.loads(last["outputMetrics"])["reward"] == pytest.approx(last["reward"])
    assert last["jobProgress"]["totalProcessedRequests"] == 16 * 4
    assert last["answer"]


def test_the_table_says_what_the_run_gave(found, request: pytest.FixtureRequest):
    table = render(found["methods"])
    if request.config.getoption("--write-matrix", default=False):
        PAGE.write_text(table, "utf-8")
    assert PAGE.read_text("utf-8") == table, "run: pytest tests/clients/test_fireworks_managed.py --write-matrix"


def reason(name: str) -> str:
    return ABSENT.get(name, ABSENT.get(name.rpartition(".")[0], ""))


def render(methods: Mapping[str, str]) -> str:
    """The page: one line per method, by resource."""
    working = sum(not why for why in methods.values())
    lines = [
        "# Methods of the Fireworks SDK",
        "",
        f"Every public method of `fireworks-ai` {SDK}, called against a running server: "
        f"{working} of {len(methods)} work.",
        "Written by `pytest tests/clients/test_fireworks_managed.py --write-matrix`.",
        "[Moving from Fireworks](fireworks.md) says what differs.",
        "",
        "| method | works | |",
        "|---|---|---|",
    ]
    for name, why in methods.items():
        told = "" if not why else reason(name) or why
        lines.append(f"| `{name}` | {'no' if why else 'yes'} | {told.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"
