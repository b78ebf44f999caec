"""Two processes that take turns."""

import asyncio
import io
import sys

import pytest

from bench.sides import medians, stream_turns

SIDE = """
import sys
print("ready", flush=True)
numbers = iter(sys.argv[1:])
while sys.stdin.readline().strip() == "go":
    print(next(numbers), flush=True)
"""


def side(*numbers: str) -> list[str]:
    return [sys.executable, "-c", SIDE, *numbers]


def test_each_side_tells_a_number_a_turn():
    assert medians([side("1", "9", "2"), side("5", "4", "30")], {}, rounds=3) == [2.0, 5.0]


def test_a_side_that_does_not_start_ends_the_measurement():
    with pytest.raises(SystemExit, match="did not start"):
        medians([[sys.executable, "-c", "print('no')"]], {}, rounds=1)


def test_streams_tell_their_rate_once_a_turn(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("go\ngo\nend\n"))
    ran = []

    async def stream(number: int) -> int:
        ran.append(number)
        await asyncio.sleep(0.01)
        return 50

    asyncio.run(stream_turns(stream, 2))
    ready, *rates = capsys.readouterr().out.split()
    assert ran == [0, 1] * 3, "a turn to warm up, then two"
    assert ready == "ready" and len(rates) == 2
    assert all(0 < float(rate) <= 100 / 0.01 for rate in rates)
