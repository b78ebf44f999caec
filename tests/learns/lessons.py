"""Jobs on real small models: their specs, and runs of them in this process."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tunesmith.services import worker
from tunesmith.services.run_folder import RunFolder
from tunesmith.spec import build_spec

NAMES = ("Tim", "Lily", "Tom", "Sue", "Ben", "Mia", "Max", "Anna")
OPENINGS = ("Once upon a time, there was a boy named {}.", "One day, {} went to the park.")
DOGS = """
def grade(completion, row):
    return min(1.0, completion.count("dog") / 3)
"""
"""A story of 32 tokens that says dog three times is rare: the mean reward begins near 0.02."""


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(kind: str, base_model: Path, dataset: Path, output_dir: Path, **settings: Any) -> RunFolder:
    """A job to its end, without the managed bounds."""
    given = {"kind": kind, "base_model": str(base_model), "dataset": str(dataset), "output_dir": str(output_dir)}
    return worker.start(build_spec({**given, "limits": "off", "save_every": 100, **settings}))


def tell_of_dogs(shared_data: Path, folder: Path, name: str, **settings: Any) -> RunFolder:
    """RFT of the 260K story model towards DOGS, 16 prompts by 8 attempts a step."""
    grader = folder / "grader.py"
    grader.write_text(DOGS)
    prompts = write_rows(folder / "prompts.jsonl", ({"prompt": o.format(n)} for n in NAMES for o in OPENINGS))
    shape = {"chunk_size": 16, "response_candidates_count": 8, "max_tokens": 32, "max_context_length": 512}
    sampling = {"temperature": 1.0, "top_k": 0, "eval_auto_carveout": False}
    evaluator = f"{grader}::grade"
    model = shared_data / "models" / "stories260K-hf"
    return run("rft", model, prompts, folder / name, evaluator=evaluator, **{**shape, **sampling, **settings})


def curve(run: RunFolder, metric: str) -> list[float]:
    return [line[metric] for line in run.metrics() if metric in line]
