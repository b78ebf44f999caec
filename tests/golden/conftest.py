"""``pytest tests/golden --update-golden`` writes what is computed now."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden/*.txt")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """False in runs over more than this folder, where the option is not known."""
    return bool(request.config.getoption("--update-golden", default=False))
