"""From a job's row to the spec that its worker runs: names become folders here, and a client's paths are refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import or_, select

from tunesmith.core.errors import NotFound, UserError
from tunesmith.grading import GRADERS
from tunesmith.grading.answers import Folder
from tunesmith.grading.evaluator import BuiltinTarget, FileTarget, parse_evaluators
from tunesmith.services.datasets import Datasets
from tunesmith.services.jobs.job import Job, NewJob
from tunesmith.services.jobs.rows import JobRow
from tunesmith.services.registry import EMBEDDED, Registry
from tunesmith.services.run_folder import RunFolder
from tunesmith.services.store import Store
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

    def __init__(self, store: Store, datasets: Datasets, registry: Registry, folders: Folders) -> None:
        self._store, self._datasets, self._registry, self._folders = store, datasets, registry, folders

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
            settings["warm_start_from"] = str(self._trained(owner, str(settings["warm_start_from"])) / "adapter")
        settings["dataset"] = str(self._datasets.file(owner, job.dataset))
        if job.evaluation_dataset is not None:
            settings["evaluation_dataset"] = str(self._datasets.file(owner, job.evaluation_dataset))
        settings["output_dir"] = str(self._folders.run(job_id).path)
        return build_spec(settings, job.kind)

    def _base_model(self, owner: str, name: str) -> Path:
        """A registered model, or all weights that an earlier job of the owner trained."""
        try:
            return self._registry.find(name).folder
        except NotFound as unknown_name:
            try:
                run = self._trained(owner, name)
            except NotFound:
                raise unknown_name from None
        if (run / "model").is_dir():
            return run / "model"
        mend = f"Give its own base model as base_model, and warm_start_from: {name}"
        raise UserError(name, "is an adapter (HF_PEFT_ADDON), not of kind base_model", mend)

    def _trained(self, owner: str, name: str) -> Path:
        """The run folder of a job of the owner that has a result, by its id, name or output model; the newest."""
        named = or_(JobRow.id == name, JobRow.name == name, JobRow.output_model == name)
        ended = JobRow.state.in_(("succeeded", "early_stopped"))
        found = select(JobRow.id).where(JobRow.owner == owner, named, ended).order_by(JobRow.created_at.desc())
        with self._store.begin() as db:
            job_id = db.scalar(found.limit(1)) if name.isprintable() else None
        if job_id is None:
            raise NotFound(name[:128], "no such model, and no job that has trained one", "Give a name that there is")
        return self._folders.run(job_id).path


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
