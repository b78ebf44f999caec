"""From a job's row to the spec that its worker runs: names become folders here, and a client's paths are refused."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tunesmith.core.errors import NotFound, UserError
from tunesmith.grading import GRADERS
from tunesmith.grading.answers import Folder
from tunesmith.grading.composed import PREFIX as COMPOSED
from tunesmith.grading.composed import runs_python
from tunesmith.grading.evaluator import BuiltinTarget, ComposedTarget, FileTarget, Target, parse_evaluators
from tunesmith.grading.projects import manifest
from tunesmith.grading.projects.manifest import PROJECT
from tunesmith.services.datasets import Datasets
from tunesmith.services.evaluators import PREFIX, Evaluators
from tunesmith.services.jobs.evaluations import asked_of, check_settings
from tunesmith.services.jobs.folders import Folders
from tunesmith.services.jobs.job import Job, NewJob
from tunesmith.services.jobs.job_kinds import JOB_KINDS
from tunesmith.services.jobs.results import Results
from tunesmith.services.jobs.rows import JobRow
from tunesmith.services.model_names import ModelNames, located
from tunesmith.services.registry import EMBEDDED, Registry
from tunesmith.spec import AnySpec, build_spec

OURS = ("dataset", "evaluation_dataset", "output_dir")
"""Settings of a spec that a job on a server has elsewhere."""
LIMITS = ("managed", "extended")


class Specs:
    """Makes specs of jobs."""

    def __init__(
        self,
        datasets: Datasets,
        registry: Registry,
        results: Results,
        folders: Folders,
        evaluators: Evaluators,
        models: ModelNames,
    ) -> None:
        self._datasets, self._registry, self._results, self._folders = datasets, registry, results, folders
        self._evaluators, self._models = evaluators, models

    def secrets(self, owner: str) -> dict[str, str]:
        """What the owner's jobs and evaluators may know."""
        return self._evaluators.secrets(owner)

    def build(self, owner: str, job_id: str, job: NewJob | Job | JobRow) -> AnySpec:
        """
        Raises:
            UserError: a setting that is refused; names it.
            NotFound: the base model, a dataset, an evaluator, or what to start from.
            Conflict: a dataset is not READY, or an evaluator is not ACTIVE.
        """
        settings = dict(job.settings)
        for name in OURS:
            if name in settings:
                raise UserError(name, "is no setting of a job on a server", "Name datasets by their ids")
        if settings.get("grader_network"):
            raise UserError("grader_network", "is refused: graders on a server reach nothing", "Leave it out")
        if settings.get("limits", "managed") not in LIMITS:
            raise UserError("limits", f"cannot be {settings['limits']!r} here", f"Give {' or '.join(LIMITS)}")
        kind = JOB_KINDS[job.kind]
        settings = (self._sampled if kind.outcome == "dataset" else self._trained)(owner, settings)
        settings["dataset"] = str(self._datasets.file(owner, job.dataset))
        if job.evaluation_dataset is not None:
            settings["evaluation_dataset"] = str(self._datasets.file(owner, job.evaluation_dataset))
        if "evaluator" in settings:
            settings |= self._graded(owner, settings)
        settings["output_dir"] = str(self._folders.run(job_id).path)
        return build_spec(settings, kind.spec)

    def _trained(self, owner: str, settings: dict[str, Any]) -> dict[str, Any]:
        """Settings with the folders of what is trained."""
        found = {**settings, "base_model": str(self._base_model(owner, str(settings.get("base_model", EMBEDDED))))}
        if settings.get("warm_start_from") is not None:
            found["warm_start_from"] = str(self._results.adapter(owner, str(settings["warm_start_from"])))
        return found

    def _sampled(self, owner: str, settings: dict[str, Any]) -> dict[str, Any]:
        """Settings with the folders of what an evaluation samples, in place of what only it knows."""
        check_settings(settings)
        found = {**asked_of(settings), "eval_auto_carveout": False}
        if settings.get("model") is None:
            return found
        weights = self._models.folders(owner, str(settings["model"]))
        adapter = None if weights.adapter is None else str(weights.adapter)
        return {**found, "base_model": str(weights.base), "warm_start_from": adapter}

    def evaluator(self, owner: str, given: Any) -> Any:
        """An evaluator as a spec has it: folders for what was uploaded, and for the models that it asks.

        Raises:
            NotFound, Conflict: an uploaded one that is not there, or not ACTIVE.
        """
        if isinstance(given, list):
            alone = len(given) == 1 and str(given[0]).startswith(PREFIX)
            return self.evaluator(owner, given[0]) if alone else [self.evaluator(owner, one) for one in given]
        text = str(given)
        if text.startswith(PREFIX):
            return f"{PROJECT}{self._evaluators.resolve(owner, text.removeprefix(PREFIX))}"
        return located(text, partial(self._models.folders, owner))

    def _graded(self, owner: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The evaluator, and how many rollouts an uploaded one bears unless the job says."""
        evaluator = self.evaluator(owner, settings["evaluator"])
        if not str(evaluator).startswith(PROJECT) or settings.get("max_concurrent_rollouts") is not None:
            return {"evaluator": evaluator}
        traits = manifest.read(Path(evaluator.removeprefix(PROJECT))).traits
        return {"evaluator": evaluator, "max_concurrent_rollouts": traits.max_concurrent_rollouts}

    def _base_model(self, owner: str, name: str) -> Path:
        try:
            return self._registry.find(name).folder
        except NotFound:
            self._results.check_base(owner, name)
            raise


def check_evaluator(evaluator: object, user_code: bool) -> None:
    """Refuse graders that are not there, and files where a client named them.

    Args:
        evaluator: as the client gave it; ``uploaded:<id>`` was looked up already.

    Raises:
        UserError: an evaluator that cannot be read, or a file.
    """
    strings = [str(e) for e in (evaluator if isinstance(evaluator, list) else [evaluator])]
    if any(text.startswith(PREFIX) for text in strings):
        if len(strings) > 1:
            raise UserError("evaluator", "sums an uploaded evaluator with others", "Name it alone: its code can add up")
        return
    if not user_code and any(_names_a_file(text) for text in strings):
        raise UserError("evaluator", "is a file, which a server does not open for a client", "Name a built-in grader")
    targets = [evaluator.target for evaluator in parse_evaluators(strings)]
    if not user_code and any(_opens_files(target) for target in targets):
        raise UserError("evaluator", "reads files of the server", "Name a grader that reads the rows alone")


def runs_code(evaluator: object) -> bool:
    """Whether a grader runs code of a user, or of a model that a user trains."""
    strings = [str(e) for e in (evaluator if isinstance(evaluator, list) else [evaluator])]
    if any(text.startswith(PREFIX) for text in strings):
        return True
    return any(_runs_code(evaluator.target) for evaluator in parse_evaluators(strings))


def _runs_code(target: Target) -> bool:
    if isinstance(target, ComposedTarget):
        return runs_python(target.grader)
    return isinstance(target, FileTarget) or (isinstance(target, BuiltinTarget) and GRADERS[target.name].runs_code)


def _names_a_file(text: str) -> bool:
    return ("::" in text and not text.startswith(COMPOSED)) or text.startswith(PROJECT)


def _opens_files(target: Target) -> bool:
    """Whether a setting or a row can name a file of the server's."""
    if not isinstance(target, BuiltinTarget):
        return isinstance(target, FileTarget)
    kinds = GRADERS[target.name].arguments()
    return GRADERS[target.name].opens_files or any(kinds[name] is Folder for name in target.arguments)
