"""The body of a reinforcement job, and the settings that it asks for."""

import json
from typing import Annotated, Any

from pydantic import Field

from tunesmith.core.errors import UserError
from tunesmith.server.dialects.fireworks.managed.bodies import Wire
from tunesmith.server.dialects.fireworks.managed.training import (
    PACKED,
    TRAINING,
    Amount,
    Common,
    Count,
    Setting,
    Training,
    check_unset,
    settings_of,
)
from tunesmith.spec.loss import METHODS, canonical_method

NO_TEMPLATE = "a model's own chat template is used"
NO_SAMPLER_CHECKPOINTS = "the last two checkpoints are kept, whatever their number"
REFUSED = {
    "batch_size_samples": "a batch of reinforcement counts tokens; use batchSize",
    "jinja_template": NO_TEMPLATE,
    "sampler_checkpoint_save_interval_steps": NO_SAMPLER_CHECKPOINTS,
}
SAMPLING = {
    "max_output_tokens": Setting("max_tokens"),
    "response_candidates_count": Setting("response_candidates_count"),
    "temperature": Setting("temperature", False),
    "top_p": Setting("top_p"),
    "top_k": Setting("top_k", False),
}
ROLLOUTS = {
    "chunk_size": Setting("chunk_size"),
    "max_concurrent_rollouts": Setting("max_concurrent_rollouts"),
}
EXTRA = {"temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "max_tokens": "max_tokens"}
"""Members of ``extraBody`` that rollouts follow -> setting."""
METHOD_OF = {"method-unspecified": "", "unspecified": "", "": ""}


class Dpo(Wire):
    beta: Amount = 0.0
    ref_cache_concurrency: Count = 0
    ref_cache_batch_size: Count = 0


class Loss(Wire):
    method: str = ""
    kl_beta: Amount = 0.0
    dpo: Dpo = Dpo()

    @property
    def name(self) -> str:
        """The method as it is called here; empty where none is said."""
        name = str(canonical_method(self.method))
        return METHOD_OF.get(name, name)


class Sampling(Wire):
    max_output_tokens: Count | None = None
    response_candidates_count: Count | None = None
    temperature: Amount | None = None
    top_p: Amount | None = None
    top_k: Count | None = None
    extra_body: str = ""

    def settings(self) -> dict[str, Any]:
        """What is said by name stands before what is said in ``extraBody``."""
        return self._extra() | settings_of(self, SAMPLING)

    def _extra(self) -> dict[str, Any]:
        where = "inference_parameters.extra_body"
        if not self.extra_body:
            return {}
        try:
            given = json.loads(self.extra_body)
        except (ValueError, RecursionError):
            given = None
        if not isinstance(given, dict):
            raise UserError(where, "is no JSON object", 'Give text such as {"top_k": 20}')
        if other := next((name for name in given if name not in EXTRA), None):
            problem = f"holds {other[:60]!r}, which rollouts here do not follow"
            raise UserError(where, problem, f"They follow {', '.join(EXTRA)}")
        return {EXTRA[name]: value for name, value in given.items()}


class Rft(Common):
    evaluator: str = ""
    training_config: Training = Training()
    loss_config: Loss = Loss()
    inference_parameters: Sampling = Sampling()
    chunk_size: Annotated[int, Field(ge=-1, lt=1 << 53)] | None = None
    eval_auto_carveout: bool = False
    max_concurrent_rollouts: Count | None = None
    max_concurrent_evaluations: Count = 0
    max_inference_replica_count: Count = 0
    node_count: Count = 0
    mcp_server: str = ""

    @property
    def training(self) -> Training:
        return self.training_config

    def settings(self) -> dict[str, Any]:
        """
        Raises:
            UserError: something that this server does not do.
        """
        check_unset(self.training_config, "training_config.", REFUSED)
        check_unset(self, "", {"mcp_server": "tools of rollouts are the evaluator's own"})
        method = self.loss_config.name
        if method and method not in METHODS:
            known = ", ".join(name.upper().replace("-", "_") for name in METHODS)
            raise UserError(
                "loss_config.method", f"{self.loss_config.method[:60]!r} is none of this job's", f"Known: {known}"
            )
        return {
            **settings_of(self.training_config, TRAINING | PACKED),
            **self.inference_parameters.settings(),
            **settings_of(self, ROLLOUTS),
            **({"rl_loss_method": method} if method else {}),
            **({"rl_kl_beta": self.loss_config.kl_beta} if self.loss_config.kl_beta else {}),
            "eval_auto_carveout": self.eval_auto_carveout,
        }
