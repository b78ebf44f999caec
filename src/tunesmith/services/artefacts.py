"""A second home for what is finished: folders of the data directory, below a folder or an ``s3://`` address elsewhere.

A folder is there when its manifest is, which is written last and holds a checksum of every file.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from tunesmith.core import durable
from tunesmith.core.errors import JobStopped, UserError

MANIFEST = "manifest.json"
LEFT_OUT = ("checkpoints", "worker.lock")
"""Parts of a job's folder that only a job needs that goes on."""


@dataclass(frozen=True, slots=True)
class Artefacts:
    """Finished folders elsewhere, each under its path below the data directory."""

    data_dir: Path
    root: str
    """Path of the store in its own file system."""
    files: Any
    """The file system."""

    def kept(self) -> set[str]:
        """Keys of all folders that are there whole."""
        self.files.invalidate_cache()
        found = self.files.find(self.root) if self.files.exists(self.root) else []
        below = [PurePosixPath(path).relative_to(self.root) for path in found]
        return {str(path.parent) for path in below if path.name == MANIFEST and len(path.parts) > 1}

    def put(self, key: str) -> None:
        """Copy a folder there. One that was broken off goes on with the files that are not there yet."""
        local = self.data_dir / key
        sums = {name: _sum(local / name) for name in _names(local)}
        begun = self._read(f"{key}/.begun")
        self.files.makedirs(f"{self.root}/{key}", exist_ok=True)
        # What an earlier try left counts only if it was of the same content.
        done = begun.get("files") == sums and self.files.find(f"{self.root}/{key}")
        self.files.pipe_file(f"{self.root}/{key}/.begun", json.dumps({"files": sums}).encode())
        for name, (size, _) in sums.items():
            there = f"{self.root}/{key}/{name}"
            if done and there in done and self.files.info(there)["size"] == size:
                continue
            self.files.makedirs(str(PurePosixPath(there).parent), exist_ok=True)
            self.files.put_file(str(local / name), there)
        self.files.pipe_file(f"{self.root}/{key}/{MANIFEST}", json.dumps({"files": sums}, indent=1).encode())
        self.files.rm_file(f"{self.root}/{key}/.begun")

    def fetch(self, key: str) -> None:
        """Bring a folder back; it appears whole or not at all.

        Raises:
            JobStopped: a file is not what was stored.
        """
        sums = self._read(f"{key}/{MANIFEST}")["files"]
        local = self.data_dir / key
        local.parent.mkdir(parents=True, exist_ok=True)
        with durable.new_folder(local) as unfinished:
            for name, (size, checksum) in sums.items():
                target = (unfinished / name).resolve()
                if not target.is_relative_to(unfinished.resolve()):
                    raise JobStopped(f"{key}/{name}", "leads out of its folder", "Look who else writes to the store")
                target.parent.mkdir(parents=True, exist_ok=True)
                self.files.get_file(f"{self.root}/{key}/{name}", str(target))
                if _sum(target) != [size, checksum]:
                    raise JobStopped(f"{key}/{name}", "is not what was stored", "Restore it from a back-up")

    def remove(self, key: str) -> None:
        """Delete a folder there, its manifest first."""
        where = f"{self.root}/{key}"
        if self.files.exists(f"{where}/{MANIFEST}"):
            self.files.rm_file(f"{where}/{MANIFEST}")
        if self.files.exists(where):
            self.files.rm(where, recursive=True)

    def _read(self, name: str) -> dict[str, Any]:
        path = f"{self.root}/{name}"
        found: dict[str, Any] = json.loads(self.files.cat_file(path)) if self.files.exists(path) else {}
        return found


def open_artefacts(url: str, data_dir: Path) -> Artefacts:
    """
    Args:
        url: a folder, or ``s3://bucket/prefix``; credentials and endpoint are S3's own environment variables.

    Raises:
        UserError: another kind of address, or the driver is not installed.
    """
    kind = url.partition("://")[0] if "://" in url else "file"
    if kind not in ("file", "s3"):
        raise UserError("artefacts", f"unknown kind of store {kind!r}", "Give a folder, or s3://bucket/prefix")
    try:
        files, root = fsspec.core.url_to_fs(url, **({"use_listings_cache": False} if kind == "s3" else {}))
    except ImportError:
        raise UserError("artefacts", "the driver of S3 is not installed", "pip install 'tunesmith[s3]'") from None
    return Artefacts(data_dir, str(root).rstrip("/"), files)


def _names(folder: Path) -> Iterator[str]:
    """Files below a folder that are kept, links to folders left alone."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in LEFT_OUT)
        for name in sorted(names):
            path = Path(place, name)
            if name not in LEFT_OUT and not name.startswith(".tmp-") and not path.is_symlink():
                yield path.relative_to(folder).as_posix()


def _sum(file: Path) -> list[Any]:
    """Size and checksum, as JSON has them."""
    return [file.stat().st_size, durable.sha256(file)]
