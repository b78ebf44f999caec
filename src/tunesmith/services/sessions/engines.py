"""One engine per base model, found by the name under which the model is registered."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tunesmith.models.config import read_config
from tunesmith.services.nursery import Nursery
from tunesmith.services.registry import Registry
from tunesmith.services.sessions.engine import Engine


@dataclass(frozen=True, slots=True)
class BaseModel:
    """What a request must respect."""

    name: str
    folder: Path
    context: int
    """Most tokens of a sequence."""
    vocab: int
    """Ids are below it."""


class Engines:
    """Engines by base model; a process starts with the first call."""

    def __init__(self, registry: Registry, nursery: Nursery) -> None:
        self.registry, self._nursery = registry, nursery
        self._engines: dict[Path, Engine] = {}
        self._models: dict[str, BaseModel] = {}
        self._adopted: dict[str, BaseModel] = {}

    def of(self, base_model: str) -> Engine:
        """
        Raises:
            NotFound: no base model of that name; lists those there are.
        """
        folder = self.model(base_model).folder
        if folder not in self._engines:
            self._engines[folder] = Engine(base_model, folder, self._nursery)
        return self._engines[folder]

    def model(self, base_model: str) -> BaseModel:
        """The registered model of that name, or the refusal of ``of``."""
        if base_model in self._adopted:
            return self._adopted[base_model]
        found = self.registry.find(base_model)
        known = self._models.get(found.name)
        if known is None or known.folder != found.folder:
            vocab = read_config(found.folder).vocab
            known = self._models[found.name] = BaseModel(found.name, found.folder, found.max_context, vocab)
        return known

    def adopt(self, name: str, folder: Path) -> BaseModel:
        """A model folder that is not registered, such as what training all parameters made, under a name for now."""
        if name not in self._adopted:
            config = read_config(folder)
            self._adopted[name] = BaseModel(name, folder, config.max_positions, config.vocab)
        return self._adopted[name]

    def __iter__(self) -> Iterator[Engine]:
        return iter(self._engines.values())
