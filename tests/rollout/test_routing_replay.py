"""Experts of sampled tokens, noted and replayed in training (2510.11370): the ids are fixed, the gates are live."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
import torch
from models import tiny
from rollout import policies

from tunesmith.core.errors import UserError
from tunesmith.core.types import SamplingParams
from tunesmith.models.decoder import Decoder
from tunesmith.models.moe import Routing, sparse_layers
from tunesmith.rollout import LocalSampler

FAMILIES = ["qwen3_moe", "qwen3_moe-dense-layer", "qwen3_moe-sparse-step", "qwen3_moe-window"]
PARAMS = SamplingParams(max_tokens=9, temperature=0.9, top_k=0, seed=3, routing=True)


def rollouts(folder, lengths=(9, 21), n=4, rank=4):
    """A trainer, a sampler, and data of completions with their routing."""
    trainer, sampler = policies.pair(folder, rank)
    requests = [(policies.prompt(length, seed=length), replace(PARAMS, seed=length), n) for length in lengths]
    data = []
    for (start, _, _), found in zip(requests, policies.sample(sampler, *requests), strict=True):
        pairs = zip(policies.data_of(start, found, PARAMS.temperature), found, strict=True)
        data += [replace(d, routing=c.routing) for d, c in pairs]
    return trainer, sampler, data


def elsewhere(routing, experts=5):
    """Every token to other experts than it went to."""
    return ((routing.astype(int) + 1) % experts).astype(np.int16)


def unrouted(data):
    return [replace(d, routing=None) for d in data]


def bits(columns):
    return [x.tobytes() for x in columns]


def gradient(trainer, data):
    trainer.forward_backward(data, "importance_sampling")
    found = [None if t.grad is None else t.grad.clone() for t in trainer.parameters.values()]
    for t in trainer.parameters.values():
        t.grad = None
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_noted_is_what_was_routed(model_folder, family):
    """By the definition: top k of the router's probabilities, for each input token of prompt and completion."""
    trainer, _, data = rollouts(model_folder(family))
    model, adapter = trainer.policy.model, trainer.policy.adapter
    layers = sparse_layers(model.config)
    for d in data:
        assert (d.routing.shape, d.routing.dtype) == ((len(d.tokens), len(layers), 2), np.int16)
        recorder = Routing(model.config)
        positions, attend = tiny.pack(model, [len(d.tokens)])
        tokens = torch.from_numpy(d.tokens.astype(np.int64))
        with torch.no_grad():
            model(tokens, positions, attend, adapter, None, recorder)
        assert (recorder.noted() == d.routing).all()
    assert len({tuple(row) for d in data for row in d.routing.reshape(-1, 2)}) > 5


def test_noting_changes_nothing(model_folder):
    """Beside requests that do not ask for it, of the same prompt too, and in any batch."""
    trainer, sampler = policies.pair(model_folder("qwen3_moe"))
    start, plain = policies.prompt(9), replace(PARAMS, routing=False)
    (alone,) = policies.sample(sampler, (start, plain, 5))
    narrow = LocalSampler(sampler.model, [policies.STOP], policies.words, max_rows=3)
    asyncio.run(narrow.load(trainer.save_weights_for_sampler("now")))
    for one in (sampler, narrow):
        noted, bare, again = policies.sample(one, (start, PARAMS, 5), (start, plain, 5), (start, PARAMS, 2))
        assert policies.same(noted, alone)
        assert policies.same(bare, alone)
        assert all(c.routing is None for c in bare)
        assert bits(c.routing for c in again) == bits(c.routing for c in noted[:2])
        for c in noted:
            assert c.routing.shape == (9 + len(c.tokens) - 1, 3, 2)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rank", [4, 0])
def test_replaying_the_own_routing_changes_no_bit(model_folder, family, rank):
    """Values and gradients, of the policy and of the reference at job start, which here routes alike."""
    trainer, _, data = rollouts(model_folder(family), rank=rank)
    assert bits(trainer.forward(data)) == bits(trainer.forward(unrouted(data)))
    assert bits(trainer.forward(data, all_tokens=True)) == bits(trainer.forward(unrouted(data), all_tokens=True))
    for a, b in zip(gradient(trainer, data), gradient(trainer, unrouted(data)), strict=True):
        assert (a is None and b is None) or torch.equal(a, b)
    sampled = [d.logprobs[d.weights != 0] for d in data]
    assert bits(x[d.weights != 0] for x, d in zip(trainer.forward(data), data, strict=True)) == bits(sampled)


@pytest.mark.parametrize("family", ["qwen3_moe", "qwen3_moe-sparse-step"])
def test_given_ids_are_used_with_gates_of_the_live_router(model_folder, family):
    """Against the same model whose router can only choose those: its other probabilities are masked after the softmax.

    The first family makes its gates sum 1, the second takes them as they are.
    """
    trainer, _, data = rollouts(model_folder(family), lengths=(17,), n=1)
    d = replace(data[0], routing=elsewhere(data[0].routing), weights=np.zeros_like(data[0].weights))
    (found,) = trainer.forward([d], all_tokens=True)
    expected = by_hand(trainer.policy.model, trainer.policy.adapter, d)
    assert found == pytest.approx(expected, abs=1e-5)
    (live,) = trainer.forward(unrouted([d]), all_tokens=True)
    assert np.abs(found - live).max() > 1e-3


def by_hand(model, adapter, d):
    """[T] log-probabilities, every token through all experts, of which the given ones count."""
    places = {layer: i for i, layer in enumerate(sparse_layers(model.config))}
    hooks = []
    for index, place in places.items():
        mlp = model.layers[index].mlp
        ids = torch.from_numpy(d.routing[:, place].astype(np.int64))
        hooks.append(mlp.register_forward_hook(_dense(ids, adapter)))
    try:
        tokens = torch.from_numpy(d.tokens.astype(np.int64))
        logits = tiny.logits(model, tokens, adapter) / d.temperature
    finally:
        for hook in hooks:
            hook.remove()
    return logits.log_softmax(-1).gather(1, torch.from_numpy(d.targets.astype(np.int64))[:, None])[:, 0].numpy()


def _dense(ids, adapter):
    def replaced(mlp, inputs, _):
        x = inputs[0]
        gates = (x @ mlp.router.T).softmax(-1) * torch.zeros(len(x), mlp.moe.num_experts).scatter(1, ids, 1.0)
        if mlp.moe.normalise:
            gates = gates / gates.sum(-1, keepdim=True)
        out = torch.zeros_like(x)
        for e in range(mlp.moe.num_experts):
            gate, up = mlp.gate_up(x, e, adapter).chunk(2, -1)
            out += gates[:, e, None] * mlp.down(torch.nn.functional.silu(gate) * up, e, adapter)
        return out

    return replaced


def test_a_router_learns_from_routes_that_are_not_its_own(model_folder):
    """Replayed gates as constants would leave it without a gradient."""
    trainer, _, data = rollouts(model_folder("qwen3_moe"), rank=0)
    drifted = [replace(d, routing=elsewhere(d.routing)) for d in data]
    grads = dict(zip(trainer.parameters, gradient(trainer, drifted), strict=True))
    routers = [g for name, g in grads.items() if name.endswith("router")]
    assert len(routers) == 3
    assert all(g.abs().max() > 0 for g in routers)


def test_tokens_without_routes_find_their_own_way(model_folder):
    """-1 for all of them, for some of them, and beside data that has none."""
    trainer, _, data = rollouts(model_folder("qwen3_moe"))
    live = trainer.forward(unrouted(data))
    free = [replace(d, routing=np.full_like(d.routing, -1)) for d in data]
    assert bits(trainer.forward(free)) == bits(live)
    half = [replace(d, routing=np.where(np.arange(len(d.tokens))[:, None, None] % 2, d.routing, -1)) for d in data]
    assert bits(trainer.forward(half)) == bits(live)
    mixed = [d if i % 2 else replace(d, routing=None) for i, d in enumerate(data)]
    assert bits(trainer.forward(mixed)) == bits(live)


@pytest.mark.parametrize("budget", [30, 10_000])
def test_a_prompt_with_two_routings_is_not_shared(model_folder, budget):
    """Every datum gets what it gets alone, whoever of its group was routed otherwise, and in any pass."""
    trainer, _, data = rollouts(model_folder("qwen3_moe"))
    trainer.tokens_per_pass = budget
    drifted = [replace(d, routing=elsewhere(d.routing)) if i in (1, 2, 6) else d for i, d in enumerate(data)]
    alone = [trainer.forward([d])[0] for d in drifted]
    assert bits(trainer.forward(drifted)) == bits(alone)
    assert (alone[1] != trainer.forward([data[1]])[0]).any()
    one_prompt = [replace(d, routing=np.concatenate([d.routing[:9], elsewhere(d.routing[9:])])) for d in data[:4]]
    packed = trainer.forward_backward(one_prompt, "importance_sampling")[0]["train/packed_tokens"]
    parted = trainer.forward_backward([*one_prompt[:2], *drifted[1:3]], "importance_sampling")[0]["train/packed_tokens"]
    if budget > 30:
        assert packed == 9 + sum(len(d.tokens) - 9 for d in one_prompt)
        assert parted == packed + 9


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: r[:-1], r"datum 1: routing has shape \(16, 3, 2\), its 17 tokens in this model take \(17, 3, 2\)"),
        (lambda r: np.concatenate([r, r[:1]]), r"shape \(18, 3, 2\), its 17 tokens in this model take \(17, 3, 2\)"),
        (lambda r: r[:, :2], r"shape \(17, 2, 2\), its 17 tokens in this model take \(17, 3, 2\)"),
        (lambda r: r[:, :, :1], r"shape \(17, 3, 1\), .* take \(17, 3, 2\)"),
        (lambda r: np.where(r == r.max(), 5, r), "routing names expert 5. Give ids from 0 to 4"),
        (lambda r: np.where(r == r.max(), -2, r), "routing names expert -2"),
        (lambda r: np.zeros_like(r), "to one expert twice"),
        (lambda r: np.stack([r[..., 0], np.full_like(r[..., 0], -1)], -1), "fewer than the model's top k"),
    ],
)
def test_routes_that_do_not_fit_are_refused(model_folder, change, said):
    trainer, _, data = rollouts(model_folder("qwen3_moe"), lengths=(9,), n=3)
    data = [replace(d, routing=None) for d in data]
    tokens = np.resize(data[1].tokens, 17)
    routing = np.tile(np.array([[0, 1], [2, 3], [4, 0]], np.int16), (17, 1, 1))
    data[1] = replace(
        data[1],
        tokens=tokens,
        targets=tokens,
        weights=np.ones(17, np.float32),
        logprobs=np.zeros(17, np.float32),
        advantages=np.ones(17, np.float32),
        routing=change(routing),
    )
    for call in (trainer.forward, lambda d: trainer.forward_backward(d, "importance_sampling")):
        with pytest.raises(UserError, match=said):
            call(data)


def test_models_without_experts_have_no_routing(model_folder):
    trainer, sampler = policies.pair(model_folder("qwen3"))
    with pytest.raises(UserError, match=r"routing: can't be True. This model has no experts"):
        policies.sample(sampler, (policies.prompt(5), PARAMS, 1))
    (found,) = policies.sample(sampler, (policies.prompt(5), replace(PARAMS, routing=False), 1))
    (d,) = policies.data_of(policies.prompt(5), found[:1], 1.0)
    with pytest.raises(UserError, match="datum 0: has routing, and the model has no experts"):
        trainer.forward([replace(d, routing=np.zeros((len(d.tokens), 3, 2), np.int16))])


def test_the_decoder_is_the_same_function_with_and_without_rows(model_folder):
    """The last layer of a pass that needs only some rows replays the routes of those rows."""
    model: Decoder = policies.pair(model_folder("qwen3_moe"))[1].model
    tokens = tiny.random_tokens(40)
    positions, attend = tiny.pack(model, [40])
    recorder = Routing(model.config)
    with torch.no_grad():
        model(tokens, positions, attend, None, None, recorder)
        given = torch.from_numpy(elsewhere(recorder.noted()).astype(np.int64))
        whole = model(tokens, positions, attend, None, None, Routing(model.config, given))
        rows = torch.arange(5, 37, 2)
        some = model(tokens, positions, attend, None, rows, Routing(model.config, given))
    assert torch.equal(whole[rows], some)
