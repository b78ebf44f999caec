"""``tunesmith``: finds the command's file, runs it, and turns every refusal into one line and an exit code.

Only the file of the command that was asked for is imported, so that ``--help`` answers at once.
"""

import os
import sys
from importlib import import_module
from typing import Annotated

import typer

from tunesmith import __version__
from tunesmith.core.errors import JobStopped, UserError

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "Teach the embedded model to carry, in about a minute, and show that it learned."),
    "rft": ("jobs", "Reinforcement fine-tuning: a dataset, a grader, and a model that gets better."),
    "sft": ("jobs", "Supervised fine-tuning on conversations."),
    "dpo": ("jobs", "Preference tuning on pairs of answers."),
    "resume": ("runs", "Go on with a run that was stopped, killed or failed."),
    "eval": ("tuned", "Score a run or model on held-out rows."),
    "sample": ("tuned", "Chat with a run or model in the terminal."),
    "report": ("runs", "Write a run's report.html anew."),
    "compare": ("runs", "Two runs side by side: settings that differ, curves, results."),
    "import": ("importing", "A run configuration from elsewhere as a spec: TRL, Fireworks, OpenAI, Tinker's cookbook."),
    "track": ("track", "Report a run to experiment trackers: wandb, mlflow, tensorboard, trackio, OpenTelemetry."),
    "plan": ("plan", "Steps, tokens, memory and time of a spec, before anything is spent."),
    "dataset": ("dataset", "Check and preview datasets."),
    "evaluator": ("evaluator", "Try a grader before a job depends on it."),
    "serve": ("serve", "Serve the Training API to clients that you already have."),
    "login": ("login", "A link that opens the web page of a running server."),
    "status": ("status", "Workers, models and queues of a running server."),
    "keys": ("keys", "Keys of the server's clients."),
    "db": ("db", "The server's database: its revision, back-ups, their return."),
    "models": ("models", "Base models that the server offers."),
}
REFUSED, FAILED, INTERRUPTED = 2, 1, 130


def build(wanted: str | None) -> typer.Typer:
    """The app with the wanted command in full and the others by name and help only."""
    app = typer.Typer(
        name="tunesmith",
        help="Fine-tune models on your own machine.\n\nExample: tunesmith demo",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_options)
    for name, (module, text) in COMMANDS.items():
        if name == wanted:
            import_module(f"tunesmith.cli.{module}").add_to(app, name)
        else:
            app.command(name, help=text)(_named_only)
    return app


def _named_only() -> None:
    """Stands for a command whose file was not imported."""


def _version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Options of no command."""


def main() -> None:
    """Exit codes: 0 done, 1 the job failed, 2 the input was refused, 130 interrupted."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    wanted = next((a for a in sys.argv[1:] if not a.startswith("-")), None)
    try:
        build(wanted)()
    except JobStopped as e:
        _fail(str(e), FAILED)
    except UserError as e:
        _fail(str(e), REFUSED)
    except KeyboardInterrupt:
        _fail("interrupted", INTERRUPTED)


def _fail(text: str, code: int) -> None:
    typer.secho(f"error: {text}", fg="red", err=True)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
