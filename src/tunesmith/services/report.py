"""report.html: one self-contained page that shows whether a run worked, and why. No network, no scripts."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from tunesmith.core.described import descriptions
from tunesmith.core.types import Metrics
from tunesmith.health.history import series
from tunesmith.services.card import current_card
from tunesmith.services.card_pages import headline
from tunesmith.services.chart import Axis, Line, duration, line_chart, number, show_value
from tunesmith.services.family import origin_in_words
from tunesmith.services.run_folder import RunFolder, RunState
from tunesmith.spec.load import KINDS

SAMPLES = 2
"""Best and worst attempts shown of each step."""
MOST_CHARACTERS = 4000
"""Longer prompts and texts are cut in the page; the rollouts file has them whole."""
_SAMPLE_COLUMNS = ("prompt_id", "prompt_text", "text", "reward", "parts", "reason", "error", "dropped", "stop")


@dataclass(frozen=True, slots=True)
class ChartPlan:
    """One chart: which metrics, under which names. Charts without data are left out."""

    title: str
    lines: tuple[tuple[str, str], ...]
    """(metric, label)"""
    axis: Axis = Axis()  # noqa: RUF009
    note: str = ""


CHARTS = (
    ChartPlan("Reward", (("rollout/reward_mean", "training"), ("eval/reward_mean", "held-out"))),
    ChartPlan("Loss", (("train/loss", "training"), ("eval/loss", "held-out"))),
    ChartPlan("Accuracy", (("train/accuracy", "training"), ("eval/accuracy", "held-out")), Axis("share", (0, 1))),
    ChartPlan("Reward margin", (("train/margin", "training"), ("eval/margin", "held-out"))),
    ChartPlan(
        "Groups with signal",
        (("rollout/signal_share", "share"),),
        Axis("share", (0, 1)),
        "Groups whose attempts scored differently; only these teach.",
    ),
    ChartPlan(
        "KL to the start",
        (("policy/kl_ref", "KL"),),
        Axis("number", (0, 0.002)),
        "Nats per token. How far is too far depends on length and on the reward gained: see the finding kl_drift.",
    ),
    ChartPlan(
        "Response length",
        (("rollout/length_mean", "mean tokens"),),
        note="Tokens, averaged over the step's responses.",
    ),
    ChartPlan(
        "Cut off at the limit",
        (("rollout/truncated_share", "share"),),
        Axis("share", (0, 0.1), 0.2),
        "Responses that ended at max_tokens.",
    ),
    ChartPlan(
        "Sampler gap",
        (("gap/max", "largest"), ("gap/mean", "mean")),
        Axis("log", guide=1e-5),
        "Nats between sampler and trainer on the same tokens; the limit is for fp32.",
    ),
    ChartPlan("Gradient norm", (("optim/grad_norm", "norm"),), Axis("number", (0, 0)), "Before clipping."),
    ChartPlan(
        "Policy loss",
        (("loss/policy", "loss"),),
        note="Near 0 by construction: on fresh rollouts the advantages of a group cancel, the gradient does not. "
        "Judge the run by its reward.",
    ),
)


def write_report(run: RunFolder) -> Path:
    """Write report.html from what the folder holds so far, and say where it is."""
    folder = shlex.quote(str(run.path))
    files = [("Every number of these curves is in", "metrics.jsonl")]
    if run.rollout_steps("step"):
        files += [("Every attempt with its tokens, log-probabilities and rewards is in", "rollouts/")]
    ways = Ways(f"tunesmith sample {folder}", f"tunesmith resume {folder}", files)
    return run.write_report(report_page(run, run.spec(), ways))


@dataclass(frozen=True, slots=True)
class Ways:
    """How a reader goes on, where they are."""

    to_try: str
    """Command that talks to the tuned model."""
    to_resume: str
    more: Sequence[tuple[str, str]]
    """(what there is besides, its command or file)."""


def report_page(run: RunFolder, settings: Mapping[str, Any], ways: Ways) -> str:
    """The page of what the folder holds so far.

    Args:
        settings: as the reader knows them: those of a server's job by names, not by its folders.
    """
    history, state = run.metrics(), run.state()
    card = current_card(run)
    environment = Environment(
        loader=PackageLoader("tunesmith.services"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(
        name=run.name,
        state=state,
        headline=_headline(card),
        origin=origin_in_words(run),
        tiles=_tiles(card, state),
        findings=run.findings(),
        charts=_charts(history),
        parts=_parts(history),
        samples=_samples(run),
        settings=_settings(settings, state.kind),
        ways=ways,
        tuned=any((run.path / folder).is_dir() for folder in ("adapter", "model")),
        show=show_value,
    )


def _headline(card: dict[str, Any]) -> str:
    """The result in one sentence."""
    for name in ("reward", "loss"):
        before, after = card.get(f"heldout_{name}_before"), card.get(f"heldout_{name}_after")
        if before is not None and after is None:
            return f"Held-out {name} before training: {before:.3f}."
        if before is not None:
            return headline(card)
    return "No held-out evaluation yet."


def _tiles(card: dict[str, Any], state: RunState) -> list[tuple[str, str, str]]:
    """(label, value, note) of the summary."""
    name = "reward" if state.kind == "rft" else "loss"
    before, after = card[f"heldout_{name}_before"], card[f"heldout_{name}_after"]
    interval = card.get("heldout_ci95")
    change = f"change {interval[0]:+.3f} … {interval[1]:+.3f} (95% interval)" if interval else ""
    of = f"of {state.num_steps}" if state.num_steps else ""
    return [
        (f"Held-out {name}", f"{number(before)} → {number(after)}", change),
        ("Steps", str(card["steps"]), of),
        ("Optimizer updates", number(card["optimizer_updates"]), ""),
        ("Weight change", number(card["weight_change_norm"]), "L2 norm"),
        ("Sampler gap", number(card["sampler_gap_max"]), "largest, nats"),
        ("Time", duration(card["seconds"]), ""),
    ]


def _charts(history: Sequence[Metrics]) -> list[dict[str, Any]]:
    charts = []
    for plan in CHARTS:
        found = [(label, metric, series(history, metric)) for metric, label in plan.lines]
        lines = [
            Line(label, list(zip(s.steps, s.values, strict=True)), metric.startswith("eval/"))
            for label, metric, s in found
            if s.values and (plan.axis.form != "log" or max(s.values) > 0)
        ]
        if lines:
            svg = line_chart(plan.title, lines, plan.axis)
            charts.append({"title": plan.title, "note": plan.note, "svg": svg, "labels": [x.label for x in lines]})
    return charts


def _parts(history: Sequence[Metrics]) -> list[tuple[str, float, float]]:
    """(name, first, last) of each part of the reward, as its grader gave it."""
    names = sorted({name for line in history for name in line if name.startswith("part/") and name.endswith("/raw")})
    found = [(name.removeprefix("part/").removesuffix("/raw"), series(history, name).values) for name in names]
    return [(name, values[0], values[-1]) for name, values in found]


def _samples(run: RunFolder) -> list[dict[str, Any]]:
    """The best and the worst attempts of the newest and of the first step."""
    steps = run.rollout_steps("step")
    return [
        {"step": step, "first": step == steps[0] and len(steps) > 1, "groups": _best_and_worst(run, step)}
        for step in dict.fromkeys([*steps[-1:], *steps[:1]])
    ]


def _best_and_worst(run: RunFolder, step: int) -> list[tuple[str, list[dict[str, Any]]]]:
    attempts = run.read_rollouts("step", step, _SAMPLE_COLUMNS)
    for attempt in attempts:
        attempt |= {name: _cut(attempt[name]) for name in ("prompt_text", "text")}
    scored = sorted((a for a in attempts if a["reward"] is not None), key=lambda a: -a["reward"])
    best = _of_different_prompts(scored)[:SAMPLES]
    worst = _of_different_prompts([a for a in reversed(scored) if a not in best])[:SAMPLES]
    failed = [a for a in attempts if a["error"]][:1]
    return [(title, chosen) for title, chosen in (("Best", best), ("Worst", worst), ("Failed", failed)) if chosen]


def _of_different_prompts(attempts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first attempt at each prompt, then the others."""
    firsts = list({a["prompt_id"]: a for a in reversed(attempts)}.values())[::-1]
    first_ids = {id(a) for a in firsts}
    in_order = [a for a in attempts if id(a) in first_ids]
    return in_order + [a for a in attempts if id(a) not in first_ids]


def _cut(text: str) -> str:
    more = len(text) - MOST_CHARACTERS
    return text if more <= 0 else f"{text[:MOST_CHARACTERS]} … ({more} more characters in the rollouts file)"


def _settings(spec: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    """Every setting with its value, its default and its meaning; those that were changed come first."""
    fields, meanings = KINDS[kind].model_fields, descriptions(KINDS[kind])
    rows = []
    for name, value in ((name, value) for name, value in spec.items() if name in fields):
        field = fields[name]
        required = field.is_required()
        rows.append(
            {
                "name": name,
                "value": _typed(value),
                "default": "required" if required else _typed(field.default),
                "changed": not required and value != field.default,
                "meaning": meanings[name],
            }
        )
    return sorted(rows, key=lambda row: not row["changed"])


def _typed(value: Any) -> str:
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)
