"""What the bodies of all kinds of jobs have in common, and how their fields are called among our settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from tunesmith.core.errors import UserError
from tunesmith.server.dialects.fireworks.managed.bodies import Wire

Count = Annotated[int, Field(ge=0, lt=1 << 53)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class Setting:
    """What a field of the wire is here."""

    ours: str
    zero_is_default: bool = True
    """Clients of protobuf send a number that nobody set as 0."""


TRAINING = {
    "epochs": Setting("epochs"),
    "learning_rate": Setting("learning_rate"),
    "learning_rate_warmup_steps": Setting("learning_rate_warmup_steps", False),
    "lora_rank": Setting("lora_rank", False),
    "max_context_length": Setting("max_context_length"),
    "optimizer_weight_decay": Setting("optimizer_weight_decay", False),
}
"""Of every kind; rank 0 trains all parameters."""
PACKED = {
    "batch_size": Setting("batch_size"),
    "gradient_accumulation_steps": Setting("gradient_accumulation_steps"),
}
"""Of reinforcement alone: a batch counts tokens."""
SAMPLES = {"batch_size_samples": Setting("batch_size_samples")}
"""Of supervised and preference tuning: a batch counts examples."""


class AwsS3(Wire):
    credentials_secret: str = ""
    iam_role_arn: str = ""


class AzureBlobs(Wire):
    credentials_secret: str = ""
    managed_identity_client_id: str = ""
    tenant_id: str = ""


class Wandb(Wire):
    enabled: bool = False
    api_key: Annotated[str, BeforeValidator(lambda key: key if isinstance(key, str) else ""), Field(repr=False)] = ""
    """Kept as a secret, and shown nowhere."""
    project: str = ""
    entity: str = ""
    run_id: str = ""


class Training(Wire):
    """``trainingConfig``; of a supervised job its fields stand in the body itself."""

    base_model: str = ""
    warm_start_from: str = ""
    output_model: str = ""
    epochs: Count | None = None
    learning_rate: Amount | None = None
    learning_rate_warmup_steps: Count | None = None
    lora_rank: Count | None = None
    batch_size: Count | None = None
    batch_size_samples: Count | None = None
    gradient_accumulation_steps: Count | None = None
    max_context_length: Count | None = None
    optimizer_weight_decay: Amount | None = None
    sampler_checkpoint_save_interval_steps: Count = 0
    jinja_template: str = ""
    region: str = ""


class Common(Wire):
    """Fields of every kind of job."""

    dataset: str = ""
    display_name: str = ""
    evaluation_dataset: str = ""
    aws_s3_config: AwsS3 = AwsS3()
    azure_blob_storage_config: AzureBlobs = AzureBlobs()
    wandb_config: Wandb = Wandb()
    reservation_target: str = ""
    use_reservation: bool = False
    """Of capacity, which one machine has not to share out: taken, shown again, and without effect."""

    def check(self) -> None:
        """
        Raises:
            UserError: no dataset, or one that this server would have to fetch.
        """
        if not self.dataset:
            raise UserError("dataset", "is missing", "Name a READY dataset, accounts/<account>/datasets/<id>")
        for name in ("aws_s3_config", "azure_blob_storage_config"):
            if any(getattr(self, name).model_dump().values()):
                raise UserError(name, "points to files elsewhere, which this server does not fetch", "Upload them")


def settings_of(body: Wire, table: Mapping[str, Setting]) -> dict[str, Any]:
    """The fields that were given, under our names."""
    found = {}
    for name, setting in table.items():
        value = getattr(body, name)
        if value is not None and not (value == 0 and setting.zero_is_default):
            found[setting.ours] = value
    return found


def check_unset(body: Wire, prefix: str, refusals: Mapping[str, str]) -> None:
    """
    Args:
        refusals: field -> why nothing but its zero is taken.

    Raises:
        UserError: one of them is set.
    """
    for name, why in refusals.items():
        value = getattr(body, name)
        if value:
            raise UserError(f"{prefix}{name}", f"must be unset or zero (got {value!r:.60}): {why}", "Leave it out")
