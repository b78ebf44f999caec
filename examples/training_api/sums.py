"""What the examples share: sums, which the embedded model gets wrong where it has to carry, as questions and data."""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import tinker
from tinker import types

MODEL = "tunesmith/embedded"
Sum = tuple[int, int]


def split(held_out: int = 64) -> tuple[list[Sum], list[Sum]]:
    """(to train on, to measure with): sums whose ones add up to ten or more, none in both, always the same."""
    pairs = [(a, b) for a in range(10, 100) for b in range(a, 100) if a % 10 + b % 10 >= 10]
    random.Random(0).shuffle(pairs)
    return pairs[held_out:], pairs[:held_out]


def working(a: int, b: int, carry: bool = True) -> str:
    """How the model writes a sum down: 7+5=12, 2+4+1=7: 72; without the carry 7+5=12, 2+4=6: 62."""
    ones, tens = a % 10 + b % 10, a // 10 + b // 10 + carry
    return f"{a % 10}+{b % 10}={ones}, {a // 10}+{b // 10}{'+1' * carry}={tens}: {tens}{ones % 10}"


def reward(text: str, a: int, b: int) -> float:
    """1 for the right sum, read after the last colon."""
    return float(text.rpartition(":")[2].strip() == str(a + b))


def question(tokenizer: Any, a: int, b: int) -> list[int]:
    """The ids of the question in the model's own chat format, up to where its answer begins."""
    messages = [{"role": "user", "content": f"What is {a} + {b}?"}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return list(tokenizer.encode(text))


def answer(tokenizer: Any, text: str) -> list[int]:
    """The ids of an answer, the end of the turn among them: it is trained too."""
    return [*tokenizer.encode(text), tokenizer.eos_token_id]


def datum(prompt: Sequence[int], reply: Sequence[int], **columns: Any) -> types.Datum:
    """One sequence, shifted by one token. A column has a number for every token of the reply; the prompt gets zeros."""
    tokens = [*prompt, *reply]
    inputs = {"target_tokens": types.TensorData.from_numpy(np.array(tokens[1:], np.int64))}
    for name, values in columns.items():
        column = np.zeros(len(tokens) - 1, np.float32)
        column[len(prompt) - 1 :] = values
        inputs[name] = types.TensorData.from_numpy(column)
    return types.Datum(model_input=types.ModelInput.from_ints(tokens[:-1]), loss_fn_inputs=inputs)


def logprobs(output: types.ForwardBackwardOutput) -> list[Any]:
    """[T] or [T, K] log-probabilities of the targets of every datum of a pass."""
    return [np.array(o["logprobs"].data, np.float32).reshape(o["logprobs"].shape) for o in output.loss_fn_outputs]


def draw(
    sampler: tinker.SamplingClient, prompts: Sequence[list[int]], n: int, likeliest: int = 0, **settings: Any
) -> list[Any]:
    """n completions of every prompt, with so many likeliest tokens at each of theirs.

    All requests are on their way before the first answer is read.
    """
    params = types.SamplingParams(max_tokens=32, **settings)
    futures = [
        sampler.sample(types.ModelInput.from_ints(prompt), n, params, topk_sample_logprobs=likeliest)
        for prompt in prompts
    ]
    return [future.result().sequences for future in futures]


def solved(sampler: tinker.SamplingClient, tokenizer: Any, sums: Sequence[Sum]) -> float:
    """The share of sums that the likeliest answer gets right."""
    replies = draw(sampler, [question(tokenizer, a, b) for a, b in sums], 1, temperature=0.0)
    texts = [tokenizer.decode(reply[0].tokens, skip_special_tokens=True) for reply in replies]
    return float(np.mean([reward(text, a, b) for text, (a, b) in zip(texts, sums, strict=True)]))
