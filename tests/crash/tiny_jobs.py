"""A 2-layer Qwen3 of a few thousand random weights, its data, and specs of jobs that take a fraction of a second."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.decoders import Fuse

from tunesmith.models.config import read_config
from tunesmith.models.decoder import Decoder
from tunesmith.models.folder import tensors

LETTERS = "abcdefghijklmnopqrstuvwxyz .:"
END = "<end>"
CONFIG = {
    "model_type": "qwen3",
    "architectures": ["Qwen3ForCausalLM"],
    "vocab_size": len(LETTERS) + 1,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
    "eos_token_id": 0,
}
FILE_GRADER = """
def grade(completion, row):
    return {"reward": sum(completion.count(a) for a in row["answer"]) / 4, "reason": completion[:3]}
"""


def make_model(folder: Path) -> Path:
    """A model folder with fixed random weights and a tokenizer of one id per character."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    model = Decoder(read_config(folder))
    generator = torch.Generator().manual_seed(5)
    weights = {n: torch.randn(t.shape, generator=generator) * 0.3 for n, t in tensors(model)}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    tokenizer = Tokenizer(models.WordLevel({END: 0, **{c: i for i, c in enumerate(LETTERS, start=1)}}, unk_token=END))
    tokenizer.add_special_tokens([END])
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = Fuse()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": END}))
    return folder


def make_data(folder: Path) -> Path:
    """rft.jsonl, sft.jsonl, dpo.jsonl and grader.py."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["ab", "cde", "fa", "gib", "ho", "ja", "kel", "mo", "nu", "pa", "qe", "ra"]
    _write(folder / "rft.jsonl", ({"prompt": f"say {w}:", "answer": list("aeiou" + w[0])} for w in words))
    _write(folder / "sft.jsonl", ({"messages": [_user(w), _assistant(w[::-1])]} for w in words))
    _write(
        folder / "dpo.jsonl",
        (
            {
                "input": {"messages": [_user(w)]},
                "preferred_output": [_assistant(w)],
                "non_preferred_output": [_assistant(w[::-1] + "x")],
            }
            for w in words
        ),
    )
    (folder / "grader.py").write_text(FILE_GRADER)
    return folder


SHAPES: dict[str, dict[str, Any]] = {
    "rft": {"evaluator": "contains", "chunk_size": 4, "response_candidates_count": 4, "max_tokens": 4, "top_k": 0},
    "sft": {"batch_size_samples": 4},
    "dpo": {"batch_size_samples": 4},
}
"""Three steps of four rows each, before ``epochs`` multiplies them."""


def settings(kind: str, root: Path, **changes: Any) -> dict[str, Any]:
    """A spec of three steps; ``root`` has model/ and data/ of this module, and takes the run in ``root/run``."""
    return {
        "kind": kind,
        "base_model": str(root / "model"),
        "dataset": str(root / "data" / f"{kind}.jsonl"),
        "eval_auto_carveout": True,
        "output_dir": str(root / "run"),
        "limits": "off",
        "learning_rate": 0.01,
        "lora_rank": 4,
        "max_context_length": 64,
        **SHAPES[kind],
        **changes,
    }


def _user(text: str) -> dict[str, str]:
    return {"role": "user", "content": f"{text}:"}


def _assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
