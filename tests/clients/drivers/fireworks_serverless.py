"""The serverless loop of Fireworks' Training SDK: train, save, go on, sample what was saved, promote, say goodbye."""

from typing import Any

import fire_talk as talk
import torch
from fireworks.training.sdk import FiretitanServiceClient, types

ADAM = types.AdamParams(learning_rate=1e-3)
SEQUENCES = [[5, 6, 7, 8, 9, 10, 11], [9, 8, 7, 6]]


def main(model: str) -> dict[str, Any]:
    service = FiretitanServiceClient(base_url=talk.SERVERLESS, api_key=talk.KEY)
    training = service.create_lora_training_client(base_model=model, rank=8, seed=1)
    reference = service.create_base_training_client(base_model=model)
    found = {
        "session": service.training_session_id,
        "session_name": service.training_session_name,
        "run": training.run_id,
        "run_name": training.run_name,
        "info": training.get_info().model_name,
        "at_start": talk.score(training, SEQUENCES),
        "of_reference": talk.score(reference, SEQUENCES),
        "losses": [step(training) for _ in range(3)],
        "custom": custom(training),
        "trained": talk.score(training, SEQUENCES),
        "of_reference_later": talk.score(reference, SEQUENCES),
    }
    found |= saving(service, training)
    found |= sampling(service, training)
    found["refused"] = refusals(training, reference)
    service.delete_training_session()
    found["after_goodbye"] = talk.refusal(lambda: talk.score(training, SEQUENCES))
    return found


def step(training: Any, **settings: Any) -> float:
    """Both requests are on their way before either answer is read."""
    passed = training.forward_backward(talk.plain_data(SEQUENCES), "cross_entropy")
    updated = training.optim_step(ADAM, **settings)
    loss = passed.result().metrics["loss:sum"]
    updated.result()
    return float(loss)


def custom(training: Any) -> dict[str, float]:
    """A loss of the client's own: twice the mean of the squares."""

    def loss(data: Any, logprobs: list[torch.Tensor]) -> Any:
        value = 2 * torch.cat(logprobs).square().mean()
        return value, {"mine": float(value)}

    passed = training.forward_backward_custom(talk.plain_data(SEQUENCES), loss).result()
    training.optim_step(ADAM, grad_accumulation_normalization="num_sequences").result()
    return talk.numbered(passed.metrics)


def saving(service: Any, training: Any) -> dict[str, Any]:
    """A save, one more step, and the same step again: from the save, and in a client made from it."""
    saved = training.save_state("step-4").result().path
    at_save = talk.score(training, SEQUENCES)
    step(training)
    after = talk.score(training, SEQUENCES)
    training.load_state_with_optimizer("step-4").result()
    step(training)
    again = talk.score(training, SEQUENCES)
    resumed = service.create_training_client_from_state_with_optimizer(saved)
    at_resume = talk.score(resumed, SEQUENCES)
    step(resumed)
    return {
        "saved": saved,
        "at_save": at_save,
        "after": after,
        "again": again,
        "at_resume": at_resume,
        "resumed": talk.score(resumed, SEQUENCES),
        "checkpoints": training.list_checkpoints(),
    }


def sampling(service: Any, training: Any) -> dict[str, Any]:
    """Drawn from saved weights at temperature 1 and another, and scored by the trainer that saved them."""
    saved = training.save_weights_for_sampler_ext("now")
    sampler = service.create_sampling_client(model_path=saved.path)
    start = SEQUENCES[0][:3]
    params = types.SamplingParams(max_tokens=6, seed=7, temperature=1.0)
    drawn = sampler.sample(talk.prompt(start), 2, params).result()
    again = sampler.sample(talk.prompt(start), 1, params).result()
    whole = start + list(drawn.sequences[0].tokens)
    raw = sampler.deployment_sampler
    warm = run(raw.sample_with_prompt_tokens(start, n=1, max_tokens=6, temperature=0.7, seed=7, logprobs=True, top_k=5))
    echo = run(raw.sample_with_prompt_tokens(start, n=1, max_tokens=4, temperature=0.7, logprobs=True, echo=True))
    base = service.create_sampling_client(base_model="ignored")
    prompt_logprobs = sampler.compute_logprobs(talk.prompt(whole)).result()
    sampler.close()
    return {
        "sampler_path": saved.path,
        "snapshot_name": saved.snapshot_name,
        "tokens": [list(s.tokens) for s in drawn.sequences],
        "tokens_again": list(again.sequences[0].tokens),
        "stop": drawn.sequences[0].stop_reason,
        "sampled_logprobs": list(drawn.sequences[0].logprobs),
        "scored": talk.score(training, [whole])[0],
        "prompt_logprobs": prompt_logprobs,
        "warm": {"raw": warm.inference_logprobs, "sampling": warm.sampling_logprobs},
        "warm_scored": talk.score(training, [warm.full_tokens])[0],
        "echo": {"raw": echo.inference_logprobs, "length": len(echo.full_tokens)},
        "echo_scored": talk.score(training, [echo.full_tokens])[0],
        "base_drawn": len(base.sample(talk.prompt(start), 1, params).result().sequences[0].tokens),
    }


def run(coroutine: Any) -> Any:
    """The first completion of a deployment sampler's coroutine."""
    import asyncio

    return asyncio.run(coroutine)[0]


def refusals(training: Any, reference: Any) -> dict[str, str]:
    data = talk.plain_data(SEQUENCES)
    bad = [talk.datum([5, 10**6], weights=[1.0])]
    return {
        "loss": talk.refusal(lambda: training.forward_backward(data, "dppo").result()),
        "setting": talk.refusal(lambda: training.forward_backward(data, "cross_entropy", {"clip": 1.0}).result()),
        "vocabulary": talk.refusal(lambda: training.forward_backward(bad, "cross_entropy").result()),
        "reference": talk.refusal(lambda: reference.forward_backward(data, "cross_entropy").result()),
        "path": talk.refusal(lambda: training.load_state("nowhere").result()),
        "alive": talk.refusal(lambda: talk.score(training, SEQUENCES)),
    }


if __name__ == "__main__":
    talk.answer(main)
