"""Adapters: what they add, what they leave alone, how many numbers they have, and PEFT as the judge of their files."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from models.tiny import (
    CPU,
    FAMILY_NAMES,
    hf_logits,
    hf_model,
    logits,
    ours,
    pack,
    random_tokens,
    reload,
    trained_adapter,
)
from peft import PeftModel
from safetensors.torch import load_file, save_file

from tunesmith.core.errors import NotFound, UserError
from tunesmith.models.adapter_files import CONFIG, WEIGHTS
from tunesmith.models.config import parse_config
from tunesmith.models.decoder import Decoder
from tunesmith.models.folder import save_model, tensors
from tunesmith.models.lora import ALPHA, Adapter, factors, new_adapter, parameters_per_rank
from tunesmith.models.peft_format import load_adapter, save_adapter

# What peft says of transformers and of the patterns it makes for fused experts; the logits tell whether it is right.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The following rank_pattern keys did not match:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:The following alpha_pattern keys did not match:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning"),
]
NAMES = [*FAMILY_NAMES, "llama-biases", "qwen3_moe"]


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_a_fresh_adapter_changes_no_bit(name: str, tmp_path: Path) -> None:
    hf_model(name, tmp_path)
    model, tokens = ours(tmp_path), random_tokens()
    adapter = new_adapter(model.targets(head=True), 8, 0, CPU)
    assert torch.equal(logits(model, tokens, adapter), logits(model, tokens))
    assert adapter.weight_change() == 0.0


def test_a_fresh_adapter_is_uniform_in_a_and_zero_in_b(tmp_path: Path) -> None:
    hf_model("qwen3_moe-dense-layer", tmp_path)
    model = ours(tmp_path)
    adapter = new_adapter(model.targets(), 32, 0, CPU)
    for name, pair in adapter.pairs.items():
        bound = adapter.targets[name].inputs ** -0.5
        assert pair.a.abs().max() <= bound and pair.a.abs().max() > 0.9 * bound
        # a uniform variable on [-c, c] has variance c^2 / 3
        assert pair.a.var().item() == pytest.approx(bound**2 / 3, rel=0.2)
        assert not pair.b.any()
        assert pair.scale == ALPHA / 32 == 1.0
        assert pair.a.requires_grad and pair.b.requires_grad


def test_the_seed_decides_and_nothing_else(tmp_path: Path) -> None:
    hf_model("llama", tmp_path)
    model = ours(tmp_path)
    torch.manual_seed(1)
    first = new_adapter(model.targets(), 4, 7, CPU)
    torch.manual_seed(2)
    again, other = new_adapter(model.targets(), 4, 7, CPU), new_adapter(model.targets(), 4, 8, CPU)
    for name, pair in first.pairs.items():
        assert torch.equal(pair.a, again.pairs[name].a)
        assert not torch.equal(pair.a, other.pairs[name].a)


def merged(model: Decoder, adapter: Adapter) -> float:
    """Add the adapter into the weights themselves; returns the Frobenius norm of what was added."""
    weights, total = dict(tensors(model)), 0.0
    for name, pair in adapter.pairs.items():
        target = adapter.targets[name]
        experts = range(max(1, target.experts))
        plain = [part.replace("*", str(e)) for e in experts for part, _ in target.parts]
        for linear, (a, b, scale) in zip(plain, factors(pair, target), strict=True):
            delta = scale * b.detach() @ a.detach()
            weights[f"{linear}.weight" if name == "head" else f"model.{linear}.weight"].add_(delta)
            total += float(delta.double().square().sum())
    return total**0.5


@pytest.mark.parametrize("name", [n for n in NAMES if n != "llama-tied"])
def test_the_adapter_adds_what_merging_adds(name: str, tmp_path: Path) -> None:
    hf_model(name, tmp_path)
    model, tokens = ours(tmp_path), random_tokens()
    adapter = trained_adapter(model, head=model.head is not None)
    before, beside = logits(model, tokens), logits(model, tokens, adapter)
    norm = merged(model, adapter)
    assert adapter.weight_change() == pytest.approx(norm, rel=1e-5)
    assert (beside - before).abs().max() > 0.05, "the adapter must matter for this test to mean anything"
    torch.testing.assert_close(logits(model, tokens), beside, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["llama-tied", "qwen3_moe"])
def test_gradients_reach_every_factor_and_no_base_weight(name: str, tmp_path: Path) -> None:
    hf_model(name, tmp_path)
    model, tokens = ours(tmp_path), random_tokens(60)
    adapter = trained_adapter(model, head=True)
    model.logits(model(tokens, *pack(model, [60]), adapter), adapter).square().mean().backward()
    for parameter, tensor in adapter.named_parameters():
        assert tensor.grad is not None and tensor.grad.any(), parameter
    assert all(p.grad is None for p in model.parameters())


def test_a_snapshot_does_not_follow(tmp_path: Path) -> None:
    hf_model("qwen3_moe-dense-layer", tmp_path)
    model, tokens = ours(tmp_path), random_tokens()
    adapter = trained_adapter(model, head=True)
    snapshot, then = adapter.snapshot(), logits(model, tokens, adapter)
    torch.testing.assert_close(logits(model, tokens, snapshot), then, atol=0, rtol=0)
    with torch.no_grad():
        for _, tensor in adapter.named_parameters():
            tensor.add_(1.0)
    assert torch.equal(logits(model, tokens, snapshot), then)
    assert not torch.equal(logits(model, tokens, adapter), then)
    assert not any(t.requires_grad for _, t in snapshot.named_parameters())


def test_adapters_of_different_rank_live_on_one_base(tmp_path: Path) -> None:
    hf_model("llama", tmp_path)
    model, tokens = ours(tmp_path), random_tokens()
    small, large = trained_adapter(model, 2, 1), trained_adapter(model, 16, 2, head=True)
    alone = [logits(ours(tmp_path), tokens, a) for a in (small, large, None)]
    for _ in range(2):
        for adapter, expected in zip((small, large, None), alone, strict=True):
            assert torch.equal(logits(model, tokens, adapter), expected)
    assert not torch.equal(alone[0], alone[1])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("head", [False, True])
def test_peft_and_transformers_open_what_we_save(name: str, head: bool, tmp_path: Path) -> None:
    hf_model(name, tmp_path / "base")
    model, tokens = ours(tmp_path / "base"), random_tokens(40)
    adapter = trained_adapter(model, head=head)
    save_adapter(adapter, tmp_path / "adapter", str(tmp_path / "base"))
    expected = logits(model, tokens, adapter)
    base = reload(tmp_path / "base")
    assert (hf_logits(base, tokens) - expected).abs().max() > 0.05
    theirs = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    torch.testing.assert_close(hf_logits(theirs, tokens), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("rank", "alpha"), [(4, 16.0), (6, 20.0)])
def test_peft_reads_an_alpha_of_our_own_as_we_do(rank: int, alpha: float, tmp_path: Path) -> None:
    hf_model("qwen3", tmp_path / "base")
    model, tokens = ours(tmp_path / "base"), random_tokens(40)
    adapter = new_adapter(model.targets(), rank, 0, CPU, alpha)
    with torch.no_grad():
        for pair in adapter.pairs.values():
            pair.b.normal_(std=0.05)
    save_adapter(adapter, tmp_path / "adapter", "base")
    assert json.loads((tmp_path / "adapter" / CONFIG).read_text())["lora_alpha"] == pytest.approx(alpha)
    expected = logits(model, tokens, adapter)
    theirs = PeftModel.from_pretrained(reload(tmp_path / "base"), tmp_path / "adapter").eval()
    torch.testing.assert_close(hf_logits(theirs, tokens), expected, atol=1e-5, rtol=1e-5)
    for loaded in (load_adapter(tmp_path / "adapter", model, alpha), load_adapter(tmp_path / "adapter", model)):
        torch.testing.assert_close(logits(model, tokens, loaded), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("head", [False, True])
def test_what_we_save_we_load_bit_for_bit(name: str, head: bool, tmp_path: Path) -> None:
    hf_model(name, tmp_path / "base")
    model = ours(tmp_path / "base")
    adapter = trained_adapter(model, head=head)
    save_adapter(adapter, tmp_path / "adapter", "base")
    again = load_adapter(tmp_path / "adapter", model)
    assert again.rank == adapter.rank
    assert list(again.pairs) == list(adapter.pairs)
    for (name_a, a), (name_b, b) in zip(adapter.named_parameters(), again.named_parameters(), strict=True):
        assert name_a == name_b and torch.equal(a, b) and b.requires_grad


@pytest.mark.parametrize(("alpha", "rslora"), [(8, False), (16, True)])
def test_another_alpha_gives_peft_s_logits(alpha: int, rslora: bool, tmp_path: Path) -> None:
    hf_model("llama", tmp_path / "base")
    model, tokens = ours(tmp_path / "base"), random_tokens()
    save_adapter(trained_adapter(model), tmp_path / "adapter", "base")
    _configure(tmp_path / "adapter", lora_alpha=alpha, use_rslora=rslora)
    theirs = PeftModel.from_pretrained(reload(tmp_path / "base"), tmp_path / "adapter").eval()
    found = logits(model, tokens, load_adapter(tmp_path / "adapter", model))
    torch.testing.assert_close(found, hf_logits(theirs, tokens), atol=1e-5, rtol=1e-5)


DENSE = {"model_type": "qwen3", "hidden_act": "silu"}
SPARSE = {
    "model_type": "qwen3_moe",
    "head_dim": 128,
    "num_key_value_heads": 4,
    "num_experts": 128,
    "vocab_size": 151936,
}
SPARSE |= {"num_experts_per_tok": 8, "intermediate_size": 6144}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "Qwen/Qwen3-30B-A3B": SPARSE
    | {"hidden_size": 2048, "num_hidden_layers": 48, "num_attention_heads": 32, "moe_intermediate_size": 768},
    "Qwen/Qwen3-235B-A22B-Instruct-2507": SPARSE
    | {"hidden_size": 4096, "num_hidden_layers": 94, "num_attention_heads": 64, "moe_intermediate_size": 1536},
}


def test_parameter_counts_are_the_published_ones(shared_data: Path) -> None:
    lines = (shared_data / "golden/lora/tinker_lora_param_counts_per_rank.jsonl").read_text().splitlines()
    checked = 0
    for case in map(json.loads, lines):
        sizes = ARCHITECTURES.get(case["model"]) or case.get("architecture")
        if sizes is None:
            continue
        with torch.device("meta"):
            model = Decoder(parse_config({**DENSE, **sizes}, case["model"]))
        targets = list(model.targets(head=True))
        attention = [t for t in targets if t.name.endswith((".qkv", ".o"))]
        mlp = [t for t in targets if t.name.endswith((".gate_up", ".down"))]
        head = [model.head_target]
        assert len(attention) + len(mlp) + len(head) == len(targets)
        counts = case["params_per_rank"]
        assert parameters_per_rank(targets) == counts["mlp1_attn1_unembed1"], case["model"]
        assert parameters_per_rank(model.targets()) == counts["mlp1_attn1_unembed0"], case["model"]
        assert parameters_per_rank(mlp) == counts["mlp1_attn0_unembed0"], case["model"]
        assert parameters_per_rank(attention) == counts["mlp0_attn1_unembed0"], case["model"]
        assert parameters_per_rank(head) == counts["mlp0_attn0_unembed1"], case["model"]
        checked += 1
    assert checked >= 8


@pytest.mark.parametrize("name", NAMES)
def test_the_count_is_what_an_adapter_holds(name: str, tmp_path: Path) -> None:
    hf_model(name, tmp_path)
    model = ours(tmp_path)
    adapter = new_adapter(model.targets(head=True), 3, 0, CPU)
    assert sum(t.numel() for _, t in adapter.named_parameters()) == 3 * parameters_per_rank(model.targets(head=True))


def _configure(folder: Path, **changes: Any) -> None:
    path = folder / CONFIG
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, Decoder]:
    hf_model("llama", tmp_path / "base")
    model = ours(tmp_path / "base")
    save_adapter(trained_adapter(model), tmp_path / "adapter", "base")
    return tmp_path / "adapter", model


@pytest.mark.parametrize(
    "changes",
    [
        {"peft_type": "IA3"},
        {"use_dora": True},
        {"bias": "all"},
        {"rank_pattern": {"q_proj": 2}},
        {"alpha_pattern": {"q_proj": 2}},
        {"modules_to_save": ["lm_head"]},
        {"fan_in_fan_out": True},
        {"r": 0},
        {"r": None},
        {"lora_alpha": "big"},
    ],
)
def test_other_kinds_of_adapter_are_refused(changes: dict[str, Any], saved: tuple[Path, Decoder]) -> None:
    folder, model = saved
    _configure(folder, **changes)
    with pytest.raises(UserError, match="LoRA"):
        load_adapter(folder, model)


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_broken_adapter_config_is_refused(text: str, saved: tuple[Path, Decoder]) -> None:
    folder, model = saved
    (folder / CONFIG).write_text(text)
    with pytest.raises(UserError, match=CONFIG):
        load_adapter(folder, model)


@pytest.mark.parametrize("missing", [CONFIG, WEIGHTS])
def test_an_adapter_without_a_file_is_not_found(missing: str, saved: tuple[Path, Decoder]) -> None:
    folder, model = saved
    (folder / missing).unlink()
    with pytest.raises(NotFound, match=missing):
        load_adapter(folder, model)


def test_a_truncated_adapter_is_called_damaged(saved: tuple[Path, Decoder]) -> None:
    folder, model = saved
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:200])
    with pytest.raises(UserError, match="is damaged"):
        load_adapter(folder, model)


def test_an_adapter_of_another_base_is_refused(saved: tuple[Path, Decoder], tmp_path: Path) -> None:
    hf_model("llama-rope-llama3", tmp_path / "other")
    with pytest.raises(UserError, match="base model"):
        load_adapter(saved[0], ours(tmp_path / "other"))


def test_missing_and_left_over_factors_are_named(saved: tuple[Path, Decoder]) -> None:
    folder, model = saved
    flat = load_file(folder / WEIGHTS)
    name = "base_model.model.model.layers.1.mlp.up_proj.lora_B.weight"
    save_file({k: v for k, v in flat.items() if k != name}, folder / WEIGHTS)
    with pytest.raises(UserError, match=name):
        load_adapter(folder, model)
    save_file(
        {**flat, "base_model.model.model.layers.9.mlp.up_proj.lora_A.weight": torch.ones(4, 32)}, folder / WEIGHTS
    )
    with pytest.raises(UserError, match=r"layers\.9"):
        load_adapter(folder, model)


@pytest.mark.parametrize(
    "factor", ["experts.3.gate_proj.lora_A", "experts.3.up_proj.lora_A", "experts.3.down_proj.lora_B"]
)
def test_experts_that_do_not_share_are_refused(factor: str, tmp_path: Path) -> None:
    hf_model("qwen3_moe", tmp_path / "base")
    model = ours(tmp_path / "base")
    save_adapter(trained_adapter(model), tmp_path / "adapter", "base")
    flat = load_file(tmp_path / "adapter" / WEIGHTS)
    flat[f"base_model.model.model.layers.0.mlp.{factor}.weight"] += 1.0
    save_file(flat, tmp_path / "adapter" / WEIGHTS)
    with pytest.raises(UserError, match="differs between experts"):
        load_adapter(tmp_path / "adapter", model)


def test_a_full_model_can_be_saved_beside_its_adapter(saved: tuple[Path, Decoder], tmp_path: Path) -> None:
    folder, model = saved
    save_model(model, folder, tmp_path / "base")
    load_adapter(folder, ours(folder))
    shutil.rmtree(folder)
