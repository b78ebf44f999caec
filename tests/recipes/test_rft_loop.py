"""The RFT loop over fakes of its sockets: what it asks for, when it stops, what it reports."""

import asyncio

import pytest
from recipes import fakes

from tunesmith.core.errors import JobStopped
from tunesmith.core.types import AdamParams, Norm
from tunesmith.recipes import rft
from tunesmith.spec import METHODS

VARIED = fakes.by_candidate(0.0, 0.0, 0.0, 1.0)
FLAT = fakes.by_candidate(0.5, 0.5, 0.5, 0.5)
SMALL = {"response_candidates_count": 4, "max_tokens": 8}


def run(job, **kwargs):
    return asyncio.run(fakes.reports(rft.run(job, **kwargs)))


def test_what_happens_in_a_step():
    job = fakes.rft_job(VARIED, rows=4, chunk_size=2, learning_rate=0.5, **SMALL)
    reports = run(job)
    assert [r.step for r in reports] == [0, 1, 2]
    assert [name for name, _ in job.trainer.calls] == [
        "publish",
        *["reference", "forward_backward", "optim_step", "forward", "publish"] * 2,
    ]
    assert [w.version for w in job.sampler.loaded] == [0, 1, 2]
    data, loss, settings, norm = job.trainer.named("forward_backward")[0]
    assert (len(data), loss, settings, norm) == (8, "policy", {"cfg": METHODS["grpo"]}, Norm(8.0, 8.0))
    assert job.trainer.named("optim_step") == [AdamParams(0.5)] * 2


def test_every_prompt_is_asked_once_an_epoch_with_a_seed_of_its_own():
    job = fakes.rft_job(VARIED, rows=6, chunk_size=4, epochs=3, **SMALL)
    run(job)
    assert len(job.sampler.asked) == 18
    assert len({prompt for prompt, _, _ in job.sampler.asked}) == 6
    assert len({params.seed for _, params, _ in job.sampler.asked}) == 18
    assert {n for _, _, n in job.sampler.asked} == {4}


def test_the_seeds_depend_on_the_spec_alone():
    asked = []
    for seed in (0, 0, 1):
        job = fakes.rft_job(VARIED, rows=6, chunk_size=4, seed=seed, **SMALL)
        run(job)
        asked.append(job.sampler.asked)
    assert asked[0] == asked[1] != asked[2]


def test_going_on_asks_for_what_was_left():
    whole = fakes.rft_job(VARIED, rows=6, chunk_size=2, epochs=2, **SMALL)
    run(whole)
    rest = fakes.rft_job(VARIED, rows=6, chunk_size=2, epochs=2, **SMALL)
    rest.trainer.version = 4
    reports = run(rest, after=4, state={"signal_in_epoch": 2.0})
    assert [r.step for r in reports] == [5, 6]
    assert rest.sampler.asked == whole.sampler.asked[8:]
    assert rest.sampler.loaded[0].version == 4


def test_the_temperature_of_each_step():
    settings = {"temperature": 1.0, "temperature_schedule": "linear", "temperature_end": 0.5}
    job = fakes.rft_job(VARIED, rows=3, chunk_size=1, **settings, **SMALL)
    run(job)
    assert [params.temperature for _, params, _ in job.sampler.asked] == [1.0, 0.75, 0.5]
    assert [data[0].temperature for data, *_ in job.trainer.named("forward_backward")] == [1.0, 0.75, 0.5]


@pytest.mark.parametrize(
    ("settings", "asked"),
    [
        ({}, True),
        ({"rl_kl_beta": 0.1}, True),
        ({"rl_loss_method": "dapo"}, False),
        ({"rl_loss_method": "gspo-token"}, False),
    ],
)
def test_the_reference_is_scored_only_for_a_kl(settings, asked):
    job = fakes.rft_job(VARIED, **settings, **SMALL)
    run(job)
    assert bool(job.trainer.named("reference")) is asked
    (data, *_), *_ = job.trainer.named("forward_backward")
    assert all((d.ref_logprobs is not None) is asked for d in data)


def test_a_chunk_is_cut_into_passes_and_updates():
    """16 sequences of 3 tokens: 4 to a pass of 12, 3 passes to an update; the last update has what is left."""
    job = fakes.rft_job(VARIED, rows=4, batch_size=12, gradient_accumulation_steps=3, **SMALL)
    (_, report) = run(job)
    passes = job.trainer.named("forward_backward")
    assert [len(data) for data, *_ in passes] == [4, 4, 4, 4]
    assert [norm for *_, norm in passes] == [Norm(12, 12)] * 3 + [Norm(4, 4)]
    order = [name for name, _ in job.trainer.calls if name in ("forward_backward", "optim_step")]
    assert order == ["forward_backward"] * 3 + ["optim_step", "forward_backward", "optim_step"]
    assert report.metrics["optim/updates"] == 2
    assert report.metrics["loss/policy"] == pytest.approx(0.5)  # (3 x 0.25 + 0.25) / 2 updates
    assert report.metrics["train/packed_tokens"] == 32  # a count: the sum


def test_the_gap_is_that_of_the_first_update():
    """Later updates of a step train a policy that has moved on from the one that sampled."""
    job = fakes.rft_job(VARIED, rows=4, chunk_size=2, batch_size=12, **SMALL)
    first, second = run(job)[1:]
    assert first.metrics["optim/updates"] == 2
    assert [r.metrics[n] for r in (first, second) for n in ("gap/max", "gap/mean", "kl_sample_train")] == [0] * 6


def test_warm_up_counts_updates():
    job = fakes.rft_job(VARIED, rows=4, batch_size=12, learning_rate=1.0, learning_rate_warmup_steps=4, **SMALL)
    run(job)
    assert [p.learning_rate for p in job.trainer.named("optim_step")] == [0.25, 0.5, 0.75, 1.0]


def test_patience_marks_the_best_held_out_reward_so_far():
    """Held out: 0.2 before training, then 0.5, 0.4, 0.6, 0.6; the start is no step, and a tie is no better."""
    marks = iter([0.2, 0.5, 0.4, 0.6, 0.6])

    def rule(text, row):
        return next(marks) if row["n"] == "held out" else float(text) / 4

    def job(**more):
        made = fakes.rft_job(rule, rows=4, heldout=1, chunk_size=2, epochs=2, eval_every=1, eval_samples=1, **more)
        made.heldout[0].row["n"] = "held out"
        return made

    reports = run(job(early_stop_patience=9, **SMALL))
    assert [r.best for r in reports] == [False, True, False, True, False]
    assert [r.state["highest_heldout_reward"] for r in reports] == [0.2, 0.5, 0.5, 0.6, 0.6]
    marks = iter([0.5, 0.7])  # going on after step 2
    reports = run(job(early_stop_patience=9, **SMALL), after=2, state=reports[2].state)
    assert [r.best for r in reports] == [False, True]
    marks = iter([0.2, 0.5, 0.4, 0.6, 0.6])
    assert not any(r.best for r in run(job(**SMALL))), "without patience the last weights are the result"


def test_metrics_of_a_step():
    job = fakes.rft_job(fakes.by_candidate(0.0, 1.0, 1.0, "timeout: 10 s"), rows=2, max_grader_error_rate=0.5, **SMALL)
    metrics = run(job)[1].metrics
    expected = {
        "rollout/rollouts": 8,
        "rollout/groups": 2,
        "rollout/groups_with_signal": 2,
        "rollout/signal_share": 1,
        "rollout/failed_share": 0.25,
        "rollout/reward_mean": 2 / 3,
        "rollout/reward_min": 0,
        "rollout/reward_max": 1,
        "rollout/length_mean": 1,
        "rollout/tokens": 8,
        "rollout/entropy": 1,
        "rollout/distinct_share": 0.5,
        "part/length/raw": 1,
        "gap/max": 0,
        "gap/mean": 0,
        "kl_sample_train": 0,
        "optim/updates": 1,
        "epoch": 1,
    }
    assert {name: metrics[name] for name in expected} == pytest.approx(expected)


def test_a_step_without_signal_updates_nothing_and_is_published_all_the_same():
    rewards = iter([0.5] * 4 + [0.0, 1.0, 0.0, 1.0])
    job = fakes.rft_job(lambda text, row: next(rewards), rows=2, chunk_size=1, **SMALL)
    reports = run(job)
    assert [r.metrics.get("optim/updates") for r in reports[1:]] == [0, 1]
    assert [r.early_stop for r in reports] == ["", "", ""]
    assert len(job.trainer.named("forward_backward")) == 1
    assert [w.version for w in job.sampler.loaded] == [0, 0, 1]


@pytest.mark.parametrize("method", METHODS)
def test_a_whole_epoch_without_variance_ends_the_job(method):
    job = fakes.rft_job(FLAT, rows=4, chunk_size=2, epochs=3, rl_loss_method=method, **SMALL)
    *before, last = run_until_stop(job)
    assert [r.step for r in before] == [0, 1]
    assert last.step == 2
    assert (
        last.early_stop == "in epoch 1 no group of the 4 prompts had differing rewards: there is nothing to learn from"
    )
    assert job.trainer.named("optim_step") == []


def run_until_stop(job, **kwargs):
    """As the worker does: the report that says to stop is the last."""

    async def collect():
        out = []
        async for report in rft.run(job, **kwargs):
            out.append(report)
            if report.early_stop:
                break
        return out

    return asyncio.run(collect())


def test_signal_in_one_chunk_keeps_the_epoch_alive():
    def sometimes(text, row):
        return float(text) if row["n"] == 0 else 0.5

    job = fakes.rft_job(sometimes, rows=4, chunk_size=1, epochs=2, **SMALL)
    assert [r.early_stop for r in run(job)] == [""] * 9


def test_every_epoch_needs_a_signal_of_its_own():
    seen = iter([0.0, 1.0, 0.0, 1.0] + [0.5] * 100)
    job = fakes.rft_job(lambda text, row: next(seen), rows=2, chunk_size=1, epochs=4, **SMALL)
    reports = run_until_stop(job)
    assert [bool(r.early_stop) for r in reports] == [False, False, False, False, True]
    assert "in epoch 2" in reports[-1].early_stop


def test_signal_before_a_resumption_counts():
    """Three of four steps of the epoch are behind; one of them had signal, the last has none."""
    job = fakes.rft_job(FLAT, rows=4, chunk_size=1, epochs=1, **SMALL)
    assert run(job, after=3, state={"signal_in_epoch": 1.0})[0].early_stop == ""
    assert run(job, after=3, state={"signal_in_epoch": 0.0})[0].early_stop != ""


def test_a_failing_grader_stops_the_job_with_its_most_frequent_errors():
    kinds = ["error: KeyError: 'answer'", "timeout: 10 s", "error: ZeroDivisionError: division by zero", "nan: nan"]
    weights = [6, 4, 3, 2]
    failures = iter([kind for kind, count in zip(kinds, weights, strict=True) for _ in range(count)] + [1.0] * 100)
    job = fakes.rft_job(lambda text, row: next(failures), rows=5, **SMALL)
    with pytest.raises(JobStopped) as caught:
        run(job)
    said = str(caught.value)
    assert "75% of this step's gradings failed (max_grader_error_rate is 20%)" in said
    assert all(f"{count} x {kind}" in said for kind, count in zip(kinds[:3], weights[:3], strict=True))
    assert kinds[3] not in said
    assert job.trainer.named("forward_backward") == []


def test_failures_up_to_the_allowed_rate_are_data():
    job = fakes.rft_job(fakes.by_candidate(0.0, 1.0, 0.5, "error: no"), rows=2, max_grader_error_rate=0.25, **SMALL)
    (_, report) = run(job)
    assert report.metrics["rollout/failed_share"] == 0.25
    (data, *_), *_ = job.trainer.named("forward_backward")
    assert len(data) == 6
    assert [why for _, why in report.logs[0].judged[0]] == ["", "", "", "grading failed"]
    assert [r.error for r in report.logs[0].groups[0].rollouts] == [None, None, None, "error: no"]


def test_held_out_rows_are_scored_before_after_and_between():
    job = fakes.rft_job(VARIED, rows=4, heldout=3, chunk_size=1, eval_every=2, eval_samples=4, **SMALL)
    reports = run(job)
    assert [r.step for r in reports if "eval/reward_mean" in r.metrics] == [0, 2, 4]
    assert [[log.name for log in r.logs] for r in reports] == [
        ["eval"],
        ["step"],
        ["step", "eval"],
        ["step"],
        ["step", "eval"],
    ]
    held = [(prompt, params.seed) for prompt, params, _ in job.sampler.asked if prompt[0] >= 200]
    assert len(held) == 9
    assert len(set(held)) == 3  # the same seeds each time
    assert [("optim/weight_change" in r.metrics) for r in reports] == [False, False, True, False, True]


def test_advantage_clip_reaches_the_data():
    job = fakes.rft_job(VARIED, rows=1, advantage_clip=0.7, **SMALL)
    run(job)
    (data, *_), *_ = job.trainer.named("forward_backward")
    assert [d.advantages.max() for d in data] == pytest.approx([-0.5 * 0, -0.5 * 0, -0.5 * 0, 0.7])
    assert [d.advantages.min() for d in data] == pytest.approx([-0.5, -0.5, -0.5, 0.0])


def test_other_errors_of_a_grader_are_not_taken_for_failures():
    def broken(text, row):
        raise RuntimeError("the pool is gone")

    with pytest.raises(RuntimeError, match="the pool is gone"):
        run(fakes.rft_job(broken, **SMALL))
