"""Running a driver in the environment of a client, against a server."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest

CLIENTS = Path(__file__).parents[2] / ".venv-clients"
DRIVERS = Path(__file__).parent / "drivers"
KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE")
"""What a client's process inherits; a proxy, a key or a cache of the person who tests is none of it."""


class Address(Protocol):
    """Where a server answers and the key it knows."""

    base_url: str
    key: str


def python_of(client: str) -> Path:
    """The interpreter of one client; the test is skipped where `make clients` has not run."""
    folder = CLIENTS / client
    if not (folder / "stamp").is_file():
        pytest.skip(f"no environment of {client}: run `make clients`")
    return folder / "bin" / "python"


def variables(server: Address, home: Path) -> dict[str, str]:
    """The environment of a user who has pasted the lines that the server prints, in an empty home."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return kept | {
        "TINKER_BASE_URL": server.base_url,
        "TINKER_API_KEY": server.key,
        "HF_ENDPOINT": server.base_url,
        "HOME": str(home),
        "HF_HOME": str(home / "hf"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def drive(
    client: str, driver: str, server: Address, home: Path, settings: Mapping[str, Any], limit_s: float = 120
) -> Any:
    """Run drivers/<driver>.py in a client's environment; returns what it answers."""
    command = [str(python_of(client)), str(DRIVERS / f"{driver}.py"), json.dumps(dict(settings))]
    done = run(command, server, home, limit_s)
    return json.loads(done.splitlines()[-1])


def run(command: list[str], server: Address, home: Path, limit_s: float = 120) -> str:
    """What a client's process printed; its errors fail the test with the end of both streams."""
    home.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        command, env=variables(server, home), cwd=home, capture_output=True, text=True, timeout=limit_s, check=False
    )
    if done.returncode:
        pytest.fail(f"{command[1:3]} ended with {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout
