"""``tunesmith models``: base models of a data directory, with or without a server, and those of a server."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunesmith.cli.references import AsJson, Url, Yes
from tunesmith.cli.serve import HOME, DatabaseUrl, DataDir

if TYPE_CHECKING:
    from tunesmith.services.registry import Registry

Model = Annotated[str, typer.Argument(help="Name of the model, its beginning, or @latest.")]
Name = Annotated[str, typer.Argument(help="Name that clients use, such as Qwen/Qwen3-8B.")]


def add_to(app: typer.Typer, name: str) -> None:
    from tunesmith.cli.main import COMMANDS

    group = typer.Typer(help=COMMANDS[name][1], no_args_is_help=True, rich_markup_mode=None)
    group.command("add")(add)
    group.command("list")(list_models)
    group.command("remove")(remove)
    group.command("pull")(pull)
    for verb in (get, rename, promote, download, delete):
        group.command(verb.__name__)(verb)
    app.add_typer(group, name=name)


def add(
    name: Name,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Model folder in Hugging Face format.")],
    data_dir: DataDir = HOME,
    database_url: DatabaseUrl = "",
) -> None:
    """Give a model folder a name. A server that runs offers it at once.

    Example: tunesmith models add Qwen/Qwen3-8B ./qwen3-8b
    """
    from tunesmith.cli.output import say

    model = _registry(data_dir, database_url).add(name, folder)
    say(f"{model.name} is {model.folder}, context {model.max_context} tokens")


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
    from tunesmith.cli.output import print_json, print_table

    if local:
        models = _registry(data_dir, database_url).models()
        found: list[Any] = [{"name": m.name, "max_context": m.max_context, "folder": str(m.folder)} for m in models]
        headings = {"name": "name", "context": "max_context", "folder": "folder"}
    else:
        from tunesmith.cli.client import client_of
        from tunesmith.cli.references import MOST

        found = client_of(url).get("/models", limit=MOST)["items"]
        headings = {"name": "name", "tuned from": "base_model", "job": "job_id", "context": "max_context"}
    if json:
        print_json(found)
    else:
        print_table(found, headings)


def remove(name: Name, data_dir: DataDir = HOME, database_url: DatabaseUrl = "") -> None:
    """Forget a name; the folder stays.

    Example: tunesmith models remove Qwen/Qwen3-8B
    """
    from tunesmith.cli.output import say

    _registry(data_dir, database_url).remove(name)
    say(f"{name} is forgotten; its folder stays")


def pull(
    repo: Annotated[str, typer.Argument(help="Name on the Hugging Face hub, such as Qwen/Qwen3-8B.")],
    name: Annotated[str | None, typer.Option(help="Name that clients use; default: the same.")] = None,
    data_dir: DataDir = HOME,
    database_url: DatabaseUrl = "",
) -> None:
    """Fetch a model from the Hugging Face hub into the data directory, and add it.

    Example: tunesmith models pull Qwen/Qwen3-0.6B
    """
    from tunesmith.cli.output import say
    from tunesmith.services.pull import pull as fetch
    from tunesmith.services.registry import check_name

    check_name(name or repo)
    registry = _registry(data_dir, database_url)
    model = registry.add(name or repo, fetch(repo, data_dir.expanduser().resolve() / "models"))
    say(f"{model.name} is {model.folder}, context {model.max_context} tokens")


def get(model: Model, url: Url = None, json: AsJson = False) -> None:
    """Show a model of the server.

    Example: tunesmith models get @latest
    """
    from tunesmith.cli.output import print_fields, print_json

    client, path, _ = _found(model, url)
    found = client.get(path)
    if json:
        print_json(found)
    else:
        print_fields(found | {"chat with it": f"tunesmith chat {found['name']}"})


def rename(
    model: Model, new_name: Annotated[str, typer.Argument(help="The new name.")], url: Url = None, json: AsJson = False
) -> None:
    """Give a tuned model another name.

    Example: tunesmith models rename job-1a2b sums
    """
    from tunesmith.cli.output import print_json, say

    client, path, name = _found(model, url)
    renamed = client.post(f"{path}/rename", {"name": new_name})
    if json:
        print_json(renamed)
    else:
        say(f"{name} is now {renamed['name']}")


def promote(
    path: Annotated[str, typer.Argument(help="`tinker://...` of a checkpoint of the Training API.")],
    name: Annotated[str, typer.Argument(help="Name that it gets.")],
    url: Url = None,
    json: AsJson = False,
) -> None:
    """Give a checkpoint a name; its weights are copied and outlive it.

    Example: tunesmith models promote tinker://model-1/sampler_weights/best sums
    """
    from tunesmith.cli.client import client_of, path_of
    from tunesmith.cli.output import print_json, say

    made = client_of(url).post(f"{path_of('models', name)}/promote", {"path": path})
    if json:
        print_json(made)
    else:
        say(f"{path} is {made['name']} too; chat with it: tunesmith chat {made['name']}")


def download(
    model: Model,
    output: Annotated[Path | None, typer.Option(help="File; default <name>.tar.")] = None,
    url: Url = None,
) -> None:
    """Fetch a tuned model as a tar: an adapter in PEFT format, or a model.

    Example: tunesmith models download @latest --output sums.tar
    """
    client, path, name = _found(model, url)
    file = output or Path(f"{name.replace('/', '-').replace(':', '-')}.tar")
    client.download(f"{path}/download", file)
    typer.echo(file)


def delete(model: Model, yes: Yes = False, url: Url = None) -> None:
    """Forget a tuned model.

    Example: tunesmith models delete sums --yes
    """
    from tunesmith.cli.output import confirm, say

    client, path, name = _found(model, url)
    confirm(f"Delete model {name}?", yes)
    client.delete(path)
    say(f"{name} is deleted")


def _found(model: str, url: str | None) -> tuple[Any, str, str]:
    """(client, address of the model, its name)."""
    from tunesmith.cli.client import client_of, path_of
    from tunesmith.cli.references import one_of

    client = client_of(url)
    name = one_of(client, "models", model, "name")
    return client, path_of("models", name), name


def _registry(data_dir: Path, database_url: str) -> "Registry":
    from tunesmith.services.registry import Registry
    from tunesmith.services.store import file_url, open_store

    return Registry(open_store(database_url or file_url(data_dir.expanduser().resolve())))
