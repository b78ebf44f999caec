"""Routing replay through Fireworks' SDK, on a tiny mixture of experts."""

import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from clients.environments import drive
from models import tiny
from server.running import RunningServer

from tunesmith.services.registry import Registry
from tunesmith.services.store import file_url, open_store

MODEL = "tests/experts"


@pytest.fixture(scope="module")
def found(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("experts")
    tiny.hf_model("qwen3_moe", folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(str(files("tunesmith.models") / "embedded" / name)), folder / name)
    store = open_store(file_url(server.data_dir))
    Registry(store).add(MODEL, folder)
    store.close()
    return drive("fireworks", "fireworks_routing", server, tmp_path_factory.mktemp("home"), {"model": MODEL})


def test_the_client_is_told_which_models_have_experts(found):
    assert found["replays"] == [True, False]


def test_one_matrix_per_input_token(found):
    assert found["echoed"] == [True, True]
    assert len(set(found["lengths"])) == 1


def test_a_models_own_routing_changes_no_bit_and_another_does(found):
    assert found["plain"] == found["partial"] == found["whole"] == found["tensor"]
    assert found["other"] != found["plain"]


@pytest.mark.parametrize(
    ("what", "words"),
    [("length", "holds 10 matrices for 11 tokens"), ("size", "holds 3 expert ids"), ("dense", "no experts")],
)
def test_refusals(found, what, words):
    assert words in found["refused"][what]
