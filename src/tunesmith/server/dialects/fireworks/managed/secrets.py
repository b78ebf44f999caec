"""``/secrets``: kept for evaluators and jobs; a value is taken and never given back."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Request
from pydantic import Field

from tunesmith.core.errors import Conflict, UserError
from tunesmith.server.auth import Owner
from tunesmith.server.dialects.fireworks import names
from tunesmith.server.dialects.fireworks.envelope import new_router
from tunesmith.server.dialects.fireworks.managed.bodies import Wire, full_name, id_in, read
from tunesmith.server.dialects.fireworks.managed.creating import is_retry, taken
from tunesmith.server.dialects.fireworks.managed.lists import Listing, Mask, masked
from tunesmith.services.secrets import SecretInfo, Secrets, id_of

router = new_router()
SECRETS = "/v1/accounts/{account}/secrets"
SECRET = SECRETS + "/{secret_id}"


class Create(Wire):
    key_name: Annotated[str, Field(min_length=1)]
    name: str = ""
    value: Any = None
    """Checked by hand: what pydantic refuses it quotes."""


class Change(Wire):
    key_name: str | None = None
    value: Any = None


@router.post(SECRETS, response_model=None)
async def create(request: Request, owner: Owner, account: str) -> Mapping[str, Any]:
    names.check_account(owner, account)
    body = await read(request, Create)
    secrets = _secrets(request)
    secret_id = id_in("name", owner, "secrets", body.name) or id_of(body.key_name)
    with taken():
        if body.key_name in secrets.names(owner) and not is_retry(request):
            raise Conflict(body.key_name, "is the name of a secret already", "Change that one with PATCH")
        return _shown(owner, secrets.put(owner, body.key_name, _text(body.value), secret_id=secret_id))


@router.get(SECRETS, response_model=None)
def list_all(request: Request, owner: Owner, account: str, listing: Listing) -> Mapping[str, Any]:
    names.check_account(owner, account)
    return listing.page("secrets", [_shown(owner, secret) for secret in _secrets(request).list(owner)])


@router.get(SECRET, response_model=None)
def get(request: Request, owner: Owner, account: str, secret_id: str, read_mask: Mask = "") -> Mapping[str, Any]:
    names.check_account(owner, account)
    return masked(_shown(owner, _secrets(request).find(owner, secret_id)), read_mask)


@router.patch(SECRET, response_model=None)
async def change(request: Request, owner: Owner, account: str, secret_id: str) -> Mapping[str, Any]:
    """Another value; the name of a variable stays what it was."""
    names.check_account(owner, account)
    body = await read(request, Change)
    secrets = _secrets(request)
    old = secrets.find(owner, secret_id)
    if body.key_name not in (None, old.key_name):
        raise UserError("keyName", f"{secret_id} is {old.key_name}", "Create another secret under the other name")
    if body.value is None:
        return _shown(owner, old)
    return _shown(owner, secrets.put(owner, old.key_name, _text(body.value)))


@router.delete(SECRET, response_model=None)
def delete(request: Request, owner: Owner, account: str, secret_id: str) -> Mapping[str, Any]:
    names.check_account(owner, account)
    secrets = _secrets(request)
    secrets.delete(owner, secrets.find(owner, secret_id).key_name)
    return {}


def _secrets(request: Request) -> Secrets:
    secrets: Secrets = request.app.state.secrets
    return secrets


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise UserError("value", "is missing, or no text", "Send the secret as text")
    return value


def _shown(owner: str, secret: SecretInfo) -> dict[str, Any]:
    return {
        "name": full_name(owner, "secrets", secret.id),
        "keyName": secret.key_name,
        "createTime": secret.created_at,
        "updateTime": secret.updated_at,
    }
