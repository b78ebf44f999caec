"""Every setting is a flag, its help is its documentation, and what it is given reaches the spec."""

import re

import pytest
import typer
from typer.testing import CliRunner

from tunesmith.cli.main import build
from tunesmith.core.described import descriptions
from tunesmith.core.errors import NotFound, UserError
from tunesmith.spec import DpoSpec, RftSpec, SftSpec
from tunesmith.spec.bounds import MANAGED

SPECS = {"rft": RftSpec, "sft": SftSpec, "dpo": DpoSpec}
NEEDED = {
    "rft": {"dataset": "rows.jsonl", "evaluator": "last_number"},
    "sft": {"dataset": "rows.jsonl"},
    "dpo": {"dataset": "rows.jsonl"},
}
VALUES = {
    "base_model": "./model",
    "dataset": "other.jsonl",
    "warm_start_from": "runs/a",
    "evaluation_dataset": "held.jsonl",
    "eval_auto_carveout": False,
    "eval_every": 3,
    "early_stop_patience": 2,
    "stop_on_findings": True,
    "save_every": 2,
    "keep_checkpoints": 5,
    "output_dir": "runs/b",
    "seed": 7,
    "limits": "off",
    "skip_bad_rows": True,
    "learning_rate": 3e-5,
    "learning_rate_warmup_steps": 5,
    "learning_rate_schedule": "cosine",
    "min_lr_ratio": 0.1,
    "epochs": 3,
    "lora_alpha": 16.0,
    "lora_rank": 16,
    "lora_head": True,
    "max_context_length": 4096,
    "adam_beta1": 0.8,
    "adam_beta2": 0.9,
    "adam_eps": 1e-8,
    "optimizer_weight_decay": 0.1,
    "grad_clip": 0.5,
    "batch_size": 65536,
    "gradient_accumulation_steps": 2,
    "chunk_size": -1,
    "rl_loss_method": "dapo",
    "rl_kl_beta": 0.01,
    "kl_estimator": "k2",
    "length_norm": True,
    "advantage_clip": 2.5,
    "temperature": 1.1,
    "temperature_schedule": "linear",
    "temperature_end": 0.4,
    "top_p": 0.9,
    "top_k": 0,
    "response_candidates_count": 4,
    "max_tokens": 512,
    "max_concurrent_rollouts": 12,
    "max_grader_error_rate": 0.5,
    "grader_timeout_s": 2.5,
    "grader_memory_mb": 512,
    "grader_network": True,
    "eval_samples": 1,
    "batch_size_samples": 9,
    "preference_loss": "orpo",
    "dpo_beta": 0.2,
    "orpo_lambda": 0.3,
    "report_to": "wandb,otel",
    "rollout_timeout_s": 30.0,
    "tracker_project": "sums",
    "tracker_entity": "us",
    "tracker_run": "first",
}
"""A value for every flag, none of them a default."""
SHOWN = {"report_to": "['wandb', 'otel']"}
"""What is shown of values that are given as text."""
TOGETHER = {
    "temperature_schedule": {"temperature_end": 0.4},
    "temperature_end": {"temperature_schedule": "linear"},
    "early_stop_patience": {"eval_every": 3},
}
CASES = [
    (kind, name) for kind, spec in SPECS.items() for name in spec.model_fields if name not in ("kind", "evaluator")
]
LINE = re.compile(r"(\w+) +(.*?) +(flag|file|goal|default)")


def dry_run(kind, *arguments):
    """{setting: (value as text, origin)} of --dry-run."""
    result = CliRunner().invoke(build(kind), [kind, "run", *arguments, "--dry-run"])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    found = [LINE.fullmatch(line.rstrip()) for line in result.stdout.splitlines()]
    assert all(found)
    return {m[1]: (m[2], m[3]) for m in found}


def flags(settings):
    out = []
    for name, value in settings.items():
        flag = name.replace("_", "-")
        out += [f"--{flag}" if value else f"--no-{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
    return out


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_every_setting_has_a_flag_that_reaches_the_spec(kind, name):
    default = SPECS[kind].model_fields[name].default
    assert VALUES[name] != default
    found = dry_run(kind, *flags({**NEEDED[kind], **TOGETHER.get(name, {}), name: VALUES[name]}))
    assert found[name] == (SHOWN.get(name, str(VALUES[name])), "flag")
    given = {*NEEDED[kind], *TOGETHER.get(name, {}), name}
    assert {n for n, (_, origin) in found.items() if origin == "flag"} == given
    assert found.keys() == SPECS[kind].model_fields.keys()


def test_no_value_is_left_over():
    assert VALUES.keys() == {name for _, name in CASES}


def test_what_a_goal_sets_says_so_and_flags_win_over_it():
    found = dry_run("rft", *flags(NEEDED["rft"]), "--goal", "safer", "--top-k", "7")
    assert {n for n, (_, origin) in found.items() if origin == "goal"} == {"temperature", "top_p"}
    assert found["top_k"] == ("7", "flag")


def test_graders_may_be_repeated():
    found = dry_run("rft", "--dataset", "x", "--evaluator", "last_number=0.7", "--evaluator", "repetition=-0.3")
    assert found["evaluator"] == ("['last_number=0.7', 'repetition=-0.3']", "flag")


def test_the_short_name_of_candidates():
    found = dry_run("rft", *flags(NEEDED["rft"]), "--n", "16")
    assert found["response_candidates_count"] == ("16", "flag")


@pytest.mark.parametrize(("written", "value"), [("64k", "65536"), ("2K", "2048"), ("1000", "1000")])
def test_counts_in_k(written, value):
    assert dry_run("rft", *flags(NEEDED["rft"]), "--batch-size", written)["batch_size"] == (value, "flag")


@pytest.mark.parametrize("method", ["GRPO", "gspo_token", "METHOD_DAPO"])
def test_methods_by_any_spelling(method):
    found = dry_run("rft", *flags(NEEDED["rft"]), "--rl-loss-method", method)["rl_loss_method"]
    assert found[0] in ("grpo", "dapo", "gspo-token")


def test_flags_win_over_the_file(tmp_path):
    (tmp_path / "job.yaml").write_text("kind: sft\ndataset: file.jsonl\nepochs: 2\nlora_head: true\nseed: 5\n")
    found = dry_run("sft", "--spec", str(tmp_path / "job.yaml"), "--epochs", "3", "--no-lora-head")
    assert found["epochs"] == ("3", "flag")
    assert found["lora_head"] == ("False", "flag")
    assert found["dataset"] == ("file.jsonl", "file")
    assert found["seed"] == ("5", "file")
    assert found["lora_rank"] == ("8", "default")


def test_a_list_of_the_file_is_replaced_and_not_extended(tmp_path):
    (tmp_path / "job.toml").write_text('dataset = "x"\nevaluator = ["last_number=0.7", "repetition=-0.3"]\n')
    file = str(tmp_path / "job.toml")
    assert dry_run("rft", "--spec", file)["evaluator"] == ("['last_number=0.7', 'repetition=-0.3']", "file")
    assert dry_run("rft", "--spec", file, "--evaluator", "math")["evaluator"] == ("['math']", "flag")


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (["--epochs", "many"], UserError, "epochs: Input should be a valid integer"),
        (["--epochs", "0"], UserError, "(got '0')"),
        (["--learning-rate", "1"], UserError, "outside valid range [1e-5, 5e-4] (got 1)"),
        (["--learning-rate", "nan"], UserError, "finite number"),
        (["--limits", "none"], UserError, "'managed', 'extended' or 'off'"),
        (["--spec", "nowhere.yaml"], NotFound, "no such spec file"),
    ],
)
def test_refusals_of_flags(arguments, error, says):
    with pytest.raises(error) as caught:
        dry_run("sft", "--dataset", "x", *arguments)
    assert says in str(caught.value)


def test_a_file_of_another_kind(tmp_path):
    (tmp_path / "job.yaml").write_text("kind: dpo\ndataset: x\n")
    with pytest.raises(UserError, match=r"the spec says 'dpo', the command says 'sft'\. Run: tunesmith dpo run"):
        dry_run("sft", "--spec", str(tmp_path / "job.yaml"))


@pytest.mark.parametrize("kind", SPECS)
def test_the_help_of_a_flag_is_the_documentation_of_its_setting(kind):
    command = typer.main.get_command(build(kind)).commands[kind].commands["run"]
    options = {p.name: p for p in command.params}
    own = {"spec", "goal", "dry_run", "json"}
    assert options.keys() - own - {"help"} == SPECS[kind].model_fields.keys() - {"kind"}
    for name, field in SPECS[kind].model_fields.items():
        if name == "kind":
            continue
        text = options[name].help
        assert text.startswith(descriptions(SPECS[kind])[name])
        if field.default not in (None, []) and not field.is_required():
            assert f"default {field.default}" in text
        if name in MANAGED:
            assert f"managed: {MANAGED[name].describe()}" in text
    assert all(options[name].help for name in own)


def test_what_a_flag_takes_is_said_of_those_without_a_default_too():
    shown = {p.name: p for p in typer.main.get_command(build("rft")).commands["rft"].commands["run"].params}
    assert [shown[name].metavar for name in ("early_stop_patience", "advantage_clip", "tracker_run")] == [
        *("N", "NUMBER", "TEXT"),
    ]
    assert "default" not in shown["report_to"].help


def test_a_fork_promises_no_default_where_it_takes_its_parents_value():
    fork = typer.main.get_command(build("fork")).commands["fork"]
    said = {p.name: p.help for p in fork.params}
    assert "[default" not in said["learning_rate"] and "managed: 1e-5 ... 5e-4" in said["learning_rate"]


def test_an_unknown_flag_names_the_nearest():
    result = CliRunner().invoke(build("sft"), ["sft", "run", "--dataset", "x", "--learning-rat", "1e-4"])
    assert result.exit_code == 2
    assert "--learning-rate" in result.output
