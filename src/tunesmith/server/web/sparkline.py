"""A series as a small inline drawing, without axes: only the way it goes."""

from collections.abc import Sequence
from html import escape

from markupsafe import Markup

from tunesmith.server.web import words

WIDTH, HEIGHT = 96, 24
ROOM = 3
"""Pixels around the line, so that its ends are not cut."""


def sparkline(values: Sequence[float], name: str) -> Markup:
    """The SVG of at least two values, evenly spread."""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    middle = HEIGHT / 2 if high == low else None
    points = [
        (
            ROOM + i * (WIDTH - 2 * ROOM) / (len(values) - 1),
            middle if middle is not None else HEIGHT - ROOM - (value - low) / span * (HEIGHT - 2 * ROOM),
        )
        for i, value in enumerate(values)
    ]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    said = escape(f"{name} from {words.number(values[0])} to {words.number(values[-1])}", quote=True)
    x, y = points[-1]
    return Markup(
        f'<svg class="spark" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{said}">'
        f'<polyline points="{path}"/><circle cx="{x:.1f}" cy="{y:.1f}" r="2.2"/></svg>'
    )
