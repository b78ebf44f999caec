"""From a file to a checked spec: find out whose it is, apply that tool's rules to every key, point out what is odd."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from tunesmith.core.errors import NotFound, UserError, unknown
from tunesmith.data.split import held_out_of
from tunesmith.services.importing import cookbook, fireworks, grpo_yaml, openai, trl
from tunesmith.services.importing.doubts import doubts_of
from tunesmith.services.importing.entry import Entry, Flat, Outcome, Rule
from tunesmith.spec import AnySpec, build_spec, read_spec
from tunesmith.spec.bounds import Limits
from tunesmith.spec.load import KINDS

SOURCES = {
    "openai": openai,
    "fireworks": fireworks,
    "cookbook": cookbook,
    "grpo-yaml": grpo_yaml,
    "trl": trl,
}
"""Name -> module of ``recognise``, ``kind_of``, ``rules``, ``defaults``; the first that knows a file reads it."""


@dataclass(frozen=True, slots=True)
class Imported:
    """A foreign configuration as one of ours."""

    source: str
    kind: str
    settings: dict[str, Any]
    entries: list[Entry]
    doubts: list[str]
    """What does not add up, whoever trains it."""

    def spec(self) -> AnySpec:
        """
        Raises:
            UserError: something that the file does not say is missing, or the settings do not go together.
        """
        return build_spec(self.settings, self.kind)


def import_file(path: Path, own: Mapping[str, Any], source: str | None = None, kind: str | None = None) -> Imported:
    """Read a configuration.

    Args:
        own: settings that are ours and win over the file's, such as where the dataset lies here.
        source, kind: where they cannot be told from the file.

    Raises:
        UserError: a file that cannot be read, or of nobody we know.
    """
    config = _read(path)
    name = source or _recognise(path, config)
    if name not in SOURCES:
        raise unknown("from", name, SOURCES)
    reader, flat = SOURCES[name], dict(_flat(config))
    told = reader.kind_of(flat)
    kind = kind or told
    if kind is None:
        raise UserError(str(path), "may be of an SFT, DPO or RFT run", "Say which: --kind sft, dpo or rft")
    if kind not in KINDS:
        raise unknown("kind", kind, KINDS)
    if told == "rft" and kind != "rft":
        raise UserError("kind", f"is {kind}, but {path} is the configuration of an RFT run", "Leave --kind out")
    entries = [_beside(own, entry) for entry in _entries(flat, reader.rules(kind), reader.defaults(kind))]
    settings: dict[str, Any] = {"kind": kind}
    for entry in entries:
        settings |= entry.outcome.settings
    settings |= own
    settings["limits"] = _limits(settings, kind)
    return Imported(name, kind, settings, entries, list(doubts_of(flat, settings, entries)))


def _read(path: Path) -> dict[str, Any]:
    if path.suffix != ".json":
        return read_spec(path)
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise NotFound(str(path), "no such file", "Give a configuration as .yaml, .toml or .json") from None
    except ValueError as e:
        raise UserError(str(path), f"is no JSON: {e}", "Mend the file's syntax") from None
    if not isinstance(found, dict):
        raise UserError(str(path), f"holds {type(found).__name__}, not settings", "Give one JSON object")
    return found


def _recognise(path: Path, config: Mapping[str, Any]) -> str:
    for name, reader in SOURCES.items():
        if reader.recognise(config):
            return name
    raise UserError(str(path), "is of no tool known here", f"Say whose it is: --from {', '.join(SOURCES)}")


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested mappings as dotted keys; lists stay values."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _entries(flat: Flat, rules: Mapping[str, Rule], defaults: Mapping[str, Any]) -> Iterator[Entry]:
    whole = {**defaults, **flat}
    for key, value in flat.items():
        rule = rules.get(key) or next(
            (r for k, r in rules.items() if k.endswith(".*") and key.startswith(k[:-1])), None
        )
        outcome = Outcome("refused", {}, _not_known(key, rules)) if rule is None else _applied(rule, value, whole)
        yield Entry(key, value, outcome)
    for key, value in defaults.items():
        if key not in flat:
            yield Entry(key, value, _applied(rules[key], value, whole), default=True)


def _beside(own: Mapping[str, Any], entry: Entry) -> Entry:
    """An entry for a setting that was given here says so, because its own value is not what counts."""
    taken = [name for name in entry.outcome.settings if name in own]
    if not taken:
        return entry
    rest = {name: value for name, value in entry.outcome.settings.items() if name not in own}
    words = ", ".join(f"--{name.replace('_', '-')} {own[name]}" for name in taken)
    return replace(entry, outcome=Outcome("different", rest, f"given here, and wins: {words}"))


def _applied(rule: Rule, value: Any, whole: Flat) -> Outcome:
    try:
        return rule(value, whole)
    except (TypeError, ValueError, KeyError, ArithmeticError) as e:
        return Outcome("refused", {}, f"cannot be read: {e!r}")


def _not_known(key: str, rules: Mapping[str, Rule]) -> str:
    near = get_close_matches(key, rules, n=1, cutoff=0.6)
    return "is not known here" + (f"; did you mean {near[0]}?" if near else "")


def _limits(settings: Mapping[str, Any], kind: str) -> str:
    """The narrowest bounds that the values are within."""
    for limits in get_args(Limits):
        named = {"dataset": "-"} | ({"evaluator": "contains"} if kind == "rft" else {})
        try:
            build_spec({**named, **settings, "limits": limits}, kind)
        except UserError:
            continue
        return str(limits)
    return "managed"


def steps_of(spec: AnySpec, rows: int) -> dict[str, int]:
    """What a run of so many rows comes to: steps = ceil(rows to train on / batch) x epochs."""
    held = held_out_of(rows) if spec.eval_auto_carveout and not spec.evaluation_dataset else 0
    steps = spec.num_steps(rows - held)
    evaluations = 2 + (max(0, math.ceil(steps / spec.eval_every) - 1) if spec.eval_every else 0)
    counts = {"rows": rows - held, "held_out": held, "steps": steps, "evaluations": evaluations}
    return counts | {"checkpoints": math.ceil(steps / spec.save_every)}
