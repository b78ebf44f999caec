"""Make the environments of the clients that the tests drive: `python scripts/client_environments.py [name ...]`.

One of them, `base`, holds what is large and common (torch, transformers, datasets); the others see it through a .pth
file and add the client alone, so that four versions of an SDK cost four small folders. What is made already is left.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

ROOT = Path(__file__).resolve().parents[1]
FOLDER = (ROOT / ".venv-clients").resolve()
CONSTRAINTS = ROOT / "constraints.txt"
STAMP = "stamp"


@dataclass(frozen=True, slots=True)
class Environment:
    """What one environment adds to ``base``."""

    client: tuple[str, ...] = ()
    """Installed as they are: ``base`` has what they need, whatever their metadata says."""
    needs: tuple[str, ...] = ()
    """Installed with all that they ask for."""


# What constraints.txt pins is left to it; the rest has its version here.
TINKER_NEEDS = (
    "anyio",
    "click",
    "distro==1.9.0",
    "httpx[http2]==0.28.1",
    "numpy",
    "orjson==3.13.0",
    "protobuf==7.36.2",
    "pydantic",
    "pyqwest==0.12.0",
    "rich",
    "sniffio==1.3.1",
    "transformers",
    "zstandard==0.25.0",
)
COOKBOOK_NEEDS = (
    "aiohttp==3.14.5",
    "blobfile==3.3.0",
    "chz==0.4.0",
    "cloudpickle==3.1.2",
    "datasets",
    "huggingface-hub",
    "math-verify",
    "pillow",
    "pylatexenc==2.11",
    "pyrage==1.4.0",
    "safetensors",
    "sympy",
    "termcolor==3.3.0",
    "tiktoken==0.14.0",
    "tml-renderers==0.2.1",  # the newest for Python 3.11; tinker-cookbook asks for one that needs 3.12
    "torch",
    "tqdm",
)
FIREWORKS_NEEDS = (
    "httpx-aiohttp==0.2.0",
    "protobuf>=4.25.3,<8",
    "pydantic==2.12.5",
    "pyqwest==0.10.0",
    "requests==2.34.2",
    "urllib3==2.8.0",
)
TRACKERS_NEED = (
    "mlflow-skinny==3.17.2",
    "opentelemetry-exporter-otlp-proto-http==1.45.2",
    "opentelemetry-sdk==1.45.2",
    "tensorboard==2.21.0",
    "tensorboardX==2.6.5",
    "trackio==0.43.0",
    "wandb==0.31.0",
)
ENVIRONMENTS = {
    "base": Environment(needs=TINKER_NEEDS + COOKBOOK_NEEDS),
    "tinker-0.23.4": Environment(("tinker==0.23.4",)),
    "tinker-0.25.0": Environment(("tinker==0.25.0",)),
    "tinker-0.30.4": Environment(("tinker==0.30.4",)),
    "tinker-0.38.0": Environment(("tinker==0.38.0",)),
    "cookbook": Environment(("tinker==0.38.0", "tinker-cookbook==0.6.1")),
    "fireworks": Environment(("fireworks-ai==1.2.30",), FIREWORKS_NEEDS),
    "eval-protocol": Environment(needs=("eval-protocol==0.3.33",)),
    "fireworks-managed": Environment(
        ("fireworks-ai==1.2.28",), ("httpx-aiohttp==0.2.0", "orjson==3.13.0", "pydantic==2.12.5", "urllib3==2.8.0")
    ),
    "openai": Environment(("openai==3.52.0",), ("jiter==0.16.0",)),
    "trackers": Environment(needs=TRACKERS_NEED),
}


def make(name: str) -> None:
    """Make one environment anew, unless it is there and made by the same recipe."""
    folder, recipe = FOLDER / name, _recipe(name)
    stamp = folder / STAMP
    if stamp.is_file() and stamp.read_text("utf-8") == recipe:
        return
    began = perf_counter()
    shutil.rmtree(folder, ignore_errors=True)
    _run(sys.executable, "-m", "venv", *(() if name == "base" else ("--without-pip",)), str(folder))
    if name == "base":
        _run(str(folder / "bin" / "python"), "-m", "pip", "install", "-qq", "--upgrade", "pip")
    else:
        (_site_packages(folder) / "base.pth").write_text(f"{_site_packages(FOLDER / 'base')}\n", "utf-8")
    _install(folder, ENVIRONMENTS[name], *(("-c", str(CONSTRAINTS)) if name == "base" else ()))
    stamp.write_text(recipe, "utf-8")
    print(f"{name}: {perf_counter() - began:.0f} s", flush=True)


def _install(folder: Path, environment: Environment, *flags: str) -> None:
    pip = (str(FOLDER / "base" / "bin" / "python"), "-m", "pip", "--python", str(folder / "bin" / "python"))
    install = (*pip, "install", "-qq", "--no-compile", "--disable-pip-version-check", *flags)
    if environment.needs:
        _run(*install, *environment.needs)
    if environment.client:
        _run(*install, "--no-deps", *environment.client)


def _recipe(name: str) -> str:
    """What an environment is made from; another recipe makes it anew, and all of them with ``base``."""
    base = ENVIRONMENTS["base"]
    named = {re.split(r"[<>=\[]", need)[0].lower() for need in base.needs}
    pins = [pin for pin in CONSTRAINTS.read_text("utf-8").splitlines() if pin.split("==")[0].lower() in named]
    return "\n".join((sys.version, str(FOLDER), *pins, repr(base), repr(ENVIRONMENTS[name])))


def _site_packages(folder: Path) -> Path:
    return folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


def main(names: Sequence[str]) -> None:
    asked = names or list(ENVIRONMENTS)
    for name in asked:
        if name not in ENVIRONMENTS:
            raise SystemExit(f"no client {name!r}. Known: {', '.join(ENVIRONMENTS)}")
    make("base")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(make, [name for name in asked if name != "base"]))


if __name__ == "__main__":
    main(sys.argv[1:])
