"""A stop text is found at the very token that completes it, as if all of the completion had been decoded."""

import numpy as np
import pytest

from tunesmith.models.chat import load_renderer
from tunesmith.rollout.stops import Stops
from tunesmith.services.names import embedded_model


@pytest.fixture(scope="module")
def renderer():
    return load_renderer(embedded_model())


def ends(stops, tokens):
    return next((n for n in range(1, len(tokens) + 1) if stops.end(tokens[:n])), None)


def first_end(texts, decode, tokens):
    return next((n for n in range(1, len(tokens) + 1) if any(t in decode(tokens[:n]) for t in texts)), None)


@pytest.mark.parametrize(
    "texts", [("\n\nUser:",), ("é", "ü?"), ("日本",), ("the", "long text over several tokens"), (" ",)]
)
def test_the_same_end_as_decoding_all_of_it(renderer, texts):
    """Bytes of cut characters stand before it, and special tokens, which have no text, in its middle."""
    rng, found = np.random.default_rng(3), 0
    for text in [*texts] * 8:
        noise = rng.integers(0, 384, rng.integers(0, 40)).tolist()
        special = [renderer.stop_ids[0]] * int(rng.integers(0, 30))
        cut = renderer.backend.encode("é", add_special_tokens=False).ids[:1]
        spelled = renderer.backend.encode(text, add_special_tokens=False).ids
        torn = [*spelled[:1], *special, *spelled[1:]]
        tokens = [*noise, *cut, *torn, *special[:3], *spelled]
        expected = first_end(texts, renderer.decode, tokens)
        assert ends(Stops(frozenset(), texts, renderer.decode), tokens) == expected
        found += expected is not None
    assert found


def test_the_end_alone_is_decoded(renderer):
    """Or every token of a long completion would decode all before it."""
    seen = []

    def decode(tokens):
        seen.append(len(tokens))
        return renderer.decode(tokens)

    tokens = renderer.backend.encode("some text that goes on and on " * 40, add_special_tokens=False).ids
    assert ends(Stops(frozenset(), ("User:",), decode), tokens) is None
    assert max(seen) < 60 < len(tokens)


def test_ids_and_texts_end_alike(renderer):
    tokens = renderer.backend.encode("abcabc", add_special_tokens=False).ids
    assert ends(Stops(frozenset(tokens[-1:]), (), renderer.decode), [5, 6, tokens[-1], 7]) == 3
    assert ends(Stops(frozenset(), (), renderer.decode), tokens) is None
