"""How a job begins as the fork of another: with a run folder that holds the shared past, before any worker sees it."""

import shutil
from collections.abc import Callable, Collection
from typing import Any

from tunesmith.core.errors import NotFound
from tunesmith.services.fork import fork
from tunesmith.services.jobs.folders import Folders
from tunesmith.services.jobs.job import Job
from tunesmith.services.jobs.rows import JobRow
from tunesmith.services.jobs.workers import LOG
from tunesmith.services.run_folder import Parent
from tunesmith.spec import AnySpec

NAMED = ("base_model", "warm_start_from", "evaluator")
"""Settings that a spec has as folders of the server, and a request by their names."""


def queue_fork(
    folders: Folders, parent: JobRow, row: JobRow, spec: AnySpec, at_step: int | None, insert: Callable[[], Job]
) -> Job:
    """Prepare the run of a fork and queue it; where no row comes of it, nothing is left.

    Args:
        spec: all settings of the fork.
        insert: writes the row, or finds the one that the same request made before.

    Raises:
        NotFound: the parent has not begun, or no checkpoint of that step is kept.
        UserError: nothing changes, or a setting that the shared past rests on.
    """
    before = folders.run(parent.id)
    if not (before.path / "state.json").is_file():
        raise NotFound(parent.name, "has not begun, so there is no past to share", "Clone it instead")
    made = None
    try:
        run = fork(before, spec.model_dump(), at_step, folders.run(row.id).path)
        run.set_name(row.name)
        origin = run.parent()
        assert origin is not None, "it is a fork"
        row.forked = {"step": origin.step, "changed": _in_names(origin, parent, row)}
        made = insert()
        return made
    finally:
        if made is None or made.id != row.id:
            shutil.rmtree(folders.of(row.id), ignore_errors=True)


def sweep_forks(folders: Folders, known: Collection[str]) -> None:
    """Remove forks whose server died before their row was written: no worker was ever in them."""
    for marker in folders.root.glob("*/run/parent.json"):
        folder = marker.parent.parent
        if folder.name not in known and not (folder / LOG).exists():
            shutil.rmtree(folder, ignore_errors=True)


def _in_names(origin: Parent, parent: JobRow, row: JobRow) -> dict[str, list[Any]]:
    """What was changed, told by the names that it was asked for by."""
    named = {name: [parent.settings.get(name), row.settings.get(name)] for name in NAMED}
    named |= {name: [getattr(parent, name), getattr(row, name)] for name in ("dataset", "evaluation_dataset")}
    return {name: named.get(name, pair) for name, pair in origin.changed.items()}
