"""A learning rate to start from, out of a model's size: a rule that was fitted to some families, and only those."""

from dataclasses import dataclass

EXPONENTS = {"llama": 0.781, "qwen2": 0.0775, "qwen3": 0.0775, "qwen3_moe": 0.0775}
"""Family -> p of the rule; families that it was not fitted to have no number."""
FITTED = (2048, 8192)
"""Hidden sizes that the rule was fitted to; others are extrapolated."""
CALIBRATED = "fitted to supervised fine-tuning"
USUAL = {
    "rft": "4e-5 is usual for mathematics with grpo, 1e-5 for conversations of several turns",
    "dpo": "1e-5 is usual for dpo",
}
"""What other kinds of job commonly take; the rule says nothing about them."""


@dataclass(frozen=True, slots=True)
class Rate:
    """What the rule says of one model."""

    family: str
    hidden: int
    learning_rate: float | None
    """None where the rule was not fitted to the family."""
    note: str
    """What the number is good for."""


def learning_rate_rule(family: str, hidden: int, lora: bool) -> Rate:
    """5e-5 x (10 for LoRA) x (2000 / hidden)^p."""
    p = EXPONENTS.get(family)
    if p is None:
        known = "Llama and Qwen"
        return Rate(family, hidden, None, f"the rule is {CALIBRATED} of {known} models; for {family} it has no number")
    rate = 5e-5 * (10 if lora else 1) * (2000 / hidden) ** p
    note = f"{CALIBRATED}; {USUAL['rft']}; {USUAL['dpo']}"
    if not FITTED[0] <= hidden <= FITTED[1]:
        note = f"extrapolated: hidden size {hidden} is outside {FITTED[0]} to {FITTED[1]}; {note}"
    return Rate(family, hidden, rate, note)
