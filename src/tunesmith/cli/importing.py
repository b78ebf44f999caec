"""``tunesmith import``: a run configuration from elsewhere as a spec of ours."""

from pathlib import Path
from typing import Annotated, Any

import typer

SOURCES = "grpo-yaml, trl, fireworks, openai, cookbook"


def add_to(app: typer.Typer, name: str) -> None:
    app.command(name)(import_)


def import_(
    file: Annotated[Path, typer.Argument(help="Configuration of another tool: YAML, TOML or JSON.")],
    base_model: Annotated[str | None, typer.Option(help="The model here; wins over the file's.")] = None,
    dataset: Annotated[str | None, typer.Option(help="The training rows here.")] = None,
    evaluation_dataset: Annotated[str | None, typer.Option(help="The held-out rows here.")] = None,
    evaluator: Annotated[list[str] | None, typer.Option(help="The grader here; may be repeated.")] = None,
    source: Annotated[
        str | None, typer.Option("--from", help=f"Whose it is: {SOURCES}; default: told by its keys.")
    ] = None,
    kind: Annotated[str | None, typer.Option(help="rft, sft or dpo, where the file does not tell.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Spec file to write; default FILE's name with -spec.yaml, here.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a spec file that is there.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON on the last line.")] = False,
) -> None:
    """Read a run configuration from elsewhere, and say of every key what becomes of it.

    Example: tunesmith import trl-grpo.yaml --base-model ./model --dataset rows.jsonl --evaluator grader.py::grade
    """
    from tunesmith.cli.output import print_json, say
    from tunesmith.core.errors import Conflict
    from tunesmith.services.importing import import_file
    from tunesmith.services.importing.report import as_dict, as_text, as_yaml, check_whole

    given = {"base_model": base_model, "dataset": dataset, "evaluation_dataset": evaluation_dataset}
    own: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    own |= {"evaluator": evaluator} if evaluator else {}
    found = import_file(file, own, source, kind)
    typer.echo(as_text(found))
    check_whole(found, str(file))
    counts = _counts(found.spec())
    for name, count in counts.items():
        typer.echo(f"{name.replace('_', ' '):<14}{count:,}")
    target = out or Path(f"{file.stem}-spec.yaml")
    if target.exists() and not force:
        raise Conflict(str(target), "is there already", "Give another --out, or --force")
    target.write_text(as_yaml(found), "utf-8")
    say(f"\nwritten to {target}")
    say(f"time and memory: tunesmith plan {target}   run it: tunesmith {found.kind} run --spec {target}")
    if json:
        print_json(as_dict(found) | {"spec": str(target), **counts})


def _counts(spec: Any) -> dict[str, int]:
    """Steps, evaluations and checkpoints, where the rows are here to be counted."""
    from tunesmith.services.importing.importer import steps_of

    if not Path(spec.dataset).is_file():
        return {}
    with Path(spec.dataset).open("rb") as lines:
        rows = sum(bool(line.strip()) for line in lines)
    return steps_of(spec, rows)
