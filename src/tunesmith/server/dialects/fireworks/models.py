"""Which weights the ``model`` of a completions request means."""

import re

from fastapi import Request

from tunesmith.core.errors import NotFound
from tunesmith.server.dialects.fireworks import names
from tunesmith.server.dialects.fireworks.place import Place, place_of
from tunesmith.server.dialects.weights import deployed, find_weights
from tunesmith.services.sessions.samplers import LiveSampler

_NAME = re.compile(r"accounts/([^/]+)/(trainingSessions|trainingSamplers|deployments|models)/(.+)")
LITELLM = "fireworks_ai/"
"""litellm's name for this wire; rollouts on other machines send it along."""
KINDS = (names.SAMPLER_WEIGHTS, names.WEIGHTS)


def weights_by_name(request: Request, owner: str, model: str) -> LiveSampler | None:
    """The weights of a model, a deployment, a training session or a checkpoint; None for a name of something else.

    Raises:
        NotFound: no such model, session, checkpoint or deployment. Denied: another account's.
    """
    if model.startswith(LITELLM):
        return find_weights(request, owner, model.removeprefix(LITELLM))
    first, _, deployment = model.partition("#")
    here = place_of(request, owner)
    if deployment:
        return _on_deployment(request, here, first, deployment)
    found = _NAME.fullmatch(first)
    if found is None:
        return None
    account, collection, rest = found.groups()
    if collection == "models":
        return _named(request, here, first)
    names.check_account(here.owner, account)
    if collection == "deployments":
        return deployed(request, here.owner, rest)
    samplers = here.sessions.samplers
    if collection == "trainingSamplers":
        if not rest.startswith("checkpoints/"):
            return samplers.weights(here.owner, rest)
        return _checkpoint(here, rest.removeprefix("checkpoints/"), [])
    session_id, _, reference = rest.partition("/checkpoints/")
    row = here.sessions.clients.find(here.owner, session_id)
    models = here.models_in(row.id)
    if reference:
        return _checkpoint(here, reference, [models])
    if not models:
        raise NotFound(model, "has no model yet, so there is no base model to sample", "Create a training client first")
    return samplers.weights(here.owner, here.sessions.models.find(here.owner, models[0]).base_model)


def _checkpoint(here: Place, reference: str, near: list[list[str]]) -> LiveSampler:
    row = names.find_checkpoint(here.sessions, here.owner, reference, KINDS, near)
    return here.sessions.samplers.weights(here.owner, None, row.path)


def _named(request: Request, here: Place, name: str) -> LiveSampler | None:
    """A base model, or a tuned model of the account."""
    ours = names.our_model(request.app.state.registry, here.owner, name)
    if ours == name:
        return here.sessions.samplers.weights(here.owner, ours)
    return find_weights(request, here.owner, ours)


def _on_deployment(request: Request, here: Place, model: str, deployment: str) -> LiveSampler:
    """``model#deployment``: one of the models that a deployment serves."""
    ours = names.our_model(request.app.state.registry, here.owner, model)
    account, _, name = deployment.removeprefix("accounts/").rpartition("/deployments/")
    if account:
        names.check_account(here.owner, account)
    row = here.deployments.get(here.owner, name)
    return deployed(request, here.owner, row.id, None if ours == row.base_model else ours)
