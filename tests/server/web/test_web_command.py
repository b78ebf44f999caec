"""What a job's page gives to paste: the command line reads the same job out of it."""

import re
import shlex
from dataclasses import replace
from html import unescape

import typer
from server.web.conftest import new_job

from tunesmith.cli.main import build
from tunesmith.cli.offspring import _changed
from tunesmith.server.web.as_command import as_command
from tunesmith.server.web.draft import draft_of_job
from tunesmith.services.jobs.job import Origin
from tunesmith.spec import build_spec

ODD = {
    "evaluator": ["contains:ignore_case=true=0.5", "last_number=0.5"],
    "learning_rate": 0.00012345,
    "eval_auto_carveout": False,
    "length_norm": True,
    "limits": "extended",
}
"""Settings of every kind: a list, more digits than are shown, switched off, switched on, a word."""


def read(command):
    """What the command line understands of a pasted command: its verb, and what was given."""
    _, noun, verb, *arguments = shlex.split(command.replace("\\\n", " "))
    group = typer.main.get_command(build(noun)).commands[noun]
    given = group.commands[verb].make_context(verb, arguments).params
    return f"{noun} {verb}", {name: value for name, value in given.items() if value not in (None, [], False)}


def test_the_command_makes_the_same_job(app, get):
    job = new_job(app, "ann", "odd", **ODD)
    page = unescape(get("/fine-tuning/reinforcement/odd").text)
    [command] = re.findall(r'<pre id="command-1"[^>]*>(.*?)</pre>', page, re.DOTALL)
    verb, given = read(command)
    switched_off = {name: False for name in ODD if f"--no-{name.replace('_', '-')}" in command}
    assert verb == "rft create"
    assert build_spec({**given, **switched_off}, "rft") == build_spec({**job.settings, "dataset": "sums"}, "rft")


def test_a_fork_is_forked_again(job):
    origin = Origin("job-1", 4, {"learning_rate": [1e-4, 5e-5], "evaluator": ["contains", "last_number"]})
    (_, command), (_, request) = as_command(replace(job, origin=origin), "http://here")
    verb, given = read(command)
    assert (verb, given["job"], given["at_step"]) == ("jobs fork", "job-1", 4)
    assert _changed(given["changes"]) == {"learning_rate": 5e-5, "evaluator": "last_number"}
    assert request.startswith("curl http://here/api/v1/jobs/job-1/fork ") and '"at_step": 4' in request


def test_a_clone_keeps_settings_that_are_lists(job):
    told = replace(job, settings={**job.settings, "report_to": ["mlflow", "tensorboard"]})
    again = draft_of_job(told).new_job()
    assert build_spec({**again.settings, "dataset": "sums"}, "rft").report_to == ["mlflow", "tensorboard"]
