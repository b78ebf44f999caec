"""Completions that have to look like something: they do, and nothing else about sampling changes."""

import asyncio
import json
from dataclasses import replace

import jsonschema
import numpy as np
import pytest
import torch
from rollout import policies

from tunesmith.core.errors import UserError
from tunesmith.core.types import SamplingParams
from tunesmith.models.chat import load_renderer
from tunesmith.models.folder import load_model
from tunesmith.models.grammar import Grammars, json_grammar, lark_grammar
from tunesmith.rollout import LocalSampler
from tunesmith.rollout.draw import Drawing
from tunesmith.services.names import embedded_model

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 5},
        "size": {"type": "integer", "minimum": 0, "maximum": 99},
        "kinds": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
    },
    "required": ["name", "size", "kinds"],
    "additionalProperties": False,
}
HOT = SamplingParams(max_tokens=90, temperature=1.5, top_k=0, seed=3, grammar=json_grammar(SCHEMA))


@pytest.fixture(scope="module")
def renderer():
    return load_renderer(embedded_model())


@pytest.fixture(scope="module")
def sampler(renderer):
    model = load_model(embedded_model(), torch.device("cpu"), torch.float32)
    grammars = Grammars(renderer.tokenizer, model.config.vocab, renderer.stop_ids)
    return LocalSampler(model, renderer.stop_ids, renderer.decode, form=grammars.begin)


@pytest.fixture(scope="module")
def start(renderer):
    return renderer.encode("1+1=")


@pytest.mark.parametrize(
    "change", [{}, {"top_k": 3}, {"top_p": 0.5}, {"temperature": 0, "seed": 1}, {"top_k": 2, "top_p": 0.9}]
)
def test_every_completion_keeps_to_the_schema(sampler, renderer, start, change):
    [found] = policies.sample(sampler, (start, replace(HOT, **change), 8))
    for completion in found:
        assert completion.stop == "stop"
        jsonschema.validate(json.loads(renderer.decode(completion.tokens)), SCHEMA)
        # The trainer's numbers are of the whole vocabulary, which always holds more than what is allowed.
        assert (completion.logprobs <= completion.sampling_logprobs + 1e-6).all()


def test_log_probabilities_are_those_that_a_scoring_finds(sampler, start):
    """At temperature 1 the model says the same of the tokens when it is given them: the gap is 0, as without."""
    [found] = policies.sample(sampler, (start, replace(HOT, temperature=1.0), 4))
    for completion in found:
        whole = np.concatenate([start, completion.tokens])
        scored = asyncio.run(sampler.compute_logprobs(whole))[len(start) :]
        assert np.abs(scored - completion.logprobs).max() < 1e-5


def test_others_in_the_batch_change_nothing(sampler, start):
    free, kept = replace(HOT, grammar="", max_tokens=20), replace(HOT, max_tokens=60)
    one = lark_grammar('start: "yes" | "no"')
    alone = [policies.sample(sampler, request)[0] for request in ((start, free, 3), (start, kept, 3))]
    mixed = policies.sample(sampler, (start, replace(HOT, grammar=one), 4), (start, free, 3), (start, kept, 3))
    assert policies.same(mixed[1], alone[0]) and policies.same(mixed[2], alone[1])
    assert {sampler.decode(c.tokens) for c in mixed[0]} <= {"yes", "no"}


def test_tokens_beyond_the_limit_are_cut_off_as_always(sampler, start):
    [[cut]] = policies.sample(sampler, (start, replace(HOT, max_tokens=3), 1))
    assert (cut.stop, len(cut.tokens)) == ("length", 3)


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": "nonsense"}, "nonsense"),
        ({"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}}, "nowhere"),
        ({"type": "string", "pattern": "(?=x)"}, "look-ahead"),
        ({"not": {"type": "object"}}, "not"),
    ],
)
def test_a_schema_that_cannot_be_enforced_is_refused(schema, says):
    with pytest.raises(UserError, match=says) as refused:
        json_grammar(schema)
    assert refused.value.where == "response_format"


def test_a_sampler_without_grammars_says_so(sampler, start):
    plain = LocalSampler(sampler.model, sampler.stop_ids, sampler.decode)
    with pytest.raises(UserError, match="is not enforced"):
        policies.sample(plain, (start, HOT, 1))


class Breaks:
    """A form that cannot be followed beyond two tokens."""

    def __init__(self, vocab):
        self.left, self.all = 2, np.ones(vocab, np.bool_)

    def allowed(self):
        if not self.left:
            raise UserError("response_format", "cannot be enforced: too large", "Use a smaller one")
        return self.all

    def take(self, _token):
        self.left -= 1


def test_one_that_cannot_be_followed_fails_alone(sampler, start):
    broken = LocalSampler(
        sampler.model, sampler.stop_ids, sampler.decode, max_rows=3, form=lambda _: Breaks(sampler.model.config.vocab)
    )
    free = replace(HOT, grammar="", max_tokens=12)

    async def both():
        asked = broken.sample(start, HOT, 8), broken.sample(start, free, 4)
        return await asyncio.gather(*asked, return_exceptions=True)

    failed, found = asyncio.run(both())
    assert isinstance(failed, UserError) and "too large" in str(failed)
    assert policies.same(found, policies.sample(sampler, (start, free, 4))[0])
    assert broken.idle


def test_what_is_allowed_may_be_very_unlikely():
    """Two tokens are 2,000 nats below the first: no mass that a number holds, and still one of them is drawn."""
    logits = torch.tensor([[0.0, -2000.0, -2000.0 + np.log(3), -9.0]], dtype=torch.float32)
    may = {0: np.array([False, True, True, False])}
    drawing = Drawing([SamplingParams(temperature=1.0, top_k=0)], 4, torch.device("cpu"))
    # Of the two, the second has 3/4: below 1/4 the first is drawn.
    for uniform, token, share in ((0.2, 1, 0.25), (0.3, 2, 0.75)):
        drawn = drawing.draw(logits, torch.tensor([uniform], dtype=torch.float64), may)
        assert drawn.tokens.tolist() == [token]
        assert drawn.sampling_logprobs.exp().item() == pytest.approx(share, rel=1e-3)
        assert drawn.logprobs.item() == pytest.approx(logits[0, token].item(), abs=1e-2)
