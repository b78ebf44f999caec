"""Draw the chart of the README from a run: `python docs/images/make_chart.py runs/demo-... docs/images/demo.svg`."""

import sys
from pathlib import Path

from tunesmith.health.history import series
from tunesmith.services.chart import HEIGHT, LEFT, WIDTH, Axis, Line, line_chart
from tunesmith.services.run_folder import RunFolder

COLOURS = {"training": "#8a6d1d", "held-out": "#1d5fa8"}
STYLE = (
    "text{font:11px system-ui,sans-serif;fill:#444}.grid{stroke:#e4e4e4}.axis{stroke:#999}.line{fill:none;"
    "stroke-width:2}.spot{fill:none}.last{font-weight:600}"
    + "".join(
        f".line.s{n}{{stroke:{c}}}.dot.s{n},text.s{n}{{fill:{c}}}" for n, c in enumerate(COLOURS.values(), start=1)
    )
)


def draw(run: RunFolder) -> str:
    """A stand-alone SVG of the mean reward of both, with a legend above."""
    lines = []
    for label, metric in (("training", "rollout/reward_mean"), ("held-out", "eval/reward_mean")):
        found = series(run.metrics(), metric)
        lines.append(Line(label, list(zip(found.steps, found.values, strict=True)), marks=label == "held-out"))
    svg = line_chart("Mean reward", lines, Axis("number", (0, 1)))
    start = svg.index(">") + 1
    box = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH * 1.4:.0f}" viewBox="0 -24 {WIDTH} {HEIGHT + 24}"'
    head = svg[:start].replace(f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}"', box)
    paper = f'<style>{STYLE}</style><rect y="-24" width="{WIDTH}" height="{HEIGHT + 24}" fill="#fff"/>'
    legend = "".join(
        f'<text class="s{n}" x="{LEFT + 110 * (n - 1)}" y="-6">{"●" if n == 2 else "—"} {label} reward</text>'
        for n, label in enumerate(COLOURS, start=1)
    )
    return f"{head}{paper}{legend}{svg[start:]}\n"


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(draw(RunFolder.open(sys.argv[1])), "utf-8")
