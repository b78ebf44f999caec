"""Supervised training: the model is shown sums with the carry written down, and carries on sums it was not shown."""

import json
import random

import tinker
from sums import MODEL, answer, datum, question, solved, split, working

STEPS, BATCH = 16, 32
ADAM = tinker.AdamParams(learning_rate=2e-3)


def main() -> None:
    service = tinker.ServiceClient()
    training = service.create_lora_training_client(base_model=MODEL, rank=8, seed=0).result()
    tokenizer = training.get_tokenizer()
    shown, held_out = split()

    def example(a: int, b: int) -> tinker.Datum:
        return datum(question(tokenizer, a, b), answer(tokenizer, working(a, b)), weights=1.0)

    def nll() -> float:
        """Nats per held-out token; nothing is trained by it."""
        data = [example(a, b) for a, b in held_out]
        tokens = sum(sum(d.loss_fn_inputs["weights"].data) for d in data)
        return float(training.forward(data, "cross_entropy").result().metrics["loss:sum"] / tokens)

    before = {
        "nll": nll(),
        "solved": solved(training.save_weights_and_get_sampling_client().result(), tokenizer, held_out),
    }
    draw = random.Random(1)
    for step in range(1, STEPS + 1):
        batch = [example(a, b) for a, b in draw.sample(shown, BATCH)]
        # The update is on its way before the answer of the pass is read.
        passed, updated = training.forward_backward(batch, "cross_entropy"), training.optim_step(ADAM)
        updated.result()
        print(f"step {step}: loss {passed.result().metrics['loss:sum'] / BATCH:.3f} nats per answer")
    after = {
        "nll": nll(),
        "solved": solved(training.save_weights_and_get_sampling_client().result(), tokenizer, held_out),
    }
    kept = training.save_state("done").result().path
    print(json.dumps({"before": before, "after": after, "checkpoint": kept}))


if __name__ == "__main__":
    main()
