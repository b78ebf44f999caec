"""Hugging Face model folders, read and written: safetensors only, one file or sharded; never pickle."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tunesmith.core.errors import NotFound, UserError
from tunesmith.models.config import read_config
from tunesmith.models.decoder import Decoder, Layer, Linear
from tunesmith.models.moe import Experts, SparseMlp
from tunesmith.models.rope import inverse_frequencies

SHARD_BYTES = 4 << 30
COMPANIONS = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
)


def load_model(folder: Path, device: torch.device, dtype: torch.dtype) -> Decoder:
    """A decoder with the folder's weights, frozen; its numbers are cast to ``dtype``.

    Raises:
        NotFound: no folder, config or safetensors file.
        UserError: unsupported architecture, or a tensor that is missing, left over or of the wrong shape.
    """
    config = read_config(folder)
    with torch.device("meta"):
        model = Decoder(config)
    _allocate(model, device, dtype)
    model.inverse = inverse_frequencies(config.rope, config.head_dim).to(device)
    wanted = dict(tensors(model))
    with ExitStack() as stack:
        _fill(wanted, _open(folder, stack), str(folder), model.config.tied)
    return model


def _allocate(model: Decoder, device: torch.device, dtype: torch.dtype) -> None:
    """Frozen memory in place of weights on no device; ``Module.to_empty`` would load 50 MB of libraries for it."""
    for module in model.modules():
        for name, tensor in module.named_parameters(recurse=False):
            empty = torch.empty(tensor.shape, dtype=dtype, device=device)
            setattr(module, name, torch.nn.Parameter(empty, requires_grad=False))


def tensors(model: Decoder) -> Iterator[tuple[str, Tensor]]:
    """Hugging Face name -> a view of the decoder's own storage, for reading into and writing from."""
    yield "model.embed_tokens.weight", model.embed
    for i, layer in enumerate(model.layers):
        assert isinstance(layer, Layer), "the decoder is made of Layers"
        at = f"model.layers.{i}"
        yield f"{at}.input_layernorm.weight", layer.input_norm
        yield f"{at}.post_attention_layernorm.weight", layer.post_norm
        if layer.q_norm is not None and layer.k_norm is not None:
            yield f"{at}.self_attn.q_norm.weight", layer.q_norm
            yield f"{at}.self_attn.k_norm.weight", layer.k_norm
        if isinstance(layer.mlp, SparseMlp):
            yield f"{at}.mlp.gate.weight", layer.mlp.router
        for module in (layer.qkv, layer.o, *layer.mlp.children()):
            yield from _linear_tensors(module)
    yield "model.norm.weight", model.norm
    if model.head is not None:
        yield "lm_head.weight", model.head


def _linear_tensors(module: torch.nn.Module) -> Iterator[tuple[str, Tensor]]:
    assert isinstance(module, Linear | Experts), "a layer's matrices are Linears or Experts"
    rows = [n for _, n in module.target.parts]
    weight = module.weight.detach() if isinstance(module, Experts) else module.weight.detach().T
    for (name, _), piece in zip(module.target.parts, weight.split(rows, -2), strict=True):
        if isinstance(module, Experts):
            yield from ((f"model.{name.replace('*', str(e))}.weight", w) for e, w in enumerate(piece))
        else:
            yield f"model.{name}.weight", piece
    bias = getattr(module, "bias", None)
    if bias is not None:
        for (name, _), piece in zip(module.target.parts, bias.detach().split(rows), strict=True):
            yield f"model.{name}.bias", piece


def _open(folder: Path, stack: ExitStack) -> dict[str, "safe_open"]:
    """Tensor name -> the open file that holds it."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = _shards(index)
    elif (folder / "model.safetensors").is_file():
        shards = ["model.safetensors"]
    else:
        other = [p.name for p in folder.glob("*.bin")] + [p.name for p in folder.glob("*.pt")]
        hint = f"{other[0]} is pickle, which can run code when read. " if other else ""
        raise NotFound(str(folder), "no model.safetensors here", f"{hint}Save the model with safe_serialization=True")
    found: dict[str, safe_open] = {}
    for shard in shards:
        path = folder / shard
        if Path(shard).name != shard or not path.is_file():
            raise NotFound(str(path), "a shard that the index names is missing", "Copy the whole model folder")
        try:
            file = stack.enter_context(safe_open(path, "pt"))
        except SafetensorError as e:
            raise UserError(str(path), f"is damaged: {e}", "Copy the file again from its source") from None
        found |= dict.fromkeys(file.keys(), file)
    return found


def _shards(index: Path) -> list[str]:
    try:
        return sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
    except (ValueError, LookupError, TypeError, AttributeError) as e:
        raise UserError(str(index), f"is no index of shards: {e!r}", "Copy the whole model folder") from None


def _fill(wanted: Mapping[str, Tensor], found: Mapping[str, "safe_open"], where: str, tied: bool) -> None:
    missing = [name for name in wanted if name not in found]
    extra = [
        n for n in found if n not in wanted and not n.endswith("inv_freq") and not (tied and n == "lm_head.weight")
    ]
    if missing or extra:
        problem = f"missing {missing[:3]}" if missing else f"left over {extra[:3]}"
        count = len(missing) + len(extra)
        raise UserError(where, f"{count} tensors do not fit its config.json: {problem}", "Use a matching pair of both")
    for name, target in wanted.items():
        source = found[name].get_tensor(name)
        if source.shape != target.shape:
            shapes = f"{name} is {tuple(source.shape)}, config.json says {tuple(target.shape)}"
            raise UserError(where, shapes, "Use a matching pair of weights and config.json")
        target.data.copy_(source)


def save_model(model: Decoder, folder: Path, source: Path) -> None:
    """Write a whole model that ``transformers`` opens; config, tokenizer and template are copied from ``source``."""
    folder.mkdir(parents=True, exist_ok=True)
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in tensors(model):
        size += tensor.nbytes
        if size > SHARD_BYTES and shards[-1]:
            shards.append({})
            size = tensor.nbytes
        shards[-1][name] = tensor.detach().cpu().contiguous()
    if len(shards) == 1:
        save_file(shards[0], folder / "model.safetensors", {"format": "pt"})
    else:
        _save_shards(shards, folder)
    copy_companions(source, folder)


def _save_shards(shards: list[dict[str, Tensor]], folder: Path) -> None:
    weight_map: dict[str, str] = {}
    for i, shard in enumerate(shards, 1):
        name = f"model-{i:05d}-of-{len(shards):05d}.safetensors"
        save_file(shard, folder / name, {"format": "pt"})
        weight_map |= dict.fromkeys(shard, name)
    total = sum(t.nbytes for s in shards for t in s.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))


def copy_companions(source: Path, folder: Path) -> None:
    """Copy what belongs to a model beside its weights: config, tokenizer, chat template."""
    for name in COMPANIONS:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
