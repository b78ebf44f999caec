"""Tiny models on disk, each built once."""

from collections.abc import Callable
from pathlib import Path

import pytest
from models import tiny

ModelFolder = Callable[[str], Path]


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    """The folder of a random model of ``tiny.CONFIGS``, by its name."""
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp("models") / name
            tiny.hf_model(name, made[name])
        return made[name]

    return folder
