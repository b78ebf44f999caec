"""What two runs of the same job must have in common, to the byte."""

import hashlib
import json
from pathlib import Path

RESULTS = ("adapter", "model", "rollouts")
FILES = ("metrics.jsonl", "findings.json")


def fingerprint(run: Path) -> dict[str, str]:
    """Relative path -> sha256 of all that a run promises to repeat, how it ended, and that its summary was written."""
    files = [p for name in RESULTS for p in (run / name).rglob("*") if p.is_file()]
    files += [run / name for name in FILES if (run / name).exists()]
    found = {str(p.relative_to(run)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(files)}
    state = json.loads((run / "state.json").read_text())
    ending = {name: str(state[name]) for name in ("state", "step", "num_steps", "reason")}
    summary = {name: str((run / name).is_file()) for name in ("card.json", "report.html")}
    return found | ending | summary
