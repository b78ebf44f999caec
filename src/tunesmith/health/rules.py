"""Health rules: pure functions over the metrics of a run so far. A rule is a function and a line in RULES.

A rule fires once its evidence is complete, says the numbers it saw and proposes one change. Rewards are taken to
end at 1, the convention of the built-in graders.
"""

from collections.abc import Callable

from tunesmith.core.types import Finding, Level
from tunesmith.health.advice import propose
from tunesmith.health.history import History, Series, Settings, series

Rule = Callable[[History, Settings], Finding | None]
CEILING = 0.95
"""Mean reward from which on a task counts as solved."""
ALIKE = 0.05
"""Standard deviation of all rewards of a step below which the attempts count as alike."""
WINDOW = 3
"""Steps that an average or "in a row" spans, so that one odd step proves nothing."""


def no_signal(history: History, settings: Settings) -> Finding | None:
    """Most groups score the same on every attempt, so almost nothing is learned from."""
    recent = series(history, "rollout/signal_share").last(WINDOW)
    if len(recent) < WINDOW or max(recent.values) >= 0.2 or _solved(history):
        return None
    saw = f"at most {max(recent.values):.0%} of groups had differing rewards in each of the last {WINDOW} steps"
    advice = propose(settings, "response_candidates_count", lambda n: 2 * n, "Let the evaluator give partial credit")
    return _finding("no_signal", "warning", history, saw, f"{advice}: more attempts differ more often.")


def mode_collapse(history: History, settings: Settings) -> Finding | None:
    """All attempts score nearly the same, below the best score: nothing is left to compare."""
    spread = series(history, "rollout/reward_std").last(WINDOW)
    if not _alike(spread) or _solved(history):
        return None
    mean = series(history, "rollout/reward_mean").last(1)
    around = f" around a mean of {mean.values[-1]:.2f}" if mean.values else ""
    saw = f"rewards spread by at most {max(spread.values):.3f}{around} in each of the last {WINDOW} steps"
    advice = propose(
        settings,
        "temperature",
        lambda t: round(min(t + 0.3, 2.0), 2),
        "Raise temperature, or let the evaluator give partial credit",
    )
    return _finding("mode_collapse", "warning", history, saw, f"{advice}: attempts explore again.")


def solved(history: History, settings: Settings) -> Finding | None:
    """Nearly every attempt scores at the top: good, and there is nothing more to learn from these rows."""
    if not _solved(history):
        return None
    mean, spread = (series(history, f"rollout/reward_{x}").values[-1] for x in ("mean", "std"))
    saw = f"mean reward {mean:.3f} with a spread of {spread:.3f}"
    return _finding("solved", "info", history, saw, "dataset: add harder rows, or stop here.")


def kl_drift(history: History, settings: Settings) -> Finding | None:
    """The policy has moved far from where it started; it may be forgetting what it knew."""
    kl = series(history, "policy/kl_ref").last(1)
    if not kl.values or kl.values[-1] <= 0.01:
        return None
    saw = f"KL to the starting weights is {kl.values[-1]:.4f} nats per token"
    if kl.values[-1] <= 0.02:
        return _finding("kl_drift", "info", history, saw, "Nothing yet: act when it passes 0.02.")
    advice = _slower(settings)
    if settings.get("rl_loss_method") == "grpo":
        advice = propose(settings, "rl_kl_beta", lambda beta: 10 * (beta or 0.001), advice)
    return _finding("kl_drift", "warning", history, saw, f"{advice}: it holds the policy nearer to its start.")


def reward_spike_then_crash(history: History, settings: Settings) -> Finding | None:
    """The reward rose and then fell back by more than noise explains: the learning rate is too high."""
    rewards = series(history, "rollout/reward_mean")
    smooth = rewards.smoothed(WINDOW)
    if len(rewards) < 2 * WINDOW:
        return None
    peak = max(smooth.values)
    start, now = smooth.values[0], smooth.values[-1]
    real = max(0.1, 2.5 * rewards.noise())
    if peak - start < real or peak - now < max(real, (peak - start) / 2):
        return None
    top = smooth.steps[smooth.values.index(peak)]
    saw = f"mean reward over {WINDOW} steps went {start:.2f}, {peak:.2f} at step {top}, {now:.2f} now"
    return _finding("reward_spike_then_crash", "warning", history, saw, f"{_slower(settings)}, and start afresh.")


def truncation(history: History, settings: Settings) -> Finding | None:
    """Many responses are cut off at the token limit, so their rewards judge half an answer."""
    cut = series(history, "rollout/truncated_share").last(WINDOW)
    if not cut.values or cut.mean() <= 0.2:
        return None
    saw = f"{cut.mean():.0%} of responses over the last {len(cut)} steps ended at max_tokens"
    advice = propose(settings, "max_tokens", lambda n: 2 * n, "Raise max_tokens, or ask for shorter answers")
    return _finding("truncation", "warning", history, saw, f"{advice}: answers can end.")


def format_rate(history: History, settings: Settings) -> Finding | None:
    """The model still misses the asked-for format, and no longer gets better at it."""
    rate = series(history, "part/format/raw").last(2 * WINDOW)
    if len(rate) < 2 * WINDOW or max(rate.last(WINDOW).values) >= 0.95:
        return None
    before, now = rate.first(WINDOW).mean(), rate.last(WINDOW).mean()
    if now > before + 0.02:
        return None
    saw = f"format scored {now:.2f} on average over the last {WINDOW} steps, {before:.2f} over the {WINDOW} before"
    advice = "warm_start_from: none -> an SFT run on some well-formed answers; luck then need not find the format."
    if settings.get("warm_start_from"):
        advice = "evaluator: raise the weight of the format part."
    return _finding("format_rate", "warning", history, saw, advice)


def grader_errors(history: History, settings: Settings) -> Finding | None:
    """Gradings fail; those attempts are left out, and the step learns from fewer."""
    failed = series(history, "rollout/failed_share").last(1)
    if not failed.values or failed.values[-1] <= 0.05:
        return None
    step = failed.steps[-1]
    saw = f"{failed.values[-1]:.0%} of gradings failed at step {step}"
    advice = f"evaluator: mend what the error column of rollouts/step-{step:06d}.parquet names."
    return _finding("grader_errors", "warning", history, saw, advice)


def reward_hacking_suspect(history: History, settings: Settings) -> Finding | None:
    """The reward is high while the texts turn odd: the model may be pleasing the grader, not the user."""
    rewards = series(history, "rollout/reward_mean")
    if len(rewards) < 2 * WINDOW:
        return None
    before, now = rewards.first(WINDOW).mean(), rewards.last(WINDOW).mean()
    signs = _odd_texts(history, int(settings.get("response_candidates_count", 8)))
    if not signs or (now - before <= 0.1 and now < 0.8):
        return None
    saw = f"mean reward {before:.2f} -> {now:.2f} while {' and '.join(signs)}"
    advice = "evaluator: read the best rollouts of the last step, and score down what they exploit."
    return _finding("reward_hacking_suspect", "warning", history, saw, advice)


def sampler_gap(history: History, settings: Settings) -> Finding | None:
    """Sampler and trainer disagree on the probability of the same tokens, so the gradient is off."""
    gap = series(history, "gap/max").last(1)
    if not gap.values or gap.values[-1] <= 1e-5:
        return None
    saw = f"log-probabilities of fresh rollouts differ by up to {gap.values[-1]:.1e} nats"
    if gap.values[-1] <= 1e-3:
        advice = "None in bf16 or fp16, where rounding does this; in fp32 the limit is 1e-5 and this is a defect."
        return _finding("sampler_gap", "info", history, saw, advice)
    advice = "Compute in fp32 to see whether it is rounding (it falls below 1e-5) or a defect (it stays)."
    return _finding("sampler_gap", "warning", history, saw, advice)


def weights_not_moving(history: History, settings: Settings) -> Finding | None:
    """An optimizer update left the weights as they were: the run looks alive and learns nothing."""
    moved = series(history, "optim/weight_change")
    signal = series(history, "rollout/signal_share").last(1)
    starting = len(moved) == 1 and settings.get("learning_rate_warmup_steps", 0) > 0
    if not moved.values or moved.values[-1] != 0 or signal.values[-1:] == (0,) or starting:
        return None
    norm = series(history, "optim/grad_norm").at(moved.steps[-1])
    saw = f"weight change 0 at step {moved.steps[-1]}" + ("" if norm is None else f", gradient norm {norm:.2e}")
    advice = propose(settings, "learning_rate", lambda rate: min(10 * rate, 5e-4), "Raise learning_rate")
    return _finding("weights_not_moving", "error", history, saw, f"{advice}: the update was lost in rounding or empty.")


def overfitting(history: History, settings: Settings) -> Finding | None:
    """The loss on held-out rows rises while the training loss falls: the model learns the rows by heart."""
    held_out, train = series(history, "eval/loss"), series(history, "train/loss")
    if len(held_out) < 2 or not train.values:
        return None
    best = min(held_out.values)
    at = held_out.values.index(best)
    later = held_out.values[at + 1 :]
    confirmed = len(later) >= 2 or len(later) == len(held_out) - 1 == 1
    if not confirmed or min(later) <= 1.01 * best:
        return None
    then = train.until(held_out.steps[at]).last(WINDOW) if held_out.steps[at] >= train.steps[0] else train.first(1)
    if train.last(WINDOW).mean() >= then.mean():
        return None
    saw = f"held-out loss {best:.3f} at step {held_out.steps[at]}, {later[-1]:.3f} now"
    slower = propose(settings, "learning_rate", lambda rate: rate / 2, "dataset: add rows, or train fewer steps")
    advice = propose(settings, "epochs", lambda n: max(1, n - 1), slower)
    return _finding("overfitting", "warning", history, f"{saw}; training loss {train.values[-1]:.3f}", f"{advice}.")


def oom_splits(history: History, settings: Settings) -> Finding | None:
    """Passes ran out of memory and were split: the result is the same, only slower."""
    splits = series(history, "train/oom_splits")
    if sum(splits.values) == 0:
        return None
    saw = f"{sum(splits.values):.0f} passes were split so far to fit into memory"
    fewer = propose(settings, "batch_size_samples", lambda n: max(1, n // 2), "Lower batch_size")
    advice = propose(settings, "batch_size", lambda n: n // 2, fewer)
    return _finding("oom_splits", "info", history, saw, f"{advice}: fits at once and saves the retries.")


def still_climbing(history: History, settings: Settings) -> Finding | None:
    """The run ended while the reward was still rising: more epochs would probably have raised it further."""
    rewards = series(history, "rollout/reward_mean")
    recent = rewards.last(2 * WINDOW)
    if len(recent) < 2 * WINDOW or recent.last(WINDOW).mean() >= CEILING:
        return None
    gain = recent.last(WINDOW).mean() - recent.first(WINDOW).mean()
    if gain <= max(0.02, 2 * rewards.noise()):
        return None
    saw = f"mean reward rose by {gain:.2f} within the last {2 * WINDOW} steps, to {recent.last(WINDOW).mean():.2f}"
    more = propose(settings, "epochs", lambda n: n + (2 if n > 1 else 1), "Train for 1 or 2 more epochs")
    return _finding("still_climbing", "info", history, saw, f"{more}: the curve had not levelled off.")


RULES: list[Rule] = [
    weights_not_moving,
    grader_errors,
    sampler_gap,
    no_signal,
    mode_collapse,
    solved,
    reward_spike_then_crash,
    kl_drift,
    reward_hacking_suspect,
    truncation,
    format_rate,
    overfitting,
    oom_splits,
]
END_RULES: list[Rule] = [still_climbing]
"""Rules that only make sense once the run has ended."""


def examine(history: History, settings: Settings | None = None, finished: bool = False) -> list[Finding]:
    """What the rules find in a run so far, gravest first.

    Args:
        history: the lines of metrics.jsonl.
        settings: the job's spec; with it each advice names the old and the new value.
        finished: the run has ended, so the rules about endings apply too.
    """
    rules = RULES + (END_RULES if finished else [])
    found = [finding for rule in rules if (finding := rule(history, settings or {}))]
    return sorted(found, key=lambda finding: ("error", "warning", "info").index(finding.level))


def _finding(rule: str, level: Level, history: History, saw: str, advice: str) -> Finding:
    return Finding(rule, level, int(history[-1]["step"]), saw, advice)


def _slower(settings: Settings) -> str:
    return propose(settings, "learning_rate", lambda rate: rate / 2, "Lower learning_rate")


def _alike(spread: Series) -> bool:
    return len(spread) == WINDOW and max(spread.values) < ALIKE


def _solved(history: History) -> bool:
    """Rewards of 0 and 1 spread widely even at a mean of 0.98, so the mean alone decides."""
    mean = series(history, "rollout/reward_mean").last(WINDOW)
    return len(mean) == WINDOW and min(mean.values) >= CEILING


def _odd_texts(history: History, candidates: int) -> list[str]:
    """Signs that texts went wrong between the first and the last steps, each with its numbers."""
    signs = []
    before, now = _ends(history, "rollout/repetition_mean")
    if now - before > 0.2:
        signs.append(f"repeated 4-grams went {before:.0%} -> {now:.0%}")
    before, now = _ends(history, "rollout/distinct_share")
    if now < before / 2 and now * candidates < 0.5:
        # Right answers may be alike within a group; fewer texts than half the prompts means alike across prompts.
        signs.append(f"distinct texts went {before:.0%} -> {now:.0%}")
    before, now = _ends(history, "rollout/length_mean")
    rambling, _ = _ends(history, "rollout/truncated_share")
    if now > 3 * before or (now < before / 4 and rambling < 0.2):
        # A model that was cut off at the limit and learns to stop is getting better, not shorter.
        signs.append(f"mean length went {before:.0f} -> {now:.0f} tokens")
    return signs


def _ends(history: History, name: str) -> tuple[float, float]:
    """Averages of a metric's first and last steps; (0, 0) while they overlap."""
    values = series(history, name)
    return (values.first(WINDOW).mean(), values.last(WINDOW).mean()) if len(values) >= 2 * WINDOW else (0.0, 0.0)
