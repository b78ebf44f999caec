"""The trainer: gradients of a named or custom loss over packed passes, and one optimizer. All paths end here."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tunesmith.core.errors import JobStopped, UserError
from tunesmith.core.ports import CustomLoss, Weights
from tunesmith.core.types import PLAIN_SUM, AdamParams, Datum, Floats, Metrics, Norm
from tunesmith.losses import LossInputs, loss_named, sequences_together
from tunesmith.models.moe import check_routes
from tunesmith.train.adamw import AdamW
from tunesmith.train.checks import check_loss, check_shapes
from tunesmith.train.memory import is_out_of_memory
from tunesmith.train.pack import Pack, pack, passes
from tunesmith.train.policy import Policy

GRADIENTS = "gradients.safetensors"
"""Of a saved state: what was accumulated and not yet applied; absent when there was nothing."""
PassLoss = Callable[[LossInputs], tuple[Tensor, dict[str, Tensor]]]
"""One pass's (scalar to differentiate, detached metrics)."""


class LocalTrainer:
    """One policy, trained in this process. Gradients add up until ``optim_step``."""

    def __init__(self, policy: Policy, tokens_per_pass: int) -> None:
        """``tokens_per_pass``, beside a prompt, bounds memory only: any value gives the same gradient."""
        self.policy, self.tokens_per_pass = policy, tokens_per_pass
        self.parameters = policy.parameters()
        if not self.parameters:
            raise UserError(
                "trainer", "nothing to train: 0 trainable parameters", "Set lora_rank, or 0 for all weights"
            )
        self.optimizer = AdamW(self.parameters)
        self._version = 0

    @property
    def version(self) -> int:
        return self._version

    def forward(self, data: Sequence[Datum], reference: bool = False, all_tokens: bool = False) -> list[Floats]:
        """Log-probabilities of every datum's targets, in their shape, without gradient.

        Raises:
            UserError: columns that do not fit the tokens, ids that the model has not.
        """
        check_shapes(data, self.policy.model.config.vocab)
        with torch.no_grad():
            return self._run(data, None, reference=reference, all_tokens=all_tokens)[1]

    def forward_backward(
        self,
        data: Sequence[Datum],
        loss: str,
        settings: Mapping[str, Any] | None = None,
        norm: Norm = PLAIN_SUM,
        all_tokens: bool = False,
    ) -> tuple[Metrics, list[Floats]]:
        """Add the gradient of a named loss; log-probabilities are those of weighted tokens, or of all.

        Raises:
            UserError: columns that do not fit the tokens, ids that the model has not; whatever ``check_loss`` refuses.
        """
        function, settings = loss_named(loss), settings or {}
        check_shapes(data, self.policy.model.config.vocab)
        check_loss(data, loss, settings, all_tokens)

        def named(x: LossInputs) -> tuple[Tensor, dict[str, Tensor]]:
            out = function(x, norm, **settings)
            return out.loss, {f"loss/{loss}": out.loss.detach(), **out.metrics}

        return self._run(data, named, all_tokens=all_tokens, unit=sequences_together(loss))

    def forward_backward_custom(self, data: Sequence[Datum], loss: CustomLoss) -> tuple[Metrics, list[Floats]]:
        """Add the gradient of any function of the log-probabilities.

        By the chain rule dL/dw = sum_t (dL/dlogp_t) dlogp_t/dw, so the second pass is ``cross_entropy`` with
        weights -dL/dlogp_t.
        """
        logprobs = self.forward(data, all_tokens=True)
        leaves = [torch.from_numpy(x).requires_grad_() for x in logprobs]
        value, metrics = loss(data, leaves)
        if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
            raise UserError("custom loss", "did not return a differentiable scalar", "Return (loss tensor, metrics)")
        value.backward()
        slopes = [np.zeros_like(x) if t.grad is None else t.grad.numpy() for x, t in zip(logprobs, leaves, strict=True)]
        weighted = [replace(d, weights=-s) for d, s in zip(data, slopes, strict=True)]
        self.forward_backward(weighted, "cross_entropy")
        return {"loss/custom": float(value.detach()), **metrics}, logprobs

    def optim_step(self, params: AdamParams) -> Metrics:
        """Clip the accumulated gradient, apply AdamW, clear it; the first update is checked to have changed weights."""
        tensors = list(self.parameters.values())
        if all(t.grad is None for t in tensors):
            raise UserError("optim_step", "there is no gradient", "Call forward_backward first")
        norm = torch.nn.utils.clip_grad_norm_(tensors, params.grad_clip or torch.inf)
        if not torch.isfinite(norm):
            raise JobStopped("optim_step", f"the gradient's norm is {float(norm)}", "Lower learning_rate and resume")
        before = [t.detach().clone() for t in tensors] if self._version == 0 else None
        self.optimizer.step(params)
        for tensor in tensors:
            tensor.grad = None
        self._version += 1
        if before is not None and norm > 0 and params.learning_rate > 0:
            _check_moved(before, tensors)
        return {"optim/grad_norm": float(norm), "optim/learning_rate": params.learning_rate}

    def weight_change(self) -> float:
        return self.policy.weight_change()

    def save_state(self, folder: Path) -> None:
        """Weights, AdamW moments, the gradient so far and the update count, as safetensors and JSON."""
        folder.mkdir(parents=True, exist_ok=True)
        moments = {key: value.cpu() for key, value in self.optimizer.state().items()}
        save_file(
            {n: t.detach().cpu().contiguous() for n, t in self.parameters.items()}, folder / "weights.safetensors"
        )
        save_file(moments, folder / "optimizer.safetensors")
        gradients = {n: t.grad.cpu().contiguous() for n, t in self.parameters.items() if t.grad is not None}
        if gradients:
            save_file(gradients, folder / GRADIENTS)
        else:
            (folder / GRADIENTS).unlink(missing_ok=True)  # of an older state: it would be restored with this one
        (folder / "trainer.json").write_text(json.dumps({"version": self._version}))

    def load_state(self, folder: Path, optimizer: bool = True) -> None:
        """Continue bit for bit from ``save_state``, in the middle of a step too; weights of other names or shapes are
        refused. Without ``optimizer`` only the weights are taken: no moments, no gradient, version 0."""
        weights = load_file(folder / "weights.safetensors")
        shapes = {name: tuple(t.shape) for name, t in self.parameters.items()}
        if shapes != {name: tuple(t.shape) for name, t in weights.items()}:
            raise UserError(str(folder), "holds other weights than this job trains", "Resume with the run's own spec")
        with torch.no_grad():
            for name, tensor in self.parameters.items():
                tensor.copy_(weights[name])
                tensor.grad = None
        self.optimizer.clear()
        self._version = 0
        if optimizer:
            self._load_step(folder)

    def _load_step(self, folder: Path) -> None:
        """Where in training the weights of a state were."""
        self.optimizer.load(load_file(folder / "optimizer.safetensors"))
        if (folder / GRADIENTS).is_file():
            for name, gradient in load_file(folder / GRADIENTS).items():
                self.parameters[name].grad = gradient.to(self.parameters[name].device)
        self._version = json.loads((folder / "trainer.json").read_text())["version"]

    def save_weights_for_sampler(self, name: str) -> Weights:
        return self.policy.snapshot(name, self._version)

    def export(self, folder: Path) -> None:
        self.policy.export(folder)

    def _run(
        self,
        data: Sequence[Datum],
        loss: PassLoss | None,
        *,
        reference: bool = False,
        all_tokens: bool = False,
        unit: int = 1,
    ) -> tuple[Metrics, list[Floats]]:
        """All passes over data, splitting one that does not fit into memory; metrics add up over passes."""
        for i, d in enumerate(data):
            if d.routing is not None:
                check_routes(f"datum {i}", d.routing, len(d.tokens), self.policy.model.config)
        totals: dict[str, Tensor] = {}
        logprobs = [np.zeros(d.targets.shape, np.float32) for d in data]
        queue = passes(data, self.tokens_per_pass, unit)
        packed_tokens = splits = 0
        while queue:
            members = queue.pop(0)
            p = pack([data[i] for i in members], self.policy.model.device, all_tokens)
            try:
                scored, metrics = self._pass(p, len(members), loss, reference)
            except (RuntimeError, MemoryError) as e:
                if not is_out_of_memory(e):
                    raise
                queue[:0] = _halves(members, unit)
                splits += 1
                continue
            packed_tokens += len(p.tokens)
            for name, value in metrics.items():
                totals[name] = totals[name] + value if name in totals else value
            for i, places, values in zip(members, p.places, _split(scored, p), strict=True):
                logprobs[i][places] = _in_shape(values, logprobs[i])
        out = {name: float(value) for name, value in totals.items()}
        return out | {"train/packed_tokens": float(packed_tokens), "train/oom_splits": float(splits)}, logprobs

    def _pass(
        self, p: Pack, sequences: int, loss: PassLoss | None, reference: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One forward, and backward where there is a loss; the gradient is added whole or, on failure, not at all."""
        logprobs = self.policy.logprobs(p, reference)
        if loss is None:
            return logprobs, {}
        columns = {"old_logprobs" if name == "logprobs" else name: c for name, c in p.columns.items()}
        value, metrics = loss(LossInputs(logprobs, p.weights, p.segment, sequences, **columns))
        tensors = list(self.parameters.values())
        gradients = torch.autograd.grad(value, tensors, allow_unused=True)
        for tensor, gradient in zip(tensors, gradients, strict=True):
            if gradient is not None:
                tensor.grad = gradient if tensor.grad is None else tensor.grad.add_(gradient)
        return logprobs.detach(), metrics


def _in_shape(values: Floats, datum: Floats) -> Floats:
    """[n] or [n, K] of a pass -> the columns that a datum's own targets have."""
    if values.ndim == datum.ndim == 1:
        return values
    return values[:, 0] if datum.ndim == 1 else values[:, : datum.shape[1]]


def _check_moved(before: Sequence[Tensor], after: Sequence[Tensor]) -> None:
    if all(torch.equal(b, a.detach()) for b, a in zip(before, after, strict=True)):
        raise JobStopped("optim_step", "the first update changed no weight", "Raise learning_rate")


def _halves(members: list[int], unit: int) -> list[list[int]]:
    """Two smaller passes, or the refusal when there is nothing left to part."""
    middle = (len(members) // unit // 2) * unit
    if middle == 0:
        raise JobStopped("trainer", "out of memory on a single sequence", "Lower max_context_length or lora_rank")
    return [members[:middle], members[middle:]]


def _split(scored: Tensor, p: Pack) -> list[Floats]:
    values = scored.float().cpu().numpy()
    ends = np.cumsum([len(x) for x in p.places])
    return np.split(values, ends[:-1])
