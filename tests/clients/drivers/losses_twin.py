"""The same steps as fireworks_losses, through Tinker's SDK."""

from typing import Any

import tinker
from talk import answer, datum, policy, score
from tinker import types


def main(model: str, cases: list[Any], sequences: list[list[int]]) -> dict[str, Any]:
    training = policy(tinker.ServiceClient(), model, rank=8, seed=1)
    values = []
    for loss, settings, columns in cases:
        data = [datum(s, c) for s, c in zip(sequences, columns, strict=True)]
        passed = training.forward_backward(data, loss, settings or None).result()
        training.optim_step(types.AdamParams(learning_rate=1e-3)).result()
        values.append(passed.metrics["loss:sum"])
    return {"values": values, "scores": score(training, sequences)}


if __name__ == "__main__":
    answer(main)
