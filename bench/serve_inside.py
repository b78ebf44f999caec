"""The same large training steps in this process, without a server: the other side of the HTTP comparison.

One line is read from standard input before each step, as its turn.
"""

import json
import sys
import time

import numpy as np

from tunesmith.core.types import AdamParams, Datum
from tunesmith.services.training_client import TrainingClient

ADAM = AdamParams(learning_rate=1e-4, weight_decay=0.0, grad_clip=0.0)


def datums(count: int, length: int) -> list[Datum]:
    """The sequences of `serve_clients.sequences`."""
    random = np.random.default_rng(0)
    drawn = [random.integers(3, 384, length + 1).astype(np.int32) for _ in range(count)]
    return [Datum(tokens=t[:-1], targets=t[1:], weights=np.ones(length, np.float32)) for t in drawn]


def main(sequence_length: int, count: int) -> None:
    client, data = TrainingClient("embedded", lora_rank=8, lora_head=True), datums(count, sequence_length)

    def step() -> float:
        began = time.perf_counter()
        client.forward_backward(data, "cross_entropy")
        client.optim_step(ADAM)
        return time.perf_counter() - began

    step()
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() == "end":
            break
        print(step(), flush=True)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
