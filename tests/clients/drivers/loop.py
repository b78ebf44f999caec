"""The whole loop with whichever SDK is installed: train, sample, save, go on from the save, look at the lists."""

from importlib.metadata import version
from typing import Any

import tinker
from talk import answer, made_sequences, plain_data, policy, prompt, ready, score
from tinker import types

ADAM = types.AdamParams(learning_rate=1e-3)
STEPS = 3
PROMPT = [5, 6, 7, 8]


def main(model: str) -> dict[str, Any]:
    service = tinker.ServiceClient()
    capabilities = service.get_server_capabilities()
    training = policy(service, model)
    sequences = made_sequences((12, 20))
    losses = [step(training, sequences) for _ in range(STEPS)]
    state = training.save_state("loop").result().path
    resumed = ready(service.create_training_client_from_state_with_optimizer(state))
    weights_only = ready(service.create_training_client_from_state(state))
    return {
        "version": version("tinker"),
        "models": [m.model_name for m in capabilities.supported_models],
        "losses": losses,
        "info": training.get_info().model_data.model_name,
        "tokenizer": training.get_tokenizer().encode("7+5"),
        "state": state,
        "at_save": score(training, sequences),
        "at_resume": score(resumed, sequences),
        "weights_only": score(weights_only, sequences),
        "next_of_first": after_step(training, sequences),
        "next_of_resumed": after_step(resumed, sequences),
        "next_of_weights_only": after_step(weights_only, sequences),
        **sampling(service, training),
        **lists(service, training, state),
    }


def step(training: Any, sequences: list[list[int]]) -> float:
    """Both requests are on their way before either answer is read."""
    passed = training.forward_backward(plain_data(sequences), "cross_entropy")
    updated = training.optim_step(ADAM)
    loss = passed.result().metrics["loss:sum"]
    updated.result()
    return loss


def after_step(training: Any, sequences: list[list[int]]) -> Any:
    step(training, sequences)
    return score(training, sequences)


def sampling(service: Any, training: Any) -> dict[str, Any]:
    """Samples of an unnamed snapshot and of named sampler weights, and how both score what the trainer scores."""
    params = types.SamplingParams(max_tokens=8, seed=3, temperature=0.9)
    snapshot = ready(training.save_weights_and_get_sampling_client())
    saved = training.save_weights_for_sampler("loop-sampler").result().path
    named = ready(service.create_sampling_client(model_path=saved))
    first, again = (s.sample(prompt(PROMPT), num_samples=2, sampling_params=params).result() for s in (snapshot, named))
    tokens = [*PROMPT, *first.sequences[0].tokens]
    return {
        "samples": [s.tokens for s in first.sequences],
        "samples_of_named": [s.tokens for s in again.sequences],
        "sampled_logprobs": first.sequences[0].logprobs,
        "trainer_logprobs": score(training, [tokens])[0],
        "sampler_logprobs": named.compute_logprobs(prompt(tokens)).result(),
        "base_model": ready(service.create_sampling_client(base_model=training.get_info().model_data.model_name))
        .sample(prompt(PROMPT), num_samples=1, sampling_params=params)
        .result()
        .sequences[0]
        .stop_reason,
        "sampler": saved,
    }


def lists(service: Any, training: Any, state: str) -> dict[str, Any]:
    """What the REST client knows of this run."""
    rest = service.create_rest_client()
    run = rest.get_training_run(training.model_id).result()
    return {
        "run": {"id": run.training_run_id, "base_model": run.base_model, "lora_rank": run.lora_rank},
        "runs": [r.training_run_id for r in rest.list_training_runs().result().training_runs],
        "checkpoints": [c.tinker_path for c in rest.list_checkpoints(training.model_id).result().checkpoints],
        "all_checkpoints": [c.tinker_path for c in rest.list_user_checkpoints().result().checkpoints],
        "weights_info": rest.get_weights_info_by_tinker_path(state).result().lora_rank,
        "sessions": len(rest.list_sessions().result().sessions),
        "model_id": training.model_id,
    }


if __name__ == "__main__":
    answer(main)
