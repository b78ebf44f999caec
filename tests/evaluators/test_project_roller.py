"""Projects in their sandbox: scores, labelled failures, and processes that are lost without loss to other attempts."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from evaluators.projects import written

from tunesmith.core.types import Completion, Prompt, SamplingParams
from tunesmith.grading.projects.manifest import Entry, Project, Traits
from tunesmith.grading.sandbox import level
from tunesmith.models.chat import load_renderer
from tunesmith.services.names import embedded_model
from tunesmith.services.outside import Outside
from tunesmith.services.project_roller import ProjectRoller
from tunesmith.spec import RftSpec

GRADER = """
import asyncio, os, time
calls = []

def readable(path):
    try:
        os.listdir(path) if os.path.isdir(path) else open(path).close()
        return True
    except OSError:
        return False

async def grade(completion, row):
    calls.append(completion)
    kind = row["kind"]
    if kind == "number":
        return 0.25
    if kind == "parts":
        return {"score": len(completion), "parts": {"a": 1}, "reason": "because"}
    if kind == "raise":
        raise ValueError("no such thing")
    if kind == "nothing":
        return None
    if kind == "nan":
        return float("nan")
    if kind == "sleep":
        await asyncio.sleep(60)
    if kind == "block":
        time.sleep(60)
    if kind == "exit":
        os._exit(7)
    if kind == "files":
        return {"reward": 1.0, "reason": str([readable(p) for p in row["paths"]])}
    if kind == "environment":
        return {"reward": 1.0, "reason": str(sorted(k for k in os.environ if "SECRET" in k or "TUNESMITH" in k))}
    if kind == "write":
        open("here.txt", "w")
    if kind == "chatter":
        print("x" * 1000)
        os.write(1, b'{"id": "0", "results": []}\\n')
        return 0.5
"""


REFUSED = ("Read-only file system", "Permission denied")
"""To write beside the project: by mounts, or by rights over files where the level has none."""


class Fixed:
    """A sampler that says one thing."""

    version = 0

    def __init__(self, renderer: Any) -> None:
        self.tokens = np.array([*renderer.inner("42"), renderer.stop_ids[0]], np.int32)

    async def sample(self, prompt: Any, params: SamplingParams, n: int) -> list[Completion]:
        logprobs = np.full(len(self.tokens), -1, np.float32)
        return [Completion(self.tokens, logprobs, logprobs, "stop", 0)] * n


def rolled(folder: Path, *rows: dict[str, Any], n: int = 1, scoring_s: float = 20.0, **traits: Any) -> list[Any]:
    """Rollouts of each row, all at once."""
    written({"grader.py": GRADER}, folder / "source")
    traits = {"kind": "grader", "mode": "pointwise", **traits}
    project = Project(folder, folder / "source", Entry("grader.py", "grade"), Path(sys.executable), Traits(**traits))
    renderer = load_renderer(embedded_model())
    spec = RftSpec(dataset="d", evaluator="project:x", grader_timeout_s=scoring_s, limits="off")
    prompts = [Prompt(f"p{i}", row, renderer.prompt([{"role": "user", "content": "a"}])) for i, row in enumerate(rows)]

    async def all_of_them() -> list[Any]:
        secrets = {"MY_SECRET": "s", "FIREWORKS_API_BASE": "http://elsewhere"}
        async with ProjectRoller(project, Fixed(renderer), renderer, spec, 100, Outside(secrets)) as roller:
            groups = await asyncio.gather(*(roller.roll(p, SamplingParams(max_tokens=5), n) for p in prompts))
        return [rollout for group in groups for rollout in group.rollouts]

    return asyncio.run(all_of_them())


def test_values_and_failures(tmp_path):
    kinds = ("number", "parts", "raise", "nothing", "nan", "chatter", "write")
    number, parts, raised, nothing, nan, chatter, write = rolled(tmp_path, *({"kind": k} for k in kinds))
    assert number.score.reward == 0.25
    assert (parts.score.reward, parts.score.parts, parts.score.reason) == (2, {"a": 1}, "because")
    assert raised.error.startswith("error: ") and "no such thing" in raised.error and "grader.py" in raised.error
    assert nothing.error.startswith("bad_value") and nan.error.startswith("bad_value")
    assert chatter.score.reward == 0.5
    if level() != "limits" or os.geteuid() == 0:
        assert write.error.startswith("error: ") and any(refused in write.error for refused in REFUSED)
        assert not (tmp_path / "source" / "here.txt").exists()


def test_what_it_sees(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("s")
    paths = [str(secret), str(Path.home() / ".ssh"), str(tmp_path / "source" / "grader.py")]
    files, environment = rolled(tmp_path, {"kind": "files", "paths": paths}, {"kind": "environment"})
    if level() != "limits":  # which keeps nothing from being read
        assert files.score.reason == "[False, False, True]"
    assert environment.score.reason == "['MY_SECRET']"


def test_one_that_waits_for_ever_fails_alone(tmp_path):
    slow, good = rolled(tmp_path, {"kind": "sleep"}, {"kind": "number"}, scoring_s=1.0)
    assert slow.error.startswith("timeout") and good.score.reward == 0.25


def test_one_that_ends_the_process_fails_and_others_are_scored_in_another(tmp_path):
    rows = [{"kind": "exit"}, *({"kind": "number"} for _ in range(4))]
    gone, *others = rolled(tmp_path, *rows)
    assert gone.error.startswith("crash: ") and "exit status 7" in gone.error
    assert [r.score and r.score.reward for r in others] == [0.25] * 4


def test_secrets_do_not_move_the_policy(tmp_path):
    (found,) = rolled(tmp_path, {"kind": "environment"})
    assert found.score is not None


def test_one_that_holds_the_process_up_is_ended_and_others_are_scored_in_another(tmp_path, monkeypatch):
    monkeypatch.setattr("tunesmith.grading.projects.supervisor.GRACE_S", 0.5)
    blocking = GRADER.replace("async def grade", "def grade").replace("await asyncio.sleep(60)", "pass")
    monkeypatch.setitem(globals(), "GRADER", blocking)
    rows = [{"kind": "block"}, *({"kind": "number"} for _ in range(3))]
    stuck, *others = rolled(tmp_path, *rows, scoring_s=1.0)
    assert stuck.error.startswith("timeout: no score within 1 s")
    assert [r.score and r.score.reward for r in others] == [0.25] * 3
