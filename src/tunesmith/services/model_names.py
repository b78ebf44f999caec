"""What the name of a model stands for, in folders: for processes that load it themselves."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.core.errors import NotFound, UserError, unknown
from tunesmith.grading.composed import PREFIX, judged
from tunesmith.grading.evaluator import ComposedTarget, parse_evaluator
from tunesmith.services.deployments import Deployments
from tunesmith.services.jobs.kept import Kept, KeptCheckpoints
from tunesmith.services.registry import Registry
from tunesmith.services.sessions.vault import Vault
from tunesmith.services.tuned_models import TunedModel, TunedModels

WHERE = "evaluator.model"
"""A grader's model, in refusals."""
CHECKPOINT, DEPLOYMENT = "tinker://", "deployments/"


@dataclass(frozen=True, slots=True)
class ModelFolders:
    """Weights on disk."""

    base: Path
    adapter: Path | None
    """None for a whole model."""


class ModelNames:
    """Names that clients sample by; an owner's own come before base models."""

    def __init__(
        self, registry: Registry, tuned: TunedModels, deployments: Deployments, vault: Vault, kept: KeptCheckpoints
    ) -> None:
        self._registry, self._tuned, self._deployments = registry, tuned, deployments
        self._vault, self._kept = vault, kept

    def folders(self, owner: str, name: str) -> ModelFolders:
        """Of a base model, a tuned one, ``deployments/<id>``, ``<model>#<deployment>``, or a checkpoint of a session
        (``tinker://...``) or a job (``<model>:ckpt-step-<n>``).

        Raises:
            NotFound: none of them. Denied: somebody else's.
            UserError: weights that are in no folder, or a deployment that is scaled to zero.
        """
        if name.startswith(CHECKPOINT):
            row = self._vault.find(name, owner)
            return self._adapter(name, row.base_model, self._vault.adapter(row))
        first, _, deployment = name.partition("#")
        if deployment or name.startswith(DEPLOYMENT):
            model = first if deployment else None
            return self._deployed(owner, (deployment or name).removeprefix(DEPLOYMENT), model)
        found = self._tuned.get(owner, name)
        if found is not None:
            return self._weights(name, found)
        if (kept := self._kept.find(owner, name)) is not None:
            return self._weights(name, kept)
        try:
            return ModelFolders(self._registry.find(name).folder, None)
        except NotFound:
            known = [base.name for base in self._registry.models()] + [own.name for own in self._tuned.page(owner)[0]]
            refusal = unknown("model", name[:200], known)
            raise NotFound(refusal.where, refusal.problem, refusal.mend) from None

    def _deployed(self, owner: str, deployment: str, model: str | None) -> ModelFolders:
        served, row = self._deployments.serves(owner, deployment, model), self._deployments.get(owner, deployment)
        return self.folders(owner, row.path if row.path and served == row.model else served)

    def _weights(self, name: str, found: TunedModel | Kept) -> ModelFolders:
        return ModelFolders(found.folder, None) if found.whole else self._adapter(name, found.base_model, found.folder)

    def _adapter(self, name: str, base_model: str, folder: Path) -> ModelFolders:
        if not folder.is_dir():
            raise UserError(name, "has no weights on disk", "Save them for sampling, or give a model that is promoted")
        return ModelFolders(self._registry.find(base_model).folder, folder)


def located(evaluator: str, folders: Callable[[str], ModelFolders]) -> str:
    """An evaluator string with folders where a grader names a model to ask; other strings stay as they are.

    Raises:
        UserError: a grader that cannot be read. NotFound: no such model.
    """
    if not evaluator.startswith(PREFIX):
        return evaluator
    target = parse_evaluator(evaluator).target
    assert isinstance(target, ComposedTarget), "its prefix says so"
    grader: dict[str, Any] = target.grader
    for part in judged.parts_of(grader).values():
        assert isinstance(part, dict), "it was read from JSON"
        try:
            found = folders(part["model"])
        except UserError as e:
            raise type(e)(
                WHERE, f"{part['model']:.200}: {e.problem}" if e.where != "model" else e.problem, e.mend
            ) from None
        part.pop("base_model", None)
        part["model"] = str(found.adapter or found.base)
        if found.adapter is not None:
            part["base_model"] = str(found.base)
    return PREFIX + json.dumps(grader)
