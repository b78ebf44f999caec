"""The bodies of supervised and of preference jobs, and the settings that they ask for."""

from collections.abc import Mapping
from typing import Any

from tunesmith.core.errors import UserError
from tunesmith.server.dialects.fireworks.managed.bodies import Wire
from tunesmith.server.dialects.fireworks.managed.rft_request import NO_SAMPLER_CHECKPOINTS, NO_TEMPLATE, Loss
from tunesmith.server.dialects.fireworks.managed.training import (
    SAMPLES,
    TRAINING,
    Amount,
    Common,
    Count,
    Training,
    check_unset,
    settings_of,
)

REFUSED = {
    "batch_size": "batches count examples; use batchSizeSamples",
    "gradient_accumulation_steps": "batches count examples; use batchSizeSamples",
    "jinja_template": NO_TEMPLATE,
    "sampler_checkpoint_save_interval_steps": NO_SAMPLER_CHECKPOINTS,
}
SFT_REFUSED = {
    "early_stop": "jobs run to their end",
    "mtp_enabled": "no draft tokens are trained",
    "renderer_hugging_face_repo_id": NO_TEMPLATE,
}
PREFERENCES = ("dpo", "orpo")


class Curve(Wire):
    min_lr_ratio: Amount = 0.0
    decay_ratio: Amount = 0.0


class Scheduler(Wire):
    """One of three."""

    constant: dict[str, Any] | None = None
    linear: Curve | None = None
    cosine: Curve | None = None

    def settings(self) -> dict[str, Any]:
        named = [name for name in ("constant", "linear", "cosine") if getattr(self, name) is not None]
        if not named:
            return {}
        if len(named) > 1:
            raise UserError("lr_scheduler", f"is {' and '.join(named)} at once", "Give one of them")
        curve = self.linear or self.cosine
        if curve is None:
            return {"learning_rate_schedule": "constant"}
        if curve.decay_ratio not in (0, 1):
            problem = f"must be 0 or 1 (got {curve.decay_ratio:g}): the rate falls over the whole job"
            raise UserError(f"lr_scheduler.{named[0]}.decay_ratio", problem, "Leave it out")
        return {"learning_rate_schedule": named[0], "min_lr_ratio": curve.min_lr_ratio}


class Sft(Training, Common):
    """Flat: the training fields stand beside the dataset."""

    lr_scheduler: Scheduler = Scheduler()
    eval_auto_carveout: bool = True
    early_stop: bool = False
    mtp_enabled: bool = False
    renderer_hugging_face_repo_id: str = ""
    is_turbo: bool = False
    nodes: Count = 0
    use_purpose: str = ""
    """Of capacity: taken, shown again, and without effect."""

    @property
    def training(self) -> Training:
        return self

    def settings(self) -> dict[str, Any]:
        """
        Raises:
            UserError: something that this server does not do.
        """
        check_unset(self, "", REFUSED | SFT_REFUSED)
        own = {"eval_auto_carveout": self.eval_auto_carveout, **self.lr_scheduler.settings()}
        return settings_of(self, TRAINING | SAMPLES) | own


class Dpo(Common):
    training_config: Training = Training()
    loss_config: Loss = Loss()
    renderer_hugging_face_repo_id: str = ""

    @property
    def training(self) -> Training:
        return self.training_config

    def settings(self) -> dict[str, Any]:
        """
        Raises:
            UserError: something that this server does not do.
        """
        check_unset(self.training_config, "training_config.", REFUSED)
        check_unset(self, "", {"renderer_hugging_face_repo_id": NO_TEMPLATE})
        check_unset(self.loss_config, "loss_config.", {"kl_beta": "it is for reinforcement; use dpo.beta"})
        method = self.loss_config.name or "dpo"
        if method not in PREFERENCES:
            problem = f"{self.loss_config.method[:60]!r} is none of this job's"
            raise UserError("loss_config.method", problem, "Known: DPO, ORPO")
        beta = self.loss_config.dpo.beta
        own: Mapping[str, Any] = {"preference_loss": method, **({"dpo_beta": beta} if beta else {})}
        return {**settings_of(self.training_config, TRAINING | SAMPLES), **own}
