"""Tiny random models of every supported family, as ``transformers`` builds them, and our decoder run over them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from tunesmith.models.attention import Family, PackedAttention
from tunesmith.models.decoder import Decoder
from tunesmith.models.folder import load_model
from tunesmith.models.lora import Adapter, new_adapter

CPU = torch.device("cpu")
SIZES = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
MOE = {"moe_intermediate_size": 16, "num_experts": 5, "num_experts_per_tok": 2}
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama"},
    "llama-biases": {"model_type": "llama", "attention_bias": True, "mlp_bias": True},
    "llama-tied": {"model_type": "llama", "tie_word_embeddings": True},
    "llama-rope-llama3": {"model_type": "llama", "rope_parameters": LLAMA3, "head_dim": 16},
    "llama-rope-linear": {
        "model_type": "llama",
        "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4},
    },
    "llama-many-heads": {"model_type": "llama", "num_key_value_heads": 4},
    "qwen2": {"model_type": "qwen2"},
    "qwen2-window": {"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1},
    "qwen3": {"model_type": "qwen3", "head_dim": 16, "tie_word_embeddings": True},
    "qwen3-bias": {"model_type": "qwen3", "head_dim": 8, "attention_bias": True},
    "mistral": {"model_type": "mistral", "sliding_window": None},
    "mistral-window": {"model_type": "mistral", "sliding_window": 5},
    "qwen3_moe": {"model_type": "qwen3_moe", "head_dim": 8, "norm_topk_prob": True, **MOE},
    "qwen3_moe-dense-layer": {"model_type": "qwen3_moe", "head_dim": 8, "mlp_only_layers": [1], **MOE},
    "qwen3_moe-sparse-step": {"model_type": "qwen3_moe", "head_dim": 8, "decoder_sparse_step": 2, **MOE},
    "qwen3_moe-window": {
        "model_type": "qwen3_moe",
        "head_dim": 8,
        "use_sliding_window": True,
        "sliding_window": 5,
        "max_window_layers": 1,
        **MOE,
    },
}
FAMILY_NAMES = ["llama-tied", "mistral", "qwen2", "qwen3", "qwen3_moe-dense-layer"]
"""One of each family."""


def hf_model(name: str, folder: Path, seed: int = 0, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A random model in which no bias is 0 and no norm is 1, saved into ``folder``."""
    kwargs = {**SIZES, **CONFIGS[name]}
    config = AutoConfig.for_model(kwargs.pop("model_type"), **kwargs)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    model.to(dtype).save_pretrained(folder)
    return model


def reload(folder: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def ours(folder: Path, dtype: torch.dtype = torch.float32) -> Decoder:
    return load_model(folder, CPU, dtype)


def pack(model: Decoder, lengths: Sequence[int]) -> tuple[Tensor, PackedAttention]:
    """[N] positions and the attention of independent sequences laid end to end."""
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    families = [Family(start, 0, (n,)) for start, n in zip(starts, lengths, strict=True)]
    positions = torch.cat([torch.arange(n) for n in lengths])
    return positions, PackedAttention(families, model.config.windows, CPU)


@torch.no_grad()
def logits(model: Decoder, tokens: Tensor, adapter: Adapter | None = None) -> Tensor:
    """[L] ids of one sequence -> [L, V]."""
    positions, attend = pack(model, [len(tokens)])
    return model.logits(model(tokens, positions, attend, adapter), adapter)


@torch.no_grad()
def hf_logits(model: torch.nn.Module, tokens: Tensor) -> Tensor:
    """[L] ids of one sequence -> [L, V]."""
    return model(tokens[None], use_cache=False).logits[0].float()


def random_tokens(length: int = 23, vocab: int = SIZES["vocab_size"], seed: int = 1) -> Tensor:
    return torch.randint(0, vocab, (length,), generator=torch.Generator().manual_seed(seed))


def trained_adapter(model: Decoder, rank: int = 4, seed: int = 0, head: bool = False, **parts: bool) -> Adapter:
    """An adapter that changes something: B is random instead of 0."""
    adapter = new_adapter(model.targets(head, **parts), rank, seed, CPU)
    generator = torch.Generator().manual_seed(seed + 100)
    with torch.no_grad():
        for pair in adapter.pairs.values():
            pair.b.copy_(torch.randn(pair.b.shape, generator=generator) * 0.05)
    return adapter
