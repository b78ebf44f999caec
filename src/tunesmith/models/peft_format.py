"""Adapters in PEFT's format, ``adapter_config.json`` and ``adapter_model.safetensors``: one A and B per linear."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tunesmith.core.errors import NotFound, UserError
from tunesmith.models.adapter_files import CONFIG, WEIGHTS
from tunesmith.models.decoder import Decoder
from tunesmith.models.lora import ALPHA, Adapter, Target, factors, new_adapter

MAKES_IT_ANOTHER = ("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save", "fan_in_fan_out", "lora_bias")
"""Settings of PEFT under which A and B alone, or as they are stored, do not say what the adapter adds."""


def save_adapter(adapter: Adapter, folder: Path, base_model: str) -> None:
    """Write what ``peft``, ``transformers`` and vLLM open; shared expert factors are written for every expert."""
    folder.mkdir(parents=True, exist_ok=True)
    flat: dict[str, Tensor] = {}
    for name, pair in adapter.pairs.items():
        plain = plain_names(adapter.targets[name])
        for linear, (a, b, _) in zip(plain, factors(pair, adapter.targets[name]), strict=True):
            flat[f"{linear}.lora_A.weight"] = a.detach().cpu().clone()
            flat[f"{linear}.lora_B.weight"] = b.detach().cpu().clone()
    save_file(flat, folder / WEIGHTS, {"format": "pt"})
    modules = sorted({n.rsplit(".", 1)[-1] for t in adapter.targets.values() for n, _ in t.parts})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model,
        "r": adapter.rank,
        "lora_alpha": adapter.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "use_dora": False,
        "inference_mode": True,
        "target_modules": modules,
        **_dense_beside_experts(adapter),
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")


def _dense_beside_experts(adapter: Adapter) -> dict[str, list[str]]:
    """In a model with experts peft takes gate_proj, up_proj and down_proj for theirs alone; the MLPs of its dense
    layers it finds only as parameters."""
    if not any(t.experts for t in adapter.targets.values()):
        return {}
    dense = (t for name, t in adapter.targets.items() if name.endswith((".gate_up", ".down")) and not t.experts)
    names = [f"{part}.weight" for target in dense for part, _ in target.parts]
    return {"target_parameters": names} if names else {}


def load_adapter(folder: Path, model: Decoder, alpha: float = ALPHA) -> Adapter:
    """A trainable adapter from a PEFT folder, on the linears that the file adapts.

    Of a kind of linear that the decoder fuses (q, k and v; gate and up; all experts) a file adapts every part, in every
    layer, or none. An adapter of another alpha is scaled to this one: its product stays what it is.

    Raises:
        NotFound: no adapter here.
        UserError: another base model's shapes, another kind of adapter, or factors this decoder cannot hold.
    """
    rank, own_alpha = _read_config(folder / CONFIG)
    try:
        flat = load_file(folder / WEIGHTS)
    except FileNotFoundError:
        raise NotFound(str(folder), f"no {WEIGHTS} here", "Give an adapter folder in PEFT format") from None
    except SafetensorError as e:
        raise UserError(str(folder / WEIGHTS), f"is damaged: {e}", "Copy the file again from its source") from None
    adapter = new_adapter(_covered(flat, model, folder), rank, 0, model.device, alpha)
    with torch.no_grad():
        for name, pair in adapter.pairs.items():
            scale = own_alpha / rank / pair.scale
            plain = plain_names(adapter.targets[name])
            if adapter.targets[name].shares:
                _refuse_unshared(flat, adapter.targets[name], folder)
            for linear, (a, b, _) in zip(plain, factors(pair, adapter.targets[name]), strict=True):
                _copy(flat, f"{linear}.lora_A.weight", a, 1.0, folder)
                _copy(flat, f"{linear}.lora_B.weight", b, scale, folder)
    if flat:
        raise UserError(str(folder), f"adapts what this model has not: {sorted(flat)[:3]}", "Give its own base model")
    return adapter


def _covered(flat: Mapping[str, Tensor], model: Decoder, folder: Path) -> list[Target]:
    """The targets of every kind that the file has a factor of, whichever layers it has them in."""
    linears = {name.rpartition(".lora_")[0] for name in flat}
    targets = list(model.targets(head=True))
    kinds = {_kind(t) for t in targets if not linears.isdisjoint(plain_names(t))}
    if not kinds and not flat:
        raise UserError(str(folder), f"{WEIGHTS} holds no factors", "Copy the file again from its source")
    return [t for t in targets if _kind(t) in kinds]


def _kind(target: Target) -> str:
    """Example: layers.3.experts.gate_up -> experts.gate_up."""
    return target.name.partition(".")[2].partition(".")[2] or target.name


def _read_config(path: Path) -> tuple[int, float]:
    """(rank, alpha); alpha is such that the scale is alpha / rank, whatever the file calls it."""
    if not path.is_file():
        raise NotFound(str(path.parent), f"no {CONFIG} here", "Give an adapter folder in PEFT format, or a run folder")
    try:
        config = json.loads(path.read_text("utf-8"))
    except ValueError as e:
        raise UserError(str(path), f"is not JSON: {e}", "Copy the file again from its source") from None
    if not isinstance(config, dict):
        raise UserError(str(path), f"holds {type(config).__name__}, no object", "Copy the file again from its source")
    strange = [key for key in MAKES_IT_ANOTHER if config.get(key)]
    if config.get("peft_type") != "LORA" or strange or config.get("bias", "none") != "none":
        why = f" (it has {', '.join(strange)})" if strange else ""
        supported = "Supported: LoRA of one rank, without bias or DoRA"
        raise UserError(str(path), f"is not a plain LoRA adapter{why}", supported)
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not (isinstance(rank, int) and rank > 0 and isinstance(alpha, int | float)):
        raise UserError(str(path), f"no LoRA has r {rank!r} and lora_alpha {alpha!r}", "Copy it again from its source")
    return rank, alpha * rank**0.5 if config.get("use_rslora") else alpha


def plain_names(target: Target) -> list[str]:
    """PEFT's names of the linears behind a fused target, in the order of ``factors``."""
    prefix = "base_model.model." + ("" if target.name == "head" else "model.")
    names = [name for name, _ in target.parts]
    return [prefix + n.replace("*", str(e)) for e in range(max(1, target.experts)) for n in names]


def _copy(flat: dict[str, Tensor], name: str, into: Tensor, scale: float, folder: Path) -> None:
    if name not in flat:
        mend = "Adapt q, k and v together, gate and up, all experts, and these in every layer; or train a new adapter"
        raise UserError(str(folder), f"has no {name}", mend)
    if flat[name].shape != into.shape:
        shapes = f"{name} is {tuple(flat[name].shape)}, this base model needs {tuple(into.shape)}"
        raise UserError(str(folder), shapes, "Give the base model that the adapter was trained on")
    into.copy_(flat.pop(name) * scale)


def _refuse_unshared(flat: dict[str, Tensor], target: Target, folder: Path) -> None:
    """Experts share one factor here; an adapter with one of its own per expert cannot be held."""
    letter = "A" if target.shares == "a" else "B"
    per_expert = len(target.parts)
    names = [f"{n}.lora_{letter}.weight" for n in plain_names(target)]
    for i, name in enumerate(names):
        first = flat.get(names[i % per_expert])
        if first is not None and name in flat and not torch.equal(flat[name], first):
            raise UserError(str(folder), f"{name} differs between experts", "Train it with the shared factor")
