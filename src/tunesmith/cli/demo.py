"""``tunesmith demo``: the whole thing once, on the model that ships with the package."""

from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer, name: str) -> None:
    app.command(name)(demo)


def demo(
    output_dir: Annotated[Path | None, typer.Option(help="Run folder; default runs/demo-<time>.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bits.", min=0)] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print the card as JSON on the last line.")] = False,
) -> None:
    """Teach the embedded model to carry, in about a minute, and show that it learned.

    Example: tunesmith demo
    """
    from tunesmith.cli.output import say
    from tunesmith.cli.progress import drive
    from tunesmith.services import worker
    from tunesmith.services.demo import demo_spec

    spec = demo_spec(output_dir, seed)
    say("Reinforcement fine-tuning of the embedded model on two-digit sums. It knows how to add, but forgets to carry.")
    drive("rft", lambda watcher: worker.start(spec, watcher), json)
