"""The verbs of the Training API in one process: a loop written by hand does what a job does."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from crash.tiny_jobs import make_data, make_model, settings

from tunesmith import TrainingClient
from tunesmith.core.errors import NotFound, UserError
from tunesmith.core.shift import sequence_to_datum
from tunesmith.core.types import AdamParams, Norm, SamplingParams
from tunesmith.models.folder import load_model
from tunesmith.models.lora import new_adapter
from tunesmith.models.peft_format import save_adapter
from tunesmith.recipes.schedule import schedule
from tunesmith.services import worker
from tunesmith.spec import METHODS, build_spec

ADAM = AdamParams(1e-2)
SAMPLING = SamplingParams(max_tokens=6, temperature=0.9, seed=3)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("client")
    make_model(root / "model")
    make_data(root / "data")
    return root


@pytest.fixture
def client(root):
    return TrainingClient(str(root / "model"), lora_rank=4)


def conversations(client, root):
    """The training data of sft.jsonl, as the job renders it."""
    rows = [json.loads(line) for line in (root / "data" / "sft.jsonl").read_text().splitlines()]
    marked = [[{"weight": int(m["role"] == "assistant"), **m} for m in row["messages"]] for row in rows]
    return [sequence_to_datum(*client.renderer.conversation(messages)) for messages in marked]


def test_a_loop_by_hand_is_the_sft_job(client, root):
    """To the last digit: the job is this loop."""
    spec = build_spec(settings("sft", root, eval_auto_carveout=False))
    run = worker.start(spec)
    losses = []
    for plan in schedule(conversations(client, root), 4, 1, spec.seed):
        tokens = float(sum(np.count_nonzero(d.weights) for d in plan.items))
        metrics, _ = client.forward_backward(plan.items, "cross_entropy", norm=Norm(tokens, 4.0))
        client.optim_step(spec.adam(0.01))
        losses.append(metrics["loss/cross_entropy"])
    assert losses == [m["train/loss"] for m in run.metrics()[1:]]
    assert client.version == 3


def test_publishing_changes_what_is_sampled(client, root):
    prompt = [{"role": "user", "content": "say ab:"}]
    before = client.sample(prompt, SAMPLING, n=4)
    data = conversations(client, root)
    client.forward_backward(data, "cross_entropy")
    assert client.optim_step(ADAM)["optim/learning_rate"] == 0.01
    unpublished = client.sample(prompt, SAMPLING, n=4)
    assert [c.logprobs.tolist() for c in unpublished] == [c.logprobs.tolist() for c in before]
    weights = client.save_weights_for_sampler("one")
    assert (weights.name, weights.version, client.version) == ("one", 1, 1)
    after = client.sample(prompt, SAMPLING, n=4)
    assert {c.version for c in after} == {1}
    assert [c.logprobs.tolist() for c in after] != [c.logprobs.tolist() for c in before]


def test_a_step_of_policy_gradient(client):
    """Sample, reward, train: the wanted letter comes several times as often."""
    prompt = client.renderer.prompt([{"role": "user", "content": "say"}])
    wanted = int(client.renderer.prompt([{"role": "user", "content": "e"}])[0])

    def share(seed, n=64):
        found = client.sample(prompt, SamplingParams(max_tokens=2, temperature=1.0, top_k=0, seed=seed), n)
        return found, float(np.mean([c.tokens[0] == wanted for c in found]))

    first = share(99, 512)[1]
    for step in range(16):
        found, _ = share(step)
        data = []
        for c in found:
            tokens = np.concatenate([prompt, c.tokens]).astype(np.int32)
            sampled = (np.arange(len(tokens)) >= len(prompt)).astype(np.float32)
            advantage = np.float32(c.tokens[0] == wanted) - 0.1
            datum = sequence_to_datum(tokens, sampled)
            logprobs = np.concatenate([np.zeros(len(prompt) - 1, np.float32), c.logprobs])
            data.append(rolled_out(datum, logprobs, advantage * sampled[1:]))
        client.forward_backward(data, "importance_sampling", norm=Norm(64, 64))
        client.optim_step(ADAM)
        client.save_weights_for_sampler(f"step-{step}")
    assert share(99, 512)[1] > 3 * first > 0


def rolled_out(datum, logprobs, advantages):
    """A sequence with the columns that a policy loss reads."""
    return replace(datum, logprobs=logprobs, advantages=advantages.astype(np.float32))


def test_scores_of_all_tokens(client, root):
    tokens = client.renderer.prompt([{"role": "user", "content": "say ab:"}])
    datum = sequence_to_datum(tokens, np.zeros(len(tokens), np.float32))
    (scored,) = client.forward([datum], all_tokens=True)
    assert client.compute_logprobs(tokens.tolist())[1:].tobytes() == scored.tobytes()
    assert client.forward([datum])[0].tolist() == [0.0] * len(scored)
    (reference,) = client.forward([datum], reference=True, all_tokens=True)
    assert reference.tobytes() == scored.tobytes()


def test_a_custom_loss(client, root):
    data = conversations(client, root)[:3]
    named, _ = client.forward_backward(data, "cross_entropy")

    def loss(data, logprobs):
        total = sum(-(lp * torch.from_numpy(d.weights)).sum() for d, lp in zip(data, logprobs, strict=True))
        return total, {"mine/half": 0.5}

    custom, scored = client.forward_backward_custom(data, loss)
    assert custom["loss/custom"] == pytest.approx(named["loss/cross_entropy"], rel=1e-6)
    assert custom["mine/half"] == 0.5
    assert [len(s) for s in scored] == [len(d.tokens) for d in data]


def test_saved_and_loaded(client, root, tmp_path):
    data = conversations(client, root)
    client.forward_backward(data, "cross_entropy")
    client.optim_step(ADAM)
    client.save_state(tmp_path / "state")
    other = TrainingClient(str(root / "model"), lora_rank=4)
    other.load_state(str(tmp_path / "state"))
    for c in (client, other):
        c.forward_backward(data, "cross_entropy")
        c.optim_step(ADAM)
    assert other.version == client.version == 2
    assert all(a.tobytes() == b.tobytes() for a, b in zip(client.forward(data), other.forward(data), strict=True))


def test_every_token_scored_while_training(client, root):
    (datum,) = conversations(client, root)[:1]
    assert not datum.weights.all()
    _, (scored,) = client.forward_backward([datum], "cross_entropy", all_tokens=True)
    assert scored.tobytes() == client.forward([datum], all_tokens=True)[0].tobytes()
    client.forward_backward([replace(datum, weights=datum.weights * 0)], "cross_entropy", all_tokens=True)
    assert client.optim_step(ADAM)["optim/grad_norm"] > 0


def test_weights_loaded_without_their_optimizer(client, root, tmp_path):
    data = conversations(client, root)
    client.forward_backward(data, "cross_entropy")
    client.optim_step(ADAM)
    client.save_state(tmp_path / "state")
    other = TrainingClient(str(root / "model"), lora_rank=4)
    other.load_state(tmp_path / "state", optimizer=False)
    assert (client.version, other.version) == (1, 0)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(client.forward(data), other.forward(data), strict=True))


def test_an_exported_adapter_is_where_another_starts(client, root, tmp_path):
    data = conversations(client, root)
    client.forward_backward(data, "cross_entropy")
    client.optim_step(ADAM)
    client.export(tmp_path / "adapter")
    warm = TrainingClient(str(root / "model"), lora_rank=4, warm_start_from=str(tmp_path / "adapter"))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(client.forward(data), warm.forward(data), strict=True))
    assert warm.version == 0
    with pytest.raises(UserError, match="has rank 4, lora_rank is 8"):
        TrainingClient(str(root / "model"), lora_rank=8, warm_start_from=str(tmp_path / "adapter"))


def test_a_job_does_not_start_from_an_adapter_of_some_layers(root, tmp_path):
    model = load_model(root / "model", torch.device("cpu"), torch.float32)
    partial = new_adapter(model.targets(mlp=False), 8, 0, torch.device("cpu"))
    save_adapter(partial, tmp_path / "partial", "base")
    with pytest.raises(UserError, match=r"adapts only some linear layers, not layers\.0\.down"):
        TrainingClient(str(root / "model"), lora_rank=8, warm_start_from=str(tmp_path / "partial"))


def test_all_weights(root, tmp_path):
    client = TrainingClient(str(root / "model"), lora_rank=0, reference=True)
    data = conversations(client, root)
    before = client.forward(data)
    client.forward_backward(data, "cross_entropy", norm=Norm(100, 12))
    client.optim_step(AdamParams(1e-3))
    reference = client.forward(data, reference=True)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(reference, before, strict=True))
    client.export(tmp_path / "model")
    tuned = TrainingClient(str(tmp_path / "model"))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(client.forward(data), tuned.forward(data), strict=True))


def test_the_losses_of_managed_methods_are_at_hand(client, root):
    data = [rolled_out(d, d.weights * -2, d.weights) for d in conversations(client, root)]
    metrics, _ = client.forward_backward(data, "policy", {"cfg": METHODS["dapo"]}, Norm(40, 12))
    assert "policy/clip_share" in metrics


@pytest.mark.parametrize("arguments", [{"base_model": "nowhere"}, {"warm_start_from": "nowhere"}])
def test_names_that_are_nothing(root, arguments):
    with pytest.raises(NotFound):
        TrainingClient(**{"base_model": str(root / "model"), **arguments})
