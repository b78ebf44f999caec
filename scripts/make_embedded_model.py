"""Make the model that ships with the package, from nothing: `python scripts/make_embedded_model.py [folder]`.

Everything is seeded, but the weights follow the trainer's arithmetic: another version of it, or another machine, gives
another model of the same kind. Takes a few minutes on one core and ends with the model card, measured anew.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

os.environ.setdefault("OMP_NUM_THREADS", "1")

from embedded.card import write_card
from embedded.pupil import exercise_book
from embedded.tokenizer import make_tokenizer
from embedded.weights import CONTEXT, round_to_half, write_random_model

from tunesmith.models.folder import copy_companions
from tunesmith.recipes.report import StepReport
from tunesmith.services.names import embedded_model
from tunesmith.services.worker import Watcher, start
from tunesmith.spec import SftSpec

SEED = 0
CONVERSATIONS = 28_800
TOKENIZER_CONVERSATIONS = 2_000
"""Conversations that are enough to learn the tokenizer's pieces from."""


def sft_spec(work: Path) -> SftSpec:
    """One pass over the exercise book, all parameters trained, at rates that only suit a model this small."""
    return SftSpec(
        base_model=str(work / "random"),
        dataset=str(work / "book.jsonl"),
        output_dir=str(work / "run"),
        seed=SEED,
        limits="off",
        lora_rank=0,
        batch_size_samples=64,
        learning_rate=3e-3,
        learning_rate_warmup_steps=40,
        learning_rate_schedule="cosine",
        adam_beta2=0.98,
        optimizer_weight_decay=0.1,
        save_every=1000,
    )


def tokenizer_texts() -> list[str]:
    """What the tokenizer learns its pieces from: the beginning of the book."""
    return [m["content"] for row in exercise_book(TOKENIZER_CONVERSATIONS, SEED) for m in row["messages"]]


def make(folder: Path, work: Path) -> None:
    """Write the model into ``folder``; ``work`` holds what is left over."""
    random_model = work / "random"
    random_model.mkdir()
    make_tokenizer(tokenizer_texts(), CONTEXT, random_model)
    write_random_model(random_model, SEED)
    book = exercise_book(CONVERSATIONS, SEED)
    (work / "book.jsonl").write_text("".join(json.dumps(row) + "\n" for row in book), "utf-8")
    run = start(sft_spec(work), Watcher(stepped=_say))
    folder.mkdir(parents=True, exist_ok=True)
    copy_companions(run.path / "model", folder)
    shutil.copyfile(run.path / "model" / "model.safetensors", folder / "model.safetensors")
    round_to_half(folder / "model.safetensors")


def _say(report: StepReport) -> None:
    step, metrics = report.step, report.metrics
    if step % 50 == 0:
        print(f"step {step}: loss {metrics.get('train/loss', metrics.get('eval/loss')):.4f}", flush=True)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else embedded_model()
    began = perf_counter()
    with TemporaryDirectory() as work:
        make(folder, Path(work))
        print(f"made in {perf_counter() - began:.0f} s; measuring", flush=True)
        write_card(folder, Path(work), CONVERSATIONS)
    print(f"wrote {folder}")


if __name__ == "__main__":
    main()
