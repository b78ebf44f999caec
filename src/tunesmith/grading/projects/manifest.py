"""What a build found out about a project, kept beside it as ``evaluator.json``: a job needs no more to run it."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from tunesmith.core import durable
from tunesmith.core.errors import NotFound, UserError

FILE = "evaluator.json"
PROJECT = "project:"
"""Before the folder of a project, as the evaluator of a spec."""
_ENTRY = re.compile(r"(?P<place>[\w./-]+)::(?P<function>\w+)")


@dataclass(frozen=True, slots=True)
class Entry:
    """The function that scores."""

    file: str
    """Relative to the project's root, with ``/``."""
    function: str


@dataclass(frozen=True, slots=True)
class Traits:
    """What importing the entry point told."""

    kind: str
    """"grader" for ``def grade(completion, row)``, "test" for an ``@evaluation_test``."""
    mode: str = "pointwise"
    """pointwise, or groupwise: all attempts at a prompt are scored in one call."""
    single_turn: bool = True
    """A rollout is one reply to the row's messages: no code of the project runs until it is scored."""
    processor: str = ""
    """The class that makes rollouts; empty for a grader."""
    max_concurrent_rollouts: int | None = None
    """What the project asks for where a job does not say."""
    remote: str = ""
    """Address of the server that makes the rollouts; empty where the project makes them itself."""


@dataclass(frozen=True, slots=True)
class Project:
    """A project that is ready to run."""

    folder: Path
    """What the evaluator owns: source, manifest, log."""
    root: Path
    """Where the project's imports begin."""
    entry: Entry
    python: Path
    """Interpreter that sees the project's requirements."""
    traits: Traits


def parse_entry(text: str) -> Entry:
    """``file.py::function`` or ``package.module::function``.

    Raises:
        UserError: anything else, or a path out of the project.
    """
    found = _ENTRY.fullmatch(text)
    place = found["place"] if found else ""
    if place and not place.endswith(".py"):
        place = place.replace(".", "/") + ".py"
    if found is None or place.startswith("/") or ".." in PurePosixPath(place).parts:
        raise UserError("entryPoint", f"cannot be {text[:200]!r}", "Give file.py::function, relative to the project")
    return Entry(str(PurePosixPath(place)), found["function"])


def write(project: Project) -> None:
    """Keep a manifest; paths are relative, so that the data directory can be moved."""
    value = {
        "root": str(project.root.relative_to(project.folder)),
        "python": str(project.python),
        "entry": asdict(project.entry),
        "traits": asdict(project.traits),
    }
    durable.write_json(project.folder / FILE, value)


def read(folder: Path) -> Project:
    """
    Raises:
        NotFound: no project was built here.
    """
    file = folder / FILE
    if not file.is_file():
        raise NotFound(str(folder), "holds no evaluator that was built", "Upload the evaluator again")
    value = json.loads(file.read_text("utf-8"))
    traits = Traits(**value["traits"])
    return Project(folder, folder / value["root"], Entry(**value["entry"]), Path(value["python"]), traits)
