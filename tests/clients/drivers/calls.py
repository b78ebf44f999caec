"""How each public method of the SDK's clients is called in the compatibility matrix, and what its result must show."""

from collections.abc import Callable
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any

import numpy as np
import tinker
from talk import made_sequences, plain_data, policy, prompt, ready
from tinker import types
from tinker.lib.api_future_impl import QueueState

Arguments = tuple[Any, tuple[Any, ...], dict[str, Any]]
"""(the client to call, positional arguments, named arguments)."""
PROJECT = "matrix"
TOKENS = [5, 6, 7, 8, 9]
GREEDY = types.SamplingParams(max_tokens=4, temperature=0.0)
ADAM = types.AdamParams(learning_rate=1e-4)


@dataclass(frozen=True, slots=True)
class Stage:
    """A session with one policy, its samplers and one checkpoint of every kind."""

    model: str
    service: Any
    training: Any
    sampler: Any
    rest: Any
    state: str
    sampler_weights: str
    external: str
    made: list[str] = field(default_factory=list)
    """Paths of checkpoints made for single calls, the newest last."""

    @classmethod
    def prepare(cls, model: str) -> "Stage":
        service = tinker.ServiceClient(user_metadata={"made_by": "matrix"}, display_name="the matrix")
        training = policy(service, model, rank=4)
        training.forward_backward(data(), "cross_entropy").result()
        training.optim_step(ADAM).result()
        return cls(
            model=model,
            service=service,
            training=training,
            sampler=ready(training.save_weights_and_get_sampling_client()),
            rest=tinker.RestClient(),
            state=training.save_state("matrix", user_metadata={"kept": "yes"}).result().path,
            sampler_weights=training.save_weights_for_sampler("matrix").result().path,
            external=training.save_weights_external("matrix").result().path,
        )

    @property
    def session(self) -> str:
        return str(self.training.model_id.split(":")[0])

    @property
    def sampler_id(self) -> str:
        return str(self.sampler._sampling_session_id)

    def fresh(self) -> str:
        """The path of a checkpoint made for one call, which may delete it or publish it."""
        self.made.append(str(self.training.save_state(fresh_name()).result().path))
        return self.made[-1]


def fresh_name() -> str:
    return f"matrix-{token_hex(4)}"


def data() -> list[Any]:
    return plain_data(made_sequences((8, 12)))


def custom_loss(data: Any, logprobs: Any) -> Any:
    loss = -sum(x.sum() for x in logprobs)
    return loss, {"own": float(loss.detach())}


def traced_loss(logprobs: Any, weights: Any) -> Any:
    loss = -(logprobs * weights).sum()
    return loss, {"custom/loss:sum": loss}


@dataclass(frozen=True, slots=True)
class Call:
    """One row: where the method is, what it is given, and whether its result is right."""

    arguments: Callable[[Stage], Arguments]
    check: Callable[[Stage, Any], bool]


def on(client: str, *positional: Any, **named: Any) -> Callable[[Stage], Arguments]:
    """Fixed arguments, or functions of the stage, for one of its clients."""

    def made(stage: Stage) -> Arguments:
        return (
            getattr(stage, client),
            tuple(value(stage, v) for v in positional),
            {k: value(stage, v) for k, v in named.items()},
        )

    return made


def value(stage: Stage, given: Any) -> Any:
    return given(stage) if isinstance(given, At) else given


@dataclass(frozen=True, slots=True)
class At:
    """An argument that is looked up on the stage when the call is made."""

    find: Callable[[Stage], Any]

    def __call__(self, stage: Stage) -> Any:
        return self.find(stage)


STATE, SAMPLER = At(lambda s: s.state), At(lambda s: s.sampler_weights)
MODEL, NAME = At(lambda s: s.model), At(lambda s: fresh_name())


def nothing(stage: Stage, result: Any) -> bool:
    return result is None


def is_policy(stage: Stage, result: Any) -> bool:
    return bool(result.forward(data(), "cross_entropy").result().metrics["loss:sum"] > 0)


def is_sampler(stage: Stage, result: Any) -> bool:
    return len(result.sample(prompt(TOKENS), 1, GREEDY).result().sequences[0].tokens) > 0


def passed(stage: Stage, result: Any) -> bool:
    return len(result.loss_fn_outputs) == 2 and bool(np.isfinite(result.metrics["loss:sum"]))


def is_tokenizer(stage: Stage, result: Any) -> bool:
    return bool(result.decode(result.encode("27 + 45")) == "27 + 45")


def has_path(kind: str) -> Callable[[Stage, Any], bool]:
    return lambda stage, result: result.path.startswith(f"tinker://{stage.training.model_id}/{kind}/")


def load_into_new(stage: Stage) -> Arguments:
    return policy(stage.service, stage.model, rank=4), (stage.state,), {}


def with_gradient(stage: Stage) -> Arguments:
    stage.training.forward_backward(data(), "cross_entropy").result()
    return stage.training, (ADAM,), {}


def close_another(stage: Stage) -> Arguments:
    other = tinker.ServiceClient()
    policy(other, stage.model, rank=4)
    return other, ("success",), {"detail": "done"}


SERVICE = {
    "get_server_capabilities": Call(on("service"), lambda s, r: s.model in [m.model_name for m in r.supported_models]),
    "create_lora_training_client": Call(on("service", MODEL, rank=4, seed=1), is_policy),
    "create_training_client_from_state": Call(on("service", STATE), is_policy),
    "create_training_client_from_state_with_optimizer": Call(on("service", STATE), is_policy),
    "create_sampling_client": Call(on("service", base_model=MODEL), is_sampler),
    "create_rest_client": Call(on("service"), lambda s, r: s.model in str(r.get_server_capabilities().result())),
    "create_custom_loss": Call(
        on("service", traced_loss, input_ranks={"logprobs": 1, "weights": 1}), lambda s, r: r.name == "traced_loss"
    ),
    "copy_weights": Call(
        lambda s: (tinker.ServiceClient(project_id=PROJECT), (s.state,), {}),
        lambda s, r: r.startswith("tinker://") and r != s.state,
    ),
    "get_console_url": Call(on("service"), lambda s, r: s.session in r),
    "get_telemetry": Call(on("service"), lambda s, r: True),
    "close": Call(close_another, nothing),
}
TRAINING = {
    "forward": Call(on("training", data(), "cross_entropy"), passed),
    "forward_backward": Call(on("training", data(), "cross_entropy"), passed),
    "forward_backward_custom": Call(on("training", data(), custom_loss), lambda s, r: r.metrics["own"] > 0),
    "optim_step": Call(with_gradient, lambda s, r: r.metrics["optim/grad_norm"] >= 0),
    "save_state": Call(on("training", NAME), has_path("weights")),
    "load_state": Call(load_into_new, lambda s, r: r.path == s.state),
    "load_state_with_optimizer": Call(load_into_new, lambda s, r: r.path == s.state),
    "save_weights_for_sampler": Call(on("training", NAME), has_path("sampler_weights")),
    "save_weights_and_get_sampling_client": Call(on("training"), is_sampler),
    "save_weights_external": Call(on("training", NAME), has_path("external_weights")),
    "create_sampling_client": Call(on("training", SAMPLER), is_sampler),
    "get_info": Call(on("training"), lambda s, r: r.model_data.model_name == s.model and r.lora_rank == 4),
    "get_tokenizer": Call(on("training"), is_tokenizer),
    "get_console_url": Call(on("training"), lambda s, r: s.training.model_id in r.replace("%3A", ":")),
    "get_telemetry": Call(on("training"), lambda s, r: True),
}
SAMPLING = {
    "create": Call(
        lambda s: (tinker.SamplingClient, (s.sampler.holder,), {"model_path": s.sampler_weights}), is_sampler
    ),
    "sample": Call(on("sampler", prompt(TOKENS), 2, GREEDY), lambda s, r: len(r.sequences) == 2),
    "compute_logprobs": Call(on("sampler", prompt(TOKENS)), lambda s, r: len(r) == 5 and r[0] is None),
    "get_base_model": Call(on("sampler"), lambda s, r: r == s.model),
    "get_tokenizer": Call(on("sampler"), is_tokenizer),
    "get_sampler_handle": Call(on("sampler"), lambda s, r: len(r) > 0),
    "from_sampler_handle": Call(lambda s: (tinker.SamplingClient, (s.sampler.get_sampler_handle(),), {}), is_sampler),
    "get_telemetry": Call(on("sampler"), lambda s, r: True),
    "on_queue_state_change": Call(lambda s: (s.sampler, (QueueState.ACTIVE, None), {}), nothing),
}
