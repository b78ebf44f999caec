"""``tunesmith evaluators``: uploaded evaluators of a server. A job names one by ``uploaded:<id>``, or by its file."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tunesmith.cli.references import AsJson, Url, Yes

Evaluator = Annotated[str, typer.Argument(help="Id of the evaluator, its beginning, or @latest.")]


def add_to(app: typer.Typer, name: str) -> None:
    from tunesmith.cli.main import COMMANDS

    group = typer.Typer(help=COMMANDS[name][1], no_args_is_help=True, rich_markup_mode=None)
    group.command("list")(list_evaluators)
    for verb in (upload, get, log, download, delete):
        group.command(verb.__name__)(verb)
    app.add_typer(group, name=name)


def list_evaluators(url: Url = None, json: AsJson = False) -> None:
    """List the uploaded evaluators.

    Example: tunesmith evaluators list
    """
    from tunesmith.cli.client import client_of
    from tunesmith.cli.output import minute, print_json, print_table
    from tunesmith.cli.references import MOST

    found = client_of(url).get("/evaluators", limit=MOST)["items"]
    if json:
        print_json(found)
        return
    rows = [{**one, "created": minute(one["created_at"])} for one in found]
    headings = {"id": "id", "state": "state", "entry point": "entry_point", "created": "created"}
    print_table(rows, headings | {"why": "reason"})


def upload(
    evaluator: Annotated[str, typer.Argument(help="`file.py::function`, or a .tar.gz of a project.")],
    name: Annotated[str | None, typer.Option(help="Id; default: made of the file.")] = None,
    url: Url = None,
    json: AsJson = False,
) -> None:
    """Upload an evaluator and wait for its build; exit code 1 where that fails.

    Example: tunesmith evaluators upload grader.py::grade --name sums
    """
    from tunesmith.cli.client import client_of
    from tunesmith.cli.output import print_json
    from tunesmith.cli.upload import send_evaluator

    made = send_evaluator(client_of(url), evaluator, name)
    if json:
        print_json(made)
    else:
        typer.echo(f"uploaded:{made['id']}")


def get(evaluator: Evaluator, url: Url = None, json: AsJson = False) -> None:
    """Show an evaluator.

    Example: tunesmith evaluators get @latest
    """
    from tunesmith.cli.output import print_fields, print_json

    client, path = _found(evaluator, url)
    found = client.get(path)
    if json:
        print_json(found)
    else:
        print_fields({**found, "traits": ", ".join(f"{name} {value}" for name, value in found["traits"].items())})


def log(evaluator: Evaluator, url: Url = None) -> None:
    """Print what its build said.

    Example: tunesmith evaluators log @latest
    """
    client, path = _found(evaluator, url)
    with client.open("GET", f"{path}/log") as answer:
        typer.echo(answer.read().decode("utf-8", "replace"), nl=False)


def download(
    evaluator: Evaluator,
    output: Annotated[Path, typer.Option(help="File to write.")],
    url: Url = None,
) -> None:
    """Fetch an evaluator as it was uploaded.

    Example: tunesmith evaluators download @latest --output grader.py
    """
    client, path = _found(evaluator, url)
    client.download(f"{path}/source", output)
    typer.echo(output)


def delete(evaluator: Evaluator, yes: Yes = False, url: Url = None) -> None:
    """Remove an evaluator that no job uses.

    Example: tunesmith evaluators delete sums --yes
    """
    from tunesmith.cli.output import confirm, say

    client, path = _found(evaluator, url)
    name = path.rpartition("/")[2]
    confirm(f"Delete evaluator {name}?", yes)
    client.delete(path)
    say(f"{name} is deleted")


def _found(evaluator: str, url: str | None) -> tuple[Any, str]:
    """(client, address of the evaluator)."""
    from tunesmith.cli.client import client_of, path_of
    from tunesmith.cli.references import one_of

    client = client_of(url)
    return client, path_of("evaluators", one_of(client, "evaluators", evaluator))
