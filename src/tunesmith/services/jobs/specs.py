"""From a job's row to the spec that its worker runs: names become folders here, and a client's paths are refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tunesmith.core.errors import NotFound, UserError
from tunesmith.grading import GRADERS
from tunesmith.grading.answers import Folder
from tunesmith.grading.evaluator import BuiltinTarget, FileTarget, parse_evaluators
from tunesmith.services.datasets import Datasets
from tunesmith.services.jobs.job import Job, NewJob
from tunesmith.services.jobs.results import Results
from tunesmith.services.jobs.rows import JobRow
from tunesmith.services.registry import EMBEDDED, Registry
from tunesmith.services.run_folder import RunFolder
from tunesmith.spec import AnySpec, RftSpec, build_spec

OURS = ("dataset", "evaluation_dataset", "output_dir")
"""Settings of a spec that a job on a server has elsewhere."""
LIMITS = ("managed", "extended")


@dataclass(frozen=True, slots=True)
class Folders:
    """Where jobs keep their files: ``<root>/<id>/run`` is the run folder."""

    root: Path

    def of(self, job_id: str) -> Path:
        return self.root / job_id

    def run(self, job_id: str) -> RunFolder:
        return RunFolder(self.of(job_id) / "run")


class Specs:
    """Makes specs of jobs."""

    def __init__(self, datasets: Datasets, registry: Registry, results: Results, folders: Folders) -> None:
        self._datasets, self._registry, self._results, self._folders = datasets, registry, results, folders

    def build(self, owner: str, job_id: str, job: NewJob | Job | JobRow) -> AnySpec:
        """
        Raises:
            UserError: a setting that is refused; names it.
            NotFound: the base model, a dataset, or what to start from.
            Conflict: a dataset is not READY.
        """
        settings = dict(job.settings)
        for name in OURS:
            if name in settings:
                raise UserError(name, "is no setting of a job on a server", "Name datasets by their ids")
        if settings.get("limits", "managed") not in LIMITS:
            raise UserError("limits", f"cannot be {settings['limits']!r} here", f"Give {' or '.join(LIMITS)}")
        settings["base_model"] = str(self._base_model(owner, str(settings.get("base_model", EMBEDDED))))
        if settings.get("warm_start_from") is not None:
            settings["warm_start_from"] = str(self._results.adapter(owner, str(settings["warm_start_from"])))
        settings["dataset"] = str(self._datasets.file(owner, job.dataset))
        if job.evaluation_dataset is not None:
            settings["evaluation_dataset"] = str(self._datasets.file(owner, job.evaluation_dataset))
        settings["output_dir"] = str(self._folders.run(job_id).path)
        return build_spec(settings, job.kind)

    def _base_model(self, owner: str, name: str) -> Path:
        try:
            return self._registry.find(name).folder
        except NotFound:
            self._results.check_base(owner, name)
            raise


def check_evaluator(spec: AnySpec, user_code: bool) -> None:
    """Refuse graders that are not there, and files where a client named them.

    Raises:
        UserError: an evaluator that cannot be read, or a file.
    """
    if not isinstance(spec, RftSpec):
        return
    strings: Sequence[str] = [spec.evaluator] if isinstance(spec.evaluator, str) else spec.evaluator
    if not user_code and any("::" in text for text in strings):
        raise UserError("evaluator", "is a file, which a server does not open for a client", "Name a built-in grader")
    targets = [evaluator.target for evaluator in parse_evaluators(spec.evaluator)]
    if not user_code and any(isinstance(target, FileTarget) or _opens_folder(target) for target in targets):
        raise UserError("evaluator", "reads files of the server", "Name a grader that reads the rows alone")


def _opens_folder(target: BuiltinTarget) -> bool:
    kinds = GRADERS[target.name].arguments()
    return any(kinds[name] is Folder for name in target.arguments)
