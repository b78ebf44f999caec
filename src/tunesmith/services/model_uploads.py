"""Models that clients upload: a base model of their own, or an adapter. Safetensors only, checked before they serve."""

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from tunesmith.core.errors import Conflict, NotFound, UserError
from tunesmith.models.adapter_files import CONFIG as ADAPTER_CONFIG
from tunesmith.services.records import Record, Records
from tunesmith.services.registry import Registry
from tunesmith.services.store import Store
from tunesmith.services.tuned_models import TunedModels
from tunesmith.services.uploads import Incoming

ADAPTER_WEIGHTS = "adapter_model.safetensors"
MOST_BYTES = 1 << 40
"""Of one file."""
BASE, ADAPTER = "base", "adapter"
_FILE = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,200}\.(?:safetensors|json|txt|jinja|model|md)")


class ModelUploads:
    """Uploaded models of all owners; an owner sees only its own. A base model that is READY serves every account."""

    def __init__(self, store: Store, registry: Registry, tuned_models: TunedModels, data_dir: Path) -> None:
        self._registry, self._tuned = registry, tuned_models
        self.records = Records(store, "models", "model")
        """What was said of each model, with ``kind``, ``base_model``, ``state`` and ``registered``."""
        self._folder = data_dir / "uploaded_models"

    def create(
        self, owner: str, model_id: str, kind: str, base_model: str, asked: Mapping[str, Any], *, retry: bool = False
    ) -> Record:
        """A model that waits for its files.

        Args:
            kind: base or adapter.
            base_model: registered name of the model that an adapter is for; empty for a base model.

        Raises:
            UserError: an id that cannot be one. NotFound: no such base model. Conflict: the id is taken.
        """
        if kind == ADAPTER:
            base_model = self._registry.find(base_model).name
        if self._tuned.get(owner, model_id) is not None:
            raise Conflict(model_id, "is the id of a model already", "Choose another, or delete that one")
        body = {"kind": kind, "base_model": base_model, "state": "UPLOADING", "asked": dict(asked)}
        return self.records.create(owner, model_id, body, retry=retry)

    @contextmanager
    def upload(self, owner: str, model_id: str, filename: str) -> Iterator[Incoming]:
        """Take one file piece by piece; what fails leaves nothing.

        Raises:
            NotFound: no such model. Conflict: it is READY.
            UserError: a name of a file that models here do not have.
        """
        check_model_file(filename)
        self._waiting(owner, model_id)
        folder = self.folder(owner, model_id)
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".tmp-{filename}"
        incoming = Incoming(temporary, MOST_BYTES)
        try:
            with incoming.file:
                yield incoming
            temporary.replace(folder / filename)
        finally:
            temporary.unlink(missing_ok=True)

    def finish(self, owner: str, model_id: str, name: str) -> Record:
        """Check the files that have arrived and put the model to use.

        Args:
            name: under which a base model is registered.

        Raises:
            NotFound: a file that it needs is missing. UserError: what cannot be used here; says why.
        """
        record = self.records.get(owner, model_id)
        if record.body.get("state") != "UPLOADING":
            return record
        folder = self.folder(owner, model_id)
        if not folder.is_dir():
            raise NotFound(model_id, "has no files yet", "Upload them first")
        for file in sorted(folder.glob("*.safetensors")):
            _check_tensors(file)
        if record.body["kind"] == ADAPTER:
            _check_adapter(folder)
            self._tuned.add(owner, model_id, record.body["base_model"], folder)
        else:
            self._registry.add(name, folder)
        return self.records.change(owner, model_id, {**record.body, "state": "READY", "registered": name})

    def describe(self, owner: str, model_id: str, asked: Mapping[str, Any]) -> Record:
        """Keep what people say of a model, whether it was uploaded or trained here."""
        found = self.records.find(owner, model_id)
        if found is None:
            return self.records.create(owner, model_id, {"asked": dict(asked)})
        return self.records.change(owner, model_id, {**found.body, "asked": {**found.body["asked"], **asked}})

    def delete(self, owner: str, model_id: str) -> None:
        """Forget a model that was uploaded or trained here, with the files that were uploaded for it.

        Raises:
            NotFound: the owner has no model of that id.
        """
        record, tuned = self.records.find(owner, model_id), self._tuned.get(owner, model_id)
        if record is None and tuned is None:
            raise NotFound(model_id[:100], "no such model", "List those there are")
        if tuned is not None:
            self._tuned.remove(owner, model_id)
        if record is None:
            return
        if record.body.get("kind") == BASE and record.body["state"] == "READY":
            self._registry.remove(record.body["registered"])
        self.records.delete(owner, model_id)
        shutil.rmtree(self.folder(owner, model_id), ignore_errors=True)

    def folder(self, owner: str, model_id: str) -> Path:
        """Where a model's files are; owners may have names that no folder has."""
        return self._folder / sha256(f"{owner}/{model_id}".encode()).hexdigest()[:32]

    def _waiting(self, owner: str, model_id: str) -> None:
        if self.records.get(owner, model_id).body.get("state") != "UPLOADING":
            raise Conflict(model_id, "is READY: its files do not change any more", "Create another model")


def check_model_file(filename: str) -> None:
    """
    Raises:
        UserError: not a plain name of a file with one of the endings of models' files.
    """
    if not _FILE.fullmatch(filename):
        mend = "Weights come as .safetensors, the rest as .json, .txt, .jinja, .model or .md, without folders"
        raise UserError("filename", f"{filename[:80]!r} is no file of a model here", mend)


def _check_tensors(file: Path) -> None:
    try:
        with safe_open(file, framework="np") as opened:
            opened.keys()
    except (SafetensorError, OSError) as e:
        raise UserError(file.name, f"cannot be read as safetensors: {e}", "Upload the file again") from None


def _check_adapter(folder: Path) -> None:
    """An adapter in PEFT's format whose tensors have the rank that it says."""
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        if not (folder / name).is_file():
            raise NotFound(name, "is not among the files", f"Upload {ADAPTER_CONFIG} and {ADAPTER_WEIGHTS}")
    try:
        config = json.loads((folder / ADAPTER_CONFIG).read_text("utf-8"))
        rank, targets = int(config["r"]), config["target_modules"]
    except (ValueError, LookupError, TypeError) as e:
        raise UserError(ADAPTER_CONFIG, f"is no configuration of an adapter: {e!r}", "Upload PEFT's own file") from None
    if not isinstance(targets, list) or not targets:
        raise UserError(ADAPTER_CONFIG, "names no target_modules", "List the layers that are adapted")
    with safe_open(folder / ADAPTER_WEIGHTS, framework="np") as opened:
        names = opened.keys()
        shapes: dict[str, Sequence[int]] = {name: opened.get_slice(name).get_shape() for name in names}
    ranks = {shape[0] for name, shape in shapes.items() if ".lora_A." in name}
    if ranks != {rank}:
        problem = f"has matrices of rank {sorted(ranks)}, and {ADAPTER_CONFIG} says {rank}"
        raise UserError(ADAPTER_WEIGHTS, problem, "Upload an adapter in PEFT's format")
