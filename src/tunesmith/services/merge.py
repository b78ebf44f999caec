"""An adapter added into its base model: a whole model with a name of its own.

Run as ``python -m tunesmith.services.merge BASE ADAPTER OUT`` by ``merging``.
"""

import json
import sys
from pathlib import Path

import torch

from tunesmith.core.durable import new_folder
from tunesmith.core.errors import UserError
from tunesmith.models.decoder import Decoder
from tunesmith.models.folder import load_model, save_model, tensors
from tunesmith.models.lora import factors
from tunesmith.models.peft_format import load_adapter, plain_names


@torch.no_grad()
def merge(base: Path, adapter: Path, out: Path) -> None:
    """W + (alpha / r) B A for every adapted W, in float32: 16 bits would round most of it away.

    An output head that shares its weights with the embedding gets weights of its own where it is adapted.

    Args:
        base: a model folder. adapter: a PEFT folder. out: the folder to be made.

    Raises:
        UserError, NotFound: folders that do not belong together.
    """
    model = load_model(base, torch.device("cpu"), torch.float32)
    added = load_adapter(adapter, model)
    if model.head is None and any(target.name == model.head_target.name for target in added.targets.values()):
        model.head = torch.nn.Parameter(model.embed.clone(), requires_grad=False)
    weights = dict(tensors(model))
    for name, pair in added.pairs.items():
        target = added.targets[name]
        for linear, (a, b, scale) in zip(plain_names(target), factors(pair, target), strict=True):
            weights[f"{linear.removeprefix('base_model.model.')}.weight"] += scale * (b @ a)
    out.parent.mkdir(parents=True, exist_ok=True)
    with new_folder(out) as unfinished:
        save_model(model, unfinished, base)
        _describe(unfinished / "config.json", model)


def _describe(file: Path, model: Decoder) -> None:
    """What the base model's config no longer says right."""
    config = json.loads(file.read_text("utf-8"))
    config |= {"tie_word_embeddings": model.head is None, "torch_dtype": "float32"}
    file.write_text(json.dumps(config, indent=2), "utf-8")


def main() -> None:
    base, adapter, out = map(Path, sys.argv[1:4])
    try:
        merge(base, adapter, out)
    except UserError as e:
        sys.exit(str(e))


if __name__ == "__main__":
    main()
