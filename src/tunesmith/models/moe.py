"""Sparse experts: every token goes through its top-k experts, weighted by the router (Qwen3-MoE).

Which experts those are can be noted where tokens are sampled and replayed where they are trained: with the ids fixed,
the gates still come from the live router. Legend: N tokens, S sparse layers, E experts, k chosen ones.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tunesmith.core.errors import UserError
from tunesmith.core.types import Routes
from tunesmith.models.config import DecoderConfig, Moe
from tunesmith.models.lora import Adapter, Target
from tunesmith.models.swiglu import swiglu

Choose = Callable[[Tensor], Tensor]
"""[N, E] probabilities of one layer -> [N, k] ids of the experts to use."""


class Routing:
    """Which experts tokens go to in one forward pass: the given ones, the router's own elsewhere; all are noted."""

    def __init__(self, config: DecoderConfig, given: Tensor | None = None) -> None:
        """``given``: [N, S, k] int64 ids, -1 where the router chooses."""
        assert config.moe is not None, "a model without experts has no routing"
        self.given, self.top_k = given, config.moe.top_k
        self._place = {layer: place for place, layer in enumerate(sparse_layers(config))}
        self._chosen: list[Tensor] = []

    def of(self, layer: int, rows: Tensor | None) -> Choose:
        """The choice in a layer, for all N tokens or those of ``rows``."""
        given = None if self.given is None else self.given[:, self._place[layer]]
        if given is not None and rows is not None:
            given = given[rows]

        def choose(probabilities: Tensor) -> Tensor:
            chosen = probabilities.topk(self.top_k, dim=-1).indices
            chosen = chosen if given is None else torch.where(given < 0, chosen, given)
            self._chosen.append(chosen)
            return chosen

        return choose

    def noted(self) -> Routes:
        """[N, S, k] after a pass that ran every layer over all of its N tokens."""
        return torch.stack(self._chosen, 1).to(torch.int16).cpu().numpy()


def sparse_layers(config: DecoderConfig) -> tuple[int, ...]:
    """Layers that have experts."""
    return tuple(i for i in range(config.layers) if config.sparse(i))


def check_routes(where: str, routes: Routes, tokens: int, config: DecoderConfig) -> None:
    """
    Raises:
        UserError: routes of another model or of other tokens.
    """
    if config.moe is None:
        raise UserError(where, "has routing, and the model has no experts", "Leave out Datum.routing")
    shape = (tokens, len(sparse_layers(config)), config.moe.top_k)
    if routes.shape != shape:
        problem = f"routing has shape {routes.shape}, its {tokens} tokens in this model take {shape}"
        raise UserError(where, problem, "Give an id per token, sparse layer and chosen expert")
    ids = np.sort(routes.astype(np.int64), -1)
    if ids.size and (ids.min() < -1 or ids.max() >= config.moe.num_experts):
        wrong = ids.min() if ids.min() < -1 else ids.max()
        last = config.moe.num_experts - 1
        raise UserError(
            where, f"routing names expert {wrong}", f"Give ids from 0 to {last}, or -1 for the router's own"
        )
    live = ids < 0
    if (live.any(-1) != live.all(-1)).any() or ((np.diff(ids) == 0) & ~live[..., 1:]).any():
        problem = "routing sends a token to one expert twice, or to fewer than the model's top k"
        raise UserError(where, problem, "Give k different ids, or -1 for all of them")


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

    def forward(self, x: Tensor, adapter: Adapter | None, choose: Choose | None = None) -> Tensor:
        """[N, H] -> [N, H], through the router's top k or the experts that ``choose`` names."""
        gates, chosen = self._route(x, choose)
        out = torch.zeros_like(x)
        for expert in chosen.unique().tolist():
            rows, slot = torch.where(chosen == expert)
            # From 16 rows up a product gives each row the same bits whatever the others are; an expert may get fewer.
            taken = F.pad(x[rows], (0, 0, 0, max(0, 16 - len(rows))))
            y = self.down(swiglu(self.gate_up(taken, expert, adapter)), expert, adapter)[: len(rows)]
            out = out.index_add(0, rows, y * gates[rows, slot, None])
        return out

    def _route(self, x: Tensor, choose: Choose | None) -> tuple[Tensor, Tensor]:
        """[N, k] gates and [N, k] expert ids; probabilities are taken in float32, as Hugging Face does."""
        probabilities = F.linear(x, self.router).float().softmax(-1)
        if choose is None:
            gates, chosen = probabilities.topk(self.moe.top_k, dim=-1)
        else:
            chosen = choose(probabilities)
            gates = probabilities.gather(-1, chosen)
        if self.moe.normalise:
            gates = gates / gates.sum(-1, keepdim=True)
        return gates.to(x.dtype), chosen
