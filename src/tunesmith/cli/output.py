"""The two ways out: talk to the person on stderr, results to the next program on stdout."""

import json
import sys
from typing import Any

import typer


def say(text: str, **style: Any) -> None:
    """To the person, on stderr."""
    typer.secho(text, err=True, **style)


def print_json(value: Any) -> None:
    """One object, the last line of stdout."""
    sys.stdout.write(json.dumps(value, allow_nan=False) + "\n")
