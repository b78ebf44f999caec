"""TensorBoard: event files in the run folder."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tensorboardX import SummaryWriter

from tunesmith.core.types import Finding, Metrics
from tunesmith.services.trackers.port import About, Ending

CELL = 500
"""Characters of a text in a table."""


class TensorBoard:
    """``tensorboard --logdir runs`` finds the files."""

    def open(self, about: About) -> str:
        folder = about.local / "tensorboard"
        self._writer = SummaryWriter(str(folder))
        self._step = 0
        self._writer.add_text("settings", f"```\n{json.dumps(dict(about.settings), indent=1)}\n```", 0)
        return str(folder)

    def log(self, step: int, metrics: Metrics, at: float) -> None:
        self._step = step
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step, walltime=at)
        self._writer.flush()

    def table(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            lines = [list(rows[0]), ["---"] * len(rows[0]), *([_cell(v) for v in row.values()] for row in rows)]
            text = "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
            self._writer.add_text(f"rollouts/{rows[0]['kind']}", text, step)

    def finding(self, finding: Finding) -> None:
        text = f"**{finding.level}** {finding.saw}. {finding.advice}"
        self._writer.add_text(f"findings/{finding.rule}", text, finding.step)

    def close(self, ending: Ending) -> None:
        card = {"state": ending.state, "reason": ending.reason, **ending.card}
        self._writer.add_text("card", f"```\n{json.dumps(card, indent=1)}\n```", self._step)
        self._writer.close()


def _cell(value: Any) -> str:
    return str(value)[:CELL].replace("|", "\\|").replace("\n", "<br>")
