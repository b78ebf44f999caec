"""``python -m bench.fuzz URL``: schemathesis over every operation of a server; the key is in TUNESMITH_API_KEY.

No answer may be of 500 or over, hang, or differ from what ``/openapi.json`` says of it.
"""

import argparse
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHECKS = "not_a_server_error,response_schema_conformance,status_code_conformance,content_type_conformance"
LONGEST_ANSWER_S = 40
"""Futures are waited for 25 seconds."""


@dataclass(frozen=True, slots=True)
class Fuzzed:
    """What a run came to."""

    requests: int
    clean: bool
    said: str


def fuzz(base_url: str, key: str, examples: int, phases: str, seed: int = 1) -> Fuzzed:
    """Send generated requests to every operation of a server.

    Args:
        examples: generated requests per operation, in the phase ``fuzzing``.
        phases: ``coverage`` tries the bounds of every parameter in turn, ``fuzzing`` draws at random.
    """
    program = str(Path(sys.executable).with_name("schemathesis"))
    command = [program, "run", f"{base_url}/openapi.json", "-H", f"x-api-key: {key}", "-c", CHECKS]
    command += ["--max-examples", str(examples), "--phases", phases, "--seed", str(seed), "--continue-on-failure"]
    # Of the generator, not the server: on a slow machine it may give up on names that are hard to draw.
    command += ["--suppress-health-check", "filter_too_much,too_slow"]
    command += ["--request-timeout", str(LONGEST_ANSWER_S), "--warnings", "off", "--no-color"]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "bench.fuzz_hooks", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    counted = re.search(r"([\d,]+) generated", done.stdout)
    requests = int(counted[1].replace(",", "")) if counted else 0
    return Fuzzed(requests, done.returncode == 0 and requests > 0, done.stdout + done.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--examples", type=int, default=100, help="generated requests per operation")
    parser.add_argument("--phases", default="coverage,fuzzing")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    done = fuzz(given.url, os.environ["TUNESMITH_API_KEY"], given.examples, given.phases, given.seed)
    print(done.said)
    print(f"{done.requests:,} requests, {'no defect' if done.clean else 'with defects, above'}")
    return 0 if done.clean else 1


if __name__ == "__main__":
    sys.exit(main())
