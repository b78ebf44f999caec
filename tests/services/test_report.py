"""The report shows a run's numbers, escapes what models wrote, and works at any stage of a run."""

import json
import re
from html import unescape

import pytest
from services.made_runs import decode, group, judged

from tunesmith.core.types import Finding
from tunesmith.services.card import build_card, change_interval, current_card
from tunesmith.services.report import CHARTS, write_report
from tunesmith.services.run_folder import RunFolder
from tunesmith.spec import DpoSpec, RftSpec

RFT = RftSpec(dataset="train.jsonl", evaluator="exact_match", learning_rate=3e-4)


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path / "my run").create(RFT.model_dump(), "rft")


@pytest.fixture
def trained(run):
    """Two steps; held-out rows p and q go from (0, 0.5) to (1, 1)."""
    run.set_state("RUNNING", num_steps=2)
    for step, rewards in ((0, (0.0, 0.5)), (2, (1.0, 1.0))):
        groups = [group("p", [rewards[0], None]), group("q", [rewards[1]])]
        run.write_rollouts("eval", step, groups, judged(groups), decode)
    run.append_metrics(0, {"eval/reward_mean": 0.25})
    for step in (1, 2):
        groups = [group("r", [0.0, 1.0], text="<script>alert(1)</script>", reason="a & b", parts={"format": 0.5})]
        run.write_rollouts("step", step, groups, judged(groups), decode)
        metrics = {"rollout/reward_mean": 0.4 * step, "part/format/raw": 0.5 * step, "gap/max": 1e-6 / step}
        run.append_metrics(step, metrics | {"optim/updates": 3, "optim/weight_change": 0.1 * step, "loss/policy": 1e-4})
    run.append_metrics(2, {"eval/reward_mean": 1.0})
    run.write_findings([Finding("truncation", "warning", 2, "31% of <responses>", "max_tokens: 2048 -> 4096")])
    run.set_state("EARLY_STOPPED", step=2, reason="nothing left to learn")
    return run


def page_of(run):
    return write_report(run).read_text("utf-8")


def test_the_card_is_made_of_the_files(trained):
    card = build_card(trained).as_dict("rft")
    assert list(card) == [
        *("run_dir", "state", "steps", "result_step", "optimizer_updates"),
        *("heldout_reward_before", "heldout_reward_after"),
        *("heldout_ci95", "weight_change_norm", "sampler_gap_max", "truncated_share", "reward_hack_signs"),
        *("tokens_sampled", "tokens_trained", "seconds", "findings", "reproduce"),
    ]
    assert (card["state"], card["steps"], card["optimizer_updates"]) == ("EARLY_STOPPED", 2, 6)
    assert (card["heldout_reward_before"], card["heldout_reward_after"]) == (0.25, 1.0)
    # changes 1.0 and 0.5: mean 0.75, standard error 0.3536 / sqrt(2) = 0.25, t(1) = 12.706
    assert card["heldout_ci95"] == pytest.approx((0.75 - 3.1765, 0.75 + 3.1765))
    assert (card["weight_change_norm"], card["sampler_gap_max"]) == (0.2, 1e-6)
    assert card["findings"][0]["rule"] == "truncation"
    assert (card["reward_hack_signs"], card["truncated_share"], card["tokens_sampled"]) == ([], None, 0)
    json.dumps(card, allow_nan=False)


def test_the_card_of_preference_runs_has_losses(tmp_path):
    run = RunFolder(tmp_path / "d").create(DpoSpec(dataset="d.jsonl").model_dump(), "dpo")
    run.append_metrics(0, {"eval/loss": 0.693})
    assert build_card(run).heldout_loss_after is None
    run.append_metrics(5, {"eval/loss": 0.5})
    card = build_card(run).as_dict("dpo")
    assert (card["heldout_loss_before"], card["heldout_loss_after"]) == (0.693, 0.5)
    assert not [name for name in card if "reward" in name or "ci95" in name]
    assert "Held-out loss 0.693 -&gt; 0.500 (-0.193); no interval was measured." in page_of(run)


def test_the_written_card_counts_once_the_run_has_ended(trained):
    trained.write_card({"optimizer_updates": 77})
    assert current_card(trained)["optimizer_updates"] == 77
    trained.set_state("RUNNING")
    assert current_card(trained)["optimizer_updates"] == 6


@pytest.mark.parametrize(
    ("before", "after", "interval"),
    [
        ([], [], None),
        ([0.5], [1.0], None),
        ([0.0, 0.0], [0.5, 0.5], (0.5, 0.5)),
        # 41 changes, 20 of 1 and 21 of 0: mean 20/41, s = 0.50606, t(40) = 2.021
        ([0.0] * 41, [1.0] * 20 + [0.0] * 21, (0.48780 - 0.15973, 0.48780 + 0.15973)),
    ],
)
def test_the_interval_of_the_change(before, after, interval):
    assert change_interval(before, after) == (interval and pytest.approx(interval, abs=2e-4))


def test_a_report_shows_the_result_the_findings_and_the_curves(trained):
    (trained.path / "adapter").mkdir()
    page = page_of(trained)
    assert "Held-out reward 0.250 -&gt; 1.000 (+0.750, 95% interval" in page and "the change may be chance." in page
    assert "nothing left to learn" in page
    assert "max_tokens: 2048 -&gt; 4096" in page
    titles = re.findall(r"<figcaption><h3>([^<]+)", page)
    assert titles == [plan.title for plan in CHARTS if plan.title in titles]
    assert (titles[0], titles[-1]) == ("Reward", "Policy loss")
    assert 'aria-label="Reward: training from 0.4 at step 1 to 0.8 at step 2; held-out from 0.25 at step 0' in page
    assert re.search(r"<code>format</code></td><td[^>]*>0.500</td><td[^>]*>1.000</td><td[^>]*>\+0.500", page)
    assert f"tunesmith sample '{trained.path}'" in unescape(page)
    assert f"tunesmith resume '{trained.path}'" in unescape(page)


def test_what_models_and_graders_wrote_is_escaped(trained):
    page = page_of(trained)
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "a &amp; b" in page
    assert "31% of &lt;responses&gt;" in page


def test_attempts_are_the_best_and_worst_of_the_last_and_first_step(run):
    for step in (1, 2, 3):
        groups = [group(f"p{n}", [0.1 * n, 0.1 * n + 0.05, None], text=f"text {step}.{n}") for n in range(5)]
        run.write_rollouts("step", step, groups, judged(groups), decode)
    page = page_of(run)
    assert re.findall(r"Attempts of step (\d)", page) == ["3", "1"]
    assert re.findall(r"<h3>(Best|Worst|Failed): [^<]*", page) == ["Best", "Best", "Worst", "Worst", "Failed"] * 2
    # each of another prompt
    assert re.findall(r"reward ([\d.]+)</h3>", page) == ["0.45", "0.35", "0", "0.1"] * 2
    assert "text 2." not in page


def test_long_texts_are_cut_and_say_so(run):
    groups = [group("p", [1.0], text="y" * 5000)]
    run.write_rollouts("step", 1, groups, judged(groups), decode)
    assert "y" * 4000 + " … (1000 more characters" in page_of(run)


def test_changed_settings_are_marked_and_come_first(run):
    rows = re.findall(r"<tr( class=\"changed\")?><td><code>(\w+)</code>", page_of(run))
    assert rows[0] == (' class="changed"', "learning_rate")
    assert [name for mark, name in rows if mark] == ["learning_rate"]
    assert {name for _, name in rows} == set(RftSpec.model_fields)


def test_an_empty_run_has_a_report(run):
    page = page_of(run)
    assert "No held-out evaluation yet." in page
    assert "No step has finished yet." in page
    assert "tunesmith sample" not in page


def test_a_page_needs_nothing_from_outside_and_fits_the_screen(trained):
    page = page_of(trained)
    assert not re.search(r"https?://|<link|@import|url\(|\bsrc=", page)
    assert 'name="viewport" content="width=device-width' in page


@pytest.mark.parametrize("theme", [0, 1])
def test_colours_have_contrast(run, theme):
    style = page_of(run)
    colours = {name: pair.split(", ")[theme] for name, pair in re.findall(r"--(\w+): light-dark\(([^)]+)\)", style)}
    for name in ("text", "quiet", "one", "two", "good", "warning", "error"):
        for ground in ("page", "card", "mark") if name in ("text", "quiet") else ("page", "card"):
            assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)


def contrast(one, other):
    """Contrast ratio of WCAG 2."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
