"""Rotary position embedding (2104.09864), with the linear and llama3 ways of stretching it."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def inverse_frequencies(rope: Mapping[str, Any], head_dim: int) -> Tensor:
    """[head_dim / 2] radians per position, float32."""
    steps = torch.arange(0, head_dim, 2, dtype=torch.int64).float() / head_dim
    frequencies = 1.0 / (float(rope["rope_theta"]) ** steps)
    if rope["rope_type"] == "linear":
        return frequencies / float(rope["factor"])
    if rope["rope_type"] == "llama3":
        return _llama3(frequencies, rope)
    return frequencies


def _llama3(frequencies: Tensor, rope: Mapping[str, Any]) -> Tensor:
    """Long wavelengths are slowed by ``factor``, short ones kept, those between interpolated (Llama 3.1)."""
    factor, original = float(rope["factor"]), float(rope["original_max_position_embeddings"])
    low, high = float(rope["low_freq_factor"]), float(rope["high_freq_factor"])
    wavelengths = 2 * math.pi / frequencies
    smooth = ((original / wavelengths - low) / (high - low)).clamp(0, 1)
    return (1 - smooth) * frequencies / factor + smooth * frequencies


def rotation(inverse: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """[N] positions -> [N, 1, d] cosine and [N, 1, d] sine whose first half carries the minus sign."""
    angles = positions[:, None].float() * inverse  # [N, d / 2]
    cosine, sine = angles.cos(), angles.sin()
    return torch.cat([cosine, cosine], -1)[:, None], torch.cat([-sine, sine], -1)[:, None]


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """[N, heads, d] -> the same, turned by its position; halves of d are paired as Hugging Face does."""
    first, second = x.chunk(2, -1)
    return x * cosine + torch.cat([second, first], -1) * sine
