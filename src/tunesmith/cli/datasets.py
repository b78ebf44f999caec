"""``tunesmith datasets``: the datasets of a server. One is named by its id, the beginning of it, or @latest."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tunesmith.cli.references import AsJson, Url, Yes

Dataset = Annotated[str, typer.Argument(help="Id of the dataset, its beginning, or @latest.")]
Kind = Annotated[str, typer.Option(help="What it is for: sft, dpo or rft.")]


def add_to(app: typer.Typer, name: str) -> None:
    from tunesmith.cli.main import COMMANDS

    group = typer.Typer(help=COMMANDS[name][1], no_args_is_help=True, rich_markup_mode=None)
    group.command("list")(list_datasets)
    for verb in (upload, get, check, download, delete):
        group.command(verb.__name__)(verb)
    app.add_typer(group, name=name)


def list_datasets(
    limit: Annotated[int, typer.Option(help="Most entries.", min=1, max=200)] = 20,
    url: Url = None,
    json: AsJson = False,
) -> None:
    """List the newest datasets.

    Example: tunesmith datasets list
    """
    from tunesmith.cli.client import client_of
    from tunesmith.cli.output import minute, print_json, print_table

    found = client_of(url).get("/datasets", limit=limit)["items"]
    if json:
        print_json(found)
        return
    rows = [{**one, "created": minute(one["created_at"]), "rows": (one["verdict"] or {}).get("rows")} for one in found]
    headings = {"id": "id", "kind": "kind", "state": "state", "rows": "rows", "bytes": "num_bytes"}
    print_table(rows, headings | {"created": "created", "name": "display_name"})


def upload(
    file: Annotated[Path, typer.Argument(help="JSONL file.")],
    kind: Annotated[str | None, typer.Option(help="What it is for: every line is then checked as such.")] = None,
    name: Annotated[str | None, typer.Option(help="Id; default: made of the file's name.")] = None,
    url: Url = None,
    json: AsJson = False,
) -> None:
    """Upload a file, and have every line of it checked.

    Example: tunesmith datasets upload rows.jsonl --kind rft --name sums
    """
    from tunesmith.cli.client import client_of
    from tunesmith.cli.output import print_json
    from tunesmith.cli.upload import id_of, send_dataset
    from tunesmith.core.errors import NotFound

    if not file.is_file():
        raise NotFound(str(file), "no such file", "Give a JSONL file")
    made = send_dataset(client_of(url), file, name or id_of(file.stem)[:63].rstrip("-"), kind)
    if json:
        print_json(made)
    else:
        typer.echo(made["id"])


def get(dataset: Dataset, url: Url = None, json: AsJson = False) -> None:
    """Show a dataset and what its check found.

    Example: tunesmith datasets get @latest
    """
    from tunesmith.cli.output import print_fields, print_json

    client, path = _found(dataset, url)
    found = client.get(path)
    if json:
        print_json(found)
        return
    names = ("id", "display_name", "kind", "state", "num_bytes", "created_at")
    print_fields({name: found[name] for name in names} | {"rows": (found["verdict"] or {}).get("rows")})
    _show_problems(found["verdict"] or {})


def check(dataset: Dataset, kind: Kind, url: Url = None, json: AsJson = False) -> None:
    """Check whether a dataset serves a kind of job; exit code 2 where it does not.

    Example: tunesmith datasets check @latest --kind sft
    """
    from tunesmith.cli.output import print_json

    client, path = _found(dataset, url)
    verdict = client.get(f"{path}/check", kind=kind)
    if json:
        print_json(verdict)
    else:
        _show_problems(verdict)
        typer.echo(f"{verdict['rows']} rows, {verdict['num_problems']} problems")
    if verdict["refusal"]:
        raise typer.Exit(2)


def download(
    dataset: Dataset,
    output: Annotated[Path | None, typer.Option(help="File; default <id>.jsonl.")] = None,
    url: Url = None,
) -> None:
    """Fetch a dataset as it was uploaded.

    Example: tunesmith datasets download @latest --output rows.jsonl
    """
    client, path = _found(dataset, url)
    file = output or Path(f"{path.rpartition('/')[2]}.jsonl")
    client.download(f"{path}/content", file)
    typer.echo(file)


def delete(dataset: Dataset, yes: Yes = False, url: Url = None) -> None:
    """Remove a dataset that no job uses.

    Example: tunesmith datasets delete old-rows --yes
    """
    from tunesmith.cli.output import confirm, say

    client, path = _found(dataset, url)
    name = path.rpartition("/")[2]
    confirm(f"Delete dataset {name}?", yes)
    client.delete(path)
    say(f"{name} is deleted")


def _found(dataset: str, url: str | None) -> tuple[Any, str]:
    """(client, address of the dataset)."""
    from tunesmith.cli.client import client_of, path_of
    from tunesmith.cli.references import one_of

    client = client_of(url)
    return client, path_of("datasets", one_of(client, "datasets", dataset))


def _show_problems(verdict: dict[str, Any]) -> None:
    for problem in verdict.get("problems", ()):
        typer.echo(problem)
    for note in verdict.get("notes", ()):
        typer.echo(f"note: {note}")
