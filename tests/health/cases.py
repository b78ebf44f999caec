"""Histories made for the rules: for each rule at least one that it has to find, with the change it has to propose."""

from tunesmith.health.signal import PASS_RATES
from tunesmith.spec import DpoSpec, RftSpec, SftSpec

RFT = RftSpec(dataset="train.jsonl", evaluator="exact_match").model_dump()
SFT = SftSpec(dataset="train.jsonl", epochs=3).model_dump()
DPO = DpoSpec(dataset="pairs.jsonl").model_dump()


def history(**columns):
    """Columns of numbers -> one dict per step from 1 on; None leaves a metric out of a step. ``__`` stands for /."""
    length = max(map(len, columns.values()))
    lines = [{"step": step} for step in range(1, length + 1)]
    for name, values in columns.items():
        for line, value in zip(lines, values, strict=False):
            if value is not None:
                line[name.replace("__", "/")] = value
    return lines


def pass_rates(steps=3, **shares):
    """Columns of the pass-rate histogram, the same at every step."""
    return {f"rollout__pass_{bar}": [shares.get(bar, 0.0)] * steps for bar in PASS_RATES}


def drift(kl, length, reward=(0.4,) * 3):
    return history(
        policy__kl_ref=[kl] * len(reward), rollout__length_mean=[length] * len(reward), rollout__reward_mean=reward
    )


CASES = [
    # (rule, level, step at which it fires first, history, settings, change proposed)
    (
        "no_signal",
        "warning",
        4,
        history(rollout__signal_share=[0.5, 0.19, 0.1, 0.0]),
        RFT,
        "response_candidates_count: 8 -> 16",
    ),
    (
        "mode_collapse",
        "error",
        4,
        history(rollout__reward_std=[0.2, 0.04, 0.03, 0.04], rollout__reward_mean=[0.4] * 4),
        RFT,
        "temperature: 0.7 -> 1",
    ),
    (
        "solved",
        "info",
        3,
        history(rollout__reward_std=[0.04, 0, 0], rollout__reward_mean=[0.99, 1, 1], rollout__signal_share=[0.1, 0, 0]),
        RFT,
        "dataset: add harder rows",
    ),
    (
        "mode_collapse",
        "warning",
        4,
        history(rollout__reward_std=[0.3, 0.09, 0.08, 0.09], rollout__reward_mean=[0.4] * 4),
        RFT,
        "temperature: 0.7 -> 1",
    ),
    ("no_signal", "error", 3, history(rollout__signal_share=[0.0] * 3), RFT, "response_candidates_count: 8 -> 16"),
    (
        # few: 1 - 0.125^8 - 0.875^8 = 0.656, of a tenth of groups: 7%; with 16 candidates 0.882: 9%, not worth it
        "no_signal",
        "warning",
        3,
        history(rollout__signal_share=[0.1] * 3, **pass_rates(none=0.9, few=0.1)),
        RFT,
        "temperature: 0.7 -> 1",
    ),
    # 20 tokens x 0.6 nats = 12 nats per response, and no reward gained
    ("kl_drift", "warning", 3, drift(0.6, 20), RFT, "rl_kl_beta: 0 -> 0.01"),
    ("kl_drift", "warning", 3, drift(0.02, 600), RFT | {"rl_loss_method": "dapo"}, "learning_rate: 1e-4 -> 5e-5"),
    ("big_updates", "warning", 3, history(kl_post_train=[0.03] * 3), RFT, "learning_rate: 1e-4 -> 5e-5"),
    (
        "stale_rollouts",
        "warning",
        3,
        history(policy__clip_share_last=[0.2] * 3, optim__updates=[4] * 3),
        RFT | {"chunk_size": 64},
        "chunk_size: 64 -> 32",
    ),
    (
        "stale_rollouts",
        "warning",
        3,
        history(policy__clip_share_last=[0.2] * 3, optim__updates=[4] * 3),
        RFT,
        "batch_size: 32768 -> 65536",
    ),
    (
        "entropy_collapse",
        "warning",
        6,
        history(rollout__entropy=[1.0] * 3 + [0.1] * 3, rollout__reward_mean=[0.4] * 6),
        RFT,
        "temperature: 0.7 -> 1",
    ),
    (
        # noise 0.2 / 0.954; halves of 5 average 0.48 and 0.52: no gain
        "small_groups",
        "warning",
        10,
        history(rollout__reward_mean=[0.4, 0.6] * 5),
        RFT,
        "response_candidates_count: 8 -> 16",
    ),
    (
        # 100 tokens x 0.00005 nats = 0.005 nats per response
        "early_plateau",
        "warning",
        10,
        history(
            rollout__reward_mean=[0.4, 0.41] * 5,
            rollout__signal_share=[0.6] * 10,
            policy__kl_ref=[5e-5] * 10,
            rollout__length_mean=[100] * 10,
        ),
        RFT,
        "learning_rate: 1e-4 -> 3e-4",
    ),
    (
        "incoherent_text",
        "warning",
        3,
        history(rollout__entropy=[2.5] * 3),
        RFT | {"temperature": 1.6},
        "temperature: 1.6 -> 1.1",
    ),
    ("unstable_judge", "warning", 3, history(rollout__unstable_share=[0.3] * 3), RFT, "evaluator: ask the judge"),
    (
        "one_part_dominates",
        "warning",
        3,
        history(part__a__share=[0.99] * 3, part__b__share=[0.01] * 3, part__b__raw=[0.3] * 3),
        RFT,
        "evaluator: raise the weight of b",
    ),
    (
        "parts_disagree",
        "warning",
        3,
        history(part__a__share=[1.2] * 3, part__b__share=[-0.2] * 3),
        RFT,
        "evaluator: say which of b and a",
    ),
    (
        # averages of 3 steps: 0.2 first, 0.7 at step 6, (0.7 + 0.7 + 0.1) / 3 = 0.5 at 7, 0.3 at 8: over half is lost
        "reward_spike_then_crash",
        "warning",
        8,
        history(rollout__reward_mean=[0.2, 0.2, 0.2, 0.7, 0.7, 0.7, 0.1, 0.1, 0.1]),
        RFT,
        "learning_rate: 1e-4 -> 5e-5",
    ),
    (
        # 0.6 - 0.1 is more than half of 0.6, and more than sqrt(2 / 20) = 0.316
        "reward_spike_then_crash",
        "error",
        4,
        history(
            rollout__reward_mean=[0.7, 0.1, 0.3, 0.1],
            eval__reward_mean=[0.6, None, None, 0.1],
            eval__groups=[20, None, None, 20],
        ),
        RFT,
        "learning_rate: 1e-4 -> 5e-5",
    ),
    # (0 + 0.1 + 0.6) / 3 = 0.233
    ("truncation", "warning", 3, history(rollout__truncated_share=[0.0, 0.1, 0.6]), RFT, "max_tokens: 2048 -> 4096"),
    (
        "format_rate",
        "warning",
        6,
        history(part__format__raw=[0.8, 0.81, 0.8, 0.8, 0.8, 0.82]),
        RFT,
        "warm_start_from: an SFT run",
    ),
    ("grader_errors", "warning", 2, history(rollout__failed_share=[0.05, 0.06]), RFT, "rollouts/step-000002.parquet"),
    (
        "reward_hacking_suspect",
        "warning",
        6,
        history(rollout__reward_mean=[0.3] * 3 + [0.9] * 3, rollout__repetition_mean=[0.05] * 3 + [0.3] * 3),
        RFT,
        "evaluator:",
    ),
    (
        # 0.06 x 8 candidates is less than half a text per prompt
        "reward_hacking_suspect",
        "warning",
        6,
        history(rollout__reward_mean=[0.3] * 3 + [0.5] * 3, rollout__distinct_share=[0.9] * 3 + [0.06] * 3),
        RFT,
        "evaluator:",
    ),
    (
        "reward_hacking_suspect",
        "warning",
        6,
        history(rollout__reward_mean=[0.3] * 3 + [0.5] * 3, rollout__length_mean=[100] * 3 + [301] * 3),
        RFT,
        "evaluator:",
    ),
    ("sampler_gap", "info", 2, history(gap__max=[1e-5, 1.1e-5]), RFT, "fp32"),
    ("sampler_gap", "warning", 1, history(gap__max=[0.002]), RFT, "fp32"),
    ("weights_not_moving", "error", 2, history(optim__weight_change=[0.1, 0.0]), RFT, "learning_rate: 1e-4 -> 5e-4"),
    (
        "overfitting",
        "warning",
        4,
        history(eval__loss=[2.0, 1.5, 1.6, 1.7], train__loss=[2.0, 1.5, 1.0, 0.5]),
        SFT,
        "epochs: 3 -> 2",
    ),
    (
        # best at step 2, in the first epoch of five
        "overfitting",
        "warning",
        4,
        history(eval__loss=[2.0, 1.5, 1.6, 1.7], train__loss=[2.0, 1.5, 1.0, 0.5], epoch=[1, 1, 2, 3]),
        SFT | {"epochs": 5},
        "epochs: 5 -> 1",
    ),
    (
        "reward_hacking_suspect",
        "warning",
        6,
        history(rollout__reward_mean=[0.3] * 3 + [0.5] * 3, rollout__top_text_prompts=[0.1] * 3 + [0.9] * 3),
        RFT,
        "evaluator:",
    ),
    (
        "overfitting",
        "warning",
        2,
        history(eval__loss=[0.69, 0.8], train__loss=[0.69, 0.3]),
        DPO,
        "lora_rank: 8 -> 4",
    ),
    (
        "overfitting",
        "warning",
        2,
        history(eval__loss=[0.69, 0.8], train__loss=[0.69, 0.3]),
        DPO | {"learning_rate": 4e-5, "lora_rank": 4},
        "learning_rate: 4e-5 -> 2e-5",
    ),
    (
        "overfitting",
        "warning",
        2,
        history(eval__loss=[0.69, 0.8], train__loss=[0.69, 0.3]),
        DPO | {"lora_rank": 4},
        "dataset: add rows",
    ),
    (
        "overfitting",
        "warning",
        8,
        history(
            eval__reward_mean=[0.5, None, 0.6, None, 0.5, None, None, 0.4],
            rollout__reward_mean=[0.5, 0.52, 0.6, 0.62, 0.7, 0.72, 0.74, 0.76],
        ),
        RFT | {"epochs": 2},
        "epochs: 2 -> 1",
    ),
    ("oom_splits", "info", 2, history(train__oom_splits=[0, 1, 0]), RFT, "batch_size: 32768 -> 16384"),
    ("oom_splits", "info", 1, history(train__oom_splits=[2]), SFT, "batch_size_samples: 32 -> 16"),
    (
        "still_climbing",
        "info",
        6,
        history(rollout__reward_mean=[0.2, 0.25, 0.3, 0.35, 0.4, 0.45]),
        RFT,
        "epochs: 1 -> 2",
    ),
]
