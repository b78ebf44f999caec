"""``tunesmith datasets``: the datasets of a server. One is named by its id, the beginning of it, or @latest."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tunesmith.cli.client import client_of
from tunesmith.cli.nouns import add_group, discard, fetch, find, listed, show_list
from tunesmith.cli.output import print_fields, print_json, say
from tunesmith.cli.references import AsJson, Url, Yes
from tunesmith.core.errors import NotFound

Dataset = Annotated[str, typer.Argument(help="Id of the dataset, its beginning, or @latest.")]
Kind = Annotated[str, typer.Option(help="What it is for: sft, dpo or rft.")]


def add_to(app: typer.Typer, name: str) -> None:
    add_group(app, name, list_datasets, upload, get, check, download, delete)


def list_datasets(
    limit: Annotated[int, typer.Option(help="Most entries.", min=1, max=200)] = 20,
    url: Url = None,
    json: AsJson = False,
) -> None:
    """List the newest datasets.

    Example: tunesmith datasets list
    """
    headings = {"id": "id", "kind": "kind", "state": "state", "rows": "rows", "bytes": "num_bytes"}
    headings |= {"created": "created", "name": "display_name"}
    show_list(listed("datasets", url, limit), json, headings, lambda one: {**one, "rows": _rows(one)})


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
    from tunesmith.cli.upload import id_of, send_dataset

    if not file.is_file():
        raise NotFound(str(file), "no such file", "Give a JSONL file")
    made = send_dataset(client_of(url), file, name or id_of(file.stem)[:63].rstrip("-"), kind)
    say(f"next: {_next(made)}")
    if json:
        print_json(made)
    else:
        typer.echo(made["id"])


def _next(made: Any) -> str:
    """The command that takes a dataset up; of one that was not checked for anything, the check."""
    if not made["kind"]:
        return f"tunesmith datasets check {made['id']} --kind rft"
    grader = " --evaluator last_number" if made["kind"] == "rft" else ""
    return f"tunesmith {made['kind']} create --dataset {made['id']}{grader} --follow"


def get(dataset: Dataset, url: Url = None, json: AsJson = False) -> None:
    """Show a dataset and what its check found.

    Example: tunesmith datasets get @latest
    """
    found = find("datasets", dataset, url).get()
    if json:
        print_json(found)
        return
    names = ("id", "display_name", "kind", "state", "num_bytes", "created_at")
    print_fields({name: found[name] for name in names} | {"rows": _rows(found)})
    _show_problems(found["verdict"] or {})


def check(dataset: Dataset, kind: Kind, url: Url = None, json: AsJson = False) -> None:
    """Check whether a dataset serves a kind of job; exit code 2 where it does not.

    Example: tunesmith datasets check @latest --kind sft
    """
    verdict = find("datasets", dataset, url).get("/check", kind=kind)
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
    json: AsJson = False,
) -> None:
    """Fetch a dataset as it was uploaded.

    Example: tunesmith datasets download @latest --output rows.jsonl
    """
    found = find("datasets", dataset, url)
    fetch(found, "/content", output or Path(f"{found.name}.jsonl"), json)


def delete(dataset: Dataset, yes: Yes = False, url: Url = None, json: AsJson = False) -> None:
    """Remove a dataset that no job uses.

    Example: tunesmith datasets delete old-rows --yes
    """
    found = find("datasets", dataset, url)
    discard(found, f"Delete dataset {found.name}?", yes, json)


def _rows(dataset: Any) -> int | None:
    return (dataset["verdict"] or {}).get("rows")


def _show_problems(verdict: dict[str, Any]) -> None:
    for problem in verdict.get("problems", ()):
        typer.echo(problem)
    for note in verdict.get("notes", ()):
        typer.echo(f"note: {note}")
