"""Which weights the ``model`` of a completions request means."""

import re

from fastapi import Request

from tunesmith.core.errors import NotFound, UserError
from tunesmith.server.dialects.fireworks import names
from tunesmith.server.dialects.fireworks.place import Place, place_of
from tunesmith.services.sessions.samplers import LiveSampler

_NAME = re.compile(r"accounts/([^/]+)/(trainingSessions|trainingSamplers|deployments)/(.+)")
KINDS = (names.SAMPLER_WEIGHTS, names.WEIGHTS)


def weights_by_name(request: Request, owner: str, model: str) -> LiveSampler | None:
    """The weights of a training session, a checkpoint or a deployment; None for a name of something else.

    Raises:
        NotFound: no such model, session, checkpoint or deployment. Denied: another account's.
    """
    # Some clients put the deployment behind the model's name.
    found = _NAME.fullmatch(model.rpartition("#")[2])
    if found is None:
        return None
    here = place_of(request, owner)
    samplers = here.sessions.samplers
    account, collection, rest = found.groups()
    names.check_account(here.owner, account)
    if collection == "deployments":
        return _deployed(here, rest)
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


def _deployed(here: Place, deployment: str) -> LiveSampler:
    row = here.trainers.deployment(here.owner, deployment)
    if not row.replicas:
        raise UserError(deployment, "is scaled to zero", "Scale it up, or create another deployment")
    return here.sessions.samplers.weights(here.owner, row.base_model, row.path or None)
