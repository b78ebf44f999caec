"""Which weights the ``model`` of an inference request means, for every wire that takes one."""

from collections.abc import Callable

from fastapi import Request

from tunesmith.core.errors import NotFound, unknown
from tunesmith.models.chat import ChatRenderer
from tunesmith.services.deployments import Deployments
from tunesmith.services.jobs.jobs import Jobs
from tunesmith.services.jobs.kept import Kept
from tunesmith.services.registry import Registry
from tunesmith.services.renderers import Renderers
from tunesmith.services.sessions.samplers import LiveSampler
from tunesmith.services.sessions.sessions import Sessions
from tunesmith.services.tuned_models import TunedModel, TunedModels

CHECKPOINT, DEPLOYMENT = "tinker://", "deployments/"
NameRule = Callable[[Request, str, str], LiveSampler | None]
"""(request, owner, model) -> the weights of a name that follows a wire's own rules; None for other names."""


def find_weights(request: Request, owner: str, model: str) -> LiveSampler:
    """The weights of a tuned model, a checkpoint of a session or a job, a deployment, a name of one of the wires, or a
    base model.

    Raises:
        NotFound: none of them; names those that there are. Denied: somebody else's.
    """
    sessions: Sessions = request.app.state.sessions
    tuned: TunedModels = request.app.state.tuned_models
    registry: Registry = request.app.state.registry
    if model.startswith(CHECKPOINT):
        return sessions.samplers.weights(owner, None, model)
    if model.startswith(DEPLOYMENT):
        return deployed(request, owner, model.removeprefix(DEPLOYMENT))
    if (found := tuned.get(owner, model)) is not None:
        return _live(sessions, owner, found)
    jobs: Jobs = request.app.state.jobs
    if (kept := jobs.kept.find(owner, model)) is not None:
        return _live(sessions, owner, kept)
    rules: tuple[NameRule, ...] = request.app.state.name_rules
    for rule in rules:
        if (live := rule(request, owner, model)) is not None:
            return live
    try:
        return sessions.samplers.weights(owner, model)
    except NotFound:
        names = [base.name for base in registry.models()] + [own.name for own in tuned.page(owner)[0]]
        refusal = unknown("model", model[:200], names)
        raise NotFound(refusal.where, refusal.problem, refusal.mend) from None


def _live(sessions: Sessions, owner: str, found: TunedModel | Kept) -> LiveSampler:
    """An adapter on its base model; a whole model has an engine of its own."""
    if not found.whole:
        return sessions.samplers.adapter(owner, found.base_model, found.key, found.folder)
    sessions.engines.adopt(found.key, found.folder)
    return sessions.samplers.adapter(owner, found.key, "", None)


def deployed(request: Request, owner: str, deployment: str, model: str | None = None) -> LiveSampler:
    """What a deployment serves: the snapshot that a trainer loaded, its own model, or one that is loaded there.

    Raises:
        NotFound: no such deployment, or the model is not loaded there. UserError: it is scaled to zero.
    """
    deployments: Deployments = request.app.state.deployments
    sessions: Sessions = request.app.state.sessions
    served, row = deployments.serves(owner, deployment, model), deployments.get(owner, deployment)
    if row.path and served == row.model:
        return sessions.samplers.weights(owner, None, row.path)
    return find_weights(request, owner, served)


def renderer_of(request: Request, live: LiveSampler) -> ChatRenderer:
    """The tokenizer of some weights; takes a second the first time: call it in a thread."""
    sessions: Sessions = request.app.state.sessions
    renderers: Renderers = request.app.state.renderers
    return renderers.at(sessions.engines.model(live.row.base_model).folder)
