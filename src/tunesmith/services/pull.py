"""Model folders from the Hugging Face hub: safetensors, configuration and tokenizer, nothing that is code."""

import os
from pathlib import Path

from tunesmith.core.errors import UserError
from tunesmith.services.registry import check_name

WANTED = ("*.safetensors", "*.json", "*.jinja", "tokenizer.model", "merges.txt", "vocab.txt")


def pull(repo: str, models_dir: Path) -> Path:
    """Fetch a model; what is there already is not fetched again.

    Args:
        repo: name on the hub, such as ``Qwen/Qwen3-8B``.
        models_dir: the model's folder is made in here.

    Raises:
        UserError: no network, no such model, no right to it, or no space.
    """
    check_name(repo)
    from huggingface_hub import snapshot_download

    folder = models_dir / repo
    try:
        snapshot_download(repo, local_dir=folder, allow_patterns=list(WANTED), ignore_patterns=["original/*", "*/*"])
    # The errors of its own, of its HTTP library and of the system have no parent in common.
    except Exception as e:
        said = (str(e).strip() or type(e).__name__).splitlines()[0]
        hub = os.environ.get("HF_ENDPOINT", "the Hugging Face hub")
        mend = (
            "Look at the name, the network, HF_TOKEN and HF_ENDPOINT; or copy a folder: tunesmith models add NAME DIR"
        )
        raise UserError(repo, f"cannot be fetched from {hub}: {said}", mend) from None
    return folder
