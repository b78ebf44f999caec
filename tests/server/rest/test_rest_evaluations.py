"""``/evaluations``: answers graded on a real server, looked at in every order, and what is refused."""

import json
import time
from typing import Any

import httpx2
import pytest
from server.rest.conftest import Call

ANSWERS = [("a", "4", "4"), ("b", "5", "4"), ("c", "4", "4"), ("d", "3", "4")]


def answered() -> bytes:
    def line(name: str, said: str, answer: str) -> str:
        messages = [{"role": "user", "content": f"What is {name}?"}, {"role": "assistant", "content": said}]
        return json.dumps({"id": name, "messages": messages, "ground_truth": answer}) + "\n"

    return "".join(line(*row) for row in ANSWERS).encode()


def ended(client: httpx2.Client, made: dict[str, Any]) -> dict[str, Any]:
    deadline = time.monotonic() + 240
    while (now := client.get(f"/evaluations/{made['id']}").json())["state"] not in ("succeeded", "failed"):
        assert time.monotonic() < deadline, now
        time.sleep(0.3)
    return dict(now)


@pytest.fixture(scope="module")
def graded(client: httpx2.Client) -> dict[str, Any]:
    """An evaluation of the answers that rows hold, to its end."""
    assert client.put("/datasets/answered?kind=rft", content=answered()).json()["state"] == "READY"
    body = {"dataset": "answered", "evaluator": "exact_match", "name": "graded"}
    made = client.post("/evaluations", json=body)
    assert made.status_code == 200, made.text
    assert made.json()["score"] is None and made.json()["page"] == "/dashboard/evaluations/graded"
    return ended(client, made.json())


@pytest.mark.thorough
def test_an_evaluation_to_its_score(client: httpx2.Client, graded: dict[str, Any]) -> None:
    assert (graded["state"], graded["model"], graded["output_dataset"]) == ("succeeded", None, "graded-results")
    score = graded["score"]
    assert (score["reward_mean"], score["rows"], score["attempts"], score["failed_share"]) == (0.5, 4, 4, 0.0)
    # Two of four: the deviation is sqrt(1/3), so half the interval is 3.182 x 0.577 / 2.
    assert score["reward_ci95"] == pytest.approx([0.5 - 0.9186, 0.5 + 0.9186], abs=1e-3)
    assert [bar[2] for bar in score["histogram"]] == [2, *[0] * 8, 2]
    assert graded["progress"]["percent"] == 100
    listed = client.get("/evaluations", params={"beginning": "gra", "state": "succeeded"}).json()
    assert [(one["id"], one["score"]) for one in listed["items"]] == [(graded["id"], score)]
    assert all(one["id"] != graded["id"] for one in client.get("/jobs").json()["items"])


@pytest.mark.thorough
@pytest.mark.parametrize(("order", "rows"), [("file", "abcd"), ("worst", "bdac"), ("best", "acbd")])
def test_answers_in_an_order(client: httpx2.Client, graded: dict[str, Any], order: str, rows: str) -> None:
    path = f"/evaluations/{graded['id']}/results"
    first = client.get(path, params={"order": order, "limit": 3}).json()
    rest = client.get(path, params={"order": order, "offset": first["next_offset"]}).json()
    assert (first["total"], first["next_offset"], rest["next_offset"]) == (4, 3, None)
    found = [*first["items"], *rest["items"]]
    asked = [one["prompt_text"] for one in found]
    assert asked == [f"What is {row}?" for row in rows]
    assert all(one["reward"] == float(one["text"] == "4") for one in found)
    assert client.get(path, params={"order": "odd"}).status_code == 400


@pytest.mark.thorough
def test_what_it_says_while_it_runs(client: httpx2.Client, graded: dict[str, Any]) -> None:
    path = f"/evaluations/{graded['id']}"
    moves = [event["to_state"] for event in client.get(f"{path}/events").json()["items"] if event["kind"] == "move"]
    assert moves == ["created", "validating", "queued", "running", "succeeded"]
    streamed = client.get(f"{path}/events", params={"follow": True}).text
    assert streamed.endswith('event: end\ndata: {"state": "succeeded"}\n\n')
    assert set(client.get(f"{path}/logs").json()) == {"text", "next_offset"}


@pytest.mark.thorough
def test_a_model_is_evaluated_and_what_ended_is_let_be(client: httpx2.Client, graded: dict[str, Any]) -> None:
    body = {"dataset": "answered", "evaluator": "contains", "model": "test/tiny", "max_tokens": 16}
    made = client.post("/evaluations", json={**body, "max_context_length": 64, "eval_samples": 2})
    assert made.status_code == 200, made.text
    done = ended(client, made.json())
    assert (done["state"], done["score"]["attempts"], done["score"]["rows"]) == ("succeeded", 8, 4), done["reason"]
    first = client.get(f"/evaluations/{done['id']}/results").json()["items"][0]
    # As the model reads it, whose tokens have no capital letters and no marks.
    assert "hat is a" in first["prompt_text"] and first["candidate"] == 0
    assert client.post(f"/evaluations/{done['id']}/cancel").status_code == 409
    assert client.post(f"/evaluations/{done['id']}/resume").status_code == 409
    assert client.delete(f"/evaluations/{done['id']}").status_code == 204
    assert client.get(f"/evaluations/{done['id']}").status_code == 404
    assert client.get(f"/datasets/{done['output_dataset']}").json()["state"] == "READY"


@pytest.mark.parametrize(
    ("body", "where", "words"),
    [
        ({"learning_rate": 1e-4}, "learning_rate", "is no setting of an evaluation"),
        ({"temperature": 1.0}, "temperature", "without a model"),
        ({"model": "nobody"}, "model", "nobody"),
        ({"base_model": "test/tiny"}, "base_model", "no setting of an evaluation"),
        ({"evaluator": "nothing"}, "evaluator", "nothing"),
        ({"name": "Not good"}, "name", "cannot be"),
        ({"eval_sampels": 3, "model": "test/tiny"}, "eval_sampels", "is no setting of an evaluation"),
    ],
)
def test_what_is_refused(call: Call, body: dict[str, Any], where: str, words: str) -> None:
    assert call("PUT", "/datasets/answered?kind=rft", content=answered())[0] == 200
    status, said = call("POST", "/evaluations", json={"dataset": "answered", "evaluator": "exact_match", **body})
    assert status in (400, 404), said
    assert words in said["error"]["problem"] + said["error"]["mend"], said
    assert where in said["error"]["where"] or where == "model"


def test_an_evaluation_is_no_job(call: Call) -> None:
    assert call("PUT", "/datasets/answered?kind=rft", content=answered())[0] == 200
    body = {"dataset": "answered", "evaluator": "exact_match"}
    status, made = call("POST", "/evaluations", json=body, headers={"idempotency-key": "one"})
    again = call("POST", "/evaluations", json=body, headers={"idempotency-key": "one"})[1]
    assert (status, again["id"]) == (200, made["id"])
    assert made["output_dataset"] == f"{made['id']}-results"
    assert call("GET", f"/jobs/{made['id']}")[0] == 404
    assert call("POST", f"/jobs/{made['id']}/clone", json={})[0] == 404
    status, said = call("POST", "/jobs", json={"kind": "eval", **body})
    assert (status, said["error"]["where"]) == (400, "kind")
    assert call("POST", f"/evaluations/{made['id']}/cancel")[1]["state"] == "cancelled"
    assert call("GET", f"/evaluations/{made['id']}/results")[1] == {"items": [], "total": 0, "next_offset": None}
