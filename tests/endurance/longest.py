"""``pytest -p endurance.longest``: of a test that has a short and a long part, the long one alone."""

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test with slow variants is run in those; one without as it stands."""
    long = {item.nodeid.partition("[")[0] for item in items if item.get_closest_marker("slow")}
    short = [i for i in items if i.nodeid.partition("[")[0] in long and not i.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=short)
    items[:] = [item for item in items if item not in short]
