"""Real servers that are killed, frozen and crowded, and the figures that come of it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from endurance.house import House
from jobs_service.conftest import places, tiny  # noqa: F401  # fixtures

Report = Callable[[str], None]


@pytest.fixture
def houses(tmp_path: Path, tiny: Path) -> Iterator[Callable[..., House]]:  # noqa: F811
    """``houses("--max-running-jobs", "4")``: a server that is gone after the test."""
    made: list[House] = []

    def make(*flags: str, **given: Any) -> House:
        made.append(House(tmp_path / f"data-{len(made)}", tiny, *flags, **given))
        return made[-1]

    yield make
    for house in made:
        house.close()


@pytest.fixture
def report(record_property: Callable[[str, object], None], capsys: pytest.CaptureFixture[str]) -> Report:
    """Tell the figure that a test reached; ``bench.endurance`` puts it into its table."""

    def tell(figure: str) -> None:
        record_property("figure", figure)
        with capsys.disabled():
            print(f"[{figure}]")

    return tell
