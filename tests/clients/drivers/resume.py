"""Before a server dies: train, save, take the next step. After it is back: go on from the save, take the same step."""

from typing import Any

import tinker
from talk import answer, made_sequences, plain_data, policy, prompt, ready, score
from tinker import types


def main(model: str, state: str | None = None, sampler: str | None = None) -> dict[str, Any]:
    service = tinker.ServiceClient()
    sequences = made_sequences((12, 20, 7))
    if state is None or sampler is None:
        training = policy(service, model)
        for rate in (3e-3, 1e-3):
            step(training, sequences, rate)
        state = training.save_state("before").result().path
        sampler = training.save_weights_for_sampler("before").result().path
    else:
        training = ready(service.create_training_client_from_state_with_optimizer(state))
    at_save = score(training, sequences)
    metrics = step(training, sequences, 2e-3)
    served = ready(service.create_sampling_client(model_path=sampler))
    return {
        "state": state,
        "sampler": sampler,
        "at_save": at_save,
        "metrics": metrics,
        "next": score(training, sequences),
        "served": served.compute_logprobs(prompt(sequences[0])).result(),
        "run": training.model_id,
        "runs": [r.training_run_id for r in service.create_rest_client().list_training_runs().result().training_runs],
    }


def step(training: Any, sequences: list[list[int]], rate: float) -> dict[str, float]:
    training.forward_backward(plain_data(sequences), "cross_entropy").result()
    return dict(training.optim_step(types.AdamParams(learning_rate=rate)).result().metrics)


if __name__ == "__main__":
    answer(main)
