"""Every case of ``formulas`` through the SDK: its value, and whether the gradient by hand cancels the server's."""

from typing import Any

import numpy as np
import tinker
from formulas import CASES, Case, evaluate, made_columns
from talk import answer, datum, descend, gradient_norm, logprobs, made_sequences, plain_data, policy, score

LENGTHS = (9, 17, 33, 5)


def main(model: str) -> dict[str, Any]:
    service = tinker.ServiceClient()
    training = policy(service, model)
    sequences = made_sequences(LENGTHS)
    warm_up(training, sequences)
    lp = [x.astype(np.float64) for x in score(training, sequences)]
    return {
        "cases": {name: examine(training, case, sequences, lp) for name, case in CASES.items()},
        "descent": descent(training, sequences),
    }


def warm_up(training: Any, sequences: list[list[int]]) -> None:
    """One real update, after which both factors of the adapter are far from zero and have gradients."""
    training.forward_backward(plain_data(sequences), "cross_entropy").result()
    training.optim_step(tinker.AdamParams(learning_rate=1e-2)).result()


def examine(training: Any, case: Case, sequences: list[list[int]], lp: list[Any]) -> dict[str, float]:
    columns = made_columns(case, lp)
    data = [datum(tokens, x) for tokens, x in zip(sequences, columns, strict=True)]
    settings = dict(case.settings) or None
    passed = training.forward_backward(data, case.loss, settings).result()
    alone = gradient_norm(training)
    expected, gradients = evaluate(case, lp, columns)
    # cross_entropy with weights w adds -w to the gradient at every log-probability, so w = +dL/dlp takes L's away.
    opposite = [datum(tokens, {"weights": g}) for tokens, g in zip(sequences, gradients, strict=True)]
    training.forward_backward(data, case.loss, settings).result()
    training.forward_backward(opposite, "cross_entropy").result()
    return {
        "loss": passed.metrics["loss:sum"],
        "expected": expected,
        "logprobs_off": max(float(np.abs(a - b).max()) for a, b in zip(logprobs(passed), lp, strict=True)),
        "gradient_norm": alone,
        "left_over": gradient_norm(training),
    }


def descent(training: Any, sequences: list[list[int]]) -> dict[str, float]:
    """A short step down cross_entropy: to first order the loss falls by rate * |g|^2, if g is its gradient."""
    before = training.forward_backward(plain_data(sequences), "cross_entropy").result().metrics["loss:sum"]
    norm = gradient_norm(training)
    rate = 1e-3 * before / norm**2
    training.forward_backward(plain_data(sequences), "cross_entropy").result()
    descend(training, rate)
    after = training.forward(plain_data(sequences), "cross_entropy").result().metrics["loss:sum"]
    return {"fell": before - after, "expected": rate * norm**2}


if __name__ == "__main__":
    answer(main)
