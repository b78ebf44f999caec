"""``tunesmith serve``: everything over HTTP, from one data directory."""

import sys
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tunesmith.server.settings import ServerSettings
    from tunesmith.services.keys import Keys
    from tunesmith.services.logins import Logins

DataDir = Annotated[
    Path, typer.Option(envvar="TUNESMITH_DATA_DIR", help="Database, checkpoints, models that were pulled.")
]
DatabaseUrl = Annotated[
    str, typer.Option(envvar="TUNESMITH_DATABASE_URL", help="A database elsewhere; default: a file in the data dir.")
]
HOME = Path("~/.tunesmith")


def add_to(app: typer.Typer, name: str) -> None:
    app.command(name)(serve)


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all of this machine's.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)] = 8000,
    data_dir: DataDir = HOME,
    database_url: DatabaseUrl = "",
    artefacts: Annotated[
        str,
        typer.Option(envvar="TUNESMITH_ARTEFACTS", help="Copies of what is finished: a folder or s3://bucket/prefix."),
    ] = "",
    max_body_mib: Annotated[int, typer.Option(help="Largest request body in MiB, decompressed.", min=1)] = 256,
    max_dataset_mib: Annotated[int, typer.Option(help="Largest dataset file in MiB.", min=1)] = 2048,
    max_running_jobs: Annotated[int, typer.Option(help="Managed jobs that train at once.", min=1)] = 1,
    dashboard_host: Annotated[
        list[str] | None,
        typer.Option(help="A name, besides addresses, localhost and the public URL's, that the web page answers to."),
    ] = None,
    public_url: Annotated[
        str, typer.Option(help="Where other machines reach this server, such as https://tune.example.org.")
    ] = "",
    allow_network: Annotated[
        list[str] | None,
        typer.Option(
            help="An inner network that users may name as the address of a remote server, such as 192.168.7.0/24."
        ),
    ] = None,
    sandbox: Annotated[
        str,
        typer.Option(
            envvar="TUNESMITH_SANDBOX",
            help="What user code must run in: bubblewrap, namespaces, landlock, limits, or auto.",
        ),
    ] = "auto",
) -> None:
    """Serve jobs, models and a web page, and answer clients that you already have.

    The first start makes a key and prints it, once. Stops on Ctrl-C or SIGTERM when requests in hand are answered.

    Example: tunesmith serve --port 8000 --data-dir ./data
    """
    from tunesmith.core.addresses import networks
    from tunesmith.server.process import run
    from tunesmith.server.settings import ServerSettings

    folder = data_dir.expanduser().resolve()
    settings = ServerSettings(
        folder,
        host,
        port,
        database_url,
        artefacts=artefacts,
        max_body_bytes=max_body_mib << 20,
        max_dataset_bytes=max_dataset_mib << 20,
        max_running_jobs=max_running_jobs,
        sandbox=sandbox,
        public_url=public_url,
        allowed_networks=tuple(allow_network or ()),
        dashboard_hosts=tuple(dashboard_host or ()),
    )
    networks(settings.allowed_networks)
    run(settings, _announce)


def _announce(settings: "ServerSettings", keys: "Keys", logins: "Logins") -> None:
    """Say where the server is, open its page to whoever started it, and give the first key."""
    from tunesmith import __version__
    from tunesmith.cli.output import say
    from tunesmith.grading.sandbox import found, level
    from tunesmith.services.logins import login_address

    say(f"tunesmith {__version__} serves on {settings.base_url}, data in {settings.data_dir}")
    say(f"web page (opens once, within ten minutes): {login_address(settings.reached_at, logins.new_link())}")
    say(f"user code runs in the sandbox: {level()}{_better(found().refused)}")
    key = keys.create_first()
    if key is None:
        say(f"make a key for another client with: tunesmith keys create{_beside(settings)}")
        return
    say("a key was made and is shown this once; paste these lines where your client runs:")
    if not settings.loopback and not settings.public_url:
        say("(from another machine, with this machine's name in the addresses)")
    for name, value in (
        ("TINKER_BASE_URL", settings.reached_at),
        ("TINKER_API_KEY", key),
        ("HF_ENDPOINT", settings.reached_at),
    ):
        typer.echo(f"export {name}={value}")
    sys.stdout.flush()


def _beside(settings: "ServerSettings") -> str:
    """The flag by which commands find what this server serves; the URL of a database may hold its password."""
    if settings.database_url:
        return " --database-url ..."
    return "" if settings.data_dir == HOME.expanduser().resolve() else f" --data-dir {quote(str(settings.data_dir))}"


def _better(refused: Mapping[str, str]) -> str:
    """Why not a better sandbox."""
    return "".join(f"; {name} does not work here: {problem}" for name, problem in refused.items())
