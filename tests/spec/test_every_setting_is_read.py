"""A setting that nobody reads is a lie: every one changes a tiny job, or what the job refuses, in its own way."""

import json
import shutil
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from crash.fingerprint import fingerprint
from crash.tiny_jobs import make_data, make_model, settings

from tunesmith.core.errors import UserError
from tunesmith.grading.projects import manifest
from tunesmith.grading.projects.manifest import Entry, Project, Traits
from tunesmith.services import worker
from tunesmith.services.run_folder import RunFolder
from tunesmith.services.trackers import PACKAGES
from tunesmith.services.trackers.follow import Follower
from tunesmith.spec import DpoSpec, RftSpec, SftSpec, build_spec

pytestmark = pytest.mark.thorough
FIELDS = {"rft": set(RftSpec.model_fields), "sft": set(SftSpec.model_fields), "dpo": set(DpoSpec.model_fields)}
SHARED = FIELDS["rft"] & FIELDS["sft"] & FIELDS["dpo"]


@dataclass(frozen=True)
class Jobs:
    root: Path
    known: dict[str, dict[str, str]]
    """Results by the settings that gave them, so that what many compare with is run once."""

    def run(self, kind: str, **changes: Any) -> RunFolder:
        shutil.rmtree(self.root / "run", ignore_errors=True)
        return worker.start(build_spec(settings(kind, self.root, **changes)))

    def results(self, kind: str, **changes: Any) -> dict[str, str]:
        """Checksums of metrics, rollouts and weights."""
        asked = json.dumps([kind, changes])
        if asked not in self.known:
            self.known[asked] = fingerprint(self.run(kind, **changes).path)
        return self.known[asked]


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    root = tmp_path_factory.mktemp("jobs")
    make_model(root / "model")
    make_data(root / "data")
    return Jobs(root, {})


RESULTS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "learning_rate": ("sft", {}, {"learning_rate": 0.011}),
    "learning_rate_warmup_steps": ("sft", {}, {"learning_rate_warmup_steps": 2}),
    "learning_rate_schedule": ("sft", {}, {"learning_rate_schedule": "linear"}),
    "min_lr_ratio": ("sft", {"learning_rate_schedule": "cosine"}, {"min_lr_ratio": 0.5}),
    "epochs": ("sft", {}, {"epochs": 2}),
    "lora_rank": ("sft", {}, {"lora_rank": 8}),
    "lora_alpha": ("sft", {}, {"lora_alpha": 16}),
    "lora_head": ("sft", {}, {"lora_head": True}),
    "adam_beta1": ("sft", {}, {"adam_beta1": 0.5}),
    "adam_beta2": ("sft", {}, {"adam_beta2": 0.5}),
    "adam_eps": ("sft", {}, {"adam_eps": 1e-2}),
    "optimizer_weight_decay": ("sft", {}, {"optimizer_weight_decay": 0.5}),
    "grad_clip": ("sft", {}, {"grad_clip": 0.01}),
    "seed": ("sft", {}, {"seed": 1}),
    "eval_every": ("sft", {}, {"eval_every": 1}),
    "eval_auto_carveout": ("sft", {}, {"eval_auto_carveout": False}),
    "sft batch_size_samples": ("sft", {}, {"batch_size_samples": 3}),
    "dpo batch_size_samples": ("dpo", {}, {"batch_size_samples": 3}),
    "preference_loss": ("dpo", {}, {"preference_loss": "orpo"}),
    "dpo_beta": ("dpo", {}, {"dpo_beta": 0.2}),
    "orpo_lambda": ("dpo", {"preference_loss": "orpo"}, {"orpo_lambda": 0.3}),
    "early_stop_patience": (
        "rft",
        {"learning_rate": 1e-9, "eval_every": 1, "epochs": 2},
        {"learning_rate": 1e-9, "eval_every": 1, "epochs": 2, "early_stop_patience": 1},
    ),
    "stop_on_findings": ("rft", {"max_tokens": 1, "epochs": 2}, {"stop_on_findings": True}),
    "evaluator": ("rft", {}, {"evaluator": "repetition"}),
    "batch_size": ("rft", {}, {"batch_size": 40}),
    "gradient_accumulation_steps": ("rft", {"batch_size": 40}, {"gradient_accumulation_steps": 2}),
    "chunk_size": ("rft", {}, {"chunk_size": 3}),
    "rl_loss_method": ("rft", {}, {"rl_loss_method": "gspo-token"}),
    "rl_kl_beta": ("rft", {}, {"rl_kl_beta": 0.5}),
    "kl_estimator": ("rft", {"rl_kl_beta": 0.5}, {"kl_estimator": "k2"}),
    "length_norm": ("rft", {}, {"length_norm": True}),
    "advantage_clip": ("rft", {}, {"advantage_clip": 0.1}),
    "temperature": ("rft", {}, {"temperature": 1.1}),
    "temperature_schedule": ("rft", {}, {"temperature_schedule": "linear", "temperature_end": 0.2}),
    "temperature_end": (
        "rft",
        {"temperature_schedule": "linear", "temperature_end": 0.2},
        {"temperature_schedule": "linear", "temperature_end": 0.4},
    ),
    "top_p": ("rft", {}, {"top_p": 0.5}),
    "top_k": ("rft", {}, {"top_k": 3}),
    "response_candidates_count": ("rft", {}, {"response_candidates_count": 3}),
    "max_tokens": ("rft", {}, {"max_tokens": 5}),
    "eval_samples": ("rft", {}, {"eval_samples": 2}),
}
"""Setting -> (kind of job, what both runs have, what the second has): metrics or weights differ."""


@pytest.mark.parametrize("case", RESULTS)
def test_results_differ(jobs, case):
    kind, both, changed = RESULTS[case]
    assert jobs.results(kind, **both) != jobs.results(kind, **{**both, **changed})


def refused(jobs, match, **changes):
    with pytest.raises(UserError, match=match):
        jobs.run("rft", **changes)
    return True


def base_model(jobs):
    return refused(jobs, "no such base model", base_model="nowhere")


def dataset(jobs):
    return refused(jobs, "no such dataset file", dataset="nowhere.jsonl")


def kind(jobs):
    return {jobs.run(k).state().kind for k in FIELDS} == set(FIELDS)


def limits(jobs):
    """Tiny jobs go on with learning rates that a managed one is refused for."""
    return refused(jobs, "learning_rate: outside valid range", limits="managed")


def warm_start_from(jobs):
    """A job that starts from another's adapter begins where that one ended."""
    jobs.run("sft")
    shutil.copytree(jobs.root / "run" / "adapter", jobs.root / "adapter", dirs_exist_ok=True)
    cold, warm = (jobs.run("sft", warm_start_from=w).metrics() for w in (None, str(jobs.root / "adapter")))
    return warm[0]["eval/loss"] < cold[0]["eval/loss"]


def evaluation_dataset(jobs):
    with_own = jobs.run("sft", evaluation_dataset=str(jobs.root / "data" / "sft.jsonl")).metrics()
    return with_own[0]["eval/rows"] == 12 and jobs.run("sft").metrics()[0]["eval/rows"] == 1


def save_every(jobs):
    """Only steps 2 and 3, the last, have checkpoints."""
    kept = [p.name for p in (jobs.run("sft", save_every=2).path / "checkpoints").iterdir() if p.name != "best"]
    return sorted(kept) == ["step-000002", "step-000003"]


def keep_checkpoints(jobs):
    kept = (jobs.run("rft", keep_checkpoints=3).path / "checkpoints").iterdir()
    return sorted(p.name for p in kept) == ["step-000001", "step-000002", "step-000003"]


def output_dir(jobs):
    return jobs.run("sft", output_dir=str(jobs.root / "elsewhere")).path == jobs.root / "elsewhere"


def skip_bad_rows(jobs):
    file = jobs.root / "data" / "bad.jsonl"
    file.write_text("not JSON\n" + (jobs.root / "data" / "rft.jsonl").read_text())
    refused(jobs, "bad.jsonl", dataset=str(file))
    return (
        "left out 1 bad lines" in (jobs.run("rft", dataset=str(file), skip_bad_rows=True).path / "log.txt").read_text()
    )


def max_context_length(jobs):
    return refused(jobs, "limit 16", max_context_length=16, max_tokens=12)


def max_concurrent_rollouts(jobs):
    """More of them change the speed only."""
    same = jobs.results("rft", max_concurrent_rollouts=3) == jobs.results("rft", max_concurrent_rollouts=50)
    return same and RftSpec(**settings("rft", jobs.root, max_concurrent_rollouts=3)).concurrency() == 3


def max_grader_error_rate(jobs):
    file = failing_grader(jobs, 'raise ValueError("no")')
    with pytest.raises(UserError, match="max_grader_error_rate is 50%"):
        jobs.run("rft", evaluator=file, max_grader_error_rate=0.5)
    return jobs.run("rft", evaluator=file, max_grader_error_rate=1.0).state().state == "EARLY_STOPPED"


def grader_timeout_s(jobs):
    """Each grading takes 0.1 s: too long for one job, quick enough for the other."""
    file = failing_grader(jobs, "import time; time.sleep(0.1); return 1.0")
    short = {"chunk_size": 1, "response_candidates_count": 2, "eval_auto_carveout": False}
    few = jobs.root / "data" / "one.jsonl"
    few.write_text((jobs.root / "data" / "rft.jsonl").read_text().splitlines()[0] + "\n")
    with pytest.raises(UserError, match="timeout"):
        jobs.run("rft", dataset=str(few), evaluator=file, grader_timeout_s=0.05, **short)
    return (
        jobs.run("rft", dataset=str(few), evaluator=file, grader_timeout_s=5, **short).metrics()[1][
            "rollout/failed_share"
        ]
        == 0
    )


def grader_memory_mb(jobs):
    """Each grading takes 300 MB."""
    file = failing_grader(jobs, "return float(len(bytearray(300_000_000)) > 0)")
    short = {"chunk_size": 1, "response_candidates_count": 2, "eval_auto_carveout": False}
    few = jobs.root / "data" / "one.jsonl"
    few.write_text((jobs.root / "data" / "rft.jsonl").read_text().splitlines()[0] + "\n")
    with pytest.raises(UserError, match="memory"):
        jobs.run("rft", dataset=str(few), evaluator=file, grader_memory_mb=64, **short)
    return (
        jobs.run("rft", dataset=str(few), evaluator=file, grader_memory_mb=1024, **short).metrics()[1][
            "rollout/failed_share"
        ]
        == 0
    )


def rollout_timeout_s(jobs):
    """A project, with a Python of its own, that does nothing for a while."""
    folder = jobs.root / "project"
    folder.mkdir(exist_ok=True)
    (folder / "own.py").write_text("import asyncio\nasync def grade(c, row):\n    await asyncio.sleep(9)\n")
    python = Path(sys.executable).resolve()
    manifest.write(Project(folder, folder, Entry("own.py", "grade"), python, Traits("grader")))
    return refused(jobs, "timeout: took too long", evaluator=f"project:{folder}", rollout_timeout_s=0.2)


def grader_network(jobs):
    """The grader needs a connection to a port of this machine."""
    few = jobs.root / "data" / "one.jsonl"
    few.write_text((jobs.root / "data" / "rft.jsonl").read_text().splitlines()[0] + "\n")
    short = {"chunk_size": 1, "response_candidates_count": 2, "eval_auto_carveout": False}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        file = failing_grader(jobs, f"import socket; socket.create_connection({address}, 5).close(); return 1.0")
        with pytest.raises(UserError, match="ConnectionRefusedError"):
            jobs.run("rft", dataset=str(few), evaluator=file, **short)
        run = jobs.run("rft", dataset=str(few), evaluator=file, grader_network=True, **short)
    return run.metrics()[1]["rollout/failed_share"] == 0


def report_to(jobs):
    absent = next(name for name, package in PACKAGES.items() if find_spec(package.partition(".")[0]) is None)
    return refused(jobs, "is not installed", report_to=[absent])


def tracker_project(jobs):
    return told(jobs, tracker_project="mine").project == "mine"


def tracker_entity(jobs):
    return told(jobs, tracker_entity="us").entity == "us"


def tracker_run(jobs):
    return told(jobs, tracker_run="first").name == "first" and told(jobs).name == "run"


def told(jobs, **changes):
    """What a tracker learns of a run when reporting begins."""

    class Opened:
        def open(self, about):
            self.about = about

    tracker = Opened()
    Follower("opened", tracker, jobs.run("sft", **changes))
    return tracker.about


def failing_grader(jobs, body):
    file = jobs.root / "data" / "own_grader.py"
    file.write_text(f"def grade(completion, row):\n    {body}\n")
    return f"{file}::grade"


OBSERVED: dict[str, Callable[[Jobs], bool]] = {
    check.__name__: check
    for check in (
        *(
            base_model,
            dataset,
            kind,
            limits,
            warm_start_from,
            evaluation_dataset,
            save_every,
            output_dir,
            keep_checkpoints,
        ),
        *(skip_bad_rows, max_context_length, max_concurrent_rollouts),
        *(max_grader_error_rate, grader_timeout_s, grader_memory_mb, grader_network, rollout_timeout_s),
        *(report_to, tracker_project, tracker_entity, tracker_run),
    )
}
"""Settings whose effect is not in the numbers of a run."""


@pytest.mark.parametrize("name", OBSERVED)
def test_an_effect_of_its_own(jobs, name):
    assert OBSERVED[name](jobs)


def test_no_setting_is_left_out():
    covered = {name.split()[-1] for name in RESULTS} | set(OBSERVED)
    assert covered == FIELDS["rft"] | FIELDS["sft"] | FIELDS["dpo"]
    assert len(SHARED) > 20


@pytest.mark.parametrize("kind", FIELDS)
def test_shared_settings_are_read_by_every_kind(jobs, kind):
    """The few that each recipe has to read for itself."""
    changes = [{"learning_rate": 0.02}, {"eval_every": 1}, {"seed": 3}]
    base = jobs.results(kind)
    assert all(jobs.results(kind, **change) != base for change in changes)


def test_what_a_run_stores_are_all_its_settings(jobs):
    run = jobs.run("rft")
    assert set(run.spec()) == FIELDS["rft"]
    assert json.dumps(run.spec(), sort_keys=True) == json.dumps(
        build_spec(settings("rft", jobs.root)).model_dump(), sort_keys=True
    )
