"""The Training API's verbs in this process: write the loop yourself, with any loss, on the trainer that jobs use."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tunesmith.core.ports import CustomLoss, Weights
from tunesmith.core.types import PLAIN_SUM, AdamParams, Completion, Datum, Floats, Ints, Metrics, Norm, SamplingParams
from tunesmith.models.chat import ChatRenderer
from tunesmith.services import names
from tunesmith.services.engine import build_engine


class TrainingClient:
    """One policy and its sampler.

    Example:
        client = TrainingClient("embedded", lora_rank=8)
        client.forward_backward(data, "cross_entropy")
        client.optim_step(AdamParams(learning_rate=1e-4))
        client.save_weights_for_sampler("step-1")
        client.sample([{"role": "user", "content": "What is 27 + 45?"}], SamplingParams(max_tokens=16), n=4)
    """

    def __init__(
        self,
        base_model: str = "embedded",
        *,
        lora_rank: int = 8,
        lora_head: bool = False,
        seed: int = 0,
        warm_start_from: str | None = None,
        reference: bool = False,
    ) -> None:
        """
        Args:
            base_model: `embedded`, a model folder, or the folder of a full-parameter run.
            lora_rank: 0 trains all parameters.
            warm_start_from: adapter or run folder to go on from.
            reference: keep the weights at start, for ``forward(reference=True)``; adapters always have them.
        """
        warm = None if warm_start_from is None else names.adapter_folder(warm_start_from)
        self._engine = build_engine(
            names.base_model(base_model),
            lora_rank=lora_rank,
            lora_head=lora_head,
            seed=seed,
            warm_start=warm,
            reference=reference,
        )
        self.save_weights_for_sampler("start")

    @property
    def renderer(self) -> ChatRenderer:
        """Messages to ids and back, by the model's own template."""
        return self._engine.renderer

    @property
    def version(self) -> int:
        """Optimizer updates so far."""
        return self._engine.trainer.version

    def forward(self, data: Sequence[Datum], reference: bool = False, all_tokens: bool = False) -> list[Floats]:
        """Log-probabilities of every datum's targets, where weights are not 0 or everywhere; no gradient."""
        return self._engine.trainer.forward(data, reference, all_tokens)

    def forward_backward(
        self,
        data: Sequence[Datum],
        loss: str,
        settings: Mapping[str, Any] | None = None,
        norm: Norm = PLAIN_SUM,
        all_tokens: bool = False,
    ) -> tuple[Metrics, list[Floats]]:
        """Add the gradient of a loss of ``tunesmith.losses.LOSSES``; a plain sum unless ``norm`` divides it.

        ``all_tokens`` returns log-probabilities where weights are 0 too, and takes data without any weight.
        """
        return self._engine.trainer.forward_backward(data, loss, settings, norm, all_tokens)

    def forward_backward_custom(self, data: Sequence[Datum], loss: CustomLoss) -> tuple[Metrics, list[Floats]]:
        """Add the gradient of your own function: (data, one tensor of log-probabilities each) -> (scalar, metrics)."""
        return self._engine.trainer.forward_backward_custom(data, loss)

    def optim_step(self, params: AdamParams) -> Metrics:
        """Clip, update, clear. What is sampled changes only with ``save_weights_for_sampler``."""
        return self._engine.trainer.optim_step(params)

    def save_state(self, folder: str | Path) -> None:
        """Weights, optimizer and the gradient so far, to go on from bit for bit."""
        self._engine.trainer.save_state(Path(folder))

    def load_state(self, folder: str | Path, optimizer: bool = True) -> None:
        """Go on from ``save_state``; without ``optimizer`` from its weights alone, with fresh moments."""
        self._engine.trainer.load_state(Path(folder), optimizer)

    def save_weights_for_sampler(self, name: str) -> Weights:
        """Publish the weights as they are now: ``sample`` and ``compute_logprobs`` use them from here on."""
        weights = self._engine.trainer.save_weights_for_sampler(name)
        asyncio.run(self._engine.sampler.load(weights))
        return weights

    def export(self, folder: str | Path) -> None:
        """Write a PEFT adapter, or a whole model in Hugging Face format."""
        self._engine.trainer.export(Path(folder))

    def sample(
        self, prompt: Ints | Sequence[Mapping[str, Any]], params: SamplingParams, n: int = 1
    ) -> list[Completion]:
        """n continuations of a prompt, given as ids or as chat messages."""
        return asyncio.run(self._engine.sampler.sample(self._ids(prompt), params, n))

    def compute_logprobs(self, tokens: Ints) -> Floats:
        """[L] ids -> [L] log-probabilities in nats; the first, which nothing predicts, is 0."""
        return asyncio.run(self._engine.sampler.compute_logprobs(np.asarray(tokens, np.int32)))

    def _ids(self, prompt: Ints | Sequence[Mapping[str, Any]]) -> Ints:
        if isinstance(prompt, np.ndarray):
            return prompt.astype(np.int32)
        return self.renderer.prompt([dict(m) for m in prompt])
