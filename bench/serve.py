"""``python -m bench.serve``: `tunesmith serve` under the load of real clients; writes its part of bench/RESULTS.md."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench import machine
from bench.results import FOUND, Line, cells, part, tell
from bench.served import Memory, Served, served
from bench.sides import medians

ROOT = Path(__file__).resolve().parents[1]
CLIENT = ROOT / ".venv-clients" / "tinker-0.38.0" / "bin" / "python"
LARGE_STEP = {"sequence_length": 511, "count": 64}
"""About 32,700 tokens in one training step."""
SHARE_TARGET, OVERHEAD_TARGET, PUBLISH_TARGET_MS = 0.8, 0.05, 50.0


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
        memory.line("Memory under that load", "HTTP and engine process together"),
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
    http, direct = medians((outside, inside), client_environment(server), rounds)
    overhead = http / direct - 1
    tokens = LARGE_STEP["sequence_length"] * LARGE_STEP["count"]
    return Line(
        f"Training step of {tokens:,} tokens through HTTP",
        f"{http:.2f} s against {direct:.2f} s in process: {overhead:+.1%}",
        f"less than {OVERHEAD_TARGET:.0%} more",
        overhead < OVERHEAD_TARGET,
        f"medians of {rounds} steps of either side, in turns",
    )


ABOUT = """\
Written by `python -m bench.serve`: the embedded model behind `tunesmith serve`, driven by the Tinker SDK over HTTP. The
clients run on the same machine and take their share of it."""


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
    tell(part("Serving", ABOUT, head, FOUND, map(cells, lines)), not given.no_write)


if __name__ == "__main__":
    main()
