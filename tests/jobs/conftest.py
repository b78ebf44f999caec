"""Small files for whole jobs on the embedded model."""

import json
from pathlib import Path
from typing import Any

import pytest


def lines(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A dataset of each kind: sums that carry."""
    folder = tmp_path_factory.mktemp("datasets")
    sums = [(a, b) for a in range(15, 19) for b in range(25, 29)]
    ask = [[{"role": "user", "content": f"What is {a} + {b}?"}] for a, b in sums]
    right = [{"role": "assistant", "content": str(a + b)} for a, b in sums]
    wrong = [{"role": "assistant", "content": str(a + b - 10)} for a, b in sums]
    return {
        "rft": lines(
            folder / "rft.jsonl",
            [{"messages": m, "ground_truth": r["content"]} for m, r in zip(ask, right, strict=True)],
        ),
        "sft": lines(folder / "sft.jsonl", [{"messages": [*m, r]} for m, r in zip(ask, right, strict=True)]),
        "dpo": lines(
            folder / "dpo.jsonl",
            [
                {"input": {"messages": m}, "preferred_output": [r], "non_preferred_output": [w]}
                for m, r, w in zip(ask, right, wrong, strict=True)
            ],
        ),
    }
