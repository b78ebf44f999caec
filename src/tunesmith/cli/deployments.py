"""``tunesmith deployments``: names under which the server answers for a model, which can change behind them."""

from typing import Annotated

import typer

from tunesmith.cli.client import client_of
from tunesmith.cli.nouns import Thing, add_group, discard, find, listed, show, show_list
from tunesmith.cli.references import AsJson, Url, Yes

Deployment = Annotated[str, typer.Argument(help="Id of the deployment, its beginning, or @latest.")]


def add_to(app: typer.Typer, name: str) -> None:
    add_group(app, name, list_deployments, create, get, scale, load, unload, delete)


def list_deployments(url: Url = None, json: AsJson = False) -> None:
    """List the deployments.

    Example: tunesmith deployments list
    """
    headings = {"id": "id", "model": "model", "loaded": "loaded", "replicas": "replicas", "created": "created"}
    show_list(listed("deployments", url), json, headings, lambda one: {**one, "loaded": ", ".join(one["loaded"])})


def create(
    model: Annotated[str, typer.Argument(help="Base or tuned model that it serves.")],
    name: Annotated[str, typer.Argument(help="Id of the deployment.")],
    url: Url = None,
    json: AsJson = False,
) -> None:
    """Give a model a name to be served under.

    Example: tunesmith deployments create tunesmith/embedded sums-live
    """
    _show(client_of(url).post("/deployments", {"id": name, "model": model}), json)


def get(deployment: Deployment, url: Url = None, json: AsJson = False) -> None:
    """Show a deployment.

    Example: tunesmith deployments get sums-live
    """
    _show(find("deployments", deployment, url).get(), json)


def scale(
    deployment: Deployment,
    replicas: Annotated[int, typer.Argument(help="0 closes the name, 1 opens it.", min=0)],
    url: Url = None,
    json: AsJson = False,
) -> None:
    """Close a name, or open it again.

    Example: tunesmith deployments scale sums-live 0
    """
    _show(find("deployments", deployment, url).post("/scale", {"replicas": replicas}), json)


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
    _show(find("deployments", deployment, url).post("/load", {"model": model, "default": default}), json)


def unload(
    deployment: Deployment,
    model: Annotated[str, typer.Argument(help="Tuned model that is loaded there.")],
    url: Url = None,
    json: AsJson = False,
) -> None:
    """Take a tuned model off a deployment.

    Example: tunesmith deployments unload sums-live sums
    """
    _show(find("deployments", deployment, url).post("/unload", {"model": model}), json)


def delete(deployment: Deployment, yes: Yes = False, url: Url = None, json: AsJson = False) -> None:
    """Close a name for good.

    Example: tunesmith deployments delete sums-live --yes
    """
    found = find("deployments", deployment, url)
    discard(found, f"Delete deployment {found.name}?", yes, json)


def _show(deployment: Thing, as_json: bool) -> None:
    shown = {name: deployment[name] for name in ("id", "model", "base_model", "replicas", "default")}
    shown |= {"loaded": ", ".join(deployment["loaded"]), "chat with it": f"tunesmith chat {deployment['name']}"}
    show(deployment, as_json, shown)
