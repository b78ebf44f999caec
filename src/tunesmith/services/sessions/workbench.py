"""The compute of one base model: many policies and many sets of sampler weights on one copy of its weights.

Training runs in one thread, one operation after another; sampling in the event loop's, a token at a time. Either
gives way to the other between two tensor operations, so that neither waits for the other to be done.
"""

import asyncio
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import torch

from tunesmith.core.durable import new_folder
from tunesmith.core.errors import NotFound
from tunesmith.core.ports import Form, Weights
from tunesmith.core.seeds import seed_of
from tunesmith.core.types import PLAIN_SUM, AdamParams, Datum, Ints, OnToken, PromptScoring, SamplingParams
from tunesmith.models.chat import load_renderer
from tunesmith.models.folder import load_model
from tunesmith.models.grammar import Grammars
from tunesmith.models.lora import Adapter, new_adapter
from tunesmith.models.peft_format import load_adapter, save_adapter
from tunesmith.rollout import LocalSampler
from tunesmith.services.engine import TOKENS_PER_PASS, device, prepare_torch
from tunesmith.services.sessions.gathered import Gathered, divide_gradient, read_gathered, write_gathered
from tunesmith.services.sessions.loss_value import loss_value
from tunesmith.services.sessions.results import Said, Sampled, Stepped, Trained
from tunesmith.services.sessions.shape import Divisor, Managed, PolicyShape
from tunesmith.train import LocalTrainer
from tunesmith.train.policy import Policy

MOST_SAMPLERS = 32
"""Sampler weights held in memory; those used longest ago go to disk first."""
SWITCH_SECONDS = 0.0005
"""How long the interpreter lets one thread run while the other waits; both mostly wait for tensor operations."""
T = TypeVar("T")


class Workbench:
    """Every verb is a coroutine; the other process calls them by name."""

    def __init__(self, base: Path) -> None:
        sys.setswitchinterval(SWITCH_SECONDS)
        where = device()
        self.base = base
        self.model = load_model(base, where, torch.bfloat16 if where.type == "cuda" else torch.float32)
        prepare_torch(sum(p.numel() for p in self.model.parameters()))
        self.renderer = load_renderer(base)
        self._trainers: dict[str, LocalTrainer] = {}
        self._gathered: dict[str, Gathered] = {}
        self._samplers: OrderedDict[str, LocalSampler] = OrderedDict()
        self._weights: dict[str, Adapter | None] = {}
        self._folders: dict[str, Path] = {}
        self._training = ThreadPoolExecutor(1, "training")
        self._grammars: Grammars | None = None

    async def create_policy(
        self, policy: str, shape: PolicyShape, start: Path | None = None, optimizer: bool = False
    ) -> Said:
        """A new policy, from nothing or from saved state (with or without its optimizer) or an adapter."""

        def create() -> None:
            targets = list(self.model.targets(shape.head, attention=shape.attention, mlp=shape.mlp))
            if start is not None and not (start / "trainer.json").is_file():
                adapter = load_adapter(start, self.model)
            else:
                adapter = new_adapter(targets, shape.rank, seed_of(shape.seed, "adapter"), self.model.device)
            new = Policy(self.model, adapter, self.base, warm=False, reference=False)
            trainer = LocalTrainer(new, TOKENS_PER_PASS[self.model.device.type])
            if start is not None and (start / "trainer.json").is_file():
                trainer.load_state(start, optimizer=optimizer)
            self._trainers[policy] = trainer
            self._gathered[policy] = read_gathered(start) if start is not None and optimizer else Gathered()

        await self._in_training(create)
        return Said()

    async def load_policy(self, policy: str, start: Path, optimizer: bool) -> Said:
        """Saved weights into a policy that is there; gradients that have added up are dropped."""

        def load() -> None:
            self._trainer(policy).load_state(start, optimizer=optimizer)
            self._gathered[policy] = read_gathered(start) if optimizer else Gathered()

        await self._in_training(load)
        return Said()

    async def drop_policy(self, policy: str) -> Said:
        def drop() -> None:
            self._trainers.pop(policy, None)
            self._gathered.pop(policy, None)

        await self._in_training(drop)
        return Said()

    async def forward_backward(
        self,
        policy: str,
        data: Sequence[Datum],
        loss: str,
        settings: Mapping[str, Any],
        forward_only: bool,
        managed: Managed | None = None,
    ) -> Trained:
        """The sum of a loss and the log-probability of every target; adds to the gradient unless ``forward_only``."""

        def run() -> Trained:
            trainer = self._trainer(policy)
            if forward_only and managed is not None:
                return Trained(0.0, trainer.forward(data, managed.reference))
            if forward_only:
                logprobs = trainer.forward(data, all_tokens=True)
                return Trained(loss_value(loss, data, logprobs, settings), logprobs)
            norm = PLAIN_SUM if managed is None else managed.norm
            metrics, logprobs = trainer.forward_backward(data, loss, settings, norm, all_tokens=managed is None)
            self._gathered[policy] = self._gathered[policy].plus(data)
            return Trained(metrics[f"loss/{loss}"], logprobs, metrics)

        return await self._in_training(run)

    async def weight_change(self, policy: str) -> Said:
        """L2 distance of the policy's weights from the base model's."""
        change = await self._in_training(lambda: self._trainer(policy).weight_change())
        return Said({"weight_change": change})

    async def optim_step(self, policy: str, params: AdamParams, divide_by: Divisor = "none") -> Stepped:
        """An update by the gradient so far, divided by what it was accumulated over."""

        def step() -> Stepped:
            trainer, gathered = self._trainer(policy), self._gathered[policy]
            divide_gradient(trainer.parameters.values(), gathered.divisor(divide_by))
            metrics = trainer.optim_step(params)
            self._gathered[policy] = Gathered()
            return Stepped(metrics)

        return await self._in_training(step)

    async def save_state(self, policy: str, folder: Path) -> Said:
        """All that is needed to go on bit for bit and, below ``adapter``, what other tools open."""
        await self._in_training(lambda: self._save_state(policy, folder))
        return Said()

    async def park_policy(self, policy: str, folder: Path) -> Said:
        """Move a policy from memory to disk, with nothing in between that could touch it."""

        def park() -> None:
            self._save_state(policy, folder)
            del self._trainers[policy], self._gathered[policy]

        await self._in_training(park)
        return Said()

    def _save_state(self, policy: str, folder: Path) -> None:
        trainer = self._trainer(policy)
        with _fresh(folder) as unfinished:
            trainer.save_state(unfinished)
            write_gathered(unfinished, self._gathered[policy])
            trainer.export(unfinished / "adapter")

    async def save_adapter(self, policy: str, folder: Path, key: str) -> Said:
        """A PEFT adapter on disk, also held ready under ``key``."""

        def save() -> Weights:
            trainer = self._trainer(policy)
            with _fresh(folder) as unfinished:
                trainer.export(unfinished)
            return trainer.save_weights_for_sampler(key)

        await self._serve(key, folder, await self._in_training(save))
        return Said()

    async def publish(self, policy: str, key: str, folder: Path) -> Said:
        """The weights as they are now, served under ``key``; written to ``folder`` only when memory is short."""
        weights = await self._in_training(lambda: self._trainer(policy).save_weights_for_sampler(key))
        await self._serve(key, folder, weights)
        return Said()

    async def sample(
        self,
        key: str,
        folder: Path | None,
        prompt: Ints,
        params: SamplingParams,
        n: int,
        scoring: PromptScoring | None,
        on_token: OnToken | None = None,
    ) -> Sampled:
        """n completions under the weights of ``key`` (the base model's where it is empty)."""
        sampler = await self._sampler(key, folder)
        scores = None if scoring is None else await sampler.score(prompt, scoring)
        return Sampled(await sampler.sample(prompt, params, n, on_token), scores)

    async def drop_weights(self, key: str) -> Said:
        self._samplers.pop(key, None)
        self._weights.pop(key, None)
        self._folders.pop(key, None)
        return Said()

    async def park_weights(self) -> Said:
        """Write what only memory holds, for the next start of this engine."""
        for key in list(self._samplers):
            self._write(key)
        return Said()

    def _trainer(self, policy: str) -> LocalTrainer:
        if policy not in self._trainers:
            raise NotFound(policy, "is not loaded in the engine", "Create a model, or load a checkpoint into one")
        return self._trainers[policy]

    async def _sampler(self, key: str, folder: Path | None) -> LocalSampler:
        if key not in self._samplers:
            adapter = None
            if key:
                if folder is None or not folder.is_dir():
                    raise NotFound(key, "its weights are gone", "Save the weights again")
                adapter = load_adapter(folder, self.model).snapshot()
            await self._serve(key, folder, Weights(key, 0, adapter))
        self._samplers.move_to_end(key)
        return self._samplers[key]

    async def _serve(self, key: str, folder: Path | None, weights: Weights) -> None:
        if key not in self._samplers:
            renderer = self.renderer
            self._samplers[key] = LocalSampler(self.model, renderer.stop_ids, renderer.decode, form=self._form)
        await self._samplers[key].load(weights)
        self._samplers.move_to_end(key)
        self._weights[key] = weights.payload
        if folder is not None:
            self._folders[key] = folder
        for old in list(self._samplers)[: max(0, len(self._samplers) - MOST_SAMPLERS)]:
            if old and self._samplers[old].idle:
                self._write(old)
                await self.drop_weights(old)

    def _form(self, grammar: str) -> Form:
        """The tokens of the model are read when the first grammar comes."""
        if self._grammars is None:
            self._grammars = Grammars(self.renderer.tokenizer, self.model.config.vocab, self.renderer.stop_ids)
        return self._grammars.begin(grammar)

    def _write(self, key: str) -> None:
        adapter, folder = self._weights[key], self._folders.get(key)
        if adapter is not None and folder is not None and not folder.is_dir():
            with _fresh(folder) as unfinished:
                save_adapter(adapter, unfinished, str(self.base))

    async def _in_training(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._training, work)


def _fresh(folder: Path) -> AbstractContextManager[Path]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    return new_folder(folder)
