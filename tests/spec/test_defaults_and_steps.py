"""Defaults as the table of settings has them, and what a spec derives: steps, temperature, loss, optimizer."""

import pytest

from tunesmith.core.types import AdamParams, SamplingParams
from tunesmith.spec import METHODS, RftSpec, build_spec

RFT = {"dataset": "rows.jsonl", "evaluator": "last_number"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", 1e-4),
        ("learning_rate_warmup_steps", 0),
        ("learning_rate_schedule", "constant"),
        ("epochs", 1),
        ("lora_rank", 8),
        ("batch_size", 32768),
        ("gradient_accumulation_steps", 1),
        ("chunk_size", 0),
        ("rl_loss_method", "grpo"),
        ("rl_kl_beta", 0),
        ("kl_estimator", "k3"),
        ("temperature", 0.7),
        ("temperature_schedule", "constant"),
        ("top_p", 1.0),
        ("top_k", 40),
        ("response_candidates_count", 8),
        ("max_tokens", 2048),
        ("max_context_length", 8192),
        ("adam_beta1", 0.9),
        ("adam_beta2", 0.95),
        ("adam_eps", 1e-12),
        ("optimizer_weight_decay", 0.01),
        ("grad_clip", 1.0),
        ("limits", "managed"),
        ("length_norm", False),
        ("advantage_clip", None),
        ("eval_auto_carveout", True),
        ("base_model", "embedded"),
    ],
)
def test_defaults(name, value):
    assert getattr(build_spec(RFT, "rft"), name) == value


def test_defaults_of_preference_tuning():
    spec = build_spec({"dataset": "pairs.jsonl"}, "dpo")
    assert (spec.dpo_beta, spec.preference_loss, spec.learning_rate) == (0.1, "dpo", 1e-5)


def test_concurrency_is_96_unless_given():
    assert build_spec(RFT, "rft").concurrency() == 96
    assert build_spec({**RFT, "max_concurrent_rollouts": 3}, "rft").concurrency() == 3


@pytest.mark.parametrize(
    ("chunk", "rows", "epochs", "prompts", "steps"),
    [
        (0, 1000, 2, 200, 10),  # ceil(1000 / 200) x 2
        (0, 1001, 1, 200, 6),
        (0, 400, 1, 200, 2),  # 2 x 200 rows are enough for chunks
        (0, 399, 1, 399, 1),  # one fewer are not
        (0, 399, 3, 399, 3),
        (-1, 1000, 2, 1000, 2),  # off
        (64, 1000, 1, 64, 16),
        (64, 128, 5, 64, 10),
        (500, 7, 2, 7, 2),
        (1, 3, 2, 1, 6),
    ],
)
def test_chunks_and_steps(chunk, rows, epochs, prompts, steps):
    spec = build_spec({**RFT, "chunk_size": chunk, "epochs": epochs}, "rft")
    assert spec.prompts_per_chunk(rows) == prompts
    assert spec.num_steps(rows) == steps


def test_a_job_of_one_large_chunk_says_so():
    alone = build_spec({**RFT, "epochs": 2}, "rft")
    assert alone.notes(97) == ["all 97 rows are one chunk, which makes few steps: chunk_size 16 would make 14 of 2"]
    assert alone.notes(32) == alone.notes(400) == []
    assert build_spec({**RFT, "chunk_size": 64}, "rft").notes(97) == []


@pytest.mark.parametrize(("rows", "size", "epochs", "steps"), [(64, 32, 1, 2), (65, 32, 1, 3), (1, 32, 4, 4)])
@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_steps_of_batches(kind, rows, size, epochs, steps):
    spec = build_spec({"dataset": "x", "batch_size_samples": size, "epochs": epochs}, kind)
    assert spec.num_steps(rows) == steps


def test_a_linear_temperature():
    spec = build_spec({**RFT, "temperature": 1.0, "temperature_schedule": "linear", "temperature_end": 0.2}, "rft")
    assert [spec.temperature_at(step, 5) for step in range(1, 6)] == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2])
    assert spec.temperature_at(1, 1) == 1.0
    constant = build_spec(RFT, "rft")
    assert {constant.temperature_at(step, 5) for step in range(1, 6)} == {0.7}


def test_what_the_sampler_is_asked_for():
    spec = build_spec({**RFT, "max_tokens": 64, "top_p": 0.9, "top_k": 7}, "rft")
    assert spec.sampling(0.5, 9) == SamplingParams(64, 0.5, 0.9, 7, (), 9, entropies=True)


def test_what_the_optimizer_is_asked_for():
    given = {"adam_beta1": 0.8, "adam_beta2": 0.99, "adam_eps": 1e-8, "optimizer_weight_decay": 0.1, "grad_clip": 2.0}
    spec = build_spec({**RFT, **given}, "rft")
    assert spec.adam(3e-4) == AdamParams(3e-4, 0.8, 0.99, 1e-8, 0.1, 2.0)
    assert build_spec(RFT, "rft").adam(1e-4) == AdamParams(1e-4)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, METHODS["grpo"]),
        ({"rl_kl_beta": 0.05}, METHODS["grpo"].model_copy(update={"kl_coef": 0.05})),
        ({"rl_loss_method": "dapo"}, METHODS["dapo"]),
        ({"rl_loss_method": "gspo-token"}, METHODS["gspo-token"]),
        ({"length_norm": True}, METHODS["grpo"].model_copy(update={"aggregate": "sequence-mean"})),
        ({"kl_estimator": "k2"}, METHODS["grpo"].model_copy(update={"kl_estimator": "k2"})),
    ],
)
def test_the_loss(settings, expected):
    assert build_spec({**RFT, **settings}, "rft").loss() == expected


def test_the_table_of_methods():
    """2402.03300, 2503.14476 and 2507.18071."""
    rows = {name: (m.ratio, m.clip_low, m.clip_high, m.kl_coef, m.aggregate) for name, m in METHODS.items()}
    assert rows == {
        "grpo": ("token", 0.2, 0.2, 0.001, "token-mean"),
        "dapo": ("token", 0.2, 0.28, 0.0, "token-mean"),
        "gspo-token": ("sequence", 3e-4, 4e-4, 0.0, "sequence-mean"),
    }


def test_every_setting_says_what_it_means():
    schema = RftSpec.model_json_schema()
    assert [name for name, field in schema["properties"].items() if not field.get("description")] == []
