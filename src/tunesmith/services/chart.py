"""Line charts as inline SVG: no scripts, colours from the page's CSS, readable from a phone to a wide screen."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

Point = tuple[float, float]
WIDTH, HEIGHT = 420, 230
LEFT, RIGHT, TOP, BOTTOM = 52, 58, 12, 34
"""Room for tick labels, for the label of the last value, above, and for the step axis."""
MOST_POINTS = 400
"""Points drawn per line; more are thinned to the lows and highs of equal spans."""
LABEL_GAP = 14


@dataclass(frozen=True, slots=True)
class Line:
    """One series of a chart."""

    label: str
    points: Sequence[Point]
    """(step, value), ascending in step."""
    marks: bool = False
    """A dot at every point, for what is measured now and then."""


@dataclass(frozen=True, slots=True)
class Axis:
    """The value axis."""

    form: str = "number"
    """How values are shown: number, share (percent) or log (powers of ten)."""
    limits: tuple[float, float] | None = None
    """Range that is shown in any case; data outside widens it."""
    guide: float | None = None
    """A value worth a dashed line, such as a health rule's threshold; shown once the data come near it."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Values to pixels of the drawing."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def line_chart(title: str, lines: Sequence[Line], axis: Axis | None = None) -> str:
    """The SVG of at least one non-empty line; hovering over a point shows its numbers."""
    axis = axis or Axis()
    shown = [Line(line.label, _placed(line.points, axis.form), line.marks) for line in lines]
    x = _steps([p[0] for line in shown for p in line.points])
    y, ticks = _values([p[1] for line in shown for p in line.points], axis)
    body = [_grid(y, ticks, axis.form), _step_axis(x)]
    body += [_path(line, number, x, y, axis.form) for number, line in enumerate(shown, start=1)]
    body += [_guide(y, axis), _last_values(shown, x, y, axis.form)]
    name = escape(f"{title}: {_spoken(shown, axis.form)}", quote=True)
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name}">{"".join(body)}</svg>'


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About ``count`` round numbers (1, 2 or 5 times a power of ten apart) that enclose low ... high."""
    raw = (high - low) / max(1, count - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def show_value(value: float, form: str) -> str:
    """A value as the charts and the page write it: 0.731, 73%, 1.2e-6."""
    if form == "share":
        return f"{value:.0%}" if abs(value) >= 0.1 or value == 0 else f"{value:.1%}"
    if value == 0:
        return "0"
    if abs(value) < 1e-3 or abs(value) >= 1e5:
        return f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e").replace(".0e", "e")
    if abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.3g}" if abs(value) >= 0.01 else f"{value:.2g}"


def number(value: float | None) -> str:
    """A value that may not have been measured."""
    return "—" if value is None else show_value(value, "number")


def duration(seconds: float | None) -> str:
    """8 s, 4 min, 2 h 5 min."""
    if seconds is None:
        return "—"
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _placed(points: Sequence[Point], form: str) -> list[Point]:
    """Where points lie on the axis: thinned, and as powers of ten on a log axis, which cannot show 0 and below."""
    if form == "log":
        points = [(step, math.log10(value)) for step, value in points if value > 0]
    return _thinned(points)


def _thinned(points: Sequence[Point]) -> list[Point]:
    if len(points) <= MOST_POINTS:
        return list(points)
    span = math.ceil(2 * len(points) / MOST_POINTS)
    kept = {points[0], points[-1]}
    for i in range(0, len(points), span):
        part = points[i : i + span]
        kept |= {min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])}
    return sorted(kept)


def _steps(steps: Sequence[float]) -> Scale:
    low, high = min(steps), max(steps)
    return Scale(low, high if high > low else low + 1, LEFT, WIDTH - RIGHT)


def _values(values: Sequence[float], axis: Axis) -> tuple[Scale, list[float]]:
    """The scale that holds all values, and its round tick marks."""
    low, high = min(values), max(values)
    if axis.limits:
        low, high = min(low, axis.limits[0]), max(high, axis.limits[1])
    if axis.guide is not None and axis.form != "log" and high > axis.guide / 2:
        high = max(high, axis.guide)
    if axis.form == "log":
        low, high = math.floor(low), max(math.ceil(high), math.floor(low) + 1)
        step = math.ceil((high - low) / 5)
        ticks = [float(t) for t in range(int(low), int(high) + step, step)]
    else:
        if high - low < 1e-9 * max(1.0, abs(high)):
            spread = abs(high) / 2 or 1.0
            low, high = (0.0, high + spread) if low >= 0 else (low - spread, high + spread)
        ticks = nice_ticks(low, high)
    return Scale(ticks[0], ticks[-1], HEIGHT - BOTTOM, TOP), ticks


def _grid(y: Scale, ticks: Sequence[float], form: str) -> str:
    parts = []
    for tick in ticks:
        at = y(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 7}" y="{at + 4:.1f}" text-anchor="end">{_tick(tick, form)}</text>')
    return "".join(parts)


def _step_axis(x: Scale) -> str:
    floor = HEIGHT - BOTTOM
    parts = [f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{floor}" y2="{floor}"/>']
    for tick in _whole_ticks(x.low, x.high):
        at = x(tick)
        parts.append(f'<line class="axis" x1="{at:.1f}" x2="{at:.1f}" y1="{floor}" y2="{floor + 4}"/>')
        parts.append(f'<text class="tick" x="{at:.1f}" y="{floor + 16}" text-anchor="middle">{tick:g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text class="tick" x="{middle}" y="{HEIGHT - 3}" text-anchor="middle">step</text>')
    return "".join(parts)


def _whole_ticks(low: float, high: float) -> list[float]:
    return [t for t in nice_ticks(low, high, 6) if low <= t <= high and t == int(t)]


def _guide(y: Scale, axis: Axis) -> str:
    if axis.guide is None:
        return ""
    value = math.log10(axis.guide) if axis.form == "log" else axis.guide
    if not y.low <= value <= y.high:
        return ""
    line = f'<line class="guide" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>'
    limit = show_value(axis.guide, axis.form)
    return f'{line}<text class="tick over" x="{LEFT + 5}" y="{y(value) - 4:.1f}">limit {limit}</text>'


def _path(line: Line, number: int, x: Scale, y: Scale, form: str) -> str:
    where = [(x(step), y(value)) for step, value in line.points]
    path = " ".join(f"{px:.1f},{py:.1f}" for px, py in where)
    parts = [f'<polyline class="line s{number}" points="{path}"/>']
    for (px, py), (step, value) in zip(where, line.points, strict=True):
        dotted = "dot" if line.marks or len(where) == 1 else "spot"
        tip = escape(f"{line.label} at step {step:g}: {_number(value, form)}")
        parts.append(
            f'<circle class="{dotted} s{number}" cx="{px:.1f}" cy="{py:.1f}" r="4"><title>{tip}</title></circle>'
        )
    return "".join(parts)


def _last_values(lines: Sequence[Line], x: Scale, y: Scale, form: str) -> str:
    """The newest value beside the end of each line, moved apart where they would overlap."""
    ends = sorted((y(line.points[-1][1]), number, line) for number, line in enumerate(lines, start=1) if line.points)
    parts, above = [], -math.inf
    for at, number, line in ends:
        step, value = line.points[-1]
        above = max(at, above + LABEL_GAP)
        text = _number(value, form)
        parts.append(f'<text class="last over s{number}" x="{x(step) + 8:.1f}" y="{above + 4:.1f}">{text}</text>')
    return "".join(parts)


def _spoken(lines: Sequence[Line], form: str) -> str:
    """The chart in words, for those who do not see it."""
    ends = [(line.label, line.points[0], line.points[-1]) for line in lines if line.points]
    return "; ".join(
        f"{label} from {_number(a[1], form)} at step {a[0]:g} to {_number(b[1], form)} at step {b[0]:g}"
        for label, a, b in ends
    )


def _number(placed: float, form: str) -> str:
    """A value by its place on the axis."""
    return show_value(10**placed, form) if form == "log" else show_value(placed, form)


def _tick(placed: float, form: str) -> str:
    if form == "log":
        return f'10<tspan dy="-5" font-size="8">{placed:.0f}</tspan>'
    return f"{100 * placed:.4g}%" if form == "share" else show_value(placed, form)
