"""The card as one picture, to post: what was held out before and after, the curve, and whether to trust it."""

import io
from collections.abc import Callable, Mapping, Sequence
from textwrap import wrap
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from tunesmith.core.types import Metrics
from tunesmith.health.history import Series, series
from tunesmith.services.card_pages import lines
from tunesmith.services.chart import number, show_value

SIZE = (1200, 630)
EDGE = 56
CURVE = (EDGE, 262, 680, 486)
"""Left, top, right, bottom of the curve's plane; to its right there is room for a number."""
FACTS_AT, FACTS_TOP = 772, 258
PAPER, INK, QUIET, RULE = "#ffffff", "#1b1f24", "#57606a", "#dce0e5"
TRAIN, HELD_OUT, GOOD, BAD = "#9dbde8", "#1f5fbf", "#176b3a", "#b42318"
FINER = 3
MOST_DOTS = 40
Point = tuple[float, float]
SHOWN = ("weight change", "sampler gap", "cut off at the limit", "signs of reward hacking", "tokens trained", "time")
"""Lines of the card that the picture has room for."""


def as_png(name: str, card: Mapping[str, Any], history: Sequence[Metrics]) -> bytes:
    """A PNG of 1200 x 630, which is what social media show whole.

    Args:
        history: the lines of metrics.jsonl, for the curve; may be empty.
    """
    picture = Image.new("RGB", SIZE, PAPER)
    pen = ImageDraw.Draw(picture)
    what = "loss" if "heldout_loss_before" in card else "reward"
    pen.rectangle((0, 0, SIZE[0], 10), fill=HELD_OUT)
    pen.text((EDGE, 34), _cut(name, 34, 760), INK, _font(34), stroke_width=0.6)
    pen.text((SIZE[0] - EDGE, 44), "tuned with Tunesmith", QUIET, _font(22), anchor="ra")
    _verdict(picture, pen, card, what)
    _curve(picture, pen, history, what)
    _facts(pen, card)
    _command(pen, card["reproduce"])
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True)
    return out.getvalue()


def _smoothly(picture: Image.Image, colour: str, draw: Callable[[ImageDraw.ImageDraw, int], None]) -> None:
    """Shapes with soft edges: drawn FINER times as large, then made small."""
    mask = Image.new("L", (SIZE[0] * FINER, SIZE[1] * FINER))
    draw(ImageDraw.Draw(mask), FINER)
    picture.paste(colour, (0, 0), mask.resize(SIZE, Image.Resampling.LANCZOS))


def _line(picture: Image.Image, points: Sequence[Point], colour: str) -> None:
    def draw(pen: ImageDraw.ImageDraw, scale: int) -> None:
        pen.line([(x * scale, y * scale) for x, y in points], 255, 4 * scale, joint="curve")

    _smoothly(picture, colour, draw)


def _dots(picture: Image.Image, points: Sequence[Point], colour: str) -> None:
    def draw(pen: ImageDraw.ImageDraw, scale: int) -> None:
        for x, y in points:
            pen.ellipse(tuple(scale * v for v in (x - 6, y - 6, x + 6, y + 6)), 255)

    _smoothly(picture, colour, draw)


def _arrow(picture: Image.Image, x: float) -> None:
    def draw(pen: ImageDraw.ImageDraw, scale: int) -> None:
        pen.line((x * scale, 178 * scale, (x + 46) * scale, 178 * scale), 255, 5 * scale)
        pen.polygon([(a * scale, b * scale) for a, b in ((x + 42, 166), (x + 62, 178), (x + 42, 190))], 255)

    _smoothly(picture, QUIET, draw)


def _verdict(picture: Image.Image, pen: ImageDraw.ImageDraw, card: Mapping[str, Any], what: str) -> None:
    before, after = card.get(f"heldout_{what}_before"), card.get(f"heldout_{what}_after")
    if before is None or after is None:
        pen.text((EDGE, 120), "Nothing was held out, so nothing says whether it learned.", QUIET, _font(28))
        return
    interval = card.get("heldout_ci95")
    colour = _colour((after - before) * (1 if what == "reward" else -1), interval)
    pen.text((EDGE, 100), f"Held-out {what}, before and after", QUIET, _font(22))
    pen.text((EDGE, 132), show_value(before, "number"), INK, _font(72))
    x = EDGE + pen.textlength(show_value(before, "number"), _font(72)) + 28
    _arrow(picture, x)
    pen.text((x + 90, 132), show_value(after, "number"), colour, _font(72), stroke_width=1)
    x += 90 + pen.textlength(show_value(after, "number"), _font(72)) + 36
    pen.text((x, 148), f"{after - before:+.3g}", colour, _font(34))
    said = "one measurement, no interval"
    if interval is not None:
        said = f"95% interval {interval[0]:+.3f} to {interval[1]:+.3f}"
        said += ": may be chance" if interval[0] <= 0 <= interval[1] else ""
    pen.text((x, 190), said, QUIET, _font(20))


def _colour(gain: float, interval: Sequence[float] | None) -> str:
    """Of a change; one that may be chance is neither good nor bad."""
    if interval is not None and interval[0] <= 0 <= interval[1]:
        return INK
    return GOOD if gain >= 0 else BAD


def _curve(picture: Image.Image, pen: ImageDraw.ImageDraw, history: Sequence[Metrics], what: str) -> None:
    train = series(history, "rollout/reward_mean" if what == "reward" else "train/loss")
    held_out = series(history, "eval/reward_mean" if what == "reward" else "eval/loss")
    values = (*train.values, *held_out.values)
    if not values:
        return
    left, top, right, bottom = CURVE
    low, high = min(values), max(values)
    if what == "reward":
        low, high = min(0.0, low), max(1.0, high)
    last = max(1, *train.steps, *held_out.steps)

    def place(points: Series) -> list[Point]:
        rise = (high - low) or 1.0
        heights = [bottom - (value - low) / rise * (bottom - top) for value in points.values]
        return [(left + step / last * (right - left), y) for step, y in zip(points.steps, heights, strict=True)]

    for value, y in ((high, top), (low, bottom)):
        pen.line((left, y, right, y), RULE, 2)
        pen.text((right + 8, y), number(value), QUIET, _font(16), anchor="lm")
    for points, colour in ((train, TRAIN), (held_out, HELD_OUT)):
        if len(points) > 1:
            _line(picture, place(points), colour)
    if len(train) == 1:
        _dots(picture, place(train), TRAIN)
    if len(held_out) < MOST_DOTS:
        _dots(picture, place(held_out), HELD_OUT)
    pen.text((left, bottom + 10), f"training {what}", "#4877b8", _font(17))
    pen.text(
        (left + 170, bottom + 10), f"held-out {what}" if held_out.values else "", HELD_OUT, _font(17), stroke_width=0.4
    )
    pen.text((right, bottom + 10), f"{last} step{'' if last == 1 else 's'}", QUIET, _font(17), anchor="ra")


def _facts(pen: ImageDraw.ImageDraw, card: Mapping[str, Any]) -> None:
    y = FACTS_TOP
    for what, value in lines(card):
        if what not in SHOWN:
            continue
        pen.text((FACTS_AT, y), what, QUIET, _font(16))
        pen.text((FACTS_AT, y + 18), _cut(value, 19, SIZE[0] - EDGE - FACTS_AT), INK, _font(19))
        y += 44


def _command(pen: ImageDraw.ImageDraw, command: str) -> None:
    """In a box at the bottom, the first two lines of it."""
    pen.rounded_rectangle((EDGE, 536, SIZE[0] - EDGE, 602), 8, "#f0f2f5")
    parts = wrap(command, 108, break_on_hyphens=False)
    text = "\n".join(parts[:2]) + ("…" if len(parts) > 2 else "")
    pen.text((EDGE + 16, 569), text, INK, _font(18), anchor="lm", spacing=5)


def _cut(text: str, size: int, width: float) -> str:
    """The text, or as much of its beginning as there is room for."""
    font = _font(size)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return font
