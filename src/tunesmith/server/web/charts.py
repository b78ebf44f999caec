"""The charts of a job's page: those of the report, and what only matters while a job runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from re import sub
from typing import Any

from tunesmith.core.types import Finding
from tunesmith.services.chart import Axis, show_value
from tunesmith.services.curves import Curve, Curves
from tunesmith.services.report import CHARTS, ChartPlan
from tunesmith.services.run_folder import RunFolder

MORE = (
    ChartPlan(
        "Entropy",
        (("rollout/entropy", "training"), ("eval/entropy", "held-out")),
        note="Nats per sampled token; towards 0 the attempts become alike.",
    ),
    ChartPlan(
        "Clipped tokens",
        (("policy/clip_share", "share"),),
        Axis("share", (0, 0.05)),
        "Tokens whose ratio left the clip range, so that they taught nothing.",
    ),
    ChartPlan(
        "Speed",
        (("speed/rollout_tokens_per_s", "sampled"), ("speed/train_tokens_per_s", "trained")),
        note="Tokens per second of each part.",
    ),
    ChartPlan(
        "Time of a step",
        (
            ("time/rollout_s", "rollouts"),
            ("time/grade_s", "of them only grading"),
            ("time/train_s", "training"),
            ("time/eval_s", "evaluation"),
        ),
        Axis("number", (0, 0)),
        "Seconds.",
    ),
    ChartPlan(
        "Processors and GPU",
        (("machine/processors", "processors in use"), ("machine/gpu_share", "share of the GPU's time")),
        Axis("number", (0, 0)),
        "Of the job's own process, on average over a step; a grader's processors are not in it.",
    ),
    ChartPlan(
        "Memory",
        (("machine/memory_mib", "now"), ("memory/peak_mib", "peak"), ("machine/gpu_memory_mib", "GPU, tensors")),
        Axis("number", (0, 0)),
        "MiB of the job's process.",
    ),
)
PARTS = (
    ("/raw", "Reward parts", "As each grader gave them."),
    ("/weighted", "Reward parts, weighted", "As they count in the sum."),
)
"""(end of the metrics' names, title, note) of the charts of a reward's parts."""
PLANS = (*CHARTS[:-1], *MORE, CHARTS[-1])
"""The policy loss is last, because it says least."""
HEALTHY: Mapping[str, tuple[float | None, float | None]] = {
    "Groups with signal": (0.2, None),
    "Cut off at the limit": (None, 0.2),
    "Sampler gap": (None, 1e-5),
}
"""Chart -> the range in which no health rule speaks up."""
PINNED = {
    "no_signal": "Groups with signal",
    "small_groups": "Groups with signal",
    "kl_drift": "KL to the start",
    "truncation": "Cut off at the limit",
    "sampler_gap": "Sampler gap",
    "overfitting": "Loss",
    "oom_splits": "Memory",
    "weights_not_moving": "Gradient norm",
    "entropy_collapse": "Entropy",
    "incoherent_text": "Entropy",
    "stale_rollouts": "Clipped tokens",
    "slow_grader": "Time of a step",
    "time_lost": "Time of a step",
    "one_part_dominates": "Reward parts, weighted",
    "parts_disagree": "Reward parts",
}
"""Rule -> the chart that shows what it saw; others are pinned to the first chart."""


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart with its data."""

    id: str
    plan: ChartPlan
    curves: Sequence[tuple[str, Curve]]
    """(label, values)"""
    title: str

    @property
    def said(self) -> str:
        """The chart in words, for those who do not see it."""
        form = self.plan.axis.form
        ends = [(label, show_value(c.values[0], form), show_value(c.values[-1], form)) for label, c in self.curves]
        return f"{self.title}: " + "; ".join(f"{label} from {first} to {last}" for label, first, last in ends)

    @property
    def thinned(self) -> bool:
        return any(len(curve.steps) < curve.total for _, curve in self.curves)


def id_of(title: str) -> str:
    return sub(r"[^a-z]+", "-", title.lower())


def charts_of(curves: Curves, run: RunFolder, smooth: bool = False) -> list[Chart]:
    """Those that have data."""
    found = curves.of(run, [metric for plan in PLANS for metric, _ in plan.lines], smooth=smooth)
    charts = []
    for plan in (*PLANS[:1], *_part_plans(curves.names(run)), *PLANS[1:]):
        lines = [(label, found[metric]) for metric, label in plan.lines if metric in found]
        if not lines and plan not in PLANS:
            parts = curves.of(run, [metric for metric, _ in plan.lines], smooth=smooth)
            lines = [(label, parts[metric]) for metric, label in plan.lines]
        if lines:
            charts.append(Chart(id_of(plan.title), plan, lines, plan.title))
    return charts


def _part_plans(names: Sequence[str]) -> list[ChartPlan]:
    """The parts of a reward, raw and as they count; one part alone is the reward itself."""
    plans = []
    for suffix, title, note in PARTS:
        parts = [name for name in names if name.startswith("part/") and name.endswith(suffix)]
        if len(parts) > 1:
            lines = tuple((name, name.removeprefix("part/").removesuffix(suffix)) for name in parts)
            plans.append(ChartPlan(title, lines, note=note))
    return plans


def as_json(charts: Sequence[Chart], findings: Sequence[Finding], after: int) -> dict[str, Any]:
    """What the browser draws: everything, or where nothing was thinned the points after a step."""
    whole = after < 0 or any(chart.thinned for chart in charts)
    first = -1 if whole else after
    return {
        "whole": whole,
        "charts": {chart.id: _columns(chart, first) for chart in charts},
        "pins": [
            {"number": i, "step": f.step, "level": f.level, "rule": f.rule, "chart": _chart_of(f, charts)}
            for i, f in enumerate(findings, start=1)
        ],
    }


def _columns(chart: Chart, after: int) -> dict[str, Any]:
    """Steps that any line has, and each line's value there or null."""
    steps = sorted({step for _, curve in chart.curves for step in curve.steps if step > after})
    lines = []
    for label, curve in chart.curves:
        values = dict(zip(curve.steps, curve.values, strict=True))
        lines.append({"label": label, "values": [values.get(step) for step in steps]})
    axis, healthy = chart.plan.axis, HEALTHY.get(chart.plan.title, (None, None))
    return {"steps": steps, "lines": lines, "form": axis.form, "limits": axis.limits, "healthy": healthy}


def _chart_of(finding: Finding, charts: Sequence[Chart]) -> str:
    wanted = id_of(PINNED.get(finding.rule, ""))
    return wanted if any(chart.id == wanted for chart in charts) else charts[0].id if charts else ""
