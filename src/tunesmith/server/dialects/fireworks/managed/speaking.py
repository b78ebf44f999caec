"""Refusals of settings in this wire's words: its names of fields, and the sentences that its clients know."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from starlette.exceptions import HTTPException

from tunesmith.core.errors import UserError
from tunesmith.server.dialects.fireworks.managed.rft_request import ROLLOUTS, SAMPLING
from tunesmith.server.dialects.fireworks.managed.training import PACKED, SAMPLES, TRAINING

MEND = "See docs/fireworks.md for what is allowed"
_RANGE = re.compile(r"outside valid range (\[.*?\]) \(got (\S+?)\)")
_MULTIPLE = re.compile(r"multiple of (\d+)")
OTHERS = {
    "rl_loss_method": "loss_config.method",
    "rl_kl_beta": "loss_config.kl_beta",
    "dpo_beta": "loss_config.dpo.beta",
    "base_model": "training_config.base_model",
    "warm_start_from": "training_config.warm_start_from",
    "output_model": "training_config.output_model",
    "min_lr_ratio": "lr_scheduler.min_lr_ratio",
    "report_to": "wandb_config.enabled",
    "tracker_project": "wandb_config.project",
    "tracker_entity": "wandb_config.entity",
    "tracker_run": "wandb_config.run_id",
}
"""Our setting -> the field of the wire, where no table of requests says it."""


def _fields() -> Mapping[str, str]:
    training = {setting.ours: f"training_config.{name}" for name, setting in (TRAINING | PACKED | SAMPLES).items()}
    sampling = {setting.ours: f"inference_parameters.{name}" for name, setting in SAMPLING.items()}
    return training | sampling | {setting.ours: name for name, setting in ROLLOUTS.items()} | OTHERS


FIELDS = _fields()


@contextmanager
def speaking(flat: bool) -> Iterator[None]:
    """What is refused inside is said in the client's words.

    Args:
        flat: whether the training fields stand in the body itself.
    """
    try:
        yield
    except UserError as e:
        if (said := _known(e)) is not None:
            raise HTTPException(400, said) from None
        where = FIELDS.get(e.where, e.where)
        where = where.removeprefix("training_config.") if flat else where
        mend = MEND if e.mend.startswith("See: tunesmith") else e.mend
        raise type(e)(where, e.problem, mend) from None


def _known(error: UserError) -> str | None:
    """A sentence that clients look for, word by word; None where there is none for this."""
    for says in (_learning_rate, _kl_beta, _divisible):
        if (said := says(error)) is not None:
            return said
    return None


def _learning_rate(error: UserError) -> str | None:
    found = _RANGE.match(error.problem) if error.where == "learning_rate" else None
    return f"Learning rate {_scientific(found[2])} outside valid range {found[1]}" if found else None


def _kl_beta(error: UserError) -> str | None:
    return error.problem if error.problem.startswith("loss_config.kl_beta must be 0/unset") else None


def _divisible(error: UserError) -> str | None:
    found = _MULTIPLE.search(error.problem) if error.where == "max_context_length" else None
    return f"max_context_length must be divisible by {found[1]}" if found else None


def _scientific(text: str) -> str:
    """0.01 as 1e-2, as the clients' own documents write rates."""
    mantissa, _, exponent = f"{float(text):e}".partition("e")
    return text if float(text) >= 1 else f"{float(mantissa):g}e{int(exponent)}"
