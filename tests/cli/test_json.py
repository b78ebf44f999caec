"""Every command can say its result as JSON: the tree of commands is walked, and those without a server are run."""

import json
import sys

import pytest
from docs.typed import command, leaves

from tunesmith.cli.main import COMMANDS, main
from tunesmith.services.names import embedded_model

WITHOUT = {"serve": "runs until it is stopped; `tunesmith status --json` tells of it"}
"""Command -> why it has no result to print."""
LEAVES = [" ".join(path) for name in COMMANDS for path in leaves(name)]


@pytest.mark.parametrize("path", LEAVES)
def test_every_command_has_the_flag(path):
    flags = {opt for parameter in command(path.split()).params for opt in parameter.opts}
    assert ("--json" in flags) != (path in WITHOUT), WITHOUT.get(path, f"{path} lacks --json")


@pytest.fixture
def said(monkeypatch, capsys, tmp_path):
    """The JSON of a command that has to end with 0, which prints nothing else to stdout."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TUNESMITH_DATA_DIR", str(tmp_path / "data"))

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["tunesmith", *words, "--json"])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert not ended.value.code, err
        assert out.count("\n") == 1
        return json.loads(out)

    return run


@pytest.mark.thorough
def test_commands_of_a_data_directory(said, tmp_path):
    assert said("models", "add", "my/own", str(embedded_model()))["name"] == "my/own"
    assert [model["name"] for model in said("models", "list", "--local")] == ["tunesmith/embedded", "my/own"]
    assert said("models", "remove", "my/own") == {"name": "my/own", "removed": True}
    made = said("keys", "create", "--name", "laptop")
    assert said("keys", "revoke", made["id"])["revoked_at"]
    assert [key["id"] for key in said("keys", "list")] == [made["id"]]
    found = said("db", "current")
    assert found["revision"] == found["wanted"]
    assert said("db", "upgrade") == {"before": found["wanted"], "revision": found["wanted"]}
    rows = said("db", "backup", "kept.db")["rows"]
    assert said("db", "restore", "kept.db", "--data-dir", "other")["rows"] == rows > 0
    assert said("dashboard")["url"].startswith("http://127.0.0.1:8000/")


def test_what_would_be_run_and_what_a_model_reads(said, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"messages": [{"role": "user", "content": "1+1?"}], "answer": "2"}\n')
    words = ["--dataset", "rows.jsonl", "--evaluator", "last_number", "--goal", "safer", "--dry-run"]
    plan = said("rft", "run", *words)
    assert plan["origins"]["dataset"] == "flag" and "goal" in plan["origins"].values()
    assert plan["spec"]["evaluator"] == ["last_number"]
    [row] = said("dataset", "preview", "rows.jsonl", "--kind", "rft")["items"]
    assert "1+1?" in "".join(part["text"] for part in row["parts"])
