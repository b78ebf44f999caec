"""Evaluations on the web page: the list, a new one from a model, one with its score and answers, refusals."""

import json
import re

import numpy as np
import pytest

from tunesmith.core.types import Group, Rollout, Score, Segment
from tunesmith.services.evaluation import COLUMNS, _summary
from tunesmith.services.jobs.job_kinds import EVALUATION
from tunesmith.spec import RftSpec

REWARDS = [0.0, 1.0, 0.5]


@pytest.fixture
def prompts(app):
    datasets = app.state.datasets
    datasets.create("ann", "prompts", kind="rft")
    row = {"messages": [{"role": "user", "content": "1+1"}], "answer": "2"}
    with datasets.upload("ann", "prompts") as incoming:
        incoming.write((json.dumps(row) + "\n").encode() * 3)
    datasets.finish("ann", "prompts")
    return "prompts"


@pytest.fixture
def made(app, post, prompts):
    """An evaluation that a form asked for; no worker takes it up."""
    given = {"model": "tunesmith/embedded", "dataset": prompts, "evaluator": "contains", "name": "first"}
    answer = post("/evaluations", **given, eval_samples="1", max_tokens="16")
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard/evaluations/first"), answer.text
    return app.state.evaluations.find("ann", EVALUATION, "first")


def attempt(text, reward):
    tokens = np.array([1, 2], np.int32)
    segment = Segment(tokens, np.array([False, True]), np.zeros(2, np.float32))
    score = None if reward is None else Score(reward, {"contains": reward}, f"why {text}")
    return Rollout((segment,), text, 0, "stop", score=score, error="broke: badly" if reward is None else None)


def work(app, job, rewards, ended):
    """What a worker leaves of these answers, one to a row."""
    run = app.state.evaluations.run("ann", job.id)
    spec = app.state.evaluations.spec("ann", job.id)
    assert isinstance(spec, RftSpec)
    run.create(spec.model_dump(), EVALUATION)
    groups = [Group(f"row-{i}", {"answer": "2"}, (attempt(f"text {i}", r),)) for i, r in enumerate(rewards)]
    run.write_rollouts("eval", 1, groups, [[(None, "held out")]] * len(groups), lambda _: "the question")
    run.append_metrics(1, {"eval/reward_mean": 0.5})
    run.set_state("RUNNING", step=1, num_steps=2)
    if ended:
        run.write_card(_summary(run.read_rollouts("eval", 1, COLUMNS), spec))
    return run


def test_the_list_and_the_ways_to_a_new_one(get, made):
    page = get("/evaluations").text
    assert "/dashboard/evaluations/first" in page and "tunesmith/embedded" in page and "queued" in page
    form = get("/create/evaluation?model=tunesmith%2Fembedded&evaluator=uploaded%3Amine").text
    assert re.search(r"<option selected>tunesmith/embedded", form) and 'value="uploaded:mine"' in form
    assert "/create/evaluation?model=tunesmith" in get("/models").text
    settings = made.settings
    assert (settings["eval_samples"], settings["output_dataset"]) == ("1", "first-results")


def test_a_model_is_chosen_unless_none_is_asked_for(get, prompts):
    """A browser takes the first of a list where nothing is selected."""
    first = re.compile(r'<select name="model">\s*<optgroup label="Base"><option>tunesmith/embedded')
    assert first.search(get("/create/evaluation").text) and "selected>none" not in get("/create/evaluation").text
    assert "selected>none: grade" in get("/create/evaluation?model=").text
    assert "upload one" not in get("/create/evaluation").text


def test_one_that_was_cancelled_has_no_answers_to_wait_for(get, post, made):
    assert "Answers appear once" in get("/evaluations/first").text
    post("/evaluations/first/cancel")
    page = get("/evaluations/first").text
    assert "No answer was graded." in page and "is graded yet" not in page


@pytest.mark.parametrize("ended", [False, True])
def test_one_with_its_score_and_answers(app, get, made, ended):
    work(app, made, REWARDS, ended)
    page = get("/evaluations/first").text
    # Of 0, 1 and 1/2: the mean 1/2, the deviation 1/2, half the interval 4.303 x 0.5 / sqrt(3).
    assert "95% interval" in page and "0.5" in page and "3 answers" in page
    assert page.count('<meter min="0" max="1" value="1"') == 3
    texts = re.findall(r"text (\d)</pre>", page)
    assert texts == ["0", "2", "1"] and "why text 0" in page and "the question" in page
    assert re.findall(r"text (\d)</pre>", get("/evaluations/first?order=best").text) == ["1", "2", "0"]
    assert re.findall(r"text (\d)</pre>", get("/evaluations/first?order=file&at=1").text) == ["1", "2"]


def test_failed_gradings_come_last_and_are_no_zeros(app, get, made):
    work(app, made, [None, 1.0, 0.5], False)
    page = get("/evaluations/first").text
    assert re.findall(r"text (\d)</pre>", page) == ["2", "1", "0"]
    assert "broke: badly" in page and "33" in page and "0.75" in page


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"evaluator": ""}, "evaluator: none was chosen"),
        ({"dataset": ""}, "dataset: is empty"),
        ({"model": ""}, "without a model"),
        ({"eval_samples": "many"}, "eval_samples"),
        ({"evaluator": "nothing"}, "unknown &#39;nothing&#39;"),
    ],
)
def test_what_is_refused_stays_in_the_form(app, post, prompts, change, words):
    given = {"model": "tunesmith/embedded", "dataset": prompts, "evaluator": "contains", "eval_samples": "2"}
    answer = post("/evaluations", **{**given, **change})
    assert answer.status_code == 400 and words in answer.text, answer.text
    assert 'name="eval_samples"' in answer.text
    assert app.state.evaluations.page("ann")[1] == 0


def test_it_is_cancelled_resumed_and_deleted(app, get, post, made):
    assert post("/evaluations/first/cancel").headers["location"] == "/dashboard/evaluations/first"
    assert "Resume" in get("/evaluations/first").text
    post("/evaluations/first/resume")
    assert app.state.evaluations.get("ann", made.id).state == "validating"
    assert post("/evaluations/first/fork").status_code == 400
    assert post("/evaluations/first/delete").headers["location"] == "/dashboard/evaluations"
    assert get("/evaluations/first").status_code == 404
