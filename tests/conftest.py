"""What every test may ask for."""

import gc
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from databases import Postgres, files_from, running_postgres

os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell that starts the tests in the background has interrupts ignored, and so would every job the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
gc.disable()  # until all is imported
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"

THOROUGH = ("clients", "crash", "docs", "evaluators", "jobs", "learns", "real", "sessions")
"""Rooms whose tests run whole jobs: part of ``make test``, left out of ``make check``."""
ONE_DATABASE = ("fireworks", "openai", "web", "test_requests.py", "test_nasty_requests.py")
"""What of tests/server is about wires and pages: on PostgreSQL in ``make slow`` alone. Its own wire, and the services
behind all of them, are tested on either kind with every change."""
SERVERS = {"server", "trainer", "guarded"}
"""Fixtures that start ``tunesmith serve``: what asks for one is thorough in every room."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests of thorough rooms, those that need a server's process, and those that one database is enough for."""
    here = Path(__file__).parent
    for item in items:
        asked, (room, *rest) = set(getattr(item, "fixturenames", ())), item.path.relative_to(here).parts
        if asked & SERVERS or room in THOROUGH:
            item.add_marker(pytest.mark.thorough)
        if room == "server" and rest[0] in ONE_DATABASE and _database_of(item) == "postgresql":
            item.add_marker(pytest.mark.slow)


def _database_of(item: pytest.Item) -> str | None:
    """The kind of database that a test runs on, where it runs on either."""
    callspec = getattr(item, "callspec", None)
    return callspec.params.get("database") if callspec else None


def pytest_collection_finish() -> None:
    """What is imported by now stays: to look through it again and again is an eighth of what tests take.

    What a test makes is small, and is looked through less often too.
    """
    gc.enable()
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)


@pytest.fixture
def shared_data() -> Path:
    """The folder of shared models, datasets and golden values; tests that need it are skipped where it is not."""
    if not SHARED.is_dir():
        pytest.skip("../shared/data is not here")
    return SHARED


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """One that a test may stop."""
    with running_postgres() as made:
        yield made


@pytest.fixture(scope="session")
def lasting_postgres() -> Iterator[Postgres]:
    with running_postgres() as made:
        yield made


@pytest.fixture(scope="session")
def database_files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], str]:
    return files_from(tmp_path_factory.mktemp("database"))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.thorough)])
def database(request: pytest.FixtureRequest) -> Iterator[Callable[[Path], str]]:
    """``database(data_dir)``: the URL of an empty database. What uses it is tested on either kind."""
    if request.param == "sqlite":
        yield request.getfixturevalue("database_files")
        return
    server: Postgres = request.getfixturevalue("lasting_postgres")
    with ExitStack() as copies:
        yield lambda _folder: copies.enter_context(server.copy())
