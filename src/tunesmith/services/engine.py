"""The compute of one process: model, policy, trainer, sampler built from a spec; the one place that picks devices."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.utils.deterministic

from tunesmith.core.errors import UserError
from tunesmith.core.ports import Weights
from tunesmith.core.seeds import seed_of
from tunesmith.models.chat import ChatRenderer, load_renderer
from tunesmith.models.decoder import Decoder
from tunesmith.models.folder import load_model
from tunesmith.models.lora import ALPHA, Adapter, new_adapter
from tunesmith.models.peft_format import load_adapter
from tunesmith.rollout import LocalSampler
from tunesmith.services import names
from tunesmith.spec import DpoSpec, RftSpec, TrainSpec
from tunesmith.train import LocalTrainer
from tunesmith.train.policy import Policy

TOKENS_PER_PASS = {"cpu": 1024, "cuda": 32768}
"""Packed tokens, beside a prompt, that one forward and backward holds in memory; results do not depend on it."""
SMALL_MODEL = 30_000_000
"""Parameters below which one CPU thread is faster than several, whose hand-over costs more than it saves."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A policy that can be trained and sampled in this process."""

    renderer: ChatRenderer
    trainer: LocalTrainer
    sampler: LocalSampler
    model: Decoder


@dataclass(frozen=True, slots=True)
class SamplingEngine:
    """Weights that are sampled and never trained."""

    renderer: ChatRenderer
    sampler: LocalSampler
    model: Decoder


def sampling_engine(base: Path, adapter: Path | None, max_rows: int) -> SamplingEngine:
    """A base model, with the adapter in a folder on it, to sample from."""
    where = device()
    model = load_model(base, where, torch.bfloat16 if where.type == "cuda" else torch.float32)
    prepare_torch(sum(p.numel() for p in model.parameters()))
    renderer = load_renderer(base)
    weights = Weights("base", 0, None if adapter is None else load_adapter(adapter, model).snapshot())
    return SamplingEngine(
        renderer, LocalSampler(model, renderer.stop_ids, renderer.decode, max_rows, weights=weights), model
    )


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def prepare_torch(parameters: int) -> None:
    """Same bits every time, and no more threads than help."""
    on_gpu = device().type == "cuda"
    # Of the two ways to ask, the one that does not import torch's compiler, which takes seconds.
    torch.set_deterministic_debug_mode("warn" if on_gpu else "error")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if not on_gpu and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1 if parameters < SMALL_MODEL else os.cpu_count() or 1)


def build_engine(
    base: Path,
    *,
    lora_rank: int,
    lora_alpha: float = ALPHA,
    lora_head: bool = False,
    seed: int = 0,
    warm_start: Path | None = None,
    reference: bool = False,
    max_rows: int = 96,
) -> Engine:
    """Load a base model and put a policy on it.

    Args:
        lora_rank: 0 trains all weights, in float32; adapters train in float32 beside a bf16 base on a GPU.
        reference: the weights at job start will be asked for.
        max_rows: rollouts in flight.
    """
    where = device()
    dtype = torch.bfloat16 if where.type == "cuda" and lora_rank else torch.float32
    model = load_model(base, where, dtype)
    prepare_torch(sum(p.numel() for p in model.parameters()))
    renderer = load_renderer(base)
    adapter = None
    if lora_rank and warm_start is not None:
        adapter = load_adapter(warm_start, model, lora_alpha)
        _same_shape(adapter, model, lora_rank, lora_head, warm_start)
    elif lora_rank:
        adapter = new_adapter(model.targets(lora_head), lora_rank, seed_of(seed, "adapter"), where, lora_alpha)
    policy = Policy(model, adapter, base, warm=warm_start is not None, reference=reference)
    sampler = LocalSampler(model, renderer.stop_ids, renderer.decode, max_rows)
    return Engine(renderer, LocalTrainer(policy, TOKENS_PER_PASS[where.type]), sampler, model)


def _same_shape(adapter: Adapter, model: Decoder, rank: int, head: bool, folder: Path) -> None:
    """Refuse settings that the adapter to start from would override."""
    if adapter.rank != rank:
        raise UserError(str(folder), f"has rank {adapter.rank}, lora_rank is {rank}", f"Set lora_rank: {adapter.rank}")
    if ("head" in adapter.pairs) != head:
        has = "adapts" if not head else "does not adapt"
        raise UserError(str(folder), f"{has} the head, lora_head is {head}", f"Set lora_head: {not head}")
    if missing := sorted({t.name for t in model.targets(head)} - set(adapter.pairs)):
        problem = f"adapts only some linear layers, not {missing[0]}"
        raise UserError(str(folder), problem, "Start from an adapter of all of them: a job trains them all")


def engine_of(spec: TrainSpec) -> Engine:
    """The engine that a job's spec asks for."""
    base = names.base_model(spec.base_model)
    warm = None if spec.warm_start_from is None else names.adapter_folder(spec.warm_start_from)
    reference = (isinstance(spec, RftSpec) and spec.loss().kl_coef > 0) or (
        isinstance(spec, DpoSpec) and spec.preference_loss == "dpo"
    )
    return build_engine(
        base,
        lora_rank=spec.lora_rank,
        lora_alpha=spec.lora_alpha,
        lora_head=spec.lora_head,
        seed=spec.seed,
        warm_start=warm,
        reference=reference,
        max_rows=spec.concurrency() if isinstance(spec, RftSpec) else 96,
    )
