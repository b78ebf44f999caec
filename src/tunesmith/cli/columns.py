"""What a line about a step shows, for each kind of job."""

from collections.abc import Mapping

COLUMNS: dict[str, tuple[tuple[str, tuple[str, ...], str], ...]] = {
    "rft": (
        ("reward", ("rollout/reward_mean",), "{:.3f}"),
        ("held-out", ("eval/reward_mean",), "{:.3f}"),
        ("signal", ("rollout/signal_share",), "{:.0%}"),
        ("KL", ("policy/kl_ref",), "{:.4f}"),
        ("gap", ("gap/max",), "{:.0e}"),
        ("length", ("rollout/length_mean",), "{:.1f}"),
        ("tokens/s", ("speed/rollout_tokens_per_s",), "{:,.0f}"),
    ),
    "sft": (
        ("loss", ("train/loss",), "{:.4f}"),
        ("held-out", ("eval/loss",), "{:.4f}"),
        ("grad norm", ("optim/grad_norm",), "{:.2f}"),
        ("tokens/s", ("speed/train_tokens_per_s",), "{:,.0f}"),
    ),
    "dpo": (
        ("loss", ("train/loss",), "{:.4f}"),
        ("held-out", ("eval/loss",), "{:.4f}"),
        ("ranked", ("train/accuracy", "eval/accuracy"), "{:.0%}"),
        ("margin", ("train/margin", "eval/margin"), "{:.3f}"),
        ("tokens/s", ("speed/train_tokens_per_s",), "{:,.0f}"),
    ),
}
"""Kind -> (heading, metrics of which the first that there is is shown, form)."""


def heading(kind: str) -> str:
    """The line above the steps."""
    return _line("step", [name for name, _, _ in COLUMNS[kind]], "time left")


def step_line(kind: str, step: str, values: Mapping[str, float], time_left: str) -> str:
    return _line(step, [_cell(values, names, form) for _, names, form in COLUMNS[kind]], time_left)


def seconds(value: float) -> str:
    """A time as people say it."""
    return f"{value:.0f} s" if value < 100 else f"{value / 60:.0f} min"


def _line(step: str, cells: list[str], time_left: str) -> str:
    return "  ".join(text.rjust(9) for text in (step, *cells, time_left))


def _cell(values: Mapping[str, float], names: tuple[str, ...], form: str) -> str:
    return next((form.format(values[name]) for name in names if name in values), "")
