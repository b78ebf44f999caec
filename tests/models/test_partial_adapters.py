"""Adapters on attention, MLPs or the head alone: what they hold, and PEFT as the judge of their files."""

import json
from pathlib import Path

import pytest
import torch
from models.tiny import CPU, hf_logits, hf_model, logits, ours, random_tokens, reload, trained_adapter
from peft import PeftModel
from safetensors.torch import load_file, save_file

from tunesmith.core.errors import UserError
from tunesmith.models.adapter_files import CONFIG, WEIGHTS
from tunesmith.models.lora import new_adapter
from tunesmith.models.peft_format import load_adapter, save_adapter

# What peft says of transformers and of the patterns it makes for fused experts; the logits tell whether it is right.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The following rank_pattern keys did not match:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:The following alpha_pattern keys did not match:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning"),
]
NAMES = ["qwen3", "qwen2", "qwen3_moe-dense-layer"]
PARTS = {
    "attention": {"head": False, "attention": True, "mlp": False},
    "mlp": {"head": False, "attention": False, "mlp": True},
    "head": {"head": True, "attention": False, "mlp": False},
    "attention and head": {"head": True, "attention": True, "mlp": False},
    "mlp and head": {"head": True, "attention": False, "mlp": True},
}
MODULES = {
    "attention": {"q_proj", "k_proj", "v_proj", "o_proj"},
    "mlp": {"gate_proj", "up_proj", "down_proj"},
    "head": {"lm_head"},
}


def test_the_parts_make_the_whole(tmp_path: Path) -> None:
    hf_model("qwen3_moe-dense-layer", tmp_path)
    model = ours(tmp_path)
    names = {part: [t.name for t in model.targets(**PARTS[part])] for part in ("attention", "mlp", "head")}
    assert sorted(n for some in names.values() for n in some) == sorted(t.name for t in model.targets(head=True))
    assert names["head"] == ["head"]
    assert {n.rpartition(".")[2] for n in names["attention"]} == {"qkv", "o"}
    kinds = {n.split(".", 2)[2] for n in names["mlp"]}
    assert kinds == {"gate_up", "down", "experts.gate_up", "experts.down"}
    assert list(model.targets(head=False, attention=False, mlp=False)) == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("parts", PARTS)
def test_peft_opens_what_we_save_and_we_load_it_bit_for_bit(name: str, parts: str, tmp_path: Path) -> None:
    hf_model(name, tmp_path / "base")
    model, tokens = ours(tmp_path / "base"), random_tokens(40)
    adapter = trained_adapter(model, **PARTS[parts])
    save_adapter(adapter, tmp_path / "adapter", str(tmp_path / "base"))
    modules = set(json.loads((tmp_path / "adapter" / CONFIG).read_text())["target_modules"])
    assert modules == set().union(*(MODULES[part] for part in MODULES if PARTS[parts][part]))
    expected = logits(model, tokens, adapter)
    base = reload(tmp_path / "base")
    assert (hf_logits(base, tokens) - expected).abs().max() > 0.02
    theirs = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    torch.testing.assert_close(hf_logits(theirs, tokens), expected, atol=1e-5, rtol=1e-5)
    again = load_adapter(tmp_path / "adapter", model)
    assert list(again.pairs) == list(adapter.pairs)
    for (name_a, a), (name_b, b) in zip(adapter.named_parameters(), again.named_parameters(), strict=True):
        assert name_a == name_b and torch.equal(a, b) and b.requires_grad


def test_a_partial_adapter_is_the_whole_one_where_it_is(tmp_path: Path) -> None:
    """With the other factors at 0 both add the same."""
    hf_model("qwen3", tmp_path)
    model, tokens = ours(tmp_path), random_tokens()
    part = trained_adapter(model, attention=False)
    whole = new_adapter(model.targets(), 4, 0, CPU)
    with torch.no_grad():
        for name, pair in part.pairs.items():
            whole.pairs[name].a.copy_(pair.a)
            whole.pairs[name].b.copy_(pair.b)
    torch.testing.assert_close(logits(model, tokens, part), logits(model, tokens, whole), atol=1e-6, rtol=0)


@pytest.mark.parametrize("gone", ["k_proj", "up_proj", "layers.1.self_attn.o_proj", "layers.2.mlp.experts.3"])
def test_a_fused_group_is_adapted_as_a_whole_or_not_at_all(gone: str, tmp_path: Path) -> None:
    hf_model("qwen3_moe-dense-layer", tmp_path / "base")
    model = ours(tmp_path / "base")
    save_adapter(trained_adapter(model), tmp_path / "adapter", "base")
    flat = load_file(tmp_path / "adapter" / WEIGHTS)
    kept = {name: t for name, t in flat.items() if f".{gone}." not in name}
    assert 0 < len(kept) < len(flat)
    save_file(kept, tmp_path / "adapter" / WEIGHTS)
    with pytest.raises(UserError, match=rf"has no .*{gone}.*\. Adapt q, k and v together, gate and up, all experts"):
        load_adapter(tmp_path / "adapter", model)


def test_a_file_without_factors_is_refused(tmp_path: Path) -> None:
    hf_model("qwen3", tmp_path / "base")
    model = ours(tmp_path / "base")
    save_adapter(trained_adapter(model), tmp_path / "adapter", "base")
    save_file({}, tmp_path / "adapter" / WEIGHTS)
    with pytest.raises(UserError, match="holds no factors"):
        load_adapter(tmp_path / "adapter", model)
