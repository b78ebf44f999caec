"""Tokenizers in the server's own process, for wires that take or give text; each is read when it is first needed."""

from pathlib import Path
from threading import Lock

from tunesmith.models.chat import ChatRenderer, load_renderer
from tunesmith.services.registry import Registry


class Renderers:
    """One renderer per base model."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._loaded: dict[Path, ChatRenderer] = {}
        # The library below cannot be imported by two threads at once.
        self._lock = Lock()

    def of(self, base_model: str) -> ChatRenderer:
        """Takes a second the first time: call it in a thread.

        Raises:
            NotFound: no base model of that name, or no tokenizer in its folder.
        """
        return self.at(self._registry.find(base_model).folder)

    def at(self, folder: Path) -> ChatRenderer:
        """The renderer of a model folder, registered or not.

        Raises:
            NotFound: no tokenizer in the folder.
        """
        with self._lock:
            if folder not in self._loaded:
                self._loaded[folder] = load_renderer(folder)
            return self._loaded[folder]
