"""Installs a project's requirements: pip in the sandbox, with the index that it is set up for on this machine.

Packages may bring code that runs while they are installed, so pip gets the network and nothing else of ours.
"""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tunesmith.core.errors import UserError
from tunesmith.grading.sandbox import Limits, python_folders, run

INSTALL_S = 900.0
"""How long requirements may take to install."""
LIMITS = Limits(wall_s=INSTALL_S, processes=256, file_mb=4096, scratch_mb=4096)
_KEPT = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
_PATH = re.compile(r"(?:^|[\s=])(?:file://)?(/[^\s'\"]+)")


def install(requirements: str, folder: Path) -> str:
    """Put requirements into an environment that was made at ``folder``; what pip said.

    Raises:
        UserError: they cannot be installed, or not in time.
    """
    wanted = folder / "requirements.txt"
    wanted.write_text(requirements + "\n", "utf-8")
    settings = _settings()
    command = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "-q"]
    command += ["--no-input", "--no-warn-conflicts", "--disable-pip-version-check", "-r", str(wanted)]
    done = asyncio.run(
        run(
            command,
            readable=[*python_folders(), *_places(settings)],
            work=folder,
            limits=LIMITS,
            network=True,
            environment={**settings, "PIP_NO_CACHE_DIR": "1"},
        )
    )
    said = (done.output + done.errors).decode("utf-8", "replace").strip()
    if done.returncode == -9:
        mend = "Ask for fewer packages, or for versions that have wheels"
        raise UserError("requirements.txt", f"did not install within {INSTALL_S:g} s", mend)
    if done.returncode:
        last = next((line for line in reversed(said.splitlines()) if "ERROR" in line), said[-300:])
        raise UserError("requirements.txt", f"cannot be installed: {last}", "Mend it and upload the project again")
    return said


def _settings() -> dict[str, str]:
    """pip's own settings on this machine, from its files and the environment, as variables; and how to get out."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    found: dict[str, str] = {}
    for line in listed.stdout.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.partition(".")
        if section in ("global", "install") and key:
            found["PIP_" + key.upper().replace("-", "_")] = value.strip("'\"").replace("\\n", " ")
    names = [*_KEPT, *(name.lower() for name in _KEPT), *(name for name in os.environ if name.startswith("PIP_"))]
    return found | {name: os.environ[name] for name in names if name in os.environ}


def _places(settings: Mapping[str, str]) -> list[Path]:
    """Files and folders that settings name: indexes on this machine, certificates, constraints."""
    named = {Path(path) for value in settings.values() for path in _PATH.findall(value)}
    # An index refers to the packages beside it.
    beside = {path.parent for path in named if path.name == "simple"}
    return sorted(path for path in named | beside if path.exists())
