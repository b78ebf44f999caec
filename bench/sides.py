"""Two ways to do the same, each in a process of its own: they take turns, so that what slows one slows both."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]


def medians(commands: Sequence[Sequence[str]], environment: Mapping[str, str], rounds: int) -> list[float]:
    """The median of the numbers that each command's process tells of its turns."""
    sides = [_side(command, environment) for command in commands]
    laps = [[_turn(side) for side in sides] for _ in range(rounds)]
    for side in sides:
        side.communicate("end\n")
    return [median(numbers) for numbers in zip(*laps, strict=True)]


def _side(command: Sequence[str], environment: Mapping[str, str]) -> "subprocess.Popen[str]":
    """A process that steps when it is told to, once it is ready."""
    pipe = subprocess.PIPE
    side = subprocess.Popen(command, env=dict(environment), cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
    assert side.stdout is not None, "it is a pipe"
    if side.stdout.readline().strip() != "ready":
        raise SystemExit(f"{command[1]} did not start")
    return side


def _turn(side: "subprocess.Popen[str]") -> float:
    assert side.stdin is not None and side.stdout is not None, "both are pipes"
    side.stdin.write("go\n")
    side.stdin.flush()
    return float(side.stdout.readline())


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
