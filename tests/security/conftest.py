"""One server for the tests of this room."""

from collections.abc import Iterator

import pytest
from server.running import RunningServer
from server.warm import WarmServer


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = WarmServer(tmp_path_factory.mktemp("guarded") / "data")
    try:
        yield running.start()
    finally:
        running.kill()
