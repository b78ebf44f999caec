"""Lines as a person types them, through the real parser: which command they reach, and with what."""

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

import typer.main

from tunesmith.cli.main import build


def command(path: Sequence[str]) -> Any:
    """The parser of `rft run`, `eval` and so on."""
    found: Any = typer.main.get_command(build(path[0]))
    for word in path:
        found = found.commands[word]
    return found


def leaves(name: str) -> Iterator[tuple[str, ...]]:
    """Paths of the commands under a name of COMMANDS."""
    found = command([name])
    yield from ((name, sub) for sub in found.commands) if hasattr(found, "commands") else [(name,)]


def parsed(line: str) -> tuple[list[str], dict[str, Any]]:
    """(words of the command, its parameters); raises what a person would see for a wrong flag or a missing argument."""
    program, *words = shlex.split(line, comments=True)
    assert program == "tunesmith", line
    if words[0].startswith("--"):
        typer.main.get_command(build(None)).make_context(program, words, resilient_parsing=True)
        return words, {}
    found = command(words[:1])
    depth = 2 if hasattr(found, "commands") else 1
    leaf = command(words[:depth])
    return words[:depth], dict(leaf.make_context(" ".join(words[:depth]), words[depth:]).params)
