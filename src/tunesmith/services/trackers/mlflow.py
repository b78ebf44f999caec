"""MLflow. ``MLFLOW_TRACKING_URI`` says where; without it, a database in the run folder."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

from tunesmith.core.types import Finding, Metrics
from tunesmith.services.trackers.port import About, Ending

STATUS = {"COMPLETED": "FINISHED", "EARLY_STOPPED": "FINISHED", "FAILED": "FAILED", "STOPPED": "KILLED"}
LONGEST = 500
"""Characters of a parameter."""


class Mlflow:
    """One run of an experiment; a run that is taken up again goes on under its id."""

    def open(self, about: About) -> str:
        about.local.mkdir(exist_ok=True)
        here = about.local.absolute()
        elsewhere = os.environ.get("MLFLOW_TRACKING_URI")
        self._client = MlflowClient(elsewhere or f"sqlite:///{here / 'mlflow.db'}")
        if about.known_as is not None:
            self._id = about.known_as
            self._client.update_run(self._id, status="RUNNING")
            return self._id
        found = self._client.get_experiment_by_name(about.project)
        place = None if elsewhere else (here / "mlflow").as_uri()
        experiment = found.experiment_id if found else self._client.create_experiment(about.project, place)
        made = self._client.create_run(experiment, run_name=about.name, tags={"folder": str(about.folder)})
        self._id = str(made.info.run_id)
        params = [Param(name, str(value)[:LONGEST]) for name, value in about.settings.items()]
        self._client.log_batch(self._id, params=params)
        return self._id

    def log(self, step: int, metrics: Metrics, at: float) -> None:
        values = [Metric(name, value, int(at * 1000), step) for name, value in metrics.items()]
        self._client.log_batch(self._id, metrics=values)

    def table(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            name = f"rollouts/{rows[0]['kind']}-{step:06d}.json"
            self._client.log_text(self._id, json.dumps(list(map(dict, rows)), indent=1), name)

    def finding(self, finding: Finding) -> None:
        text = f"{finding.level} at step {finding.step}: {finding.saw}. {finding.advice}"
        self._client.set_tag(self._id, f"finding.{finding.rule}", text)

    def close(self, ending: Ending) -> None:
        card = {"state": ending.state, "reason": ending.reason, **ending.card}
        self._client.log_text(self._id, json.dumps(card, indent=1), "card.json")
        for made in (ending.result, ending.report):
            if made is not None and made.is_dir():
                self._client.log_artifacts(self._id, str(made), made.name)
            elif made is not None:
                self._client.log_artifact(self._id, str(made))
        self._client.set_terminated(self._id, STATUS[ending.state])
