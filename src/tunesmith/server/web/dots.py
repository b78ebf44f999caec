"""The rewards of a group as dots on a line: whether its attempts differ is seen at a glance."""

from collections.abc import Sequence
from html import escape

from markupsafe import Markup

from tunesmith.server.web import words

WIDTH, HEIGHT, ROOM = 140, 20, 6


def dots(rewards: Sequence[float], low: float, high: float) -> Markup:
    """The SVG; equal rewards lie on one another and look darker."""
    said = escape("rewards " + ", ".join(map(words.number, rewards)) if rewards else "no rewards", quote=True)
    span = (high - low) or 1.0
    marks = "".join(
        f'<circle cx="{ROOM + (reward - low) / span * (WIDTH - 2 * ROOM):.1f}" cy="{HEIGHT / 2:g}" r="4.5"/>'
        for reward in rewards
    )
    line = f'<line x1="{ROOM}" x2="{WIDTH - ROOM}" y1="{HEIGHT / 2:g}" y2="{HEIGHT / 2:g}"/>'
    return Markup(
        f'<svg class="dots" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{said}">{line}{marks}</svg>'
    )
