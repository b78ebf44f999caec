"""One config-driven decoder for the Llama, Mistral, Qwen2, Qwen3 and Qwen3-MoE families.

It runs over N tokens laid end to end; what a token may look at is decided by the ``attend`` it is given, so that
packed training, prefill and cached decoding are the same forward. Legend: N tokens, H hidden, h heads, d head size.
"""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tunesmith.models.config import DecoderConfig
from tunesmith.models.lora import Adapter, Pair, Target
from tunesmith.models.moe import Experts, Routing, SparseMlp
from tunesmith.models.rope import inverse_frequencies, rotate, rotation
from tunesmith.models.swiglu import swiglu


class Attend(Protocol):
    """Attention over whatever the caller laid out."""

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """[N, h, d], [N, kv, d], [N, kv, d] -> [N, h * d]."""
        ...


class Linear(nn.Module):
    """Several Hugging Face linears of the same input, fused below each other; ``adapter`` may add to the output."""

    def __init__(self, target: Target, bias: bool) -> None:
        super().__init__()
        rows = sum(n for _, n in target.parts)
        self.target = target
        self.weight = nn.Parameter(torch.empty(target.inputs, rows))
        """[in, out]: the other way round, a product of few rows would spend half of its time on turning it."""
        self.bias = nn.Parameter(torch.empty(rows)) if bias else None

    def forward(self, x: Tensor, adapter: Adapter | None) -> Tensor:
        y = x @ self.weight if self.bias is None else torch.addmm(self.bias, x, self.weight)
        pair = adapter.pairs.get(self.target.name) if adapter else None
        return y if pair is None else pair.add_delta(y, x)


class Layer(nn.Module):
    def __init__(self, config: DecoderConfig, index: int) -> None:
        super().__init__()
        c, self.index = config, index
        self.heads, self.kv_heads, self.head_dim, self.eps = c.heads, c.kv_heads, c.head_dim, c.norm_eps
        q, kv = c.heads * c.head_dim, c.kv_heads * c.head_dim
        at, mlp = f"layers.{index}.self_attn", f"layers.{index}.mlp"
        qkv = ((f"{at}.q_proj", q), (f"{at}.k_proj", kv), (f"{at}.v_proj", kv))
        self.input_norm = nn.Parameter(torch.ones(c.hidden))
        self.qkv = Linear(Target(f"layers.{index}.qkv", qkv, c.hidden), c.qkv_bias)
        self.q_norm = nn.Parameter(torch.ones(c.head_dim)) if c.qk_norm else None
        self.k_norm = nn.Parameter(torch.ones(c.head_dim)) if c.qk_norm else None
        self.o = Linear(Target(f"layers.{index}.o", ((f"{at}.o_proj", c.hidden),), q), c.o_bias)
        self.post_norm = nn.Parameter(torch.ones(c.hidden))
        moe = c.sparse(index)
        self.mlp: Mlp | SparseMlp = SparseMlp(c.hidden, moe, mlp) if moe else Mlp(c, mlp)

    def forward(
        self,
        x: Tensor,
        cosine: Tensor,
        sine: Tensor,
        attend: Attend,
        adapter: Adapter | None,
        rows: Tensor | None = None,
        routing: Routing | None = None,
    ) -> Tensor:
        """[N, H] -> [N, H], or the [M, H] of ``rows`` where no more than those are needed."""
        y = F.rms_norm(x, x.shape[-1:], self.input_norm, self.eps)
        qkv = self.qkv(y, adapter).view(len(x), -1, self.head_dim)  # [N, h + 2 kv, d]
        qk, v = qkv.split([self.heads + self.kv_heads, self.kv_heads], 1)
        if self.q_norm is not None and self.k_norm is not None:
            weight = torch.cat([self.q_norm.expand(self.heads, -1), self.k_norm.expand(self.kv_heads, -1)])
            qk = F.rms_norm(qk, qk.shape[-1:], None, self.eps) * weight
        q, k = rotate(qk, cosine, sine).split([self.heads, self.kv_heads], 1)
        seen = attend(self.index, q, k, v)
        if rows is not None:
            x, seen = x.index_select(0, rows), seen.index_select(0, rows)
        x = x + self.o(seen, adapter)
        y = F.rms_norm(x, x.shape[-1:], self.post_norm, self.eps)
        if routing is not None and isinstance(self.mlp, SparseMlp):
            return x + self.mlp(y, adapter, routing.of(self.index, rows))  # type: ignore[no-any-return]
        return x + self.mlp(y, adapter)  # type: ignore[no-any-return]


class Mlp(nn.Module):
    """SwiGLU (2002.05202)."""

    def __init__(self, c: DecoderConfig, name: str) -> None:
        super().__init__()
        gate_up = ((f"{name}.gate_proj", c.intermediate), (f"{name}.up_proj", c.intermediate))
        short = name.removesuffix(".mlp")
        self.gate_up = Linear(Target(f"{short}.gate_up", gate_up, c.hidden), c.mlp_bias)
        self.down = Linear(Target(f"{short}.down", ((f"{name}.down_proj", c.hidden),), c.intermediate), c.mlp_bias)

    def forward(self, x: Tensor, adapter: Adapter | None) -> Tensor:
        return self.down(swiglu(self.gate_up(x, adapter)), adapter)  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Token ids in, final hidden states out; logits are left to who needs them, in pieces."""

    inverse: Tensor

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Parameter(torch.empty(config.vocab, config.hidden))
        self.layers = nn.ModuleList(Layer(config, i) for i in range(config.layers))
        self.norm = nn.Parameter(torch.ones(config.hidden))
        self.head = None if config.tied else nn.Parameter(torch.empty(config.vocab, config.hidden))
        self.head_target = Target("head", (("lm_head", config.vocab),), config.hidden)
        with torch.device("cpu"):  # also while the weights are laid out on no device at all
            inverse = inverse_frequencies(config.rope, config.head_dim)
        self.register_buffer("inverse", inverse, persistent=False)

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        attend: Attend,
        adapter: Adapter | None = None,
        rows: Tensor | None = None,
        routing: Routing | None = None,
    ) -> Tensor:
        """[N] ids at [N] positions -> [N, H] normalised hidden states, or the [M, H] of ``rows`` for less work.

        ``routing`` notes which experts the tokens go to, and may say so; without ``rows``, it notes all of them.
        """
        x = F.embedding(tokens, self.embed)
        cosine, sine = (t.to(x.dtype) for t in rotation(self.inverse, positions))
        for layer in self.layers:
            x = layer(x, cosine, sine, attend, adapter, rows if layer is self.layers[-1] else None, routing)
        return F.rms_norm(x, x.shape[-1:], self.norm, self.config.norm_eps)

    @property
    def head_weight(self) -> Tensor:
        """[V, H]; the embedding itself where the two are tied."""
        return self.embed if self.head is None else self.head

    def head_pair(self, adapter: Adapter | None) -> Pair | None:
        return adapter.pairs.get("head") if adapter else None

    def logits(self, hidden: Tensor, adapter: Adapter | None = None) -> Tensor:
        """[N, H] -> [N, V] float32."""
        y = F.linear(hidden, self.head_weight)
        pair = self.head_pair(adapter)
        return (y if pair is None else pair.add_delta(y, hidden)).float()

    def targets(self, head: bool = False, attention: bool = True, mlp: bool = True) -> Iterator[Target]:
        """The linears an adapter may sit on: of attention, of MLPs and experts, the output head where asked."""
        for layer in self.layers:
            assert isinstance(layer, Layer), "the decoder is made of Layers"
            if attention:
                yield layer.qkv.target
                yield layer.o.target
            if mlp:
                yield from (m.target for m in layer.mlp.children() if isinstance(m, Linear | Experts))
        if head:
            yield self.head_target

    @property
    def device(self) -> torch.device:
        return self.embed.device
