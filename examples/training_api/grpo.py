"""Reinforcement learning from scratch: groups of answers, the reward of each against its group's mean, PPO's loss."""

import json
import random
from statistics import fmean, stdev

import tinker
from sums import MODEL, datum, draw, question, reward, solved, split

STEPS, QUESTIONS, ANSWERS = 8, 12, 12
ADAM = tinker.AdamParams(learning_rate=2e-3)


def advantages(rewards: list[float]) -> list[float]:
    """How much better than its group each answer is, in standard deviations."""
    return [(r - fmean(rewards)) / (stdev(rewards) + 1e-8) for r in rewards]


def main() -> None:
    service = tinker.ServiceClient()
    training = service.create_lora_training_client(base_model=MODEL, rank=8, seed=0).result()
    tokenizer = training.get_tokenizer()
    asked, held_out = split()
    choose = random.Random(1)
    sampler = training.save_weights_and_get_sampling_client().result()
    before = solved(sampler, tokenizer, held_out)
    rewards_by_step = []
    for step in range(1, STEPS + 1):
        sums = choose.sample(asked, QUESTIONS)
        prompts = [question(tokenizer, a, b) for a, b in sums]
        data: list[tinker.Datum] = []
        rewards: list[float] = []
        for (a, b), prompt, group in zip(sums, prompts, draw(sampler, prompts, ANSWERS, seed=step), strict=True):
            scores = [reward(tokenizer.decode(x.tokens, skip_special_tokens=True), a, b) for x in group]
            rewards += scores
            if max(scores) == min(scores):  # nothing to tell them apart by
                continue
            # The ids that were sampled, with the log-probabilities under which they were.
            data += [
                datum(prompt, x.tokens, logprobs=x.logprobs, advantages=advantage)
                for x, advantage in zip(group, advantages(scores), strict=True)
            ]
        rewards_by_step.append(fmean(rewards))
        print(f"step {step}: reward {rewards_by_step[-1]:.3f}, {len(data)} answers teach")
        # Two updates on the same answers: in the second the ratios differ from 1, and ppo clips them.
        for _ in range(2 if data else 0):
            passed, updated = training.forward_backward(data, "ppo"), training.optim_step(ADAM)
            passed.result(), updated.result()
        sampler = training.save_weights_and_get_sampling_client().result()
    after = solved(sampler, tokenizer, held_out)
    print(json.dumps({"before": before, "after": after, "rewards": rewards_by_step}))


if __name__ == "__main__":
    main()
