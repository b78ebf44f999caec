"""The artefact store in a folder and on a real S3 server: what goes there comes back, whole, to an empty machine."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import httpx2
import pytest
from server.warm import WarmServer

from tunesmith.core.errors import JobStopped, UserError
from tunesmith.services.artefacts import Artefacts, open_artefacts
from tunesmith.services.backup import backup, restore
from tunesmith.services.store import file_url

ROW = b'{"messages": [{"role": "user", "content": "1+1="}, {"role": "assistant", "content": "2"}]}\n'
ACCOUNT = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "canary-of-s3", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A bucket on an S3 server of its own; the environment leads there."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("s3") / "log"
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    address = f"http://127.0.0.1:{port}"
    before = dict(os.environ)
    os.environ.update(ACCOUNT, AWS_ENDPOINT_URL=address, AWS_EC2_METADATA_DISABLED="true")
    try:
        for _ in range(300):
            try:
                urlopen(f"{address}/moto-api/", timeout=5).close()
                break
            except (URLError, OSError):
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)
        open_artefacts("s3://artefacts", Path()).files.mkdir("artefacts")
        yield "s3://artefacts/tunesmith"
    finally:
        os.environ.clear()
        os.environ.update(before)
        process.kill()
        process.wait()


@pytest.fixture(params=["folder", "s3"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return (
        str(tmp_path / "elsewhere") if request.param == "folder" else f"{request.getfixturevalue('s3')}-{tmp_path.name}"
    )


def filled(artefacts: Artefacts, key: str) -> Path:
    folder = artefacts.data_dir / key
    (folder / "deeper").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(os.urandom(100_000))
    (folder / "deeper" / "config.json").write_text("{}")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "large").write_text("not kept")
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_folder_comes_back_with_the_same_bytes(address: str, tmp_path: Path) -> None:
    artefacts = open_artefacts(address, tmp_path / "data")
    folder = filled(artefacts, "tuned/one")
    assert artefacts.kept() == set()
    artefacts.put("tuned/one")
    assert artefacts.kept() == {"tuned/one"}
    before = content(folder)
    before.pop("checkpoints/large")
    shutil.rmtree(folder)
    artefacts.fetch("tuned/one")
    assert content(folder) == before
    artefacts.remove("tuned/one")
    assert artefacts.kept() == set() and not artefacts.files.find(artefacts.root)


def test_an_upload_that_was_broken_off_goes_on(address: str, tmp_path: Path) -> None:
    artefacts = open_artefacts(address, tmp_path / "data")
    filled(artefacts, "tuned/one")
    artefacts.put("tuned/one")
    sums = json.loads(artefacts.files.cat_file(f"{artefacts.root}/tuned/one/manifest.json"))["files"]
    artefacts.files.rm_file(f"{artefacts.root}/tuned/one/manifest.json")
    artefacts.files.rm_file(f"{artefacts.root}/tuned/one/deeper/config.json")
    artefacts.files.pipe_file(f"{artefacts.root}/tuned/one/.begun", json.dumps({"files": sums}).encode())
    assert artefacts.kept() == set(), "without its manifest it is not there"
    at = artefacts.files.info(f"{artefacts.root}/tuned/one/model.safetensors")
    artefacts.put("tuned/one")
    now = artefacts.files.info(f"{artefacts.root}/tuned/one/model.safetensors")
    assert artefacts.kept() == {"tuned/one"}
    assert (now.get("mtime"), now.get("LastModified")) == (at.get("mtime"), at.get("LastModified")), "not sent again"


def test_a_file_that_is_not_what_was_stored_is_refused(address: str, tmp_path: Path) -> None:
    artefacts = open_artefacts(address, tmp_path / "data")
    folder = filled(artefacts, "tuned/one")
    artefacts.put("tuned/one")
    artefacts.files.pipe_file(f"{artefacts.root}/tuned/one/model.safetensors", b"x" * 100_000)
    shutil.rmtree(folder)
    with pytest.raises(JobStopped, match="is not what was stored"):
        artefacts.fetch("tuned/one")
    assert not folder.exists() and not list(folder.parent.iterdir())


def test_other_stores_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown kind of store 'ftp'"):
        open_artefacts("ftp://host/x", tmp_path)


@pytest.mark.thorough
def test_a_server_on_an_empty_machine_has_its_models_and_datasets_back(s3: str, tmp_path: Path) -> None:
    """A dataset and a tuned model; the disk is lost; database from its back-up, files from the store."""
    data = tmp_path / "data"
    server = WarmServer(data, "--artefacts", s3).start()
    try:
        headers = {"x-api-key": server.key}
        with httpx2.Client(base_url=server.base_url, headers=headers, timeout=60) as client:
            assert client.put("/api/v1/datasets/sums", params={"kind": "sft"}, content=ROW * 8).status_code == 200
            asked = {"kind": "sft", "dataset": "sums", "epochs": 1, "output_model": "mine", "lora_rank": 4}
            job = client.post("/api/v1/jobs", json={**asked, "base_model": "tunesmith/embedded"}).json()["id"]
            while (state := client.get(f"/api/v1/jobs/{job}").json()["state"]) != "succeeded":
                assert state in ("validating", "queued", "running"), state
                time.sleep(0.5)
            said = {"model": "mine", "prompt": "1+1=", "max_tokens": 8, "temperature": 0}
            first = client.post("/v1/completions", json=said).json()["choices"]
        assert server.stop() == 0
        assert "canary-of-s3" not in server.log()
        backup(file_url(data), tmp_path / "monday.db")
        shutil.rmtree(data)
        restore(file_url(data), tmp_path / "monday.db")
        server.start()
        with httpx2.Client(base_url=server.base_url, headers=headers, timeout=60) as client:
            assert client.get("/api/v1/datasets/sums/content").content == ROW * 8
            assert client.post("/v1/completions", json=said).json()["choices"] == first
            assert client.get(f"/api/v1/jobs/{job}/card").status_code == 200
            assert client.delete("/api/v1/datasets/sums").status_code in (200, 204)
        assert server.stop() == 0
        kept = open_artefacts(s3, data).kept()
        assert any(key.startswith("tuned/") for key in kept) and not any(key.startswith("datasets/") for key in kept)
    finally:
        server.kill()


@pytest.mark.thorough
def test_a_store_that_is_away_holds_up_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**ACCOUNT, "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}.items():
        monkeypatch.setenv(name, value)
    server = WarmServer(tmp_path / "data", "--artefacts", "s3://nowhere/x").start()
    try:
        headers = {"x-api-key": server.key}
        with httpx2.Client(base_url=server.base_url, headers=headers, timeout=60) as client:
            assert client.put("/api/v1/datasets/sums", params={"kind": "sft"}, content=ROW * 8).status_code == 200
        assert server.stop() == 0
        assert "the artefact store does not answer" in server.log()
    finally:
        server.kill()
