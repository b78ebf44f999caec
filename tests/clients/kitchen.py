"""What cookbook recipes find on a server: models under the names that are their defaults, and datasets on its hub."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clients.environments import Address, python_of, run

INSTRUCT = "Qwen/Qwen3-4B-Instruct-2507"
"""A name whose recommended renderer writes the embedded model's own chat format."""
BASE = "Qwen/Qwen3.5-9B-Base"
"""Default of rl_loop, sl_loop and chat_sl; its renderer is role_colon, which suits any tokenizer."""
THINKING = "Qwen/Qwen3.5-9B"
"""Default of math_rl."""
RENDERER = "qwen3_instruct"
EMBEDDED = Path(__file__).parents[2] / "src" / "tunesmith" / "models" / "embedded"


def add_models(data_dir: Path, work: Path) -> None:
    """Offer the embedded model under the names above too."""
    for name, folder in ((INSTRUCT, EMBEDDED), (BASE, EMBEDDED), (THINKING, thinking_model(work / "thinking"))):
        command = [str(Path(sys.executable).with_name("tunesmith")), "models", "add", name, str(folder)]
        subprocess.run([*command, "--data-dir", str(data_dir)], check=True, capture_output=True)


def thinking_model(folder: Path) -> Path:
    """The embedded model with its two last pieces of text given up for the tags that Qwen3.5's renderer needs."""
    shutil.copytree(EMBEDDED, folder)
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text("utf-8"))
    model, added = tokenizer["model"], tokenizer["added_tokens"]
    for tag, piece in zip(("<think>", "</think>"), sorted(model["vocab"], key=model["vocab"].get)[-2:], strict=True):
        added.append(added[-1] | {"id": model["vocab"].pop(piece), "content": tag, "special": False})
        model["merges"] = [pair for pair in model["merges"] if "".join(pair) != piece]
    file.write_text(json.dumps(tokenizer), "utf-8")
    return folder


def add_dataset(data_dir: Path, name: str, config: str, splits: dict[str, Sequence[dict[str, Any]]]) -> None:
    """A dataset on the server's hub, as JSON lines with a card that names its splits."""
    folder = data_dir / "hub" / "datasets" / name
    folder.mkdir(parents=True, exist_ok=True)
    files = "".join(f"\n  - split: {split}\n    path: {split}.jsonl" for split in splits)
    card = f"---\nconfigs:\n- config_name: {config}\n  default: true\n  data_files:{files}\n---\n"
    (folder / "README.md").write_text(card, "utf-8")
    for split, rows in splits.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def word_problems(count: int) -> list[dict[str, str]]:
    """Rows in the shape of GSM8K."""
    return [
        {
            "question": f"Tom has {n} pens and gets {n + 1} more. How many has he?",
            "answer": f"He has {n} + {n + 1} = <<{n}+{n + 1}={2 * n + 1}>>{2 * n + 1}\n#### {2 * n + 1}",
        }
        for n in range(10, 10 + count)
    ]


def conversations(count: int) -> list[dict[str, Any]]:
    """Chats in the OpenAI shape."""
    return [
        {
            "prompt": f"What is {n} + {n + 2}?",
            "messages": [
                {"role": "user", "content": f"What is {n} + {n + 2}?"},
                {"role": "assistant", "content": f"It is {2 * n + 2}."},
            ],
        }
        for n in range(10, 10 + count)
    ]


def comparisons(count: int) -> list[dict[str, Any]]:
    """Preferences for the right sum, in the shape of the cookbook's own comparison files."""
    return [
        {
            "comparison": {
                "prompt_conversation": [{"role": "user", "content": f"What is {n} + {n}?"}],
                "completion_A": [{"role": "assistant", "content": f"{2 * n}"}],
                "completion_B": [{"role": "assistant", "content": f"{2 * n + 7}, I think"}],
            },
            "label": "A",
        }
        for n in range(10, 10 + count)
    ]


def recipe(server: Address, home: Path, module: str, log_path: Path, *settings: str, limit_s: float = 300) -> None:
    """Run a recipe of the cookbook as its users do: ``python -m``, with ``name=value`` settings."""
    command = [str(python_of("cookbook")), "-m", f"tinker_cookbook.recipes.{module}", f"log_path={log_path}", *settings]
    run(command, server, home, limit_s)


def metrics(log_path: Path) -> list[dict[str, Any]]:
    """What a recipe logged, step by step."""
    return [json.loads(line) for line in (log_path / "metrics.jsonl").read_text("utf-8").splitlines()]


def checkpoints(log_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (log_path / "checkpoints.jsonl").read_text("utf-8").splitlines()]
