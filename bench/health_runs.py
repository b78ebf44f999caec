"""The runs that the health rules are judged by: each fault injected into a real job or into recorded numbers, by seed.

Real jobs teach the embedded model two-digit sums, as the demo does, in about ten short steps.
"""

import json
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunesmith.core.types import Metrics
from tunesmith.services.demo_rows import demo_rows

QUICK = {
    "learning_rate": 3e-4,
    "chunk_size": 16,
    "response_candidates_count": 6,
    "max_tokens": 28,
    "max_context_length": 128,
    "batch_size": 4096,
    "eval_samples": 1,
    "eval_auto_carveout": False,
    "evaluator": "last_number",
    "limits": "off",
}
"""Settings of a quick rft job; a case changes a few."""
ROWS = 160
"""Ten steps of 16 prompts."""
FEW = 96
"""Six steps, for faults that show at once."""
GRADERS = """
import re, secrets

def right(text, row):
    numbers = re.findall(r"\\d+", text)
    return float(bool(numbers) and numbers[-1] == row["ground_truth"])

def never(text, row):
    return 0.0

def moody(text, row):
    return min(1.0, max(0.0, right(text, row) + secrets.choice([-0.5, 0.0, 0.5])))

def fragile(text, row):
    if row["ground_truth"].endswith(("3", "7")):
        raise ValueError("this grader cannot read that")
    return right(text, row)

def marked(text, row):
    return {"reward": 0.8 * right(text, row), "parts": {"format": float("<answer>" in text), "sum": right(text, row)}}

def short(text, row):
    return 0.2 + len(text) % 5 / 100

def wrong(text, row):
    return 1.0 - right(text, row)
"""


@dataclass(frozen=True, slots=True)
class Case:
    """One run, and the rule that has to name it first; "" for a healthy run."""

    name: str
    rule: str
    kind: str = ""
    """rft, sft or dpo: a real job; "" for recorded numbers."""
    settings: dict[str, Any] = field(default_factory=dict)
    recorded: Callable[[random.Random], list[Metrics]] | None = None
    timed: bool = False
    """The recorded numbers are those of a clock."""
    rows: int = ROWS
    seed: int = 0


def write_rows(folder: Path) -> None:
    """rft.jsonl, sft.jsonl, dpo.jsonl, held-out files of each, and graders.py."""
    train, heldout = demo_rows()
    random.Random(0).shuffle(train)  # the demo's come easy ones first
    for name, rows in (("", train), ("heldout-", heldout)):
        for kind, shape in (("rft", dict), ("sft", _conversation), ("dpo", _pair)):
            text = "".join(json.dumps(shape(row)) + "\n" for row in rows)
            (folder / f"{name}{kind}.jsonl").write_text(text)
    (folder / "graders.py").write_text(GRADERS)


def _answer(row: dict[str, Any], add: int = 0) -> dict[str, str]:
    asked = row["messages"][0]["content"].removeprefix("What is ").removesuffix("?")
    return {"role": "assistant", "content": f"{asked} = {int(row['ground_truth']) + add}"}


def _conversation(row: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [*row["messages"], _answer(row)]}


def _pair(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "input": {"messages": row["messages"]},
        "preferred_output": [_answer(row)],
        "non_preferred_output": [_answer(row, 10)],
    }


def healthy(rng: random.Random, steps: int = 16) -> list[Metrics]:
    """Recorded numbers of a run that learns and levels off: what faults are injected into."""
    top, start = rng.uniform(0.7, 0.9), rng.uniform(0.2, 0.4)
    lines = []
    for step in range(1, steps + 1):
        learned = 1 - math.exp(-step / 4)
        reward = start + (top - start) * learned + rng.gauss(0, 0.02)
        lines.append(
            {
                "step": float(step),
                "rollout/reward_mean": reward,
                "rollout/reward_std": math.sqrt(reward * (1 - reward)),
                "rollout/signal_share": 0.7 - 0.3 * learned + rng.gauss(0, 0.02),
                "rollout/failed_share": 0.0,
                "rollout/truncated_share": abs(rng.gauss(0.02, 0.01)),
                "rollout/length_mean": 120 + rng.gauss(0, 4),
                "rollout/repetition_mean": abs(rng.gauss(0.04, 0.01)),
                "rollout/distinct_share": 0.9 - 0.4 * learned,
                "rollout/top_text_prompts": 0.02,
                "rollout/entropy": 0.8 - 0.4 * learned + rng.gauss(0, 0.01),
                "policy/kl_ref": 0.01 * learned,
                "policy/clip_share_last": abs(rng.gauss(0.01, 0.002)),
                "kl_post_train": abs(rng.gauss(0.001, 0.0002)),
                "optim/updates": 4.0,
                "optim/grad_norm": 0.4,
                "optim/weight_change": 0.1 * step,
                "gap/max": 9e-7,
                "train/oom_splits": 0.0,
            }
        )
    return lines


def injected(
    name: str, value: Callable[[int, float], float], since: int = 0
) -> Callable[[random.Random], list[Metrics]]:
    """The healthy numbers with one metric replaced from a step on: value(step, old)."""

    def lines(rng: random.Random) -> list[Metrics]:
        return [
            line | ({name: value(i, line.get(name, 0.0))} if i > since else {})
            for i, line in enumerate(healthy(rng), start=1)
        ]

    return lines


def _clock(**seconds: float) -> Callable[[random.Random], list[Metrics]]:
    def lines(rng: random.Random) -> list[Metrics]:
        base = {"time/rollout_s": 8.0, "time/train_s": 8.0, "time/eval_s": 0.0, "time/grade_s": 0.1}
        named = {f"time/{name}_s": value * rng.uniform(0.9, 1.1) for name, value in seconds.items()}
        return [{"step": float(step), **base, **named} for step in range(1, 11)]

    return lines


def _rft(name: str, rule: str, rows: int = ROWS, seed: int = 0, **settings: Any) -> Case:
    return Case(name, rule, "rft", settings, rows=rows, seed=seed)


def _wide(name: str, rule: str, seed: int = 0, **settings: Any) -> Case:
    """Eight steps of 32 prompts, so that a step's mean says something."""
    return Case(name, rule, "rft", {"chunk_size": 32, **settings}, rows=256, seed=seed)


def _kind(kind: str, seed: int, **settings: Any) -> Case:
    return Case(f"{kind}, seed {seed}", "", kind, settings, rows=480, seed=seed)


FAULTY = [
    _rft("learning rate 20 times too high", "reward_spike_then_crash", learning_rate=6e-3),
    _rft(
        "the same, another seed and dapo", "reward_spike_then_crash", seed=1, learning_rate=6e-3, rl_loss_method="dapo"
    ),
    _rft("learning rate 300 times too low", "early_plateau", learning_rate=1e-6),
    _rft("the same, another seed", "early_plateau", seed=1, learning_rate=3e-7),
    _rft("stopped while it still rose", "still_climbing", rows=192, chunk_size=32),
    _rft("a grader that is never content", "no_signal", rows=FEW, evaluator="graders.py::never"),
    _rft("temperature 0.1 on a model that is sure", "no_signal", rows=FEW, temperature=0.1, learning_rate=1e-4),
    _rft("half of each answer cut off", "truncation", rows=FEW, max_tokens=12),
    _rft("temperature 2 over the whole vocabulary", "incoherent_text", rows=FEW, temperature=2.0, top_k=0),
    _rft(
        "a grader that fails on a fifth of the rows",
        "grader_errors",
        rows=FEW,
        evaluator="graders.py::fragile",
        max_grader_error_rate=0.9,
    ),
    _rft("a judge with moods", "unstable_judge", rows=FEW, evaluator="graders.py::moody"),
    _rft("a format that is never found", "format_rate", evaluator="graders.py::marked", learning_rate=1e-4),
    _rft(
        "a part that is a hundredth of the other",
        "one_part_dominates",
        rows=FEW,
        evaluator=["last_number=0.99", "graders.py::short=0.01"],
    ),
    _rft(
        "a part for what the other is against",
        "parts_disagree",
        rows=FEW,
        evaluator=["last_number=1", "graders.py::wrong=0.4"],
    ),
    _rft("forty updates on one chunk", "stale_rollouts", chunk_size=32, rows=160, batch_size=128, learning_rate=1e-3),
    _rft(
        "three prompts a step, two attempts each",
        "small_groups",
        rows=45,
        chunk_size=3,
        response_candidates_count=2,
        learning_rate=1e-4,
    ),
    Case(
        "sft on 24 rows, 40 epochs",
        "overfitting",
        "sft",
        {"learning_rate": 5e-3, "epochs": 40, "batch_size_samples": 8, "eval_every": 15},
        rows=24,
    ),
    Case(
        "dpo on 24 pairs, 8 epochs",
        "overfitting",
        "dpo",
        {"learning_rate": 3e-3, "epochs": 8, "batch_size_samples": 8, "eval_every": 6},
        rows=24,
    ),
    Case(
        "held-out reward falls",
        "overfitting",
        recorded=injected("eval/reward_mean", lambda i, _: 0.6 if i < 8 else 0.6 - 0.03 * (i - 7)),
    ),
    Case(
        "attempts become alike", "mode_collapse", recorded=injected("rollout/reward_std", lambda i, _: 0.02, since=10)
    ),
    Case("drift without a gain", "kl_drift", recorded=injected("policy/kl_ref", lambda i, _: 0.02 * i)),
    Case(
        "texts become three times as long",
        "reward_hacking_suspect",
        recorded=injected("rollout/length_mean", lambda i, _: 120 + 40 * i),
    ),
    Case(
        "one text answers everything",
        "reward_hacking_suspect",
        recorded=injected("rollout/top_text_prompts", lambda i, _: min(0.9, 0.06 * i)),
    ),
    Case("a sampler in another precision", "sampler_gap", recorded=injected("gap/max", lambda i, _: 0.02)),
    Case("gradings take most of the time", "slow_grader", recorded=_clock(rollout=30.0, grade=22.0), timed=True),
]

HEALTHY = [
    *[_wide(f"rft, seed {seed}", "", seed=seed) for seed in range(2)],
    _wide("dapo, seed 3", "", seed=3, rl_loss_method="dapo"),
    # One update a step: gspo-token clips so narrowly that a second one has hardly a gradient, as the rules say of it.
    _wide("gspo-token, seed 3", "", seed=3, rl_loss_method="gspo-token", batch_size=32768),
    _wide("rft at learning rate 1e-4", "", learning_rate=1e-4),
    _wide("rft of rank 32", "", lora_rank=32),
    _wide("rft of two weighted parts", "", evaluator=["last_number=0.7", "contains=0.3"]),
    *[_kind("sft", seed, learning_rate=3e-4, eval_every=4) for seed in range(5)],
    *[_kind("dpo", seed, learning_rate=1e-4, batch_size_samples=16, eval_every=4) for seed in range(4)],
    *[Case(f"recorded, seed {seed}", "", recorded=healthy, seed=seed) for seed in range(9)],
]
