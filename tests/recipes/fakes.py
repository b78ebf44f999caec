"""The sockets of the core, played by small classes that note what they are asked for, and jobs made of them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tunesmith.core.ports import GradingError, Weights
from tunesmith.core.types import Completion, Prompt, Rollout, Row, SamplingParams, Score
from tunesmith.recipes import rft
from tunesmith.rollout.collect import SingleTurn
from tunesmith.spec import RftSpec


@dataclass
class FakeTrainer:
    """A policy that gives every token -1 nat, 0.1 less after each update, the reference -1.5, and notes its calls."""

    version: int = 0
    calls: list[tuple[str, Any]] = field(default_factory=list)

    def forward(self, data, reference=False, all_tokens=False):
        self.calls.append(("reference" if reference else "forward", len(data)))
        return [np.where(d.weights != 0, -1.5 if reference else -1.0, 0).astype(np.float32) for d in data]

    def forward_backward(self, data, loss, settings=None, norm=None):
        self.calls.append(("forward_backward", (list(data), loss, settings, norm)))
        metrics = {f"loss/{loss}": 0.25, "train/packed_tokens": float(sum(len(d.tokens) for d in data))}
        nats = -1 - 0.1 * self.version
        return metrics, [np.where(d.weights != 0, nats, 0).astype(np.float32) for d in data]

    def optim_step(self, params):
        self.calls.append(("optim_step", params))
        self.version += 1
        return {"optim/grad_norm": 1.0, "optim/learning_rate": params.learning_rate}

    def weight_change(self):
        return 0.5

    def save_weights_for_sampler(self, name):
        self.calls.append(("publish", name))
        return Weights(name, self.version, None)

    def named(self, name: str) -> list[Any]:
        return [what for call, what in self.calls if call == name]


@dataclass
class FakeSampler:
    """Answers candidate i of any prompt with the token i + 1, at the trainer's nats, and notes what it is asked for."""

    version: int = 0
    asked: list[tuple[tuple[int, ...], SamplingParams, int]] = field(default_factory=list)
    loaded: list[Weights] = field(default_factory=list)

    async def sample(self, prompt, params, n):
        self.asked.append((tuple(prompt.tolist()), params, n))
        return [self._completion(i) for i in range(n)]

    def _completion(self, i: int) -> Completion:
        tokens, nats = np.array([i + 1], np.int32), np.array([-1 - 0.1 * self.version], np.float32)
        return Completion(tokens, nats, nats, "stop", self.version)

    async def compute_logprobs(self, tokens):
        return np.zeros(len(tokens), np.float32)

    async def load(self, weights):
        self.loaded.append(weights)
        self.version = weights.version


Rule = Callable[[str, Row], float | str]
"""(text, row) -> reward, or what went wrong."""


@dataclass
class FakeGrader:
    """Rewards by a rule of the answer's text; a str is a failure."""

    rule: Rule

    async def __call__(self, rollout: Rollout, row: Row) -> Score:
        found = self.rule(rollout.text, row)
        if isinstance(found, str):
            label, _, detail = found.partition(": ")
            raise GradingError(label, detail)
        return Score(found, {"length": float(len(rollout.text))})


class FakeRenderer:
    """Ids are their own text."""

    def prompt(self, messages, tools=()):
        return np.array([len(str(m)) for m in messages], np.int32)

    def conversation(self, messages, tools=()):
        tokens = self.prompt(messages)
        return tokens, np.ones(len(tokens), np.float32)

    def decode(self, tokens):
        return " ".join(map(str, tokens.tolist()))


def prompts(count: int, start: int = 100) -> list[Prompt]:
    return [Prompt(f"p{i}", {"n": i}, np.array([start + i, 3], np.int32)) for i in range(count)]


def rft_job(rule: Rule, rows: int = 4, heldout: int = 0, **settings: Any) -> rft.RftJob:
    """An RFT job of fakes; its spec is {dataset, evaluator} and ``settings``."""
    spec = RftSpec(**{"dataset": "rows.jsonl", "evaluator": "fake", "limits": "off", **settings})
    sampler, trainer = FakeSampler(), FakeTrainer()
    held = prompts(heldout, start=200)
    roller = SingleTurn(sampler, FakeGrader(rule), FakeRenderer().decode)
    return rft.RftJob(spec, prompts(rows), held, sampler, trainer, roller)


async def reports(steps) -> list[Any]:
    return [report async for report in steps]


def by_candidate(*rewards: float | str) -> Rule:
    """The reward of candidate i, whatever the prompt."""
    return lambda text, row: rewards[int(text) - 1]


def close(a: Mapping[str, float], b: Mapping[str, float]) -> bool:
    return a.keys() == b.keys() and all(math.isclose(a[n], b[n], rel_tol=1e-12) for n in a)


def tokens_of(data: Sequence[Any]) -> list[list[int]]:
    return [d.tokens.tolist() for d in data]
