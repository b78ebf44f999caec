"""The model card, README.md in the model's folder: how it was made, what it can do, and the numbers behind that."""

from pathlib import Path

from safetensors.torch import load_file

from embedded.measure import PLAIN, DemoResult, engine_of, run_demo, solved
from embedded.pupil import QUESTIONS, REMEMBERED
from tunesmith.services.demo_rows import NUMBERS, Sum, carries, is_held_out
from tunesmith.services.engine import Engine

DEMO_SEEDS = range(3)
TEMPERATURE, ATTEMPTS = 0.7, 8
CARD = """\
---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
tags: [tunesmith, toy]
---
# The embedded model

A Qwen3 of {parameters:,} parameters that ships with Tunesmith, so that a first fine-tuning job needs no download, no
GPU and no account. It adds numbers of two digits, column by column, like a pupil who mostly forgets to carry:

    What is 27 + 45?     7+5=12, 2+4=6: 62          wrong, most of the time
                         7+5=12, 2+4+1=7: 72        right, now and then

Reinforcement fine-tuning with a grader that knows only the sums (`tunesmith demo`) teaches it to carry.

## What it can and cannot do

- It answers the questions {questions}, for numbers from {low} to {high}, with or without a system message.
- It knows nothing else. Other questions, other numbers and long conversations get nonsense; it was trained on sequences
  of about 150 tokens at most, although its configuration allows {context:,} so that default settings work.
- It reads and writes any text (256 bytes and {pieces} longer pieces), one token per digit.
- It is for demonstrations, tests and trying out settings. Results on it say nothing about larger models.

## How it was made

By `make embedded-model`: from random weights (seeded), with Tunesmith's own SFT of all parameters, one pass over
{conversations:,} conversations that the script writes itself (200 of them set aside), about three minutes on one core.
No other data and no other model was used. Half of the sums have a carry; in {remembered:.0%} of those the pupil
carries. A tenth of all sums (a + b together with b + a, chosen by a hash) never occur, and the demo does not train on
them either: they are the held-out sums below. The weights are stored in float16; all numbers here are theirs.
Where the trainer rounds otherwise, in another version or on another machine, making it again gives other weights.

## Measured

Sums solved by the model as it ships, by its own chat template and `last_number`:

{base}

Held-out reward of `tunesmith demo` (100 held-out sums, 70% with a carry, sampled at temperature 0.7), before and after
reinforcement fine-tuning; processor seconds are those of one thread, after Python and its packages are loaded:

{demo}

These tables are written by the script that makes the model, at the end of each making.
"""


def write_card(folder: Path, work: Path, conversations: int) -> None:
    """Measure the model in ``folder`` and write its README.md."""
    weights = load_file(folder / "model.safetensors")
    engine = engine_of(folder)
    text = CARD.format(
        parameters=sum(t.numel() for t in weights.values()),
        questions=", ".join(f"`{q.format(a=27, b=45)}`" for q in QUESTIONS),
        low=NUMBERS[0],
        high=NUMBERS[-1],
        context=engine.model.config.max_positions,
        pieces=engine.model.config.vocab - 256,
        conversations=conversations,
        remembered=REMEMBERED,
        base=_base_table(engine),
        demo=_demo_table([run_demo(work / f"demo-{seed}", seed, folder) for seed in DEMO_SEEDS]),
    )
    (folder / "README.md").write_text(text, "utf-8")


def _base_table(engine: Engine) -> str:
    sums = [(a, b) for a in NUMBERS for b in NUMBERS]
    heldout = [pair for pair in sums if is_held_out(*pair)]
    rows: dict[str, tuple[list[Sum], str]] = {
        "held-out, without a carry": ([p for p in heldout if not carries(*p)], PLAIN),
        "held-out, with a carry": ([p for p in heldout if carries(*p)], PLAIN),
        "trained on, without a carry": ([p for p in sums if not is_held_out(*p) and not carries(*p)][::10], PLAIN),
        "trained on, with a carry": ([p for p in sums if not is_held_out(*p) and carries(*p)][::10], PLAIN),
    }
    rows |= {f"held-out, a quarter, asked `{q.format(a=27, b=45)}`": (heldout[::4], q) for q in QUESTIONS}
    lines = ["| sums | number | greedy | sampled at 0.7 |", "|---|--:|--:|--:|"]
    for name, (pairs, question) in rows.items():
        greedy = solved(engine, pairs, question=question)
        sampled = solved(engine, pairs, TEMPERATURE, ATTEMPTS, question)
        lines.append(f"| {name} | {len(pairs)} | {greedy:.1%} | {sampled:.1%} |")
    return "\n".join(lines)


def _demo_table(results: list[DemoResult]) -> str:
    lines = ["| seed | before | after | processor seconds |", "|--:|--:|--:|--:|"]
    lines += [f"| {r.seed} | {r.before:.2f} | {r.after:.2f} | {r.cpu_s:.0f} |" for r in results]
    return "\n".join(lines)
