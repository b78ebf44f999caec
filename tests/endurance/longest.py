"""``pytest -p endurance.longest``: tests by the beginning of their id, and of one with two parts the long one."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--beginning", action="append", default=[], help="run tests whose id begins so; may be repeated")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test with slow variants is run in those; one without as it stands."""
    long = {item.nodeid.partition("[")[0] for item in items if item.get_closest_marker("slow")}
    short = [i for i in items if i.nodeid.partition("[")[0] in long and not i.get_closest_marker("slow")]
    others = [i for i in items if not i.nodeid.startswith(tuple(config.getoption("--beginning")))]
    left_out = {*short, *others}
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]
