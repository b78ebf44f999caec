"""``card``: the summary of an ended run as a file to show."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from tunesmith.cli.output import print_json
from tunesmith.cli.runs import AsJson, Run


def add_to(app: typer.Typer, name: str) -> None:
    app.command(name)(card)


def card(
    run: Run,
    form: Annotated[Literal["png", "html", "md", "json"], typer.Option(help="A picture, a page, or text.")] = "png",
    out: Annotated[Path | None, typer.Option(help="The file; default: card.FORM in the run's folder.")] = None,
    json: AsJson = False,
) -> None:
    """Write a run's card: held-out before and after, whether to trust it, what it cost, and how to do it again.

    Example: tunesmith card @latest --form png --out card.png
    """
    from tunesmith.core import durable
    from tunesmith.services.card_files import card_file
    from tunesmith.services.run_folder import find_run

    found = find_run(run)
    data, _ = card_file(found, form, found.name)
    target = out or found.path / f"card.{form}"
    durable.write_file(target, data)
    if json:
        print_json({"file": str(target), "bytes": len(data)})
    else:
        typer.echo(target)
