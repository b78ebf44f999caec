"""``tunesmith evaluator test``: try a grader before a job depends on it."""

from typing import Annotated, Any

import typer

from tunesmith.cli.nouns import add_group
from tunesmith.cli.projects import with_project


def add_to(app: typer.Typer, name: str) -> None:
    add_group(app, name, test)


def test(
    evaluator: Annotated[
        list[str],
        typer.Argument(
            help="`file.py::function`, a built-in, or a project as `folder::file.py::function`; several with =weight."
        ),
    ],
    dataset: Annotated[str, typer.Option(help="Rows to try it on, a JSONL file.")],
    base_model: Annotated[
        str | None, typer.Option(help="Model whose attempts are graded; without it, the rows' own answers are.")
    ] = None,
    n: Annotated[int, typer.Option("--n", help="Attempts per row.")] = 8,
    rows: Annotated[int, typer.Option(help="Rows to try.", min=1)] = 10,
    temperature: Annotated[float, typer.Option(help="Randomness of the attempts.")] = 0.7,
    max_tokens: Annotated[int, typer.Option(help="Longest attempt.")] = 256,
    timeout_s: Annotated[float, typer.Option(help="Wall time of one grading.")] = 10.0,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on the last line.")] = False,
) -> None:
    """Scores, failures, time per call, a histogram, and the share of groups that would carry a signal.

    Example: tunesmith evaluator test grader.py::grade --dataset rows.jsonl --base-model embedded --n 8
    """
    from tunesmith.spec import RftSpec, build_spec

    settings: dict[str, Any] = {
        "dataset": dataset,
        "evaluator": with_project(evaluator),
        "base_model": base_model or "embedded",
        "response_candidates_count": n,
        "temperature": temperature,
        "max_tokens": max_tokens,
        "grader_timeout_s": timeout_s,
        "eval_auto_carveout": False,
        "limits": "off",
    }
    spec = build_spec(settings, "rft")
    assert isinstance(spec, RftSpec), "kind is rft"
    from tunesmith.cli.output import print_json
    from tunesmith.services.try_grader import try_grader

    trial = try_grader(spec, rows, sample=base_model is not None)
    if json:
        print_json(trial.as_dict())
        return
    mean = "none" if trial.reward_mean is None else f"{trial.reward_mean:.3f}"
    typer.echo(f"{'attempts':<22}{trial.attempts} at {trial.rows} rows")
    typer.echo(f"{'mean reward':<22}{mean}")
    typer.echo(f"{'time per call':<22}{trial.ms_per_call:.2f} ms, slowest {trial.ms_slowest:.1f} ms")
    typer.echo(f"{'failures':<22}{', '.join(f'{k} {v}' for k, v in trial.failures.items()) or 'none'}")
    most = max((count for _, _, count in trial.histogram), default=1)
    for low, high, count in trial.histogram:
        typer.echo(f"  {low:8.3f} ... {high:8.3f}  {'█' * round(40 * count / most)} {count}")
    if trial.groups_with_signal is not None:
        expected = "" if trial.expected_signal is None else f" (expected on average: {trial.expected_signal:.0%})"
        typer.echo(f"{'groups with signal':<22}{trial.groups_with_signal:.0%}{expected}")
    for line in trial.advice:
        typer.echo(f"  {line}")
    if trial.top_errors:
        typer.echo(f"\n{trial.top_errors}")
