"""What the training verbs promise: sums that may be split, forward without a trace, snapshots, losses of your own."""

from typing import Any

import numpy as np
import tinker
from talk import (
    answer,
    datum,
    descend,
    gradient_norm,
    logprobs,
    made_sequences,
    plain_data,
    policy,
    prompt,
    ready,
    score,
    tensor,
)
from tinker import types

RATE = 3e-3
SEED = 11
PROMPT = [1, 40, 50, 60, 70]


def main(model: str) -> dict[str, Any]:
    service = tinker.ServiceClient()
    sequences = made_sequences((6, 30, 11, 17, 8, 25, 14, 9), seed=3)
    return {
        "split": split(service, model, sequences),
        "chunks": chunks(service, model),
        "forward_only": forward_only(service, model, sequences),
        "wide": wide(service, model, sequences[0]),
        "custom": custom(service, model, sequences[:3]),
        "snapshot": snapshot(service, model, sequences[:2]),
        "mismatch": mismatch(service, model),
        "adam": adam(service, model, sequences[:2]),
        "refused": refused(service, model, sequences[0]),
    }


def split(service: Any, model: str, sequences: list[list[int]]) -> dict[str, Any]:
    """One pass of eight, two of four and eight of one, each followed by the same step."""
    parts = {"8": [sequences], "2 x 4": [sequences[:4], sequences[4:]], "8 x 1": [[s] for s in sequences]}
    return {name: trained(service, model, batches, sequences) for name, batches in parts.items()}


def trained(service: Any, model: str, batches: list[list[list[int]]], sequences: list[list[int]]) -> dict[str, Any]:
    training = policy(service, model, seed=SEED)
    passes = [training.forward_backward(plain_data(batch, 0.01), "cross_entropy") for batch in batches]
    loss = sum(p.result().metrics["loss:sum"] for p in passes)
    return {
        "loss": loss,
        "norm": descend(training, RATE)["optim/grad_norm"],
        "logprobs": flat(score(training, sequences)),
    }


def chunks(service: Any, model: str) -> dict[str, Any]:
    """More datums than the SDK sends in one request, which come back as one result in their order."""
    training, kinds = policy(service, model, seed=SEED), made_sequences((3, 4, 5, 6, 7), seed=9)
    alone = score(training, kinds)
    passed = training.forward_backward(plain_data(kinds * 220), "cross_entropy").result()
    together = logprobs(passed)
    off = [
        np.abs(x - alone[i % len(kinds)]).max() if len(x) == len(alone[i % len(kinds)]) else 9
        for i, x in enumerate(together)
    ]
    return {
        "datums": len(together),
        "most_off": float(max(off)),
        "loss": passed.metrics["loss:sum"],
        "expected": -220 * float(flat(alone).sum()),
    }


def flat(arrays: Any) -> Any:
    return np.concatenate(arrays)


def forward_only(service: Any, model: str, sequences: list[list[int]]) -> dict[str, Any]:
    """The same step with and without forwards before, between and after."""
    with_forwards, without = (policy(service, model, seed=SEED) for _ in range(2))
    for training in (with_forwards, without):
        for _ in range(2):
            if training is with_forwards:
                training.forward(plain_data(sequences, 50.0), "cross_entropy").result()
            training.forward_backward(plain_data(sequences), "cross_entropy").result()
        if training is with_forwards:
            training.forward(plain_data(sequences, -50.0), "cross_entropy").result()
        training.optim_step(types.AdamParams(learning_rate=1e-3)).result()
    untouched = policy(service, model, seed=SEED)
    untouched.forward(plain_data(sequences), "cross_entropy").result()
    return {
        "with": flat(score(with_forwards, sequences)),
        "without": flat(score(without, sequences)),
        "step_after_forward": said(untouched.optim_step(types.AdamParams())),
    }


def said(future: Any) -> str:
    """What a request that is turned down is told."""
    try:
        future.result()
    except (tinker.APIStatusError, tinker.RequestFailedError, ValueError) as e:
        return str(e)
    return ""


def wide(service: Any, model: str, tokens: list[int]) -> dict[str, Any]:
    """K targets at every position, dense and sparse, against one target at a time."""
    training, count, width = policy(service, model, seed=SEED), len(tokens) - 1, 3
    random = np.random.default_rng(5)
    ids, weights = random.integers(3, 384, (count, width)), random.normal(size=(count, width)).astype(np.float32)
    weights[random.random((count, width)) < 0.6] = 0
    dense = types.Datum(
        model_input=prompt(tokens[:-1]),
        loss_fn_inputs={"target_tokens": tensor(ids, "int64"), "weights": tensor(weights, "float32")},
    )
    sparse = types.Datum(
        model_input=prompt(tokens[:-1]),
        loss_fn_inputs={
            "target_tokens": csr(ids * (weights != 0), "int64"),
            "weights": csr(weights, "float32"),
        },
    )
    columns = [
        types.Datum(
            model_input=prompt(tokens[:-1]),
            loss_fn_inputs={"target_tokens": tensor(ids[:, k], "int64"), "weights": tensor(weights[:, k], "float32")},
        )
        for k in range(width)
    ]
    results = {}
    for name, data in {"dense": [dense], "sparse": [sparse], "columns": columns}.items():
        passed = training.forward_backward(data, "cross_entropy").result()
        results[name] = {"loss": passed.metrics["loss:sum"], "norm": gradient_norm(training)}
        if name != "sparse":
            results[name]["logprobs"] = np.stack(logprobs(passed), -1).reshape(count, width)
    return results


def csr(values: Any, dtype: str) -> Any:
    """A matrix as the SDK's sparse tensor: the cells that are not 0, row by row."""
    array = np.asarray(values, dtype=dtype)
    rows, columns = np.nonzero(array)
    crow = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(array)))])
    return types.TensorData(
        data=array[rows, columns].tolist(),
        dtype=dtype,
        shape=list(array.shape),
        sparse_crow_indices=crow.tolist(),
        sparse_col_indices=columns.tolist(),
    )


def custom(service: Any, model: str, sequences: list[list[int]]) -> dict[str, Any]:
    """A loss of the user's own that equals a named one has its gradient; a traced one as well."""
    training = policy(service, model, seed=SEED)

    def negative_sum(data: Any, logprobs: Any) -> Any:
        loss = -sum(x.sum() for x in logprobs)
        return loss, {"mine": float(loss.detach())}

    def traced_sum(logprobs: Any, weights: Any) -> Any:
        loss = -(logprobs * weights).sum()
        return loss, {"custom/traced:sum": loss}

    handle = service.create_custom_loss(traced_sum, input_ranks={"logprobs": 1, "weights": 1}).result()
    data = plain_data(sequences)
    named = training.forward_backward(data, "cross_entropy").result().metrics
    norms = {"named": gradient_norm(training)}
    own = training.forward_backward_custom(data, negative_sum).result().metrics
    norms["own"] = gradient_norm(training)
    traced = training.forward_backward_custom(data, handle).result().metrics
    norms["traced"] = gradient_norm(training)
    return {"norms": norms, "named": dict(named), "own": dict(own), "traced": dict(traced)}


def snapshot(service: Any, model: str, sequences: list[list[int]]) -> dict[str, Any]:
    """A snapshot keeps its weights while training goes on; a new one has the new weights."""
    training = policy(service, model, seed=SEED)
    tokens = [*PROMPT, *sequences[0]]
    old = ready(training.save_weights_and_get_sampling_client())
    before = old.compute_logprobs(prompt(tokens)).result()
    for _ in range(3):
        training.forward_backward(plain_data(sequences), "cross_entropy").result()
        training.optim_step(types.AdamParams(learning_rate=1e-2)).result()
    new = ready(training.save_weights_and_get_sampling_client())
    params = types.SamplingParams(max_tokens=6, seed=1, temperature=1.0)
    return {
        "before": before,
        "after": old.compute_logprobs(prompt(tokens)).result(),
        "new": new.compute_logprobs(prompt(tokens)).result(),
        "trainer": score(training, [tokens])[0],
        "samples": [c.sample(prompt(PROMPT), 1, params).result().sequences[0].tokens for c in (old, new, old)],
    }


def mismatch(service: Any, model: str) -> dict[str, float]:
    """kl_sample_train_v2 as the cookbook has it, of samples drawn and trained on at once."""
    training = policy(service, model, seed=SEED)
    training.forward_backward(plain_data(made_sequences((20,))), "cross_entropy").result()
    training.optim_step(types.AdamParams(learning_rate=1e-2)).result()
    sampler = ready(training.save_weights_and_get_sampling_client())
    params = types.SamplingParams(max_tokens=32, temperature=1.0, seed=2, stop=[])
    sampled = sampler.sample(prompt(PROMPT), 8, params).result().sequences
    data = [datum([*PROMPT, *s.tokens], rollout_columns(s)) for s in sampled]
    passed = training.forward_backward(data, "importance_sampling").result()
    gaps = [x[len(PROMPT) - 1 :] - np.asarray(s.logprobs) for x, s in zip(logprobs(passed), sampled, strict=True)]
    return {"tokens": sum(g.size for g in gaps), "kl_v2": float(0.5 * (np.concatenate(gaps) ** 2).mean())}


def rollout_columns(sampled: Any) -> dict[str, Any]:
    """q and A of one sample, 0 on the prompt."""
    before = np.zeros(len(PROMPT) - 1)
    return {
        "logprobs": np.concatenate([before, sampled.logprobs]),
        "advantages": np.concatenate([before, np.ones(len(sampled.logprobs))]),
    }


def adam(service: Any, model: str, sequences: list[list[int]]) -> dict[str, Any]:
    """How far one step moves under different settings of the optimizer."""
    choices = {
        "small": types.AdamParams(learning_rate=1e-4),
        "large": types.AdamParams(learning_rate=1e-3),
        "clipped": types.AdamParams(learning_rate=1e-3 * 1e6, eps=1e6, grad_clip_norm=0.5),
        "clipped more": types.AdamParams(learning_rate=1e-3 * 1e6, eps=1e6, grad_clip_norm=0.25),
    }
    moved = {}
    for name, params in choices.items():
        training = policy(service, model, seed=SEED)
        start = flat(score(training, sequences))
        training.forward_backward(plain_data(sequences), "cross_entropy").result()
        training.optim_step(params).result()
        moved[name] = float(np.abs(flat(score(training, sequences)) - start).mean())
    return moved


def refused(service: Any, model: str, tokens: list[int]) -> dict[str, Any]:
    """A request the server turns down, in words, and the next one of the same client."""
    training = policy(service, model, seed=SEED)
    beyond = datum([*tokens, 384], {"weights": np.ones(len(tokens))})
    words = said(training.forward_backward([beyond], "cross_entropy"))
    after = training.forward_backward(plain_data([tokens]), "cross_entropy").result().metrics["loss:sum"]
    return {"words": words, "loss_after": after, "norm_after": gradient_norm(training)}


if __name__ == "__main__":
    answer(main)
