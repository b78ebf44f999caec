"""What ``tunesmith.rft``, ``.sft`` and ``.dpo`` offer to Python: one call from a spec to a finished run."""

from collections.abc import Callable, Mapping
from typing import Any

from tunesmith.services import worker
from tunesmith.services.keeping import SILENT, Watcher
from tunesmith.services.run_folder import RunFolder
from tunesmith.spec import AnySpec, TrainSpec, build_spec


def runner(kind: type[TrainSpec]) -> Callable[..., RunFolder]:
    """The ``run`` of one kind of job."""

    def run(spec: AnySpec | Mapping[str, Any], watcher: Watcher = SILENT) -> RunFolder:
        """Run a job to its end in this process.

        Args:
            spec: a spec, or its settings by name.
            watcher: told of every step and finding.

        Returns:
            The run: ``.card()``, ``.metrics()``, ``.read_rollouts("step", 1)``, ``.findings()``, ``.path``.

        Raises:
            UserError: refused input, nothing written; JobStopped: the job ended itself, the folder says why.
        """
        checked = build_spec(spec, kind.model_fields["kind"].default) if isinstance(spec, Mapping) else spec
        return worker.start(checked, watcher)

    return run
