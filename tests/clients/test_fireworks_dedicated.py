"""The dedicated mode through Fireworks' own SDK: trainer job, deployment, snapshots, checkpoints by job."""

import re
from typing import Any

import numpy as np
import pytest
from clients.conftest import MODEL, Ask


@pytest.fixture
def found(ask: Ask) -> Any:
    return ask("fireworks", "fireworks_dedicated")


def test_what_was_provisioned(found):
    assert re.fullmatch(r"training-api-service-[0-9a-f]{8}", found["job"])
    assert re.fullmatch(r"embedded-\d+", found["deployment"])
    assert found["context"] == 4096
    assert MODEL in found["capable"]
    assert len(found["tokenizer"]) == 3  # one token per digit, one for the sign


def test_training_learns_and_its_reference_stays(found):
    first, second, third = found["losses"]
    assert 0 < third < second < 0.9 * first
    assert found["at_start"] == found["of_reference"] == found["of_reference_later"]
    assert found["trained"] != found["at_start"]


def test_a_deployment_serves_what_was_loaded_last(found):
    assert re.fullmatch(r"one-[0-9a-f]{8}", found["path"])
    assert found["path"] == found["snapshot"]
    sampled, scored = found["sampled_logprobs"], found["scored"]
    assert np.abs(np.array(sampled) - scored[-len(sampled) :]).max() < 1e-5
    later = np.array(found["second_logprobs"][1:])
    assert np.abs(later - found["second_scored"]).max() < 1e-5
    assert np.abs(later - scored).max() > 1e-2
    assert len(found["before"]) > 0


def test_saved_states_go_on_bit_for_bit_by_name_and_by_job(found):
    assert found["saved"] == "mid"
    assert found["at_save"] == found["back"] == found["crossed"]
    assert found["after"] == found["again"] != found["at_save"]
    assert found["names"] == ["mid"]
    assert [name.partition("-")[0] for name in found["listed"]] == ["one", "two", "mid"]


def test_sampler_weights_are_promoted_to_a_model_of_their_own(found):
    assert found["promotable"] == [True, True, False]
    assert found["promoted"] == "accounts/default/models/mine"
