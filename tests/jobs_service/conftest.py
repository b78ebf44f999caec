"""Jobs of a tiny model: real store, real files, real worker processes, no HTTP."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from crash import tiny_jobs
from jobs_service.workplace import Workplace

from tunesmith.services.store import Store, open_store


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model/ and data/ of ``tiny_jobs``."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny_jobs.make_model(folder / "model")
    tiny_jobs.make_data(folder / "data")
    return folder


@pytest.fixture
def store(tmp_path: Path, database: Callable[[Path], str]) -> Iterator[Store]:
    opened = open_store(database(tmp_path))
    yield opened
    opened.close()


@pytest.fixture
def place(tmp_path: Path, tiny: Path, database: Callable[[Path], str]) -> Iterator[Workplace]:
    """A data directory with the tiny model and nobody's jobs."""
    made = Workplace(tmp_path, tiny, url=database(tmp_path))
    yield made
    made.close()


@pytest.fixture
def places(tmp_path: Path, tiny: Path) -> Iterator[Callable[[str], Workplace]]:
    """Several of them, by name."""
    made: list[Workplace] = []

    def make(name: str) -> Workplace:
        made.append(Workplace(tmp_path / name, tiny))
        return made[-1]

    yield make
    for one in made:
        one.close()
