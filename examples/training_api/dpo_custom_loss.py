"""Preferences with a loss of one's own: DPO in torch, on this side of the wire; the server gets its gradient."""

import json
import random
from typing import Any

import tinker
import torch
from sums import MODEL, Sum, answer, datum, logprobs, question, solved, split, working

STEPS, PAIRS, BETA = 12, 16, 0.1
ADAM = tinker.AdamParams(learning_rate=4e-4)


def main() -> None:
    service = tinker.ServiceClient()
    training = service.create_lora_training_client(base_model=MODEL, rank=8, seed=0).result()
    tokenizer = training.get_tokenizer()
    shown, held_out = split()

    def pairs(sums: list[Sum]) -> list[tinker.Datum]:
        """For every sum the answer with the carry, then the one without."""
        return [
            datum(question(tokenizer, a, b), answer(tokenizer, working(a, b, carry)), weights=1.0)
            for a, b in sums
            for carry in (True, False)
        ]

    def summed(data: list[tinker.Datum]) -> torch.Tensor:
        """[2 x pairs] log-probability of every answer under the policy as it is."""
        rows = logprobs(training.forward(data, "cross_entropy").result())
        return torch.tensor(
            [float(row @ d.loss_fn_inputs["weights"].to_numpy()) for row, d in zip(rows, data, strict=True)]
        )

    def margin() -> float:
        """How much more than the reference the policy prefers the better answer, in nats."""
        gains = summed(measured) - reference
        return float((gains[0::2] - gains[1::2]).mean())

    measured = pairs(held_out)
    # A new adapter changes nothing yet, so the policy is its own reference; draw every batch now and score it once.
    reference = summed(measured)
    choose = random.Random(1)
    batches = [pairs(choose.sample(shown, PAIRS)) for _ in range(STEPS)]
    references = [summed(batch) for batch in batches]
    before = {
        "margin": margin(),
        "solved": solved(training.save_weights_and_get_sampling_client().result(), tokenizer, held_out),
    }
    for step, (batch, frozen) in enumerate(zip(batches, references, strict=True), 1):

        def dpo(data: list[tinker.Datum], lp: list[torch.Tensor], frozen: torch.Tensor = frozen) -> tuple[Any, Any]:
            """- mean ln sigmoid(beta * margin)."""
            weights = [d.loss_fn_inputs["weights"].to_torch() for d in data]
            gains = torch.stack([(x * w).sum() for x, w in zip(lp, weights, strict=True)]) - frozen
            loss = -torch.nn.functional.logsigmoid(BETA * (gains[0::2] - gains[1::2])).mean()
            return loss, {"dpo": loss.item()}

        passed, updated = training.forward_backward_custom(batch, dpo), training.optim_step(ADAM)
        updated.result()
        print(f"step {step}: {passed.result().metrics['dpo']:.4f}")
    after = {
        "margin": margin(),
        "solved": solved(training.save_weights_and_get_sampling_client().result(), tokenizer, held_out),
    }
    print(json.dumps({"before": before, "after": after}))


if __name__ == "__main__":
    main()
