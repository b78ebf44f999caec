"""From dataset files to what recipes take: rows rendered by the model's template, lengths checked line by line."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from tunesmith.core.errors import UserError
from tunesmith.core.ports import Renderer
from tunesmith.core.shift import sequence_to_datum
from tunesmith.core.types import Datum, Prompt, Rollout, Segment
from tunesmith.data import Attempt, DpoRow, Problem, Report, RftRow, Row, SftRow, carve_out, load_rows
from tunesmith.data.split import FEWEST
from tunesmith.grading.evaluator import parse_evaluators
from tunesmith.grading.sums import recorded_score
from tunesmith.recipes.dpo import Pair
from tunesmith.spec import DpoSpec, RftSpec, SftSpec, TrainSpec

R = TypeVar("R", bound=Row)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Prepared(Generic[T]):
    """A job's data."""

    train: list[T]
    heldout: list[T]
    notes: tuple[str, ...]
    """What was skipped, ignored or held out, in words."""


class _TooLong(Exception):
    """A row that does not fit; says how long it is and what the limit is."""


def prepare_rft(spec: RftSpec, renderer: Renderer, context: int) -> Prepared[Prompt]:
    limit = min(spec.max_context_length, context)
    if spec.recorded:
        return _prepare_recorded(spec, renderer, limit)
    if limit <= spec.max_tokens:
        problem = f"max_tokens {spec.max_tokens} leaves no room for a prompt in a context of {limit} tokens"
        raise UserError("max_tokens", problem, f"Set max_tokens below {limit}")

    def render(row: RftRow) -> Prompt:
        tokens = renderer.prompt(row.messages, row.tools)
        _fit(len(tokens) + spec.max_tokens, limit, f"{len(tokens)} prompt tokens + max_tokens {spec.max_tokens}")
        return Prompt(row.prompt_id, row.row, tokens)

    found = _prepare(spec, load_rows(Path(spec.dataset), "rft", spec.skip_bad_rows), render)
    return replace(found, train=distinct(found.train), heldout=distinct(found.heldout))


def _prepare_recorded(spec: RftSpec, renderer: Renderer, limit: int) -> Prepared[Prompt]:
    """Prompts with the attempts that their rows hold, each with its score."""
    evaluators = parse_evaluators(spec.evaluator)

    def attempt(row: RftRow, recorded: Attempt, where: str) -> Rollout:
        given = [{**message, "weight": 0} for message in recorded.messages[: len(row.messages)]]
        tokens, weights = renderer.conversation([*given, *recorded.messages[len(given) :]], row.tools)
        _fit(len(tokens), limit, f"{len(tokens)} tokens")
        sampled = weights > 0
        if not sampled.any():
            raise UserError(where, "no token would be trained", "Give an assistant message weight 1 and content")
        end = int(np.flatnonzero(sampled)[-1]) + 1  # what templates write after a turn nobody learns from
        segment = Segment(tokens[:end], sampled[:end], np.zeros(end, np.float32))
        score = recorded_score(evaluators, recorded.scores, where)
        return Rollout((segment,), renderer.decode(tokens[sampled]), 0, "stop", score)

    def render(row: RftRow) -> Prompt:
        if not row.attempts:
            mend = 'Write {"samples": [...]}, or name a grader that judges new attempts'
            raise UserError("samples", "no attempts, and evaluator is recorded", mend)
        attempts = [attempt(row, one, f"samples[{i}]") for i, one in enumerate(row.attempts)]
        others = {name: value for name, value in row.row.items() if name != "samples"}
        shown = {"messages": list(row.messages), **others}  # each attempt is stored with it, and not with all others
        return Prompt(row.prompt_id, shown, renderer.prompt(row.messages, row.tools), tuple(attempts))

    _, rendered, notes = _render(load_rows(Path(spec.dataset), "rft", spec.skip_bad_rows), render, spec.skip_bad_rows)
    return Prepared(distinct(rendered), [], (*notes, "no held-out rows: recorded scores judge no new attempts"))


def prepare_sft(spec: SftSpec, renderer: Renderer, context: int) -> Prepared[Datum]:
    limit = min(spec.max_context_length, context)

    def render(row: SftRow) -> Datum:
        tokens, weights = renderer.conversation(row.messages, row.tools)
        _fit(len(tokens), limit, f"{len(tokens)} tokens")
        if not weights[1:].any():
            raise UserError("messages", "no token would be trained", "Give an assistant message weight 1 and content")
        return sequence_to_datum(tokens, weights * np.float32(row.weight))

    return _prepare(spec, load_rows(Path(spec.dataset), "sft", spec.skip_bad_rows), render)


def prepare_dpo(spec: DpoSpec, renderer: Renderer, context: int) -> Prepared[Pair]:
    limit = min(spec.max_context_length, context)

    def render(row: DpoRow) -> Pair:
        return _answer(row, row.preferred), _answer(row, row.rejected)

    def _answer(row: DpoRow, answer: dict[str, object]) -> Datum:
        prompt = [{**m, "weight": 0} for m in row.messages]
        tokens, weights = renderer.conversation([*prompt, answer], row.tools)
        _fit(len(tokens), limit, f"{len(tokens)} tokens")
        return sequence_to_datum(tokens, weights)

    return _prepare(spec, load_rows(Path(spec.dataset), "dpo", spec.skip_bad_rows), render)


def _prepare(spec: TrainSpec, report: Report[R], render: Callable[[R], T]) -> Prepared[T]:
    """Render every row, collecting all refusals; then set held-out rows aside or read them from their own file."""
    rows, rendered, notes = _render(report, render, spec.skip_bad_rows)
    if spec.evaluation_dataset is not None:
        other = load_rows(Path(spec.evaluation_dataset), report.kind, spec.skip_bad_rows)
        _, heldout, more = _render(other, render, spec.skip_bad_rows)  # type: ignore[arg-type]
        return Prepared(rendered, heldout, (*notes, *more))
    if not spec.eval_auto_carveout:
        return Prepared(rendered, [], (*notes, "no held-out rows: eval_auto_carveout is off"))
    train, held = carve_out(rows, spec.seed)
    place = {id(row): i for i, row in enumerate(rows)}
    none = f"none of {len(rows)} rows is held out: they are fewer than {FEWEST}, or nearly all alike"
    said = f"held out {len(held)} of {len(rows)} rows" if held else none
    parts = ([rendered[place[id(row)]] for row in part] for part in (train, held))
    return Prepared(next(parts), next(parts), (*notes, said))


def _render(report: Report[R], render: Callable[[R], T], skip_bad: bool) -> tuple[list[R], list[T], tuple[str, ...]]:
    rows, rendered, problems = [], [], []
    for row in report.rows:
        try:
            item = render(row)
        except UserError as e:
            problems.append(Problem(row.line, e.where, "this row", e.problem, e.mend, False, report.path.name))
        except _TooLong as e:
            mend = "Shorten the row, or raise max_context_length if the model's context allows it"
            problems.append(Problem(row.line, "messages", str(e), "too long", mend, False, report.path.name))
        else:
            rows.append(row)
            rendered.append(item)
    if problems and not (skip_bad and rows):
        counts = replace(report.counts, problems=len(problems))
        replace(report, problems=tuple(problems), counts=counts, skipped=()).raise_if_bad()
    skipped = tuple(f"left out {p}" for p in problems)
    return rows, rendered, (*report.notes, *skipped)


def _fit(length: int, limit: int, given: str) -> None:
    if length > limit:
        raise _TooLong(f"{given}, limit {limit}")


def distinct(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Prompt ids that name one row each: seeds and tables go by them."""
    seen: dict[str, int] = {}
    out = []
    for p in prompts:
        seen[p.prompt_id] = seen.get(p.prompt_id, 0) + 1
        again = seen[p.prompt_id] > 1
        out.append(replace(p, prompt_id=f"{p.prompt_id}#{seen[p.prompt_id]}") if again else p)
    return out
