"""The word that passes between the race and one side of it: go, done in so many seconds, go, ..., stop."""

import json
import os
import resource
import sys
from time import perf_counter, process_time


class Turns:
    """The side's end. It works only between ``ready`` or ``finished`` and the next word, so that sides alternate."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w")  # libraries print to stdout; their words go to stderr instead
        os.dup2(2, 1)
        self._began = self._cpu = 0.0

    def ready(self) -> bool:
        """Everything is loaded; wait for the first turn. False: there is none."""
        self._say({"ready": True, "loaded_bytes": peak_rss_bytes()})
        return self._wait()

    def finished(self, share_s: float = 0.0) -> bool:
        """One optimizer step is done; ``share_s`` is its part of what was done once for all steps."""
        wall_s, cpu_s = perf_counter() - self._began, process_time() - self._cpu
        self._say({"step_s": wall_s + share_s, "cpu_s": cpu_s + share_s, "peak_bytes": peak_rss_bytes()})
        return self._wait()

    def _say(self, word: dict[str, float]) -> None:
        print(json.dumps(word), file=self._out, flush=True)

    def _wait(self) -> bool:
        go = sys.stdin.readline().strip() == "go"
        self._began, self._cpu = perf_counter(), process_time()
        return go


def peak_rss_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
