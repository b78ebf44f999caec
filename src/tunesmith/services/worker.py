"""Runs one job: builds what its spec names, drives its recipe, and keeps everything a step yields."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from tunesmith.core import durable
from tunesmith.core.errors import Conflict, JobStopped, UserError
from tunesmith.recipes import dpo, rft, sft
from tunesmith.recipes.report import StepReport
from tunesmith.services import checkpoints
from tunesmith.services.card import build_card
from tunesmith.services.card_pages import as_html, as_markdown
from tunesmith.services.engine import Engine, engine_of
from tunesmith.services.keeping import SILENT, Keeper, Watcher
from tunesmith.services.outside import NOTHING, Outside
from tunesmith.services.prepare import prepare_dpo, prepare_rft, prepare_sft
from tunesmith.services.report import write_report
from tunesmith.services.rollers import roller_of
from tunesmith.services.run_folder import RUNS, RunFolder
from tunesmith.services.trackers.companion import check_installed, reported
from tunesmith.spec import AnySpec, DpoSpec, RftSpec, build_spec

Steps = AsyncIterator[StepReport]


def start(spec: AnySpec, watcher: Watcher = SILENT, outside: Outside = NOTHING) -> RunFolder:
    """Run a new job to its end in this process; refused input leaves nothing behind.

    Raises:
        UserError: the spec, dataset, model or grader cannot be used.
        JobStopped: the job ended itself; the folder says why and can be resumed.
        KeyboardInterrupt: the user stopped it; the folder can be resumed.
    """
    folder = Path(spec.output_dir) if spec.output_dir else _new_folder(spec)
    run = RunFolder(folder)
    run.refuse_another()
    return asyncio.run(guarded(run, spec.report_to, partial(_work, run, spec, watcher, outside, False)))


def resume(run: RunFolder, watcher: Watcher = SILENT, outside: Outside = NOTHING) -> RunFolder:
    """Go on after the newest whole checkpoint; ends with the same bits as a run that was never stopped."""
    state = run.state()
    if state.state in ("COMPLETED", "EARLY_STOPPED") and run.card():  # the card is written last
        raise Conflict(str(run.path), f"is {state.state}: there is nothing to resume", "Start a new run from its spec")
    spec = build_spec(run.spec())
    return asyncio.run(guarded(run, spec.report_to, partial(_work, run, spec, watcher, outside, True)))


async def guarded(run: RunFolder, report_to: Sequence[str], work: Callable[[ExitStack], Awaitable[None]]) -> RunFolder:
    """Whatever ends the job, its state says so and why; trackers, which the work opens, are told last."""
    check_installed(report_to)
    with ExitStack() as trackers:
        try:
            await work(trackers)
        except asyncio.CancelledError:
            _record(run, "PAUSED", "interrupted by the user")
            raise
        except Exception as e:
            if durable.is_disk_full(e):
                raise _disk_full(run) from e
            _record(run, "FAILED", str(e) if isinstance(e, UserError) else f"{type(e).__name__}: {e}")
            raise
    return run


def _disk_full(run: RunFolder) -> JobStopped:
    """What to say, also in the run's state where that still fits."""
    needed = f"a checkpoint needs about {max(1, checkpoints.size_bytes(run) // 2**20)} MB"
    _record(run, "PAUSED", f"disk full; {needed}")
    again = resume_line(run) if (run.path / "state.json").exists() else "start the job again"
    return JobStopped(str(run.path), f"the disk is full; {needed}", f"Make room, then: {again}")


def resume_line(run: RunFolder) -> str:
    return f"tunesmith resume {run.path}"


def _record(run: RunFolder, state: str, reason: str) -> None:
    """State and log, as far as the disk lets us; what matters, the last checkpoint, is whole already."""
    if not (run.path / "state.json").exists():
        return
    try:
        run.set_state(state, reason=reason)
        run.log(f"{state}: {reason}", "error" if state == "FAILED" else "warning")
    except OSError:
        pass  # a full disk: the caller is told the same in words


async def _work(
    run: RunFolder, spec: AnySpec, watcher: Watcher, outside: Outside, resumed: bool, trackers: ExitStack
) -> None:
    async with AsyncExitStack() as stack:
        if resumed:
            stack.enter_context(run.exclusive())
        engine = engine_of(spec)
        checkpoint = checkpoints.newest(run) if resumed else None
        if checkpoint:
            engine.trainer.load_state(checkpoint.folder)
        after, state = (checkpoint.step, checkpoint.state) if checkpoint else (-1, {})
        recipe = await recipe_of(spec, engine, stack, after, state, outside=outside)
        warnings = spec.warnings()
        notes = [*recipe.notes, *warnings, *engine.renderer.notes]
        if resumed:
            run.rewind(checkpoint.metrics_size if checkpoint else 0, after)
            notes.append(f"resumed after step {after}" if checkpoint else "no whole checkpoint: began anew")
        else:
            run.create(spec.model_dump(), spec.kind)
            stack.enter_context(run.exclusive())
        run.set_state("RUNNING", num_steps=recipe.num_steps, step=max(after, 0))
        trackers.enter_context(reported(run, spec.report_to, watcher.warned))
        for note in notes:
            run.log(note, "warning" if note in warnings else "info")
        watcher.started(run, recipe.num_steps, notes)
        stopped, keeper = "", Keeper(run, spec, engine, recipe.num_steps, watcher)
        async for report in recipe.steps:
            stopped = keeper.keep(report)
            if stopped:
                break
            await asyncio.sleep(0)  # where Ctrl-C gets in: a recipe without sampling never waits for anything
        _finish(run, spec, engine, stopped)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A job about to begin."""

    steps: Steps
    num_steps: int
    notes: list[str]
    """What its data had to say."""
    rows: int
    heldout: int


async def recipe_of(
    spec: AnySpec,
    engine: Engine,
    stack: AsyncExitStack,
    after: int,
    state: Mapping[str, float],
    heldout: int | None = None,
    outside: Outside = NOTHING,
) -> Recipe:
    """Everything a job would refuse is refused here: data and grader; nothing is spent or written yet.

    Args:
        stack: closes the grader.
        after, state: where a checkpoint left the job; -1 and empty for a new one.
        outside: for an uploaded evaluator.
        heldout: use this many held-out rows only.
    """
    context = engine.model.config.max_positions
    if isinstance(spec, RftSpec):
        prompts = prepare_rft(spec, engine.renderer, context)
        roller = await stack.enter_async_context(roller_of(spec, engine, outside))
        job = rft.RftJob(spec, prompts.train, prompts.heldout[:heldout], engine.sampler, engine.trainer, roller)
        steps = rft.run(job, after, state)
        notes = [*prompts.notes, *spec.notes(len(prompts.train))]
        return Recipe(steps, job.num_steps, notes, len(prompts.train), len(prompts.heldout))
    if isinstance(spec, DpoSpec):
        pairs = prepare_dpo(spec, engine.renderer, context)
        compare = dpo.DpoJob(spec, pairs.train, pairs.heldout[:heldout], engine.trainer)
        steps = dpo.run(compare, after, state)
        return Recipe(steps, compare.num_steps, list(pairs.notes), len(pairs.train), len(pairs.heldout))
    data = prepare_sft(spec, engine.renderer, context)
    imitate = sft.SftJob(spec, data.train, data.heldout[:heldout], engine.trainer)
    steps = sft.run(imitate, after, state)
    return Recipe(steps, imitate.num_steps, list(data.notes), len(data.train), len(data.heldout))


def _finish(run: RunFolder, spec: AnySpec, engine: Engine, early_stop: str) -> None:
    """Publish the result: the best weights where held-out rows chose them, else the last."""
    chosen = checkpoints.best(run)
    if chosen and chosen.step != run.state().step:
        engine.trainer.load_state(chosen.folder)
        what = "highest held-out reward" if spec.kind == "rft" else "lowest held-out loss"
        run.log(f"the weights of step {chosen.step} had the {what} and are the result")
    final = run.path / ("adapter" if spec.lora_rank else "model")
    with durable.new_folder(final) as temporary:
        engine.trainer.export(temporary)
    run.set_state("EARLY_STOPPED" if early_stop else "COMPLETED", reason=early_stop)
    write_report(run)
    card = build_card(run, chosen.step if chosen else None).as_dict(spec.kind)
    run.write_page("card.md", as_markdown(run.name, card))
    run.write_page("card.html", as_html(run.name, card))
    run.write_card(card)


def _new_folder(spec: AnySpec) -> Path:
    stamp = datetime.now().strftime("%m%d-%H%M%S")
    return RUNS / f"{spec.kind}-{Path(spec.dataset).stem}-{stamp}-{os.getpid()}"
