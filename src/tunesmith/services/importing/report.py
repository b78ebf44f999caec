"""The report of an import in words, and the spec as a file."""

from collections.abc import Iterator
from typing import Any

import yaml

from tunesmith.core.errors import UserError
from tunesmith.services.importing.entry import Entry
from tunesmith.services.importing.importer import Imported
from tunesmith.spec.load import KINDS

HEADINGS = {
    "kept": "Kept",
    "translated": "Translated",
    "different": "Different here",
    "refused": "Refused",
}
LONGEST = 40
"""Characters of a value that are shown."""


def as_text(found: Imported) -> str:
    """Every key, by what became of it; then what does not add up."""
    article = "a" if found.kind == "dpo" else "an"
    lines = [f"{found.source} configuration of {article} {found.kind} job: {len(found.entries)} keys"]
    for verdict, heading in HEADINGS.items():
        entries = [entry for entry in found.entries if entry.outcome.verdict == verdict]
        if entries:
            lines += ["", f"{heading} ({len(entries)})", *map(_line, entries)]
    if found.doubts:
        lines += ["", "Look at", *(f"  - {doubt}" for doubt in found.doubts)]
    return "\n".join(lines)


def as_yaml(found: Imported) -> str:
    """The spec file: what was set, in the order of the settings."""
    return yaml.safe_dump(found.settings, sort_keys=False, allow_unicode=True)


def as_dict(found: Imported) -> dict[str, Any]:
    """For ``--json``."""
    keys = [
        {
            "key": entry.key,
            "value": entry.value,
            "verdict": entry.outcome.verdict,
            "settings": dict(entry.outcome.settings),
            "note": entry.outcome.note,
            "default": entry.default,
        }
        for entry in found.entries
    ]
    return {
        "source": found.source,
        "kind": found.kind,
        "settings": found.settings,
        "keys": keys,
        "doubts": found.doubts,
    }


def check_whole(found: Imported, file: str) -> None:
    """
    Raises:
        UserError: what a job still needs, or what its settings are refused for.
    """
    required = [name for name, field in KINDS[found.kind].model_fields.items() if field.is_required()]
    if absent := [name for name in required if name not in found.settings]:
        flags = " and ".join(f"--{name.replace('_', '-')}" for name in absent)
        raise UserError(
            file, f"is not a whole job yet: no {' and no '.join(absent)}", f"Give {flags}, and import again"
        )
    try:
        found.spec()
    except UserError as e:
        raise UserError(file, f"is no job here: {e.where}: {e.problem}", "Mend it there, and import again") from None


def _line(entry: Entry) -> str:
    value = str(entry.value)
    shown = value if len(value) <= LONGEST else f"{value[: LONGEST - 1]}…"
    given = f"  {entry.key}: {shown}{' (its default)' if entry.default else ''}"
    return f"{given:<58} {'; '.join(_became(entry))}".rstrip()


def _became(entry: Entry) -> Iterator[str]:
    if entry.outcome.settings:
        yield "-> " + ", ".join(f"{name}: {value}" for name, value in entry.outcome.settings.items())
    if entry.outcome.note:
        yield entry.outcome.note
