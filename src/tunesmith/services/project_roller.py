"""Rollouts of an uploaded project: its own code speaks with the job's policy and scores what came of it."""

import asyncio
import shutil
import socket
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from secrets import token_hex
from time import monotonic
from types import TracebackType
from typing import Any

from tunesmith.core.errors import UserError
from tunesmith.core.ports import GradingError, Sampler
from tunesmith.core.seeds import seed_of
from tunesmith.core.types import Completion, Group, Prompt, Rollout, SamplingParams
from tunesmith.grading.projects.manifest import Project
from tunesmith.grading.projects.process import Reply, Surroundings
from tunesmith.grading.projects.supervisor import Attempted, Supervisor
from tunesmith.models.chat import ChatRenderer
from tunesmith.rollout.collect import single_turn
from tunesmith.rollout.conversation import Conversation, reply_message
from tunesmith.services.gateway.front import REMOTE, Front
from tunesmith.services.gateway.rollouts import new_rollout, tell
from tunesmith.services.outside import Outside, Reach
from tunesmith.services.policy_endpoint import Line, PolicyEndpoint, address_of, model_of
from tunesmith.services.project_grader import Idle, score_of
from tunesmith.spec import RftSpec


class ProjectRoller:
    """A ``Roller`` that owns a sandbox with the project in it, and the address at which the project finds the policy.

    Where the project asks for single replies they are sampled here, all of a group together, and only scored there.
    """

    def __init__(
        self,
        project: Project,
        sampler: Sampler,
        renderer: ChatRenderer,
        spec: RftSpec,
        longest: int,
        outside: Outside,
    ) -> None:
        """
        Args:
            longest: tokens of a call's prompt and answer together.

        Raises:
            UserError: the rollouts are made by a remote server, which nothing here can be reached by.
        """
        self._project, self._sampler, self._renderer, self._spec = project, sampler, renderer, spec
        self._longest = longest
        self._folder = Path(tempfile.mkdtemp(prefix="tunesmith-policy-"))
        self._port = _free_port()
        self._endpoint = PolicyEndpoint(renderer)
        self._reach = _reach_of(project, outside)
        self._supervisor = Supervisor(project, self._surroundings(outside.secrets), spec.rollout_timeout_s)
        self._free = asyncio.Semaphore(spec.concurrency())
        self._asked = self._answered = 0.0

    async def __aenter__(self) -> "ProjectRoller":
        try:
            await self._begin()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def _begin(self) -> None:
        """
        Raises:
            UserError: the project cannot be loaded, or its remote server is where nobody may reach.
        """
        socket = self._folder / "policy.sock"
        await self._endpoint.start(socket)
        guest = await self._supervisor.ready()
        if self._reach is not None:
            # As the project names it today: it may come from a variable that was changed since it was built.
            self._endpoint.front = Front(self._reach, guest.traits["remote"], self._endpoint.records_of)
            await self._endpoint.front.check()
            tell(self._reach.folder, socket)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._supervisor.close()
        await self._endpoint.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def grading_s(self) -> float:
        return max(0.0, self._answered - self._asked)

    async def roll(self, prompt: Prompt, params: SamplingParams, n: int) -> Group:
        single = self._project.traits.single_turn
        rollouts = await (self._scored(prompt, params, n) if single else self._rolled(prompt, params, n))
        return Group(prompt.prompt_id, prompt.row, tuple(rollouts))

    async def _scored(self, prompt: Prompt, params: SamplingParams, n: int) -> list[Rollout]:
        """Single replies, sampled together."""
        completions = await self._sampler.sample(prompt.tokens, params, n)
        attempts = [single_turn(prompt.tokens, c, params.temperature, self._renderer.decode) for c in completions]
        asked = [self._attempt(prompt, params, c, i) for i, c in enumerate(completions)]
        verdicts = await self._verdicts(asked, [Idle() for _ in asked])
        return [_judged(attempt, verdict) for attempt, verdict in zip(attempts, verdicts, strict=True)]

    async def _rolled(self, prompt: Prompt, params: SamplingParams, n: int) -> list[Rollout]:
        """Whatever the project's rollout processor makes of its calls."""
        names = [token_hex(12) if self._reach is None else new_rollout(self._reach.job_id) for _ in range(n)]
        lines = [Line(partial(self._conversation, replace(params, seed=seed_of(params.seed, i)))) for i in range(n)]
        self._endpoint.lines |= zip(names, lines, strict=True)
        try:
            asked = [self._call(prompt, params, name) for name in names]
            verdicts = await self._verdicts(asked, lines)
        finally:
            for name in names:
                del self._endpoint.lines[name]
        version = self._sampler.version
        attempts = [_rollout(line.conversation, version) for line in lines]
        return [_judged(attempt, verdict) for attempt, verdict in zip(attempts, verdicts, strict=True)]

    def _conversation(self, params: SamplingParams) -> Conversation:
        return Conversation(self._sampler, self._renderer, params, self._longest)

    async def _verdicts(self, asked: Sequence[dict[str, Any]], lines: Sequence[Attempted]) -> list[Reply]:
        """One per attempt: each by itself, or all of a group in one call."""
        if self._project.traits.mode == "groupwise":
            return await self._ask(list(asked), lines)
        results = await asyncio.gather(*(self._ask([a], [line]) for a, line in zip(asked, lines, strict=True)))
        return [result for one in results for result in one]

    async def _ask(self, attempts: list[dict[str, Any]], lines: Sequence[Attempted]) -> list[Reply]:
        async with self._free:
            self._asked = monotonic()
            try:
                return await self._supervisor.ask(attempts, lines)
            except GradingError as e:
                return [{"label": e.label, "detail": e.detail}] * len(attempts)
            finally:
                self._answered = monotonic()

    def _attempt(self, prompt: Prompt, params: SamplingParams, c: Completion, number: int) -> dict[str, Any]:
        tools = prompt.row.get("tools") or ()
        message, reason = reply_message(c, self._renderer, tools, number=f"{params.seed} {number}")
        asked = self._call(prompt, params, token_hex(12))
        return {**asked, "reply": message, "finish_reason": reason}

    def _call(self, prompt: Prompt, params: SamplingParams, name: str) -> dict[str, Any]:
        """What an attempt is told: the row, and where and how to ask the policy."""
        asked = {"model": model_of(name), "temperature": params.temperature, "max_tokens": params.max_tokens}
        if self._reach is None:
            asked |= {"api_base": f"{self._localhost}{address_of(name)}", "api_key": name}
        return {
            "id": name,
            "prompt_id": prompt.prompt_id,
            "row": prompt.row,
            "completion_params": asked,
            "remote": f"{self._localhost}{REMOTE}",
        }

    @property
    def _localhost(self) -> str:
        """The policy, as the project sees it."""
        return f"http://localhost:{self._port}"

    def _surroundings(self, secrets: Mapping[str, str]) -> Surroundings:
        """Code that reads its addresses from the environment finds the policy too, by the model's name."""
        base = f"{self._localhost}/v1"
        variables = ("EP_LLM_API_BASE", "EP_LLM_BASE_URL", "FIREWORKS_API_BASE", "OPENAI_BASE_URL", "OPENAI_API_BASE")
        environment = dict.fromkeys(variables, base) | {"EP_MODEL_BASE_URL": self._localhost}
        keys = {name: "rollout" for name in ("FIREWORKS_API_KEY", "OPENAI_API_KEY") if name not in secrets}
        return Surroundings(
            memory_mb=self._spec.grader_memory_mb,
            scoring_s=self._spec.grader_timeout_s,
            secrets=secrets,
            environment=environment | keys,
            network=self._spec.grader_network,
            sockets={self._port: self._folder / "policy.sock"},
        )


def _reach_of(project: Project, outside: Outside) -> Reach | None:
    """What the project needs of the world; None for one that makes its rollouts itself."""
    if not project.traits.remote:
        return None
    if outside.reach is None:
        problem = "has its rollouts made by a remote server, which can only reach the jobs of a server"
        raise UserError("evaluator", problem, "Start `tunesmith serve` and create the job there")
    return outside.reach


def _rollout(conversation: Conversation, version: int) -> Rollout:
    turns = conversation.turns
    text = "\n\n".join(str(turn.message.get("content") or turn.message.get("tool_calls", "")) for turn in turns)
    stop = turns[-1].completion.stop if turns else "abort"
    return Rollout(conversation.segments, text, version, stop)


def _judged(rollout: Rollout, verdict: Reply) -> Rollout:
    """The attempt with its score, or with what went wrong; one that never asked the policy teaches nothing."""
    try:
        score = score_of(verdict)
        if not rollout.segments:
            raise GradingError("rollout", "the rollout never asked the policy for anything")
        return replace(rollout, score=score)
    except GradingError as e:
        return replace(rollout, error=str(e))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
