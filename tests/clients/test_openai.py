"""Inference through OpenAI's own SDK: what it asks, what it reads, and its errors."""

import json
from typing import Any

import pytest
from clients.conftest import MODEL, Ask


@pytest.fixture
def found(ask: Ask) -> Any:
    return ask("openai", "openai_inference")


def test_models(found):
    assert MODEL in found["models"]
    assert found["model"] == MODEL


def test_a_chat_and_its_log_probabilities(found):
    for choice in found["chat"]["whole"]:
        entries = choice["logprobs"]["content"]
        assert "".join(entry["token"] for entry in entries) == choice["message"]["content"]
        assert choice["message"]["role"] == "assistant"
        assert choice["finish_reason"] in ("stop", "length")
        for entry in entries:
            likeliest = [other["logprob"] for other in entry["top_logprobs"]]
            assert len(likeliest) == 3 and likeliest == sorted(likeliest, reverse=True)
            whole = "\ufffd" not in entry["token"]
            assert (bytes(entry["bytes"]).decode() == entry["token"]) if whole else entry["bytes"] is None
            same = [o["logprob"] for o in entry["top_logprobs"] if o["token"] == entry["token"]]
            assert entry["logprob"] in same if same else entry["logprob"] <= min(likeliest)
    counts = found["chat"]["usage"]
    assert counts["total_tokens"] == counts["prompt_tokens"] + counts["completion_tokens"]
    assert counts["completion_tokens"] >= sum(len(c["logprobs"]["content"]) for c in found["chat"]["whole"])


def test_a_seed_gives_the_same_again_and_its_choices_differ(found):
    texts = [c["message"]["content"] for c in found["chat"]["whole"]]
    assert found["chat"]["again"] == texts
    assert len(set(texts)) > 1
    assert found["inference"] == [texts[0]] * 3


def test_a_stream_is_the_same_in_pieces(found):
    whole, streamed = found["chat"]["whole"], found["chat"]["streamed"]
    assert found["chat"]["chunks"] > 2 * len(whole)
    assert found["chat"]["streamed_usage"] == found["chat"]["usage"]
    assert found["chat"]["helper"][0] == found["chat"]["helper"][1]
    for own, other in zip(streamed, whole, strict=True):
        entries = other["logprobs"]["content"]
        assert own["content"] == other["message"]["content"]
        assert own["role"] == "assistant"
        assert own["finish_reason"] == other["finish_reason"]
        assert own["tokens"] == [entry["token"] for entry in entries]
        assert own["logprobs"] == [entry["logprob"] for entry in entries]


def test_stop_texts_are_left_out(found):
    text = found["chat"]["whole"][0]["message"]["content"]
    cut = text[: text.find(text[2:4])]
    assert found["chat"]["stopped"] == [cut, "stop"]
    assert found["chat"]["stopped_stream"] == cut
    assert found["chat"]["short"] == "length"


def test_completions_of_texts_and_ids(found):
    c = found["completions"]
    assert c["text"] == c["of_ids"]
    assert c["each"][0] == c["text"]
    assert c["two"] == [text for text in c["each"] for _ in range(2)]
    assert len(c["ids"][1]) == 6
    assert c["streamed"] == "1+1=" + c["text"]


def test_formats_are_kept_to(found):
    formats = found["formats"]
    assert formats["streamed"] == formats["whole"]
    for text, reason in formats["whole"]:
        answer = json.loads(text)
        assert (set(answer), type(answer["sum"]), type(answer["sure"])) == ({"sum", "sure"}, int, bool)
        assert reason == "stop"
    assert set(formats["grammar"]) <= {"yes", "no"}
    text, reason = formats["object"]
    assert isinstance(json.loads(text), dict) if reason == "stop" else text.startswith("{")


def test_an_echo_is_scored_and_nothing_need_be_drawn(found):
    echo, scored = found["completions"]["echo"], found["completions"]["scored"]
    assert echo["text"] == "1+1=" + found["completions"]["text"]
    logprobs = echo["logprobs"]
    assert "".join(logprobs["tokens"]) == echo["text"]
    lengths = [len(token) for token in logprobs["tokens"]]
    assert logprobs["text_offset"] == [sum(lengths[:i]) for i in range(len(lengths))]
    assert logprobs["token_logprobs"][0] is None
    assert all(x <= 0 for x in logprobs["token_logprobs"][1:])
    assert [len(top) for top in logprobs["top_logprobs"]] == [0] + [2] * (len(lengths) - 1)
    assert (scored["text"], scored["finish_reason"]) == ("1+1=", "length")
    assert scored["logprobs"]["token_logprobs"] == logprobs["token_logprobs"][:4]


@pytest.mark.parametrize(
    ("what", "kind", "param", "words"),
    [
        ("model", "NotFoundError", "model", "unknown 'gpt-4'. Known: "),
        ("stream", "NotFoundError", "model", "unknown 'gpt-4'"),
        ("retrieve", "NotFoundError", "model", "unknown 'gpt-4'"),
        ("delete", "PermissionDeniedError", "model", "is a base model"),
        ("key", "AuthenticationError", None, "unknown, revoked or expired key"),
        ("context", "BadRequestError", "max_tokens", "exceeds the model's context window"),
        ("n", "BadRequestError", "n", "less than or equal to 128 (got 129)"),
        ("stop", "BadRequestError", "stop", "at most 16 items"),
        ("likeliest", "BadRequestError", "top_logprobs", "less than or equal to 20"),
        ("logit_bias", "BadRequestError", "logit_bias", "is not supported by this server"),
        ("response_format", "BadRequestError", "response_format", "cannot be enforced: Invalid type: nonsense"),
        ("tools", "BadRequestError", "tools", "does not tell it about tools"),
        ("unknown", "BadRequestError", "temprature", "is no setting of this request"),
        ("image", "BadRequestError", "messages[0].content[0]", "is no part of type text"),
        ("empty", "BadRequestError", "prompt", "Give at least one prompt"),
        ("id", "BadRequestError", "prompt", "is not in the vocabulary"),
    ],
)
def test_refusals_name_what_they_refuse(found, what, kind, param, words):
    refused = found["refused"][what]
    assert (refused["kind"], refused["param"]) == (kind, param)
    assert words in refused["text"]


@pytest.mark.parametrize(
    ("what", "code"),
    [("model", "model_not_found"), ("key", "invalid_api_key"), ("context", "context_length_exceeded")],
)
def test_codes_that_programs_look_at(found, what, code):
    assert found["refused"][what]["code"] == code


def test_many_streams_side_by_side(found):
    many = found["many"]
    assert len(many["together"]) == 64
    assert len(set(many["together"])) > 1
    assert many["together"][:8] == many["alone"]
