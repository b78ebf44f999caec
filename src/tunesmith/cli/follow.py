"""What runs on a server, as it runs: a line per step, what happens to it, and the end. Ctrl-C leaves it running."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import typer

from tunesmith.cli import columns
from tunesmith.cli.client import Client, Unreachable, path_of
from tunesmith.cli.nouns import Thing
from tunesmith.cli.output import LEVEL_COLORS, print_fields, print_json, say

LOOK_S = 1.0
PATIENCE_S = 300.0
"""How long a server may be away, to be restarted."""
RESTS = ("succeeded", "early_stopped", "failed", "cancelled", "paused")
"""States in which nothing more happens by itself."""
BAD = ("failed", "cancelled")


def follow(client: Client, job_id: str, as_json: bool) -> None:
    """Show a job until it rests; exit code 1 where it failed or was cancelled."""
    seen = _Seen()
    stay(client, "jobs", job_id, lambda job: seen.show(client, job), show_job, as_json)


def stay(
    client: Client,
    noun: str,
    one_id: str,
    tell: Callable[[Thing], None],
    show: Callable[[Thing, bool], None],
    as_json: bool,
) -> Thing:
    """A job or an evaluation, told of until it rests and then shown; exit code 1 where it failed or was cancelled.

    Args:
        tell: what is new about it; asked every second.
        show: all about it, also as JSON.
    """
    try:
        rested = _rested(client, path_of(noun, one_id), tell)
    except KeyboardInterrupt:
        say(f"\nit goes on. Look again with: tunesmith {noun} follow {one_id}")
        raise
    show(rested, as_json)
    if rested["state"] in BAD:
        raise typer.Exit(1)
    return rested


def _rested(client: Client, path: str, tell: Callable[[Thing], None]) -> Thing:
    """What is there once nothing more happens to it; a server that is restarted meanwhile is waited for."""
    away_since = 0.0
    while True:
        try:
            now: Thing = client.get(path)
            tell(now)
        except Unreachable:
            if away_since and time.monotonic() - away_since > PATIENCE_S:
                raise
            if not away_since:
                away_since = time.monotonic()
                say("  the server does not answer; trying again", fg="yellow")
        else:
            away_since = 0.0
            if now["state"] in RESTS:
                return now
        time.sleep(LOOK_S)


def show_job(job: Mapping[str, Any], as_json: bool) -> None:
    """One job: a field to a line, or as the server says it."""
    if as_json:
        print_json(job)
        return
    progress, metrics = job["progress"], job["metrics"] or {}
    step = f"{progress['step']}/{progress['num_steps']} ({progress['percent']}%)" if progress["num_steps"] else ""
    left = columns.seconds(progress["eta_s"]) if progress["eta_s"] is not None else ""
    names = ("id", "name", "kind", "state", "reason", "dataset", "evaluation_dataset", "output_model")
    print_fields({name: job[name] for name in names} | {"step": step, "time_left": left})
    for name, keys, form in columns.COLUMNS[job["kind"]]:
        print_fields({name: next((form.format(metrics[key]) for key in keys if key in metrics), "")})
    print_fields({name: job[name] for name in ("created_at", "started_at", "ended_at")})
    print_fields({"settings": ", ".join(f"{name} {value}" for name, value in job["settings"].items())})
    if job["origin"]:
        print_fields({"fork of": f"{job['origin']['job']} {_parted(job['origin'])}"})
    for fork in job["forks"]:
        print_fields({"fork": f"{fork['id']} ({fork['name']}, {fork['state']}) {_parted(fork)}"})
    if job["model"]:
        print_fields({"chat with it": f"tunesmith chat {job['model']}"})


def _parted(fork: Mapping[str, Any]) -> str:
    at = f"at step {fork['step']}" if fork["step"] else "from the start"
    return f"{at}: {', '.join(f'{name} {old} -> {new}' for name, (old, new) in fork['changed'].items())}"


class _Seen:
    """What was shown already."""

    def __init__(self) -> None:
        self.event, self.step, self.headed = 0, -1, False

    def show(self, client: Client, job: Mapping[str, Any]) -> None:
        path = path_of("jobs", job["id"])
        events = client.get(f"{path}/events", after=self.event)
        steps = client.get(f"{path}/metrics", after_step=self.step)["items"]
        self.event = events["next_after"]
        for event in events["items"]:
            say(f"  {said(event)}", fg=LEVEL_COLORS[event["level"]])
        for values in steps:
            self.step = int(values["step"])
            if not self.headed:
                say(columns.heading(job["kind"]), bold=True)
                self.headed = True
            num_steps, eta_s = job["progress"]["num_steps"], job["progress"]["eta_s"]
            left = columns.seconds(eta_s) if eta_s is not None and values is steps[-1] else ""
            say(columns.step_line(job["kind"], f"{self.step}/{num_steps}", values, left))


def said(event: Mapping[str, Any]) -> str:
    what = f"the job is {event['to_state']}" if event["kind"] == "move" else event["kind"]
    return f"{what}: {event['text']}" if event["text"] else what
