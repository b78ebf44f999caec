"""Evaluators of a data directory without a server; requirements are installed once for all tests of a session."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tunesmith.services.evaluators import Evaluators
from tunesmith.services.secrets import Secrets
from tunesmith.services.store import Store, file_url, open_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(file_url(tmp_path))
    yield opened
    opened.close()


@pytest.fixture
def evaluators(tmp_path: Path, store: Store) -> Iterator[Evaluators]:
    made = Evaluators(store, tmp_path, Secrets(store, tmp_path))
    yield made
    made.close()
