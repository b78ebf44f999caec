"""``tunesmith login``: where the server is and who asks, kept for the commands that follow."""

import json as json_text
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from tunesmith.core.errors import Denied, UserError

FILE = Path("~/.tunesmith/login.json")
URLS = ("TUNESMITH_URL", "TUNESMITH_BASE_URL", "TINKER_BASE_URL")
KEYS = ("TUNESMITH_API_KEY", "TINKER_API_KEY")
DEFAULT_URL = "http://127.0.0.1:8000"


@dataclass(frozen=True, slots=True)
class Login:
    """A server and a key for it."""

    url: str
    key: str


def add_to(app: typer.Typer, name: str) -> None:
    app.command(name)(login)


def login(
    url: Annotated[str, typer.Argument(help="Address of the server.")] = DEFAULT_URL,
    key: Annotated[str | None, typer.Option(help="Key; default: asked for and not shown, or read from a pipe.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print address and version as JSON, never the key.")] = False,
) -> None:
    """Keep a server's address and a key, for the commands that ask it.

    TUNESMITH_URL and TUNESMITH_API_KEY win over what is kept.

    Example: tunesmith login http://trainer:8000
    """
    from tunesmith.cli.client import Client
    from tunesmith.cli.output import ask_hidden, tell

    new = Login(_checked_url(url), _checked_key(key or ask_hidden("Key").strip()))
    status = Client(new).get("/tunesmith/v1/status")
    keep(new)
    said = f"{new.url} is Tunesmith {status['version']}; {FILE} holds the key"
    tell({"url": new.url, "version": status["version"]}, said, json)


def keep(new: Login) -> None:
    """Write the file, which nobody but its owner may read, not even for a moment."""
    file = FILE.expanduser()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        json_text.dump({"url": new.url, "key": new.key}, out)
    unfinished.replace(file)


def login_of(url: str | None, environment: Mapping[str, str]) -> Login:
    """What a flag says, else the environment, else the last login. A kept key goes to the server it was kept for alone.

    Raises:
        Denied: no key is known.
    """
    kept = _kept()
    named = url or next((environment[name] for name in URLS if environment.get(name)), None)
    address = _checked_url(named or (kept.url if kept else DEFAULT_URL))
    key = next((environment[name] for name in KEYS if environment.get(name)), None)
    if key is None and kept is not None and kept.url == address:
        key = kept.key
    if key is None:
        mend = f"Run: tunesmith login {address}, or set TUNESMITH_API_KEY; make one with: tunesmith keys create"
        raise Denied("key", f"there is none for {address}", mend)
    return Login(address, _checked_key(key))


def _kept() -> Login | None:
    file = FILE.expanduser()
    if not file.is_file():
        return None
    try:
        return Login(**json_text.loads(file.read_text("utf-8")))
    except (ValueError, TypeError):
        raise UserError(str(file), "cannot be read", "Run tunesmith login again") from None


def _checked_url(url: str) -> str:
    if not url.startswith(("http://", "https://")) or not url.isascii() or not url.isprintable():
        raise UserError("url", f"cannot be {url[:100]!r}", f"Give one such as {DEFAULT_URL}")
    return url.rstrip("/")


def _checked_key(key: str) -> str:
    if not key or not key.isascii() or not key.isprintable():
        raise UserError("key", "is empty, or not of plain characters", "Paste it whole: tml-...")
    return key
