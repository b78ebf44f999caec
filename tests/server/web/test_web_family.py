"""A job's family, forks made from its page, and its card in every form."""

import json

import pytest
from server.web.conftest import write_metrics
from services.made_runs import decode, group, judged

from tunesmith.core.types import Change, Finding, Group
from tunesmith.services.card import build_card
from tunesmith.services.errands import Errand
from tunesmith.services.regrade import regrade
from tunesmith.spec import RftSpec

AT = "/fine-tuning/reinforcement/carry"


@pytest.fixture
def run(app, job):
    """The run of ann's job: three steps, of which no checkpoint is kept but the start, and a finding."""
    run = app.state.jobs.run("ann", job.id)
    run.create(RftSpec(dataset="rows.jsonl", evaluator="contains").model_dump(), "rft")
    write_metrics(run.path, 3, **{"rollout/truncated_share": 0.5})
    run.set_state("RUNNING", step=3, num_steps=3)
    change = Change("max_tokens", 2048, 4096, "answers can end")
    run.write_findings([Finding("truncation", "warning", 3, "50% cut off", "max_tokens: 2048 -> 4096", change)])
    return run


def test_a_setting_is_changed_in_a_fork_and_both_pages_show_the_tree(app, get, post, job, run):
    assert "learning_rate (now 1e-4)" in get(f"{AT}/fork").text
    answer = post(f"{AT}/fork", at_step="0", setting="learning_rate", value="5e-5", name="slower")
    assert answer.headers["location"].endswith("/reinforcement/slower"), answer.text
    made = app.state.jobs.find("ann", "rft", "slower")
    assert (made.origin.job, made.origin.step, made.settings["learning_rate"]) == (job.id, 0, 5e-5)
    for name in ("carry", "slower"):
        page = get(f"/fine-tuning/reinforcement/{name}").text
        assert "Family" in page and "learning_rate 1e-4 → 5e-5" in page and "the start" in page


def test_the_change_of_a_finding_is_one_press(app, get, post, run):
    assert "Fork with this change" in get(AT).text
    assert post(f"{AT}/fork", finding="truncation", name="longer").status_code == 303
    assert app.state.jobs.find("ann", "rft", "longer").settings["max_tokens"] == 4096


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"setting": "output_dir", "value": "/"}, "cannot be changed in a fork"),
        ({"setting": "learning_rate", "value": "fast"}, "learning_rate"),
        ({"setting": "epochs", "value": "2", "at_step": "7"}, "no checkpoint of step 7"),
        ({"finding": "no_signal"}, "no finding"),
    ],
)
def test_what_cannot_be_forked_is_said(post, run, fields, said):
    answer = post(f"{AT}/fork", **fields)
    assert answer.status_code >= 400 and said in answer.text


def test_another_grader_looks_at_the_same_attempts(app, ask, get, post, run):
    """Two of four attempts passed; all have the answer in them, so the other grader lets all pass."""
    assert "Regrade" in get(AT).text
    groups = [Group(f"p{i}", {"ground_truth": "reply"}, group("p", [0.0, 1.0]).rollouts) for i in range(2)]
    run.write_rollouts("step", 1, groups, judged(groups), decode)
    refused = post(f"{AT}/regrade", evaluator="/etc/passwd::grade", set="step")
    assert refused.status_code >= 400
    errand = Errand("e", "ann", "regrade", "done", regrade(run, ["contains"]).as_dict())
    app.state.errands._found["e"] = errand
    page = get(f"{AT}/regrade?errand=e").text
    for shown in ("0.5 → 1", "100% → 0%", "Changed sides", "4 attempts"):
        assert shown in page, page


def test_the_card_in_every_form(get, run):
    assert get(f"{AT}/card.png").status_code == 404 and "card.png" not in get(AT).text
    run.set_state("COMPLETED", step=3)
    run.write_card(build_card(run).as_dict("rft"))
    assert "card.png" in get(AT).text
    picture = get(f"{AT}/card.png")
    assert picture.headers["content-type"] == "image/png" and picture.content[:8] == b"\x89PNG\r\n\x1a\n"
    told = json.loads(get(f"{AT}/card.json").text)
    assert told["tokens_trained"] == run.card()["tokens_trained"]
    assert told["reproduce"].startswith("tunesmith rft create --dataset sums --evaluator") and str(run.path) not in str(
        told
    )
    assert get(f"{AT}/card.md").text.startswith("# carry") and "<h1>carry</h1>" in get(f"{AT}/card.html").text
    assert get(f"{AT}/card.pdf").status_code >= 400
