"""``tunesmith evaluators``: uploaded evaluators of a server. A job names one by ``uploaded:<id>``, or by its file."""

from pathlib import Path
from typing import Annotated

import typer

from tunesmith.cli.client import client_of
from tunesmith.cli.nouns import add_group, discard, fetch, find, listed, show, show_list
from tunesmith.cli.output import print_json, say
from tunesmith.cli.references import AsJson, Url, Yes

Evaluator = Annotated[str, typer.Argument(help="Id of the evaluator, its beginning, or @latest.")]


def add_to(app: typer.Typer, name: str) -> None:
    add_group(app, name, list_evaluators, upload, get, log, download, delete)


def list_evaluators(url: Url = None, json: AsJson = False) -> None:
    """List the uploaded evaluators.

    Example: tunesmith evaluators list
    """
    headings = {"id": "id", "state": "state", "entry point": "entry_point", "created": "created", "why": "reason"}
    show_list(listed("evaluators", url), json, headings)


def upload(
    evaluator: Annotated[str, typer.Argument(help="`file.py::function`, or a .tar.gz of a project.")],
    name: Annotated[str | None, typer.Option(help="Id; default: made of the file.")] = None,
    url: Url = None,
    json: AsJson = False,
) -> None:
    """Upload an evaluator and wait for its build; exit code 1 where that fails.

    Example: tunesmith evaluators upload grader.py::grade --name sums
    """
    from tunesmith.cli.upload import send_evaluator

    made = send_evaluator(client_of(url), evaluator, name)
    say(f"next: tunesmith rft create --dataset rows.jsonl --evaluator uploaded:{made['id']} --follow")
    if json:
        print_json(made)
    else:
        typer.echo(f"uploaded:{made['id']}")


def get(evaluator: Evaluator, url: Url = None, json: AsJson = False) -> None:
    """Show an evaluator.

    Example: tunesmith evaluators get @latest
    """
    found = find("evaluators", evaluator, url).get()
    traits = ", ".join(f"{name} {value}" for name, value in found["traits"].items())
    show(found, json, {**found, "traits": traits})


def log(evaluator: Evaluator, url: Url = None, json: AsJson = False) -> None:
    """Print what its build said.

    Example: tunesmith evaluators log @latest
    """
    found = find("evaluators", evaluator, url)
    with found.client.open("GET", f"{found.path}/log") as answer:
        said = answer.read().decode("utf-8", "replace")
    if json:
        print_json({"id": found.name, "text": said})
    else:
        typer.echo(said, nl=False)


def download(
    evaluator: Evaluator,
    output: Annotated[Path, typer.Option(help="File to write.")],
    url: Url = None,
    json: AsJson = False,
) -> None:
    """Fetch an evaluator as it was uploaded.

    Example: tunesmith evaluators download @latest --output grader.py
    """
    fetch(find("evaluators", evaluator, url), "/source", output, json)


def delete(evaluator: Evaluator, yes: Yes = False, url: Url = None, json: AsJson = False) -> None:
    """Remove an evaluator that no job uses.

    Example: tunesmith evaluators delete sums --yes
    """
    found = find("evaluators", evaluator, url)
    discard(found, f"Delete evaluator {found.name}?", yes, json)
