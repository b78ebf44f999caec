"""``python -m bench.gpu``: training and decoding on a CUDA device, against what that device can do at most.

Models have the shapes of Qwen3-0.6B and Qwen3-4B and random bf16 weights made on the spot; nothing is downloaded.
"""

import asyncio
import math
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tunesmith.core.ports import Weights
from tunesmith.core.shift import sequence_to_datum
from tunesmith.core.types import AdamParams, Datum, Norm, SamplingParams
from tunesmith.models.config import DecoderConfig, parse_config
from tunesmith.models.decoder import Decoder
from tunesmith.models.lora import new_adapter
from tunesmith.rollout import LocalSampler
from tunesmith.train import LocalTrainer
from tunesmith.train.policy import Policy

COMMON = {
    "model_type": "qwen3",
    "vocab_size": 151_936,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "tie_word_embeddings": True,
    "max_position_embeddings": 32768,
    "rope_theta": 1e6,
}
SHAPES: dict[str, dict[str, Any]] = {
    "Qwen3-0.6B": COMMON
    | {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16},
    "Qwen3-4B": COMMON
    | {"hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36, "num_attention_heads": 32},
}
SEQUENCES, LENGTH = 16, 2048
PROMPT, ROWS, NEW_TOKENS = 512, 64, 128
STEPS = 5


def main() -> None:
    if not torch.cuda.is_available():
        print("no CUDA device here")
        return
    device = torch.device("cuda")
    gflops, gb_s = _limits(device)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    print(f"limits: {gflops / 1e3:.0f} TFLOP/s in bf16 8192 x 8192 x 8192, {gb_s:.0f} GB/s of memory copied")
    for name, raw in SHAPES.items():
        model = _random_decoder(parse_config(raw, name), device)
        _report_training(name, model, gflops)
        _report_decoding(name, raw, model, gb_s)
        del model
        torch.cuda.empty_cache()


def _limits(device: torch.device) -> tuple[float, float]:
    """(GFLOP/s of a large bf16 product, GB/s of a copy)."""
    a = torch.randn(8192, 8192, device=device, dtype=torch.bfloat16)
    product_s = _seconds(lambda: a @ a)
    b = torch.empty(1 << 30, device=device, dtype=torch.uint8)
    copy_s = _seconds(lambda: b.clone())
    return 2e-9 * 8192**3 / product_s, 2e-9 * b.nbytes / copy_s


def _random_decoder(config: DecoderConfig, device: torch.device) -> Decoder:
    with device:
        model = Decoder(config).to(torch.bfloat16).requires_grad_(False)
    torch.manual_seed(0)
    for weight in model.parameters():
        if weight.dim() > 1:
            weight.normal_(std=0.02)
    return model


def _report_training(name: str, model: Decoder, gflops: float) -> None:
    """LoRA on packed sequences. Counted: 4 operations per weight and token, for the base has no gradient, and
    attention's two products over half of all pairs, forward once and backward twice."""
    adapter = new_adapter(model.targets(), 8, 0, model.device)
    trainer = LocalTrainer(Policy(model, adapter, Path(), warm=False, reference=False), SEQUENCES * LENGTH)
    data = _random_data(model.config.vocab)
    norm = Norm(float(SEQUENCES * LENGTH), float(SEQUENCES))

    def step() -> None:
        trainer.forward_backward(data, "cross_entropy", norm=norm)
        trainer.optim_step(AdamParams(1e-4))

    torch.cuda.reset_peak_memory_stats()
    seconds = _seconds(step)
    tokens, weights = SEQUENCES * LENGTH, sum(p.numel() for p in model.parameters())
    config = model.config
    attention = 6 * config.layers * config.heads * config.head_dim * tokens * LENGTH
    used = (4e-9 * weights * tokens + 1e-9 * attention) / seconds / gflops
    peak = torch.cuda.max_memory_allocated() / 1e9
    print(f"{name}, LoRA step: {tokens / seconds:.0f} tokens/s, {used:.0%} of the product rate, peak {peak:.1f} GB")


def _random_data(vocab: int) -> list[Datum]:
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, vocab, LENGTH + 1).astype(np.int32) for _ in range(SEQUENCES)]
    return [sequence_to_datum(row, np.ones(LENGTH + 1, np.float32)) for row in rows]


def _report_decoding(name: str, raw: dict[str, Any], model: Decoder, gb_s: float) -> None:
    """The bound: every step reads all weights and, on average, half-grown caches once."""
    ours_s = _seconds(lambda: _sample(model), tries=2)
    peer_s = _seconds(_generate(raw, model.device), tries=2)
    config = model.config
    per_token = 2 * 2 * config.layers * config.kv_heads * config.head_dim
    read = sum(p.nbytes for p in model.parameters()) + per_token * (PROMPT + ROWS * NEW_TOKENS // 2)
    bound = ROWS / (read / (gb_s * 1e9))
    ours, peer = (ROWS * NEW_TOKENS / s for s in (ours_s, peer_s))
    print(
        f"{name}, {ROWS} completions of one prompt: {ours:.0f} tokens/s, transformers generate {peer:.0f} "
        f"({ours / peer:.1f}x), bandwidth bound {bound:.0f} ({ours / bound:.0%} reached)"
    )


def _sample(model: Decoder) -> None:
    prompt = np.arange(PROMPT, dtype=np.int32)
    sampler = LocalSampler(model, (), str, ROWS)

    async def run() -> None:
        await sampler.load(Weights("base", 0, None))
        await sampler.sample(prompt, SamplingParams(NEW_TOKENS, 1.0, 1.0, 0), ROWS)

    asyncio.run(run())


def _generate(raw: dict[str, Any], device: torch.device) -> Callable[[], Tensor]:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    with device:
        peer: Any = Qwen3ForCausalLM(Qwen3Config(**raw))
        peer = peer.to(torch.bfloat16).eval()
        prompts = torch.arange(PROMPT).expand(ROWS, -1)
    fixed = {
        "min_new_tokens": NEW_TOKENS,
        "max_new_tokens": NEW_TOKENS,
        "do_sample": True,
        "top_k": 0,
        "pad_token_id": 0,
    }

    @torch.no_grad()
    def run() -> Tensor:
        return peer.generate(prompts, attention_mask=torch.ones_like(prompts), **fixed)  # type: ignore[no-any-return]

    return run


def _seconds(work: Callable[[], object], tries: int = STEPS) -> float:
    """Median seconds, after one try to warm up."""
    times = []
    for _ in range(tries + 1):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        work()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    found = float(median(times[1:]))
    assert math.isfinite(found) and found > 0, "CUDA events measured nothing"
    return found


if __name__ == "__main__":
    main()
