"""The tokens of an attempt, coloured by what was kept of them."""

import re
from dataclasses import replace

import numpy as np
import pytest
from services.made_runs import decode, segment

from tunesmith.core.types import Group, Rollout, Score
from tunesmith.recipes.report import TokenUpdate

TOKENS = "/fine-tuning/reinforcement/carry/rollouts/tokens?step=1&prompt=p&candidate={}&by={}"


@pytest.fixture
def attempts(app, job):
    """Attempt 0: two tokens at p 0.6, entropies 0.25 and 1.5, ratios 1 and 1.5, the second clipped; 1: not trained."""
    told = replace(segment((1, 2), [7, 8]), entropies=np.array([0, 0, 0.25, 1.5], np.float32))
    rollouts = tuple(Rollout((told,), "x", 0, "stop", Score(reward)) for reward in (1.0, 0.0))
    update = TokenUpdate(np.array([0, 0, 1, 1.5], np.float32), np.array([False, False, False, True]))
    judged = [[(0.7, ""), (None, "held out")]]
    run = app.state.jobs.run("ann", job.id).create({}, "rft")
    run.write_rollouts("step", 1, [Group("p", {}, rollouts)], judged, decode, [[update, None]])


@pytest.mark.parametrize(
    ("by", "shades"),
    [
        ("probability", ["t2", "t2 clipped"]),  # exp(-0.5) = 0.61
        ("entropy", ["t2", "t4 clipped"]),
        ("ratio", ["t0", "up3 clipped"]),
        ("advantage", ["up2", "t0 clipped"]),  # 0.7 x 1, and nothing where it was clipped
        ("nonsense", ["t2", "t2 clipped"]),
    ],
)
def test_each_way_has_its_shades_and_clipped_tokens_are_marked_in_all(get, attempts, by, shades):
    text = get(TOKENS.format(0, by)).text
    shown = text.split('<p class="tokens"')[1].split("</p>")[0]
    assert re.findall(r'<span class="([^"]+)"', shown) == shades
    assert "2 tokens, 1 clipped" in text and "ratio 1.5000, clipped" in text


def test_a_group_shows_what_its_grader_is_given_besides(app, get, job):
    row = {"messages": [{"role": "user", "content": "1+1"}], "answer": "<2>"}
    attempt = Rollout((segment((1, 2), [7]),), "it is 2", 0, "stop", Score(1.0))
    run = app.state.jobs.run("ann", job.id).create({}, "rft")
    run.write_rollouts("step", 1, [Group("p", row, (attempt,))], [[(0.7, "")]], decode)
    page = get("/fine-tuning/reinforcement/carry/rollouts/group?step=1&prompt=p").text
    assert "For the grader: <code>{&#34;answer&#34;: &#34;&lt;2&gt;&#34;}</code>" in page


def test_what_was_not_trained_on_has_no_ratio(get, attempts):
    text = get(TOKENS.format(1, "ratio")).text
    assert 'by=entropy"' in text and 'by=ratio"' not in text
    assert "Ratio and advantage are of attempts that were trained on" in text and "clipped:" not in text
