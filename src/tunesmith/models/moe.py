"""Sparse experts: every token goes through its top-k experts, weighted by the router (Qwen3-MoE)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tunesmith.models.config import Moe
from tunesmith.models.lora import Adapter, Target
from tunesmith.models.swiglu import swiglu


class Experts(nn.Module):
    """[E, out, in] weights of one projection of all experts."""

    def __init__(self, target: Target) -> None:
        super().__init__()
        self.target = target
        self.weight = nn.Parameter(torch.empty(target.experts, sum(n for _, n in target.parts), target.inputs))

    def forward(self, x: Tensor, expert: int, adapter: Adapter | None) -> Tensor:
        y = F.linear(x, self.weight[expert])
        pair = adapter.pairs.get(self.target.name) if adapter else None
        return y if pair is None else pair.add_delta(y, x, expert)


class SparseMlp(nn.Module):
    def __init__(self, hidden: int, moe: Moe, name: str) -> None:
        super().__init__()
        self.moe = moe
        short, experts = name.removesuffix(".mlp"), f"{name}.experts"
        gate_up = ((f"{experts}.*.gate_proj", moe.intermediate), (f"{experts}.*.up_proj", moe.intermediate))
        down = ((f"{experts}.*.down_proj", hidden),)
        self.router = nn.Parameter(torch.empty(moe.num_experts, hidden))
        self.gate_up = Experts(Target(f"{short}.experts.gate_up", gate_up, hidden, moe.num_experts, "a"))
        self.down = Experts(Target(f"{short}.experts.down", down, moe.intermediate, moe.num_experts, "b"))

    def forward(self, x: Tensor, adapter: Adapter | None) -> Tensor:
        """[N, H] -> [N, H]."""
        gates, chosen = self._route(x)
        out = torch.zeros_like(x)
        for expert in chosen.unique().tolist():
            rows, slot = torch.where(chosen == expert)
            # From 16 rows up a product gives each row the same bits whatever the others are; an expert may get fewer.
            taken = F.pad(x[rows], (0, 0, 0, max(0, 16 - len(rows))))
            y = self.down(swiglu(self.gate_up(taken, expert, adapter)), expert, adapter)[: len(rows)]
            out = out.index_add(0, rows, y * gates[rows, slot, None])
        return out

    def _route(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[N, k] gates and [N, k] expert ids; probabilities are taken in float32, as Hugging Face does."""
        probabilities = F.linear(x, self.router).float().softmax(-1)
        gates, chosen = probabilities.topk(self.moe.top_k, dim=-1)
        if self.moe.normalise:
            gates = gates / gates.sum(-1, keepdim=True)
        return gates.to(x.dtype), chosen
