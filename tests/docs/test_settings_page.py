"""docs/settings.md says of every setting what the spec says: name, default, bounds."""

import re
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from docs.pages import named_files, page, section, table_rows

from tunesmith.core.errors import UserError
from tunesmith.health.advice import show
from tunesmith.spec import build_spec, read_spec
from tunesmith.spec.bounds import MANAGED
from tunesmith.spec.load import KINDS

PAGE = page("settings.md")
HEADINGS = {
    "rft": "Reinforcement fine-tuning (rft)",
    "sft": "Supervised fine-tuning (sft)",
    "dpo": "Preference tuning (dpo)",
}
COMMON = {row[0].strip("`"): row for row in table_rows(section(PAGE, "Every job"))}
OWN = {kind: {row[0].strip("`"): row for row in table_rows(section(PAGE, h))} for kind, h in HEADINGS.items()}
FIELDS = [(kind, name) for kind, spec in KINDS.items() for name in spec.model_fields]


def allowed(name: str, field: Any) -> str:
    """The third cell: what holds always, and the managed bound before it where there is one."""
    always = always_allowed(field)
    return f"{MANAGED[name].describe()}; off: {always}" if name in MANAGED else always


def always_allowed(field: Any) -> str:
    annotation, metadata = field.annotation, list(field.metadata)
    union = get_origin(annotation) in (Union, UnionType)
    members = [m for m in get_args(annotation) if m is not type(None)] if union else [annotation]
    kind = members[0]
    if get_origin(kind) is Annotated:  # the bounds of an optional number are inside it
        kind, *inner = get_args(kind)
        metadata += [m for info in inner for m in getattr(info, "metadata", [info])]
    if get_origin(kind) is list:  # of names, several at once
        kind = get_args(kind)[0]
    if get_origin(kind) is Literal:
        return ", ".join(get_args(kind))
    if kind in (bool, str):
        return "true, false" if kind is bool else "text or list" if len(members) > 1 else "text"
    names = ("gt", "ge", "lt", "le", "multiple_of")
    return numbers({name: getattr(m, name) for m in metadata for name in names if hasattr(m, name)})


def numbers(bounds: dict[str, Any]) -> str:
    if {"ge", "le"} <= bounds.keys():
        return f"{bounds['ge']} ... {bounds['le']}"
    signs = {"gt": "> ", "ge": ">= ", "lt": "< ", "le": "<= ", "multiple_of": "a multiple of "}
    return ", ".join(sign + str(bounds[name]) for name, sign in signs.items() if name in bounds)


def default(field: Any) -> str:
    if field.is_required():
        return "required"
    return "none" if field.default in (None, []) else f"`{show(field.default)}`"


@pytest.mark.parametrize(("kind", "name"), FIELDS)
def test_every_setting_has_its_row(kind: str, name: str) -> None:
    field = KINDS[kind].model_fields[name]
    row = OWN[kind].get(name) or COMMON[name]
    if name == "kind":
        assert row[1:3] == ["required", ", ".join(KINDS)]
        return
    assert row[1:3] == [default(field), allowed(name, field)]
    assert row[3].endswith(".")


def test_no_row_is_of_a_setting_that_is_gone() -> None:
    shared = set.intersection(*(set(spec.model_fields) for spec in KINDS.values()))
    assert set(COMMON) <= shared
    assert [name for kind, rows in OWN.items() for name in rows if name not in KINDS[kind].model_fields] == []


def test_the_example_files_are_whole_specs(tmp_path: Any) -> None:
    for name, text in named_files(PAGE).items():
        (tmp_path / name).write_text(text)
    assert build_spec(read_spec(tmp_path / "job.yaml"), "rft").model_dump()["batch_size"] == 32 * 1024
    assert build_spec(read_spec(tmp_path / "job.toml"), "sft").max_context_length == 4096


@pytest.mark.parametrize(
    "bad", [{"learning_rat": 1}, {"learning_rate": 1}, {"rl_loss_method": "DAPO", "rl_kl_beta": 0.1}]
)
def test_the_quoted_refusals_are_those_of_the_code(bad: dict[str, Any]) -> None:
    with pytest.raises(UserError) as refused:
        build_spec({"dataset": "rows.jsonl", "evaluator": "last_number", **bad}, "rft")
    assert f"\n{refused.value}\n" in PAGE


def test_the_share_of_groups_that_teach() -> None:
    said = re.search(r"pass rate of (\d+)% that is (\d+)% of groups of 8 and (\d+)% of groups of 16", PAGE)
    assert said
    rate, *shares = (int(x) / 100 for x in said.groups())
    assert shares == [round(1 - rate**n - (1 - rate) ** n, 2) for n in (8, 16)]
