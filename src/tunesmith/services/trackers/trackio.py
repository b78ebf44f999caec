"""Trackio: local first; its own variables say where else."""

from collections.abc import Mapping, Sequence
from typing import Any

import trackio

from tunesmith.core.types import Finding, Metrics
from tunesmith.services.trackers.port import About, Ending


class Trackio:
    """One run of a project, by its name."""

    def open(self, about: About) -> str:
        self._run = trackio.init(
            project=about.project, name=about.name, config=dict(about.settings), resume="allow", embed=False
        )
        return about.name

    def log(self, step: int, metrics: Metrics, at: float) -> None:
        self._run.log(dict(metrics), step=step)

    def table(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            columns, data = list(rows[0]), [list(row.values()) for row in rows]
            self._run.log({f"rollouts/{rows[0]['kind']}": trackio.Table(columns=columns, data=data)}, step=step)

    def finding(self, finding: Finding) -> None:
        levels = {"info": trackio.AlertLevel.INFO, "warning": trackio.AlertLevel.WARN}
        level = levels.get(finding.level, trackio.AlertLevel.ERROR)
        trackio.alert(title=finding.rule, text=f"{finding.saw}. {finding.advice}", level=level)

    def close(self, ending: Ending) -> None:
        numbers = {f"card/{k}": v for k, v in ending.card.items() if isinstance(v, int | float)}
        if numbers:
            self._run.log(numbers)
        self._run.finish()
