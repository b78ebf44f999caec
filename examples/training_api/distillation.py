"""Distillation: a teacher that was taught to carry, and a student that learns the teacher's likeliest tokens."""

import json
import random
from typing import Any

import numpy as np
import tinker
from sums import MODEL, Sum, answer, datum, draw, logprobs, question, solved, split, working
from tinker import types

LESSONS, STEPS, BATCH, TOP = 14, 12, 24, 8
ADAM = tinker.AdamParams(learning_rate=2e-3)


def taught(service: tinker.ServiceClient, sums: list[Sum]) -> tuple[tinker.SamplingClient, Any]:
    """(sampler of a policy that carries, tokenizer)."""
    training = service.create_lora_training_client(base_model=MODEL, rank=16, seed=1).result()
    tokenizer, choose = training.get_tokenizer(), random.Random(2)
    for _ in range(LESSONS):
        pairs = choose.sample(sums, BATCH)
        batch = [datum(question(tokenizer, *p), answer(tokenizer, working(*p)), weights=1.0) for p in pairs]
        passed, updated = training.forward_backward(batch, "cross_entropy"), training.optim_step(ADAM)
        passed.result(), updated.result()
    return training.save_weights_and_get_sampling_client().result(), tokenizer


def lesson(teacher: tinker.SamplingClient, tokenizer: Any, sums: list[Sum]) -> list[tinker.Datum]:
    """The teacher's own answers; at each of their tokens its TOP likeliest, weighted by their probabilities."""
    prompts = [question(tokenizer, a, b) for a, b in sums]
    data = []
    for prompt, [reply] in zip(prompts, draw(teacher, prompts, 1, likeliest=TOP, seed=0), strict=True):
        tokens, start = [*prompt, *reply.tokens[:-1]], len(prompt) - 1
        targets = np.zeros((len(tokens), TOP), np.int64)
        weights = np.zeros((len(tokens), TOP), np.float32)  # 0 at the prompt
        targets[start:], weights[start:] = reply.topk_logprobs_np.token_ids, np.exp(reply.topk_logprobs_np.logprobs)
        columns = {"target_tokens": targets, "weights": weights}
        tensors = {name: types.TensorData.from_numpy(column) for name, column in columns.items()}
        data.append(types.Datum(model_input=types.ModelInput.from_ints(tokens), loss_fn_inputs=tensors))
    return data


def main() -> None:
    service = tinker.ServiceClient()
    shown, held_out = split()
    teacher, tokenizer = taught(service, shown)
    student = service.create_lora_training_client(base_model=MODEL, rank=4, seed=0).result()
    exam = lesson(teacher, tokenizer, held_out)

    def distance() -> float:
        """Sum of p ln(p / q) over the teacher's likeliest tokens, in nats per token of its answers."""
        q = logprobs(student.forward(exam, "cross_entropy").result())
        p = [d.loss_fn_inputs["weights"].to_numpy().reshape(-1, TOP) for d in exam]
        total = sum(float((w * (np.log(np.maximum(w, 1e-30)) - lp)).sum()) for w, lp in zip(p, q, strict=True))
        return total / sum(int((w.sum(1) > 0).sum()) for w in p)

    before, choose = distance(), random.Random(3)
    for step in range(1, STEPS + 1):
        batch = lesson(teacher, tokenizer, choose.sample(shown, BATCH))
        passed, updated = student.forward_backward(batch, "cross_entropy"), student.optim_step(ADAM)
        updated.result()
        print(f"step {step}: {passed.result().metrics['loss:sum'] / BATCH:.3f}")
    reached = solved(student.save_weights_and_get_sampling_client().result(), tokenizer, held_out)
    goal = solved(teacher, tokenizer, held_out)
    print(json.dumps({"before": before, "after": distance(), "solved": reached, "teacher": goal}))


if __name__ == "__main__":
    main()
