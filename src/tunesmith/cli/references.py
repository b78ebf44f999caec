"""How a person names something on a server: in full, by its unique beginning, or as ``@latest``."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from re import compile as pattern
from typing import Annotated, Any

import typer

from tunesmith.cli.client import Client, path_of
from tunesmith.core.errors import Conflict, NotFound

LATEST = "@latest"
MOST = 200
"""Of a list that is looked through."""
Url = Annotated[str | None, typer.Option(help="Address of the server; default: the last login's, or TUNESMITH_URL.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on the last line.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
_JOB_ID = pattern(r"job-[0-9a-f]{20}")


def job_of(client: Client, name: str, noun: str = "jobs") -> str:
    """The id of a job, or of an evaluation, which is one.

    Raises:
        NotFound: there is none; names the latest. Conflict: several begin so; names them.
    """
    if _JOB_ID.fullmatch(name):
        return name
    what, latest = noun.removesuffix("s"), name == LATEST
    found = client.get(f"/{noun}", limit=1 if latest else MOST, beginning=None if latest else name)["items"]
    exact = [job for job in found if job["name"] == name]
    if len(exact or found) == 1:
        return str((exact or found)[0]["id"])
    if found:
        several = ", ".join(f"{job['name']} ({', '.join(_marks(job))})" for job in (exact or found)[:5])
        raise Conflict(what, f"{name!r} may be any of {several}", "Give more of the id")
    raise _absent(what, name, [job["name"] for job in client.get(f"/{noun}", limit=20)["items"]])


def _marks(job: Mapping[str, Any]) -> list[str]:
    return [str(job[name]) for name in ("id", "kind") if name in job]


def one_of(client: Client, noun: str, name: str, key: str = "id") -> str:
    """The full id of a dataset, model or another thing that has a list.

    Raises:
        NotFound: there is none; names near ones. Conflict: several begin so; names them.
    """
    listed: Sequence[Mapping[str, Any]] = client.get(path_of(noun), limit=MOST)["items"]
    names = [str(one[key]) for one in listed]
    if name == LATEST and names:
        return str(max(listed, key=lambda one: one.get("created_at") or "")[key])
    if name in names:
        return name
    begin = [one for one in names if one.startswith(name)]
    if len(begin) == 1:
        return begin[0]
    what = noun.removesuffix("s")
    if begin:
        raise Conflict(what, f"{name!r} may be any of {', '.join(begin[:5])}", "Give more of the name")
    raise _absent(what, name, names)


def _absent(what: str, name: str, names: Sequence[str]) -> NotFound:
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    there = f"There are: {', '.join(names[:10])}" if names else "There are none yet"
    return NotFound(what, f"no {what} is called {name[:100]!r}", f"{hint}{there}")
