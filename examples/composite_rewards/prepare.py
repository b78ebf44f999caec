"""Write rows.jsonl, heldout.jsonl and answers.jsonl: sums, and worked answers known to be sound or not."""

import json
import random
from pathlib import Path


def worked(a: int, b: int, carry: bool) -> str:
    """An answer as the embedded model writes it, with or without the carry: 7+5=12, 2+4+1=7: 72."""
    ones, tens = a % 10 + b % 10, a // 10 + b // 10 + carry
    step = f"{a // 10}+{b // 10}" + ("+1" if carry else "")
    return f"{a % 10}+{b % 10}={ones}, {step}={tens}: {tens}{ones % 10}"


def main() -> None:
    rng = random.Random(0)
    pairs = [(a, b) for a in range(10, 100) for b in range(10, 100)]
    rng.shuffle(pairs)
    carrying = [(a, b) for a, b in pairs if a % 10 + b % 10 > 9]
    rows = [
        {
            "messages": [{"role": "user", "content": f"What is {a} + {b}?"}],
            "ground_truth": str(a + b),
            "worked": worked(a, b, True),
            "digits": len(str(a + b)),
        }
        for a, b in carrying[:380]
    ]
    # All with a carry, which is what the model gets wrong.
    write("rows.jsonl", rows[:320])
    write("heldout.jsonl", rows[320:])
    answers = [
        {"text": worked(a, b, carry), "sound": carry == (a % 10 + b % 10 > 9)}
        for a, b in pairs[:400]
        for carry in (True, False)
    ]
    write("answers.jsonl", answers)


def write(name: str, rows: list[dict]) -> None:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()
