"""A folder with a user's project as an evaluator of this machine: built once for each content it has had."""

import hashlib
from pathlib import Path

from tunesmith.core import durable
from tunesmith.grading.projects import manifest
from tunesmith.grading.projects.manifest import PROJECT
from tunesmith.services.evaluator_builds import LEFT_OUT, Say, build


def built(folder: Path, entry_point: str, data_dir: Path, say: Say) -> str:
    """The evaluator of a spec that the project is.

    Args:
        entry_point: ``file.py::function``, relative to the folder.
        data_dir: keeps what was built, and the requirements that were installed.

    Raises:
        UserError: it cannot be built; says why, down to the line of the project.
    """
    place = data_dir / "projects" / _digest(folder, entry_point)
    if not (place / manifest.FILE).is_file():
        place.parent.mkdir(parents=True, exist_ok=True)
        with durable.new_folder(place) as temporary:
            build(folder, temporary, entry_point, data_dir / "environments", {}, say)
    return f"{PROJECT}{place}"


def _digest(folder: Path, entry_point: str) -> str:
    """Of names and contents of the files that are built."""
    found = hashlib.sha256(entry_point.encode())
    for file in sorted(folder.rglob("*")):
        inner = file.relative_to(folder)
        if file.is_file() and not LEFT_OUT.intersection(inner.parts):
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            found.update(f"{inner}\n{content}\n".encode("utf-8", "surrogateescape"))
    return found.hexdigest()[:24]
