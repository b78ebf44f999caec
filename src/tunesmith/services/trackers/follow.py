"""The process that reports one run to one tracker: reads what the run folder has gained, until it is told to finish.

``python -m tunesmith.services.trackers.follow TRACKER RUN_DIR``; it finishes when its standard input closes, which
also happens when the run's process dies. What was told is in ``trackers/<tracker>.json``, so that a run that is taken
up again is not told twice.
"""

import json
import select
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from importlib import import_module
from itertools import takewhile
from pathlib import Path
from typing import Any

from tunesmith.core.types import Metrics
from tunesmith.services.run_folder import ENDED, RunFolder
from tunesmith.services.trackers import TRACKERS
from tunesmith.services.trackers.port import About, Ending, Tracker

LOOK_S = 1.0
STEP_TIMES = ("time/rollout_s", "time/train_s", "time/eval_s")
"""What a step spends its time on, one after the other."""
ROWS = 16
"""Attempts of a step in its table: those with the lowest and the highest rewards."""
COLUMNS = ("step", "prompt_id", "candidate", "prompt_text", "text", "reward", "advantage", "dropped", "stop", "error")


class Follower:
    """Tells a tracker what it has not been told yet."""

    def __init__(self, name: str, tracker: Tracker, run: RunFolder) -> None:
        self._tracker, self._run = tracker, run
        self._told = run.path / "trackers" / f"{name}.json"
        before = json.loads(self._told.read_text("utf-8")) if self._told.is_file() else {}
        self._step: int = before.get("step", -1)
        self._findings: list[list[str]] = before.get("findings", [])
        settings = run.spec()
        name = settings["tracker_run"] or run.name
        where = settings["tracker_project"], settings["tracker_entity"]
        began = _moment(run.state().started_at)
        self._known_as = tracker.open(About(run.path, name, *where, settings, began, before.get("known_as")))

    def look(self, last: bool = False) -> None:
        """Pass on what is new; a step that is not counted yet is only passed on at the ``last`` look."""
        done = self._run.state().step
        lines = [m for m in self._run.metrics_after(self._step) if last or m["step"] <= done]
        timing = self._new_timing() if lines else {}
        moments = self._moments([timing.get(int(line["step"]), {}) for line in lines]) if lines else []
        tables = {kind: set(self._run.rollout_steps(kind)) for kind in ("step", "eval")} if lines else {}
        for line, moment in zip(lines, moments, strict=True):
            step = int(line["step"])
            self._tracker.log(step, _numbers(line) | _numbers(timing.get(step, {})), moment)
            for kind, steps in tables.items():
                if step in steps:
                    self._tracker.table(step, _rows(self._run.read_rollouts(kind, step, COLUMNS), kind))
            self._step = step
            self._remember()
        for finding in self._run.findings():
            if [finding.rule, finding.level] not in self._findings:
                self._tracker.finding(finding)
                self._findings.append([finding.rule, finding.level])
                self._remember()

    def _new_timing(self) -> dict[int, Metrics]:
        new = takewhile(lambda line: line["step"] > self._step, self._run.newest_timing())
        return {int(line["step"]): line for line in new}

    def _moments(self, timing: Sequence[Metrics]) -> list[float]:
        """When steps that follow one another were done: the last one now, or when the run ended, the others before."""
        at, moments = _moment(self._run.state().ended_at), []
        for line in reversed(timing):
            moments.append(at)
            at -= sum(line.get(name, 0.0) for name in STEP_TIMES)
        return moments[::-1]

    def close(self) -> None:
        self.look(last=True)
        state, card = self._run.state(), self._run.card()
        results = (self._run.path / name for name in ("adapter", "model"))
        report = self._run.path / "report.html"
        self._tracker.close(
            Ending(
                state.state if state.state in ENDED else "STOPPED",
                state.reason,
                _moment(state.ended_at),
                card,
                next((folder for folder in results if folder.is_dir()), None) if card else None,
                report if report.is_file() else None,
            )
        )

    def _remember(self) -> None:
        told = {"known_as": self._known_as, "step": self._step, "findings": self._findings}
        self._told.parent.mkdir(exist_ok=True)
        self._told.write_text(json.dumps(told), "utf-8")


def _moment(stored: str | None) -> float:
    """A time of the run's state in seconds since 1970; now where there is none yet."""
    return datetime.fromisoformat(stored).timestamp() if stored else time.time()


def _numbers(line: Mapping[str, float]) -> Metrics:
    return {name: value for name, value in line.items() if name != "step"}


def _rows(rows: Sequence[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The lowest and the highest, failed gradings first."""
    ranked = sorted(rows, key=lambda row: float("-inf") if row["reward"] is None else row["reward"])
    chosen = ranked if len(ranked) <= ROWS else [*ranked[: ROWS // 2], *ranked[-ROWS // 2 :]]
    return [{"kind": "held-out" if kind == "eval" else "training", **row} for row in chosen]


def _until_closed() -> Iterator[None]:
    """One turn a second until standard input ends."""
    while not select.select([sys.stdin], [], [], LOOK_S)[0]:
        yield


def tracker_of(name: str) -> Tracker:
    """A new tracker of that name; its library is imported now."""
    module, _, kind = TRACKERS[name].partition(":")
    tracker: Tracker = getattr(import_module(module), kind)()
    return tracker


def main() -> None:
    name, run = sys.argv[1], RunFolder.open(Path(sys.argv[2]))
    follower = Follower(name, tracker_of(name), run)
    for _ in _until_closed():
        follower.look()
    follower.close()


if __name__ == "__main__":
    main()
