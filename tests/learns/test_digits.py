"""A published toy task from random weights: SFT generalises to rows it never saw, and RFT goes on where it stopped."""

import json
from pathlib import Path
from typing import Any

import pytest
from lessons import curve, run, write_rows

from tunesmith.services.run_folder import RunFolder

HELD_OUT = 100
PARTIAL_CREDIT = """
def grade(completion, row):
    said, right = completion.split(","), row["ground_truth"].split(",")
    return sum(a == b for a, b in zip(said, right)) / max(len(said), len(right))
"""
ROLLOUTS = {
    "lora_rank": 0,
    "learning_rate": 1e-4,
    "epochs": 2,
    "chunk_size": 64,
    "batch_size": 4096,
    "temperature": 1.0,
    "top_k": 0,
    "max_tokens": 24,
    "max_context_length": 64,
}


def split(shared_data: Path, folder: Path) -> tuple[Path, Path]:
    """(training rows, 100 held-out rows), no prompt twice; both as SFT conversations that RFT reads as prompts."""
    lines = (shared_data / "rl" / "digit_completion" / "digit_completion_train_800.jsonl").read_text().splitlines()
    rows = {row["messages"][0]["content"]: row for row in map(json.loads, lines) if row["ground_truth"]}
    asked = [with_answer(row) for row in rows.values()]
    return write_rows(folder / "train.jsonl", asked[HELD_OUT:]), write_rows(folder / "held.jsonl", asked[:HELD_OUT])


def with_answer(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "messages": [*row["messages"], {"role": "assistant", "content": row["ground_truth"]}]}


def imitate(shared_data: Path, folder: Path, **settings: Any) -> RunFolder:
    """SFT of all weights at the published batch and rate; 9 or 10 updates an epoch."""
    train, held = split(shared_data, folder)
    model = shared_data / "models" / "digit-completion-random"
    shape = {"lora_rank": 0, "batch_size_samples": 64, "learning_rate": 1e-3, "max_context_length": 64, **settings}
    return run("sft", model, train, folder / "sft", evaluation_dataset=str(held), **shape)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_sft_completes_rows_it_never_saw(shared_data: Path, tmp_path: Path) -> None:
    tuned = imitate(shared_data, tmp_path, epochs=44, learning_rate_schedule="cosine")
    assert tuned.state().step == 396
    before, after = curve(tuned, "eval/sure_share")  # every token above one half: sampled greedily, an exact match
    assert before == 0 and after >= 0.95


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_rft_goes_on_from_a_half_trained_model(shared_data: Path, tmp_path: Path) -> None:
    half = imitate(shared_data, tmp_path, epochs=16)
    grader = tmp_path / "grader.py"
    grader.write_text(PARTIAL_CREDIT)
    tuned = run(
        "rft",
        half.path,
        tmp_path / "train.jsonl",
        tmp_path / "rft",
        evaluation_dataset=str(tmp_path / "held.jsonl"),
        evaluator=f"{grader}::grade",
        **ROLLOUTS,
    )
    before, after = curve(tuned, "eval/reward_mean")
    assert 0.2 < before < 0.7 and after >= before + 0.1, (before, after)
