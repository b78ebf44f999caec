"""The whole loop through every supported version of the SDK: what is saved, resumed, sampled and listed agrees."""

from typing import Any

import numpy as np
import pytest
from clients.conftest import MODEL, Ask

VERSIONS = ("0.23.4", "0.25.0", "0.30.4", "0.38.0")


@pytest.fixture(params=VERSIONS)
def loop(ask: Ask, request: pytest.FixtureRequest) -> Any:
    answer = ask(f"tinker-{request.param}", "loop")
    assert answer["version"] == request.param
    return answer


def test_training_learns(loop):
    first, *_, last = loop["losses"]
    assert 0 < last < 0.98 * first


def test_a_saved_state_goes_on_bit_for_bit_and_weights_alone_begin_anew(loop):
    assert loop["at_resume"] == loop["at_save"] == loop["weights_only"]
    assert loop["next_of_resumed"] == loop["next_of_first"]
    assert loop["next_of_weights_only"] != loop["next_of_first"]


def test_named_and_unnamed_sampler_weights_draw_the_same(loop):
    assert loop["samples"] == loop["samples_of_named"]
    assert loop["samples"][0] != loop["samples"][1]
    assert loop["base_model"] in ("stop", "length")


def test_sampler_and_trainer_give_one_log_probability(loop):
    of_sampler, of_trainer = loop["sampler_logprobs"], loop["trainer_logprobs"]
    assert of_sampler[0] is None
    assert np.abs(np.array(of_sampler[1:]) - of_trainer).max() < 1e-5
    # The samples were drawn at temperature 0.9: another distribution, so the numbers must differ.
    assert np.abs(np.array(loop["sampled_logprobs"]) - of_trainer[-len(loop["sampled_logprobs"]) :]).max() > 1e-3


def test_the_server_says_what_it_has(loop):
    model = loop["model_id"]
    assert MODEL in loop["models"]
    assert loop["info"] == MODEL
    assert len(loop["tokenizer"]) == 3  # one token per digit, one for the sign
    assert loop["run"] == {"id": model, "base_model": MODEL, "lora_rank": 8}
    assert loop["weights_info"] == 8
    assert model in loop["runs"]
    assert set(loop["checkpoints"]) == {
        f"tinker://{model}/weights/loop",
        f"tinker://{model}/sampler_weights/loop-sampler",
    }
    assert {loop["state"], loop["sampler"]} == set(loop["checkpoints"]) <= set(loop["all_checkpoints"])
    assert loop["sessions"] >= 1
