"""Files that a command names by their path, on their way to the server: sent once, with a checksum."""

import base64
import hashlib
import re
import sys
import time
from collections.abc import Mapping
from io import BufferedReader, FileIO
from pathlib import Path
from typing import Any

from tunesmith.cli.client import Client, Unreachable, path_of
from tunesmith.cli.output import say
from tunesmith.core.errors import Conflict, JobStopped, NotFound, UserError

SHOWN_BYTES = 8 << 20
"""Larger files show how far they are."""
LOOK_S = 0.5
"""Between two looks at a build."""
PAUSES_S = (1.0, 2.0, 4.0, 8.0)
"""Between tries to send a file whose connection broke."""
PREFIX = "uploaded:"
"""Before the id of an evaluator in a job's settings."""
_NO_ID = re.compile(r"[^a-z0-9]+")


def dataset_named(client: Client, text: str, kind: str) -> str:
    """The id of a dataset: of a file that is uploaded for it unless the server has the same already, or as given.

    Raises:
        UserError: the file is no dataset of that kind; lists the problems.
    """
    file = Path(text).expanduser()
    if not file.is_file():
        if "/" in text or "." in text:
            raise NotFound(text, "no such file", "Give a JSONL file, or the id of a dataset on the server")
        return text
    digest = _sha256(file)
    dataset_id = f"{id_of(file.stem)[:50]}-{digest.hex()[:8]}"
    there = _found(client, path_of("datasets", dataset_id))
    if there is None or there["state"] != "READY":
        there = send_dataset(client, file, dataset_id, kind, digest)
    return str(there["id"])


def send_dataset(client: Client, file: Path, dataset_id: str, kind: str | None, digest: bytes | None = None) -> Any:
    """Upload a file and have it checked.

    Raises:
        UserError: the server finds something wrong with it; lists the problems.
    """
    headers = _headers(file, digest or _sha256(file), "application/jsonl")
    query = {"kind": kind, "display_name": file.name}
    made = _put(client, path_of("datasets", dataset_id), file, headers, query)
    if made["state"] != "READY":
        raise UserError(str(file), made["verdict"]["refusal"], made["verdict"]["mend"])
    say(f"uploaded {file.name} as {dataset_id}: {made['verdict']['rows']:,} rows")
    return made


def evaluator_named(client: Client, evaluator: str | list[str]) -> str | list[str]:
    """An evaluator as a job on a server names it: a file is uploaded and built unless the server has the same already.

    Raises:
        UserError: a file among several graders.
    """
    names = [evaluator] if isinstance(evaluator, str) else evaluator
    if not any("::" in name for name in names):
        return evaluator
    if len(names) > 1 or "=" in names[0].partition("::")[2]:
        raise UserError("evaluator", "mixes a file with weights or other graders", "Weigh them in the file's function")
    return PREFIX + str(send_evaluator(client, names[0], None)["id"])


def send_evaluator(client: Client, evaluator: str, name: str | None) -> Any:
    """Upload a file or a project, and wait for its build.

    Raises:
        NotFound: no such file. JobStopped: the build failed; says why.
    """
    place, _, function = evaluator.partition("::")
    file = Path(place).expanduser()
    if not file.is_file():
        raise NotFound(place, "no such file", "Give file.py::function, or a .tar.gz of a project")
    entry = f"{file.name}::{function}" if function else ""
    digest = _sha256(file)
    mark = hashlib.sha256(digest + entry.encode()).hexdigest()[:8]
    evaluator_id = name or f"{id_of(file.name.partition('.')[0])[:50].rstrip('-')}-{mark}"
    path = path_of("evaluators", evaluator_id)
    made = _found(client, path) if name is None else None
    if made is None or made["state"] == "BUILD_FAILED":
        query = {"filename": file.name, "entry_point": entry}
        made = _put(client, path, file, _headers(file, digest, "application/octet-stream"), query)
        say(f"uploaded {file.name} as {evaluator_id}; building")
    while made["state"] == "BUILDING":
        time.sleep(LOOK_S)
        made = client.get(path)
    if made["state"] != "ACTIVE":
        raise JobStopped(
            evaluator_id, f"its build failed: {made['reason']}", f"See: tunesmith evaluators log {evaluator_id}"
        )
    return made


def id_of(text: str) -> str:
    """A file's name as the server takes it for an id."""
    found = _NO_ID.sub("-", text.lower()).strip("-") or "data"
    return found if found[0].isalpha() else f"d-{found}"


def _put(client: Client, path: str, file: Path, headers: Mapping[str, str], query: Mapping[str, Any]) -> Any:
    """Send a file, and again from its beginning where the connection breaks under it.

    Raises:
        Unreachable: nobody answered at first, or it broke too often.
    """
    broke = False
    for pause in PAUSES_S:
        with _Shown(file) as data:
            try:
                return client.send("PUT", path, data, headers, query)
            except Unreachable as e:
                if not (broke or data.sent):
                    raise
                broke = True
                say(f"{file.name}: {e.problem}; sending it again in {pause:g} s")
            except Conflict:
                # Of an earlier try: its answer was lost, or the server has not noticed yet that it broke.
                there = _found(client, path) if broke else None
                if there is None:
                    raise
                if there["state"] not in ("UPLOADING", "FAILED"):
                    return there
        time.sleep(pause)
    with _Shown(file) as data:
        return client.send("PUT", path, data, headers, query)


class _Shown(BufferedReader):
    """A file that says how far it has been read."""

    def __init__(self, file: Path) -> None:
        super().__init__(FileIO(str(file)))
        self._size, self.sent = file.stat().st_size, 0
        self._shown = self._size > SHOWN_BYTES and sys.stderr.isatty()

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.sent += len(data)
        if self._shown:
            end = "\n" if not data else ""
            sys.stderr.write(f"\r{self.sent / 2**20:,.0f} of {self._size / 2**20:,.0f} MiB{end}")
        return data


def _found(client: Client, path: str) -> Any:
    """What the server has there; None where it has nothing."""
    try:
        return client.get(path)
    except NotFound:
        return None


def _headers(file: Path, digest: bytes, kind: str) -> dict[str, str]:
    return {
        "content-type": kind,
        "content-length": str(file.stat().st_size),
        "content-digest": f"sha-256=:{base64.b64encode(digest).decode()}:",
    }


def _sha256(file: Path) -> bytes:
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").digest()
