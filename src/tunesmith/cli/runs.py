"""Commands on run folders: ``resume``, ``report``, ``compare``."""

from collections.abc import Callable
from typing import Annotated

import typer

Run = Annotated[str, typer.Argument(help="Run folder, the beginning of its name, or @latest.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on the last line.")]


def add_to(app: typer.Typer, name: str) -> None:
    commands: dict[str, Callable[..., None]] = {"resume": resume, "report": report, "compare": compare}
    app.command(name)(commands[name])


def resume(run: Run, json: AsJson = False) -> None:
    """Go on with a run that was stopped, killed or failed.

    It ends with the same bits as if it had never been stopped.

    Example: tunesmith resume @latest
    """
    from tunesmith.cli.progress import drive
    from tunesmith.services import worker
    from tunesmith.services.run_folder import find_run

    found = find_run(run)
    drive(found.state().kind, lambda watcher: worker.resume(found, watcher), json)


def report(run: Run) -> None:
    """Write a run's report.html anew.

    Example: tunesmith report @latest
    """
    from tunesmith.services.report import write_report
    from tunesmith.services.run_folder import find_run

    typer.echo(write_report(find_run(run)))


def compare(first: Run, second: Run, json: AsJson = False) -> None:
    """Two runs side by side: settings that differ, curves, results.

    Example: tunesmith compare runs/a runs/b
    """
    from tunesmith.cli.output import print_json
    from tunesmith.services.compare import compare_runs
    from tunesmith.services.run_folder import find_run

    comparison = compare_runs(find_run(first), find_run(second))
    if json:
        print_json(comparison.as_dict())
    else:
        typer.echo(comparison.as_text())
