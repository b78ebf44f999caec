"""A warm process, tiny jobs, and what each of them gives when nothing goes wrong."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_jobs
from fingerprint import fingerprint
from zygote import Zygote

Reference = Callable[[dict[str, Any]], tuple[dict[str, str], float]]


@pytest.fixture(scope="session")
def jobs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny model and its data."""
    folder = tmp_path_factory.mktemp("jobs")
    tiny_jobs.make_model(folder / "model")
    tiny_jobs.make_data(folder / "data")
    return folder


@pytest.fixture(scope="session")
def zygote(jobs_folder: Path) -> Iterator[Zygote]:
    warm = Zygote(jobs_folder)
    yield warm
    warm.close()


@pytest.fixture
def run_folder(jobs_folder: Path) -> Iterator[Path]:
    """Where jobs of ``tiny_jobs.settings`` run; empty before and after."""
    run = jobs_folder / "run"
    yield run
    shutil.rmtree(run, ignore_errors=True)


@pytest.fixture
def undisturbed(zygote: Zygote, run_folder: Path) -> Reference:
    """Run a job without any disturbance: (its fingerprint, seconds it took)."""

    def run(settings: dict[str, Any]) -> tuple[dict[str, str], float]:
        ended = zygote.start(settings)
        assert ended.status == 0, ended.said
        found = fingerprint(run_folder)
        shutil.rmtree(run_folder)
        return found, ended.seconds

    return run
