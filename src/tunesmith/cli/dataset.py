"""``tunesmith dataset check`` and ``preview``: what a file holds, and what the model would see of it."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from tunesmith.cli.nouns import add_group
from tunesmith.cli.output import print_json
from tunesmith.cli.references import AsJson

File = Annotated[Path, typer.Argument(help="JSONL file.")]
Kind = Annotated[str, typer.Option(help="What it is for: sft, dpo or rft.")]


def add_to(app: typer.Typer, name: str) -> None:
    add_group(app, name, check, preview)


def check(
    file: File,
    kind: Kind,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON on the last line.")] = False,
) -> None:
    """Check every line of a dataset and list every problem; exit code 2 when there is one.

    Example: tunesmith dataset check rows.jsonl --kind rft
    """
    from tunesmith.data import check_file

    report = check_file(file, kind)
    if json:
        problems = [asdict(p) for p in report.problems]
        found = {"file": str(file), "kind": kind, "ok": not problems, **asdict(report.counts)}
        print_json({**found, "problem_list": problems, "notes": list(report.notes)})
    else:
        for problem in report.problems:
            typer.echo(str(problem))
        for note in report.notes:
            typer.echo(f"note: {note}")
        typer.echo(f"{report.counts.lines} rows, {report.counts.examples} usable, {report.counts.problems} problems")
    if report.problems:
        raise typer.Exit(2)


def preview(
    file: File,
    kind: Kind,
    base_model: Annotated[str, typer.Option(help="Model whose template and tokenizer render the rows.")] = "embedded",
    rows: Annotated[int, typer.Option(help="Rows to show.", min=1)] = 3,
    json: AsJson = False,
) -> None:
    """Show rows as the model reads them; what is trained is green.

    Example: tunesmith dataset preview chats.jsonl --kind sft --base-model ./model
    """
    from tunesmith.models.chat import load_renderer
    from tunesmith.services import preview as previews
    from tunesmith.services.names import base_model as folder_of

    renderer = load_renderer(folder_of(base_model))
    if json:
        items = [asdict(row) for row in previews.preview(file, kind, renderer, rows)]
        print_json({"items": items, "notes": list(renderer.notes)})
        return
    for row in previews.preview(file, kind, renderer, rows):
        label = f" {row.label}" if row.label else ""
        typer.secho(f"── line {row.line}{label}, {row.num_tokens} tokens", bold=True)
        for part in row.parts:
            typer.secho(part.text, nl=False, fg="green" if part.weight else None, dim=not part.weight)
        typer.echo()
    for note in renderer.notes:
        typer.echo(f"note: {note}")
