"""Texts that grow by tokens: joined they are the whole, and no part shows half a character or part of a stop text."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.core.types import Completion, NewToken
from tunesmith.models.chat import load_renderer
from tunesmith.server.dialects.openai.growing import Growing, Part, tokens_of
from tunesmith.services.names import embedded_model

END = 256
"""An id without text; those below are bytes."""


@cache
def renderer_of_the_embedded_model():
    return load_renderer(embedded_model())


def decode(tokens):
    return bytes(t for t in tokens if t < END).decode("utf-8", errors="replace")


def grown(tokens, stops=(), stop="length", decode=decode):
    """The parts of a completion, one per token."""
    growing, last = Growing(decode, stops), len(tokens) - 1
    return [
        growing.add(NewToken(0, t, -1.0, -1.0, None, None, stop if i == last else None)) for i, t in enumerate(tokens)
    ]


def joined(parts):
    whole = Part()
    for part in parts:
        whole += part
    return whole


def until(text, stops):
    """A text up to the stop text that is the first to be complete, or the longest of those."""
    for end in range(len(text) + 1):
        if found := [at for stop in stops if (at := text[:end].find(stop)) >= 0]:
            return text[: min(found)]
    return text


@settings(deadline=None)
@given(st.lists(st.integers(0, END), min_size=1, max_size=40))
def test_any_bytes_joined_are_the_whole(tokens):
    whole = joined(grown(tokens))
    assert whole.text == decode(tokens)
    assert [t.token for t in whole.shown] == whole.tokens == tokens


@settings(deadline=None)
@given(st.text(min_size=1, max_size=20), st.integers(0, 3))
def test_half_characters_are_never_shown(text, ends):
    parts = grown([*text.encode("utf-8", errors="replace"), *[END] * ends])
    sound = text.encode("utf-8", errors="replace").decode()
    told = ""
    for part in parts:
        told += part.text
        assert sound.startswith(told)
    assert told == sound


@settings(deadline=None)
@given(st.text("ab€", min_size=1, max_size=30), st.lists(st.text("ab€", min_size=1, max_size=4), max_size=3))
def test_stop_texts_are_cut_off_wherever_they_fall(text, stops):
    parts = grown(list(text.encode()), stops)
    cut = until(text, stops)
    told = ""
    for part in parts:
        told += part.text
        assert cut.startswith(told)
    assert told == cut
    whole = joined(parts)
    assert whole.tokens == list(text.encode())
    assert [t.token for t in whole.shown] == list(cut.encode())


@settings(deadline=None)
@given(st.text("ab", min_size=1, max_size=30))
def test_no_more_is_held_back_than_a_stop_text_may_need(text):
    parts = grown(list(text.encode()), ["abab"])
    cut, told = until(text, ["abab"]), ""
    for i, part in enumerate(parts[:-1], start=1):
        told += part.text
        held = text[len(told) : i]
        assert len(told) == len(cut) or "abab".startswith(held)


@pytest.mark.parametrize(
    ("tokens", "stop", "shown"),
    [
        ([104, 105, END], "stop", [104, 105]),  # the token that ends a turn is not part of it
        ([104, END, 105], "length", [104, END, 105]),  # others without text are
        ([104, END], "length", [104, END]),
        ([END], "stop", []),
    ],
)
def test_which_tokens_have_an_entry(tokens, stop, shown):
    whole = joined(grown(tokens, stop=stop))
    assert [t.token for t in whole.shown] == shown
    assert whole.tokens == tokens


def test_offsets_count_characters():
    # "€" is three bytes that begin at the same character.
    assert joined(grown(list("a€b".encode()))).offsets == [0, 1, 1, 1, 2]


@settings(deadline=None)
@given(st.text(max_size=30), st.integers(0, 2**32))
def test_a_real_tokenizer_in_pieces(text, seed):
    renderer = renderer_of_the_embedded_model()
    noise = np.random.default_rng(seed).integers(0, len(renderer.tokenizer), 20)
    tokens = [*renderer.encode(text).tolist(), *noise.tolist(), *renderer.encode(text).tolist()]
    whole = joined(grown(tokens, decode=renderer.decode))
    assert whole.text == renderer.decode(tokens)
    assert len(whole.shown) == len(tokens)


def test_what_is_withheld_comes_at_the_end():
    growing = Growing(decode, ["!"], lambda text: text.find("<") if "<" in text else None)
    text = "ab<cd!"
    parts = [growing.add(NewToken(0, ord(c), 0.0, 0.0, None, None, "stop" if c == "!" else None)) for c in text]
    assert "".join(part.text for part in parts) == "ab"
    rest = growing.rest()
    assert (rest.text, [t.token for t in rest.shown]) == ("<cd", list(b"<cd"))


def test_a_finished_completion_token_by_token():
    ids, nats = np.array([[1, 2], [3, 4]], np.int32), np.array([[-1, -2], [-3, -4]], np.float32)
    columns = (np.array([-0.5, -1.0], np.float32), np.array([0.0, -0.25], np.float32))
    made = Completion(np.array([7, 8], np.int32), *columns, "stop", 0, ids, nats)
    first, last = tokens_of(made, 3)
    assert (first.candidate, first.token, first.logprob, first.sampling_logprob, first.stop) == (3, 7, -0.5, 0.0, None)
    assert (last.token, last.sampling_logprob, last.stop) == (8, -0.25, "stop")
    assert last.top_ids is not None and last.top_ids.tolist() == [3, 4]
