"""The dedicated mode of Fireworks' Training SDK: a trainer job and a deployment, and snapshots loaded into it."""

from typing import Any

import fire_talk as talk
from fireworks.training.sdk import FiretitanServiceClient, types

ADAM = types.AdamParams(learning_rate=1e-3)
SEQUENCES = [[5, 6, 7, 8, 9, 10, 11], [9, 8, 7, 6]]
START = SEQUENCES[0][:3]
PARAMS = types.SamplingParams(max_tokens=6, temperature=1.0, seed=5)


def main(model: str) -> dict[str, Any]:
    service = FiretitanServiceClient.from_firetitan_config(
        base_url=talk.ROOT,
        api_key=talk.KEY,
        base_model=model,
        tokenizer_model=model,
        training_shape_id="accounts/fireworks/trainingShapes/any",
        lora_rank=8,
    )
    training = service.create_training_client(base_model=model, lora_rank=8)
    reference = service.create_reference_client(base_model=model)
    at_start = talk.score(training, SEQUENCES)
    found = {
        "job": service.trainer_job_id,
        "deployment": service.deployment_id,
        "context": service.max_context_length,
        "capable": [m.model_name for m in service.get_server_capabilities().supported_models],
        "tokenizer": training.get_tokenizer().encode("7+5"),
        "at_start": at_start,
        "of_reference": talk.score(reference, SEQUENCES),
        "losses": [step(training) for _ in range(3)],
        "trained": talk.score(training, SEQUENCES),
        "of_reference_later": talk.score(reference, SEQUENCES),
    }
    found |= loading(service, training)
    found |= saving(service, training)
    service.close()
    return found


def step(training: Any) -> float:
    loss = training.forward_backward(talk.plain_data(SEQUENCES), "cross_entropy").result().metrics["loss:sum"]
    training.optim_step(ADAM).result()
    return float(loss)


def loading(service: Any, training: Any) -> dict[str, Any]:
    """Samples of the deployment before anything is loaded, of one snapshot and of the next; and scored."""
    before = service.create_sampling_client(base_model="ignored").sample(talk.prompt(START), 1, PARAMS).result()
    first = training.save_weights_for_sampler_ext("one")
    sampler = service.create_sampling_client(model_path=first.path)
    drawn = sampler.sample(talk.prompt(START), 1, PARAMS).result().sequences[0]
    whole = START + list(drawn.tokens)
    scored = talk.score(training, [whole])[0]
    for _ in range(5):
        step(training)
    second = training.save_weights_for_sampler_ext("two")
    training.create_sampling_client(second.path)
    now = sampler.compute_logprobs(talk.prompt(whole)).result()
    return {
        "path": first.path,
        "snapshot": first.snapshot_name,
        "before": list(before.sequences[0].tokens),
        "sampled_logprobs": list(drawn.logprobs),
        "scored": scored,
        "second_logprobs": now,
        "second_scored": talk.score(training, [whole])[0],
    }


def saving(service: Any, training: Any) -> dict[str, Any]:
    saved = training.save_state("mid").result().path
    at_save = talk.score(training, SEQUENCES)
    step(training)
    after = talk.score(training, SEQUENCES)
    training.load_state_with_optimizer(saved).result()
    back = talk.score(training, SEQUENCES)
    step(training)
    crossed = training.resolve_checkpoint_path("mid", source_job_id=service.trainer_job_id)
    again = talk.score(training, SEQUENCES)
    training.load_state(crossed).result()
    listed = service.list_checkpoints(service.trainer_job_id)
    return {
        "saved": saved,
        "at_save": at_save,
        "back": back,
        "after": after,
        "again": again,
        "crossed": talk.score(training, SEQUENCES),
        "names": training.list_checkpoints(),
        "listed": [row["name"].rpartition("/")[2] for row in listed],
        "promotable": [row["promotable"] for row in listed],
        "promoted": service.promote_checkpoint(name=listed[0]["name"], **PROMOTION)["name"],
    }


PROMOTION = {"output_model_id": "mine", "base_model": "tunesmith/embedded"}


if __name__ == "__main__":
    talk.answer(main)
