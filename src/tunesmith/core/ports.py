"""The sockets of the core. Recipes are written against these alone; engines plug in from below.

The verbs of ``Trainer`` and ``Sampler`` are the Training API: a managed job calls the same ones as a user's loop.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tunesmith.core.types import (
    PLAIN_SUM,
    AdamParams,
    Bools,
    Completion,
    Datum,
    Floats,
    Group,
    Ints,
    Metrics,
    Norm,
    Prompt,
    PromptScores,
    PromptScoring,
    Rollout,
    Row,
    SamplingParams,
    Score,
)


@dataclass(frozen=True, slots=True)
class Weights:
    """A snapshot of a policy that a sampler can serve. ``payload`` belongs to the engine that made it."""

    name: str
    version: int
    """Number of optimizer updates the policy has had."""
    payload: Any


CustomLoss = Callable[[Sequence[Datum], Sequence[Any]], tuple[Any, Metrics]]
"""(data, per datum one tensor of log-probabilities in the shape of its targets) -> (scalar loss tensor, metrics)."""


class Trainer(Protocol):
    """One policy being trained."""

    @property
    def version(self) -> int:
        """Number of optimizer updates so far."""
        ...

    def forward(self, data: Sequence[Datum], reference: bool = False, all_tokens: bool = False) -> list[Floats]:
        """The log-probabilities of every datum's targets, in their shape, without gradient.

        Positions without a weight are left out, and 0 in the result, unless ``all_tokens``. ``reference`` asks for
        the weights at job start.
        """
        ...

    def forward_backward(
        self,
        data: Sequence[Datum],
        loss: str,
        settings: Mapping[str, Any] | None = None,
        norm: Norm = PLAIN_SUM,
        all_tokens: bool = False,
    ) -> tuple[Metrics, list[Floats]]:
        """Add the gradient of a named loss; returns its metrics and the log-probabilities, as ``forward`` does.

        Data in which no token has a weight are refused, unless ``all_tokens``, which makes their gradient 0.
        """
        ...

    def forward_backward_custom(self, data: Sequence[Datum], loss: CustomLoss) -> tuple[Metrics, list[Floats]]:
        """Add the gradient of any differentiable function of the log-probabilities."""
        ...

    def optim_step(self, params: AdamParams) -> Metrics:
        """Apply the accumulated gradient and clear it."""
        ...

    def weight_change(self) -> float:
        """L2 distance of the trained weights from the base model."""
        ...

    def save_state(self, folder: Path) -> None:
        """Write weights, optimizer and accumulated gradient into a folder, ready to continue bit for bit."""
        ...

    def load_state(self, folder: Path, optimizer: bool = True) -> None:
        """Continue from ``save_state``; without ``optimizer`` from its weights alone, as if never updated."""
        ...

    def save_weights_for_sampler(self, name: str) -> Weights:
        """A snapshot to hand to ``Sampler.load``; later updates do not change it."""
        ...

    def export(self, folder: Path) -> None:
        """Write what other tools open: a PEFT adapter, or a whole model in Hugging Face format."""
        ...


class Sampler(Protocol):
    """Draws tokens from a policy."""

    @property
    def version(self) -> int:
        """Version of the weights that serve new requests."""
        ...

    async def sample(self, prompt: Ints, params: SamplingParams, n: int) -> list[Completion]:
        """n continuations of one prompt; candidate i depends on (weights, prompt, params, i) alone.

        Cancelling the task that waits gives its room to others.
        """
        ...

    async def score(self, tokens: Ints, scoring: PromptScoring) -> PromptScores:
        """What the policy says about [L] given tokens."""
        ...

    async def compute_logprobs(self, tokens: Ints) -> Floats:
        """[L] tokens -> [L] log-probabilities in nats at temperature 1; the first, which nothing predicts, is 0."""
        ...

    async def load(self, weights: Weights) -> None:
        """Serve a snapshot from now on; requests already running finish on the one they began with."""
        ...


class Form(Protocol):
    """How far one completion is in what it has to look like."""

    def allowed(self) -> Bools:
        """[V] which tokens may come next, never none; a UserError where that can't be told."""
        ...

    def take(self, token: int) -> None:
        """The next token, one of those that were allowed."""
        ...


class Grader(Protocol):
    """Judges one rollout. Raises GradingError to mark the rollout failed; never returns NaN."""

    async def __call__(self, rollout: Rollout, row: Row) -> Score: ...


class GradingError(Exception):
    """A failed grading: ``label`` is one of a few fixed words, ``detail`` is for the grader's author."""

    def __init__(self, label: str, detail: str) -> None:
        super().__init__(f"{label}: {detail}")
        self.label, self.detail = label, detail


@dataclass(frozen=True, slots=True)
class Question:
    """What a grader asks a model about one attempt."""

    model: str
    """A name, or the folder of a model or an adapter."""
    base_model: str
    """The folder of the base model below an adapter's folder; empty where the adapter says it or there is none."""
    messages: Sequence[Mapping[str, str]]
    """With ``role`` and ``content``."""
    schema: Mapping[str, Any]
    """Of the JSON that the answer has to be."""
    params: SamplingParams


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said."""

    text: str
    sampled: int
    """Tokens of the answer."""
    tokens: int
    """Of question and answer."""


class Judge(Protocol):
    """Asks models on behalf of graders. The same question, put to the same weights, has the same answer."""

    async def __call__(self, question: Question) -> Answer:
        """
        Raises:
            UserError: a question that the model can't be asked: too long for its context.
        """
        ...


class Roller(Protocol):
    """Makes attempts at a prompt and has them judged: one reply each, or whatever a user's code makes of it."""

    async def roll(self, prompt: Prompt, params: SamplingParams, n: int) -> Group:
        """n attempts, in the order of their numbers; what fails is an attempt with an error.

        Attempt i depends on (weights, prompt, params, i) alone, as far as the user's code lets it.
        """
        ...

    def grading_s(self) -> float:
        """How long the rolls so far waited for gradings alone: from the last that was asked for to its answer."""
        ...


class Renderer(Protocol):
    """Text to ids and back, by the model's own tokenizer and chat template."""

    def prompt(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = ()) -> Ints:
        """[L] ids that ask the model for the next assistant turn."""
        ...

    def conversation(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = ()
    ) -> tuple[Ints, Floats]:
        """[L] ids of a whole conversation and [L] weights: a message's weight on what the assistant wrote, else 0."""
        ...

    def decode(self, tokens: Ints) -> str:
        """The text of sampled ids, special tokens left out."""
        ...
