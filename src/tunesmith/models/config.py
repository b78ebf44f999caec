"""What a decoder looks like, read from a Hugging Face ``config.json`` of one of the supported families."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.core.errors import NotFound, UserError

FAMILIES: dict[str, str] = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
}
ROPE_TYPES = ("default", "linear", "llama3")
_QWEN = {"max_position_embeddings": 32768, "sliding_window": 4096, "max_window_layers": 28}
LEFT_OUT: dict[str, dict[str, int]] = {
    "llama": {},
    "mistral": {"max_position_embeddings": 131072, "sliding_window": 4096, "num_key_value_heads": 8},
    "qwen2": _QWEN | {"num_key_value_heads": 32},
    "qwen3": _QWEN | {"num_key_value_heads": 32, "head_dim": 128},
    "qwen3_moe": _QWEN | {"num_key_value_heads": 4},
}
"""What transformers takes a key to be when a config.json leaves it out, where the families differ."""


@dataclass(frozen=True, slots=True)
class Moe:
    """Sparse experts of the layers that have them."""

    num_experts: int
    top_k: int
    intermediate: int
    normalise: bool
    """Renormalise the chosen gates to sum 1."""
    dense_layers: frozenset[int]
    """Layers with an ordinary MLP."""


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """One config-driven decoder covers the families of ``FAMILIES``; sizes are counts, not bytes."""

    family: str
    vocab: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    norm_eps: float
    max_positions: int
    rope: Mapping[str, Any]
    """rope_type, rope_theta and the scaling's own numbers."""
    tied: bool
    qkv_bias: bool
    o_bias: bool
    mlp_bias: bool
    qk_norm: bool
    windows: tuple[int | None, ...]
    """[layers] sliding window in tokens, None for full attention."""
    moe: Moe | None
    raw: Mapping[str, Any]
    """The config.json it came from, written back unchanged on export."""

    def sparse(self, layer: int) -> Moe | None:
        """The experts of a layer, None where it has an ordinary MLP."""
        return self.moe if self.moe and layer not in self.moe.dense_layers else None


def read_config(folder: Path) -> DecoderConfig:
    """Read ``folder/config.json``.

    Raises:
        NotFound: there is no such folder or file.
        UserError: another architecture, activation or rope type than the supported ones, which it lists.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise NotFound(str(folder), "no config.json here", "Give a model folder in Hugging Face format, or `embedded`")
    try:
        raw = json.loads(path.read_text("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as e:
        raise UserError(str(path), f"is not JSON: {e}", "Restore the file from the model's source") from None
    if not isinstance(raw, dict):
        raise UserError(str(path), f"holds {type(raw).__name__}, no object", "Restore the file from the model's source")
    return parse_config(raw, str(path))


def parse_config(raw: Mapping[str, Any], where: str) -> DecoderConfig:
    """The decoder that a config.json describes; ``where`` names it in errors."""
    family = raw.get("model_type")
    if family not in FAMILIES:
        known = ", ".join(f"{k} ({v})" for k, v in FAMILIES.items())
        raise UserError(where, f"unsupported architecture {family!r}", f"Supported: {known}")
    if raw.get("hidden_act", "silu") != "silu":
        raise UserError(where, f"unsupported hidden_act {raw['hidden_act']!r}", "Supported: silu")
    if raw.get("quantization_config"):
        raise UserError(where, "the weights are quantized", "Give the model in float32, bfloat16 or float16")
    try:
        return _build(raw, {**LEFT_OUT[str(family)], **raw}, str(family), where)
    except KeyError as e:
        raise UserError(where, f"missing {e.args[0]!r}", "Restore the file from the model's source") from None


def _build(given: Mapping[str, Any], raw: Mapping[str, Any], family: str, where: str) -> DecoderConfig:
    """``raw`` is what was given, completed with what the family takes for granted."""
    heads = raw["num_attention_heads"]
    bias = bool(raw.get("attention_bias", False))
    return DecoderConfig(
        family=family,
        vocab=raw["vocab_size"],
        hidden=raw["hidden_size"],
        layers=raw["num_hidden_layers"],
        heads=heads,
        kv_heads=raw.get("num_key_value_heads") or heads,
        head_dim=raw.get("head_dim") or raw["hidden_size"] // heads,
        intermediate=raw["intermediate_size"],
        norm_eps=raw.get("rms_norm_eps", 1e-6),
        max_positions=raw.get("max_position_embeddings", 2048),
        rope=_rope(raw, where),
        tied=bool(raw.get("tie_word_embeddings", False)),
        qkv_bias=bias or family == "qwen2",
        o_bias=bias and family != "qwen2",
        mlp_bias=bool(raw.get("mlp_bias", False)),
        qk_norm=family in ("qwen3", "qwen3_moe"),
        windows=_windows(raw, family),
        moe=_moe(raw) if family == "qwen3_moe" else None,
        raw=given,
    )


def _rope(raw: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Both spellings: rope_theta with rope_scaling, and the newer rope_parameters that holds all of it."""
    rope = {"rope_theta": raw.get("rope_theta", 10000.0), **(raw.get("rope_scaling") or {})}
    rope |= raw.get("rope_parameters") or {}
    rope["rope_type"] = rope.get("rope_type") or rope.get("type") or "default"
    if rope["rope_type"] not in ROPE_TYPES:
        raise UserError(where, f"unsupported rope type {rope['rope_type']!r}", f"Supported: {', '.join(ROPE_TYPES)}")
    part = rope.get("partial_rotary_factor", raw.get("partial_rotary_factor"))
    if part not in (None, 1):
        raise UserError(where, f"unsupported partial_rotary_factor {part}", "Supported: heads that are rotated whole")
    return rope


def _windows(raw: Mapping[str, Any], family: str) -> tuple[int | None, ...]:
    """Mistral and Qwen3-MoE have one window for all layers, Qwen2 and Qwen3 choose by layer, Llama has none."""
    layers: int = raw["num_hidden_layers"]
    window: int | None = raw.get("sliding_window")
    if not window or family == "llama" or (family != "mistral" and not raw.get("use_sliding_window", False)):
        return (None,) * layers
    if family in ("mistral", "qwen3_moe"):
        return (window,) * layers
    types = raw.get("layer_types")
    if types:
        return tuple(window if t == "sliding_attention" else None for t in types)
    return tuple(window if i >= raw["max_window_layers"] else None for i in range(layers))


def _moe(raw: Mapping[str, Any]) -> Moe:
    every = raw.get("decoder_sparse_step", 1)
    dense = set(raw.get("mlp_only_layers") or [])
    dense |= {i for i in range(raw["num_hidden_layers"]) if (i + 1) % every}
    return Moe(
        num_experts=raw.get("num_experts") or raw["num_local_experts"],
        top_k=raw["num_experts_per_tok"],
        intermediate=raw["moe_intermediate_size"],
        normalise=bool(raw.get("norm_topk_prob", False)),
        dense_layers=frozenset(dense),
    )
