"""What a person sees while a job runs, and the card at its end. Talk goes to stderr, results to stdout."""

import shutil
import time
from collections.abc import Callable
from typing import Any

import typer

from tunesmith.cli import columns
from tunesmith.cli.output import LEVEL_COLORS, counted, print_json, say
from tunesmith.core.types import Finding
from tunesmith.recipes.report import StepReport
from tunesmith.services.keeping import Watcher
from tunesmith.services.run_folder import RunFolder

SHOWN_STEPS = 60
"""Longer jobs show about this many of their steps."""


class Progress:
    """Prints a line per step with the time left, and findings as they arise."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.num_steps = self.first_step = 0
        self.began = time.monotonic()
        self.run: RunFolder | None = None

    def watcher(self) -> Watcher:
        return Watcher(self.started, self.stepped, self.found, self.warned)

    def started(self, run: RunFolder, num_steps: int, notes: list[str]) -> None:
        self.run, self.num_steps, self.began = run, num_steps, time.monotonic()
        self.first_step = run.state().step
        say(f"run folder {run.path}   {counted(num_steps, 'step')}")
        for note in notes:
            say(f"  note: {note}")
        say(columns.heading(self.kind), bold=True)

    def stepped(self, report: StepReport) -> None:
        every = max(1, self.num_steps // SHOWN_STEPS)
        scored = any(name.startswith("eval/") for name in report.metrics)
        if report.step % every and not scored:
            return
        step, left = f"{report.step}/{self.num_steps}", self._time_left(report.step)
        say(columns.step_line(self.kind, step, report.metrics | report.timing, left))

    def found(self, finding: Finding) -> None:
        text = f"  {finding.level}: {finding.rule}: {finding.saw}. {finding.advice}"
        say(text, fg=LEVEL_COLORS.get(finding.level, "cyan"))

    def warned(self, text: str) -> None:
        say(f"  warning: {text}", fg=LEVEL_COLORS["warning"])

    def _time_left(self, step: int) -> str:
        done = step - self.first_step
        if done <= 0:
            return ""
        return columns.seconds((time.monotonic() - self.began) / done * (self.num_steps - step))


def drive(kind: str, job: Callable[[Watcher], RunFolder], as_json: bool) -> RunFolder:
    """Run a job with live progress; on Ctrl-C say how to go on; at the end print its card."""
    progress = Progress(kind)
    try:
        run = job(progress.watcher())
    except KeyboardInterrupt:
        if progress.run is not None:
            say(f"\nstopped; the last checkpoint is whole. Go on with: tunesmith resume {progress.run.path}")
        raise
    show_card(run, as_json)
    return run


def show_card(run: RunFolder, as_json: bool) -> None:
    """The card as a table, or as one JSON object on the last line of stdout."""
    card = run.card()
    if as_json:
        print_json(card)
        return
    width = min(78, shutil.get_terminal_size().columns)
    typer.echo("─" * width)
    for name, text in _lines(card):
        typer.echo(f"{name:<22}{text}")
    reason = run.state().reason
    typer.echo(f"{'state':<22}{card['state']}{': ' + reason if reason else ''}")
    typer.echo(f"{'run folder':<22}{run.path}")
    typer.echo(f"{'report':<22}{run.path / 'report.html'}")
    typer.echo(f"{'chat with it':<22}tunesmith sample {run.path}")
    typer.echo("─" * width)


def _lines(card: dict[str, Any]) -> list[tuple[str, str]]:
    lines = []
    for what, form in (("reward", "{:.3f}"), ("loss", "{:.4f}")):
        before, after = card.get(f"heldout_{what}_before"), card.get(f"heldout_{what}_after")
        if before is not None and after is not None:
            text = f"{form.format(before)} -> {form.format(after)}"
            if interval := card.get("heldout_ci95"):
                text += f"   change {after - before:+.3f}, 95% interval [{interval[0]:+.3f}, {interval[1]:+.3f}]"
            lines.append((f"held-out {what}", text))
    steps, updates = card["steps"], card["optimizer_updates"]
    lines.append(("steps", f"{steps} ({counted(updates, 'optimizer update')})"))
    for name, key, form in (
        ("weight change", "weight_change_norm", "‖ΔW‖ = {:.3f}"),
        ("sampler gap", "sampler_gap_max", "{:.1e} nats at most"),
        ("time", "seconds", "{:.1f} s"),
    ):
        if card.get(key) is not None:
            lines.append((name, form.format(card[key])))
    findings = ", ".join(f"{f['rule']} ({f['level']})" for f in card["findings"])
    return [*lines, ("findings", findings or "none")]
