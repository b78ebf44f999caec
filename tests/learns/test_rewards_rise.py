"""RFT raises what it is paid for, the KL holds it back in the order of its weight, and the abuse is named."""

from pathlib import Path

import pytest
from lessons import curve, tell_of_dogs


def test_all_weights_learn_and_the_abuse_is_named(shared_data: Path, tmp_path: Path) -> None:
    run = tell_of_dogs(shared_data, tmp_path, "run", lora_rank=0, learning_rate=1e-3, epochs=9)
    rewards = curve(run, "rollout/reward_mean")
    assert rewards[0] < 0.1 and max(rewards) > 0.8, rewards
    assert max(curve(run, "gap/max")) < 1e-5
    warnings = {f.rule for f in run.findings() if f.level == "warning"}
    assert {"kl_drift", "reward_hacking_suspect"} <= warnings


@pytest.mark.slow
def test_an_adapter_learns_and_a_heavier_kl_holds_it_nearer_to_its_start(shared_data: Path, tmp_path: Path) -> None:
    """Weights that are felt beside an advantage of about 1: 0.001 and 0.01 end alike, within the noise of a run."""
    drift, reached, named = [], [], []
    for beta in (0.001, 0.1, 0.3):
        name = f"beta-{beta}"
        run = tell_of_dogs(shared_data, tmp_path, name, learning_rate=2e-3, epochs=10, rl_kl_beta=beta)
        rewards = curve(run, "rollout/reward_mean")
        assert rewards[0] < 0.1, rewards
        named.append("kl_drift" in {f.rule for f in run.findings() if f.level == "warning"})
        drift.append(curve(run, "policy/kl_ref")[-1])
        reached.append(max(rewards))
    assert reached[0] > 0.9 and reached[1] > 0.75 and reached[2] > 0.3, reached
    assert drift[0] > 2 * drift[1] > 4 * drift[2], drift
    assert named == [True, True, False]
