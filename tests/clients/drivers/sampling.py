"""What sampling promises: seeds, greedy, stops, log-probabilities of prompts, alternatives and named targets."""

from typing import Any

import numpy as np
import tinker
from talk import answer, made_sequences, plain_data, policy, prompt, ready, score, tensor
from tinker import types
from verbs import csr

END = 2
"""The embedded model's own stop id."""
QUESTION = "<|im_start|>user\nWhat is 27 + 45?<|im_end|>\n<|im_start|>assistant\n"


def main(model: str) -> dict[str, Any]:
    service = tinker.ServiceClient()
    training = policy(service, model, seed=2)
    training.forward_backward(plain_data(made_sequences((40,))), "cross_entropy").result()
    training.optim_step(types.AdamParams(learning_rate=1e-3)).result()
    sampler = ready(training.save_weights_and_get_sampling_client())
    question = sampler.get_tokenizer().encode(QUESTION)
    return {
        "question": question,
        "seeds": seeds(sampler, question),
        "stops": stops(sampler, question),
        "prompt": scored_prompt(sampler, training, question),
        "alternatives": alternatives(sampler, question),
    }


def draw(sampler: Any, tokens: list[int], n: int = 1, **params: Any) -> list[Any]:
    settings = types.SamplingParams(**{"max_tokens": 24, "temperature": 1.0} | params)
    return list(sampler.sample(prompt(tokens), n, settings).result().sequences)


def seeds(sampler: Any, question: list[int]) -> dict[str, Any]:
    return {
        "same": [[s.tokens for s in draw(sampler, question, 4, seed=5, temperature=2.0)] for _ in range(2)],
        "other": [s.tokens for s in draw(sampler, question, 4, seed=6, temperature=2.0)],
        "none": [[s.tokens for s in draw(sampler, question, 4, temperature=2.0)] for _ in range(2)],
        "greedy": [s.tokens for seed in (1, 2) for s in draw(sampler, question, 2, seed=seed, temperature=0.0)],
        "top_1": [s.tokens for s in draw(sampler, question, 2, seed=9, top_k=1)],
        "tiny_top_p": [s.tokens for s in draw(sampler, question, 2, seed=9, top_p=1e-6)],
        "ids": [s.sequence_id for s in draw(sampler, question, 3)],
    }


def stops(sampler: Any, question: list[int]) -> dict[str, Any]:
    """Greedy text under every kind of stop; ``free`` goes past the model's own end."""
    tokenizer = sampler.get_tokenizer()
    free = draw(sampler, question, temperature=0.0, stop=[], max_tokens=40)[0]
    comma = tokenizer.encode(",")[0]
    kinds = {
        "default": None,
        "string": "=12",
        "strings": ["nothing like it", ", "],
        "ids": [comma],
        "never": [],
        "length": [383],
    }
    found: dict[str, Any] = {}
    for name, stop in kinds.items():
        tokens = {"length": 5, "never": 40}.get(name, 40)
        given = {} if stop is None else {"stop": stop}
        drawn = draw(sampler, question, temperature=0.0, max_tokens=tokens, **given)[0]
        found[name] = {"tokens": drawn.tokens, "reason": drawn.stop_reason, "text": tokenizer.decode(drawn.tokens)}
    return {"end": END, "comma": comma, "free": free.tokens, **found}


def scored_prompt(sampler: Any, training: Any, question: list[int]) -> dict[str, Any]:
    """Log-probabilities of a prompt, whole and in part, of its likeliest ids and of named ones."""
    last, width = 4, 2
    params = types.SamplingParams(max_tokens=1)
    random = np.random.default_rng(1)
    ids = random.integers(3, 384, (len(question) - 1, width))
    ids[:, 0] = question[1:]
    named = sampler.sample(
        prompt(question),
        1,
        params,
        include_prompt_logprobs=True,
        topk_prompt_logprobs=3,
        target_prompt_logprobs=tensor(ids, "int64"),
    ).result()
    partial = sampler.sample(
        prompt(question), 1, params, include_prompt_logprobs=True, prompt_logprobs_last_n=last
    ).result()
    few = ids * (random.random(ids.shape) < 0.2)
    sparse = sampler.sample(prompt(question), 1, params, target_prompt_logprobs=csr(few, "int64")).result()
    return {
        "trainer": score(training, [question])[0],
        "whole": sampler.compute_logprobs(prompt(question)).result(),
        "last": sampler.compute_logprobs(prompt(question), prompt_logprobs_last_n=last).result(),
        "last_sampled": partial.prompt_logprobs,
        "top": named.topk_prompt_logprobs,
        "targets": named.target_prompt_logprobs.tolist(),
        "sparse": {
            "rows": sparse.target_prompt_logprobs.sparse_crow_indices,
            "columns": sparse.target_prompt_logprobs.sparse_col_indices,
            "values": sparse.target_prompt_logprobs.data,
        },
    }


def alternatives(sampler: Any, question: list[int]) -> dict[str, Any]:
    """The likeliest tokens beside each sampled one, and draws beside each of the prompt."""
    params = types.SamplingParams(max_tokens=6, temperature=0.5, seed=4)
    drawn = sampler.sample(prompt(question), 1, params, topk_sample_logprobs=4, prompt_alt_tokens_k=5).result()
    sequence = drawn.sequences[0]
    return {
        "tokens": sequence.tokens,
        "logprobs": sequence.logprobs,
        "top": sequence.topk_logprobs,
        "prompt_tokens": drawn.prompt_alt_tokens.tokens.tolist(),
        "prompt_logprobs": drawn.prompt_alt_tokens.logprobs.tolist(),
    }


if __name__ == "__main__":
    answer(main)
