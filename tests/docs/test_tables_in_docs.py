"""What the code has in tables, the pages name: nothing to choose or to meet is undocumented."""

import re
import tomllib
from typing import get_args

import pytest
from docs.pages import DOCS, ROOT, keys, page, section, table_rows

from tunesmith.data import FORMATS
from tunesmith.grading import GRADERS, LABELS
from tunesmith.health import END_RULES, RULES, TIME_RULES
from tunesmith.losses import LOSSES
from tunesmith.models.config import FAMILIES, ROPE_TYPES
from tunesmith.server.errors import STATUS
from tunesmith.server.monitoring import OF_SESSIONS
from tunesmith.services.advice import LABELS as LABEL_FIELDS
from tunesmith.services.rollout_table import SCHEMA
from tunesmith.services.run_folder import STATES, RunFolder, RunState
from tunesmith.services.trackers import TRACKERS
from tunesmith.spec import METHODS
from tunesmith.spec.bounds import Limits
from tunesmith.spec.goals import GOALS

README = (ROOT / "README.md").read_text("utf-8")
RULE_NAMES = [rule.__name__ for rule in [*RULES, *END_RULES, *TIME_RULES]]


@pytest.mark.parametrize(
    ("file", "names"),
    [
        ("graders.md", [*GRADERS, *LABELS]),
        ("losses.md", [*METHODS, *LOSSES]),
        ("datasets.md", ["messages", "input", "preferred_output", "non_preferred_output"]),
        ("run-folder.md", [*STATES, *RunState.__dataclass_fields__, *SCHEMA.names]),
        ("settings.md", [*get_args(Limits)]),
    ],
)
def test_every_name_is_on_its_page(file: str, names: list[str]) -> None:
    text = page(file)
    assert [name for name in names if not re.search(rf"`[^`\n]*\b{name}\b[^`\n]*`", text)] == []


def test_every_kind_of_dataset_and_every_rule_has_a_section() -> None:
    assert [kind for kind in FORMATS if f"\n### {kind}:" not in page("datasets.md")] == []
    assert set(re.findall(r"^## (\w+)$", page("findings.md"), re.MULTILINE)) == set(RULE_NAMES)


def test_the_number_of_graders() -> None:
    words = {13: "Thirteen", 14: "Fourteen", 15: "Fifteen", 16: "Sixteen"}
    assert f"{words[len(GRADERS)]} graders come with Tunesmith" in page("quickstart.md")


def test_limits_of_the_readme_name_families_and_positions() -> None:
    limits = section(README, "Limits")
    shown = {name.replace("_", "-") for name in FAMILIES}
    assert {f.lower() for f in re.findall(r"Llama|Mistral|Qwen\d(?:-MoE)?", limits)} == shown
    assert set(re.findall(r"`(\w+)`", limits)) >= set(ROPE_TYPES)


def dependencies() -> dict[str, list[str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    groups = {"To run": project["dependencies"]}
    groups['To develop (`pip install -e ".[dev]"`)'] = project["optional-dependencies"]["dev"]
    groups['For PostgreSQL (`pip install "tunesmith[postgres]"`)'] = project["optional-dependencies"]["postgres"]
    groups['For S3 (`pip install "tunesmith[s3]"`)'] = project["optional-dependencies"]["s3"]
    groups['To benchmark (`pip install -e ".[bench]"`)'] = project["optional-dependencies"]["bench"]
    trackers = [need for name in TRACKERS for need in project["optional-dependencies"][name]]
    groups['For experiment trackers (`pip install "tunesmith[wandb]"`, and so on)'] = trackers
    assert set(project["optional-dependencies"]) == {"dev", "bench", "postgres", "s3", *TRACKERS}
    return {heading: [re.split(r"[<>=\[]", d)[0] for d in group] for heading, group in groups.items()}


@pytest.mark.parametrize("heading", dependencies())
def test_every_dependency_has_its_reason_and_licence(heading: str) -> None:
    text = section(page("dependencies.md"), heading)
    assert set(keys(text)) == set(dependencies()[heading])
    assert [row for row in table_rows(text) if len(row) != 3 or not all(row)] == []


def nameless(path: str) -> str:
    """A path of a run folder without its step number."""
    return re.sub(r"-\d{6}", "-N", path.strip("/"))


def test_the_run_folder_page_names_every_file_that_a_run_writes(finished_run: RunFolder, sft_run: RunFolder) -> None:
    files = page("run-folder.md").partition("## state.json")[0]
    known = {nameless(name) for name in keys(files)}
    written = {
        nameless(str(p.relative_to(run.path)))
        for run in (finished_run, sft_run)
        for folder in (run.path, run.path / "rollouts", run.path / "checkpoints")
        for p in folder.iterdir()
    }
    assert written - known == {"rollouts", "checkpoints"}
    assert known - written <= {"model", "findings.json", "parent.json", "name.txt", "trackers"}


def test_every_metric_is_documented(finished_run: RunFolder, sft_run: RunFolder, dpo_run: RunFolder) -> None:
    said = set(keys(section(page("run-folder.md"), "Metrics"))) | {"step", "epoch"}
    said |= {name.replace("rollout/", "eval/") for name in said}
    runs = (finished_run, sft_run, dpo_run)
    measured = {name for run in runs for line in run.metrics() for name in line}
    assert measured - said == set()
    assert {name for name in said - measured if not name.startswith(("part/", "eval/"))} == {
        "loss/orpo",
        *("rollout/turns_mean", "rollout/rewrites"),  # of evaluators that make the rollouts
        *("rollout/judge_calls", "rollout/judge_tokens"),  # of graders that ask a model
    }
    timed = {name for run in runs for line in run.timing() for name in line} - {"step"}
    assert [name for name in timed if f"`{name}`" not in page("run-folder.md")] == []


def test_the_index_lists_every_page() -> None:
    linked = set(re.findall(r"\]\(([\w-]+\.md)\)", page("index.md")))
    assert linked == {path.name for path in DOCS} - {"index.md"}


def test_every_metric_of_the_server_is_documented() -> None:
    assert set(keys(section(page("server.md"), "Metrics"))) >= {*OF_SESSIONS, "tunesmith_requests_total"}


def test_every_status_of_a_refusal_is_documented() -> None:
    said = set(re.findall(r"^\| (\d{3}) \|", section(page("server.md"), "Errors"), re.MULTILINE))
    assert said == {str(status) for status in (*STATUS.values(), 401, 405, 413, 500, 503, 507)}


def test_every_goal_and_every_label_is_on_the_page_of_advice() -> None:
    goals = section(page("advice.md"), "Goals")
    assert keys(goals) == list(GOALS)
    assert [name for name in LABEL_FIELDS if f"`{name}`" not in section(page("advice.md"), "SFT or RFT")] == []
