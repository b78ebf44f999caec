"""``python -m bench.serve``: `tunesmith serve` under the load of real clients; writes its part of bench/RESULTS.md."""

import argparse
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench import machine
from bench.results import write_part
from bench.served import Served, served

ROOT = Path(__file__).resolve().parents[1]
CLIENT = ROOT / ".venv-clients" / "tinker-0.38.0" / "bin" / "python"
LARGE_STEP = {"sequence_length": 511, "count": 64}
"""About 32,700 tokens in one training step."""
MEMORY_EVERY_S = 5.0
SHARE_TARGET, OVERHEAD_TARGET, PUBLISH_TARGET_MS, GROWTH_TARGET = 0.8, 0.05, 50.0, 0.1


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table."""

    what: str
    found: str
    target: str
    met: bool
    note: str = ""


@dataclass(slots=True)
class Memory:
    """What the server holds, looked at from time to time by a thread."""

    server: Served
    every_s: float = MEMORY_EVERY_S
    seen_mb: list[float] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Memory":
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(self.every_s):
            self.seen_mb.append(self.server.memory_mb())

    _thread: threading.Thread = field(init=False)


def client_environment(server: Served) -> dict[str, str]:
    return {
        **os.environ,
        "TINKER_BASE_URL": server.base_url,
        "TINKER_API_KEY": server.key,
        "HF_ENDPOINT": server.base_url,
        "OMP_NUM_THREADS": "1",
    }


def asked(server: Served, measurement: str, **settings: Any) -> Any:
    """One measurement of ``serve_clients``, in the SDK's environment."""
    command = [str(CLIENT), str(ROOT / "bench" / "serve_clients.py"), measurement, json.dumps(settings)]
    done = subprocess.run(command, env=client_environment(server), stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def load_lines(server: Served, minutes: float) -> list[Line]:
    """Many clients at once: errors, lost requests, and whether memory grows once all of them are there."""
    with Memory(server) as memory:
        found = asked(server, "load", seconds=60 * minutes)
    seen = memory.seen_mb[len(memory.seen_mb) // 4 :]
    third = max(1, len(seen) // 3)
    early, late = median(seen[:third]), median(seen[-third:])
    counts, took = found["counts"], found["seconds"]
    rates = (
        f"{counts['sampled tokens'] / took:,.0f} sampled and {counts['trained tokens'] / took:,.0f} trained tokens/s"
    )
    requests = f"{counts['sample']:,} samples, {counts['step']:,} steps, {counts.get('publish', 0):,} publications"
    waits = f"32 tokens take {found['wait_median_s']:.1f} s at the median, {found['wait_most_s']:.1f} s at most"
    errors = f"{found['num_errors']} errors or lost requests"
    return [
        Line(
            f"64 sampling and 8 training clients for {minutes:g} minutes",
            f"{errors}; {requests}",
            "none",
            not found["num_errors"],
            "; ".join([rates, waits, *found["errors"][:2]]),
        ),
        Line(
            "Memory under that load",
            f"{early:.0f} MB early, {late:.0f} MB late",
            f"grows by less than {GROWTH_TARGET:.0%}",
            late < (1 + GROWTH_TARGET) * early,
            "HTTP and engine process together, medians of the second and the last quarter",
        ),
    ]


def side_by_side_line(server: Served, rounds: int) -> Line:
    found = asked(server, "side_by_side", rounds=rounds)
    share = found["together"] / found["alone"]
    return Line(
        "4 adapters of rank 4 to 32 trained side by side",
        f"{found['together']:,.0f} tokens/s, {share:.0%} of one adapter's {found['alone']:,.0f}",
        f"at least {SHARE_TARGET:.0%}",
        share >= SHARE_TARGET,
        "medians, in turns; steps of 16 sequences of 127 tokens",
    )


def publish_line(server: Served, times: int) -> Line:
    found = asked(server, "publish", times=times)
    return Line(
        "Adapter published until a sampler serves it",
        f"{found['median_ms']:.0f} ms ({found['most_ms']:.0f} at most)",
        f"less than {PUBLISH_TARGET_MS:.0f} ms",
        found["median_ms"] < PUBLISH_TARGET_MS and not found["errors"],
        f"while another client samples without a pause: {found['sampled']} requests, {len(found['errors'])} dropped",
    )


def overhead_line(server: Served, rounds: int) -> Line:
    """The same step through HTTP and in process, in turns."""
    settings = json.dumps(LARGE_STEP)
    outside = [str(CLIENT), str(ROOT / "bench" / "serve_clients.py"), "large_steps", settings]
    inside = [sys.executable, "-m", "bench.serve_inside", settings]
    sides = [side_of(command, client_environment(server)) for command in (outside, inside)]
    laps = [[turn_of(side) for side in sides] for _ in range(rounds)]
    for side in sides:
        side.communicate("end\n")
    http, direct = (median(seconds) for seconds in zip(*laps, strict=True))
    overhead = http / direct - 1
    tokens = LARGE_STEP["sequence_length"] * LARGE_STEP["count"]
    return Line(
        f"Training step of {tokens:,} tokens through HTTP",
        f"{http:.2f} s against {direct:.2f} s in process: {overhead:+.1%}",
        f"less than {OVERHEAD_TARGET:.0%} more",
        overhead < OVERHEAD_TARGET,
        f"medians of {rounds} steps of either side, in turns",
    )


def side_of(command: Sequence[str], environment: dict[str, str]) -> "subprocess.Popen[str]":
    """A process that steps when it is told to, once it is ready."""
    side = subprocess.Popen(
        command, env=environment, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert side.stdout is not None
    if side.stdout.readline().strip() != "ready":
        raise SystemExit(f"{command[1]} did not start")
    return side


def turn_of(side: "subprocess.Popen[str]") -> float:
    assert side.stdin is not None and side.stdout is not None
    side.stdin.write("go\n")
    side.stdin.flush()
    return float(side.stdout.readline())


def render(head: dict[str, str], lines: Sequence[Line]) -> str:
    """The whole file as Markdown."""
    facts = "\n".join(f"- {name}: {value}" for name, value in head.items())
    rows = "\n".join(
        f"| {n.what} | {n.found} | {n.target} | {'met' if n.met else 'missed'} | {n.note} |" for n in lines
    )
    return f"""# Serving

Written by `python -m bench.serve`: the embedded model behind `tunesmith serve`, driven by the Tinker SDK over HTTP. The
clients run on the same machine and take their share of it.

{facts}

| what | found | target | | beside it |
|---|---|---|---|---|
{rows}
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.serve", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long the load lasts")
    parser.add_argument("--rounds", type=int, default=9, help="measured turns of the comparisons")
    parser.add_argument("--no-write", action="store_true", help="print the table, write nothing")
    given = parser.parse_args()
    if not CLIENT.exists():
        raise SystemExit("the clients are not here: run `make clients`")
    head = machine.describe()
    with served() as server:
        lines = [
            overhead_line(server, given.rounds),
            side_by_side_line(server, given.rounds),
            publish_line(server, 2 * given.rounds),
            *load_lines(server, given.minutes),
        ]
    text = render(head, lines)
    print(text)
    if not given.no_write:
        write_part(text)


if __name__ == "__main__":
    main()
