"""What sampling promises, seen through the SDK."""

import numpy as np
import pytest
from clients.conftest import Ask

CLIENT = "tinker-0.38.0"


def test_a_seed_repeats_and_samples_differ(ask: Ask):
    seeds = ask(CLIENT, "sampling")["seeds"]
    first, second = seeds["same"]
    assert first == second
    assert len({tuple(tokens) for tokens in first}) == 4
    assert seeds["other"] != first
    # Without a seed every request draws anew.
    assert seeds["none"][0] != seeds["none"][1]
    assert len(set(seeds["ids"])) == 3


def test_temperature_0_is_greedy(ask: Ask):
    seeds = ask(CLIENT, "sampling")["seeds"]
    greedy = {tuple(tokens) for tokens in seeds["greedy"]}
    assert len(greedy) == 1
    # One candidate to choose from leaves the likeliest too.
    assert {tuple(t) for t in seeds["top_1"] + seeds["tiny_top_p"]} == greedy


@pytest.mark.parametrize(("kind", "ends"), [("default", "end"), ("ids", "comma")])
def test_stop_ids(ask: Ask, kind: str, ends: str):
    stops = ask(CLIENT, "sampling")["stops"]
    tokens = stops[kind]["tokens"]
    assert stops[kind]["reason"] == "stop"
    assert tokens == stops["free"][: len(tokens)]
    assert tokens[-1] == stops[ends]
    assert tokens.count(stops[ends]) == 1


@pytest.mark.parametrize(("kind", "text"), [("string", "=12"), ("strings", ", ")])
def test_stop_strings_stay_in_the_text_and_nothing_follows(ask: Ask, kind: str, text: str):
    stops = ask(CLIENT, "sampling")["stops"]
    assert stops[kind]["reason"] == "stop"
    assert text in stops[kind]["text"]
    assert stops[kind]["tokens"] == stops["free"][: len(stops[kind]["tokens"])]
    assert len(stops[kind]["tokens"]) < len(stops["default"]["tokens"])


def test_no_stop_at_all(ask: Ask):
    stops = ask(CLIENT, "sampling")["stops"]
    assert len(stops["never"]["tokens"]) == 40
    assert stops["never"]["reason"] == stops["length"]["reason"] == "length"
    assert stops["end"] in stops["never"]["tokens"][:-1]
    assert len(stops["length"]["tokens"]) == 5


def test_prompt_logprobs_whole_and_in_part(ask: Ask):
    found = ask(CLIENT, "sampling")["prompt"]
    whole = found["whole"]
    assert whole[0] is None
    assert np.abs(np.subtract(whole[1:], found["trainer"])).max() < 1e-5
    for part in (found["last"], found["last_sampled"]):
        assert part[:-4] == [None] * (len(whole) - 4)
        assert part[-4:] == pytest.approx(whole[-4:], abs=1e-5)


def test_target_and_likeliest_prompt_logprobs(ask: Ask):
    found = ask(CLIENT, "sampling")["prompt"]
    targets, whole = np.array(found["targets"]), np.array(found["whole"][1:])
    assert np.abs(targets[:, 0] - whole).max() < 1e-5
    assert found["top"][0] is None
    for position, (top, own) in enumerate(zip(found["top"][1:], whole, strict=True)):
        values = [logprob for _, logprob in top]
        assert values == sorted(values, reverse=True), position
        assert len(values) == 3
        assert own < values[0] + 1e-5


def test_sparse_targets_are_answered_sparse(ask: Ask):
    found = ask(CLIENT, "sampling")["prompt"]
    targets, sparse = np.array(found["targets"]), found["sparse"]
    assert sparse["rows"] is not None, "it came back dense"
    ends = sparse["rows"]
    cells = [(r, c) for r in range(len(targets)) for c in sparse["columns"][ends[r] : ends[r + 1]]]
    assert sparse["values"] == pytest.approx([targets[cell] for cell in cells], abs=1e-5)
    assert 0 < len(cells) < targets.size


def test_alternatives_of_samples_and_prompt(ask: Ask):
    found, question = ask(CLIENT, "sampling")["alternatives"], ask(CLIENT, "sampling")["question"]
    for token, logprob, top in zip(found["tokens"], found["logprobs"], found["top"], strict=True):
        values = dict(map(tuple, top))
        assert len(values) == 4
        if token in values:
            assert values[token] == pytest.approx(logprob, abs=1e-5)
        else:
            assert logprob <= min(values.values()) + 1e-5
    shape = (len(question) - 1, 5)
    assert np.array(found["prompt_tokens"]).shape == np.array(found["prompt_logprobs"]).shape == shape
    # At temperature 0.5 a position with an obvious next token draws it more than once.
    assert any(len(set(row)) < 5 for row in found["prompt_tokens"])
    assert len({tuple(row) for row in found["prompt_tokens"]}) > 1
