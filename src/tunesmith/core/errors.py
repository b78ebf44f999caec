"""Every error a user can cause. Each names the place, what was given, what is wrong and the mend.

UserError            refused input; exit code 2
├── NotFound         a name, file or run that is not there
├── Conflict         the thing exists already, or is in the wrong state
├── Denied           it is somebody else's
└── JobStopped       a job that ended itself, with the reason: the run folder is whole, exit code 1
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Literal

Kind = Literal["invalid", "not_found", "conflict", "denied", "stopped"]


class UserError(Exception):
    """Raised for input we refuse. Never wrapped, never retried."""

    kind: Kind = "invalid"

    def __init__(self, where: str, problem: str, mend: str) -> None:
        super().__init__(f"{where}: {problem}. {mend}")
        self.where, self.problem, self.mend = where, problem, mend


class NotFound(UserError):
    kind: Kind = "not_found"


class Conflict(UserError):
    kind: Kind = "conflict"


class Denied(UserError):
    """What was asked for belongs to another owner; answered with 403, and never with what it is."""

    kind: Kind = "denied"


class JobStopped(UserError):
    """A job that stopped itself rather than go on wrongly; what it saved is whole and can be resumed."""

    kind: Kind = "stopped"


def unknown(where: str, name: str, known: Iterable[str]) -> UserError:
    """The one wording for a name that is not in a table."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return UserError(where, f"unknown {name!r}", f"{hint}Known: {', '.join(names)}")
