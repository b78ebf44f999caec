"""The decoder against transformers: equal logits for every family, its variants, real checkpoints and bf16 files."""

import json
from pathlib import Path

import pytest
import torch
from models.tiny import CONFIGS, CPU, SIZES, hf_logits, hf_model, logits, ours, pack, random_tokens, reload
from transformers import AutoConfig

from tunesmith.models.config import FAMILIES, parse_config
from tunesmith.models.head import selected_logprobs


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_equal_transformers(name: str, tmp_path: Path) -> None:
    theirs = hf_model(name, tmp_path)
    tokens = random_tokens(40)
    torch.testing.assert_close(logits(ours(tmp_path), tokens), hf_logits(theirs, tokens), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["mistral-window", "qwen2-window", "qwen3_moe-window"])
def test_a_window_changes_the_logits(name: str, tmp_path: Path) -> None:
    hf_model(name, tmp_path)
    model, tokens = ours(tmp_path), random_tokens(40)
    windowed = logits(model, tokens)
    model.config = type(model.config)(
        **{n: getattr(model.config, n) for n in model.config.__slots__} | {"windows": (None,) * 3}
    )
    assert (windowed - logits(model, tokens)).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["llama-rope-llama3", "llama-rope-linear"])
def test_the_older_spelling_of_rope_settings_means_the_same(name: str, tmp_path: Path) -> None:
    theirs = hf_model(name, tmp_path)
    raw = json.loads((tmp_path / "config.json").read_text())
    rope = raw.pop("rope_parameters")
    raw["rope_theta"] = rope.pop("rope_theta")
    raw["rope_scaling"] = {"type" if name.endswith("linear") else "rope_type": rope.pop("rope_type"), **rope}
    (tmp_path / "config.json").write_text(json.dumps(raw))
    tokens = random_tokens(40)
    torch.testing.assert_close(logits(ours(tmp_path), tokens), hf_logits(theirs, tokens), atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_config_leaves_out_means_what_transformers_takes_it_to_mean(family: str) -> None:
    moe = {"moe_intermediate_size": 8, "num_experts": 4, "num_experts_per_tok": 2} if family == "qwen3_moe" else {}
    given = {"vocab_size": 11, "hidden_size": 64, "intermediate_size": 24, "num_hidden_layers": 40, **moe}
    given |= {"num_attention_heads": 32, "num_key_value_heads": 8}
    theirs = AutoConfig.for_model(family, **given)
    mine = parse_config({"model_type": family, **given}, "config.json")
    assert mine.head_dim == (getattr(theirs, "head_dim", None) or 2)
    assert mine.norm_eps == theirs.rms_norm_eps
    assert mine.max_positions == theirs.max_position_embeddings
    assert mine.rope["rope_theta"] == theirs.rope_parameters["rope_theta"]
    assert mine.windows == (getattr(theirs, "sliding_window", None),) * 40
    assert mine.tied is theirs.tie_word_embeddings


@pytest.mark.parametrize("name", ["qwen2-window", "qwen3_moe-dense-layer"])
def test_a_bf16_checkpoint_is_read_in_any_precision(name: str, tmp_path: Path) -> None:
    hf_model(name, tmp_path, dtype=torch.bfloat16)
    tokens = random_tokens()
    expected = hf_logits(reload(tmp_path), tokens)
    torch.testing.assert_close(logits(ours(tmp_path), tokens), expected, atol=1e-5, rtol=0)
    half = ours(tmp_path, torch.bfloat16)
    assert half.embed.dtype == torch.bfloat16
    assert (logits(half, tokens) - expected).abs().max() < 0.05 * expected.abs().max()


@pytest.mark.parametrize("model", ["stories260K-hf", "babyllama-tok105-hf", "digit-completion-random"])
def test_real_checkpoints_equal_transformers(model: str, shared_data: Path) -> None:
    folder = shared_data / "models" / model
    mine = ours(folder)
    tokens = random_tokens(60, mine.config.vocab)
    # Their logits reach 17, so float32 alone is worth 1e-5: transformers' own two attentions differ by up to 2.1e-5.
    torch.testing.assert_close(logits(mine, tokens), hf_logits(reload(folder), tokens), atol=2e-5, rtol=0)


@pytest.mark.thorough
def test_stories260k_tells_its_published_story(shared_data: Path) -> None:
    golden = json.loads((shared_data / "golden/models/stories260K_golden.json").read_text())
    model = ours(shared_data / "models/stories260K-hf")
    expected = golden["greedy_token_ids"]
    tokens = [1]
    while len(tokens) < len(expected):
        tokens.append(int(logits(model, torch.tensor(tokens))[-1].argmax()))
    assert len(expected) >= 200
    assert tokens == expected


def test_stories260k_gives_the_published_logprobs(shared_data: Path) -> None:
    golden = json.loads((shared_data / "golden/models/stories260K_golden.json").read_text())
    model = ours(shared_data / "models/stories260K-hf")
    for case in golden["teacher_forced"]:
        ids = torch.tensor(case["ids"])
        hidden = model(ids[:-1], *pack(model, [len(ids) - 1]))
        found = selected_logprobs(hidden, model.head_weight, ids[1:], torch.ones(len(ids) - 1))
        assert found.tolist() == pytest.approx(case["logprobs"], abs=1e-3)


def test_a_loaded_model_is_frozen_and_on_its_device(tmp_path: Path) -> None:
    hf_model("llama", tmp_path)
    model = ours(tmp_path)
    assert not any(p.requires_grad for p in model.parameters())
    assert model.device == CPU
    assert model.embed.shape == (SIZES["vocab_size"], SIZES["hidden_size"])
