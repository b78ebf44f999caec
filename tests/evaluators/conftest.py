"""Evaluators of a data directory without a server; requirements are installed once for all tests of a session."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clients.environments import python_of

from tunesmith.services.evaluator_builds import EVAL_PROTOCOL, environment_name
from tunesmith.services.evaluators import Evaluators
from tunesmith.services.secrets import Secrets
from tunesmith.services.store import Store, open_store


@pytest.fixture
def store(tmp_path: Path, database: Callable[[Path], str]) -> Iterator[Store]:
    opened = open_store(database(tmp_path))
    yield opened
    opened.close()


@pytest.fixture
def evaluators(tmp_path: Path, store: Store) -> Iterator[Evaluators]:
    made = Evaluators(store, tmp_path, Secrets(store, tmp_path))
    yield made
    made.close()


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Requirements of the projects here, as if they had been installed before: an environment of the tests."""
    python = python_of("eval-protocol")
    folder = tmp_path_factory.mktemp("environments")
    (folder / environment_name(EVAL_PROTOCOL)).symlink_to(python.parents[1])
    return folder
