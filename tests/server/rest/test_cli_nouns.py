"""The other commands against a real server: datasets, secrets, deployments, login, env, doctor."""

import io
import json
import socket
import stat
from pathlib import Path

import pytest
from server.rest.breaking import Breaking

from tunesmith.cli.login import login_of
from tunesmith.core.errors import Denied


def test_datasets(shell, files, tmp_path):
    done = shell("datasets", "upload", str(files / "rft.jsonl"), "--kind", "rft", "--name", "mine")
    assert done.out == "mine\n"
    assert "next: tunesmith rft create --dataset mine --evaluator last_number --follow" in done.err
    assert shell("datasets", "get", "min", "--json").json["state"] == "READY"
    assert "rows" in shell("datasets", "get", "@latest").out
    assert "mine" in shell("datasets", "list").out
    assert shell("datasets", "check", "mine", "--kind", "rft").out.endswith("0 problems\n")
    assert shell("datasets", "check", "mine", "--kind", "dpo", "--json", code=2).json["num_problems"] > 0
    size = (files / "rft.jsonl").stat().st_size
    fetched = shell("datasets", "download", "mine", "--output", "back.jsonl", "--json").json
    assert fetched == {"file": "back.jsonl", "bytes": size}
    assert Path("back.jsonl").read_bytes() == (files / "rft.jsonl").read_bytes()
    shell("datasets", "upload", str(files / "rft.jsonl"), "--name", "mine", code=5)
    assert "--yes: is missing" in shell("datasets", "delete", "mine", code=2).err
    assert shell("datasets", "delete", "mine", "--yes", "--json").json == {"id": "mine", "deleted": True}
    assert "no dataset is called 'mine'" in shell("datasets", "get", "mine", code=3).err


def test_a_bad_file_is_told_line_by_line(shell, tmp_path):
    (tmp_path / "bad.jsonl").write_text('{"messages": []}\n')
    failed = shell("datasets", "upload", "bad.jsonl", "--kind", "sft", code=2)
    assert "bad.jsonl:1" in failed.err
    shell("datasets", "delete", "bad", "--yes")


def test_an_upload_outlives_its_connection(shell, trainer, tmp_path, monkeypatch):
    """Twice it breaks on the way there; then all arrives and the answer is lost."""
    monkeypatch.setattr("tunesmith.cli.upload.PAUSES_S", (0.1, 0.1, 2.0, 2.0))
    rows = b'{"messages": [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}]}\n' * 20_000
    (tmp_path / "large.jsonl").write_bytes(rows)
    way = Breaking(trainer.base_url, [100_000, 200_000, 10 * len(rows)])
    try:
        done = shell("datasets", "upload", "large.jsonl", "--name", "large", "--url", way.url)
    finally:
        way.close()
    assert done.out == "large\n" and done.err.count("sending it again") == 3
    shell("datasets", "download", "large", "--output", "back.jsonl")
    assert (tmp_path / "back.jsonl").read_bytes() == rows
    shell("datasets", "delete", "large", "--yes")


def test_nobody_there_is_said_at_once(shell, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n')
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    failed = shell("datasets", "upload", "rows.jsonl", "--url", f"http://127.0.0.1:{port}", code=2)
    assert "no server answers" in failed.err and "again" not in failed.err


def test_secrets_are_never_shown(shell, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("hush-hush\n"))
    said = shell("secrets", "set", "JUDGE_KEY")
    assert [one["name"] for one in shell("secrets", "list", "--json").json] == ["JUDGE_KEY"]
    listed = shell("secrets", "list")
    assert "JUDGE_KEY" in listed.out and "hush" not in said.out + said.err + listed.out
    shell("secrets", "delete", "JUDGE_KEY", "--yes")
    shell("secrets", "delete", "JUDGE_KEY", "--yes", code=3)
    monkeypatch.setattr("sys.stdin", io.StringIO("x"))
    shell("secrets", "set", "not a name", code=2)


def test_deployments(shell):
    shell("deployments", "create", "tunesmith/embedded", "live")
    found = shell("deployments", "get", "liv", "--json").json
    assert (found["model"], found["replicas"], found["loaded"]) == ("tunesmith/embedded", 1, [])
    assert found["name"] == "deployments/live"
    chat = ["chat", "deployments/live", "What is 1+1?", "--max-tokens", "4"]
    assert shell(*chat).out
    shell("deployments", "scale", "live", "0")
    assert "scaled to zero" in shell(*chat, code=2).err
    assert "live" in shell("deployments", "list").out
    shell("deployments", "load", "live", "no-such-model", code=3)
    shell("deployments", "unload", "live", "no-such-model", code=3)
    shell("deployments", "create", "tunesmith/embedded", "live", code=5)
    shell("deployments", "delete", "live", "--yes")
    shell("deployments", "get", "live", code=3)


def test_models_and_status(shell):
    assert "tunesmith/embedded" in shell("models", "list").out
    assert "tunesmith/embedded" in shell("models", "list", "--local", "--data-dir", "elsewhere").out
    assert shell("models", "get", "test/tiny", "--json").json["base_model"] is None
    shell("models", "delete", "test/tiny", "--yes", code=4)
    assert "base models" in shell("status").out


def test_a_login_is_kept_for_its_server_alone(shell, trainer, tmp_path):
    shell.monkeypatch.delenv("TUNESMITH_URL")
    shell.monkeypatch.delenv("TUNESMITH_API_KEY")
    assert "tunesmith login http://127.0.0.1:8000" in shell("jobs", "list", code=4).err
    shell("login", trainer.base_url, "--key", "tml-wrong", code=4)
    file = tmp_path / "home" / ".tunesmith" / "login.json"
    assert not file.exists()
    shell.monkeypatch.setattr("sys.stdin", io.StringIO(f"{trainer.key}\n"))
    assert "holds the key" in shell("login", trainer.base_url).err
    file.unlink()
    said = shell("login", trainer.base_url, "--key", trainer.key, "--json")
    assert said.json["url"] == trainer.base_url
    assert trainer.key not in said.out + said.err
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    shell("jobs", "list")
    with pytest.raises(Denied):
        login_of("http://127.0.0.1:9", {})
    assert login_of("http://127.0.0.1:9", {"TUNESMITH_API_KEY": "tml-x"}).key == "tml-x"


@pytest.mark.parametrize(
    ("client", "variable", "value"),
    [
        ("openai", "OPENAI_BASE_URL", "{url}/v1"),
        ("tinker", "TINKER_API_KEY", "{key}"),
        ("fireworks", "FIREWORKS_ACCOUNT_ID", "default"),
        ("fireworks", "FIREWORKS_API_KEY", "fw_{secret}"),
    ],
)
def test_lines_for_clients(shell, trainer, client, variable, value):
    wanted = value.format(url=trainer.base_url, key=trainer.key, secret=trainer.key.removeprefix("tml-"))
    assert f"export {variable}={wanted}" in shell("env", client).out.splitlines()
    assert shell("env", client, "--json").json[variable] == wanted
    assert "Did you mean 'openai'?" in shell("env", "openia", code=2).err


def test_the_doctor_sees_this_machine_and_the_server(shell):
    found = {check["name"]: check["light"] for check in shell("doctor", "--json").json}
    assert found["python"] == found["torch"] == found["server"] == "green"
    shell.monkeypatch.setenv("TUNESMITH_API_KEY", "tml-wrong")
    lines = shell("doctor").out
    assert "amber  server" in lines and json.dumps("tml-wrong") not in lines
