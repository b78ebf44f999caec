"""Configurations of other tools: every key is accounted for, and what they mean here is worked out by hand."""

import json

import pytest
import yaml
from typer.testing import CliRunner

from tunesmith.cli.main import build
from tunesmith.core.errors import NotFound, UserError
from tunesmith.services.importing import import_file
from tunesmith.services.importing.importer import SOURCES, steps_of
from tunesmith.spec import build_spec
from tunesmith.spec.load import KINDS

GRPO = {
    "model": "embedded",
    "dataset": "rows.jsonl",
    "lora": {"rank": 16, "alpha": 32, "target_modules": "all-linear"},
    "training": {"learning_rate": 1e-4, "batch_size": 16, "group_size": 8, "num_epochs": 2, "eval_every": 100},
    "sampling": {"temperature": 1.0, "temperature_schedule": "constant", "top_p": 0.95, "max_tokens": 128},
    "kl": {"penalty_coef": 0.001},
    "grpo": {"advantage_clip": 5.0},
    "rewards": [{"name": "last_number", "weight": 0.7}, {"name": "format.py::format", "weight": 0.3}],
}
TRL = {
    "model_name_or_path": "embedded",
    "dataset_name": "trl-lib/sums",
    "learning_rate": 5e-5,
    "per_device_train_batch_size": 16,
    "gradient_accumulation_steps": 4,
    "num_generations": 8,
    "use_peft": True,
    "lora_r": 32,
    "beta": 0.04,
    "loss_type": "grpo",
    "num_train_epochs": 2,
}
FIREWORKS = {
    "reinforcementFineTuningJob": {
        "dataset": "accounts/a/datasets/d",
        "evaluator": "accounts/a/evaluators/e",
        "chunkSize": 100,
        "trainingConfig": {
            "baseModel": "accounts/fireworks/models/qwen3-0p6b",
            "epochs": 2,
            "loraRank": 16,
            "batchSize": 8192,
        },
        "lossConfig": {"method": "DAPO"},
        "inferenceParameters": {"maxOutputTokens": 512, "responseCandidatesCount": 4, "topK": 0},
        "wandbConfig": {"enabled": True, "project": "sums"},
    }
}
OPENAI = {
    "model": "gpt-4.1-nano",
    "training_file": "file-1",
    "method": {
        "type": "dpo",
        "dpo": {"hyperparameters": {"beta": 0.2, "n_epochs": "auto", "batch_size": 8, "learning_rate_multiplier": 2}},
    },
}
COOKBOOK = {
    "model_name": "embedded",
    "learning_rate": 4e-5,
    "max_tokens": 64,
    "log_path": "logs",
    "dataset_builder": {"batch_size": 32, "group_size": 16, "seed": 3, "renderer_name": "qwen3"},
    "kl_penalty_coef": 0.0,
    "loss_fn": "importance_sampling",
}
OURS = {"dataset": "rows.jsonl", "evaluator": ["last_number"], "base_model": "embedded"}


@pytest.fixture
def imported(tmp_path):
    def read(config, name="run.json", own=OURS, **told):
        file = tmp_path / name
        file.write_text(json.dumps(config))
        return import_file(file, own, **told)

    return read


def verdicts(found):
    return {entry.key: entry.outcome.verdict for entry in found.entries if not entry.default}


def test_the_grpo_yaml_becomes_a_whole_job(imported):
    found = imported(GRPO, "run.yaml", own={})
    assert (found.source, found.kind) == ("grpo-yaml", "rft")
    spec = found.spec()
    assert (spec.lora_rank, spec.lora_alpha, spec.learning_rate, spec.epochs) == (16, 32, 1e-4, 2)
    assert (spec.chunk_size, spec.response_candidates_count) == (16, 8)
    assert (spec.temperature, spec.top_p, spec.max_tokens, spec.advantage_clip) == (1.0, 0.95, 128, 5.0)
    assert spec.evaluator == ["last_number=0.7", "format.py::format=0.3"]
    assert set(verdicts(found).values()) == {"kept", "translated"}
    assert found.doubts == []


@pytest.mark.parametrize("section, key, value, said", [
    ("training", "group_size", 4, ""),
    ("grpo", "group_size", 4, "stated twice: training.group_size says 8, grpo.group_size says 4"),
    ("training", "batch_size", 64, "64 prompts per step"),
    ("kl", "penalty_coef", 0.01, "rl_kl_beta 0.01 is 10 times"),
    ("lora", "target_modules", ["q_proj", "v_proj"], "attention alone"),
    ("lora", "alpha", 64, ""),
    ("lora", "alpha", 16, "lora_alpha 16 goes with the rank"),
    ("sampling", "temperature_schedule", "linear", "temperature falls"),
])  # fmt: skip
def test_what_does_not_add_up_is_pointed_out(imported, section, key, value, said):
    sampling = GRPO["sampling"] | {"temperature_end": 0.5}
    config = {**GRPO, "sampling": sampling, section: {**(GRPO | {"sampling": sampling})[section], key: value}}
    doubts = imported(config, "run.yaml", own={}).doubts
    assert [said in doubt for doubt in doubts] == ([True] if said else [])


def test_a_single_reward_is_pointed_out(imported):
    found = imported(GRPO | {"rewards": [{"name": "last_number", "weight": 1}]}, "run.yaml", own={})
    assert [doubt[:15] for doubt in found.doubts] == ["a single reward"]


def test_the_rule_of_the_learning_rate_is_of_the_real_model(imported, tmp_path):
    (tmp_path / "model").mkdir()
    config = {
        "model_type": "llama",
        "hidden_size": 2000,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "vocab_size": 9,
    }
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | {"num_attention_heads": 1}))
    # 5e-5 x 10 x (2000 / 2000)^p = 5e-4, five times 1e-4
    doubts = imported(GRPO, "run.yaml", own={"base_model": str(tmp_path / "model")}).doubts
    assert len(doubts) == 1 and "learning_rate 0.0001 is 0.2 times the 0.0005" in doubts[0]


def test_a_reward_that_is_no_grader_here_is_refused_with_the_mend(imported):
    found = imported(GRPO | {"rewards": [{"name": "politeness", "weight": 1}]}, "run.yaml", own={})
    assert verdicts(found)["rewards"] == "refused"
    with pytest.raises(UserError, match="evaluator"):
        found.spec()


@pytest.mark.parametrize(
    "rewards", [{"format": 0.2, "last_number": 0.8}, {"format": {"weight": 0.2}, "last_number": {"weight": 0.8}}]
)
def test_a_mapping_of_rewards_is_one_weighted_sum(imported, rewards):
    found = imported(GRPO | {"rewards": rewards}, "run.yaml", own={})
    assert found.settings["evaluator"] == ["format=0.2", "last_number=0.8"]
    assert not any("stated twice" in doubt or "single reward" in doubt for doubt in found.doubts)
    found = imported(GRPO | {"rewards": {"format": 0.2, "politeness": 0.8}}, "run.yaml", own={})
    assert "evaluator" not in found.settings
    assert {verdicts(found)[f"rewards.{name}"] for name in ("format", "politeness")} == {"refused"}


def test_what_is_given_here_wins_and_the_report_says_so(imported):
    found = imported(GRPO | {"model": "there"}, "run.yaml", own={"base_model": "here"})
    assert (found.settings["base_model"], verdicts(found)["model"]) == ("here", "different")
    assert any("wins: --base-model here" in entry.outcome.note for entry in found.entries)


def test_trl_s_batches_are_prompts_here_and_its_defaults_are_told(imported):
    found = imported(TRL)
    spec = found.spec()
    # 16 x 4 completions are 64 / 8 = 8 prompts
    assert (found.source, spec.chunk_size, spec.response_candidates_count) == ("trl", 8, 8)
    assert (spec.lora_rank, spec.lora_alpha, spec.rl_kl_beta, spec.length_norm) == (32, 32, 0.04, True)
    # what the file does not say is TRL's default, not ours
    assert (spec.temperature, spec.top_k, spec.max_tokens, spec.adam_beta2, spec.seed) == (1.0, 0, 512, 0.999, 42)
    assert {entry.key for entry in found.entries if entry.default} >= {"temperature", "top_k", "adam_beta2"}
    assert verdicts(found)["dataset_name"] == "different"


@pytest.mark.parametrize(("changes", "settings"), [
    ({"epsilon_high": 0.28, "beta": 0.0}, {"rl_loss_method": "dapo", "rl_kl_beta": 0.0}),
    ({"importance_sampling_level": "sequence", "beta": 0.0}, {"rl_loss_method": "gspo-token"}),
    ({"loss_type": "dapo"}, {"length_norm": False}),
    ({"use_peft": False}, {"lora_rank": 0}),
    ({"lr_scheduler_type": "constant_with_warmup"}, {"learning_rate_schedule": "constant"}),
    ({"warmup_steps": 5}, {"learning_rate_warmup_steps": 5}),
])  # fmt: skip
def test_trl_s_methods_by_our_names(imported, changes, settings):
    spec = imported(TRL | changes).spec()
    assert {name: getattr(spec, name) for name in settings} == settings


@pytest.mark.parametrize(
    "changes",
    [
        {"epsilon": 0.3},
        {"loss_type": "dr_grpo"},
        {"scale_rewards": False},
        {"num_iterations": 2},
        {"load_in_4bit": True},
    ],
    ids=str,
)
def test_what_has_no_like_here_is_refused_by_name(imported, changes):
    [key] = changes
    assert verdicts(imported(TRL | changes))[key] == "refused"


def test_trl_sft_and_dpo(imported):
    config = {"model_name_or_path": "m", "packing": True, "assistant_only_loss": True, "gradient_accumulation_steps": 2}
    sft = imported(config, own={"dataset": "rows.jsonl"})
    assert (sft.kind, sft.spec().batch_size_samples, sft.spec().learning_rate) == ("sft", 16, 2e-5)
    dpo = imported({"model_name_or_path": "m", "beta": 0.2, "learning_rate": 1e-5}, own={"dataset": "rows.jsonl"})
    assert (dpo.kind, dpo.spec().dpo_beta, dpo.spec().batch_size_samples) == ("dpo", 0.2, 8)


def test_fireworks_jobs_with_and_without_their_wrapper(imported):
    inner = FIREWORKS["reinforcementFineTuningJob"]
    specs = [imported(config).spec() for config in (FIREWORKS, inner)]
    assert specs[0] == specs[1]
    assert (specs[0].rl_loss_method, specs[0].chunk_size, specs[0].max_tokens) == ("dapo", 100, 512)
    assert (specs[0].batch_size, specs[0].top_k, specs[0].lora_rank) == (8192, 0, 16)
    assert (specs[0].report_to, specs[0].tracker_project) == (["wandb"], "sums")
    supervised = imported(
        {"baseModel": "m", "dataset": "d", "epochs": 3, "batchSizeSamples": 16}, own={"dataset": "r.jsonl"}
    )
    assert (supervised.kind, supervised.spec().batch_size_samples) == ("sft", 16)


def test_openai_s_multiplier_is_of_our_default(imported):
    found = imported(OPENAI, own={"dataset": "rows.jsonl"})
    assert (found.source, found.kind, found.spec().learning_rate) == ("openai", "dpo", 2e-5)
    assert (found.spec().dpo_beta, found.spec().batch_size_samples, found.spec().epochs) == (0.2, 8, 1)
    assert verdicts(found)["training_file"] == "refused"


def test_a_multiplied_rate_has_no_digits_of_rounding(imported):
    hyper = {"learning_rate_multiplier": 1.5}  # 1.5 x 1e-4 is 0.00015000000000000001 in a float
    job = {"training_file": "f", "method": {"type": "reinforcement", "reinforcement": {"hyperparameters": hyper}}}
    assert str(imported(job).settings["learning_rate"]) == "0.00015"


def test_the_cookbook_s_config(imported):
    spec = imported(COOKBOOK).spec()
    assert (spec.chunk_size, spec.response_candidates_count, spec.lora_rank, spec.seed) == (32, 16, 32, 3)
    assert verdicts(imported(COOKBOOK))["loss_fn"] == "different"


@pytest.mark.parametrize("config", [GRPO, TRL, FIREWORKS, OPENAI, COOKBOOK], ids=lambda config: next(iter(config)))
def test_every_key_is_accounted_for_and_an_unknown_one_refused(imported, config):
    odd = {**config, "learning_rat": 1.0}
    found = imported(odd)
    assert verdicts(found)["learning_rat"] == "refused"
    assert all(entry.outcome.settings or entry.outcome.note for entry in found.entries if entry.value is not None)


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_rule_sets_settings_that_there_are(name, kind):
    """A rule given nonsense either refuses or sets fields of some spec."""
    fields = {field for spec in KINDS.values() for field in spec.model_fields}
    for key, rule in SOURCES[name].rules(kind).items():
        for value in (None, 1, 0, "grpo", True, []):
            try:
                outcome = rule(value, {})
            except (TypeError, ValueError, KeyError, ArithmeticError):
                continue
            assert set(outcome.settings) <= fields, key


def test_wider_bounds_are_taken_where_the_values_need_them(imported):
    assert imported(GRPO, "run.yaml", own={}).settings["limits"] == "managed"
    wide = GRPO | {"lora": {"rank": 64}}
    assert imported(wide, "run.yaml", own={}).settings["limits"] == "extended"
    wider = GRPO | {"training": {"learning_rate": 1e-3}}
    assert imported(wider, "run.yaml", own={}).settings["limits"] == "off"


def test_steps_evaluations_and_checkpoints():
    spec = build_spec({"kind": "rft", "dataset": "d", "evaluator": "contains", "chunk_size": 8, "epochs": 3,
                       "eval_every": 10, "save_every": 500})  # fmt: skip
    # a tenth is held out; ceil(90 / 8) = 12 steps, 3 times: 36. Evaluated before, after 10, 20 and 30, and at the end
    held_out = {"rows": 90, "held_out": 10, "steps": 36, "evaluations": 5, "checkpoints": 1}
    assert steps_of(spec, 100) == held_out
    # with all 100 rows 13 steps, 3 times
    assert steps_of(spec.model_copy(update={"evaluation_dataset": "e"}), 100) == held_out | {
        "rows": 100,
        "held_out": 0,
        "steps": 39,
    }


def test_files_of_nobody_and_of_no_kind_are_refused(imported, tmp_path):
    with pytest.raises(UserError, match="of no tool known here"):
        imported({"colour": "red"})
    with pytest.raises(UserError, match="Say which: --kind"):
        imported({"model_name_or_path": "m"})
    with pytest.raises(UserError, match="unknown 'axolotl'"):
        imported(TRL, source="axolotl")
    with pytest.raises(UserError, match="unknown 'orpo'"):
        imported(TRL, kind="orpo")
    with pytest.raises(NotFound, match="no such file"):
        import_file(tmp_path / "nowhere.json", {})


def test_a_model_that_only_a_hub_knows_is_pointed_out(imported):
    [doubt] = [d for d in imported(TRL | {"model_name_or_path": "Qwen/Qwen3-8B"}, own={}).doubts if "Qwen" in d]
    assert "no such base model; give --base-model" in doubt
    assert not [d for d in imported(TRL, own={}).doubts if "base_model" in d]


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_a_file_of_another_kind_than_was_said_is_refused(tmp_path, kind):
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(GRPO))
    with pytest.raises(UserError, match=f"is {kind}, but .*run.yaml is the configuration of an RFT run"):
        import_file(tmp_path / "run.yaml", {}, kind=kind)


def test_the_command_writes_a_spec_that_runs_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"prompt": "x"}\n' * 33)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(GRPO | {"rewards": [{"name": "last_number", "weight": 1.0}]}))
    done = CliRunner().invoke(build("import"), ["import", "run.yaml", "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout.splitlines()[-1])
    # 3 of 33 rows are held out; ceil(30 / 16) = 2 steps, twice
    assert (said["rows"], said["held_out"], said["steps"], said["spec"]) == (30, 3, 4, "run-spec.yaml")
    assert "Kept (" in done.stdout and "Look at" in done.stdout
    spec = build_spec(yaml.safe_load((tmp_path / "run-spec.yaml").read_text()))
    assert spec.chunk_size == 16
    again = CliRunner().invoke(build("import"), ["import", "run.yaml"])
    assert isinstance(again.exception, UserError) and "is there already" in str(again.exception)


def test_the_command_says_what_is_lacking_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps(OPENAI))
    done = CliRunner().invoke(build("import"), ["import", "run.json"])
    assert "is not a whole job yet: no dataset. Give --dataset, and import again" in str(done.exception)
    assert "a file on their server" in done.stdout
    assert not (tmp_path / "run-spec.yaml").exists()
