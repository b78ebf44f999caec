"""Rows of the datasets that a client of the managed service uploads: sums, and a model's attempts at them."""

import json
import re
from typing import Any

SUMS = [(a, b) for a in range(14, 46, 4) for b in range(17, 29, 6)]
ATTEMPTS = 4


def lines(kind: str) -> bytes:
    """Sums; what is shown to the supervised job is no sum, so that its model answers otherwise than its base."""
    rows = []
    for a, b in SUMS:
        asked = [{"role": "user", "content": f"What is {a} + {b}?"}]
        said = [[{"role": "assistant", "content": str(a + b + wrong)}] for wrong in (0, 9)]
        rows.append(
            {
                "sft": {"messages": [*asked, {"role": "assistant", "content": f"={b}"}]},
                "rft": {"messages": asked, "ground_truth": str(a + b)},
                "dpo": {"input": {"messages": asked}, "preferred_output": said[0], "non_preferred_output": said[1]},
            }[kind]
        )
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def attempts(client: Any, model: str) -> list[dict[str, Any]]:
    """Rows of a model's attempts at each sum, with their scores: 1 for the right answer."""
    rows = []
    for a, b in SUMS:
        asked = {"role": "user", "content": f"What is {a} + {b}?"}
        given = {
            "model": model,
            "messages": [asked],
            "temperature": 1.0,
            "max_tokens": 48,
            "n": ATTEMPTS,
            "seed": a * b,
        }
        said = [choice.message.content or "" for choice in client.chat.completions.create(**given).choices]
        rows.append({"samples": [scored(asked, text, str(a + b)) for text in said]})
    return rows


def scored(asked: dict[str, str], said: str, answer: str) -> dict[str, Any]:
    score = float(re.findall(r"-?\d+", said)[-1:] == [answer])
    return {"messages": [asked, {"role": "assistant", "content": said}], "evals": {"score": score}}


def reward(rows: list[dict[str, Any]]) -> float:
    scores = [sample["evals"]["score"] for row in rows for sample in row["samples"]]
    return sum(scores) / len(scores)
