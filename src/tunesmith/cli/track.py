"""``tunesmith track``: tell experiment trackers of a run that has ended, or that began without them."""

from typing import Annotated

import typer

from tunesmith.cli.runs import AsJson, Run


def add_to(app: typer.Typer, name: str) -> None:
    app.command(name)(track)


def track(
    run: Run,
    to: Annotated[list[str], typer.Option("--report-to", help="wandb, mlflow, tensorboard, trackio, otel.")],
    json: AsJson = False,
) -> None:
    """Report a run to experiment trackers, or what they have not been told yet.

    Example: tunesmith track @latest --report-to tensorboard
    """
    from tunesmith.cli.output import tell
    from tunesmith.core.errors import unknown
    from tunesmith.services.run_folder import find_run
    from tunesmith.services.trackers import TRACKERS
    from tunesmith.services.trackers.companion import check_installed, told_now
    from tunesmith.spec.base import names_of

    names = names_of(to)
    for name in names:
        if name not in TRACKERS:
            raise unknown("report_to", name, TRACKERS)
    check_installed(names)
    found = find_run(run)
    told_now(found, names)
    tell({"run": str(found.path), "told": list(names)}, f"told {', '.join(names)} of {found.path}", json)
