"""A job on a real server: followed as it runs, and everything that it leaves."""

import io
import json
import tarfile
import time
from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.thorough
SETTINGS = {"base_model": "test/tiny", "learning_rate": 5e-4, "lora_rank": 4, "max_context_length": 64}
RFT = {"evaluator": "contains", "chunk_size": 4, "response_candidates_count": 4, "max_tokens": 16, "top_k": 0}


@pytest.fixture(scope="module")
def followed(client, trainer) -> tuple[str, list[dict[str, Any]], list[str]]:
    """(id of a job, what its event stream said, states at its end)."""
    rows = (trainer.data_dir.parent / "files" / "rft.jsonl").read_bytes()
    assert client.put("/datasets/rows?kind=rft", content=rows).json()["state"] == "READY"
    made = client.post("/jobs", json={"kind": "rft", "dataset": "rows", "name": "taught", **SETTINGS, **RFT})
    assert made.status_code == 200, made.text
    said, ends = stream(client, f"/jobs/{made.json()['id']}/events?follow=true")
    return made.json()["id"], said, ends


def stream(client: httpx2.Client, path: str, **headers: str) -> tuple[list[dict[str, Any]], list[str]]:
    said: list[dict[str, Any]] = []
    ends: list[str] = []
    with client.stream("GET", path, headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        event = ""
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            event = value if name == "event" else event
            if name == "data":
                (ends if event == "end" else said).append(json.loads(value))
    return said, [end["state"] for end in ends]


def test_events_are_followed_to_the_end(followed):
    _, said, ends = followed
    moves = [event["to_state"] for event in said if event["kind"] == "move"]
    assert moves == ["created", "validating", "queued", "running", "succeeded"]
    assert ends == ["succeeded"]


def test_a_stream_goes_on_where_it_broke(client, followed):
    job, said, _ = followed
    rest, _ = stream(client, f"/jobs/{job}/events?follow=true", **{"last-event-id": str(said[1]["number"])})
    assert rest == said[2:]


def test_metrics_and_log_are_followed_too(client, followed):
    job, *_ = followed
    steps, ends = stream(client, f"/jobs/{job}/metrics?follow=true")
    assert ([line["step"] for line in steps], ends) == ([0, 1, 2, 3], ["succeeded"])
    assert client.get(f"/jobs/{job}/metrics?after_step=2").json()["items"] == steps[-1:]
    pieces, _ = stream(client, f"/jobs/{job}/logs?follow=true")
    whole = client.get(f"/jobs/{job}/logs").json()
    assert "".join(piece["text"] for piece in pieces) == whole["text"] != ""
    assert client.get(f"/jobs/{job}/logs?offset={whole['next_offset']}").json()["text"] == ""


def test_what_it_leaves(client, followed):
    job, *_ = followed
    body = client.get(f"/jobs/{job}").json()
    assert (body["progress"]["percent"], body["model"], body["metrics"]["step"]) == (100, "taught", 3)
    card = client.get(f"/jobs/{job}/card").json()
    assert (card["steps"], "run_dir" in card) == (3, False)
    assert client.get("/models/taught").json()["card"] == card
    assert client.get("/models/tunesmith/embedded").json()["card"] is None
    advice = client.get(f"/jobs/{job}/advice").json()
    rules = {finding["rule"] for finding in client.get(f"/jobs/{job}/findings").json()["items"]}
    assert rules <= {finding["rule"] for finding in advice["findings"]}
    assert bool(advice["change"]) == bool(advice["findings"])
    assert client.get(f"/jobs/{job}/rollouts").json()["step"] == [1, 2, 3]
    page = client.get(f"/jobs/{job}/rollouts/2?limit=5&offset=12").json()
    assert (page["total"], len(page["items"]), page["next_offset"]) == (16, 4, None)
    one = page["items"][0]
    assert one["candidate"] == 0 and one["text"] and isinstance(one["trained"], bool)
    assert client.get(f"/jobs/{job}/rollouts/9").status_code == 404
    report = client.get(f"/jobs/{job}/report.html").text
    assert "<svg" in report and "tunesmith chat taught" in report and "/jobs/job-" not in report
    with tarfile.open(fileobj=io.BytesIO(client.get(f"/jobs/{job}/result.tar").content)) as archive:
        assert f"{job}/adapter_model.safetensors" in archive.getnames()


def test_a_stream_of_a_resting_job_ends(client, followed):
    made = client.post("/jobs", json={"kind": "rft", "dataset": "rows", **SETTINGS, **RFT, "epochs": 10}).json()
    path = f"/jobs/{made['id']}"
    client.post(f"{path}/pause")
    deadline = time.monotonic() + 60
    while client.get(path).json()["state"] != "paused" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert stream(client, f"{path}/events?follow=true")[1] == ["paused"]
    assert client.delete(path).status_code == 204


def test_a_fork_and_its_parent_know_each_other(client, followed):
    job, *_ = followed
    made = client.post(f"/jobs/{job}/fork", json={"learning_rate": 4e-4, "at_step": 2, "name": "parted"}).json()
    changed = {"learning_rate": [5e-4, 4e-4]}
    assert made["origin"] == {"job": job, "step": 2, "changed": changed}
    assert [step["step"] for step in client.get(f"/jobs/{made['id']}/metrics").json()["items"]] == [0, 1, 2]
    [fork] = client.get(f"/jobs/{job}").json()["forks"]
    assert {name: fork[name] for name in ("id", "name", "step", "changed")} == {
        "id": made["id"],
        "name": "parted",
        "step": 2,
        "changed": changed,
    }
    refused = client.post(f"/jobs/{job}/fork", json={"lora_rank": 8, "at_step": 2})
    assert (refused.status_code, refused.json()["error"]["where"]) == (400, "lora_rank")
    assert client.post(f"/jobs/{job}/advice", json={"finding": "weather"}).status_code == 404
    assert client.delete(f"/jobs/{made['id']}").status_code == 204


def answered(client: httpx2.Client, errand: dict[str, Any]) -> dict[str, Any]:
    deadline = time.monotonic() + 240
    while errand["state"] in ("waiting", "running"):
        assert time.monotonic() < deadline
        errand = client.get(f"/errands/{errand['id']}?wait_s=20").json()
    assert errand["state"] == "done", errand
    return errand["answer"]


def test_attempts_are_graded_anew_on_the_server(client, followed):
    job, *_ = followed
    asked = {"evaluator": "repetition", "steps": 2}
    first = client.post(f"/jobs/{job}/regrade?wait_s=0", json=asked).json()
    found = answered(client, first)
    assert (found["run"], found["evaluator"], found["attempts"]) == (job, ["repetition"], 28)
    again = client.post(f"/jobs/{job}/regrade?wait_s=0", json=asked).json()
    assert (again["id"], again["state"], again["answer"]) == (first["id"], "done", found)
    refused = client.post(f"/jobs/{job}/regrade", json={"evaluator": "/etc/passwd.py::grade"})
    assert "a server does not open for a client" in refused.json()["error"]["problem"]


def test_a_plan_tells_time_and_memory(client, followed):
    body = {"kind": "rft", "dataset": "rows", "goal": "safer", **SETTINGS, **RFT}
    body.pop("top_k")
    plain = client.post("/jobs/plan", json=body).json()
    assert plain["rehearsal"] is None
    assert (plain["origins"]["temperature"], plain["origins"]["lora_rank"], plain["origins"]["seed"]) == (
        "goal",
        "given",
        "default",
    )
    plan = client.post("/jobs/plan?rehearse=true&wait_s=0", json=body).json()
    found = answered(client, plan["rehearsal"])
    assert found["steps"] == plan["steps"] and found["seconds"] > 0 and found["peak_memory_bytes"] > 50 << 20
