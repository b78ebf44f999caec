"""``python -m bench``: every comparison in turn, into bench/RESULTS.md. ``--quick`` only shows that it works."""

import argparse
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from bench import logprob_memory, machine, report
from bench.peer import VARIANTS
from bench.race import ROOT, one_thread, race
from bench.results import RESULTS, write_part
from bench.workload import cases

WARM_UP = 1


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="measured optimizer steps of each side")
    parser.add_argument("--only", default="", help="comparisons whose name contains this; prints, writes nothing")
    parser.add_argument("--quick", action="store_true", help="our side alone, one step of each kind; writes nothing")
    given = parser.parse_args()
    if given.quick:
        quick()
        return
    text = full(given.rounds, given.only)
    if given.only:
        print(text)
    else:
        write_part(text)
        print(f"written to {RESULTS}")


def full(rounds: int, only: str = "") -> str:
    """All measurements, as Markdown. The limits are the best of two measurements, before the races and after."""
    head, before, races = machine.describe(), machine.measure(), []
    for case in cases(rounds + WARM_UP + 1):
        if only in case.name:
            laps = race(case, ("ours", *VARIANTS[case.kind]), rounds)
            races.append((case, laps))
            print(case.name, *(f"{lap.side} {lap.median_s:.2f} s" for lap in laps), sep=", ", flush=True)
    limits = before.or_better(machine.measure())
    lines = [line for case, laps in races for line in report.race_lines(case, laps, limits)]
    if not only:
        lines += report.logprob_lines(logprob_memory.measure())
        lines.append(report.help_line(help_seconds(10)))
    return report.render(head, limits, lines, rounds)


def quick() -> None:
    """One measured step of our side for each kind of job, and the machine's limits."""
    print(machine.measure(tries=1))
    for kind in ("rft", "sft", "dpo"):
        case = replace(next(c for c in cases(3) if c.kind == kind), prompt=16)
        lap = race(case, ("ours",), rounds=1)[0]
        print(f"{kind}: {lap.median_s:.2f} s, peak {lap.peak_bytes / report.MB:.0f} MB, gap {lap.gap:g}")


def help_seconds(times: int) -> list[float]:
    """Wall times of ``tunesmith --help`` in a fresh process each."""
    command = [str(Path(sys.executable).with_name("tunesmith")), "--help"]
    seconds = []
    for _ in range(times):
        began = perf_counter()
        subprocess.run(command, cwd=ROOT, env=one_thread(), capture_output=True, check=True)
        seconds.append(perf_counter() - began)
    return seconds


if __name__ == "__main__":
    main()
