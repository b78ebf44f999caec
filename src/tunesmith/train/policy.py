"""What is being trained: an adapter on a frozen base, or all weights of the model, behind one face."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from tunesmith.core.ports import Weights
from tunesmith.models.attention import PackedAttention
from tunesmith.models.decoder import Decoder
from tunesmith.models.folder import load_model, save_model
from tunesmith.models.head import FEWEST_ROWS, selected_logprobs
from tunesmith.models.lora import Adapter
from tunesmith.models.moe import Routing
from tunesmith.models.peft_format import save_adapter
from tunesmith.train.pack import Pack


@dataclass(frozen=True, slots=True)
class LiveWeights:
    """All weights of a model, shared with the trainer rather than copied: good until its next update."""

    model: Decoder


class Policy:
    """The weights under training, and those at job start that a KL or a preference loss compares with."""

    def __init__(self, model: Decoder, adapter: Adapter | None, source: Path, warm: bool, reference: bool) -> None:
        """
        Args:
            model: the base; with no adapter, all of its weights are trained.
            source: the base model's folder, for its config and tokenizer on export.
            warm: the adapter was trained before, so that "adapter off" is not where this job starts.
            reference: weights at job start will be asked for; costs a second model in full-parameter training.
        """
        self.model, self.adapter, self.source = model, adapter, source
        self._start_adapter = adapter.snapshot() if adapter and warm else None
        self._start_model: Decoder | None = None
        if adapter is None:
            if reference:
                self._start_model = load_model(source, model.device, model.embed.dtype)
                self._start_model.load_state_dict(model.state_dict())
            model.requires_grad_(True)

    def parameters(self) -> Mapping[str, Tensor]:
        """Every trained tensor by name."""
        return dict(self.adapter.named_parameters() if self.adapter else self.model.named_parameters())

    def logprobs(self, p: Pack, reference: bool = False) -> Tensor:
        """Log-probabilities of a pack's targets, in their shape, in nats at each sequence's temperature."""
        model, adapter = self._weights(reference)
        attend = PackedAttention(p.families, model.config.windows, model.device)
        few = max(0, FEWEST_ROWS - len(p.rows))
        rows, targets = F.pad(p.rows, (0, few)), F.pad(p.targets, (*(0, 0) * (p.targets.dim() - 1), 0, few))
        routing = None if p.routing is None else Routing(model.config, p.routing)
        hidden = model(p.tokens, p.positions, attend, adapter, rows, routing)
        pair = model.head_pair(adapter)
        a, b = (None, None) if pair is None else (pair.a.to(hidden.dtype), pair.spread_b().to(hidden.dtype))
        temperature = F.pad(p.temperature, (0, few), value=1.0)
        return selected_logprobs(hidden, model.head_weight, targets, temperature, a, b)[: len(p.rows)]

    def _weights(self, reference: bool) -> tuple[Decoder, Adapter | None]:
        if not reference:
            return self.model, self.adapter
        if self.adapter is not None:
            return self.model, self._start_adapter
        assert self._start_model is not None, "a full-parameter policy was made without reference=True"
        return self._start_model, None

    def weight_change(self) -> float:
        """L2 distance from the base model on disk, over all linears of an adapter or all weights of a model."""
        if self.adapter is not None:
            return self.adapter.weight_change()
        base = load_model(self.source, torch.device("cpu"), self.model.embed.dtype)
        pairs = zip(self.model.parameters(), base.parameters(), strict=True)
        return math.sqrt(sum(float((w.detach().cpu().double() - b.double()).square().sum()) for w, b in pairs))

    def snapshot(self, name: str, version: int) -> Weights:
        return Weights(name, version, self.adapter.snapshot() if self.adapter else LiveWeights(self.model))

    def export(self, folder: Path) -> None:
        if self.adapter is not None:
            save_adapter(self.adapter, folder, str(self.source))
        else:
            save_model(self.model, folder, self.source)
