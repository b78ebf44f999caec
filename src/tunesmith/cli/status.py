"""``tunesmith status``: what a running server has in hand."""

import json as json_text
import os
from http.client import HTTPException
from typing import Annotated, Any

import typer

from tunesmith.core.errors import UserError

TIMEOUT_S = 10.0


def add_to(app: typer.Typer, name: str) -> None:
    app.command(name)(status)


def status(
    url: Annotated[
        str, typer.Option(envvar=["TUNESMITH_BASE_URL", "TINKER_BASE_URL"], help="Address of the server.")
    ] = "http://127.0.0.1:8000",
    json: Annotated[bool, typer.Option("--json", help="Print the server's answer as JSON.")] = False,
) -> None:
    """Workers, models and queues of a running server.

    The key comes from TUNESMITH_API_KEY or TINKER_API_KEY.

    Example: tunesmith status --json
    """
    from tunesmith.cli.output import print_json

    answer = ask(url)
    if json:
        print_json(answer)
        return
    for name, value in answer.items():
        for i, line in enumerate(_lines(value)):
            typer.echo(f"{name.replace('_', ' ') if i == 0 else '':<22}{line}")


def ask(url: str) -> dict[str, Any]:
    """The status of the server at an address.

    Raises:
        UserError: nothing answers there, or it refuses the key.
    """
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    key = os.environ.get("TUNESMITH_API_KEY") or os.environ.get("TINKER_API_KEY") or ""
    if not key.isascii() or not key.isprintable() or not key:
        raise UserError("key", "TUNESMITH_API_KEY holds none", "Set it; make one with: tunesmith keys create")
    try:
        request = Request(url.rstrip("/") + "/tunesmith/v1/status", headers={"x-api-key": key})
        with urlopen(request, timeout=TIMEOUT_S) as response:
            answer = json_text.loads(response.read())
    except HTTPError as e:
        raise UserError(url, f"answers {e.code}: {_detail(e.read())}", "Check the address and the key") from None
    except (OSError, ValueError, HTTPException) as e:
        mend = "Start one with: tunesmith serve, or give its address with --url"
        raise UserError(url, f"no server answers there ({getattr(e, 'reason', e)})", mend) from None
    if not isinstance(answer, dict):
        raise UserError(url, "is some other program's address", "Give the server's own with --url")
    return answer


def _detail(body: bytes) -> str:
    try:
        return str(json_text.loads(body)["detail"])
    except (ValueError, LookupError, TypeError):
        return "no reason given"


def _lines(value: Any) -> list[str]:
    """A value as a person reads it: an item to a line."""
    if isinstance(value, list):
        return [_line(item) for item in value] or ["none"]
    return [_line(value)]


def _line(value: Any) -> str:
    return "  ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
