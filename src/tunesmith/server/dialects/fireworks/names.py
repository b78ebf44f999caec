"""How this wire names things: accounts for owners, runs for models, and the ways to refer to a checkpoint."""

import re
from collections.abc import Sequence
from hashlib import sha256
from itertools import product

from tunesmith.core.errors import Conflict, Denied, NotFound, UserError
from tunesmith.services.registry import Registry
from tunesmith.services.sessions.rows import CheckpointRow
from tunesmith.services.sessions.sessions import Sessions

CROSS_JOB = "cross_job://"
WEIGHTS, SAMPLER_WEIGHTS = "weights", "sampler_weights"
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_RUN = re.compile(r"run-[0-9a-f]{32}")
_MODEL = re.compile(r"accounts/([^/]+)/models/([^/]+)")
_DEPLOYMENT = re.compile(r"accounts/([^/]+)/deployments/([^/]+)")
_STORED = re.compile(r"tinker://([^/]+)/[^/]+/([^/]+)")


def account_of(owner: str) -> str:
    """The owner as a part of names; owners whose names cannot be one get a number."""
    return owner if _LABEL.fullmatch(owner) else f"u-{sha256(owner.encode()).hexdigest()[:16]}"


def check_account(owner: str, account: str) -> None:
    """
    Raises:
        Denied: the account in an address is not the key's.
    """
    if account != account_of(owner):
        problem = f"is not the account of this key, which is accounts/{account_of(owner)}"
        raise Denied(f"accounts/{account}", problem, "Ask for /v1/accounts to learn it")


def check_label(where: str, name: str) -> None:
    """
    Raises:
        UserError: not an id that names can hold.
    """
    if not _LABEL.fullmatch(name):
        raise UserError(where, f"{name!r:.80} is no id", "Use 1 to 63 of a-z, 0-9 and -, without - at the ends")


def our_model(registry: Registry, owner: str, name: str) -> str:
    """What a model's name on this wire is called here.

    ``accounts/<account>/models/<id>`` is the base model that is registered under all of it; else, of the owner's own
    account, the tuned model ``<id>``; else the base model ``<account>/<id>``. Other names are themselves.

    Raises:
        NotFound: another account, and no base model: lists those there are.
    """
    found = _MODEL.fullmatch(name)
    if found is None:
        return name
    account, model = found.groups()
    known = {base.name for base in registry.models()}
    if name in known:
        return name
    if account == account_of(owner):
        return model
    return f"{account}/{model}" if f"{account}/{model}" in known else registry.find(name).name


def served_model(registry: Registry, owner: str, name: str) -> str:
    """What a name that is sampled by is called here: ``our_model``, ``deployments/<id>`` or ``<model>#<id>``.

    Raises:
        NotFound: another account's model. Denied: another account's deployment.
    """
    model, mark, deployment = name.partition("#")
    if found := _DEPLOYMENT.fullmatch(deployment or model):
        check_account(owner, found[1])
        deployment = found[2]
        if not mark:
            return f"deployments/{deployment}"
    return f"{our_model(registry, owner, model)}{mark}{deployment}"


def run_id(session_id: str, number: int) -> str:
    """The run of a session's model of that number; the same two give the same run."""
    return f"run-{_digest(session_id, number)}"


def is_run(model_id: str) -> bool:
    """Whether a model was made at the serverless address."""
    return model_id.startswith("run-")


def model_of_run(run: str) -> str:
    return f"{run}:train:0"


def reference_id(session_id: str, number: int) -> str:
    """The id of a model that is never trained, which belongs to no run."""
    return f"base-{_digest(session_id, number)}:train:0"


def is_reference(model_id: str) -> bool:
    return model_id.startswith("base-")


def check_trained(model_id: str, verb: str) -> None:
    """
    Raises:
        UserError: the model is a reference.
    """
    if is_reference(model_id):
        raise UserError(verb, f"{model_id} is a frozen reference, which only forward is for", "Use a training client")


def public_path(owner: str, stored: str) -> str:
    """A checkpoint's path as it is stored -> as clients know it: ``<account>/<run>/<name>``, or the name alone."""
    found = _STORED.fullmatch(stored)
    if found is None:
        return stored
    run = found[1].partition(":")[0]
    return f"{account_of(owner)}/{run}/{found[2]}" if _RUN.fullmatch(run) else found[2]


def find_checkpoint(
    sessions: Sessions, owner: str, reference: str, kinds: Sequence[str], near: Sequence[Sequence[str]] = ()
) -> CheckpointRow:
    """The checkpoint that a client means.

    Args:
        reference: ``<account>/<run>/<name>``, or a name: of the models ``near``, or the only one of the owner's.
        kinds: what will do, the best first.
        near: groups of models, the nearest first; of a group, what was saved last is meant.

    Raises:
        NotFound: there is none. Denied: somebody else's. Conflict: a name that several runs have.
    """
    parts = reference.strip().strip("/").split("/")
    name = parts[-1]
    if len(parts) > 1:
        if len(parts) != 3 or not _RUN.fullmatch(parts[1]):
            raise NotFound(reference, "is no checkpoint", "Give <account>/<run>/<name>, as the save answered")
        check_account(owner, parts[0])
        near = ((model_of_run(parts[1]),),)
    for models, kind in product(filter(None, near), kinds):
        if found := sessions.vault.named(owner, kind, name, models):
            return found[0]
    elsewhere = [row for kind in kinds for row in sessions.vault.named(owner, kind, name)] if len(parts) == 1 else []
    if len(elsewhere) == 1:
        return elsewhere[0]
    if elsewhere:
        paths = ", ".join(sorted({public_path(owner, row.path) for row in elsewhere}))
        raise Conflict(reference, f"is a checkpoint of several runs: {paths}", "Give one of these paths")
    raise NotFound(reference, "no such checkpoint", "List those there are with list_checkpoints")


def _digest(session_id: str, number: int) -> str:
    return sha256(f"{session_id}:{number}".encode()).hexdigest()[:32]
