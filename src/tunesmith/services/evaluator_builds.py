"""Makes an uploaded project ready to run: unpacked, its requirements installed once, its entry point imported once."""

import asyncio
import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from tunesmith.core.archives import unpack
from tunesmith.grading.projects import manifest
from tunesmith.grading.projects.manifest import Project, Traits, parse_entry
from tunesmith.grading.projects.process import Guest, Surroundings
from tunesmith.services.installs import install

Say = Callable[[str], None]
LEFT_OUT = frozenset({".git", ".venv", "venv", "__pycache__", "node_modules"})
"""Names in a project's folder that are none of its source."""
EVAL_PROTOCOL = "eval-protocol==0.3.33"
"""Installed for projects that use it and do not name it themselves: elsewhere it is there already."""
_USES_EVAL_PROTOCOL = re.compile(r"^\s*(?:from|import)\s+eval_protocol\b", re.MULTILINE)
_NAMES_EVAL_PROTOCOL = re.compile(r"^\s*eval[-_.]protocol\b", re.MULTILINE | re.IGNORECASE)


def build(
    upload: Path, folder: Path, entry_point: str, environments: Path, secrets: Mapping[str, str], say: Say
) -> Project:
    """
    Args:
        upload: a .py file, an archive of a project, or its folder.
        folder: what the evaluator owns; source and manifest go there.
        environments: installed requirements of all evaluators, one folder for each set.
        secrets: environment variables that the project may read.
        say: takes the lines of the build's log.

    Raises:
        UserError: with what is wrong, down to the line of the project.
    """
    entry = parse_entry(entry_point)
    root = _unpacked(upload, folder / "source")
    say(f"unpacked {upload.name}: {sum(1 for p in root.rglob('*') if p.is_file())} files")
    python = _environment(_requirements(root), environments, say)
    project = Project(folder, root, entry, python, Traits("grader"))
    say(f"importing {entry.file}::{entry.function}")
    project = replace(project, traits=asyncio.run(_traits(project, secrets)))
    manifest.write(project)
    traits = project.traits
    what = "a grader" if traits.kind == "grader" else f"an @evaluation_test, {traits.mode}, {traits.processor}"
    say(f"it is {what}: ready")
    return project


async def _traits(project: Project, secrets: Mapping[str, str]) -> Traits:
    guest = await Guest.start(project, Surroundings(secrets=secrets), serve=False)
    try:
        return Traits(**guest.traits)
    finally:
        await guest.stop()


def _unpacked(upload: Path, source: Path) -> Path:
    """The folder where the project begins: inside the one folder of an archive that has one."""
    shutil.rmtree(source, ignore_errors=True)
    if upload.is_dir():
        shutil.copytree(upload, source, ignore=shutil.ignore_patterns(*LEFT_OUT))
        return source
    if upload.suffix == ".py":
        source.mkdir()
        shutil.copyfile(upload, source / upload.name)
    else:
        unpack(upload, source)
    inside = list(source.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else source


def _requirements(root: Path) -> str:
    """What the project needs installed, one requirement a line."""
    file = root / "requirements.txt"
    given = file.read_text("utf-8", "replace") if file.is_file() else ""
    lines = [line.strip() for line in given.splitlines()]
    wanted = [line for line in lines if line and not line.startswith("#")]
    sources = (path.read_text("utf-8", "replace") for path in root.rglob("*.py"))
    if not _NAMES_EVAL_PROTOCOL.search(given) and any(map(_USES_EVAL_PROTOCOL.search, sources)):
        wanted.append(EVAL_PROTOCOL)
    return "\n".join(wanted)


def _environment(requirements: str, environments: Path, say: Say) -> Path:
    """The Python that has them; our own where there are none. What we have installed ourselves is seen through."""
    if not requirements:
        return Path(sys.executable)
    digest = environment_name(requirements)
    final = environments / digest
    python = final / "bin" / "python"
    if python.is_file():
        say(f"requirements are installed already ({digest})")
        return python
    environments.mkdir(parents=True, exist_ok=True)
    say("installing " + ", ".join(requirements.splitlines()))
    building = environments / f"{digest}.building"
    shutil.rmtree(building, ignore_errors=True)
    _install(requirements, building, say)
    building.rename(final)
    return python


def environment_name(requirements: str) -> str:
    """Of the folder in which requirements are installed: the same for the same."""
    return hashlib.sha256(f"{sys.version}\n{requirements}".encode()).hexdigest()[:24]


def _install(requirements: str, folder: Path, say: Say) -> None:
    """An environment with the requirements, in which our own packages are seen too."""
    subprocess.run((sys.executable, "-m", "venv", "--without-pip", str(folder)), check=True, stdin=subprocess.DEVNULL)
    site = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    ours = [path for path in sys.path if path.endswith("site-packages")]
    (site / "tunesmith.pth").write_text("".join(f"{path}\n" for path in ours), "utf-8")
    if said := install(requirements, folder):
        say(said)
