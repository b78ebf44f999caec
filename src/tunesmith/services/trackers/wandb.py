"""Weights & Biases. ``WANDB_API_KEY`` or ``WANDB_MODE=offline`` in the environment, as its own users have it."""

from collections.abc import Mapping, Sequence
from typing import Any

import wandb

from tunesmith.core.types import Finding, Metrics
from tunesmith.services.trackers.port import About, Ending

LEVELS = {"info": wandb.AlertLevel.INFO, "warning": wandb.AlertLevel.WARN, "error": wandb.AlertLevel.ERROR}


class Wandb:
    """One run of a project; a run that is taken up again goes on under its id."""

    def open(self, about: About) -> str:
        about.local.mkdir(exist_ok=True)
        self._run = wandb.init(
            project=about.project,
            entity=about.entity,
            name=about.name,
            id=about.known_as,
            resume="allow",
            dir=str(about.local),
            config=dict(about.settings),
            job_type=str(about.settings["kind"]),
            settings=wandb.Settings(console="off", silent=True),
        )
        return str(self._run.id)

    def log(self, step: int, metrics: Metrics, at: float) -> None:
        # Committed by hand, because the step's tables come after it.
        self._run.log(dict(metrics), step=step, commit=False)

    def table(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            table = wandb.Table(columns=list(rows[0]), data=[list(row.values()) for row in rows])
            self._run.log({f"rollouts/{rows[0]['kind']}": table}, step=step, commit=False)

    def finding(self, finding: Finding) -> None:
        text = f"{finding.saw}. {finding.advice}"
        self._run.summary[f"findings/{finding.rule}"] = f"{finding.level} at step {finding.step}: {text}"
        if finding.level != "info":
            self._run.alert(title=finding.rule, text=text, level=LEVELS[finding.level])

    def close(self, ending: Ending) -> None:
        self._run.summary.update({"state": ending.state, "reason": ending.reason, **dict(ending.card)})
        if ending.result is not None:
            artifact = wandb.Artifact(f"{self._run.id}-{ending.result.name}", type="model", metadata=dict(ending.card))
            artifact.add_dir(str(ending.result), name=ending.result.name)
            if ending.report is not None:
                artifact.add_file(str(ending.report))
            self._run.log_artifact(artifact)
        self._run.finish(exit_code=int(ending.state == "FAILED"))
