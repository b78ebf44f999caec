"""Published and independently computed vectors of the shared data, through ``evaluate``: values and gradients."""

import json

import pytest

from tunesmith.losses import evaluate

NO_KL = {"kl_coef": 0}
ZERO = [0.0] * 4
KL_ALONE = {"kl_coef": 1.0}
GROUP_STD, MEAN_ONLY = "group_sample_std_eps1e-6", "mean_only(Dr.GRPO)"
NUM_TOKENS = 10


@pytest.fixture
def reference(shared_data):
    """Two groups of two rollouts of up to four tokens: inputs and expected values, computed in float64."""
    path = shared_data.parent / "reference" / "loss_vectors.json"
    if not path.is_file():
        pytest.skip("../shared/reference is not here")
    return json.loads(path.read_text())


@pytest.fixture
def published(shared_data):
    """Vectors from the tests of other projects, by id."""
    rows = json.loads((shared_data / "golden" / "losses" / "loss_vectors.json").read_text())
    return {row["id"]: row for row in rows}


def sequences_of(reference, advantages=GROUP_STD, weights=None):
    inputs = reference["inputs"]
    per_rollout = reference["expected"]["advantages"].get(advantages, ZERO)
    return [
        {
            "logprobs": inputs["new"][i],
            "old_logprobs": inputs["old"][i],
            "ref_logprobs": inputs["ref"][i],
            "advantages": [per_rollout[i]] * 4,
            "weights": (weights or inputs["mask"])[i],
        }
        for i in range(4)
    ]


@pytest.mark.parametrize(
    ("vector", "method", "settings", "divisor"),
    [
        ("grpo_tokenmean_eps0.2_nokl", "grpo", NO_KL, 1),
        ("grpo_tokenmean_eps0.2_k3beta0.001", "grpo", {}, 1),
        ("grpo_tokenmean_eps0.2_k3xratio_beta0.001", "grpo", {"kl_estimator": "k3_unbiased"}, 1),
        ("grpo_paper_seqmean_eps0.2_nokl", "grpo", {**NO_KL, "length_norm": True}, 1),
        ("ppo_dualclip_c3_tokenmean", "grpo", NO_KL, 1),  # no ratio reaches 3 here, so the second clip is idle
        ("dapo_tokenmean_0.2_0.28", "dapo", {}, 1),
        ("gspo_3e-4_4e-4", "gspo-token", {}, 1),
        ("gspo_token_3e-4_4e-4_seqmean", "gspo-token", {}, 1),
        ("gspo_token_clip0.5_seqmean", "gspo-token", {"clip_low": 0.5, "clip_high": 0.5}, 1),
        ("importance_sampling_sum", "importance_sampling", {}, 1),
        ("ppo_sum_0.2", "ppo", {}, 1),
        ("dro_sum_beta0.05", "dro", {}, 1),
        ("cispo_tokenmean_[0.8,1.28]", "cispo", {"clip_high_threshold": 1.28}, NUM_TOKENS),
        ("cispo_tokenmean_max5", "cispo", {"clip_low_threshold": 0, "clip_high_threshold": 5}, NUM_TOKENS),
        ("k2_tokenmean", "grpo", {**KL_ALONE, "kl_estimator": "k2"}, 1),
        ("k3_tokenmean", "grpo", KL_ALONE, 1),
        ("dpo_beta0.1", "dpo", {"beta": 0.1}, 1),
    ],
)
def test_reference_vectors(reference, vector, method, settings, divisor):
    expected = reference["expected"][vector]
    advantages = "none" if vector.startswith("k") else GROUP_STD
    found = evaluate(method, sequences_of(reference, advantages), **settings)
    assert found["loss"] / divisor == pytest.approx(expected["value"], abs=1e-11)
    for gradient, row in zip(found["gradients"], expected["grad"], strict=True):
        assert [g / divisor for g in gradient] == pytest.approx(row, abs=1e-12)


def test_advantages_without_deviation_over_a_constant_length(reference):
    # Dr.GRPO: tokens / (4 rollouts x 4 tokens) is the clipped sum over 16
    expected = reference["expected"]["dr_grpo_maxlen4"]
    found = evaluate("ppo", sequences_of(reference, MEAN_ONLY))
    assert found["loss"] / 16 == pytest.approx(expected["value"], abs=1e-11)
    assert [[g / 16 for g in row] for row in found["gradients"]] == [
        pytest.approx(row, abs=1e-12) for row in expected["grad"]
    ]


def test_importance_weights_of_a_mismatched_sampler_are_token_weights(reference):
    expected = reference["expected"]["dapo_tis_token_cap2"]
    weights = reference["expected"]["tis_token_cap2_weights"]
    found = evaluate("dapo", sequences_of(reference, weights=weights))
    assert found["loss"] == pytest.approx(expected["value"], abs=1e-11)
    assert found["gradients"] == [pytest.approx(row, abs=1e-12) for row in expected["grad"]]


def test_dpo_margins_and_start(reference):
    rows = sequences_of(reference)
    expected = reference["expected"]
    margins = [evaluate("dpo", rows[i : i + 2])["metrics"]["preference/margin"] for i in (0, 2)]
    assert margins == pytest.approx(expected["dpo_margins"])
    start = [{**row, "ref_logprobs": row["logprobs"]} for row in rows]
    assert evaluate("dpo", start)["loss"] == pytest.approx(expected["dpo_at_init"], abs=1e-15)


COLUMN_OF = {"target_logprobs": "logprobs", "sampling_logprobs": "old_logprobs", "loss_mask": "weights"}


def rows_of(inputs):
    """The inputs of a published vector, which hold one sequence or a list of them, as evaluate takes them."""
    columns = {COLUMN_OF.get(name, name if name != "mask" else "weights"): v for name, v in inputs.items()}
    if not isinstance(columns["logprobs"][0], list):
        return [columns]
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


@pytest.mark.parametrize(
    ("vector", "method", "settings"),
    [
        ("tinker.cross_entropy.sum", "cross_entropy", {}),
        ("tinker.importance_sampling.sum", "importance_sampling", {}),
        ("tinker.ppo.sum", "ppo", {}),
        ("tinker.cispo.sum", "cispo", {"clip_low_threshold": 0.85, "clip_high_threshold": 1.15}),
        ("grpo.clip.token_mean", "grpo", NO_KL),
        ("cispo.sum", "cispo", {}),
        ("ppo.sum_eps0.2_same_inputs", "ppo", {}),
    ],
)
def test_published_sums_and_means(published, vector, method, settings):
    row = published[vector]
    assert evaluate(method, rows_of(row["inputs"]), **settings)["loss"] == pytest.approx(
        row["expected"], abs=row["abs_tol"]
    )


@pytest.mark.parametrize(
    ("vector", "method", "settings"),
    [
        ("grpo.clip.per_token", "grpo", NO_KL),
        ("tinker.cispo.elementwise_masked", "cispo", {}),
        ("kl.k2", "grpo", {**KL_ALONE, "kl_estimator": "k2"}),
        ("kl.k3", "grpo", KL_ALONE),
    ],
)
def test_published_tokens_one_by_one(published, vector, method, settings):
    row = published[vector]
    (columns,) = rows_of({"advantages": [0.0] * 3, "old_logprobs": row["inputs"].get("logprobs"), **row["inputs"]})
    columns = {name: values for name, values in columns.items() if values is not None}
    tokens = [{name: [values[t]] for name, values in columns.items()} for t in range(3)]
    found = [evaluate(method, [token], **settings)["loss"] if token.get("weights", [1])[0] else 0 for token in tokens]
    assert found == pytest.approx(row["expected"], abs=row["abs_tol"])


def test_published_penalty(published):
    row = published["kl.k3.penalty_token_mean"]
    sequence = {**row["inputs"], "old_logprobs": row["inputs"]["logprobs"], "advantages": [0.0] * 3}
    assert evaluate("grpo", [sequence], kl_beta=row["config"]["beta"])["loss"] == pytest.approx(
        row["expected"], abs=row["abs_tol"]
    )


def test_published_on_policy_and_reinforce(published):
    row = published["grpo.on_policy_ratio_one.token_mean"]
    sequence = {"logprobs": [-1.0] * 3, "old_logprobs": [-1.0] * 3, **row["inputs"]}
    assert evaluate("dapo", [sequence])["loss"] == pytest.approx(row["expected"], abs=row["abs_tol"])
    row = published["reinforce.token_mean"]
    sequence = {"logprobs": row["inputs"]["logprobs"], "weights": row["inputs"]["advantages"]}
    assert evaluate("cross_entropy", [sequence])["loss"] / 3 == pytest.approx(row["expected"], abs=row["abs_tol"])


@pytest.mark.parametrize(
    ("vector", "aggregate"), [("agg.token_mean_masked", "token-mean"), ("agg.seq_mean_token_mean", "sequence-mean")]
)
def test_published_aggregation(published, vector, aggregate):
    # on policy a token's loss is -A
    row = published[vector]
    sequences = [
        {"logprobs": ln, "old_logprobs": ln, "advantages": [-v for v in loss], "weights": mask}
        for loss, mask in zip(row["inputs"]["loss"], row["inputs"]["mask"], strict=True)
        for ln in [[-1.0] * len(loss)]
    ]
    found = evaluate("dapo", sequences, aggregate=aggregate)["loss"]
    assert found == pytest.approx(row["expected"], abs=row["abs_tol"])


def test_published_dpo_pairs(published):
    row = published["dpo.sigmoid.per_pair"]
    inputs = row["inputs"]
    found = []
    for i in range(3):
        pair = [
            {"logprobs": [inputs[f"policy_{side}"][i]], "ref_logprobs": [inputs[f"ref_{side}"][i]]}
            for side in ("chosen", "rejected")
        ]
        found.append(evaluate("dpo", pair)["loss"])
    assert found == pytest.approx(row["expected"], abs=row["abs_tol"])
    assert found[0] == pytest.approx(published["dpo.first_step_ln2"]["expected"], abs=1e-6)


def test_published_sequence_ratios(published):
    # with an open clip the mean ratio of a sequence alone is its s
    row = published["gspo.sequence_ratio"]
    found = [
        evaluate("gspo-token", [sequence], clip_low=1, clip_high=1e9)["metrics"]["policy/ratio_mean"]
        for sequence in rows_of(row["inputs"])
    ]
    assert found == pytest.approx(row["expected"], abs=row["abs_tol"])


def test_published_supervised_losses(published):
    row = published["sft.ce_weighted"]
    sequence = {name: row["inputs"][name] for name in ("logprobs", "weights")}
    found = evaluate("cross_entropy", [sequence])["loss"] / row["inputs"]["denominator"]
    assert found == pytest.approx(row["expected"], abs=row["abs_tol"])
    row = published["nll.token_mean"]
    sequence = {"logprobs": [-nll for nll in row["inputs"]["per_token_nll"]], "weights": row["inputs"]["mask"]}
    assert evaluate("cross_entropy", [sequence])["loss"] / 2 == pytest.approx(row["expected"])
