"""The demo: reinforcement fine-tuning of the model that ships with the package, on a CPU, in under a minute."""

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

from tunesmith.core import durable
from tunesmith.services.demo_rows import demo_rows
from tunesmith.services.run_folder import RUNS, RunFolder
from tunesmith.spec import RftSpec


def demo_spec(folder: Path | None = None, seed: int = 0) -> RftSpec:
    """Write the demo's train.jsonl and heldout.jsonl into ``folder`` and return the job that runs there.

    Without a folder it is a new one, runs/demo-<time>.

    The embedded model adds two numbers like a pupil who forgets to carry; graded by the right sum alone, it learns to.
    """
    folder = folder or RUNS / f"demo-{datetime.now():%m%d-%H%M%S}-{os.getpid()}"
    RunFolder(folder).refuse_another()
    folder.mkdir(parents=True, exist_ok=True)
    train, heldout = (folder / name for name in ("train.jsonl", "heldout.jsonl"))
    for path, rows in zip((train, heldout), demo_rows(), strict=True):
        durable.write_file(path, _lines(rows))
    return RftSpec(
        base_model="embedded",
        dataset=str(train),
        evaluation_dataset=str(heldout),
        evaluator="last_number",
        output_dir=str(folder),
        seed=seed,
        learning_rate=3e-4,
        lora_rank=8,
        chunk_size=64,
        epochs=1,
        max_tokens=32,
        max_context_length=128,
        batch_size=4096,
        eval_every=2,
        eval_samples=1,
    )


def _lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()
