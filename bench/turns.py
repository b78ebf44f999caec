"""The word that passes between the race and one side of it: go, done in so many seconds, go, ..., stop."""

import json
import os
import sys
from time import perf_counter, process_time

from tunesmith.services.memory import peak_bytes


class Clock:
    """Wall and processor time since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = perf_counter(), process_time()

    def read(self) -> dict[str, float]:
        return {"step_s": perf_counter() - self._wall, "cpu_s": process_time() - self._cpu}


class Turns:
    """The side's end. It works only between ``ready`` or ``finished`` and the next word, so that sides alternate."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w")  # libraries print to stdout; their words go to stderr instead
        os.dup2(2, 1)
        self._clock = Clock()

    def ready(self) -> bool:
        """Everything is loaded; wait for the first turn. False: there is none."""
        self._say({"ready": True, "loaded_bytes": peak_bytes()})
        return self._wait()

    def finished(self, gap: float = 0.0, shared: dict[str, float] | None = None, share: float = 0.0) -> bool:
        """One optimizer step is done; it also bears its ``share`` of what was done once for all steps."""
        took = self._clock.read()
        if shared is not None:
            took = {name: took[name] + share * value for name, value in shared.items()}
        self._say({**took, "peak_bytes": peak_bytes(), "gap": gap})
        return self._wait()

    def _say(self, word: dict[str, float]) -> None:
        print(json.dumps(word), file=self._out, flush=True)

    def _wait(self) -> bool:
        go = sys.stdin.readline().strip() == "go"
        self._clock = Clock()
        return go
