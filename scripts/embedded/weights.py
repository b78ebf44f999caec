"""A Qwen3 of half a million random numbers, and the trained one rounded to half precision."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from embedded.tokenizer import VOCABULARY
from tunesmith.models.config import parse_config
from tunesmith.models.decoder import Decoder
from tunesmith.models.folder import tensors

CONTEXT = 4096
CONFIG = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "vocab_size": VOCABULARY,
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "intermediate_size": 384,
    "hidden_act": "silu",
    "max_position_embeddings": CONTEXT,
    "rope_theta": 10000.0,
    "rms_norm_eps": 1e-6,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "use_sliding_window": False,
    "tie_word_embeddings": True,
    "initializer_range": 0.02,
    "bos_token_id": None,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "torch_dtype": "float16",
}
GENERATION = {"eos_token_id": [2, 0], "pad_token_id": 0, "do_sample": True, "temperature": 0.7, "top_k": 40}


def write_random_model(folder: Path, seed: int) -> None:
    """config.json, generation_config.json and model.safetensors: normal matrices, norms of 1."""
    for name, content in (("config.json", CONFIG), ("generation_config.json", GENERATION)):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    model = Decoder(parse_config(CONFIG, "config.json"))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.02, generator=generator)
    save_file({name: t.detach().contiguous() for name, t in tensors(model)}, folder / "model.safetensors")


def round_to_half(file: Path) -> None:
    """float16 in place; the weights are far from its limits, and what is measured is the rounded model."""
    halves = {name: tensor.half() for name, tensor in load_file(file).items()}
    save_file(halves, file, {"format": "pt"})
