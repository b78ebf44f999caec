"""An adapter merged into its base model: the same logits without an adapter, for every family and an adapted head."""

import asyncio
import json
from pathlib import Path

import pytest
from models import tiny

from tunesmith.core.errors import UserError
from tunesmith.models.peft_format import save_adapter
from tunesmith.services.merge import merge
from tunesmith.services.merging import merge_apart


@pytest.mark.parametrize("head", [False, True], ids=["plain", "head"])
@pytest.mark.parametrize("family", tiny.FAMILY_NAMES)
def test_merged_logits_are_those_of_the_adapter(tmp_path: Path, family: str, head: bool):
    base, adapted, out = (tmp_path / name for name in ("base", "adapter", "out"))
    tiny.hf_model(family, base)
    model = tiny.ours(base)
    adapter = tiny.trained_adapter(model, head=head)
    adapted.mkdir()
    save_adapter(adapter, adapted, "base")
    merge(base, adapted, out)
    tokens = tiny.random_tokens()
    expected, plain = tiny.logits(model, tokens, adapter), tiny.logits(model, tokens)
    assert (expected - plain).abs().max() > 1e-2
    assert (tiny.logits(tiny.ours(out), tokens) - expected).abs().max() < 1e-4
    # What other tools make of the folder: an adapted head must not reach the embedding.
    assert (tiny.hf_logits(tiny.reload(out), tokens) - expected).abs().max() < 1e-3
    tied = json.loads((out / "config.json").read_text())["tie_word_embeddings"]
    assert tied == (model.config.tied and not head)


@pytest.mark.thorough
def test_folders_that_do_not_belong_together_are_refused_in_words(tmp_path: Path):
    base = tmp_path / "base"
    tiny.hf_model("qwen2", base)
    with pytest.raises(UserError, match=r"adapter_config\.json"):
        asyncio.run(merge_apart(base, tmp_path / "nothing", tmp_path / "out"))
    assert not (tmp_path / "out").exists()
