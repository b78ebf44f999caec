"""Jobs that learn from attempts made and judged elsewhere: the same as if they had made them, and what is refused."""

import json

import numpy as np
import pytest

from tunesmith.core.errors import UserError
from tunesmith.grading import build_grader
from tunesmith.grading.evaluator import RecordedTarget, parse_evaluators
from tunesmith.health.advice import warmer
from tunesmith.models.chat import load_renderer
from tunesmith.services import names, worker
from tunesmith.services.prepare import prepare_rft
from tunesmith.spec import RftSpec, build_spec

SUMS = [(a, b) for a in range(14, 46, 4) for b in range(17, 29, 6)]
COMMON = {"eval_auto_carveout": False, "learning_rate": 3e-4, "seed": 3}


def sampled(folder, rows, output):
    file = write(folder / f"{output}.jsonl", rows)
    made = {"temperature": 1.0, "top_k": 0, "max_tokens": 64, "response_candidates_count": 6}
    return worker.start(
        RftSpec(dataset=file, evaluator="last_number", output_dir=str(folder / output), **made, **COMMON)
    )


def recorded(folder, rows, output="recorded", **settings):
    file = write(folder / f"{output}.jsonl", rows)
    given = {"evaluator": "recorded", **COMMON, **settings}
    return worker.start(RftSpec(dataset=file, output_dir=str(folder / output), **given))


def write(file, rows):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def sums(pairs):
    asked = [{"role": "user", "content": "What is {} + {}?"}]
    return [
        {"id": f"{a}+{b}", "messages": [asked[0] | {"content": f"What is {a} + {b}?"}], "ground_truth": str(a + b)}
        for a, b in pairs
    ]


def samples(run):
    """The attempts of a run, as rows of a dataset."""
    rows = {}
    for one in run.read_rollouts("step", 1):
        row = json.loads(one["row"]) if isinstance(one["row"], str) else one["row"]
        said = [*row["messages"], {"role": "assistant", "content": one["text"]}]
        rows.setdefault(one["prompt_id"], []).append({"messages": said, "evals": {"score": one["reward"]}})
    return [{"id": name, "samples": attempts} for name, attempts in rows.items()]


def by_attempt(run):
    return {(one["prompt_id"], one["candidate"]): one["logprobs"] for one in run.read_rollouts("step", 1)}


def spelled_otherwise(run):
    """Prompts of which the policy spelled an attempt otherwise than the tokenizer does, or did not end it."""
    renderer = load_renderer(names.embedded_model())
    found = set()
    for one in run.read_rollouts("step", 1):
        ids = np.asarray(one["tokens"])[np.asarray(one["sampled"], bool)]
        if one["stop"] != "stop" or ids[:-1].tolist() != renderer.inner(one["text"]).tolist():
            found.add(one["prompt_id"])
    return found


@pytest.mark.thorough
def test_a_job_learns_from_recorded_attempts_what_it_learns_from_its_own(tmp_path):
    odd = spelled_otherwise(sampled(tmp_path, sums(SUMS), "all"))
    pairs = [(a, b) for a, b in SUMS if f"{a}+{b}" not in odd]
    own = sampled(tmp_path, sums(pairs), "own")
    from_file = recorded(tmp_path, samples(own))
    [mine], [theirs] = own.metrics()[-1:], from_file.metrics()[-1:]
    same = ("loss/policy", "optim/grad_norm", "rollout/tokens", "rollout/reward_mean", "rollout/groups_with_signal")
    assert mine["rollout/groups_with_signal"] >= 4, "there is something to learn"
    for name in same:
        assert theirs[name] == pytest.approx(mine[name], rel=1e-4), name
    assert theirs["policy/ratio_mean"] == pytest.approx(1, abs=1e-6)
    assert theirs["gap/max"] < 1e-4, "the policy of the moment says how likely it finds them"
    shown, expected = by_attempt(from_file), by_attempt(own)
    assert shown.keys() == expected.keys()
    for attempt, logprobs in shown.items():
        np.testing.assert_allclose(logprobs, expected[attempt], atol=1e-4)


@pytest.mark.thorough
def test_good_attempts_become_likelier_and_bad_ones_less(tmp_path):
    """The truth of each sum and the same lie of all: a policy that is told so for a while says neither by itself."""
    rows = []
    for a, b in SUMS:
        asked = {"role": "user", "content": f"What is {a} + {b}?"}
        said = [(str(a + b + 9), 1.0), (str(a + b), 0.0)]
        tried = [
            {"messages": [asked, {"role": "assistant", "content": text}], "evals": {"score": s}} for text, s in said
        ]
        rows.append({"samples": tried})
    run = recorded(tmp_path, rows, epochs=8)
    steps = [run.read_rollouts("step", step) for step in (1, 8)]

    def likely(attempts, reward):
        return np.mean([sum(one["logprobs"]) for one in attempts if one["reward"] == reward])

    assert likely(steps[1], 1.0) > likely(steps[0], 1.0) + 1
    assert likely(steps[1], 1.0) - likely(steps[1], 0.0) > likely(steps[0], 1.0) - likely(steps[0], 0.0) + 2


def row(*scores):
    asked = {"role": "user", "content": "2 + 2?"}
    return {
        "samples": [
            {"messages": [asked, {"role": "assistant", "content": str(i)}], "evals": s} for i, s in enumerate(scores)
        ]
    }


def prepared(tmp_path, rows, **settings):
    spec = RftSpec(dataset=write(tmp_path / "rows.jsonl", rows), **{"evaluator": "recorded", **settings})
    return prepare_rft(spec, load_renderer(names.embedded_model()), 4096)


def test_scores_add_up_by_their_weights(tmp_path):
    rows = [row({"score": 1, "short": 0.5}, {"score": 0, "short": 1})]
    evaluator = ["recorded=2", "recorded:short=-0.5"]
    [prompt] = prepared(tmp_path, rows, evaluator=evaluator).train
    scores = [attempt.score for attempt in prompt.attempts]
    assert [score.reward for score in scores] == [1.75, -0.5]
    assert scores[0].parts == {"score": 1, "score/weighted": 2, "short": 0.5, "short/weighted": -0.25}
    assert "samples" not in prompt.row, "each attempt is stored with the row, and not with all the others"


def test_only_what_the_assistant_said_after_the_prompt_is_trained(tmp_path):
    [prompt] = prepared(tmp_path, [row({"score": 1}, {"score": 0})]).train
    renderer = load_renderer(names.embedded_model())
    for number, attempt in enumerate(prompt.attempts):
        [segment] = attempt.segments
        asked = len(prompt.tokens)
        assert segment.tokens[:asked].tolist() == prompt.tokens.tolist()
        assert not segment.sampled[:asked].any() and segment.sampled[asked]
        assert renderer.decode(segment.tokens[segment.sampled]) == attempt.text == str(number)
        assert int(segment.tokens[segment.sampled][-1]) in renderer.stop_ids


def test_to_say_nothing_is_an_attempt_too(tmp_path):
    quiet = row({"score": 1}, {"score": 0})
    quiet["samples"][1]["messages"][-1]["content"] = ""
    [prompt] = prepared(tmp_path, [quiet]).train
    [segment] = prompt.attempts[1].segments
    renderer = load_renderer(names.embedded_model())
    assert segment.tokens[segment.sampled].tolist() == list(renderer.stop_ids[:1]), "what is learned is to end at once"


def test_what_a_row_lacks_is_said_by_its_line(tmp_path):
    with pytest.raises(
        UserError, match=r"rows.jsonl:2: samples: found this row, no attempts, and evaluator is recorded"
    ):
        prepared(tmp_path, [row({"score": 1}, {"score": 0}), *sums([(1, 2)])])
    with pytest.raises(UserError, match=r"samples\[1\]\.evals: found this row, no score 'short'\. It has score"):
        prepared(tmp_path, [row({"score": 1, "short": 1}, {"score": 0})], evaluator="recorded:short")
    with pytest.raises(UserError, match=r"samples\[0\]\.evals: found this row, reward is inf.*everyday size"):
        prepared(tmp_path, [row({"score": 1e308}, {"score": 0})], evaluator="recorded=10")
    long = row({"score": 1}, {"score": 0})
    long["samples"][1]["messages"][-1]["content"] = "1 " * 200
    with pytest.raises(UserError, match="too long"):
        prepared(tmp_path, [long], max_context_length=64)


def test_no_row_is_held_out(tmp_path):
    found = prepared(tmp_path, [row({"score": i}, {"score": 0}) for i in range(40)])
    assert (len(found.train), found.heldout) == (40, [])
    assert "no held-out rows: recorded scores judge no new attempts" in found.notes


@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", 1.0), ("max_tokens", 64), ("response_candidates_count", 4), ("evaluation_dataset", "held.jsonl")],
)
def test_settings_of_making_attempts_are_refused(name, value):
    with pytest.raises(
        UserError, match=f"{name}: has no effect, for recorded attempts are neither made nor judged here"
    ):
        build_spec({"kind": "rft", "dataset": "rows.jsonl", "evaluator": "recorded", name: value})


def test_the_strings():
    assert [(e.name, e.weight, e.target) for e in parse_evaluators(["recorded", "recorded:a b=0.5"])] == [
        ("score", None, RecordedTarget("score")),
        ("a b", 0.5, RecordedTarget("a b")),
    ]
    with pytest.raises(UserError, match="sums recorded scores with a grader's"):
        parse_evaluators(["recorded", "last_number"])
    with pytest.raises(UserError, match="the weight of 'recorded:a=x' is 'x'"):
        parse_evaluators("recorded:a=x")


def test_they_judge_no_new_attempts():
    with pytest.raises(UserError, match="recorded scores are of attempts that rows hold"):
        build_grader("recorded", timeout_s=1, memory_mb=128)


def test_no_finding_proposes_what_would_be_refused():
    spec = RftSpec(dataset="rows.jsonl", evaluator="recorded")
    change = warmer(spec.model_dump(), "more signal")
    assert change.by_hand and change.setting == "evaluator"
