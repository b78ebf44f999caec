"""Files that a command names by their path, on their way to the server: sent once, with a checksum."""

import base64
import hashlib
import re
import sys
from io import BufferedReader, FileIO
from pathlib import Path
from typing import Any

from tunesmith.cli.client import Client, path_of
from tunesmith.cli.output import say
from tunesmith.core.errors import NotFound, UserError

SHOWN_BYTES = 8 << 20
"""Larger files show how far they are."""
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
    try:
        there = client.get(path_of("datasets", dataset_id))
    except NotFound:
        there = None
    if there is None or there["state"] != "READY":
        there = send_dataset(client, file, dataset_id, kind, digest)
    return str(there["id"])


def send_dataset(client: Client, file: Path, dataset_id: str, kind: str | None, digest: bytes | None = None) -> Any:
    """Upload a file and have it checked.

    Raises:
        UserError: the server finds something wrong with it; lists the problems.
    """
    encoded = base64.b64encode(digest or _sha256(file)).decode()
    headers = {
        "content-type": "application/jsonl",
        "content-length": str(file.stat().st_size),
        "content-digest": f"sha-256=:{encoded}:",
    }
    with _Shown(file) as data:
        query = {"kind": kind, "display_name": file.name}
        made = client.send("PUT", path_of("datasets", dataset_id), data, headers, query)
    if made["state"] != "READY":
        raise UserError(str(file), made["verdict"]["refusal"], made["verdict"]["mend"])
    say(f"uploaded {file.name} as {dataset_id}: {made['verdict']['rows']:,} rows")
    return made


def id_of(text: str) -> str:
    """A file's name as the server takes it for an id."""
    found = _NO_ID.sub("-", text.lower()).strip("-") or "data"
    return found if found[0].isalpha() else f"d-{found}"


class _Shown(BufferedReader):
    """A file that says how far it has been read."""

    def __init__(self, file: Path) -> None:
        super().__init__(FileIO(str(file)))
        self._size, self._sent = file.stat().st_size, 0
        self._shown = self._size > SHOWN_BYTES and sys.stderr.isatty()

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._sent += len(data)
        if self._shown:
            end = "\n" if not data else ""
            sys.stderr.write(f"\r{self._sent / 2**20:,.0f} of {self._size / 2**20:,.0f} MiB{end}")
        return data


def _sha256(file: Path) -> bytes:
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").digest()
