"""What a job's page says, apart from its charts."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tunesmith.core.described import descriptions
from tunesmith.core.types import Finding
from tunesmith.server.web import links, words
from tunesmith.server.web.job_row import JobRow, row_of
from tunesmith.services.curves import Curves
from tunesmith.services.jobs.job import Job, JobEvent
from tunesmith.services.jobs.job_kinds import JOB_KINDS, JobKind
from tunesmith.services.jobs.jobs import Jobs
from tunesmith.services.jobs.moves import MOVES
from tunesmith.spec.bounds import MANAGED
from tunesmith.spec.load import KINDS

LEVELS = ("info", "warning", "error")
NOT_SHOWN = ("kind", "output_dir")
LOG_BYTES = 32 << 10
ENTRY = re.compile(r"^(?=\d{4}-\d\d-\d\dT)", re.MULTILINE)
"""Where an entry of a log begins; its further lines are indented."""
ACTIONS = (
    ("pause", ("pausing", "paused"), "Pause"),
    ("resume", ("validating",), "Resume"),
    ("cancel", ("cancelling", "cancelled"), "Cancel"),
)
"""(action, the states that it leads to, its name)"""


@dataclass(frozen=True, slots=True)
class Tile:
    """One number of the summary."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a job."""

    name: str
    value: str
    default: str
    bounds: str
    meaning: str
    changed: bool


@dataclass(frozen=True, slots=True)
class JobView:
    """The parts of the page that change while a job runs."""

    row: JobRow
    kind: JobKind
    tiles: list[Tile]
    findings: Sequence[Finding]
    events: list[JobEvent]
    """Newest first, of the level and above."""
    level: str
    log: str
    actions: list[tuple[str, str]]
    """(action, name) of what can be done now."""
    has_result: bool
    """Whether there is something to chat with and to download."""


def view_of(jobs: Jobs, curves: Curves, job: Job, level: str) -> JobView:
    run = jobs.run(job.owner, job.id)
    row = row_of(jobs, curves, job)
    shown = LEVELS[LEVELS.index(level) :] if level in LEVELS else LEVELS
    return JobView(
        row=row,
        kind=JOB_KINDS[job.kind],
        tiles=_tiles(job, row, curves, jobs),
        findings=jobs.findings(job.owner, job.id),
        events=jobs.newest_events(job.owner, job.id, shown),
        level=shown[0],
        log=_log_end(jobs, job, shown),
        actions=_actions(job),
        has_result=any((run.path / name).is_dir() for name in ("adapter", "model")),
    )


def _actions(job: Job) -> list[tuple[str, str]]:
    return [(action, name) for action, to, name in ACTIONS if not {*to}.isdisjoint(MOVES[job.state])]


def _log_end(jobs: Jobs, job: Job, levels: Sequence[str]) -> str:
    """The newest entries of the levels."""
    file = jobs.run(job.owner, job.id).path / "log.txt"
    size = file.stat().st_size if file.is_file() else 0
    text, _ = jobs.logs(job.owner, job.id, max(0, size - LOG_BYTES))
    text = text if size <= LOG_BYTES else text.partition("\n")[2]
    return "".join(entry for entry in ENTRY.split(text) if _level_of(entry) in levels)


def _level_of(entry: str) -> str:
    _, _, text = entry.partition(" ")
    return next((level for level in LEVELS[1:] if text.startswith(f"{level.upper()} ")), LEVELS[0])


def _tiles(job: Job, row: JobRow, curves: Curves, jobs: Jobs) -> list[Tile]:
    run = jobs.run(job.owner, job.id)
    last = curves.last(run)
    kind = JOB_KINDS[job.kind]
    held = curves.of(run, [kind.held_out.metric]).get(kind.held_out.metric)
    steps = f"{row.progress.step}" + (f" of {row.progress.num_steps}" if row.progress.num_steps else "")
    tiles = [
        Tile(f"Held-out {kind.held_out.name}", *_before_and_now(held.values if held else ())),
        Tile(f"Training {row.metric}", row.value, "newest step"),
        Tile("Steps", steps, row.left if row.left != "—" else ""),
    ]
    if kind.samples:
        signal, kl = last.get("rollout/signal_share"), last.get("policy/kl_ref")
        tiles += [
            Tile("Groups with signal", words.share(signal), "only these teach"),
            Tile("KL to the start", words.number(kl), "nats per token"),
            Tile("Sampler gap", words.number(last.get("gap/max")), "largest, nats"),
        ]
    cost = row.cost
    return [*tiles, Tile("Cost so far", words.duration(cost.seconds), f"{words.count(cost.tokens)} tokens")]


def _before_and_now(held_out: Sequence[float]) -> tuple[str, str]:
    """(values, what they are) of what was measured on held-out rows so far."""
    if not held_out:
        return "—", "not measured yet"
    if len(held_out) == 1:
        return words.number(held_out[0]), "before training"
    return f"{words.number(held_out[0])} → {words.number(held_out[-1])}", "before → now"


def settings_of(kind: str, spec: dict[str, Any]) -> list[Setting]:
    """Every setting, those that were changed first."""
    rows = []
    meanings = descriptions(KINDS[kind])
    for name, field in KINDS[kind].model_fields.items():
        if name in NOT_SHOWN:
            continue
        value = spec.get(name)
        required = field.is_required()
        bound = MANAGED.get(name)
        rows.append(
            Setting(
                name=name,
                value=words.typed(value),
                default="required" if required else words.typed(field.default),
                bounds=bound.describe() if bound else "",
                meaning=meanings[name],
                changed=required or value != field.default,
            )
        )
    return sorted(rows, key=lambda setting: not setting.changed)


def asked_settings(job: Job) -> dict[str, Any]:
    """The settings as they were given, with the datasets by their ids: no folder of the server is shown."""
    spec = {name: field.default for name, field in KINDS[job.kind].model_fields.items() if not field.is_required()}
    spec |= {**job.settings, "dataset": job.dataset, "evaluation_dataset": job.evaluation_dataset}
    return spec


def links_of(job: Job) -> dict[str, str]:
    return {"dataset": links.of_dataset(job.dataset), "model": links.of_model(job.output_model)}
