"""Model folders: what is written opens in transformers, and what cannot be read is refused with its reason."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from models.tiny import CONFIGS, FAMILY_NAMES, hf_logits, hf_model, logits, ours, random_tokens, reload
from safetensors.torch import load_file, save_file

from tunesmith.core.errors import NotFound, UserError
from tunesmith.models import folder as folders
from tunesmith.models.config import FAMILIES
from tunesmith.models.folder import save_model


@pytest.mark.parametrize("name", [*FAMILY_NAMES, "llama-biases"])
@pytest.mark.parametrize("shard_bytes", [1 << 30, 10_000])
def test_a_saved_model_opens_in_transformers(
    name: str, shard_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "SHARD_BYTES", shard_bytes)
    hf_model(name, tmp_path / "theirs")
    model = ours(tmp_path / "theirs")
    with torch.no_grad():
        model.embed.mul_(1.5)  # what is written must be the decoder's weights, not a copy of the source
    save_model(model, tmp_path / "ours", tmp_path / "theirs")
    tokens = random_tokens()
    expected = logits(model, tokens)
    again = ours(tmp_path / "ours")
    assert torch.equal(logits(again, tokens), expected)
    torch.testing.assert_close(hf_logits(reload(tmp_path / "ours"), tokens), expected, atol=1e-5, rtol=0)
    shards = list((tmp_path / "ours").glob("*.safetensors"))
    assert (len(shards) == 1) == (shard_bytes > 1 << 20)


def test_shards_keep_to_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "SHARD_BYTES", 10_000)
    hf_model("llama", tmp_path / "theirs")
    save_model(ours(tmp_path / "theirs"), tmp_path / "ours", tmp_path / "theirs")
    for shard in (tmp_path / "ours").glob("*.safetensors"):
        tensors = load_file(shard)
        assert len(tensors) == 1 or sum(t.nbytes for t in tensors.values()) <= 10_000


def test_a_model_sharded_by_transformers_is_read(tmp_path: Path) -> None:
    theirs = hf_model("qwen3_moe", tmp_path / "one")
    theirs.save_pretrained(tmp_path / "many", max_shard_size="10KB")
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 2
    tokens = random_tokens()
    assert torch.equal(logits(ours(tmp_path / "many"), tokens), logits(ours(tmp_path / "one"), tokens))


def test_a_tied_head_written_out_is_no_left_over(tmp_path: Path) -> None:
    hf_model("llama-tied", tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, tmp_path / "model.safetensors")
    ours(tmp_path)


def test_companions_are_copied(tmp_path: Path, shared_data: Path) -> None:
    source = shared_data / "models/stories260K-hf"
    save_model(ours(source), tmp_path, source)
    names = {p.name for p in tmp_path.iterdir()}
    assert {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"} <= names
    shutil.rmtree(tmp_path)  # modes copied from a read-only source must not lock the user out
    assert not tmp_path.exists()


def _configure(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "gpt2"}, ["'gpt2'", *FAMILIES]),
        ({"model_type": None}, ["unsupported architecture", *FAMILIES]),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, ["'yarn'", "default, linear, llama3"]),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, ["'dynamic'", "default, linear, llama3"]),
        ({"hidden_act": "gelu"}, ["'gelu'", "silu"]),
        ({"partial_rotary_factor": 0.5}, ["partial_rotary_factor"]),
        ({"quantization_config": {"quant_method": "gptq"}}, ["quantized"]),
        ({"hidden_size": 40}, ["config.json says"]),
        ({"num_hidden_layers": 4}, ["tensors do not fit", "missing", "layers.3"]),
        ({"num_hidden_layers": 2}, ["tensors do not fit", "left over", "layers.2"]),
        ({"attention_bias": True}, ["missing", "bias"]),
    ],
)
def test_configs_that_do_not_fit_are_refused(changes: dict[str, Any], words: list[str], tmp_path: Path) -> None:
    hf_model("llama", tmp_path)
    if "rope_scaling" in changes:
        raw = json.loads((tmp_path / "config.json").read_text())
        del raw["rope_parameters"]
        (tmp_path / "config.json").write_text(json.dumps(raw))
    _configure(tmp_path, **changes)
    with pytest.raises(UserError) as refused:
        ours(tmp_path)
    assert all(word in str(refused.value) for word in words), str(refused.value)


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", '"llama"', "\xff"])
def test_a_config_that_is_no_object_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"config\.json"):
        ours(tmp_path)


@pytest.mark.parametrize("missing", ["hidden_size", "num_attention_heads", "num_hidden_layers", "vocab_size"])
def test_a_config_without_a_size_is_refused_by_name(missing: str, tmp_path: Path) -> None:
    hf_model("llama", tmp_path)
    raw = json.loads((tmp_path / "config.json").read_text())
    del raw[missing]
    (tmp_path / "config.json").write_text(json.dumps(raw))
    with pytest.raises(UserError, match=f"missing '{missing}'"):
        ours(tmp_path)


def test_no_folder_and_no_weights_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no config\.json"):
        ours(tmp_path / "nowhere")
    hf_model("llama", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(NotFound, match=r"no model\.safetensors"):
        ours(tmp_path)


def test_pickle_is_named_and_not_opened(tmp_path: Path) -> None:
    hf_model("llama", tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(NotFound, match=r"pytorch_model\.bin is pickle"):
        ours(tmp_path)


@pytest.mark.parametrize("keep", [0, 4, 300, -100])
def test_a_truncated_file_is_called_damaged(keep: int, tmp_path: Path) -> None:
    hf_model("llama", tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match="is damaged"):
        ours(tmp_path)


@pytest.mark.parametrize("name", ["model-00002.safetensors", "../model.safetensors"])
def test_a_missing_shard_is_named(name: str, tmp_path: Path) -> None:
    hf_model("llama", tmp_path)
    index = {"weight_map": {"model.embed_tokens.weight": "model.safetensors", "model.norm.weight": name}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(NotFound, match="shard"):
        ours(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_broken_index_is_refused(text: str, tmp_path: Path) -> None:
    hf_model("llama", tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(UserError, match=r"index\.json"):
        ours(tmp_path)


def test_every_config_of_the_table_is_a_supported_family() -> None:
    assert {c["model_type"] for c in CONFIGS.values()} == set(FAMILIES)
