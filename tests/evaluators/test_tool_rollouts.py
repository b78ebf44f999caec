"""eval-protocol's processors that give the policy tools: environments behind an MCP server, and an agent with one.

Servers, tools and the calls are real; the replies are written down, because no model here would make them.
"""

import asyncio
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clients.environments import python_of
from evaluators.projects import written
from server.openai.test_openai_wire import CALLER

from tunesmith.core.types import Completion, Prompt, SamplingParams
from tunesmith.grading.projects import guest
from tunesmith.grading.projects.manifest import Entry, Project, Traits
from tunesmith.models.chat import ChatRenderer, load_renderer
from tunesmith.services.names import embedded_model
from tunesmith.services.outside import Outside
from tunesmith.services.project_roller import ProjectRoller
from tunesmith.spec import RftSpec

pytestmark = pytest.mark.thorough
CALL = '<tool_call>\n{"name": "add", "arguments": {"number": 2}}\n</tool_call>'
GYM = """
from eval_protocol.mcp import EnvironmentAdapter, McpGym
from mcp.server.fastmcp import Context

class Sum:
    total = 0

class Adapter(EnvironmentAdapter):
    def create_environment(self, config=None):
        return Sum()

    def create_environment_with_seed(self, config=None, seed=None):
        return Sum(), 0, {}

    def reset_environment(self, env, seed=None):
        env.total = 0
        return 0, {}

    def step_environment(self, env, action):
        env.total += action
        return env.total, float(env.total >= 4), env.total >= 4, False, {}

    def close_environment(self, env):
        pass

class Gym(McpGym):
    def __init__(self):
        super().__init__("sums", Adapter())

    def _register_tools(self):
        @self.mcp.tool(name="add", description="Add a number to the sum")
        def add(number: int, ctx: Context) -> dict:
            session = self._get_session_id(ctx)
            self._get_or_create_session(ctx)
            return self._execute_session_environment_step(session, number)

    def format_observation(self, obs, env):
        return {"sum": obs}

Gym().run()
"""
AGENTS_SERVER = """
from mcp.server.fastmcp import FastMCP

server = FastMCP("sums")

@server.tool()
def add(number: int) -> str:
    return f"added {number}"

server.run()
"""
EVALS = """
from eval_protocol.models import EvaluateResult, EvaluationRow
from eval_protocol.pytest import AgentRolloutProcessor, MCPGymRolloutProcessor, evaluation_test
from eval_protocol.pytest.default_klavis_sandbox_rollout_processor import KlavisSandboxRolloutProcessor
from eval_protocol.pytest.github_action_rollout_processor import GithubActionRolloutProcessor

def scored(row):
    tools = [m.content for m in row.messages if m.role == "tool"]
    row.evaluation_result = EvaluateResult(score=float(len(tools)), reason=" | ".join(map(str, tools)))
    return row

ASKED = {"input_messages": [[[]]], "completion_params": [{"model": "m"}]}

@evaluation_test(**ASKED, rollout_processor=MCPGymRolloutProcessor(), server_script_path="gym_server.py", steps=5)
def test_gym(row: EvaluationRow) -> EvaluationRow:
    return scored(row)

@evaluation_test(**ASKED, rollout_processor=AgentRolloutProcessor(), mcp_config_path="mcp.json")
def test_agent(row: EvaluationRow) -> EvaluationRow:
    return scored(row)

@evaluation_test(**ASKED, rollout_processor=MCPGymRolloutProcessor(), server_script_path="elsewhere.py")
def test_without_a_server(row: EvaluationRow) -> EvaluationRow:
    return scored(row)

@evaluation_test(**ASKED, rollout_processor=GithubActionRolloutProcessor(owner="o", repo="r", workflow_id="w"))
def test_github(row: EvaluationRow) -> EvaluationRow:
    return scored(row)

@evaluation_test(**ASKED, rollout_processor=KlavisSandboxRolloutProcessor(server_name="s"))
def test_klavis(row: EvaluationRow) -> EvaluationRow:
    return scored(row)
"""
HOSTED = "RolloutProcessor needs the network, which a project has not: use RemoteRolloutProcessor"
REFUSED = {
    "test_without_a_server": "MCPGymRolloutProcessor needs server_script_path, a file of the project (it is 'else",
    "test_github": f"GithubAction{HOSTED}",
    "test_klavis": f"KlavisSandbox{HOSTED}",
}
LOAD_EACH = """
import json, sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
spec = spec_from_file_location("guest", sys.argv[1])
guest = module_from_spec(spec)
spec.loader.exec_module(guest)
said = {}
for name in sys.argv[3:]:
    try:
        guest.load(Path(sys.argv[2]), "evals.py", name)
    except guest.NotUsable as e:
        said[name] = str(e)
print(json.dumps(said))
"""
CONFIG = {"mcpServers": {"sums": {"command": "python", "args": ["agents_server.py"]}}}
KLAVIS = {
    "klavis/__init__.py": "class Klavis:\n    def __init__(self, api_key): pass\n",
    "klavis/types.py": "CreateSandboxResponse = SandboxMcpServer = str\n",
}
"""In place of that service's package, which is no part of eval-protocol."""
FILES = KLAVIS | {
    "evals.py": EVALS,
    "gym_server.py": GYM,
    "agents_server.py": AGENTS_SERVER,
    "mcp.json": json.dumps(CONFIG),
}


class Written:
    """A sampler that calls the tool twice and then says that it is done."""

    version = 0

    def __init__(self, renderer: ChatRenderer) -> None:
        self._renderer = renderer

    async def sample(self, prompt: Any, params: SamplingParams, n: int) -> list[Completion]:
        calls = self._renderer.decode(prompt).count("</tool_call>")
        said = CALL if calls < 2 else "done"
        tokens = np.array([*self._renderer.inner(said), self._renderer.stop_ids[0]], np.int32)
        logprobs = np.full(len(tokens), -1, np.float32)
        return [Completion(tokens, logprobs, logprobs, "stop", 0)] * n


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> ChatRenderer:
    """Of the embedded model with a template that knows tools."""
    folder = tmp_path_factory.mktemp("caller")
    for file in embedded_model().iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": CALLER}), "utf-8")
    return load_renderer(folder)


def rolled(folder: Path, renderer: ChatRenderer, function: str, processor: str, n: int) -> list[Any]:
    """Attempts at one prompt, side by side."""
    source = written(FILES, folder / "source")
    traits = Traits(kind="test", single_turn=False, processor=processor)
    project = Project(folder, source, Entry("evals.py", function), python_of("eval-protocol"), traits)
    spec = RftSpec(dataset="d", evaluator="project:x", grader_timeout_s=20, rollout_timeout_s=120, limits="off")
    messages = [{"role": "system", "content": "Reach 4."}, {"role": "user", "content": "Add."}]
    prompt = Prompt("p", {"messages": messages}, renderer.prompt(messages))

    async def all_of_them() -> list[Any]:
        async with ProjectRoller(project, Written(renderer), renderer, spec, 4000, Outside({})) as roller:
            group = await roller.roll(prompt, SamplingParams(max_tokens=200), n)
        return list(group.rollouts)

    return asyncio.run(all_of_them())


def test_environments_behind_an_mcp_server(renderer: ChatRenderer, tmp_path: Path) -> None:
    """Rollouts side by side share the server and nothing in it: each adds up from 0."""
    for rollout in rolled(tmp_path, renderer, "test_gym", "MCPGymRolloutProcessor", n=3):
        assert rollout.error is None, rollout.error
        assert (rollout.score.reward, rollout.score.reason.count("sum")) == (2, 2)
        assert "2" in rollout.score.reason.partition("|")[0] and "4" in rollout.score.reason.partition("|")[2]
        assert sum(segment.sampled.sum() for segment in rollout.segments) > 2 * len(renderer.inner(CALL))


def test_an_agent_with_tools_of_an_mcp_server(renderer: ChatRenderer, tmp_path: Path) -> None:
    for rollout in rolled(tmp_path, renderer, "test_agent", "AgentRolloutProcessor", n=2):
        assert rollout.error is None, rollout.error
        assert rollout.score.reason.count("added 2") == 2 and rollout.score.reward == 2


def test_what_cannot_work_is_refused_by_name_when_it_is_built(tmp_path: Path) -> None:
    """The program of a build, once for all of them: importing eval-protocol takes long."""
    source = written(FILES, tmp_path / "source")
    command = [str(python_of("eval-protocol")), "-P", "-c", LOAD_EACH, guest.__file__, str(source), *REFUSED]
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "DISABLE_EP_SQLITE_LOG": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert {name: text[: len(REFUSED[name])] for name, text in said.items()} == REFUSED
