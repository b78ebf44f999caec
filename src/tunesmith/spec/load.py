"""From a YAML or TOML file, or flags, to a checked spec; every refusal names the field and the mend."""

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from tunesmith.core.errors import NotFound, UserError, unknown
from tunesmith.spec.base import TrainSpec
from tunesmith.spec.dpo import DpoSpec
from tunesmith.spec.goals import with_goal
from tunesmith.spec.rft import RftSpec
from tunesmith.spec.sft import SftSpec

AnySpec = RftSpec | SftSpec | DpoSpec
KINDS: dict[str, type[RftSpec] | type[SftSpec] | type[DpoSpec]] = {"rft": RftSpec, "sft": SftSpec, "dpo": DpoSpec}


def read_spec(path: Path) -> dict[str, Any]:
    """The settings in a spec file, unchecked; relative paths in it are relative to the working directory."""
    if not path.is_file():
        raise NotFound(str(path), "no such spec file", "Give a .yaml or .toml file with kind, dataset and settings")
    try:
        text = path.read_text("utf-8")
        found = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)
    except (tomllib.TOMLDecodeError, yaml.YAMLError, UnicodeDecodeError) as e:
        raise UserError(str(path), f"cannot be read: {' '.join(str(e).split())}", "Mend the file's syntax") from None
    if not isinstance(found, dict):
        raise UserError(str(path), f"holds {type(found).__name__}, not settings", "Write one `setting: value` per line")
    return found


def build_spec(settings: Mapping[str, Any], kind: str | None = None) -> AnySpec:
    """Check settings and make the spec of their kind; ``goal`` among them stands for a row of ``GOALS``.

    Raises:
        UserError: names the first bad field, what was given and what to do; says how many more there are.
    """
    given = settings.get("kind", kind)
    if given is None:
        raise UserError("kind", "missing", f"Say which kind of job this is: {', '.join(KINDS)}")
    if given not in KINDS:
        raise unknown("kind", str(given), KINDS)
    if kind is not None and given != kind:
        raise UserError("kind", f"the spec says {given!r}, the command says {kind!r}", f"Run: tunesmith {given} run")
    spec = KINDS[given]
    try:
        return spec.model_validate({**with_goal(settings, spec), "kind": given})
    except ValidationError as e:
        raise explain(e, spec) from None


def explain(e: ValidationError, spec: type[TrainSpec]) -> UserError:
    """Name the field, what was given, what is wrong and what to do; the first problem speaks for all."""
    first = e.errors()[0]
    where = ".".join(map(str, first["loc"])) or spec.model_fields["kind"].default
    if first["type"] == "extra_forbidden":
        return _no_such_field(str(first["loc"][-1]), spec)
    problem = first["msg"].removeprefix("Value error, ")
    name, _, rest = problem.partition(": ")
    if not first["loc"] and name in spec.model_fields:  # a rule over several settings names its own
        where, problem = name, rest
    given = "" if first["type"] == "missing" or not first["loc"] else f" (got {first['input']!r})"
    more = f" ({len(e.errors()) - 1} more)" if len(e.errors()) > 1 else ""
    kind = spec.model_fields["kind"].default
    return UserError(where, f"{problem}{given}{more}", f"See: tunesmith {kind} run --help")


def _no_such_field(name: str, spec: type[TrainSpec]) -> UserError:
    near = get_close_matches(name, spec.model_fields, n=1, cutoff=0.4)
    kind = spec.model_fields["kind"].default
    others = [k for k, other in KINDS.items() if other is not spec and name in other.model_fields]
    elsewhere = f" (it is a setting of {' and '.join(others)})" if others else ""
    mend = f"Did you mean {near[0]!r}?" if near and not others else f"See: tunesmith {kind} run --help"
    return UserError(name, f"{kind} jobs have no such setting{elsewhere}", mend)
