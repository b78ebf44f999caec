"""docs/cli.md against the real commands: every flag has its row, every documented one exists, every face its keys."""

import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any, get_args

import pytest
from docs.pages import DOCS, PAGES, commands, keys, named_files, page, section
from docs.typed import command, leaves, parsed

from tunesmith.cli import main
from tunesmith.cli.main import COMMANDS
from tunesmith.core import errors
from tunesmith.data import Counts
from tunesmith.services.advice import Advice
from tunesmith.services.card import Card
from tunesmith.services.compare import Comparison
from tunesmith.services.regrade import Regrade
from tunesmith.services.rehearsal import Plan
from tunesmith.services.serve_local import Evaluation
from tunesmith.services.try_grader import Trial
from tunesmith.spec import build_spec, read_spec
from tunesmith.spec.load import KINDS

PAGE = page("cli.md")
JOBS = "Jobs: rft, sft, dpo"
SECTIONS = {
    **{name: name for name in COMMANDS},
    **dict.fromkeys(KINDS, JOBS),
    **dict.fromkeys(("resume", "report", "compare"), "resume, report, compare"),
    **dict.fromkeys(("fork", "runs"), "fork, runs"),
}
LEAVES = [" ".join(path) for name in COMMANDS for path in leaves(name)]


@pytest.mark.parametrize("path", LEAVES)
def test_every_command_and_flag_is_documented(path: str) -> None:
    name = path.split()[0]
    assert f"`{path}`" in PAGE.partition("## Exit codes")[0]
    text = section(PAGE, SECTIONS[name])
    kinds = KINDS.values() if name == "fork" else [KINDS[name]] if name in KINDS else []
    settings = {f"--{s.replace('_', '-')}" for kind in kinds for s in kind.model_fields}
    flags = [p.opts[0] for p in command(path.split()).params if p.opts[0].startswith("--")]
    assert [flag for flag in flags if flag not in settings and f"`{flag}`" not in text and flag not in text] == []


def documented_flags() -> Iterator[tuple[str, str]]:
    for heading in sorted(set(SECTIONS.values())):
        for flag in keys(section(PAGE, heading)):
            if flag.startswith("--"):
                yield heading, flag


@pytest.mark.parametrize(("heading", "flag"), list(documented_flags()))
def test_every_documented_flag_exists(heading: str, flag: str) -> None:
    names = [path for path in LEAVES if SECTIONS[path.split()[0]] == heading]
    assert flag in {opt for path in names for p in command(path.split()).params for opt in p.opts}


FACES = {
    "advise": Advice,
    "regrade": Regrade,
    "eval": Evaluation,
    "plan": Plan,
    "evaluator": Trial,
    "dataset": Counts,
    "resume, report, compare": Comparison,
}


@pytest.mark.parametrize(("heading", "face"), FACES.items())
def test_every_key_of_json_is_documented(heading: str, face: type) -> None:
    text = section(PAGE, heading)
    names = {field.name for field in fields(face)}
    assert {name for name in names if f"`{name}`" not in text} == set()
    if face in (Evaluation, Plan, Trial):
        assert {key for key in keys(text) if not key.startswith("--")} == names


def test_every_key_of_the_card_is_documented() -> None:
    text = section(page("run-folder.md"), "card.json")
    assert {field.name for field in fields(Card)} == set(keys(text))


def test_error_kinds_and_exit_codes() -> None:
    text = section(PAGE, "Exit codes")
    classes: list[type[errors.UserError]] = [errors.UserError, *errors.UserError.__subclasses__()]
    kinds = {cls.kind: cls for cls in classes}
    assert set(kinds) == set(get_args(errors.Kind))
    for kind, cls in kinds.items():
        assert re.search(rf"^\| `{kind}` \|.*\| {main.CODES[cls.kind]} \|$", text, re.MULTILINE), kind
    for code in (0, *main.CODES.values(), main.INTERRUPTED):
        assert f"\n| {code} |" in text


def test_the_table_of_commands_lists_all() -> None:
    listed = keys(PAGE.partition("## Exit codes")[0])
    assert {name.split()[0] for name in listed} == set(COMMANDS)


EXAMPLES = sorted({line for file in PAGES for line in commands(file.read_text("utf-8"))})
HELP = [" ".join(line.split()) for path in LEAVES for line in [command(path.split()).help or ""]]


def test_every_command_has_an_example_in_its_help() -> None:
    assert [path for path, text in zip(LEAVES, HELP, strict=True) if "Example: tunesmith " not in text] == []


@pytest.mark.parametrize("line", [*EXAMPLES, *(text.partition("Example: ")[2] for text in HELP)])
def test_every_example_parses(line: str, tmp_path: Any) -> None:
    words, settings = parsed(line)
    if words[0] not in KINDS:
        return
    file = settings.pop("spec", None)
    from_file: dict[str, Any] = {}
    if file is not None:
        [text] = [t for p in DOCS for name, t in named_files(p.read_text("utf-8")).items() if name == "job.yaml"][:1]
        (tmp_path / file.name).write_text(text)
        from_file = read_spec(tmp_path / file.name)
    given = {name: value for name, value in settings.items() if value not in (None, [], ())}
    known = KINDS[words[0]].model_fields
    build_spec({**from_file, **{name: value for name, value in given.items() if name in known}}, words[0])
