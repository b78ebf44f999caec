"""Rules about the texts themselves: cut off, out of form, incoherent, or written to please the grader."""

from collections.abc import Callable

from tunesmith.core.types import Finding
from tunesmith.health.advice import double, finding, propose
from tunesmith.health.history import WINDOW, History, Settings, ends, names, recent, series

INCOHERENT = 1.5
"""Nats per token above which text drawn at a temperature above 1 counts as noise: five even choices at each token."""
HOPELESS = 0.9
"""Share of responses cut off above which nothing can be learned from the rest."""
FEWEST_PROMPTS = 8
"""Prompts that a step has to have before texts that are alike across them say anything: few may share their answer."""
Sign = Callable[[History, Settings], str | None]


def truncation(history: History, settings: Settings) -> Finding | None:
    """Many responses are cut off at the token limit, so their rewards judge half an answer."""
    cut = recent(history, "rollout/truncated_share")
    if not cut.values or cut.mean() <= 0.2:
        return None
    saw = f"{cut.mean():.0%} of responses over the last {len(cut)} steps ended at max_tokens"
    change = propose(
        settings, "answers can end", ("max_tokens", double), by_hand=("max_tokens", "raise it, or ask for less")
    )
    return finding("truncation", "error" if cut.mean() > HOPELESS else "warning", history, saw, change)


def format_rate(history: History, settings: Settings) -> Finding | None:
    """The model still misses the asked-for format, and no longer gets better at it."""
    rate = series(history, "part/format/raw").last(2 * WINDOW)
    if len(rate) < 2 * WINDOW or max(rate.last(WINDOW).values) >= 0.95:
        return None
    before, now = rate.first(WINDOW).mean(), rate.last(WINDOW).mean()
    if now > before + 0.02:
        return None
    saw = f"format scored {now:.2f} on average over the last {WINDOW} steps, {before:.2f} over the {WINDOW} before"
    hand = ("warm_start_from", "an SFT run on some well-formed answers")
    if settings.get("warm_start_from"):
        hand = ("evaluator", "raise the weight of the format part")
    return finding("format_rate", "warning", history, saw, propose(settings, "luck need not find it", by_hand=hand))


def incoherent_text(history: History, settings: Settings) -> Finding | None:
    """At a temperature above 1 the sampler draws nearly at random: attempts are noise, not tries."""
    entropy, temperature = recent(history, "rollout/entropy"), settings.get("temperature")
    if len(entropy) < WINDOW or entropy.mean() <= INCOHERENT or temperature is None or temperature <= 1:
        return None
    saw = f"{entropy.mean():.2f} nats of entropy per token at temperature {temperature:g}"
    options = [("temperature", lambda t: round(max(1.0, t - 0.5), 2))]
    change = propose(settings, "texts hold together", *options, by_hand=("temperature", "lower it"))
    signal = recent(history, "rollout/signal_share")
    nothing = bool(signal.values) and max(signal.values) == 0
    return finding("incoherent_text", "error" if nothing else "warning", history, saw, change)


def reward_hacking_suspect(history: History, settings: Settings) -> Finding | None:
    """The reward is high while the texts turn odd: the model may be pleasing the grader, not the user."""
    reward = ends(history, "rollout/reward_mean")
    signs = [sign for test in SIGNS if (sign := test(history, settings))]
    if reward is None or not signs or (reward[1] - reward[0] <= 0.1 and reward[1] < 0.8):
        return None
    saw = f"mean reward {reward[0]:.2f} -> {reward[1]:.2f} while {' and '.join(signs)}"
    hand = ("evaluator", "read the best rollouts of the last step, and score down what they exploit")
    change = propose(settings, "the reward means what it should", by_hand=hand)
    return finding("reward_hacking_suspect", "warning", history, saw, change)


def _repetition(history: History, settings: Settings) -> str | None:
    both = ends(history, "rollout/repetition_mean")
    if both is None or both[1] - both[0] <= 0.2:
        return None
    return f"repeated 4-grams went {both[0]:.0%} -> {both[1]:.0%}"


def _alike(history: History, settings: Settings) -> str | None:
    """Right answers may be alike within a group; fewer texts than half the prompts means alike across prompts."""
    both = ends(_of_many_prompts(history), "rollout/distinct_share")
    candidates = int(settings.get("response_candidates_count", 8))
    if both is None or both[1] >= both[0] / 2 or both[1] * candidates >= 0.5:
        return None
    return f"distinct texts went {both[0]:.0%} -> {both[1]:.0%}"


def _same_text(history: History, settings: Settings) -> str | None:
    """One text that answers nearly every prompt; of a few right answers each has its share of the prompts."""
    both = ends(_of_many_prompts(history), "rollout/top_text_prompts")
    if both is None or both[1] < 0.7 or both[1] - both[0] <= 0.3:
        return None
    return f"one text went from {both[0]:.0%} to {both[1]:.0%} of the prompts"


def _of_many_prompts(history: History) -> History:
    """Without steps of few prompts, such as the rest of an epoch."""
    return [line for line in history if line.get("rollout/groups", FEWEST_PROMPTS) >= FEWEST_PROMPTS]


def _length(history: History, settings: Settings) -> str | None:
    both, cut = ends(history, "rollout/length_mean"), ends(history, "rollout/truncated_share")
    if both is None:
        return None
    before, now = both
    rambling = cut is not None and cut[0] >= 0.2  # one that was cut off and learns to stop gets better, not shorter
    if now > 3 * before or (now < before / 4 and not rambling):
        return f"mean length went {before:.0f} -> {now:.0f} tokens"
    return None


def _format_only(history: History, settings: Settings) -> str | None:
    """The format part is earned while every other part falls."""
    parts = {n for n in names(history) if n.startswith("part/") and n.endswith("/raw")}
    form = ends(history, "part/format/raw")
    others = [both for name in sorted(parts - {"part/format/raw"}) if (both := ends(history, name))]
    if form is None or not others or form[1] - form[0] <= 0.1 or max(now - then for then, now in others) >= -0.02:
        return None
    now, then = max(others, key=lambda both: both[1] - both[0])[::-1]
    return f"format went {form[0]:.2f} -> {form[1]:.2f} and every other part fell ({then:.2f} -> {now:.2f})"


SIGNS: list[Sign] = [_repetition, _alike, _same_text, _length, _format_only]
"""Ways in which texts turn odd between the first and the last steps."""
