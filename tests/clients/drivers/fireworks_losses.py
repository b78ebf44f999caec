"""The losses of Fireworks' wire, one step after the other; and steps whose gradient the server divides."""

from typing import Any

import fire_talk as talk
from fireworks.training.sdk import FiretitanServiceClient, types

STEP = types.AdamParams(learning_rate=1e-3)


def main(model: str, cases: list[Any], sequences: list[list[int]]) -> dict[str, Any]:
    return {"losses": losses(new(model), cases, sequences), "divided": divided(model, sequences)}


def new(model: str) -> Any:
    service = FiretitanServiceClient(base_url=talk.SERVERLESS, api_key=talk.KEY)
    return service.create_lora_training_client(base_model=model, rank=8, seed=1)


def losses(training: Any, cases: list[Any], sequences: list[list[int]]) -> dict[str, Any]:
    values = []
    for loss, settings, columns in cases:
        data = [talk.datum(s, **c) for s, c in zip(sequences, columns, strict=True)]
        passed = training.forward_backward(data, loss, settings or None).result()
        training.optim_step(types.AdamParams(learning_rate=1e-3)).result()
        values.append(passed.metrics["loss:sum"])
    return {"values": values, "scores": talk.score(training, sequences)}


def divided(model: str, sequences: list[list[int]]) -> dict[str, Any]:
    """The norm of the gradient of data sent in two parts, divided by the server or by the weights."""
    found = {}
    tokens = sum(len(s) - 1 for s in sequences)
    for name, weight in [("none", 1.0), ("num_loss_tokens", 1.0), ("num_sequences", 1.0), ("by_weights", 1 / tokens)]:
        training = new(model)
        for s in sequences:
            data = [talk.datum(s, weights=[weight] * (len(s) - 1))]
            training.forward_backward(data, "cross_entropy").result()
        normalization = None if name == "by_weights" else name
        metrics = training.optim_step(STEP, grad_accumulation_normalization=normalization).result().metrics
        found[name] = metrics["optim/grad_norm"]
    return found


if __name__ == "__main__":
    talk.answer(main)
