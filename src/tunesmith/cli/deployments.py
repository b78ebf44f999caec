"""``tunesmith deployments``: names under which the server answers for a model, which can change behind them."""

from typing import Annotated, Any

import typer

from tunesmith.cli.references import AsJson, Url, Yes

Deployment = Annotated[str, typer.Argument(help="Id of the deployment, its beginning, or @latest.")]


def add_to(app: typer.Typer, name: str) -> None:
    from tunesmith.cli.main import COMMANDS

    group = typer.Typer(help=COMMANDS[name][1], no_args_is_help=True, rich_markup_mode=None)
    group.command("list")(list_deployments)
    for verb in (create, get, scale, load, unload, delete):
        group.command(verb.__name__)(verb)
    app.add_typer(group, name=name)


def list_deployments(url: Url = None, json: AsJson = False) -> None:
    """List the deployments.

    Example: tunesmith deployments list
    """
    from tunesmith.cli.client import client_of
    from tunesmith.cli.output import minute, print_json, print_table
    from tunesmith.cli.references import MOST

    found = client_of(url).get("/deployments", limit=MOST)["items"]
    if json:
        print_json(found)
        return
    rows = [{**one, "loaded": ", ".join(one["loaded"]), "created": minute(one["created_at"])} for one in found]
    print_table(rows, {"id": "id", "model": "model", "loaded": "loaded", "replicas": "replicas", "created": "created"})


def create(
    model: Annotated[str, typer.Argument(help="Base or tuned model that it serves.")],
    name: Annotated[str, typer.Argument(help="Id of the deployment.")],
    url: Url = None,
    json: AsJson = False,
) -> None:
    """Give a model a name to be served under.

    Example: tunesmith deployments create tunesmith/embedded sums-live
    """
    from tunesmith.cli.client import client_of

    _show(client_of(url).post("/deployments", {"id": name, "model": model}), json)


def get(deployment: Deployment, url: Url = None, json: AsJson = False) -> None:
    """Show a deployment.

    Example: tunesmith deployments get sums-live
    """
    client, path = _found(deployment, url)
    _show(client.get(path), json)


def scale(
    deployment: Deployment,
    replicas: Annotated[int, typer.Argument(help="0 closes the name, 1 opens it.", min=0)],
    url: Url = None,
    json: AsJson = False,
) -> None:
    """Close a name, or open it again.

    Example: tunesmith deployments scale sums-live 0
    """
    client, path = _found(deployment, url)
    _show(client.post(f"{path}/scale", {"replicas": replicas}), json)


def load(
    deployment: Deployment,
    model: Annotated[str, typer.Argument(help="Tuned model of the same base model.")],
    default: Annotated[bool, typer.Option("--default", help="The deployment's own name means it from now on.")] = False,
    url: Url = None,
    json: AsJson = False,
) -> None:
    """Let a deployment serve a tuned model too, as MODEL#DEPLOYMENT.

    Example: tunesmith deployments load sums-live sums --default
    """
    client, path = _found(deployment, url)
    _show(client.post(f"{path}/load", {"model": model, "default": default}), json)


def unload(
    deployment: Deployment,
    model: Annotated[str, typer.Argument(help="Tuned model that is loaded there.")],
    url: Url = None,
    json: AsJson = False,
) -> None:
    """Take a tuned model off a deployment.

    Example: tunesmith deployments unload sums-live sums
    """
    client, path = _found(deployment, url)
    _show(client.post(f"{path}/unload", {"model": model}), json)


def delete(deployment: Deployment, yes: Yes = False, url: Url = None) -> None:
    """Close a name for good.

    Example: tunesmith deployments delete sums-live --yes
    """
    from tunesmith.cli.output import confirm, say

    client, path = _found(deployment, url)
    name = path.rpartition("/")[2]
    confirm(f"Delete deployment {name}?", yes)
    client.delete(path)
    say(f"{name} is deleted")


def _found(deployment: str, url: str | None) -> tuple[Any, str]:
    """(client, address of the deployment)."""
    from tunesmith.cli.client import client_of, path_of
    from tunesmith.cli.references import one_of

    client = client_of(url)
    return client, path_of("deployments", one_of(client, "deployments", deployment))


def _show(deployment: dict[str, Any], as_json: bool) -> None:
    from tunesmith.cli.output import print_fields, print_json

    if as_json:
        print_json(deployment)
        return
    loaded = {"loaded": ", ".join(deployment["loaded"]), "chat with it": f"tunesmith chat {deployment['name']}"}
    print_fields({name: deployment[name] for name in ("id", "model", "base_model", "replicas", "default")} | loaded)
