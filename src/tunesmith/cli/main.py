"""``tunesmith``: finds the command's file, runs it, and turns every refusal into one line and an exit code.

Only the file of the command that was asked for is imported, so that ``--help`` answers at once.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Annotated

import typer

from tunesmith import __version__
from tunesmith.cli.listing import AllCommands
from tunesmith.core.errors import Kind, UserError

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "Teach the embedded model to carry, in about a minute, and show that it learned."),
    "rft": ("jobs", "Reinforcement fine-tuning: a dataset, a grader, and a model that gets better."),
    "sft": ("jobs", "Supervised fine-tuning on conversations."),
    "dpo": ("jobs", "Preference tuning on pairs of answers."),
    "resume": ("runs", "Go on with a run that was stopped, killed or failed."),
    "eval": ("tuned", "Score a run or model on held-out rows."),
    "sample": ("tuned", "Chat with a run or model in the terminal."),
    "report": ("runs", "Write a run's report.html anew."),
    "card": (
        "card",
        "Write a run's card: held-out before and after, whether to trust it, what it cost, and how to do it again.",
    ),
    "compare": ("runs", "Runs side by side: settings that differ, curves, results."),
    "fork": ("runs", "Another run with settings changed, that shares this one's past up to a kept step."),
    "runs": ("runs", "All runs, forks under those they come from, with what changed and what came of it."),
    "regrade": ("trials", "Replay a run's attempts through a changed grader: what would it have said?"),
    "gate": ("trials", "Hold a run's numbers to bounds; exit code 1 when one does not hold."),
    "rehearse": (
        "trials",
        "The same job on the embedded model, for at most a minute, to catch faults before they cost.",
    ),
    "advise": ("advise", "What a run shows, ranked, and the one change to try next."),
    "import": ("importing", "Read a run configuration from elsewhere, and say of every key what becomes of it."),
    "track": ("track", "Report a run to experiment trackers, or what they have not been told yet."),
    "plan": ("plan", "Steps, tokens, memory and time of a spec, before anything is spent."),
    "dataset": ("dataset", "Check and preview datasets."),
    "evaluator": ("evaluator", "Try a grader before a job depends on it."),
    "doctor": ("doctor", "What on this machine is fit for work, and how to mend what is not."),
    "serve": ("serve", "Serve jobs, models and a web page, and answer clients that you already have."),
    "dashboard": ("dashboard", "A link that opens the web page of a running server."),
    "status": ("status", "Workers, models and queues of a running server."),
    "keys": ("keys", "Keys of the server's clients."),
    "db": ("db", "The server's database: its revision, back-ups, their return."),
    "models": ("models", "Models of the server: base models that it offers, and what was tuned."),
    "jobs": ("managed", "Jobs of the server: list, follow, stop, go on, clone."),
    "evaluations": ("evaluations", "Evaluations of the server: how good a model is on a dataset, and its answers."),
    "datasets": ("datasets", "Datasets of the server: upload, check, download."),
    "evaluators": ("evaluators", "Evaluators of the server: upload, look at their build, delete."),
    "deployments": ("deployments", "Names under which the server answers for a model."),
    "secrets": ("secrets", "Secrets that evaluators on the server may use."),
    "chat": ("chat", "Chat with a model of the server."),
    "login": ("login", "Keep a server's address and a key, for the commands that ask it."),
    "env": ("env", "The lines that point a client you already have at the server."),
}
ALIASES = {"sftj": "sft", "rftj": "rft", "dpoj": "dpo"}
"""Names that people know from another command line -> kind of job."""
REFUSED, FAILED, NOT_FOUND, DENIED, CONFLICT, INTERRUPTED = 2, 1, 3, 4, 5, 130
CODES: dict[Kind, int] = {
    "invalid": REFUSED,
    "not_found": NOT_FOUND,
    "conflict": CONFLICT,
    "denied": DENIED,
    "stopped": FAILED,
}
COMPLETE = "_TUNESMITH_COMPLETE"


def build(wanted: str | None) -> typer.Typer:
    """The app with the wanted command in full and the others by name and help only."""
    app = typer.Typer(
        name="tunesmith",
        cls=AllCommands,
        help="Fine-tune models on your own machine.\n\nExample: tunesmith demo",
        no_args_is_help=True,
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
    """Exit codes: 0 done, 1 the job failed, 2 refused, 3 not found, 4 no access, 5 in conflict, 130 interrupted."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    sys.argv[1:] = with_alias(sys.argv[1:])
    try:
        build(wanted(sys.argv[1:], os.environ))()
    except UserError as e:
        _fail(str(e), CODES[e.kind])
    except KeyboardInterrupt:
        _fail("interrupted", INTERRUPTED)


def wanted(arguments: Sequence[str], environment: Mapping[str, str]) -> str | None:
    """The command that was asked for, also by a shell that completes what is being typed."""
    typed = environment.get("COMP_WORDS") or environment.get("_TYPER_COMPLETE_ARGS")
    words = typed.split()[1:] if COMPLETE in environment and typed else arguments
    return next((word for word in words if not word.startswith("-")), None)


def with_alias(arguments: Sequence[str]) -> list[str]:
    """``sftj list`` is ``jobs list --kind sft``, ``sftj create`` is ``sft create``, ``sftj get`` is ``jobs get``."""
    kind = ALIASES.get(arguments[0]) if arguments else None
    if kind is None:
        return list(arguments)
    verb, *rest = arguments[1:] or ["--help"]
    if verb in ("create", "run"):
        return [kind, verb, *rest]
    return ["jobs", verb, *(["--kind", kind] if verb == "list" else []), *rest]


def _fail(text: str, code: int) -> None:
    typer.secho(f"error: {text}", fg="red", err=True)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
