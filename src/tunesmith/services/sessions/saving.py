"""Weights on their way to a checkpoint: written by the engine, encrypted for others where asked, then named."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyrage

from tunesmith.core.durable import write_file
from tunesmith.core.errors import UserError
from tunesmith.services.sessions.engine import Engine
from tunesmith.services.sessions.results import Failed, Result, Said
from tunesmith.services.sessions.rows import ModelRow
from tunesmith.services.sessions.vault import Saving, Vault


async def saved(engine: Engine, vault: Vault, row: ModelRow, saving: Saving, recipients: Sequence[Any]) -> Result:
    """Write a checkpoint and give it its name; what fails leaves none."""
    result = await _written(engine, row, saving)
    if isinstance(result, Failed):
        return result
    if recipients:
        _encrypt(saving.folder, recipients)
    made = vault.commit(saving, row)
    return Said({"path": made.path, "size_bytes": made.size_bytes})


def recipients_of(texts: Iterable[str]) -> list[Any]:
    """
    Raises:
        UserError: a text that is no age public key.
    """
    return [_recipient(text) for text in texts]


async def _written(engine: Engine, row: ModelRow, saving: Saving) -> Result:
    if saving.kind == "weights":
        return await engine.call("save_state", policy=row.id, folder=saving.folder)
    key = f"{row.id}:inflight" if saving.inflight else saving.path
    return await engine.call("save_adapter", policy=row.id, folder=saving.folder, key=key)


def _recipient(text: str) -> Any:
    try:
        return pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError as e:
        raise UserError("age_encryption_recipients", f"{text!r} is no age key: {e}", "Give keys like age1…") from None


def _encrypt(folder: Path, recipients: Sequence[Any]) -> None:
    """Replace every file by its age-encrypted self."""
    for file in [f for f in folder.rglob("*") if f.is_file()]:
        write_file(file.with_name(file.name + ".age"), pyrage.encrypt(file.read_bytes(), recipients))
        file.unlink()
