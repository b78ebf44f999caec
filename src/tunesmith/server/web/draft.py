"""A job that somebody is making: everything chosen so far, as the address of a page holds it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, urlencode

from tunesmith.core.errors import UserError, unknown
from tunesmith.grading import GRADERS
from tunesmith.grading.evaluator import BuiltinTarget, parse_evaluators
from tunesmith.server.web.visitor import PREFIX
from tunesmith.services.jobs.job import Job, NewJob
from tunesmith.services.registry import EMBEDDED
from tunesmith.spec.load import KINDS

CREATE = f"{PREFIX}/create"
ELSEWHERE = ("kind", "base_model", "dataset", "evaluation_dataset", "evaluator", "output_dir")
"""Fields of a spec that are chosen on pages of their own, or not at all."""
UPLOADED = "uploaded:"


@dataclass(frozen=True, slots=True)
class Draft:
    """What was chosen. Settings are texts as they were typed; only those that are not empty."""

    kind: str = "rft"
    base_model: str = EMBEDDED
    dataset: str = ""
    evaluation_dataset: str = ""
    evaluators: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)

    def changed(self, settings: Mapping[str, str]) -> "Draft":
        """With some settings otherwise."""
        return replace(self, settings={**self.settings, **settings})

    def with_evaluator(self, evaluator: str) -> "Draft":
        """Graded by this one alone."""
        return replace(self, evaluators=(evaluator,))

    def href(self, page: str, **more: str) -> str:
        """The address of a page with this draft."""
        given = [("kind", self.kind), ("base_model", self.base_model), ("dataset", self.dataset)]
        given += [("evaluation_dataset", self.evaluation_dataset)]
        given += [("evaluator", evaluator) for evaluator in self.evaluators]
        given += [*self.settings.items(), *more.items()]
        return f"{CREATE}/{page}?{urlencode([(name, value) for name, value in given if value])}"

    def fields(self, without: Iterable[str] = ()) -> list[tuple[str, str]]:
        """The same as hidden fields of a form."""
        given = [("kind", self.kind), ("base_model", self.base_model), ("dataset", self.dataset)]
        given += [("evaluation_dataset", self.evaluation_dataset)]
        given += [("evaluator", evaluator) for evaluator in self.evaluators]
        left_out = {*without}
        return [(name, value) for name, value in [*given, *self.settings.items()] if value and name not in left_out]

    def new_job(self, typed: Mapping[str, Any] | None = None, **more: Any) -> NewJob:
        """The request for it.

        Args:
            typed: the settings as what they are, where they were read already.

        Raises:
            UserError: no dataset, or no grader where one is needed.
        """
        if not self.dataset:
            raise UserError("dataset", "none was chosen", "Choose one, or upload a file")
        settings: dict[str, Any] = {"base_model": self.base_model, **(self.settings if typed is None else typed)}
        if self.kind == "rft":
            if not self.evaluators:
                raise UserError("evaluator", "none was chosen", "Choose at least one grader")
            settings["evaluator"] = self.evaluators[0] if len(self.evaluators) == 1 else list(self.evaluators)
        return NewJob(self.kind, settings, self.dataset, self.evaluation_dataset or None, **more)


def draft_of(given: Iterable[tuple[str, str]]) -> Draft:
    """The draft in the fields of a form or an address; what is no part of one is left aside.

    Raises:
        UserError: an unknown kind of job.
    """
    pairs = [(name, value.strip()) for name, value in given]
    one = dict(pairs)
    kind = one.get("kind") or "rft"
    if kind not in KINDS:
        raise unknown("kind", kind, KINDS)
    known = KINDS[kind].model_fields
    return Draft(
        kind=kind,
        base_model=one.get("base_model") or EMBEDDED,
        dataset=one.get("dataset", ""),
        evaluation_dataset=one.get("evaluation_dataset", ""),
        evaluators=_evaluators(pairs),
        settings={name: value for name, value in one.items() if value and name in known and name not in ELSEWHERE},
    )


def draft_of_job(job: Job) -> Draft:
    """A draft that would make the same job again."""
    evaluator = job.settings.get("evaluator", ())
    settings = {
        name: _text(value) for name, value in job.settings.items() if name not in ELSEWHERE and value is not None
    }
    return Draft(
        job.kind,
        str(job.settings.get("base_model", EMBEDDED)),
        job.dataset,
        job.evaluation_dataset or "",
        (evaluator,) if isinstance(evaluator, str) else tuple(evaluator),
        settings,
    )


def _text(value: Any) -> str:
    """A setting as one would type it, to its last digit."""
    if isinstance(value, list):
        return ",".join(map(_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _evaluators(pairs: list[tuple[str, str]]) -> tuple[str, ...]:
    """Evaluator strings, as they are or put together from the boxes of the grader page."""
    one = dict(pairs)
    boxes = [value for name, value in pairs if name == "use"]
    if not boxes:
        return tuple(value for name, value in pairs if name == "evaluator" and value)
    return tuple(_evaluator(name, one) for name in dict.fromkeys(boxes))


def _evaluator(name: str, one: Mapping[str, str]) -> str:
    if name not in GRADERS:
        return name
    arguments = {key: one.get(f"{name}.{key}", "") for key in GRADERS[name].arguments()}
    told = "&".join(f"{key}={quote(value, safe=' /.,;+*?()[]{}|^$!<>')}" for key, value in arguments.items() if value)
    weight = one.get(f"{name}.weight", "")
    return name + (f":{told}" if told else "") + (f"={weight}" if weight else "")


def boxes_of(draft: Draft) -> dict[str, dict[str, str]]:
    """Grader -> what its boxes hold, for a draft that was put together before."""
    found: dict[str, dict[str, str]] = {e: {} for e in draft.evaluators if e.startswith(UPLOADED)}
    for evaluator in parse_evaluators(rest) if (rest := [e for e in draft.evaluators if e not in found]) else []:
        if isinstance(evaluator.target, BuiltinTarget):
            weight = {} if evaluator.weight is None else {"weight": f"{evaluator.weight:g}"}
            found[evaluator.target.name] = {k: _text(v) for k, v in evaluator.target.arguments.items()} | weight
    return found
