"""What comes of a job on a server: ``clone`` and ``fork`` of it, ``advise`` for it, ``regrade`` of its attempts."""

import json as json_text
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from tunesmith.cli.create import Follow, show_created
from tunesmith.cli.nouns import find
from tunesmith.cli.output import print_json
from tunesmith.cli.references import AsJson, Url
from tunesmith.core.errors import UserError

Job = Annotated[str, typer.Argument(help="Id or name of the job, the beginning of either, or @latest.")]
Name = Annotated[str | None, typer.Option(help="Of the new job; default its id.")]
OutputModel = Annotated[str | None, typer.Option(help="Name of what comes out; default the new job's name.")]


def clone(
    job: Job,
    changes: Annotated[list[str] | None, typer.Argument(help="setting=value of what is to be different.")] = None,
    name: Name = None,
    follow: Follow = False,
    url: Url = None,
    json: AsJson = False,
) -> None:
    """Queue a job like another, with some settings changed.

    Example: tunesmith jobs clone @latest learning_rate=3e-5 seed=1 --follow
    """
    found = find("jobs", job, url)
    made = found.post("/clone", _changed(changes or ()) | _named(name=name))
    show_created(found.client, made, follow, json)


def fork(
    job: Job,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="SETTING=VALUE", help="What is to be different; repeatable.")
    ] = None,
    at_step: Annotated[
        int | None,
        typer.Option(
            help="Kept step to share the past up to; default: the newest with more to train. 0: settings alone."
        ),
    ] = None,
    name: Name = None,
    output_model: OutputModel = None,
    follow: Follow = False,
    url: Url = None,
    json: AsJson = False,
) -> None:
    """Queue a job that shares another's past up to a kept step, and goes on with some settings changed.

    Example: tunesmith jobs fork @latest --at-step 4 --set learning_rate=5e-5 --follow
    """
    found = find("jobs", job, url)
    body = _changed(changes or ())
    if isinstance(body.get("evaluator"), str | list):
        from tunesmith.cli.upload import evaluator_named

        body["evaluator"] = evaluator_named(found.client, body["evaluator"])
    body |= _named(at_step=at_step, name=name, output_model=output_model)
    show_created(found.client, found.post("/fork", body), follow, json)


def advise(
    job: Job,
    apply: Annotated[bool, typer.Option("--apply", help="Queue a fork of the job with the one change.")] = False,
    finding: Annotated[
        str | None, typer.Option(help="With --apply: the finding to act on; default: the first.")
    ] = None,
    name: Name = None,
    follow: Follow = False,
    url: Url = None,
    json: AsJson = False,
) -> None:
    """Print the one change to try next, and why; with --apply, try it.

    Example: tunesmith jobs advise @latest --apply
    """
    found = find("jobs", job, url)
    if apply:
        made = found.post("/advice", _named(finding=finding, name=name))
        show_created(found.client, made, follow, json)
        return
    advice = found.get("/advice")
    if json:
        print_json(advice)
    else:
        _show_advice(advice, found.name)


def regrade(
    job: Job,
    evaluator: Annotated[
        list[str],
        typer.Option(help="The changed grader: `file.py::function`, one of the server's; several with =weight."),
    ],
    steps: Annotated[int | None, typer.Option(help="Only the newest so many steps.", min=1)] = None,
    held_out: Annotated[bool, typer.Option("--held-out", help="The held-out attempts instead.")] = False,
    url: Url = None,
    json: AsJson = False,
) -> None:
    """Replay a job's attempts through a changed grader, on the server: what would it have said?

    Example: tunesmith jobs regrade @latest --evaluator better.py::grade
    """
    from tunesmith.cli.errands import answer_of
    from tunesmith.cli.trials import show_regrade
    from tunesmith.cli.upload import evaluator_named

    found = find("jobs", job, url)
    body = {"evaluator": evaluator_named(found.client, evaluator), "steps": steps, "held_out": held_out}
    said = answer_of(found.client, found.post("/regrade", body), "grading the attempts")
    if json:
        print_json(said)
    else:
        show_regrade(said)


def _show_advice(advice: Any, job_id: str) -> None:
    if not advice["findings"]:
        typer.echo("nothing to change: no rule found anything")
        return
    first, change = advice["findings"][0], advice["change"]
    typer.echo(f"{first['level']}: {first['rule']} at step {first['step']}: {first['saw']}")
    typer.echo(f"try: {change['setting']}: {change['old']} -> {change['new']}: {change['expect']}")
    if advice["fork_at"] is not None:
        where = f"at step {advice['fork_at']}" if advice["fork_at"] else "from the start"
        typer.echo(f"next: tunesmith jobs advise {job_id} --apply   (forks {where})")


def _named(**given: Any) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}


def _changed(changes: Iterable[str]) -> dict[str, Any]:
    """``name=value`` each; numbers, lists, true, false and null as JSON writes them, anything else is text."""
    return dict(map(_change, changes))


def _change(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UserError("changes", f"cannot be {text[:80]!r}", "Give setting=value, such as epochs=2")
    try:
        return name.replace("-", "_"), json_text.loads(value)
    except ValueError:
        return name.replace("-", "_"), value
