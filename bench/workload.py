"""What both sides are given: the same model folder, prompts, conversations and pairs, made from a seed on the fly.

The model is a random Qwen2 of about 3 M parameters over single characters, so that one character is one token.
"""

import json
import random
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Kind = Literal["rft", "sft", "dpo"]
PROMPTS, COMPLETIONS, MAX_TOKENS = 4, 8, 64
SFT_ROWS, DPO_PAIRS = 32, 16
KL_BETA, LEARNING_RATE, RANK, ALPHA = 0.001, 1e-4, 8, 32
CHARACTERS = string.digits + string.ascii_letters + string.punctuation + " "
VOCAB = len(CHARACTERS) + 2
PAD, END = 0, 1
UNREACHABLE = VOCAB
"""An end token that the model has no logit for: every completion runs to MAX_TOKENS on both sides."""
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 256,
    "intermediate_size": 688,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison."""

    name: str
    kind: Kind
    prompt: int
    """Prompt tokens."""
    rank: int
    """Of the adapter; 0 trains all parameters."""
    steps: int
    """Optimizer steps there is data for; more than are measured, so that no side comes to its end."""
    target: float
    """How many times faster than the peer we mean to be."""
    seed: int = 0


def cases(steps: int) -> list[Case]:
    """Every comparison of the full benchmark."""
    out = []
    for label, rank in (("LoRA r=8", RANK), ("full", 0)):
        out += [Case(f"GRPO, prompt {n}, {label}", "rft", n, rank, steps, t) for n, t in ((64, 2.5), (512, 6.0))]
        out += [Case(f"SFT, {label}", "sft", 64, rank, steps, 2.0), Case(f"DPO, {label}", "dpo", 64, rank, steps, 2.0)]
    return sorted(out, key=lambda c: ("rft", "sft", "dpo").index(c.kind))


def write(case: Case, folder: Path) -> None:
    """``folder/model`` and ``folder/data.jsonl`` in the form of a Tunesmith dataset."""
    write_model(folder / "model", end=UNREACHABLE if case.kind == "rft" else END)
    lines = (json.dumps(row) for row in _rows(case))
    (folder / "data.jsonl").write_text("\n".join(lines) + "\n")


def reward(text: str) -> float:
    """The grader of both sides: the share of lower-case letters, so that attempts at a prompt differ."""
    return sum(c.islower() for c in text) / max(1, len(text))


def write_model(folder: Path, end: int) -> None:
    import torch
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    settings: dict[str, Any] = {**SIZES, "eos_token_id": end, "pad_token_id": PAD, "bos_token_id": None}
    Qwen2ForCausalLM(Qwen2Config(**settings, tie_word_embeddings=False)).save_pretrained(folder)
    vocabulary = {"<pad>": PAD, **{c: i + 2 for i, c in enumerate(CHARACTERS)}, "<end>": end}
    if end != END:
        vocabulary["<unused>"] = END
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>")
    fast.save_pretrained(folder)


def _rows(case: Case) -> list[dict[str, object]]:
    rng = random.Random(case.seed)

    def text(length: int) -> str:
        return "".join(rng.choices(CHARACTERS[:-1], k=length))

    def answer() -> str:
        return text(answer_length(rng))

    if case.kind == "rft":
        return [{"messages": [_user(text(case.prompt))], "id": str(i)} for i in range(PROMPTS * case.steps)]
    if case.kind == "sft":
        return [
            {"messages": [_user(text(case.prompt)), {"role": "assistant", "content": answer()}]}
            for _ in range(SFT_ROWS * case.steps)
        ]
    return [
        {
            "input": {"messages": [_user(text(case.prompt))]},
            "preferred_output": [{"role": "assistant", "content": answer()}],
            "non_preferred_output": [{"role": "assistant", "content": answer()}],
        }
        for _ in range(DPO_PAIRS * case.steps)
    ]


def answer_length(rng: random.Random) -> int:
    """Tokens of an answer: lognormal as in instruction data, median 96, between 8 and 768."""
    return min(768, max(8, round(rng.lognormvariate(4.564, 0.9))))


def _user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}
