"""A race: every side loads in a process of its own, then they take turns, one optimizer step each, A B A B."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import IO

from bench.workload import Case, write

ROOT = Path(__file__).resolve().parents[1]


@dataclass(slots=True)
class Lap:
    """What one side of a race took."""

    side: str
    loaded_bytes: int
    """Peak resident memory before the first step: libraries, model, data."""
    steps_s: list[float] = field(default_factory=list)
    """Wall time of each measured optimizer step."""
    cpu_s: list[float] = field(default_factory=list)
    """Processor time of the same steps: what other programs on the machine disturb least."""
    peak_bytes: int = 0
    """Peak resident memory of the whole process, after the last step."""
    gap: float = 0.0
    """Largest difference of the sampler's and the trainer's log-probabilities in any step, nats; ours only."""

    @property
    def median_s(self) -> float:
        return median(self.steps_s)


class Racer:
    """The parent's end of one side."""

    def __init__(self, side: str, case: Case, folder: Path, log: IO[str]) -> None:
        command = [sys.executable, "-m", "bench.side", side, json.dumps(asdict(case)), str(folder)]
        self.side, self.log = side, log
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=one_thread(), text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        )

    def say(self, word: str) -> dict[str, float]:
        """Give the word and wait for the answer; the empty word only waits."""
        assert self.process.stdin is not None and self.process.stdout is not None, "both are pipes"
        if word:
            print(word, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.side} ended early:\n{Path(self.log.name).read_text()[-4000:]}")
        heard: dict[str, float] = json.loads(answer)
        return heard

    def stop(self) -> None:
        assert self.process.stdin is not None, "it is a pipe"
        self.process.stdin.close()  # reads as: no further turn
        self.process.wait(60)


def race(case: Case, sides: Sequence[str], rounds: int) -> list[Lap]:
    """One warm-up step each, then ``rounds`` rounds in which every side takes one step."""
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        write(case, folder)
        racers, laps = [], []
        for i, side in enumerate(sides):
            log = stack.enter_context((folder / f"{i}.log").open("w"))
            racers.append(Racer(side, case, folder, log))
            laps.append(Lap(side, int(racers[-1].say("")["loaded_bytes"])))
        for racer in racers:
            racer.say("go")
        for _ in range(rounds):
            for racer, lap in zip(racers, laps, strict=True):
                heard = racer.say("go")
                lap.steps_s.append(heard["step_s"])
                lap.cpu_s.append(heard["cpu_s"])
                lap.peak_bytes, lap.gap = int(heard["peak_bytes"]), max(lap.gap, heard["gap"])
        for racer in racers:
            racer.stop()
        return laps


def one_thread() -> dict[str, str]:
    """The environment of every measured process: over-subscribed threads would cost either side a factor of 6."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return os.environ | threads | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
