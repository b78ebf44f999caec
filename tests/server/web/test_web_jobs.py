"""The list and the page of a job, from rows and files; what another owner has is not there."""

import asyncio
import time

import pytest
from fastapi import Request
from server.web.conftest import new_job, write_metrics

from tunesmith.core.types import Finding
from tunesmith.server.web.charts import PARTS, PINNED, PLANS, id_of
from tunesmith.server.web.sparkline import sparkline
from tunesmith.services.run_folder import RunFolder


@pytest.fixture
def run(app, job):
    return RunFolder(app.state.jobs.run("ann", job.id).path).create({"epochs": 1}, "rft")


def test_the_list_shows_state_learning_progress_and_cost(get, run):
    write_metrics(run.path, 4)
    run.set_state("RUNNING", step=4, num_steps=8)
    text = get("/fine-tuning").text
    for shown in ("carry", "queued", "4 of 8 steps", "6.0 s", "400 tokens", "reward from 0.25 to 1"):
        assert shown in text


@pytest.mark.parametrize(
    ("query", "there"),
    [("", True), ("?kind=rft", True), ("?kind=sft", False), ("?state=active", True), ("?state=stopped", False)],
)
def test_filters_by_kind_and_state(get, job, query, there):
    assert ("carry" in get("/fine-tuning" + query).text) is there


def test_what_is_anothers_is_not_there(app, get, post, job):
    new_job(app, "bob", "secret-plan")
    assert "secret-plan" not in get("/fine-tuning").text
    address = "/fine-tuning/reinforcement/secret-plan"
    for path in ("", "/curves.json", "/curves/reward", "/download", "/live"):
        assert get(address + path).status_code == 404
    assert post(address + "/cancel").status_code == 404
    assert app.state.jobs.find("bob", "rft", "secret-plan").state == "queued"


def test_one_measurement_on_held_out_rows_is_no_change_yet(get, run):
    write_metrics(run.path, 1)
    run.append_metrics(0, {"eval/reward_mean": 0.25})
    page = get("/fine-tuning/reinforcement/carry").text
    assert "<dd>0.25</dd>" in page and "before training" in page
    run.append_metrics(1, {"eval/reward_mean": 0.5})
    assert "<dd>0.25 → 0.5</dd>" in get("/fine-tuning/reinforcement/carry").text


def test_the_log_is_filtered_by_level(get, run):
    run.log("began")
    run.log("a checkpoint is damaged\nand more of it", "warning")
    run.log("FAILED: no memory", "error")
    shown = {
        level: get(f"/fine-tuning/reinforcement/carry?level={level}").text for level in ("info", "warning", "error")
    }
    for text, levels in (("began", 1), ("checkpoint is damaged", 2), ("and more of it", 2), ("no memory", 3)):
        assert [text in page for page in shown.values()] == [True, levels > 1, levels > 2], text


def test_markup_of_users_is_text(app, get):
    new_job(app, "ann", "bold", "<script>alert(1)</script>")
    for path in ("/fine-tuning", "/fine-tuning/reinforcement/bold"):
        assert "&lt;script&gt;alert(1)" in get(path).text
        assert "<script>alert" not in get(path).text


def test_the_page_has_findings_settings_events_and_commands(get, run):
    write_metrics(run.path, 3)
    run.set_state("RUNNING", step=3, num_steps=3)
    run.write_findings([Finding("no_signal", "warning", 2, "9% of groups differ", "temperature: 0.7 -> 1.0")])
    text = get("/fine-tuning/reinforcement/carry").text
    for shown in (
        "9% of groups differ",
        "temperature: 0.7 -&gt; 1.0",
        "warning at step 2",
        "tunesmith rft create",
        "curl ",
    ):
        assert shown in text
    assert str(run.path) not in text


def test_curves_are_given_whole_and_from_a_step_on(get, run):
    write_metrics(run.path, 5)
    run.write_findings([Finding("no_signal", "warning", 2, "saw", "advice")])
    whole = get("/fine-tuning/reinforcement/carry/curves.json").json()
    assert whole["charts"]["reward"]["lines"] == [{"label": "training", "values": [0.2, 0.4, 0.6, 0.8, 1.0]}]
    [pin] = whole["pins"]
    assert (pin["step"], pin["chart"]) == (2, "groups-with-signal")
    newer = get("/fine-tuning/reinforcement/carry/curves.json?after=3").json()
    assert newer["whole"] is False
    assert newer["charts"]["reward"]["steps"] == [4, 5]


def test_ten_thousand_steps_are_thinned_and_quick(get, run):
    write_metrics(run.path, 10_000, **{f"part/p{i}/raw": 0.5 for i in range(30)})
    began = time.process_time()
    assert get("/fine-tuning/reinforcement/carry").status_code == 200
    data = get("/fine-tuning/reinforcement/carry/curves.json?after=9000").json()
    assert time.process_time() - began < 5  # 0.7 CPU-seconds
    assert data["whole"] is True
    assert len(data["charts"]["reward"]["steps"]) <= 2000


def test_the_table_of_a_chart_and_its_csv(get, run):
    write_metrics(run.path, 3)
    assert "0.667" in get("/fine-tuning/reinforcement/carry/curves/reward").text
    lines = get("/fine-tuning/reinforcement/carry/curves/reward/csv").text.splitlines()
    assert lines[:2] == ["step,training", "1,0.3333333333333333"]
    assert get("/fine-tuning/reinforcement/carry/curves/no-such").status_code == 404


def test_actions_move_the_job(app, post, job):
    assert post("/fine-tuning/reinforcement/carry/pause").status_code == 303
    assert app.state.jobs.get("ann", job.id).state == "paused"
    post("/fine-tuning/reinforcement/carry/resume")
    assert app.state.jobs.get("ann", job.id).state == "validating"
    post("/fine-tuning/reinforcement/carry/cancel")
    assert app.state.jobs.get("ann", job.id).state == "cancelled"
    refused = post("/fine-tuning/reinforcement/carry/pause")
    assert refused.status_code == 400
    assert "cannot pause" in refused.text
    assert post("/fine-tuning/reinforcement/carry/explode").status_code == 400
    assert post("/fine-tuning/reinforcement/carry/delete").headers["location"] == "/dashboard/fine-tuning"
    assert app.state.jobs.page("ann")[1] == 0


def test_every_finding_is_pinned_to_a_chart_that_there_is():
    from tunesmith.health.rules import END_RULES, RULES, TIME_RULES

    assert set(PINNED) <= {rule.__name__ for rule in [*RULES, *END_RULES, *TIME_RULES]}
    assert set(PINNED.values()) <= {plan.title for plan in PLANS} | {title for _, title, _ in PARTS}
    assert len({id_of(plan.title) for plan in PLANS}) == len(PLANS)
    assert PLANS[-1].title == "Policy loss"


def test_a_sparkline_of_one_value_is_flat():
    assert sparkline([2.0, 2.0], "loss").count(",12.0") == 2


def test_a_stream_sends_what_changed_and_ends_with_its_job(app, job):
    from tunesmith.server.web.live import _events

    seen, key = {"a": "1", "b": "1"}, [0]

    async def read():
        request = Request({"type": "http", "app": app, "headers": []}, receive=_never)
        events = _events(request, lambda: key[0], lambda: dict(seen))
        first = await anext(events)
        seen["b"] = "2"
        key[0] = 1
        second = await anext(events)
        app.state.stopping.set()
        return first, second, [event async for event in events]

    assert asyncio.run(read()) == ('data: {"a": "1", "b": "1"}\n\n', 'data: {"b": "2"}\n\n', [])


async def _never():
    await asyncio.Event().wait()
