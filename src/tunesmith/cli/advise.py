"""``tunesmith advise``: what a run shows and the one change to try next; also which kind of job, and which rate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunesmith.cli.output import print_json
from tunesmith.core.errors import UserError

if TYPE_CHECKING:
    from tunesmith.services.advice import Advice

LABEL = 12


def add_to(app: typer.Typer, name: str) -> None:
    app.command(name)(advise)


def advise(
    run: Annotated[str | None, typer.Argument(help="Run folder, the beginning of its name, or @latest.")] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Start a fork of the run with the one change.")] = False,
    finding: Annotated[
        str | None, typer.Option(help="With --apply: the finding to act on; default: the first.")
    ] = None,
    output_dir: Annotated[Path | None, typer.Option(help="With --apply: folder of the fork.")] = None,
    task: Annotated[bool, typer.Option("--task", help="Instead: SFT or RFT for a task?")] = False,
    labels: Annotated[int | None, typer.Option(help="With --task: number of rows with a right answer.", min=0)] = None,
    dataset: Annotated[Path | None, typer.Option(help="With --task: a dataset to count them in.")] = None,
    reasoning: Annotated[bool, typer.Option("--reasoning", help="With --task: thinking first helps.")] = False,
    verifiable: Annotated[
        bool, typer.Option("--verifiable", help="With --task: a program can check a result.")
    ] = False,
    learning_rate_for: Annotated[
        str | None, typer.Option(help="Instead: the rate that a model's size suggests.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on the last line.")] = False,
) -> None:
    """What a run shows, ranked, and the one change to try next.

    Example: tunesmith advise @latest
    """
    if not apply:
        _only_with("--apply", finding=finding, output_dir=output_dir)
    if not task:
        _only_with("--task", labels=labels, dataset=dataset, reasoning=reasoning, verifiable=verifiable)
    if bool(run) + task + bool(learning_rate_for) > 1:
        raise UserError("advise", "answers one question at a time", "Give a run, --task, or --learning-rate-for MODEL")
    if task:
        _task(dataset, labels, reasoning, verifiable, json)
    elif learning_rate_for is not None:
        _rate(learning_rate_for, json)
    elif run is None:
        raise UserError("run", "missing", "Give a run, --task, or --learning-rate-for MODEL")
    else:
        _run(run, apply, finding, output_dir, json)


def _only_with(flag: str, **others: object) -> None:
    """
    Raises:
        UserError: one of the others was given, which nobody would read.
    """
    if alone := next((name for name, value in others.items() if value not in (None, False)), None):
        raise UserError(f"--{alone.replace('_', '-')}", f"says something only with {flag}", f"Give {flag}, or leave it")


def _run(name: str, apply: bool, finding: str | None, folder: Path | None, as_json: bool) -> None:
    from tunesmith.services.advice import advise as ask
    from tunesmith.services.advice import fork_with
    from tunesmith.services.run_folder import all_runs, find_run

    run = find_run(name)
    advice = ask(run, all_runs(run.path.parent))
    if not apply:
        print_json(advice.as_dict()) if as_json else _show(advice)
        return
    from tunesmith.cli.runs import go_on

    go_on(fork_with(run, advice, finding, folder), as_json)


def _show(advice: "Advice") -> None:
    for number, found in enumerate(advice.findings, start=1):
        typer.echo(f"{number}. {found.rule} ({found.level}, since step {found.step})")
        typer.echo(f"   {'saw':<{LABEL}}{found.saw}")
        typer.echo(f"   {'change':<{LABEL}}{found.advice}")
    if not advice.findings:
        typer.echo("no findings: nothing speaks for a change")
    if advice.fork_at is not None:
        where = f"at step {advice.fork_at}" if advice.fork_at else "from the start"
        typer.echo(f"{'next':<{LABEL + 3}}tunesmith advise {advice.run} --apply   (forks {where})")
    typer.echo(f"{'baseline':<{LABEL + 3}}{advice.baseline}")


def _task(dataset: Path | None, labels: int | None, reasoning: bool, verifiable: bool, as_json: bool) -> None:
    from tunesmith.services.advice import task_for

    counted, choice = task_for(dataset, labels, reasoning, verifiable)
    if as_json:
        print_json({"kind": choice.kind, "grader": choice.grader, "reason": choice.reason, "labels": counted.labels})
        return
    typer.echo(f"{'kind':<{LABEL}}{choice.kind}")
    if choice.grader:
        typer.echo(f"{'grader':<{LABEL}}{choice.grader}")
    typer.echo(f"{'because':<{LABEL}}{choice.reason}")


def _rate(model: str, as_json: bool) -> None:
    from dataclasses import asdict

    from tunesmith.services.advice import learning_rate_for

    adapter, whole = learning_rate_for(model), learning_rate_for(model, lora=False)
    if as_json:
        print_json({**asdict(adapter), "learning_rate_all_weights": whole.learning_rate})
        return
    typer.echo(f"{'model':<{LABEL}}{adapter.family}, hidden size {adapter.hidden}")
    for name, rate in (("adapter", adapter.learning_rate), ("all weights", whole.learning_rate)):
        typer.echo(f"{name:<{LABEL}}{'no number' if rate is None else f'{rate:.3g}'}")
    typer.echo(f"{'note':<{LABEL}}{adapter.note}")
