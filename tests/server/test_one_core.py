"""One core: the recipe of managed RFT over HTTP computes what it computes in process, to the last digit."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from tunesmith.core.errors import UserError
from tunesmith.core.seeds import seed_of
from tunesmith.core.types import SamplingParams
from tunesmith.grading import build_grader
from tunesmith.recipes import rft
from tunesmith.recipes.rft import RftJob
from tunesmith.rollout.collect import SingleTurn
from tunesmith.server.dialects.tinker.sockets import Connection, HttpSampler, HttpTrainer
from tunesmith.services.demo import demo_spec
from tunesmith.services.engine import build_engine, engine_of
from tunesmith.services.names import embedded_model
from tunesmith.services.prepare import prepare_rft

STEPS = 2


def reports(job, decode):
    """Metrics of the first steps, and all that was sampled and scored in them."""

    async def run():
        limits = {"timeout_s": job.spec.grader_timeout_s, "memory_mb": job.spec.grader_memory_mb}
        async with build_grader(job.spec.evaluator, **limits) as grader:
            found = []
            roller = SingleTurn(job.sampler, grader, decode)
            async for report in rft.run(replace(job, roller=roller)):
                texts = [r.text for log in report.logs for g in log.groups for r in g.rollouts]
                found.append((report.metrics, texts))
                if report.step == STEPS:
                    return found
            raise AssertionError("the job ended early")

    return asyncio.run(run())


@pytest.mark.parametrize("method", ["grpo", "gspo-token"])
def test_the_rft_recipe(server, tmp_path, method):
    given = demo_spec(tmp_path)
    spec = given.model_copy(update={"chunk_size": 12, "response_candidates_count": 4, "rl_loss_method": method})
    engine = engine_of(spec)
    prompts = prepare_rft(spec, engine.renderer, 4096)
    heldout = prompts.heldout[:8]
    local = RftJob(spec, prompts.train, heldout, engine.sampler, engine.trainer, None)
    wire = Connection(server.base_url, server.key)
    trainer = HttpTrainer(wire, "tunesmith/embedded", spec.lora_rank, spec.seed, spec.lora_head)
    remote = replace(local, sampler=HttpSampler(wire), trainer=trainer)
    here, there = (reports(job, engine.renderer.decode) for job in (local, remote))
    assert here[1][0]["loss/policy"] != 0
    assert there == here
    assert trainer.version == engine.trainer.version == STEPS


def test_verbs_of_the_sockets(server, tmp_path):
    wire = Connection(server.base_url, server.key)
    trainer = HttpTrainer(wire, "tunesmith/embedded", 4, 0, lora_head=False)
    engine = build_engine(embedded_model(), lora_rank=4, seed=0)
    sampler = HttpSampler(wire)
    prompt = engine.renderer.prompt([{"role": "user", "content": "What is 27 + 45?"}])

    async def sample(sampler, trainer):
        await sampler.load(trainer.save_weights_for_sampler("now"))
        params = SamplingParams(max_tokens=8, seed=seed_of("here"))
        completions = await sampler.sample(prompt, params, 3)
        return [c.tokens.tolist() for c in completions], (await sampler.compute_logprobs(prompt)).tolist()

    assert asyncio.run(sample(sampler, trainer)) == asyncio.run(sample(engine.sampler, engine.trainer))
    assert trainer.weight_change() == 0
    trainer.save_state(tmp_path / "first")
    trainer.load_state(tmp_path / "first")
    with pytest.raises(UserError, match="the server answered 404"):
        trainer.load_state(tmp_path / "second")
    assert np.isfinite(trainer.weight_change())
