"""Commands on run folders: ``resume``, ``report``, ``compare``, ``fork``, ``runs``."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunesmith.cli.options import with_flags
from tunesmith.cli.output import print_json
from tunesmith.spec.load import KINDS

if TYPE_CHECKING:
    from tunesmith.services.run_folder import RunFolder

Run = Annotated[str, typer.Argument(help="Run folder, the beginning of its name, or @latest.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on the last line.")]


def add_to(app: typer.Typer, name: str) -> None:
    commands: dict[str, Callable[..., None]] = {
        "resume": resume,
        "report": report,
        "compare": compare,
        "fork": with_flags(fork, *KINDS.values(), defaults=False),
        "runs": runs,
    }
    app.command(name)(commands[name])


def resume(run: Run, json: AsJson = False) -> None:
    """Go on with a run that was stopped, killed or failed.

    It ends with the same bits as if it had never been stopped.

    Example: tunesmith resume @latest
    """
    from tunesmith.services.run_folder import find_run

    go_on(find_run(run), json)


def go_on(run: "RunFolder", as_json: bool) -> None:
    """Drive a run from its last checkpoint to its end."""
    from tunesmith.cli.progress import drive
    from tunesmith.services import worker

    drive(run.state().kind, lambda watcher: worker.resume(run, watcher), as_json)


def report(run: Run, json: AsJson = False) -> None:
    """Write a run's report.html anew.

    Example: tunesmith report @latest
    """
    from tunesmith.services.report import write_report
    from tunesmith.services.run_folder import find_run

    file = write_report(find_run(run))
    print_json({"file": str(file)}) if json else typer.echo(file)


def compare(
    runs: Annotated[list[str], typer.Argument(help="Two or more: folders, beginnings of their names, or @latest.")],
    json: AsJson = False,
) -> None:
    """Runs side by side: settings that differ, curves, results.

    Example: tunesmith compare runs/a runs/b
    """
    from tunesmith.services.compare import compare_runs
    from tunesmith.services.run_folder import find_run

    comparison = compare_runs(*map(find_run, runs))
    if json:
        print_json(comparison.as_dict())
    else:
        typer.echo(comparison.as_text())


def fork(
    settings: dict[str, Any],
    run: Run,
    at_step: Annotated[
        int | None, typer.Option(help="Kept step to share the past up to; default: the newest with more to train.")
    ] = None,
    prepare: Annotated[
        bool, typer.Option("--prepare", help="Only make the folder; `tunesmith resume` runs it.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Another run with settings changed, that shares this one's past up to a kept step.

    Example: tunesmith fork @latest --at-step 4 --learning-rate 5e-5
    """
    from tunesmith.services.fork import fork as prepared
    from tunesmith.services.run_folder import find_run

    folder = settings.pop("output_dir", None)
    made = prepared(find_run(run), settings, at_step, Path(folder) if folder else None)
    if prepare:
        print_json({"run": str(made.path)}) if json else typer.echo(made.path)
    else:
        go_on(made, json)


def runs(
    folder: Annotated[Path, typer.Argument(help="Where the runs are.")] = Path("runs"),
    json: AsJson = False,
) -> None:
    """All runs, forks under those they come from, with what changed and what came of it.

    Example: tunesmith runs
    """
    from tunesmith.services.family import family_tree, in_words
    from tunesmith.services.run_folder import all_runs

    members = family_tree(all_runs(folder))
    if json:
        print_json([member.as_dict() for member in members])
        return
    for line in in_words(members) or [f"no runs under {folder}"]:
        typer.echo(line)
