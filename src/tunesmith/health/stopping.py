"""When a run should end before its last step, if its user asked for that: no better for long, or nothing learned."""

from collections.abc import Sequence

from tunesmith.core.types import Finding
from tunesmith.health.history import History, Settings, series


def why_stop(settings: Settings, history: History, findings: Sequence[Finding]) -> str:
    """The reason to end here; empty to go on."""
    return _out_of_patience(settings, history) or _gravely_ill(settings, findings)


def _out_of_patience(settings: Settings, history: History) -> str:
    patience = settings.get("early_stop_patience")
    if patience is None:
        return ""
    for name, what, sign in (("eval/reward_mean", "reward", 1), ("eval/loss", "loss", -1)):
        held_out = series(history, name)
        if not held_out.values:
            continue
        best = max(held_out.values, key=lambda value: sign * value)
        at = held_out.values.index(best)
        if len(held_out) - 1 - at >= patience:
            since = f"was best at step {held_out.steps[at]} ({best:.4g})"
            return f"the held-out {what} {since}; {patience} evaluations since were no better (early_stop_patience)"
    return ""


def _gravely_ill(settings: Settings, findings: Sequence[Finding]) -> str:
    grave = next((f for f in findings if f.level == "error"), None) if settings.get("stop_on_findings") else None
    return f"{grave.rule}: {grave.saw} (stop_on_findings)" if grave else ""
