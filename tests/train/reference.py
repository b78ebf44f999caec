"""What the trainer must agree with, worked out another way: ``transformers`` in float64, plain autograd, one sequence
at a time, and the losses written out from their papers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from models import tiny
from torch import Tensor
from torch.nn.functional import logsigmoid

from tunesmith.core.types import Datum, Norm
from tunesmith.models.decoder import Decoder
from tunesmith.models.folder import tensors
from tunesmith.models.lora import Adapter, factors

Loss = Callable[[list[Tensor], Sequence[Datum], Norm], Tensor]
Expected = tuple[float, dict[str, Tensor]]
"""(loss, its gradient by name)."""


def oracle(folder: Path, adapter: Adapter | None) -> torch.nn.Module:
    """The model in float64, an adapter's change added into its weights."""
    model = tiny.reload(folder).double()
    model.config._experts_implementation = "eager"  # the fused kernels of experts know no float64
    weights = {n: w for name, p in model.named_parameters() for n, w in _pieces(name, p.detach())}
    for name, (a, b, scale) in _linears(adapter):
        weights[name] += scale * b.detach().double() @ a.detach().double()
    return model


def _pieces(name: str, x: Tensor) -> Iterator[tuple[str, Tensor]]:
    """``transformers`` fuses experts in memory and not on disk; these are the names on disk, with views."""
    at, _, last = name.rpartition(".")
    if last not in ("gate_up_proj", "down_proj"):
        yield name, x
        return
    for i, expert in enumerate(x):
        parts = (
            {"down_proj": expert}
            if last == "down_proj"
            else dict(zip(("gate_proj", "up_proj"), expert.chunk(2), strict=True))
        )
        yield from ((f"{at}.{i}.{part}.weight", piece) for part, piece in parts.items())


def logprobs(model: torch.nn.Module, d: Datum) -> Tensor:
    """[scored] nats at the datum's temperature."""
    logits = model(torch.from_numpy(d.tokens).long()[None], use_cache=False).logits[0]
    log_softmax = (logits / float(torch.tensor(d.temperature, dtype=torch.float32))).log_softmax(-1)
    targets = torch.from_numpy(d.targets).long()
    return log_softmax.gather(1, targets[:, None])[:, 0][torch.from_numpy(d.weights != 0)]


def gradients(folder: Path, adapter: Adapter | None, data: Sequence[Datum], loss: Loss, norm: Norm) -> Expected:
    """The loss, and its gradient by parameter of our trainer's adapter or by Hugging Face name."""
    model = oracle(folder, adapter)
    value = loss([logprobs(model, d) for d in data], data, norm)
    value.backward()
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    slopes = {n: g for name, grad in grads.items() for n, g in _pieces(name, grad)}
    return float(value.detach()), slopes if adapter is None else _of_factors(adapter, slopes)


def _of_factors(adapter: Adapter, slopes: dict[str, Tensor]) -> dict[str, Tensor]:
    """W = W0 + s B A, so dL/dA = s B^T dL/dW and dL/dB = s dL/dW A^T; shared factors get the sum of their users."""
    zeros = {
        name: replace(p, a=torch.zeros_like(p.a).double(), b=torch.zeros_like(p.b).double())
        for name, p in adapter.pairs.items()
    }
    shadow = Adapter(adapter.rank, zeros, adapter.targets)
    into = [(a, b) for _, (a, b, _) in _linears(shadow)]
    for (name, (a, b, scale)), (da, db) in zip(_linears(adapter), into, strict=True):
        if name in slopes:
            da += scale * b.detach().double().T @ slopes[name]
            db += scale * slopes[name] @ a.detach().double().T
    return dict(shadow.named_parameters())


def _linears(adapter: Adapter | None) -> Iterator[tuple[str, tuple[Tensor, Tensor, float]]]:
    """(Hugging Face name, its factors) of every plain linear under an adapter."""
    for name, pair in adapter.pairs.items() if adapter else ():
        target = adapter.targets[name]
        prefix, experts = "" if name == "head" else "model.", range(max(1, target.experts))
        names = [f"{prefix}{part.replace('*', str(e))}.weight" for e in experts for part, _ in target.parts]
        yield from zip(names, factors(pair, target), strict=True)


def by_hugging_face_name(model: Decoder, slopes: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our gradients of fused weights, cut into the pieces that ``transformers`` has."""
    carrier = Decoder(model.config).to(model.embed.dtype)
    for name, parameter in carrier.named_parameters():
        parameter.data = slopes[name]
    return {name: slope.detach() for name, slope in tensors(carrier)}


def column(d: Datum, name: str) -> Tensor:
    """[scored] float64."""
    return torch.from_numpy(getattr(d, name)[d.weights != 0]).double()


def _clipped(lp: Tensor, d: Datum, low: float, high: float) -> Tensor:
    ratio, a = (lp - column(d, "logprobs")).exp(), column(d, "advantages")
    return torch.minimum(ratio * a, ratio.clamp(low, high) * a)


def _k3(lp: Tensor, d: Datum) -> Tensor:
    gap = column(d, "ref_logprobs") - lp
    return gap.exp() - gap - 1


def grpo(lps, data, norm):
    terms = [(-_clipped(lp, d, 0.8, 1.2) + 0.001 * _k3(lp, d)).sum() for lp, d in zip(lps, data, strict=True)]
    return sum(terms) / norm.tokens


def dapo(lps, data, norm):
    return -sum(_clipped(lp, d, 0.8, 1.28).sum() for lp, d in zip(lps, data, strict=True)) / norm.tokens


def gspo_token(lps, data, norm):
    total = 0.0
    for lp, d in zip(lps, data, strict=True):
        mean = (lp.detach() - column(d, "logprobs")).mean().exp()
        ratio, a = mean * (lp - lp.detach()).exp(), column(d, "advantages")
        total = total - torch.minimum(ratio * a, ratio.clamp(1 - 3e-4, 1 + 4e-4) * a).mean() / norm.sequences
    return total


def cross_entropy(lps, data, norm):
    return -sum((lp * column(d, "weights")).sum() for lp, d in zip(lps, data, strict=True)) / norm.tokens


def importance_sampling(lps, data, norm):
    pairs = zip(lps, data, strict=True)
    return -sum(((lp - column(d, "logprobs")).exp() * column(d, "advantages")).sum() for lp, d in pairs) / norm.tokens


def ppo(lps, data, norm):
    return -sum(_clipped(lp, d, 0.8, 1.2).sum() for lp, d in zip(lps, data, strict=True)) / norm.tokens


def cispo(lps, data, norm):
    total = 0.0
    for lp, d in zip(lps, data, strict=True):
        ratio = (lp.detach() - column(d, "logprobs")).exp().clamp(0.8, 1.2)
        total = total - (ratio * column(d, "advantages") * lp).sum() / norm.tokens
    return total


def dro(lps, data, norm):
    total = 0.0
    for lp, d in zip(lps, data, strict=True):
        square = (lp - column(d, "logprobs")) ** 2
        total = total - (lp * column(d, "advantages") - 0.05 / 2 * square).sum() / norm.tokens
    return total


def gspo(lps, data, norm):
    total = 0.0
    for lp, d in zip(lps, data, strict=True):
        mean = (lp.detach() - column(d, "logprobs")).mean().exp()
        ratio, a = mean * (lp - lp.detach()).exp(), column(d, "advantages")
        total = total - torch.minimum(ratio * a, ratio.clamp(0.8, 1.2) * a).sum() / norm.tokens
    return total


def dpo(lps, data, norm):
    margins = [(lp - column(d, "ref_logprobs")).sum() for lp, d in zip(lps, data, strict=True)]
    return (
        -sum(logsigmoid(0.1 * (better - worse)) for better, worse in zip(margins[::2], margins[1::2], strict=True))
        / norm.sequences
    )


def orpo(lps, data, norm):
    means = [lp.mean() for lp in lps]
    odds = [m - torch.log1p(-m.exp()) for m in means]
    terms = [-mw - 0.1 * logsigmoid(ow - ol) for mw, ow, ol in zip(means[::2], odds[::2], odds[1::2], strict=True)]
    return sum(terms) / norm.sequences
