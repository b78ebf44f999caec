"""``tunesmith models add``, ``list``, ``remove`` and ``pull``: the base models that a server offers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunesmith.cli.serve import HOME, DatabaseUrl, DataDir

if TYPE_CHECKING:
    from tunesmith.services.registry import Registry

Name = Annotated[str, typer.Argument(help="Name that clients use, such as Qwen/Qwen3-8B.")]


def add_to(app: typer.Typer, name: str) -> None:
    from tunesmith.cli.main import COMMANDS

    group = typer.Typer(help=COMMANDS[name][1], no_args_is_help=True, rich_markup_mode=None)
    group.command("add")(add)
    group.command("list")(list_models)
    group.command("remove")(remove)
    group.command("pull")(pull)
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
    data_dir: DataDir = HOME,
    database_url: DatabaseUrl = "",
    json: Annotated[bool, typer.Option("--json", help="Print a list of objects as JSON.")] = False,
) -> None:
    """List the base models: name, context in tokens, folder.

    Example: tunesmith models list
    """
    from tunesmith.cli.output import print_json

    found = _registry(data_dir, database_url).models()
    if json:
        print_json([{"name": m.name, "max_context": m.max_context, "folder": str(m.folder)} for m in found])
        return
    width = max(len(model.name) for model in found)
    for model in found:
        typer.echo(f"{model.name:<{width}}  {model.max_context:>9,}  {model.folder}")


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


def _registry(data_dir: Path, database_url: str) -> "Registry":
    from tunesmith.services.registry import Registry
    from tunesmith.services.store import file_url, open_store

    return Registry(open_store(database_url or file_url(data_dir.expanduser().resolve())))
