"""Before something is spent or released: ``rehearse`` a job, ``regrade`` a run's attempts, hold a run to ``gate``s."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tunesmith.cli.output import print_json, say
from tunesmith.cli.projects import with_project
from tunesmith.cli.runs import AsJson, Run

LABEL = 22


def add_to(app: typer.Typer, name: str) -> None:
    commands: dict[str, Callable[..., None]] = {"rehearse": rehearse, "regrade": regrade, "gate": gate}
    app.command(name)(commands[name])


def rehearse(
    spec: Annotated[Path, typer.Argument(help="YAML or TOML file with kind, base_model, dataset and settings.")],
    seconds: Annotated[float, typer.Option(help="Longest time for the job on the embedded model.", min=1.0)] = 60.0,
    json: AsJson = False,
) -> None:
    """The same job on the embedded model, for at most a minute, to catch faults before they cost.

    Example: tunesmith rehearse job.yaml
    """
    from tunesmith.services.rehearse import rehearse as tried
    from tunesmith.spec import build_spec, read_spec

    found = tried(build_spec(read_spec(spec)), seconds)
    if json:
        print_json(found.as_dict())
    else:
        for check in found.checks:
            typer.echo(f"{'ok' if check.ok else 'FAULT':<7}{check.name:<{LABEL}}{check.said}")
        for finding in found.findings:
            typer.echo(f"{finding.level:<7}  {finding.rule:<{LABEL}}{finding.saw}. {finding.advice}")
    if not found.ok:
        raise typer.Exit(1)


def regrade(
    run: Run,
    evaluator: Annotated[list[str], typer.Option(help="The changed grader; several with =weight.")],
    steps: Annotated[int | None, typer.Option(help="Only the newest so many steps.", min=1)] = None,
    held_out: Annotated[bool, typer.Option("--held-out", help="The held-out attempts instead.")] = False,
    json: AsJson = False,
) -> None:
    """Replay a run's attempts through a changed grader: what would it have said?

    Example: tunesmith regrade @latest --evaluator better.py::grade
    """
    from tunesmith.services.regrade import regrade as replayed
    from tunesmith.services.run_folder import find_run

    found = replayed(find_run(run), with_project(evaluator), steps, "eval" if held_out else "step")
    if json:
        print_json(found.as_dict())
    else:
        show_regrade(found.as_dict())


def show_regrade(found: Mapping[str, Any]) -> None:
    """What a changed grader said, in words."""

    def rank(value: float | None) -> str:
        return "all alike" if value is None else f"{value:+.3f}"

    typer.echo(f"{'attempts':<{LABEL}}{found['attempts']}")
    typer.echo(f"{'failures':<{LABEL}}{', '.join(f'{k} {v}' for k, v in found['failures'].items()) or 'none'}")
    typer.echo(f"{'mean reward':<{LABEL}}{found['reward_mean_old']:.3f} -> {found['reward_mean_new']:.3f}")
    typer.echo(f"{'rank agreement':<{LABEL}}{rank(found['spearman'])} overall, {rank(found['kendall'])} within groups")
    typer.echo(f"{'groups with signal':<{LABEL}}{found['signal_old']:.0%} -> {found['signal_new']:.0%}")
    typer.echo(f"{'changed sides':<{LABEL}}{found['changed_sides']} of {found['attempts']}")
    for example in found["examples"]:
        text = " ".join(example["text"].split())[:100]
        typer.echo(
            f"  {example['old']:g} -> {example['new']:g}  {example['prompt_id']}, step {example['step']}: {text}"
        )
    if found["top_errors"]:
        typer.echo(f"\n{found['top_errors']}")


def gate(
    run: Run,
    gates: Annotated[Path, typer.Argument(help="YAML file with a list of bounds under `gates`.")],
    json: AsJson = False,
) -> None:
    """Hold a run's numbers to bounds; exit code 1 when one does not hold.

    Example: tunesmith gate @latest gates.yaml
    """
    from dataclasses import asdict

    from tunesmith.services.gates import judge, read_gates
    from tunesmith.services.run_folder import find_run

    verdicts = judge(find_run(run), read_gates(gates))
    failed = [verdict for verdict in verdicts if not verdict.passed]
    if json:
        print_json({"passed": not failed, "verdicts": [asdict(verdict) for verdict in verdicts]})
    else:
        for verdict in verdicts:
            typer.echo(f"{'pass' if verdict.passed else 'FAIL':<6}{verdict.value:<10.4g}{verdict.gate}")
    if failed:
        say(f"{len(failed)} of {len(verdicts)} gates failed", fg="red")
        raise typer.Exit(1)
