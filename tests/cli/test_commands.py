"""The command itself: help at once, exit codes, one line of refusal, JSON alone on stdout."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import typer
import yaml
from crash.fingerprint import fingerprint
from crash.tiny_jobs import make_data, make_model, settings
from typer.testing import CliRunner

from tunesmith import __version__
from tunesmith.cli.main import COMMANDS, build, main
from tunesmith.core.errors import Conflict, NotFound, UserError
from tunesmith.services import worker
from tunesmith.services.run_folder import RunFolder
from tunesmith.spec import build_spec

QUICK_S = 0.3


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("cli")
    make_model(root / "model")
    make_data(root / "data")
    return root


@pytest.fixture(autouse=True)
def empty(root):
    yield
    shutil.rmtree(root / "run", ignore_errors=True)


def spec_file(root, kind, **changes):
    file = root / "job.yaml"
    file.write_text(yaml.safe_dump(settings(kind, root, **changes)))
    return str(file)


@pytest.fixture
def shell(monkeypatch, capsys):
    """``main`` in this process, as a shell would start it: (exit code, stdout, stderr)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["tunesmith", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    return run


def call(*arguments):
    """A command in this process; refusals are raised, as ``main`` sees them."""
    result = CliRunner().invoke(build(arguments[0]), list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_help_answers_at_once_and_imports_nothing_heavy():
    """The command that is installed; the quickest of several runs, because the machine may do other things."""
    script = os.path.join(os.path.dirname(sys.executable), "tunesmith")
    took = []
    for _ in range(5):
        began = time.perf_counter()
        done = subprocess.run([script, "--help"], capture_output=True, text=True, check=True)
        took.append(time.perf_counter() - began)
    print(f"tunesmith --help: at best {min(took):.2f} s")
    assert all(f"{name} " in done.stdout for name in COMMANDS)
    assert min(took) < 2 * QUICK_S
    code = (
        "import sys, contextlib, io\nsys.argv = ['tunesmith', '--help']\nfrom tunesmith.cli.main import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n    main()\n"
        "print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "pydantic", "transformers", "fastapi", "numpy", "pyarrow"} & set(loaded)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_each_says_of_itself(name):
    app = typer.main.get_command(build(name))
    assert app.commands[name].help.splitlines()[0] == COMMANDS[name][1]
    assert app.commands.keys() == COMMANDS.keys()
    text = call(name, "--help").output
    assert COMMANDS[name][1].split(",")[0].split(":")[0] in text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example(name):
    command = typer.main.get_command(build(name)).commands[name]
    for leaf in getattr(command, "commands", {name: command}).values():
        assert f"Example: tunesmith {name}" in leaf.help
        assert all(p.help for p in leaf.params if p.name != "help"), leaf.name


@pytest.mark.parametrize("name", [None, *COMMANDS])
def test_no_sentence_of_a_list_of_commands_is_cut(name):
    listed = typer.main.get_command(build(name)).commands
    if name is not None:
        listed = getattr(listed[name], "commands", {})
    text = " ".join(CliRunner().invoke(build(name), [*([name] if name else []), "--help"]).output.split())
    for one, command in listed.items():
        assert f"{one} {' '.join(command.help.partition(chr(10) * 2)[0].split())}" in text


def test_version(shell):
    assert shell("--version") == (0, f"{__version__}\n", "")


@pytest.mark.parametrize("arguments", [["rtf", "run"], ["rft", "runn"], ["sample"], ["sft", "run", "--nothing"]])
def test_what_is_no_command(shell, arguments):
    code, out, err = shell(*arguments)
    assert (code, out) == (2, "")
    assert "Error" in err


@pytest.mark.parametrize(
    "line",
    [
        "evaluator test last_number --dataset rows.jsonl --rows 0",
        "dataset preview rows.jsonl --kind rft --rows -1",
        "rehearse job.yaml --seconds 0",
        "regrade run --evaluator last_number --steps 0",
        "demo --seed -1",
    ],
)
def test_a_number_that_makes_no_sense(shell, line):
    code, out, err = shell(*line.split())
    assert (code, out) == (2, "")
    assert f"Invalid value for '{line.split()[-2]}'" in err


def test_a_demo_leaves_a_run_that_is_there_alone(root, shell):
    (root / "run").mkdir()
    (root / "run" / "state.json").write_text("{}")
    code, _, err = shell("demo", "--output-dir", str(root / "run"))
    assert code == 5 and "holds a run already" in err
    assert [file.name for file in (root / "run").iterdir()] == ["state.json"]


@pytest.mark.parametrize("command", ["keys list", "keys revoke key-1", "dashboard"])
def test_what_is_asked_of_a_server_that_was_never_there(shell, tmp_path, command):
    code, _, err = shell(*command.split(), "--data-dir", str(tmp_path / "typo"))
    assert code == 3 and "typo: no server keeps its data here. Give the --data-dir" in err
    assert not (tmp_path / "typo").exists()


@pytest.mark.parametrize(
    ("kind", "changes", "wanted", "says"),
    [
        ("rft", {"epochs": 0}, 2, "error: epochs: Input should be greater than or equal to 1 (got 0)"),
        ("rft", {"dataset": "nowhere.jsonl"}, 3, "error: nowhere.jsonl: no such dataset file"),
    ],
)
def test_refused_input(root, shell, kind, changes, wanted, says):
    before = sorted(root.rglob("*"))
    file = spec_file(root, kind, **changes)
    code, out, err = shell(kind, "run", "--spec", file)
    assert (code, out) == (wanted, "")
    assert err.startswith(says)
    assert set(root.rglob("*")) - set(before) <= {root / "job.yaml"}


def test_a_job_that_stops_itself_has_exit_code_1_and_says_why(root, shell):
    grader = root / "bad_grader.py"
    grader.write_text("def grade(completion, row):\n    return row['missing']\n")
    file = spec_file(root, "rft", evaluator=f"{grader}::grade", eval_auto_carveout=False)
    code, out, err = shell("rft", "run", "--spec", file, "--json")
    assert (code, out) == (1, "")
    assert "100% of this step's gradings failed" in err
    assert "KeyError: 'missing'" in err
    assert "tunesmith.services" not in err  # none of our own frames
    assert RunFolder.open(root / "run").state().state == "FAILED"


def test_stdout_is_the_card_alone(root, shell):
    code, out, err = shell("dpo", "run", "--spec", spec_file(root, "dpo"), "--json")
    assert code == 0
    (line,) = out.splitlines()
    assert json.loads(line) == RunFolder.open(root / "run").card()
    assert "step" in err


@pytest.mark.thorough
def test_ctrl_c_during_a_run(root):
    """Exit code 130, how to resume, and the same bits as a run that nobody stopped."""
    file = spec_file(root, "rft", epochs=8)
    expected = fingerprint(worker.start(build_spec(settings("rft", root, epochs=8))).path)
    shutil.rmtree(root / "run")
    command = [sys.executable, "-m", "tunesmith.cli.main", "rft", "run", "--spec", file]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    metrics, deadline = root / "run" / "metrics.jsonl", time.monotonic() + 120
    while not (metrics.exists() and metrics.read_text().count("\n") >= 3) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "")
    assert f"Go on with: tunesmith resume {root / 'run'}" in err
    assert "Traceback" not in err
    run = RunFolder.open(root / "run")
    assert run.state().state == "PAUSED"
    assert 1 < run.state().step < 24
    assert json.loads(call("resume", str(root / "run"), "--json").stdout.splitlines()[-1])["state"] == "COMPLETED"
    assert fingerprint(run.path) == expected


def test_runs_by_their_names(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        worker.start(build_spec(settings("sft", root, output_dir=f"runs/{name}")))
    assert call("report", "@latest").stdout.strip() == "runs/two/report.html"
    assert call("report", "on").stdout.strip() == "runs/one/report.html"
    assert call("report", "runs/one").stdout.strip() == "runs/one/report.html"
    with pytest.raises(NotFound, match="The latest: two, one"):
        call("report", "three")
    with pytest.raises(Conflict, match="there is nothing to resume"):
        call("resume", "two")
    assert "The settings agree" in call("compare", "one", "two").stdout


def test_sampling_is_repeatable(root):
    worker.start(build_spec(settings("sft", root)))

    def say(*more):
        flags = ["--max-tokens", "8", "--temperature", "1.2", "--json", *more]
        return json.loads(call("sample", str(root / "run"), "ab:", *flags).stdout)

    assert say() == say()
    assert say("--seed", "1")["tokens"] != say()["tokens"]
    assert say("--temperature", "0") == say("--temperature", "0", "--seed", "9")
    assert say("--max-tokens", "1")["stop"] in ("stop", "length")


def test_a_chat_that_fills_the_context_ends_with_a_word(root, monkeypatch):
    worker.start(build_spec(settings("sft", root)))
    result = CliRunner().invoke(build("sample"), ["sample", str(root / "run"), "--max-tokens", "30"], input="abc\n" * 9)
    assert result.exit_code == 0
    assert "fills the model's context of 64 tokens" in result.stderr


def test_evaluation(root):
    worker.start(build_spec(settings("rft", root)))
    found = json.loads(call("eval", str(root / "run"), "--n", "3", "--json").stdout)
    assert (found["rows"], found["samples"]) == (12, 3)
    assert found == {
        **json.loads(call("eval", str(root / "run"), "--n", "3", "--json").stdout),
        "seconds": found["seconds"],
    }
    with pytest.raises(UserError, match="Give --evaluator"):
        call("eval", str(root / "model"), "--dataset", str(root / "data" / "rft.jsonl"))
    assert "95% interval" in call("eval", str(root / "run")).stdout


def test_a_plan_writes_nothing(root):
    found = json.loads(call("plan", spec_file(root, "dpo"), "--json").stdout)
    assert found["steps"] == 3
    assert not (root / "run").exists()
    text = call("plan", spec_file(root, "dpo")).stdout
    assert all(name in text for name in ("steps", "tokens", "peak memory", "time"))


def test_a_grader_on_recorded_answers(root):
    found = json.loads(
        call("evaluator", "test", "exact_match", "--dataset", str(root / "data" / "rft.jsonl"), "--json").stdout
    )
    assert (found["rows"], found["reward_mean"], found["groups_with_signal"]) == (10, 1.0, None)
    assert (
        "mean reward" in call("evaluator", "test", "exact_match", "--dataset", str(root / "data" / "rft.jsonl")).stdout
    )


def test_a_dataset_is_checked_and_shown(root):
    result = call("dataset", "check", str(root / "data" / "dpo.jsonl"), "--kind", "dpo")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "12 rows, 12 usable, 0 problems")
    assert call("dataset", "check", str(root / "data" / "sft.jsonl"), "--kind", "dpo").exit_code == 2
    for kind in ("rft", "sft", "dpo"):
        file = str(root / "data" / f"{kind}.jsonl")
        shown = call(
            "dataset", "preview", file, "--kind", kind, "--base-model", str(root / "model"), "--rows", "2"
        ).stdout
        assert shown.count("── line 1") == (2 if kind == "dpo" else 1)
        assert "── line 3" not in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["first", "--finding", "no_signal"], "--finding: says something only with --apply"),
        (["first", "--output-dir", "there"], "--output-dir: says something only with --apply"),
        (["first", "--labels", "3"], "--labels: says something only with --task"),
        (["first", "--task", "--labels", "3"], "advise: answers one question at a time"),
        (["--task", "--labels", "-3"], "greater than or equal to 0"),
        ([], "run: missing"),
    ],
)
def test_advise_refuses_what_nobody_would_read(shell, words, said):
    code, _, told = shell("advise", *words)
    assert (code, said in told) == (2, True), told
