"""What the training verbs promise, seen through the SDK."""

import numpy as np
import pytest
from clients.conftest import Ask

CLIENT = "tinker-0.38.0"


@pytest.mark.parametrize("parts", ["2 x 4", "8 x 1"])
def test_a_batch_may_be_split(ask: Ask, parts: str):
    split = ask(CLIENT, "verbs")["split"]
    whole, other = split["8"], split[parts]
    assert other["loss"] == pytest.approx(whole["loss"], rel=1e-5)
    assert other["norm"] == pytest.approx(whole["norm"], rel=1e-5)
    assert np.abs(np.subtract(whole["logprobs"], other["logprobs"])).max() < 1e-5


def test_large_batches_go_in_chunks_and_come_back_in_order(ask: Ask):
    found = ask(CLIENT, "verbs")["chunks"]
    assert found["datums"] == 5 * 220
    assert found["most_off"] < 1e-5
    assert found["loss"] == pytest.approx(found["expected"], rel=1e-5)


def test_forward_leaves_no_trace(ask: Ask):
    found = ask(CLIENT, "verbs")["forward_only"]
    assert found["with"] == found["without"]
    assert "no gradient" in found["step_after_forward"]


def test_wide_targets_equal_their_columns(ask: Ask):
    wide = ask(CLIENT, "verbs")["wide"]
    for layout in ("dense", "sparse"):
        assert wide[layout]["loss"] == pytest.approx(wide["columns"]["loss"], rel=1e-5)
        assert wide[layout]["norm"] == pytest.approx(wide["columns"]["norm"], rel=1e-5)
    assert np.abs(np.subtract(wide["dense"]["logprobs"], wide["columns"]["logprobs"])).max() < 1e-5


def test_own_losses_have_the_gradient_of_the_named_one(ask: Ask):
    found = ask(CLIENT, "verbs")["custom"]
    norms = found["norms"]
    assert norms["own"] == pytest.approx(norms["named"], rel=1e-5)
    assert norms["traced"] == pytest.approx(norms["named"], rel=1e-5)
    assert found["own"]["mine"] == pytest.approx(found["named"]["loss:sum"], rel=1e-5)
    assert found["traced"]["custom/traced:sum"] == pytest.approx(found["named"]["loss:sum"], rel=1e-5)


def test_a_snapshot_keeps_its_weights(ask: Ask):
    found = ask(CLIENT, "verbs")["snapshot"]
    assert found["after"] == found["before"]
    assert np.abs(np.subtract(found["new"][1:], found["before"][1:])).max() > 1e-2
    assert np.abs(np.subtract(found["new"][1:], found["trainer"])).max() < 1e-5
    old, new, old_again = found["samples"]
    assert old == old_again
    assert old != new


def test_fresh_samples_are_on_policy(ask: Ask):
    found = ask(CLIENT, "verbs")["mismatch"]
    assert found["tokens"] == 8 * 32
    assert found["kl_v2"] < 1e-8


def test_the_optimizer_obeys_its_settings(ask: Ask):
    moved = ask(CLIENT, "verbs")["adam"]
    # Ten times the rate of Adam moves about ten times as far; half the clipping norm of plain descent half as far.
    assert moved["large"] / moved["small"] == pytest.approx(10, rel=0.3)
    assert moved["clipped"] / moved["clipped more"] == pytest.approx(2, rel=0.1)


def test_a_refusal_is_in_words_and_the_client_goes_on(ask: Ask):
    found = ask(CLIENT, "verbs")["refused"]
    assert "384" in found["words"]
    assert found["loss_after"] > 0
    assert found["norm_after"] > 0
