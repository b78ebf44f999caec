"""``tunesmith models``: base models of a data directory, with or without a server, and those of a server."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunesmith.cli.client import client_of, path_of
from tunesmith.cli.nouns import add_group, discard, fetch, find, listed, show, show_list
from tunesmith.cli.output import tell
from tunesmith.cli.references import AsJson, Url, Yes
from tunesmith.cli.serve import HOME, DatabaseUrl, DataDir
from tunesmith.cli.stores import store_of

if TYPE_CHECKING:
    from tunesmith.services.registry import RegisteredModel, Registry

Model = Annotated[str, typer.Argument(help="Name of the model, its beginning, or @latest.")]
Name = Annotated[str, typer.Argument(help="Name that clients use, such as Qwen/Qwen3-8B.")]


def add_to(app: typer.Typer, name: str) -> None:
    add_group(app, name, add, list_models, remove, pull, get, rename, promote, download, delete)


def add(
    name: Name,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Model folder in Hugging Face format.")],
    data_dir: DataDir = HOME,
    database_url: DatabaseUrl = "",
    json: AsJson = False,
) -> None:
    """Give a model folder a name. A server that runs offers it at once.

    Example: tunesmith models add Qwen/Qwen3-8B ./qwen3-8b
    """
    _tell_added(_registry(data_dir, database_url).add(name, folder), json)


def list_models(
    local: Annotated[bool, typer.Option("--local", help="The base models of the data directory; no server.")] = False,
    data_dir: DataDir = HOME,
    database_url: DatabaseUrl = "",
    url: Url = None,
    json: AsJson = False,
) -> None:
    """List the models of the server, or with --local the base models of a data directory.

    Example: tunesmith models list
    """
    if local:
        models = [_fields(model) for model in _registry(data_dir, database_url).models()]
        show_list(models, json, {"name": "name", "context": "max_context", "folder": "folder"})
    else:
        headings = {"name": "name", "tuned from": "base_model", "job": "job_id", "context": "max_context"}
        show_list(listed("models", url), json, headings)


def remove(name: Name, data_dir: DataDir = HOME, database_url: DatabaseUrl = "", json: AsJson = False) -> None:
    """Forget a name; the folder stays.

    Example: tunesmith models remove Qwen/Qwen3-8B
    """
    _registry(data_dir, database_url).remove(name)
    tell({"name": name, "removed": True}, f"{name} is forgotten; its folder stays", json)


def pull(
    repo: Annotated[str, typer.Argument(help="Name on the Hugging Face hub, such as Qwen/Qwen3-8B.")],
    name: Annotated[str | None, typer.Option(help="Name that clients use; default: the same.")] = None,
    data_dir: DataDir = HOME,
    database_url: DatabaseUrl = "",
    json: AsJson = False,
) -> None:
    """Fetch a model from the Hugging Face hub into the data directory, and add it.

    Example: tunesmith models pull Qwen/Qwen3-0.6B
    """
    from tunesmith.services.pull import pull as pulled
    from tunesmith.services.registry import check_name

    check_name(name or repo)
    registry = _registry(data_dir, database_url)
    _tell_added(registry.add(name or repo, pulled(repo, data_dir.expanduser().resolve() / "models")), json)


def get(model: Model, url: Url = None, json: AsJson = False) -> None:
    """Show a model of the server.

    Example: tunesmith models get @latest
    """
    found = find("models", model, url).get()
    show(found, json, found | {"chat with it": f"tunesmith chat {found['name']}"})


def rename(
    model: Model, new_name: Annotated[str, typer.Argument(help="The new name.")], url: Url = None, json: AsJson = False
) -> None:
    """Give a tuned model another name.

    Example: tunesmith models rename job-1a2b sums
    """
    found = find("models", model, url)
    renamed = found.post("/rename", {"name": new_name})
    tell(renamed, f"{found.name} is now {renamed['name']}", json)


def promote(
    path: Annotated[str, typer.Argument(help="`tinker://...` of a checkpoint of the Training API.")],
    name: Annotated[str, typer.Argument(help="Name that it gets.")],
    url: Url = None,
    json: AsJson = False,
) -> None:
    """Give a checkpoint a name; its weights are copied and outlive it.

    Example: tunesmith models promote tinker://model-1/sampler_weights/best sums
    """
    made = client_of(url).post(f"{path_of('models', name)}/promote", {"path": path})
    tell(made, f"{path} is {made['name']} too; chat with it: tunesmith chat {made['name']}", json)


def download(
    model: Model,
    output: Annotated[Path | None, typer.Option(help="File; default <name>.tar.")] = None,
    url: Url = None,
    json: AsJson = False,
) -> None:
    """Fetch a tuned model as a tar: an adapter in PEFT format, or a model.

    Example: tunesmith models download @latest --output sums.tar
    """
    found = find("models", model, url)
    fetch(found, "/download", output or Path(f"{found.name.replace('/', '-').replace(':', '-')}.tar"), json)


def delete(model: Model, yes: Yes = False, url: Url = None, json: AsJson = False) -> None:
    """Forget a tuned model.

    Example: tunesmith models delete sums --yes
    """
    found = find("models", model, url)
    discard(found, f"Delete model {found.name}?", yes, json)


def _fields(model: "RegisteredModel") -> dict[str, Any]:
    return {"name": model.name, "max_context": model.max_context, "folder": str(model.folder)}


def _tell_added(model: "RegisteredModel", as_json: bool) -> None:
    tell(_fields(model), f"{model.name} is {model.folder}, context {model.max_context} tokens", as_json)


def _registry(data_dir: Path, database_url: str) -> "Registry":
    from tunesmith.services.registry import Registry

    return Registry(store_of(data_dir, database_url))
