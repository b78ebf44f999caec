"""The hub look-alike, asked by hand and by Hugging Face's own clients."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi import FastAPI
from server.conftest import Ask
from server.running import RunningServer

from tunesmith.services.names import embedded_model
from tunesmith.services.registry import EMBEDDED, Registry

README = """---
configs:
- config_name: main
  data_files:
  - split: train
    path: main/train-*
---
"""


def put_files(data_dir: Path) -> None:
    """A dataset, a repository of a model's own files, and things beside them that nobody may have."""
    rows = data_dir / "hub" / "datasets" / "openai" / "gsm8k"
    (rows / "main").mkdir(parents=True)
    (rows / ".git").mkdir()
    (rows / ".git" / "config").write_text("hidden")
    (rows / "README.md").write_text(README)
    table = pa.table({"question": ["1+1", "2+2"], "answer": ["2", "4"]})
    pq.write_table(table, rows / "main" / "train-00000-of-00001.parquet")
    (data_dir / "hub" / "datasets" / "openai" / "secret.txt").write_text("secret")
    plain = data_dir / "hub" / "models" / "me" / "plain"
    plain.mkdir(parents=True)
    (plain / "numbers.bin").write_bytes(bytes(range(100)))
    (plain / "link.txt").symlink_to(plain / "numbers.bin")


@pytest.fixture
def data_dir(app: FastAPI) -> Path:
    folder: Path = app.state.settings.data_dir
    put_files(folder)
    return folder


GSM8K = "/datasets/openai/gsm8k/resolve/main"


def test_a_file_whole_and_in_part(ask: Ask, data_dir: Path) -> None:
    address = "/me/plain/resolve/main/numbers.bin"
    head, whole = ask("HEAD", address), ask("GET", address)
    assert (head.status_code, head.content, whole.content) == (200, b"", bytes(range(100)))
    for answer in (head, whole):
        assert answer.headers["content-length"] == "100"
        assert answer.headers["accept-ranges"] == "bytes"
        assert len(answer.headers["x-repo-commit"]) == 40
        assert answer.headers["etag"].strip('"').isalnum() and answer.headers["etag"][0] == '"'
    part = ask("GET", address, headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, bytes(range(10, 20)))
    assert part.headers["content-range"] == "bytes 10-19/100"
    assert ask("GET", address, headers={"range": "bytes=200-"}).status_code == 416
    (data_dir / "hub" / "models" / "me" / "plain" / "numbers.bin").write_bytes(b"other")
    changed = ask("HEAD", address)
    assert changed.headers["etag"] != head.headers["etag"]
    assert changed.headers["x-repo-commit"] != head.headers["x-repo-commit"]


def test_what_a_repository_holds(ask: Ask, data_dir: Path) -> None:
    info = ask("GET", "/api/datasets/openai/gsm8k").json()
    assert info["id"] == "openai/gsm8k" and len(info["sha"]) == 40
    names = [entry["rfilename"] for entry in info["siblings"]]
    assert names == ["README.md", "main/train-00000-of-00001.parquet"]
    assert ask("GET", f"/api/datasets/openai/gsm8k/revision/{info['sha']}").json() == info
    tree = "/api/datasets/openai/gsm8k/tree/main"
    top = ask("GET", tree).json()
    assert [(entry["type"], entry["path"]) for entry in top] == [("file", names[0]), ("directory", "main")]
    assert top[0]["size"] == len(README)
    everything = ask("GET", tree, params={"recursive": "true"}).json()
    assert [entry["path"] for entry in everything] == ["README.md", "main", names[1]]
    assert [entry["path"] for entry in ask("GET", tree + "/main").json()] == names[1:]


@pytest.mark.parametrize("form", [{"data": {"paths": ["README.md", "nothing"]}}, {"json": {"paths": ["README.md"]}}])
def test_what_some_paths_are(ask: Ask, data_dir: Path, form: dict[str, object]) -> None:
    [entry] = ask("POST", "/api/datasets/openai/gsm8k/paths-info/main", **form).json()
    assert (entry["type"], entry["path"], entry["size"]) == ("file", "README.md", len(README))


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"paths": 3}', b"[" * 100_000, b"\xff"])
def test_paths_that_are_no_list(ask: Ask, data_dir: Path, body: bytes) -> None:
    answer = ask(
        "POST",
        "/api/datasets/openai/gsm8k/paths-info/main",
        content=body,
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 400 and "paths" in answer.json()["detail"]


ABSENT: list[tuple[str, str | None]] = [
    (f"{GSM8K}/nothing.txt", "EntryNotFound"),
    (f"{GSM8K}/main", "EntryNotFound"),
    (f"{GSM8K}/", "EntryNotFound"),
    (f"{GSM8K}/.git/config", "EntryNotFound"),
    (f"{GSM8K}/%2e%2e/secret.txt", "EntryNotFound"),
    (f"{GSM8K}/main/..%2f..%2f..%2fsecret.txt", "EntryNotFound"),
    (f"{GSM8K}/%2fetc%2fpasswd", "EntryNotFound"),
    (f"{GSM8K}/main%00", None),  # refused before any route sees it
    (f"{GSM8K}/{'a' * 300}", "EntryNotFound"),
    (f"{GSM8K}/%ff", "EntryNotFound"),
    (f"{GSM8K}/{'a/' * 3000}b", "EntryNotFound"),
    ("/api/datasets/openai/gsm8k/tree/main/nothing", "EntryNotFound"),
    ("/api/datasets/openai/gsm8k/tree/main/mai", "EntryNotFound"),
    ("/api/datasets/openai/nothing", "RepoNotFound"),
    ("/api/datasets/openai/%2e%2e", "RepoNotFound"),
    ("/api/models/nobody/nothing", "RepoNotFound"),
    ("/api/models/no%0d%0abody/nothing", "RepoNotFound"),
    ("/nobody/nothing/resolve/main/config.json", "RepoNotFound"),
    ("/datasets/%2e%2e/hub/resolve/main/a", "RepoNotFound"),
    (f"/{EMBEDDED}/resolve/main/model.safetensors", "EntryNotFound"),
    (f"/{EMBEDDED}/resolve/main/README.md", "EntryNotFound"),
]
"""A path, and the code that Hugging Face's clients know its absence by."""


def test_what_is_not_there(ask: Ask, data_dir: Path) -> None:
    for path, code in ABSENT:
        for method in ("GET",) if path.startswith("/api") else ("GET", "HEAD"):
            answer = ask(method, path)
            assert (answer.status_code, answer.headers.get("x-error-code")) == (404, code), path
            assert method == "HEAD" or list(answer.json()) == ["detail"], path


def test_a_registered_model_shows_its_tokenizer_and_no_weights(ask: Ask, app: FastAPI, data_dir: Path) -> None:
    registry: Registry = app.state.registry
    registry.add("Qwen/Qwen3-8B", embedded_model())
    names = {entry["rfilename"] for entry in ask("GET", "/api/models/Qwen/Qwen3-8B").json()["siblings"]}
    assert names == {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"}
    served = ask("GET", "/Qwen/Qwen3-8B/resolve/main/tokenizer.json").content
    assert served == (embedded_model() / "tokenizer.json").read_bytes()


def with_endpoint(server: RunningServer, home: Path, code: str) -> str:
    """What a program prints that knows nothing of us but HF_ENDPOINT."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_"))}
    env = {
        **clean,
        "HF_ENDPOINT": server.base_url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


HUB_CLIENT = """
import json
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError
api = HfApi()
missing = []
for call in (
    lambda: hf_hub_download("openai/gsm8k", "nothing", repo_type="dataset"),
    lambda: api.model_info("no/body"),
):
    try:
        call()
    except (EntryNotFoundError, RepositoryNotFoundError) as e:
        missing.append(type(e).__name__)
folder = snapshot_download("openai/gsm8k", repo_type="dataset")
print(json.dumps({
    "readme": open(hf_hub_download("openai/gsm8k", "README.md", repo_type="dataset")).read(),
    "files": sorted(api.list_repo_files("openai/gsm8k", repo_type="dataset")),
    "info": [p.path for p in api.get_paths_info("openai/gsm8k", ["README.md"], repo_type="dataset")],
    "exists": api.file_exists("tunesmith/embedded", "tokenizer.json"),
    "missing": missing,
}))
"""


@pytest.fixture(scope="module")
def hub(server: RunningServer) -> RunningServer:
    put_files(server.data_dir)
    return server


@pytest.mark.thorough
def test_huggingface_hub_reads_it(hub: RunningServer, tmp_path: Path) -> None:
    assert json.loads(with_endpoint(hub, tmp_path, HUB_CLIENT)) == {
        "readme": README,
        "files": ["README.md", "main/train-00000-of-00001.parquet"],
        "info": ["README.md"],
        "exists": True,
        "missing": ["RemoteEntryNotFoundError", "RepositoryNotFoundError"],
    }


@pytest.mark.thorough
def test_transformers_loads_the_tokenizer(hub: RunningServer, tmp_path: Path) -> None:
    code = f"""
from transformers import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained({EMBEDDED!r})
print(tokenizer.encode("27+45", add_special_tokens=False))
"""
    from tokenizers import Tokenizer

    own = Tokenizer.from_file(str(embedded_model() / "tokenizer.json"))
    assert with_endpoint(hub, tmp_path, code) == str(own.encode("27+45", add_special_tokens=False).ids)


@pytest.mark.thorough
def test_datasets_loads_a_named_configuration(hub: RunningServer, tmp_path: Path) -> None:
    code = 'from datasets import load_dataset\nprint(load_dataset("openai/gsm8k", "main", split="train")["answer"])'
    assert with_endpoint(hub, tmp_path, code) in ("['2', '4']", "Column(['2', '4'])")
