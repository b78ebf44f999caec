"""Where names become folders: a base model, and what to start from."""

import json
from importlib.resources import files
from pathlib import Path

from tunesmith.core.errors import NotFound, UserError
from tunesmith.models.adapter_files import CONFIG as ADAPTER_CONFIG


def embedded_model() -> Path:
    """The tiny model that ships with the package."""
    return Path(str(files("tunesmith.models") / "embedded"))


def base_model(name: str) -> Path:
    """The folder of a base model: `embedded`, a model folder, or a run that trained all parameters.

    Raises:
        NotFound: nothing of that name.
        UserError: an adapter, which is no base model.
    """
    if name == "embedded":
        return embedded_model()
    folder = Path(name)
    if (folder / "config.json").is_file():
        return folder.resolve()
    if (folder / "model" / "config.json").is_file():
        return (folder / "model").resolve()
    if (folder / ADAPTER_CONFIG).is_file() or (folder / "adapter" / ADAPTER_CONFIG).is_file():
        mend = f"Give its own base model as base_model, and warm_start_from: {name}"
        raise UserError(name, "is not of kind base_model, but HF_PEFT_ADDON (an adapter)", mend)
    raise NotFound(name, "no such base model", "Give `embedded` or a folder with config.json and model.safetensors")


def adapter_folder(name: str) -> Path:
    """The adapter that a job starts from: a PEFT folder, or a run that trained one."""
    folder = Path(name)
    for candidate in (folder, folder / "adapter"):
        if (candidate / ADAPTER_CONFIG).is_file():
            return candidate
    raise NotFound(name, "no adapter here", "Give an adapter folder in PEFT format, or the folder of a LoRA run")


def tuned(run: Path) -> tuple[Path, Path | None]:
    """(base model folder, adapter folder or None) that serve what a run trained, or a plain model or adapter folder."""
    if str(run) == "embedded":
        return embedded_model(), None
    if (run / "model" / "config.json").is_file():
        return run / "model", None
    if (run / "config.json").is_file():
        return run, None
    adapter = adapter_folder(str(run))
    recorded = json.loads((adapter / ADAPTER_CONFIG).read_text("utf-8"))["base_model_name_or_path"]
    return base_model(recorded), adapter


def adapter_shape(adapter: Path) -> tuple[int, bool]:
    """(rank, whether the head is adapted) of an adapter on disk."""
    config = json.loads((adapter / ADAPTER_CONFIG).read_text("utf-8"))
    return int(config["r"]), "lm_head" in config["target_modules"]
