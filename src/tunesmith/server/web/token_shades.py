"""Ways to colour the tokens of an attempt. A way is a row of VIEWS: what it shows and where its shades change."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tunesmith.services.rollout_browser import Token
from tunesmith.spec.loss import PolicyLoss


@dataclass(frozen=True, slots=True)
class Setting:
    """What a token's colour depends on beside the token."""

    advantage: float
    loss: PolicyLoss


@dataclass(frozen=True, slots=True)
class View:
    """One way; a shade is a class of the style sheet."""

    name: str
    meaning: str
    value: Callable[[Token, Setting], float | None]
    """None where it was not kept."""
    shade: Callable[[float, Setting], str]
    shades: Sequence[str]
    names: Sequence[str]
    """What each shade stands for."""

    @property
    def legend(self) -> list[tuple[str, str]]:
        return list(zip(self.shades, self.names, strict=True))


PROBABILITIES = (0.99, 0.9, 0.6, 0.3, 0.1)
NATS = (0.01, 0.1, 0.5, 1.0, 2.0)
OF_THE_CLIP = (0.02, 0.5, 1.0)
"""Distance of a ratio from 1, in parts of the clip's bound on its side."""
PUSHES = (0.0, 0.5, 1.0)


def _rising(passed: Iterable[bool]) -> str:
    """A shade for each limit that was passed, one after the other."""
    return f"t{sum(passed)}"


def _aside(limits: Sequence[float], distance: float) -> str:
    """Up or down from the middle, three shades each."""
    steps = sum(abs(distance) > limit for limit in limits)
    return f"{'up' if distance > 0 else 'down'}{steps}" if steps else "t0"


def _ratio_shade(ratio: float, setting: Setting) -> str:
    bound = setting.loss.clip_high if ratio > 1 else setting.loss.clip_low
    return _aside(OF_THE_CLIP, (ratio - 1) / (bound or 1.0))


def _push(token: Token, setting: Setting) -> float | None:
    return None if token.ratio is None else 0.0 if token.clipped else setting.advantage * token.ratio


RISING = ("t0", "t1", "t2", "t3", "t4", "t5")
ASIDE = ("down3", "down2", "down1", "t0", "up1", "up2", "up3")
VIEWS = {
    "probability": View(
        "Probability",
        "How likely the model held each token when it sampled it.",
        lambda token, _: token.probability,
        lambda value, _: _rising(value < limit for limit in PROBABILITIES),
        RISING,
        ("above 99%", "above 90%", "above 60%", "above 30%", "above 10%", "below"),
    ),
    "entropy": View(
        "Entropy",
        "How undecided the model was between tokens, in nats: at 0 it had no choice.",
        lambda token, _: token.entropy,
        lambda value, _: _rising(value > limit for limit in NATS),
        RISING,
        ("0", "above 0.01", "above 0.1", "above 0.5", "above 1", "above 2"),
    ),
    "ratio": View(
        "Ratio",
        "How much likelier each token had become by the time its update was made: 1 where no update came before.",
        lambda token, _: token.ratio,
        _ratio_shade,
        ASIDE,
        ("below the clip", "halfway down", "below 1", "1", "above 1", "halfway up", "above the clip"),
    ),
    "advantage": View(
        "Advantage",
        "How hard the update pushed each token: advantage times ratio, and 0 where it was clipped.",
        _push,
        lambda value, _: _aside(PUSHES, value),
        ASIDE,
        ("below -1", "below -0.5", "less likely", "0", "likelier", "above 0.5", "above 1"),
    ),
}


def kept(tokens: Sequence[Token], setting: Setting) -> list[str]:
    """The views that an attempt's file has the numbers for."""
    return [name for name, view in VIEWS.items() if any(view.value(token, setting) is not None for token in tokens)]
