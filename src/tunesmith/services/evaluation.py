"""Evaluation jobs: a model's attempts at the rows of a dataset, or the answers that the rows hold, graded.

Rows are taken in batches. A batch is stored before its line of metrics is, so that whoever goes on after a crash knows
which are done.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tunesmith.core import durable
from tunesmith.core.errors import JobStopped
from tunesmith.core.ports import Roller
from tunesmith.core.types import Ints, Prompt
from tunesmith.data import RftRow, load_rows
from tunesmith.grading.error_report import top_errors
from tunesmith.recipes.evaluate import evaluate
from tunesmith.rollout.collect import RecordedAnswers
from tunesmith.services.engine import sampling_engine
from tunesmith.services.evaluation_answers import asked_messages, score_of
from tunesmith.services.jobs.job_kinds import EVALUATION
from tunesmith.services.jobs.results import RESULTS
from tunesmith.services.keeping import SILENT, Watcher
from tunesmith.services.outside import NOTHING, Outside
from tunesmith.services.prepare import distinct, prepare_rft
from tunesmith.services.project_grader import any_grader
from tunesmith.services.rollers import roller_of
from tunesmith.services.run_folder import RunFolder
from tunesmith.services.worker import guarded
from tunesmith.spec import RftSpec

BATCH = 32
"""Rows between two lines of metrics."""
COLUMNS = ("prompt_id", "row", "text", "reward", "parts", "reason", "error")


def run_evaluation(
    run: RunFolder, spec: RftSpec, sampled: bool, watcher: Watcher = SILENT, outside: Outside = NOTHING
) -> RunFolder:
    """Grade every row, going on where an earlier process stopped.

    Args:
        sampled: attempts are the model's (``base_model`` with ``warm_start_from`` on it); else the rows' own answers.
        outside: what an uploaded evaluator may know and reach.

    Raises:
        UserError: the dataset, model or evaluator cannot be used. JobStopped: every grading failed.
    """
    work = partial(_work, run, spec, sampled, watcher, outside)
    return asyncio.run(guarded(run, spec.report_to, work))


@dataclass(frozen=True, slots=True)
class _Ready:
    """What is needed to grade."""

    prompts: Sequence[Prompt]
    roller: Roller
    decode: Callable[[Ints], str]
    notes: Sequence[str]


async def _work(run: RunFolder, spec: RftSpec, sampled: bool, watcher: Watcher, outside: Outside, _: ExitStack) -> None:
    async with AsyncExitStack() as stack:
        ready = await (_sampling if sampled else _recorded)(spec, stack, outside)
        if not (run.path / "state.json").is_file():
            run.create(spec.model_dump(), EVALUATION)
        stack.enter_context(run.exclusive())
        batches = [ready.prompts[i : i + BATCH] for i in range(0, len(ready.prompts), BATCH)]
        done = _finished(run)
        run.set_state("RUNNING", step=done, num_steps=len(batches))
        for note in ready.notes:
            run.log(note)
        watcher.started(run, len(batches), list(ready.notes))
        for step, batch in enumerate(batches[done:], start=done + 1):
            began = time.perf_counter()
            metrics, log = await evaluate(spec, batch, ready.roller)
            run.write_rollouts(log.name, step, log.groups, log.judged, ready.decode)
            run.append_metrics(step, metrics)
            run.append_timing(step, {"time/eval_s": time.perf_counter() - began})
            run.set_state("RUNNING", step=step)
    _finish(run, spec, len(batches))


async def _sampling(spec: RftSpec, stack: AsyncExitStack, outside: Outside) -> _Ready:
    adapter = None if spec.warm_start_from is None else Path(spec.warm_start_from)
    engine = sampling_engine(Path(spec.base_model), adapter, spec.concurrency())
    found = prepare_rft(spec, engine.renderer, engine.model.config.max_positions)
    roller = await stack.enter_async_context(roller_of(spec, engine, outside))
    return _Ready(found.train, roller, engine.renderer.decode, (*found.notes, *engine.renderer.notes))


async def _recorded(spec: RftSpec, stack: AsyncExitStack, outside: Outside) -> _Ready:
    report = load_rows(Path(spec.dataset), "rft", spec.skip_bad_rows)
    rows: Sequence[RftRow] = report.rows
    nothing = np.zeros(0, np.int32)
    roller = RecordedAnswers(await stack.enter_async_context(any_grader(spec, outside.secrets)))
    prompts = distinct([Prompt(row.prompt_id, row.row, nothing) for row in rows])
    return _Ready(prompts, roller, lambda _: "", ())


def _finished(run: RunFolder) -> int:
    """Batches that are stored whole; what is there of the next is removed."""
    file = run.path / "metrics.jsonl"
    whole = file.read_bytes().rpartition(b"\n") if file.is_file() else (b"", b"", b"")
    done = whole[0].count(b"\n") + len(whole[1])
    if file.is_file():
        run.rewind(len(whole[0] + whole[1]), done)
    return done


def _finish(run: RunFolder, spec: RftSpec, num_batches: int) -> None:
    attempts = [a for step in range(1, num_batches + 1) for a in run.read_rollouts("eval", step, COLUMNS)]
    errors = [a["error"] for a in attempts if a["error"]]
    if len(errors) == len(attempts):
        raise JobStopped("evaluator", f"failed on every attempt:\n\n{top_errors(errors)}", "Mend it, then start again")
    durable.write_file(run.path / RESULTS, "".join(_lines(attempts)).encode())
    run.set_state("COMPLETED")
    run.write_card(_summary(attempts, spec))


def _summary(attempts: Sequence[Mapping[str, Any]], spec: RftSpec) -> dict[str, Any]:
    """What is kept of an evaluation that came to its end."""
    found = score_of([(attempt["prompt_id"], attempt["reward"]) for attempt in attempts])
    assert found is not None, "an answer was graded"
    return {"kind": EVALUATION, **asdict(found), "evaluator": spec.evaluator}


def _lines(attempts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Each attempt as its row with the answer at the end of its messages, and what the grader said of it."""
    for attempt in attempts:
        row, failed = attempt["row"], attempt["reward"] is None
        parts = {
            name: {"score": value, "is_score_valid": True, "reason": ""} for name, value in attempt["parts"].items()
        }
        result = {
            "score": 0.0 if failed else attempt["reward"],
            "is_score_valid": not failed,
            "reason": attempt["reason"],
            "metrics": parts,
            "error": attempt["error"],
        }
        said = {"role": "assistant", "content": attempt["text"]}
        line = {**row, "messages": [*asked_messages(row), said], "evaluation_result": result}
        yield json.dumps(line, ensure_ascii=False) + "\n"
