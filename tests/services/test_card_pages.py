"""The card of real runs, as Markdown and HTML: what it claims, what it leaves open, and the command that repeats it."""

import json
import re
import shlex

import pytest
from crash.tiny_jobs import make_data, make_model, settings

from tunesmith.core.types import Finding
from tunesmith.services import worker
from tunesmith.services.card import build_card, reproduce
from tunesmith.services.card_pages import as_html, as_markdown, headline
from tunesmith.services.chart import show_value
from tunesmith.services.fork import fork
from tunesmith.services.run_folder import RunFolder
from tunesmith.spec import RftSpec, build_spec


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("cards")
    make_model(root / "model")
    make_data(root / "data")
    return root


@pytest.mark.parametrize("kind", ["rft", "sft", "dpo"])
def test_every_finished_run_has_its_card_in_three_forms(root, kind):
    spec = settings(kind, root, output_dir=str(root / kind))
    run = worker.start(build_spec(spec))
    card = json.loads((run.path / "card.json").read_text())
    markdown, html = (run.path / "card.md").read_text(), (run.path / "card.html").read_text()
    assert (markdown, html) == (as_markdown(run.path.name, card), as_html(run.path.name, card))
    for text in (markdown, html):
        assert show_value(card["weight_change_norm"], "number") in text
        assert card["reproduce"] in re.sub("</?span>", "", text).replace("&#39;", "'")
    assert card["tokens_trained"] > 0 and (card.get("tokens_sampled", 0) > 0) == (kind == "rft")
    assert "http" not in html and "<script" not in html
    assert ("reward_hack_signs" in card) == (kind == "rft")


def test_the_command_of_the_card_is_the_run(root):
    run = worker.start(build_spec(settings("sft", root, output_dir=str(root / "once"))))
    words = shlex.split(json.loads((run.path / "card.json").read_text())["reproduce"])
    assert words[:4] == ["tunesmith", "sft", "run", "--spec"]
    again = worker.start(
        build_spec({**RunFolder(words[4].removesuffix("spec.yaml")).spec(), "output_dir": str(root / "twice")})
    )
    assert again.metrics() == run.metrics()


def test_the_command_of_a_fork_names_its_parent_and_its_changes(root):
    parent = worker.start(build_spec(settings("sft", root, output_dir=str(root / "parent"))))
    made = fork(parent, {"learning_rate": 0.02}, at_step=2, to=root / "made")
    assert reproduce(made) == f"tunesmith fork {parent.path} --at-step 2 --learning-rate 0.02"
    switched = fork(parent, {"lora_head": True}, to=root / "switched")
    assert reproduce(switched).endswith("--at-step 0 --lora-head")


CARD = {"heldout_reward_before": 0.4, "heldout_reward_after": 0.6, "heldout_ci95": [0.1, 0.3], "findings": []}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "0.400 -> 0.600 (+0.200, 95% interval +0.100 to +0.300): it is better."),
        ({"heldout_ci95": [-0.1, 0.5]}, "the change may be chance"),
        ({"heldout_reward_after": 0.2, "heldout_ci95": [-0.3, -0.1]}, "it is worse"),
        ({"heldout_ci95": None}, "no interval was measured"),
        ({"heldout_reward_before": None}, "nothing says whether it learned"),
    ],
)
def test_the_headline_claims_no_more_than_was_measured(changes, said):
    assert said in headline({**CARD, **changes})


def test_signs_and_findings_are_told_and_cannot_break_the_page(tmp_path):
    spec = RftSpec(dataset="d.jsonl", evaluator="exact_match", output_dir="x").model_dump()
    run = RunFolder(tmp_path / "a <b> | run").create(spec, "rft")
    for step in range(1, 7):
        lengths = 100.0 if step < 4 else 400.0
        run.append_metrics(step, {"rollout/reward_mean": 0.3 + 0.1 * step, "rollout/length_mean": lengths})
    run.write_findings([Finding("some_rule", "warning", 4, "saw <i>1</i> | 2", "advice")])
    card = build_card(run).as_dict("rft")
    assert card["reward_hack_signs"] == ["mean length went 100 -> 400 tokens"]
    html, markdown = as_html(run.path.name, card), as_markdown(run.path.name, card)
    assert "<i>1</i>" not in html and "mean length went 100 -&gt; 400 tokens" in html
    assert re.search(r"^\| findings \| some_rule \(warning\): saw <i>1</i> / 2 \|$", markdown, re.MULTILINE)
