"""The card of a run as pages: Markdown to paste into a model's description, HTML to show. Both from card.json alone."""

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from tunesmith.services.chart import show_value

Line = tuple[str, str]
"""(what, its value in words)."""


def headline(card: Mapping[str, Any]) -> str:
    """Whether it learned, in one sentence: with an interval that lies on one side of 0, or with its doubt."""
    for name, better in (("reward", 1), ("loss", -1)):
        before, after = card.get(f"heldout_{name}_before"), card.get(f"heldout_{name}_after")
        if before is None or after is None:
            continue
        change, interval = after - before, card.get("heldout_ci95")
        sentence = f"Held-out {name} {before:.3f} -> {after:.3f}"
        if interval is None:
            return f"{sentence} ({change:+.3f}); no interval was measured."
        sure = interval[0] > 0 or interval[1] < 0
        word = "better" if change * better > 0 else "worse"
        verdict = f"it is {word}" if sure else "the change may be chance"
        return f"{sentence} ({change:+.3f}, 95% interval {interval[0]:+.3f} to {interval[1]:+.3f}): {verdict}."
    return "Nothing was held out, so nothing says whether it learned."


def lines(card: Mapping[str, Any]) -> list[Line]:
    """The numbers of a card, in the order one asks: did the weights move, is the number honest, what did it cost."""
    gap, signs = card.get("sampler_gap_max"), card.get("reward_hack_signs")
    found = [f"{f['rule']} ({f['level']}): {f['saw']}" for f in card["findings"]]
    chosen = card.get("result_step", card["steps"])
    rows: list[tuple[str, str | None]] = [
        ("result", f"weights of step {chosen}, the best on held-out rows" if chosen != card["steps"] else None),
        (
            "state",
            f"{card['state']} after {_counted(card['steps'], 'step')}, {_counted(card['optimizer_updates'], 'update')}",
        ),
        ("weight change", _with(card.get("weight_change_norm"), "L2 norm")),
        ("sampler gap", None if gap is None else f"{gap:.1e} nats at most" if gap else "0 nats: none at all"),
        ("cut off at the limit", _share(card.get("truncated_share"))),
        ("signs of reward hacking", None if signs is None else "; ".join(signs) or "none of those looked for"),
        ("tokens sampled", _count(card.get("tokens_sampled"))),
        ("tokens trained", _count(card.get("tokens_trained"))),
        ("time", None if card.get("seconds") is None else f"{card['seconds']:.1f} s"),
        ("findings", "; ".join(found) or "none"),
    ]
    return [(what, value) for what, value in rows if value is not None]


def as_markdown(name: str, card: Mapping[str, Any]) -> str:
    table = [f"| {what} | {value.replace('|', '/')} |" for what, value in lines(card)]
    reproduce = ["```", card["reproduce"], "```"]
    return "\n".join([f"# {name}", "", headline(card), "", "| | |", "|---|---|", *table, "", *reproduce, ""])


def as_html(name: str, card: Mapping[str, Any]) -> str:
    """One page that needs no network."""
    environment = Environment(
        loader=PackageLoader("tunesmith.services"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("card.html").render(
        name=name, headline=headline(card), lines=lines(card), reproduce=card["reproduce"], bars=_bars(card)
    )


def _bars(card: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """(label, value, width in percent) of the held-out reward before and after; rewards are drawn from 0 to 1."""
    pair = [(when, card.get(f"heldout_reward_{when}")) for when in ("before", "after")]
    return [(when, value, 100 * min(max(value, 0.0), 1.0)) for when, value in pair if value is not None]


def _counted(value: int | None, what: str) -> str:
    return f"{value or 'no'} {what}{'' if value == 1 else 's'}"


def _with(value: float | None, unit: str) -> str | None:
    return None if value is None else f"{show_value(value, 'number')} ({unit})"


def _share(value: float | None) -> str | None:
    return None if value is None else f"{value:.1%}"


def _count(value: float | None) -> str | None:
    return None if value is None else f"{value:,.0f}"
