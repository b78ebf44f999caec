"""What a spec refuses: the field, what was given, and the mend; under each of the three limits."""

import re

import pytest

from tunesmith.core.errors import NotFound, UserError
from tunesmith.spec import DpoSpec, RftSpec, SftSpec, build_spec

RFT = {"dataset": "rows.jsonl", "evaluator": "last_number"}
SFT = {"dataset": "chats.jsonl"}
DPO = {"dataset": "pairs.jsonl"}
GIVEN = {"rft": RFT, "sft": SFT, "dpo": DPO}
SHARED = {
    "learning_rate": ([1e-5, 1e-4, 5e-4], [9.9e-6, 5.1e-4], "outside valid range [1e-5, 5e-4]"),
    "epochs": ([1, 10], [11], "outside valid range [1, 10]"),
    "lora_rank": ([0, 4, 8, 16, 32], [1, 12, 64, 128, 256], "must be one of 0, 4, 8, 16, 32"),
}
OF_RFT = {
    "temperature": ([0.1, 0.7, 2.0], [0.09, 2.01], "outside valid range [0.1, 2]"),
    "top_k": ([0, 40, 100], [101], "outside valid range [0, 100]"),
    "max_tokens": ([16, 2048, 16384], [15, 16385], "outside valid range [16, 16384]"),
}
"""Setting -> (allowed, refused by the managed bounds alone, what is said)."""
MANAGED = [(kind, name, *of) for kind in GIVEN for name, of in SHARED.items()]
MANAGED += [("rft", name, *of) for name, of in OF_RFT.items()]

ALWAYS = [
    ("rft", "learning_rate", 0, "greater than 0"),
    ("rft", "learning_rate", -1e-4, "greater than 0"),
    ("rft", "learning_rate", float("nan"), "finite"),
    ("rft", "learning_rate", float("inf"), "finite"),
    ("rft", "epochs", 0, "greater than or equal to 1"),
    ("rft", "epochs", 1.5, "integer"),
    ("rft", "lora_rank", -4, "greater than or equal to 0"),
    ("rft", "learning_rate_warmup_steps", -1, "greater than or equal to 0"),
    ("rft", "learning_rate_schedule", "step", "'constant', 'linear' or 'cosine'"),
    ("rft", "min_lr_ratio", 1.1, "less than or equal to 1"),
    ("rft", "min_lr_ratio", -0.1, "greater than or equal to 0"),
    ("rft", "max_context_length", 8000 + 8, "multiple of 16"),
    ("rft", "max_context_length", 0, "greater than or equal to 16"),
    ("rft", "adam_beta1", 1.0, "less than 1"),
    ("rft", "adam_beta2", -0.1, "greater than or equal to 0"),
    ("rft", "adam_eps", 0, "greater than 0"),
    ("rft", "optimizer_weight_decay", -0.01, "greater than or equal to 0"),
    ("rft", "grad_clip", -1, "greater than or equal to 0"),
    ("rft", "seed", -1, "greater than or equal to 0"),
    ("rft", "seed", 2**31, "less than 2147483648"),
    ("rft", "save_every", 0, "greater than or equal to 1"),
    ("rft", "eval_every", -1, "greater than or equal to 0"),
    ("rft", "limits", "none", "'managed', 'extended' or 'off'"),
    ("rft", "batch_size", 0, "greater than 0"),
    ("rft", "gradient_accumulation_steps", 0, "greater than or equal to 1"),
    ("rft", "chunk_size", -2, "greater than or equal to -1"),
    ("rft", "rl_loss_method", "ppo", "'grpo', 'dapo' or 'gspo-token'"),
    ("rft", "rl_kl_beta", -0.001, "greater than or equal to 0"),
    ("rft", "kl_estimator", "k1", "'k3', 'k2' or 'k3_unbiased'"),
    ("rft", "advantage_clip", 0, "greater than 0"),
    ("rft", "temperature", 0, "greater than 0"),
    ("rft", "temperature_schedule", "cosine", "'constant' or 'linear'"),
    ("rft", "top_p", 0, "greater than 0"),
    ("rft", "top_p", 1.01, "less than or equal to 1"),
    ("rft", "top_k", -1, "greater than or equal to 0"),
    ("rft", "response_candidates_count", 1, "greater than or equal to 2"),
    ("rft", "max_tokens", 0, "greater than or equal to 1"),
    ("rft", "max_concurrent_rollouts", 0, "greater than or equal to 1"),
    ("rft", "max_grader_error_rate", 1.1, "less than or equal to 1"),
    ("rft", "grader_timeout_s", 0, "greater than 0"),
    ("rft", "grader_memory_mb", 63, "greater than or equal to 64"),
    ("rft", "eval_samples", 0, "greater than or equal to 1"),
    ("sft", "batch_size_samples", 0, "greater than or equal to 1"),
    ("dpo", "batch_size_samples", 0, "greater than or equal to 1"),
    ("dpo", "preference_loss", "ipo", "'dpo' or 'orpo'"),
    ("dpo", "dpo_beta", 0, "greater than 0"),
    ("dpo", "dpo_beta", 0.5, "less than 0.5"),
    ("dpo", "orpo_lambda", -1, "greater than or equal to 0"),
]
"""Bounds that follow from the meaning of a setting and hold under any limits."""


def refusal(settings, kind):
    with pytest.raises(UserError) as caught:
        build_spec(settings, kind)
    return caught.value


@pytest.mark.parametrize(("kind", "name", "allowed", "refused", "said"), MANAGED)
def test_managed_bounds(kind, name, allowed, refused, said):
    for value in allowed:
        spec = build_spec({**GIVEN[kind], name: value}, kind)
        assert getattr(spec, name) == value
        assert spec.warnings() == []
    for value in refused:
        error = refusal({**GIVEN[kind], name: value}, kind)
        assert (error.where, error.mend) == (name, f"See: tunesmith {kind} run --help")
        shown = {9.9e-6: "9.9e-6", 5.1e-4: "5.1e-4"}.get(value, f"{value:g}")
        assert error.problem.endswith(f"{said} (got {shown})" if "one of" not in said else f"(got {shown})")


@pytest.mark.parametrize(("kind", "name", "allowed", "refused", "said"), MANAGED)
def test_off_warns_instead_of_refusing(kind, name, allowed, refused, said):
    for value in refused:
        (warning,) = build_spec({**GIVEN[kind], name: value, "limits": "off"}, kind).warnings()
        assert warning.startswith(f"{name}: {said}")
        assert warning.endswith("going on because limits is off")


@pytest.mark.parametrize(("kind", "name", "value", "said"), ALWAYS)
@pytest.mark.parametrize("limits", ["managed", "off"])
def test_bounds_that_always_hold(kind, name, value, said, limits):
    error = refusal({**GIVEN[kind], "limits": limits, name: value}, kind)
    assert error.where == name
    assert said in error.problem
    assert f"(got {value!r})" in error.problem
    assert error.mend == f"See: tunesmith {kind} run --help"


@pytest.mark.parametrize("rank", [64, 128])
def test_large_ranks_are_extended_with_a_word_about_memory(rank):
    spec = build_spec({**RFT, "lora_rank": rank, "limits": "extended"}, "rft")
    assert spec.warnings() == [f"lora_rank: {rank} needs more memory than a managed rank; watch the peak in the plan"]
    assert refusal({**RFT, "lora_rank": rank}, "rft").where == "lora_rank"
    error = refusal({**RFT, "lora_rank": 256, "limits": "extended"}, "rft")
    assert "must be one of 0, 4, 8, 16, 32, 64, 128 (got 256)" in error.problem
    assert refusal({**RFT, "learning_rate": 1e-3, "limits": "extended"}, "rft").where == "learning_rate"


def test_the_words_of_the_learning_rate():
    error = refusal({**RFT, "learning_rate": 1.0}, "rft")
    assert str(error) == "learning_rate: outside valid range [1e-5, 5e-4] (got 1). See: tunesmith rft run --help"


@pytest.mark.parametrize(
    ("method", "shown"),
    [("dapo", "DAPO"), ("DAPO", "DAPO"), ("gspo-token", "GSPO_TOKEN"), ("GSPO_TOKEN", "GSPO_TOKEN")],
)
def test_kl_beta_is_grpos_alone(method, shown):
    error = refusal({**RFT, "rl_loss_method": method, "rl_kl_beta": 0.01}, "rft")
    assert f"loss_config.kl_beta must be 0/unset when method is {shown}" in str(error)
    assert build_spec({**RFT, "rl_loss_method": method, "rl_kl_beta": 0}, "rft").loss().kl_coef == 0


@pytest.mark.parametrize(
    ("written", "method"),
    [("GRPO", "grpo"), ("Dapo", "dapo"), ("gspo_token", "gspo-token"), ("METHOD_GSPO_TOKEN", "gspo-token")],
)
def test_methods_by_any_spelling(written, method):
    assert build_spec({**RFT, "rl_loss_method": written}, "rft").rl_loss_method == method


@pytest.mark.parametrize(
    ("written", "tokens"), [("32k", 32768), ("64K", 65536), ("1k", 1024), (4096, 4096), ("4096", 4096)]
)
def test_counts_of_tokens_in_k(written, tokens):
    for name in ("batch_size", "max_context_length"):
        assert getattr(build_spec({**RFT, name: written}, "rft"), name) == tokens


@pytest.mark.parametrize("written", ["32 k", "k", "3.2k", "32kb", "-32k", "x"])
def test_what_is_no_count_of_tokens(written):
    assert refusal({**RFT, "batch_size": written}, "rft").where == "batch_size"


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("rft", "learning_rat", "Did you mean 'learning_rate'?"),
        ("rft", "temprature", "Did you mean 'temperature'?"),
        ("sft", "epoch", "Did you mean 'epochs'?"),
        ("dpo", "dpo_bata", "Did you mean 'dpo_beta'?"),
        ("sft", "temperature", "it is a setting of rft"),
        ("rft", "batch_size_samples", "it is a setting of sft and dpo"),
        ("rft", "zzzzzz", "See: tunesmith rft run --help"),
    ],
)
def test_an_unknown_setting_names_the_nearest(kind, name, said):
    error = refusal({**GIVEN[kind], name: 1}, kind)
    assert error.where == name
    assert f"{kind} jobs have no such setting" in error.problem
    assert said in str(error)


def test_several_problems_are_counted():
    error = refusal({**RFT, "epochs": 0, "top_p": 0, "temprature": 1}, "rft")
    assert "(2 more)" in error.problem


@pytest.mark.parametrize(("kind", "spec"), [("rft", RftSpec), ("sft", SftSpec), ("dpo", DpoSpec)])
def test_what_must_be_given(kind, spec):
    assert isinstance(build_spec(GIVEN[kind], kind), spec)
    for name in GIVEN[kind]:
        error = refusal({n: v for n, v in GIVEN[kind].items() if n != name}, kind)
        assert (error.where, error.problem) == (name, "Field required")


def test_kinds():
    assert "rft, sft, dpo" in refusal(RFT, None).mend
    error = refusal({**RFT, "kind": "sft"}, "rft")
    assert str(error) == "kind: the spec says 'sft', the command says 'rft'. Run: tunesmith sft run"
    assert re.search(r"unknown 'rff'\. Did you mean 'rft'", str(refusal({**RFT, "kind": "rff"}, None)))
    assert not isinstance(refusal(RFT, None), NotFound)


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature_schedule": "linear"},
        {"temperature_end": 0.3},
        {"temperature_end": 0.3, "temperature_schedule": "constant"},
    ],
)
def test_a_linear_temperature_has_an_end(settings):
    error = refusal({**RFT, **settings}, "rft")
    assert "temperature_end goes with temperature_schedule: linear, and only with it" in str(error)


def test_the_end_of_a_temperature_has_the_bounds_of_its_beginning():
    settings = {**RFT, "temperature_schedule": "linear", "temperature_end": 2.5}
    error = refusal(settings, "rft")
    assert error.where == "temperature_end"
    assert "outside valid range [0.1, 2] (got 2.5)" in error.problem
    assert build_spec({**settings, "limits": "off"}, "rft").warnings() != []


def test_specs_cannot_be_changed():
    spec = build_spec(RFT, "rft")
    with pytest.raises(ValueError, match="frozen"):
        spec.epochs = 3
