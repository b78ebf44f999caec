"""Reinforcement fine-tuning: roll out a chunk of prompts, grade, make advantages, update, publish; again."""

import asyncio
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

from tunesmith.core.errors import JobStopped
from tunesmith.core.ports import Roller, Sampler, Trainer
from tunesmith.core.seeds import seed_of
from tunesmith.core.types import Datum, Floats, Group, Metrics, Prompt
from tunesmith.grading.error_report import top_errors
from tunesmith.recipes.assemble import assemble, norm_of, updates, with_reference
from tunesmith.recipes.evaluate import evaluate
from tunesmith.recipes.measure import describe, gap, step_kl
from tunesmith.recipes.ratios import token_updates
from tunesmith.recipes.report import RolloutLog, StepReport, add, mean_over
from tunesmith.recipes.schedule import due, learning_rate, schedule
from tunesmith.spec import RftSpec

AFTER = 8
"""Sequences of a step that are scored once more after its updates."""
HIGHEST = "highest_heldout_reward"
TOLD_OF_LAST = ("policy/clip_share", "policy/ratio_mean")
"""Metrics that are also kept of a step's last update alone: there its rollouts are oldest."""


@dataclass(frozen=True, slots=True)
class RftJob:
    """Everything one job works with."""

    spec: RftSpec
    prompts: Sequence[Prompt]
    heldout: Sequence[Prompt]
    sampler: Sampler
    trainer: Trainer
    roller: Roller

    @property
    def num_steps(self) -> int:
        return self.spec.num_steps(len(self.prompts))


async def run(job: RftJob, after: int = -1, state: Mapping[str, float] | None = None) -> AsyncIterator[StepReport]:
    """Yield a report of each step; the caller stores it, shows it and decides whether to go on.

    Args:
        after: go on after this step, whose ``state`` is given; -1 begins with the evaluation before training.
    """
    await job.sampler.load(job.trainer.save_weights_for_sampler(f"step-{max(after, 0):06d}"))
    signal = (state or {}).get("signal_in_epoch", 0.0)
    highest = (state or {}).get(HIGHEST, -math.inf)
    if after < 0:
        first = _compared(await _evaluated(job, StepReport(0, {})), job.spec, highest)
        highest = first.state.get(HIGHEST, highest)
        yield replace(first, best=False)
    size = job.spec.prompts_per_chunk(len(job.prompts))
    for plan in schedule(job.prompts, size, job.spec.epochs, job.spec.seed)[max(after, 0) :]:
        began = perf_counter()
        groups = await _collect(job, plan.step, plan.items)
        _refuse_failing_grader(groups, job.spec.max_grader_error_rate)
        sampled, grading_s = perf_counter(), job.roller.grading_s()
        assembled = assemble(groups, job.spec.advantage_clip)
        metrics = describe(groups, "rollout") | {"epoch": float(plan.epoch)}
        trained, scored = _train(job, plan.step, assembled.data)
        metrics |= trained
        await job.sampler.load(job.trainer.save_weights_for_sampler(f"step-{plan.step:06d}"))
        signal += metrics["rollout/groups_with_signal"]
        stop = _no_signal(plan.epoch, len(job.prompts)) if plan.ends_epoch and not signal else ""
        signal = 0.0 if plan.ends_epoch else signal
        timing = _timing(metrics, sampled - began, perf_counter() - sampled) | {"time/grade_s": grading_s}
        log = RolloutLog("step", groups, assembled.judged, token_updates(groups, assembled, scored, job.spec.loss()))
        report = StepReport(plan.step, metrics, timing, (log,), {"signal_in_epoch": signal}, early_stop=stop)
        if due(job.spec, plan.step, job.num_steps) or stop:
            report = await _evaluated(job, report)
        report = _compared(report, job.spec, highest)
        highest = report.state.get(HIGHEST, highest)
        yield report


async def _collect(job: RftJob, step: int, chunk: Sequence[Prompt]) -> list[Group]:
    spec, temperature = job.spec, job.spec.temperature_at(step, job.num_steps)

    async def one(prompt: Prompt) -> Group:
        params = spec.sampling(temperature, seed_of(spec.seed, "rollout", step, prompt.prompt_id))
        return await job.roller.roll(prompt, params, spec.response_candidates_count)

    return list(await asyncio.gather(*map(one, chunk)))


def _train(job: RftJob, step: int, data: Sequence[Datum]) -> tuple[Metrics, list[Floats]]:
    """All updates of one chunk; metrics of the loss are means over them, the gap is that of the first.

    The log-probabilities of the data are those that their update saw.

    What tells of stale rollouts is also told of the last update alone.
    """
    spec, trainer, loss = job.spec, job.trainer, job.spec.loss()
    if not data:
        return {"optim/updates": 0.0}, []
    if loss.kl_coef:
        data = with_reference(data, trainer.forward(data, reference=True))
    totals: Metrics = {}
    agreement: Metrics = {}
    plan = updates(data, spec.batch_size, spec.gradient_accumulation_steps)
    last: Metrics = {}
    seen: list[Floats] = []
    for passes in plan:
        norm, scored, last = norm_of(passes), [], {}
        for batch in passes:
            metrics, logprobs = trainer.forward_backward(batch, "policy", {"cfg": loss}, norm)
            scored += logprobs
            totals, last = add(totals, metrics), add(last, metrics)
        agreement = agreement or gap([d for batch in passes for d in batch], scored)
        seen += scored
        rate = learning_rate(spec, trainer.version, step, job.num_steps)
        totals = add(totals, trainer.optim_step(spec.adam(rate)))
    totals = mean_over(totals, len(plan)) | agreement | {"optim/updates": float(len(plan))}
    totals |= {f"{name}_last": value for name, value in last.items() if name in TOLD_OF_LAST}
    return totals | step_kl(data[:AFTER], trainer.forward(data[:AFTER])), seen


async def _evaluated(job: RftJob, report: StepReport) -> StepReport:
    """The report with the held-out rows scored."""
    began = perf_counter()
    metrics, logs = dict(report.metrics), report.logs
    if report.step:
        metrics["optim/weight_change"] = job.trainer.weight_change()
    if job.heldout:
        scores, log = await evaluate(job.spec, job.heldout, job.roller)
        metrics, logs = metrics | scores, (*logs, log)
    timing = report.timing | {"time/eval_s": perf_counter() - began}
    return replace(report, metrics=metrics, logs=logs, timing=timing)


def _compared(report: StepReport, spec: RftSpec, highest: float) -> StepReport:
    """Where patience may end the job: whether the held-out reward is the highest so far, as a part of its state."""
    if spec.early_stop_patience is None:
        return report
    reward = report.metrics.get("eval/reward_mean", -math.inf)
    best, highest = reward > highest, max(reward, highest)
    state = {**report.state, HIGHEST: highest} if math.isfinite(highest) else report.state
    return replace(report, best=best, state=state)


def _timing(metrics: Metrics, rollout_s: float, train_s: float) -> Metrics:
    return {
        "time/rollout_s": rollout_s,
        "time/train_s": train_s,
        "speed/rollout_tokens_per_s": metrics["rollout/tokens"] / rollout_s,
        "speed/train_tokens_per_s": metrics.get("train/packed_tokens", 0.0) / train_s,
    }


def _refuse_failing_grader(groups: Sequence[Group], most: float) -> None:
    errors = [r.error for g in groups for r in g.rollouts if r.error]
    share = len(errors) / sum(len(g.rollouts) for g in groups)
    if share > most:
        problem = f"{share:.0%} of this step's gradings failed (max_grader_error_rate is {most:.0%}). Most frequent:"
        raise JobStopped("evaluator", f"{problem}\n\n{top_errors(errors)}\n", "Mend the grader, then resume the run")


def _no_signal(epoch: int, prompts: int) -> str:
    return f"in epoch {epoch} no group of the {prompts} prompts had differing rewards: there is nothing to learn from"
