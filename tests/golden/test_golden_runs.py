"""Five steps of every kind of job and method on a tiny seeded model: a refactoring may not change a digit.

The files hold full precision. They are compared to a relative 1e-5, because other processors add up in other orders;
on one machine the digits are the same, which the tests of determinism check to the bit.
"""

import shutil
from pathlib import Path

import pytest
from crash.tiny_jobs import make_data, make_model, settings

from tunesmith.services import worker
from tunesmith.spec import METHODS, build_spec

HERE = Path(__file__).parent
STEPS = 5
RFT = {"chunk_size": 5, "temperature": 0.9, "top_p": 0.95}
JOBS = {
    "sft": ("sft", {"batch_size_samples": 5}),
    "sft-all-weights": ("sft", {"batch_size_samples": 5, "lora_rank": 0, "learning_rate": 1e-3}),
    "dpo": ("dpo", {"batch_size_samples": 5}),
    "orpo": ("dpo", {"batch_size_samples": 5, "preference_loss": "orpo"}),
    **{f"rft-{method}": ("rft", {**RFT, "rl_loss_method": method}) for method in METHODS},
    "rft-many-updates": ("rft", {**RFT, "batch_size": 100, "gradient_accumulation_steps": 2, "rl_kl_beta": 0.1}),
}
SHOWN = {
    "sft": ("train/loss", "optim/grad_norm"),
    "dpo": ("train/loss", "train/margin", "optim/grad_norm"),
    "rft": ("loss/policy", "rollout/reward_mean", "rollout/entropy", "policy/ratio_mean", "optim/grad_norm"),
}


@pytest.fixture(scope="module")
def jobs_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("golden")
    make_model(root / "model")
    make_data(root / "data")
    return root


def five_steps(name: str, root: Path) -> list[dict[str, float]]:
    """The shown metrics of the first five of six steps: an epoch of 12 rows, and most of the next."""
    kind, changes = JOBS[name]
    spec = settings(kind, root, eval_auto_carveout=False, epochs=2, **changes)
    shutil.rmtree(root / "run", ignore_errors=True)
    steps = worker.start(build_spec(spec)).metrics()[1 : STEPS + 1]
    return [{n: step[n] for n in SHOWN[kind] if n in step} for step in steps]


def written(steps: list[dict[str, float]]) -> str:
    lines = [f"{i} {n} {value!r}" for i, step in enumerate(steps, start=1) for n, value in step.items()]
    return "\n".join(lines) + "\n"


def read(text: str) -> list[dict[str, float]]:
    steps: list[dict[str, float]] = [{} for _ in range(STEPS)]
    for line in text.splitlines():
        step, name, value = line.split()
        steps[int(step) - 1][name] = float(value)
    return steps


@pytest.mark.parametrize("name", JOBS)
def test_the_numbers_are_those_of_before(name, jobs_root, update_golden):
    found, file = five_steps(name, jobs_root), HERE / f"{name}.txt"
    if update_golden:
        file.write_text(written(found))
    assert read(written(found)) == found
    expected = read(file.read_text())
    for step, (now, before) in enumerate(zip(found, expected, strict=True), start=1):
        assert now.keys() == before.keys()
        assert now == pytest.approx(before, rel=1e-5, abs=1e-7), f"step {step}"


def test_no_golden_file_is_left_over():
    assert {p.stem for p in HERE.glob("*.txt")} == set(JOBS)
