"""A folder with a project, where a command takes a grader: built on this machine before it is used."""

from collections.abc import Sequence
from pathlib import Path

from tunesmith.cli.output import say
from tunesmith.cli.serve import HOME


def with_project(evaluators: Sequence[str]) -> str | list[str]:
    """``folder::file.py::function`` as the evaluator of a spec; graders of other kinds as they are.

    Raises:
        UserError: a project that cannot be built.
    """
    folder, _, entry_point = evaluators[0].partition("::")
    if len(evaluators) > 1 or not Path(folder).expanduser().is_dir():
        return list(evaluators)
    from tunesmith.services.local_projects import built

    return built(Path(folder).expanduser().resolve(), entry_point, HOME.expanduser(), lambda text: say(f"  {text}"))
