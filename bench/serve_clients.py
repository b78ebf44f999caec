"""The clients of the serving benchmark, with the real Tinker SDK: runs in the SDK's environment, not in Tunesmith's.

`python bench/serve_clients.py <measurement> <settings as JSON>` prints one line of JSON; the server is the one that
TINKER_BASE_URL names.
"""

import asyncio
import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Awaitable
from statistics import median
from typing import Any

import numpy as np
import tinker
from tinker import types

MODEL = "tunesmith/embedded"
RANKS = (4, 8, 16, 32)
LIMIT_S = 120.0
"""A request that takes longer counts as lost."""
ADAM = types.AdamParams(learning_rate=1e-4)


def sequences(count: int, length: int, seed: int = 0) -> list[Any]:
    """Datums of cross_entropy over random ids."""
    random = np.random.default_rng(seed)
    data = []
    for _ in range(count):
        tokens = random.integers(3, 384, length + 1).tolist()
        weights = types.TensorData(data=[1.0] * length, dtype="float32", shape=[length])
        targets = types.TensorData(data=tokens[1:], dtype="int64", shape=[length])
        inputs = {"target_tokens": targets, "weights": weights}
        data.append(types.Datum(model_input=types.ModelInput.from_ints(tokens[:-1]), loss_fn_inputs=inputs))
    return data


async def policy(rank: int) -> Any:
    """A policy in a session of its own."""
    return await tinker.ServiceClient().create_lora_training_client(base_model=MODEL, rank=rank, seed=rank)


async def step(training: Any, data: list[Any]) -> None:
    """Both requests on their way before either answer is waited for, as good loops do."""
    passed = training.forward_backward(data, "cross_entropy")
    updated = training.optim_step(ADAM)
    await passed
    await updated


class Load:
    """Clients that go on until the time is up, and what became of their requests."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds
        self.counts: Counter[str] = Counter()
        self.errors: list[str] = []
        self.waits: list[float] = []

    async def asked(self, kind: str, request: Awaitable[Any]) -> Any:
        """The result, or None for a request that failed or was lost."""
        began = time.monotonic()
        try:
            result = await asyncio.wait_for(asyncio.ensure_future(request), LIMIT_S)
        except Exception as e:  # every kind of failure is what is counted here
            self.errors.append(f"{kind}: {type(e).__name__}: {e}"[:300])
            return None
        self.counts[kind] += 1
        if kind == "sample":
            self.waits.append(time.monotonic() - began)
        return result

    async def sample(self, number: int) -> None:
        sampler = await tinker.ServiceClient().create_sampling_client(base_model=MODEL)
        prompt = types.ModelInput.from_ints([1, *range(100, 130 + number % 20)])
        while time.monotonic() < self.end:
            params = types.SamplingParams(max_tokens=32, temperature=1.0, stop=[])
            found = await self.asked("sample", _result(sampler.sample(prompt, 1, params)))
            if found is not None:
                self.counts["sampled tokens"] += len(found.sequences[0].tokens)

    async def train(self, number: int) -> None:
        """Train, and now and then publish the weights and sample from them."""
        training, data = await policy(RANKS[number % len(RANKS)]), sequences(8, 63, seed=number)
        steps = 0
        while time.monotonic() < self.end:
            await self.asked("step", step(training, data))
            self.counts["trained tokens"] += 8 * 63
            steps += 1
            if steps % 5 == 0:
                await self.asked("publish", self.publish(training))

    async def publish(self, training: Any) -> None:
        sampler = await training.save_weights_and_get_sampling_client()
        await sampler.sample(types.ModelInput.from_ints([1, 2, 3]), 1, types.SamplingParams(max_tokens=4))


async def _result(future: Any) -> Any:
    return await future


async def load(seconds: float, samplers: int = 64, trainers: int = 8) -> dict[str, Any]:
    """Many clients of both kinds at once."""
    run = Load(seconds)
    began = time.monotonic()
    await asyncio.gather(*(run.sample(i) for i in range(samplers)), *(run.train(i) for i in range(trainers)))
    took = time.monotonic() - began
    waits = sorted(run.waits)
    return {
        "seconds": took,
        "counts": dict(run.counts),
        "errors": run.errors[:10],
        "num_errors": len(run.errors),
        "wait_median_s": median(waits),
        "wait_most_s": waits[-1],
    }


async def side_by_side(rounds: int) -> dict[str, Any]:
    """Tokens per second of one adapter and of four of different rank, in turns; what happens to all happens to both."""
    data = sequences(16, 127)
    policies = [await policy(rank) for rank in RANKS]
    for training in policies:
        await step(training, data)
    alone, together = [], []
    for turn in range(rounds):
        began = time.monotonic()
        for _ in range(4):
            await step(policies[turn % len(policies)], data)
        alone.append(time.monotonic() - began)
        began = time.monotonic()
        await asyncio.gather(*(step(training, data) for training in policies))
        together.append(time.monotonic() - began)
    tokens = 4 * 16 * 127
    return {"alone": tokens / median(alone), "together": tokens / median(together)}


async def large_steps(sequence_length: int, count: int) -> dict[str, Any]:
    """Seconds of training steps of many tokens; one line is read from standard input before each, as its turn."""
    training, data = await policy(8), sequences(count, sequence_length)
    await step(training, data)
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() == "end":
            break
        began = time.perf_counter()
        await step(training, data)
        print(time.perf_counter() - began, flush=True)
    return {}


async def publish(times: int) -> dict[str, Any]:
    """Milliseconds from asking to publish until a sampler serves the new weights, while another client samples."""
    training, data = await policy(8), sequences(4, 63)
    live = Load(1e9)
    sampling = asyncio.create_task(live.sample(0))
    took = []
    for _ in range(times):
        await step(training, data)
        began = time.perf_counter()
        await training.save_weights_and_get_sampling_client()
        took.append(1000 * (time.perf_counter() - began))
    live.end = 0.0
    await sampling
    return {"median_ms": median(took), "most_ms": max(took), "errors": live.errors, "sampled": live.counts["sample"]}


MEASUREMENTS = {f.__name__: f for f in (load, side_by_side, large_steps, publish)}

if __name__ == "__main__":
    logging.disable(logging.WARNING)
    print(json.dumps(asyncio.run(MEASUREMENTS[sys.argv[1]](**json.loads(sys.argv[2])))), flush=True)
