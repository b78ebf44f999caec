"""What every test may ask for."""

import os
import signal
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell that starts the tests in the background has interrupts ignored, and so would every job the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"

THOROUGH = ("clients", "crash", "docs", "jobs", "learns", "real")
"""Rooms whose tests run whole jobs: part of ``make test``, left out of ``make check``."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of thorough rooms."""
    here = Path(__file__).parent
    for item in items:
        if item.path.relative_to(here).parts[0] in THOROUGH:
            item.add_marker(pytest.mark.thorough)


@pytest.fixture
def shared_data() -> Path:
    """The folder of shared models, datasets and golden values; tests that need it are skipped where it is not."""
    if not SHARED.is_dir():
        pytest.skip("../shared/data is not here")
    return SHARED
