"""Two ways to do the same, each in a process of its own: they take turns, so that what slows one slows both."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]


def medians(commands: Sequence[Sequence[str]], environment: Mapping[str, str], rounds: int) -> list[float]:
    """The median of the numbers that each command's process tells of its turns."""
    with ExitStack() as stack:
        sides = [stack.enter_context(_side(command, environment)) for command in commands]
        for side, command in zip(sides, commands, strict=True):
            if _said(side) != "ready":
                raise SystemExit(f"{command[1]} did not start")
        laps = [[_turn(side) for side in sides] for _ in range(rounds)]
        for side in sides:
            side.communicate("end\n")
    return [median(numbers) for numbers in zip(*laps, strict=True)]


def _side(command: Sequence[str], environment: Mapping[str, str]) -> "subprocess.Popen[str]":
    """A process that steps when it is told to; the end of its input is its own end."""
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=dict(environment), cwd=ROOT, stdin=pipe, stdout=pipe, text=True)


def _turn(side: "subprocess.Popen[str]") -> float:
    assert side.stdin is not None, "it is a pipe"
    side.stdin.write("go\n")
    side.stdin.flush()
    return float(_said(side))


def _said(side: "subprocess.Popen[str]") -> str:
    assert side.stdout is not None, "it is a pipe"
    return side.stdout.readline().strip()


async def stream_turns(stream: Callable[[int], Awaitable[int]], count: int) -> None:
    """A side of streams, from 0: once all have run to warm up, their tokens per second in every turn."""

    async def together() -> int:
        return sum(await asyncio.gather(*map(stream, range(count))))

    await together()
    print("ready", flush=True)
    while sys.stdin.readline().strip() == "go":
        began = time.perf_counter()
        tokens = await together()
        print(tokens / (time.perf_counter() - began), flush=True)
