"""One server for the tests of this room."""

from collections.abc import Iterator

import pytest
from server.running import RunningServer


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path_factory.mktemp("guarded") / "data")
    try:
        yield running.start()
    finally:
        running.kill()
