"""Rollouts that a remote server makes, without a server of ours: its calls come straight to the worker's socket."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clients.remote_server import RemoteServer, remote_server
from evaluators.projects import packed

from tunesmith.core.addresses import LOOPBACK, Network, networks
from tunesmith.core.errors import UserError
from tunesmith.core.types import Prompt, Rollout, SamplingParams
from tunesmith.grading.projects import manifest
from tunesmith.services.engine import build_engine
from tunesmith.services.evaluator_builds import build
from tunesmith.services.gateway.rollouts import SOCKET_FILE
from tunesmith.services.names import embedded_model
from tunesmith.services.outside import Outside, Reach
from tunesmith.services.project_roller import ProjectRoller
from tunesmith.spec import RftSpec

pytestmark = pytest.mark.thorough
PROJECT = """
import os
from eval_protocol.models import EvaluateResult, EvaluationRow
from eval_protocol.pytest import RemoteRolloutProcessor, evaluation_test

@evaluation_test(
    input_messages=[[[{"role": "user", "content": "What is 17 + 25?"}]]],
    completion_params=[{"model": "whatever", "temperature": 0.3}],
    rollout_processor=RemoteRolloutProcessor(
        remote_base_url=os.environ.get("REMOTE", "http://127.0.0.1:1"), timeout_seconds=4, poll_interval=0.2
    ),
)
def test_remote(row: EvaluationRow) -> EvaluationRow:
    said = [m.content for m in row.get_assistant_messages()]
    extra = (row.execution_metadata.extra or {}).get("steps")
    row.evaluation_result = EvaluateResult(score=float(len(said)), reason=f"{extra} {said[-1]}")
    return row
"""


@pytest.fixture(scope="module")
def engine() -> Any:
    return build_engine(embedded_model(), lora_rank=4)


@pytest.fixture(scope="module")
def folder(environments: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that was built."""
    made = tmp_path_factory.mktemp("remote-project")
    upload = made / "project.tar.gz"
    upload.write_bytes(packed({"evals.py": PROJECT, "requirements.txt": ""}))
    build(upload, made, "evals.py::test_remote", environments, {}, lambda text: None)
    return made


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RemoteServer]:
    with remote_server(tmp_path_factory.mktemp("remote")) as running:
        yield running


@asynccontextmanager
async def door(job: Path) -> AsyncIterator[str]:
    """Stands for the server: hands every connection on to the socket that a job's worker has told of."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(1 << 16):
            writer.write(chunk)
        writer.close()

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection((job / SOCKET_FILE).read_text())
        await asyncio.gather(carry(reader, far_writer), carry(far_reader, writer), return_exceptions=True)

    server = await asyncio.start_server(join, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


Roll = Callable[..., list[Rollout]]


@pytest.fixture(scope="module")
def roll(engine: Any, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Roll:
    """Rollouts of texts, all at once, with the remote server at an address."""

    def of(
        address: str, texts: Sequence[str], n: int = 1, allowed: tuple[Network, ...] = LOOPBACK, idle_s: float = 30
    ) -> list[Rollout]:
        job = tmp_path_factory.mktemp("job")
        spec = RftSpec(dataset="d", evaluator="project:x", rollout_timeout_s=idle_s, limits="off")
        rows = [{"messages": [{"role": "user", "content": text}]} for text in texts]
        prompts = [Prompt(f"p{i}", r, engine.renderer.prompt(r["messages"])) for i, r in enumerate(rows)]

        async def all_of_them() -> list[Rollout]:
            async with door(job) as base_url:
                reach = Reach("job-ab12", job, base_url, allowed, b"secret")
                given = (manifest.read(folder), engine.sampler, engine.renderer, spec, 400)
                async with ProjectRoller(*given, Outside({"REMOTE": address}, reach)) as roller:
                    params = SamplingParams(max_tokens=24, seed=3)
                    groups = await asyncio.gather(*(roller.roll(p, params, n) for p in prompts))
            return [rollout for group in groups for rollout in group.rollouts]

        return asyncio.run(all_of_them())

    return of


@pytest.fixture(scope="module")
def rolled(roll: Roll, remote: RemoteServer) -> list[Rollout]:
    """Three of two turns, then three of one."""
    return roll(remote.base_url, ["What is 17 + 25?", "plain: What is 3 + 4?"], n=3)


def test_turns_become_one_segment_and_are_scored(rolled: list[Rollout]):
    two, one = rolled[0], rolled[3]
    assert (two.score.reward, one.score.reward) == (2, 1)
    assert two.score.reason.startswith("2 ")  # what the server reported with its status
    for rollout, turns in ((two, 2), (one, 1)):
        (segment,) = rollout.segments
        starts = np.flatnonzero(np.diff(segment.sampled.astype(int), prepend=0) == 1)
        assert len(starts) == turns and (segment.logprobs[segment.sampled] < 0).any()
        assert (segment.logprobs[~segment.sampled] == 0).all()


def test_the_same_bits_again(rolled: list[Rollout], roll: Roll, remote: RemoteServer):
    first, again = rolled[:3], roll(remote.base_url, ["What is 17 + 25?"], n=3)
    for a, b in zip(first, again, strict=True):
        assert np.array_equal(a.segments[0].tokens, b.segments[0].tokens)
        assert np.array_equal(a.segments[0].logprobs, b.segments[0].logprobs)
    assert len({a.segments[0].tokens.tobytes() for a in first}) > 1


def test_failures_have_labels_and_touch_nobody_else(roll: Roll, remote: RemoteServer):
    failed, silent, refused, redirected, good = roll(
        remote.base_url, ["fail", "silent", "refuse", "redirect", "plain: What is 3 + 4?"]
    )
    assert failed.error.startswith("rollout: ") and "the tool broke" in failed.error
    assert silent.error.startswith("timeout: ") and "timed out" in silent.error
    assert refused.error.startswith("rollout: ") and "HTTP 500" in refused.error
    assert "redirect, which is not followed" in redirected.error
    assert good.score.reward == 1


def test_a_server_that_is_down_fails_the_rollouts(roll: Roll):
    (down,) = roll("http://127.0.0.1:1", ["x"])
    assert down.error.startswith("rollout: ") and "cannot be reached" in down.error


def test_one_that_does_nothing_is_given_up_after_a_while(roll: Roll, remote: RemoteServer):
    (silent,) = roll(remote.base_url, ["silent"], idle_s=1.0)
    assert silent.error.startswith("timeout")


def test_what_the_remote_server_is_told(roll: Roll, remote: RemoteServer):
    before = len(remote.seen)
    roll(remote.base_url, ["plain"])
    (told,) = remote.seen[before:]
    assert set(told["completion_params"]) == {"model", "temperature", "max_tokens"}
    rollout = told["metadata"]["rollout_id"]
    assert rollout.startswith("job-ab12-") and f"/rollout_id/{rollout}/" in told["model_base_url"]
    assert told["api_key"].startswith(f"fw_rollout-{rollout}-") and "secret" not in told["api_key"]


def test_an_inner_address_is_refused_before_anything_is_spent(roll: Roll):
    with pytest.raises(UserError, match=r"remote_base_url: '127\.1' is 127\.0\.0\.1"):
        roll("http://127.1:9", ["x"], allowed=networks(["192.168.7.0/24"]))


def test_without_a_server_it_is_refused_with_the_mend(engine: Any, folder: Path):
    spec = RftSpec(dataset="d", evaluator="project:x", limits="off")
    with pytest.raises(UserError, match="tunesmith serve"):
        ProjectRoller(manifest.read(folder), engine.sampler, engine.renderer, spec, 400, Outside())
