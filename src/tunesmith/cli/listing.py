"""How ``--help`` lists commands: each with all that is said of it, for a cut sentence helps nobody."""

from collections.abc import Mapping
from typing import Any, ClassVar

from typer.core import TyperGroup


class Listing(TyperGroup):
    """A group of commands."""

    headings: ClassVar[Mapping[str, str]] = {}
    """First command of a part of the list -> what stands above that part."""

    def format_commands(self, _: Any, formatter: Any) -> None:
        parts: dict[str, list[tuple[str, str]]] = {}
        heading = "Commands"
        for name, command in self.commands.items():
            heading = self.headings.get(name, heading)
            said = (command.help or "").partition("\n\n")[0]
            parts.setdefault(heading, []).append((name, " ".join(said.split())))
        for heading, rows in parts.items():
            with formatter.section(heading):
                formatter.write_dl(rows)


class AllCommands(Listing):
    """The list of ``tunesmith --help``."""

    headings = {"demo": "On this machine", "serve": "A server, and what is asked of it"}  # noqa: RUF012
