"""Jobs over our own wire: what is taken and refused, lists, clones, plans, and who may see them."""

import json

import pytest

from tunesmith.services.jobs.jobs import Jobs


def job(kind: str = "sft", **more: object) -> dict[str, object]:
    return {"kind": kind, "dataset": kind, **more}


def test_settings_stand_beside_the_fields_of_the_job(app, call, upload):
    upload("rft")
    status, body = call("POST", "/jobs", json=job("rft", name="mine", evaluator="exact_match", epochs=2))
    assert status == 200, body
    assert (body["name"], body["state"], body["output_model"]) == ("mine", "queued", "mine")
    assert body["settings"] == {"evaluator": "exact_match", "epochs": 2}
    assert (body["progress"]["step"], body["metrics"], body["model"]) == (0, None, None)
    jobs: Jobs = app.state.jobs
    assert jobs.spec("somebody", body["id"]).epochs == 2
    spec = call("GET", f"/jobs/{body['id']}/spec")[1]
    assert (spec["dataset"], spec["base_model"], spec["epochs"]) == ("rft", "tunesmith/embedded", 2)
    assert "output_dir" not in spec


@pytest.mark.parametrize(
    ("change", "where", "said"),
    [
        ({"learning_rat": 1e-4}, "learning_rat", "Did you mean 'learning_rate'?"),
        ({"learning_rate": 1}, "learning_rate", "[1e-5, 5e-4]"),
        ({"learning_rate": float("nan")}, "learning_rate", "number"),
        ({"kind": "rlhf"}, "kind", "rft"),
        ({"dataset": "other"}, "other", "no such dataset"),
        ({"name": "Not this"}, "name", "63"),
        ({"base_model": "no/model"}, "base_model", "tunesmith/embedded"),
        ({"output_dir": "/tmp"}, "output_dir", "no setting"),
        ({"dataset": None}, "dataset", "string"),
    ],
)
def test_refusals_have_one_shape(call, upload, change, where, said):
    upload("sft")

    status, body = call("POST", "/jobs", content=json.dumps({**job(), **change}))
    assert status in (400, 404)
    assert body["error"]["where"] == where
    assert said in body["error"]["problem"] + body["error"]["mend"]
    assert body["error"]["kind"] == {400: "invalid", 404: "not_found"}[status]
    assert body["error"]["request_id"].startswith("req-")


def test_a_refusal_names_the_request_of_its_header(ask, key):
    answer = ask("GET", "/api/v1/jobs/job-1", headers={"x-api-key": key})
    assert answer.status_code == 404
    assert answer.json()["error"]["request_id"] == answer.headers["x-request-id"]


def test_without_a_key(ask):
    answer = ask("GET", "/api/v1/jobs")
    assert answer.status_code == 401
    assert answer.json()["error"]["kind"] == "unauthenticated"


def test_a_taken_name_is_a_conflict_that_is_not_tried_again(ask, key, call, upload):
    upload("sft")
    assert call("POST", "/jobs", json=job(name="one"))[0] == 200
    answer = ask("POST", "/api/v1/jobs", headers={"x-api-key": key}, json=job(name="one"))
    assert (answer.status_code, answer.json()["error"]["kind"]) == (409, "conflict")
    assert answer.headers["x-should-retry"] == "false"


def test_an_idempotency_key_stands_for_its_job(call, upload):
    upload("sft")
    headers = {"idempotency-key": "once"}
    first, again = (call("POST", "/jobs", headers, json=job())[1]["id"] for _ in range(2))
    assert first == again
    assert call("POST", "/jobs", headers, json=job(epochs=2))[0] == 409
    assert call("GET", "/jobs")[1]["total"] == 1


def test_lists_by_kind_state_and_beginning(call, upload):
    upload("sft"), upload("dpo")
    made = [call("POST", "/jobs", json=job("sft", name=f"run-{n}"))[1] for n in range(3)]
    other = call("POST", "/jobs", json=job("dpo"))[1]
    assert call("POST", f"/jobs/{made[0]['id']}/cancel")[1]["state"] == "cancelled"

    def ids(query: str) -> list[str]:
        return [one["id"] for one in call("GET", f"/jobs?{query}")[1]["items"]]

    assert ids("") == [other["id"], *(one["id"] for one in reversed(made))]
    assert ids("kind=dpo") == [other["id"]]
    assert ids("state=cancelled") == [made[0]["id"]]
    assert ids("state=cancelled&state=queued&order=name&descending=false&kind=sft") == [one["id"] for one in made]
    assert ids("beginning=run-2") == [made[2]["id"]]
    assert ids(f"beginning={other['id'][:12]}") == [other["id"]]
    page = call("GET", "/jobs?limit=3")[1]
    assert (page["total"], page["next_offset"]) == (4, 3)
    page = call("GET", "/jobs?limit=3&offset=3")[1]
    assert (len(page["items"]), page["next_offset"]) == (1, None)
    assert call("GET", "/jobs?state=odd")[1]["error"]["where"] == "state"
    assert call("GET", "/jobs?beginning=%25")[0] == 400
    assert call("GET", "/jobs?kind=odd")[0] == 400


def test_pause_resume_cancel_delete(call, upload):
    upload("sft")
    path = f"/jobs/{call('POST', '/jobs', json=job())[1]['id']}"
    for verb, state in (("pause", "paused"), ("resume", "validating"), ("cancel", "cancelled")):
        assert call("POST", f"{path}/{verb}")[1]["state"] == state
    assert call("POST", f"{path}/pause")[0] == 409
    moves = [event["to_state"] for event in call("GET", f"{path}/events")[1]["items"]]
    assert moves == ["created", "validating", "queued", "paused", "validating", "cancelled"]
    assert call("DELETE", path) == (204, None)
    assert call("GET", path)[0] == 404


def test_a_clone_differs_where_it_was_told_to(call, upload):
    upload("sft")
    first = call("POST", "/jobs", json=job(epochs=2, seed=3))[1]
    status, clone = call("POST", f"/jobs/{first['id']}/clone", json={"epochs": 1, "name": "second"})
    assert (status, clone["name"], clone["settings"]) == (200, "second", {"epochs": 1, "seed": 3})
    assert call("POST", f"/jobs/{first['id']}/clone", json={"epoch": 1})[1]["error"]["where"] == "epoch"


def test_a_plan_queues_nothing(call, upload):
    upload("rft")
    plan = call("POST", "/jobs/plan", json=job("rft", evaluator="exact_match", chunk_size=2, epochs=3))[1]
    assert (plan["rows"], plan["steps"], plan["rollouts"]) == (4, 6, 96)
    assert (plan["origins"]["epochs"], plan["origins"]["seed"]) == ("given", "default")
    assert plan["spec"]["dataset"] == "rft"
    assert call("GET", "/jobs")[1]["total"] == 0


def test_before_a_worker_has_begun(call, upload):
    upload("sft")
    path = f"/jobs/{call('POST', '/jobs', json=job())[1]['id']}"
    assert call("GET", f"{path}/metrics")[1] == {"items": []}
    assert call("GET", f"{path}/findings")[1] == {"items": []}
    assert call("GET", f"{path}/logs?offset=7")[1] == {"text": "", "next_offset": 7}
    assert call("GET", f"{path}/rollouts")[1] == {"step": [], "eval": []}
    for file in ("card", "advice", "report.html", "result.tar", "rollouts/1"):
        assert call("GET", f"{path}/{file}")[0] == 404, file


def test_others_see_nothing(app, ask, call, upload):
    upload("sft")
    made = call("POST", "/jobs", json=job())[1]["id"]
    other = {"x-api-key": app.state.keys.create("else")}
    parts = ("", *(f"/{part}" for part in "spec events logs metrics findings card advice rollouts report.html".split()))
    gets = [ask("GET", f"/api/v1/jobs/{made}{part}", headers=other).status_code for part in parts]
    posts = [ask("POST", f"/api/v1/jobs/{made}/{v}", headers=other).status_code for v in ("cancel", "pause", "resume")]
    assert {*gets, *posts, ask("DELETE", f"/api/v1/jobs/{made}", headers=other).status_code} == {404}
    assert ask("GET", "/api/v1/jobs", headers=other).json()["items"] == []
