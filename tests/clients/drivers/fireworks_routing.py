"""Routing replay with Fireworks' SDK: experts as sampling reports them, handed back in training."""

import asyncio
import base64
from typing import Any

import fire_talk as talk
import numpy as np
from fireworks.training.sdk import FiretitanServiceClient, types
from fireworks.training.sdk.client import FiretitanSamplingParams

START = [5, 6, 7, 8]
DENSE = "tunesmith/embedded"


def main(model: str) -> dict[str, Any]:
    service = FiretitanServiceClient(base_url=talk.SERVERLESS, api_key=talk.KEY)
    training = service.create_lora_training_client(base_model=model, rank=4, seed=1)
    saved = training.save_weights_for_sampler_ext("now").path
    sampler = service.create_sampling_client(model_path=saved)
    params = FiretitanSamplingParams(max_tokens=8, temperature=1.0, seed=3, include_routing_matrix=True)
    drawn = sampler.sample(talk.prompt(START), 1, params).result().sequences[0]
    whole = START + list(drawn.tokens)
    echoed = asyncio.run(
        sampler.deployment_sampler.sample_with_prompt_tokens(
            START, n=1, max_tokens=8, temperature=1.0, seed=3, logprobs=True, echo=True, include_routing_matrix=True
        )
    )[0]
    partial = [""] * (len(START) - 1) + list(drawn.routing_matrices)
    other = [rerouted(text) for text in echoed.routing_matrices]
    dense = service.create_lora_training_client(base_model=DENSE, rank=4)
    return {
        "replays": [training.supports_router_replay, dense.supports_router_replay],
        "echoed": [echoed.full_tokens == whole, list(echoed.routing_matrices)[len(START) - 1 :] == partial[3:]],
        "lengths": [len(partial), len(echoed.routing_matrices), len(whole) - 1],
        "plain": score(training, whole, None),
        "partial": score(training, whole, partial),
        "whole": score(training, whole, list(echoed.routing_matrices)),
        "tensor": score(training, whole, None, numbers(list(echoed.routing_matrices))),
        "other": score(training, whole, other),
        "refused": {
            "length": talk.refusal(lambda: score(training, whole, partial[1:])),
            "size": talk.refusal(lambda: score(training, whole, ["AAAA"] * len(partial))),
            "dense": talk.refusal(lambda: score(dense, whole, partial)),
        },
    }


def score(training: Any, tokens: list[int], matrices: list[str] | None, routes: Any = None) -> list[float]:
    model_input = types.ModelInput.from_ints(tokens[:-1], routing_matrices=matrices)
    inputs = {"target_tokens": talk.tensor(tokens[1:], "int64"), "weights": talk.tensor([1.0] * (len(tokens) - 1))}
    if routes is not None:
        inputs["routing_matrices"] = talk.tensor(routes, "int64")
    data = [types.Datum(model_input=model_input, loss_fn_inputs=inputs)]
    return talk.logprobs(training.forward_backward(data, "cross_entropy").result())[0]


def numbers(matrices: list[str]) -> Any:
    """[T, layers, 2] expert ids."""
    return np.array([np.frombuffer(base64.b64decode(m), np.uint8) for m in matrices]).reshape(len(matrices), -1, 2)


def rerouted(text: str) -> str:
    """Every expert's id is moved up by one of five."""
    ids = np.frombuffer(base64.b64decode(text), np.uint8)
    return base64.b64encode(((ids + 1) % 5).astype(np.uint8).tobytes()).decode()


if __name__ == "__main__":
    talk.answer(main)
