"""Experiment trackers that a run reports to: a process of its own reads the run folder and passes it on.

So a tracker that is slow, hangs or fails costs the run nothing, one that was away is told the rest later, and a run
that ended long ago can be reported as well as one that lives.
"""

TRACKERS: dict[str, str] = {
    "wandb": "tunesmith.services.trackers.wandb:Wandb",
    "mlflow": "tunesmith.services.trackers.mlflow:Mlflow",
    "tensorboard": "tunesmith.services.trackers.tensorboard:TensorBoard",
    "trackio": "tunesmith.services.trackers.trackio:Trackio",
    "otel": "tunesmith.services.trackers.otel:OpenTelemetry",
}
"""Name -> the class that speaks its library, imported in the tracker's own process alone."""

PACKAGES: dict[str, str] = {
    "wandb": "wandb",
    "mlflow": "mlflow",
    "tensorboard": "tensorboardX",
    "trackio": "trackio",
    "otel": "opentelemetry.exporter.otlp.proto.http",
}
"""What has to be installed; the extra of pyproject.toml has the tracker's name."""

KEYS: dict[str, str] = {"wandb": "WANDB_API_KEY"}
"""The variable that a tracker's key comes in; on a server, a secret of the job's owner."""
