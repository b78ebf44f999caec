"""``card``: the summary of an ended run as a file to show."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from tunesmith.cli.runs import Run


def add_to(app: typer.Typer, name: str) -> None:
    app.command(name)(card)


def card(
    run: Run,
    form: Annotated[Literal["png", "html", "md", "json"], typer.Option(help="A picture, a page, or text.")] = "png",
    out: Annotated[Path | None, typer.Option(help="The file; default: card.FORM in the run's folder.")] = None,
) -> None:
    """Write a run's card: held-out before and after, whether to trust it, what it cost, and how to do it again.

    Example: tunesmith card @latest --form png --out card.png
    """
    from tunesmith.core import durable
    from tunesmith.services.card_files import card_file
    from tunesmith.services.run_folder import find_run

    found = find_run(run)
    data, _ = card_file(found, form, found.path.name)
    target = out or found.path / f"card.{form}"
    durable.write_file(target, data)
    typer.echo(target)
