"""``python -m bench.soak``: the server under everything at once; writes its part of bench/RESULTS.md.

Many clients that use the API while a job trains, streams of completions against the bare engine, and generated
requests to every operation. ``--minutes`` says how long the first lasts; the rest takes about as long again.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from bench import machine, workload
from bench.fuzz import fuzz
from bench.results import FOUND, Line, cells, part, tell
from bench.served import Memory, Served, served
from bench.sides import medians

ROOT = Path(__file__).resolve().parents[1]
CLIENTS, P99_TARGET_MS = 200, 250.0
STREAMS, EACH, SHARE_TARGET = 32, 4, 0.9
PROMPT, TOKENS = [11, 12, 13, 14, 15, 16], 160
STREAMED = "bench/streamed"
"""A model that never ends by itself, so that all of a stream's tokens count."""
FUZZ_TARGET = 20_000
ROWS, EPOCHS, BATCH = 8_000, 10, 4
"""Of the job: twenty thousand steps, more than a machine does in the ten minutes of the load."""


def environment(server: Served) -> dict[str, str]:
    """What the clients' processes are told."""
    path = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return {**os.environ, **path, "TUNESMITH_URL": server.base_url, "TUNESMITH_API_KEY": server.key}


def ask(server: Served, method: str, path: str, body: bytes = b"") -> Any:
    headers = {"x-api-key": server.key, "content-type": "application/json"}
    request = Request(server.base_url + path, body or None, headers, method=method)
    with urlopen(request, timeout=60) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def training_job(server: Served) -> str:
    """A job that trains until it is cancelled; its id."""
    row = b'{"messages": [{"role": "user", "content": "%d+%d="}, {"role": "assistant", "content": "%d"}]}'
    rows = b"\n".join(row % (n, n, 2 * n) for n in range(ROWS))
    ask(server, "PUT", "/api/v1/datasets/doubles?kind=sft", rows + b"\n")
    asked = {"kind": "sft", "dataset": "doubles", "base_model": "tunesmith/embedded", "epochs": EPOCHS, "lora_rank": 8}
    return str(ask(server, "POST", "/api/v1/jobs", json.dumps({**asked, "batch_size_samples": BATCH}).encode())["id"])


def stop(server: Served, job: str) -> None:
    """Its worker would outlive the server."""
    if ask(server, "GET", f"/api/v1/jobs/{job}")["state"] == "running":
        ask(server, "POST", f"/api/v1/jobs/{job}/cancel")
    while ask(server, "GET", f"/api/v1/jobs/{job}")["state"] == "cancelling":
        time.sleep(0.5)


def step_of(server: Served, job: str) -> int:
    metrics = ask(server, "GET", f"/api/v1/jobs/{job}/metrics?after_step=0")
    found = [int(step) for step in re.findall(r'"step": (\d+)', json.dumps(metrics))]
    return max(found, default=0)


def load_lines(server: Served, minutes: float) -> list[Line]:
    """Clients and a job at once."""
    job = training_job(server)
    deadline = time.monotonic() + 120
    while not step_of(server, job) and time.monotonic() < deadline:
        time.sleep(1)
    first, wanted = step_of(server, job), {"seconds": 60 * minutes, "clients": CLIENTS, "job": job}
    command = [sys.executable, str(ROOT / "bench" / "soak_clients.py"), "control", json.dumps(wanted)]
    with Memory(server, every_s=min(5.0, 3 * minutes)) as memory:
        done = subprocess.run(command, env=environment(server), stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    trained = step_of(server, job) - first
    state = ask(server, "GET", f"/api/v1/jobs/{job}")["state"]
    stop(server, job)
    statuses = ", ".join(f"{count:,} {kind}" for kind, count in sorted(found["statuses"].items()))
    what = f"{CLIENTS} clients for {minutes:g} minutes while a job trains"
    rate = f"{found['requests'] / (60 * minutes):,.0f} requests/s"
    slowest = ", ".join(f"{name} {ms} ms" for name, ms in found["slowest"].items())
    minutes_ms = ", ".join(map(str, found["p99_by_minute_ms"]))
    spread = f"p50 {found['p50_ms']:.0f} ms, most {found['most_ms']:.0f} ms; by minute {minutes_ms} ms"
    lasted = trained > 0 and state == "running"
    return [
        Line(
            what,
            f"{found['num_wrong']} of 5xx, 429 or lost; {statuses}",
            "none",
            not found["num_wrong"],
            "; ".join([rate, *found["wrong"]]),
        ),
        Line(
            "Their requests, 99th percentile",
            f"{found['p99_ms']:.0f} ms",
            f"less than {P99_TARGET_MS:.0f} ms",
            found["p99_ms"] < P99_TARGET_MS,
            f"{spread}; 99th percentiles of the slowest kinds: {slowest}",
        ),
        Line(
            "The job meanwhile",
            f"{trained:,} steps, {state}",
            "still runs at the end",
            lasted,
            "" if lasted else "clients had the machine to themselves for a part of their time",
        ),
        memory.line("Memory meanwhile", "all processes of the server"),
    ]


def stream_line(server: Served, rounds: int) -> Line:
    """The same completions streamed by the server and sampled in process, in turns."""
    model = server.data_dir.parent / "model"
    workload.write_model(model, end=workload.UNREACHABLE)
    add = [str(Path(sys.executable).with_name("tunesmith")), "models", "add", STREAMED, str(model)]
    subprocess.run([*add, "--data-dir", str(server.data_dir)], check=True, stdout=subprocess.DEVNULL)
    asked = {"model": STREAMED, "prompt": PROMPT, "max_tokens": TOKENS}
    settings = json.dumps({"asked": asked, "folder": str(model), "count": STREAMS, "each": EACH})
    outside = [sys.executable, str(ROOT / "bench" / "soak_clients.py"), "streams", settings]
    inside = [sys.executable, "-m", "bench.soak_inside", settings]
    streamed, bare = medians((outside, inside), environment(server), rounds)
    return Line(
        f"{STREAMS} streams of completions at once",
        f"{streamed:,.0f} tokens/s, {streamed / bare:.0%} of the bare engine's {bare:,.0f}",
        f"at least {SHARE_TARGET:.0%}",
        streamed >= SHARE_TARGET * bare,
        f"medians of {rounds} rounds in turns, {TOKENS} tokens each, 3M parameters; all share the machine's cores",
    )


def fuzz_line(server: Served, examples: int) -> Line:
    began = time.monotonic()
    done = fuzz(server.base_url, server.key, examples, "coverage,fuzzing")
    if not done.clean:
        print(done.said, file=sys.stderr)
    return Line(
        "Generated requests to every operation",
        f"{done.requests:,}, {'no defect' if done.clean else 'with defects, which were printed'}",
        f"{FUZZ_TARGET:,} and no defect",
        done.clean and done.requests >= FUZZ_TARGET,
        f"in {time.monotonic() - began:,.0f} s; no 5xx, no hang, nothing but what /openapi.json says",
    )


ABOUT = """\
Written by `python -m bench.soak`: `tunesmith serve` with everything asked of it at once. Each client asks something
about once a second; clients, server, engine and the training job share one machine."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long the clients ask")
    parser.add_argument("--rounds", type=int, default=7, help="measured turns of the streams")
    parser.add_argument("--examples", type=int, default=80, help="generated requests per operation")
    parser.add_argument("--no-write", action="store_true", help="print the table, write nothing")
    given = parser.parse_args()
    head, lines = machine.describe(), list[Line]()
    for measure in (
        lambda server: [stream_line(server, given.rounds)],
        lambda server: load_lines(server, given.minutes),
        lambda server: [fuzz_line(server, given.examples)],
    ):
        # A server for each, so that none inherits what another left behind.
        with served() as server:
            lines += measure(server)
        print(*(f"{line.what}: {line.found}" for line in lines[-4:]), sep="\n", file=sys.stderr)
    tell(part("Endurance", ABOUT, head, FOUND, map(cells, lines)), not given.no_write)
    return 0 if all(line.met for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
