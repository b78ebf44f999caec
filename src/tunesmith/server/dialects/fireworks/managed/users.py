"""``/users`` and their keys. Users beside the account's owner are names; every key sees the whole account."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Query, Request
from pydantic import Field

from tunesmith.core.errors import NotFound, UserError
from tunesmith.server.auth import Owner
from tunesmith.server.dialects.fireworks import names
from tunesmith.server.dialects.fireworks.envelope import new_router
from tunesmith.server.dialects.fireworks.managed.bodies import Wire, check_texts, full_name, read
from tunesmith.server.dialects.fireworks.managed.creating import is_retry, own_id, taken
from tunesmith.server.dialects.fireworks.managed.lists import Body, Listing, Mask, masked, without_empty
from tunesmith.services.keys import KeyInfo, Keys
from tunesmith.services.records import Record, Records

router = new_router()
USERS = "/v1/accounts/{account}/users"
USER = USERS + "/{user_id}"
KEYS = USER + "/apiKeys"
FIRST_AT = "1970-01-01T00:00:00Z"
"""When the owner came, whom nobody created here."""
OF_USER = "user/"
"""Before the user's id in the name of a key that was made for it."""


class User(Wire):
    role: str = "user"
    display_name: str = ""
    email: str = ""
    service_account: bool = False


class Change(Wire):
    role: str | None = None
    display_name: str | None = None
    email: str | None = None
    service_account: bool | None = None


class Key(Wire):
    display_name: Annotated[str, Field(max_length=100)] = "default"
    expire_time: str = ""


class CreateKey(Wire):
    api_key: Key = Key()


class DeleteKey(Wire):
    key_id: Annotated[str, Field(min_length=1)]


@router.post(USERS, response_model=None)
async def create(
    request: Request, owner: Owner, account: str, user_id: Annotated[str, Query(alias="userId")] = ""
) -> Mapping[str, Any]:
    names.check_account(owner, account)
    body = await read(request, User)
    check_texts(body.display_name)
    wanted = own_id("userId", user_id, "user")
    with taken():
        if wanted == names.account_of(owner):
            raise UserError("userId", f"{wanted} is the account's owner", "Choose another")
        record = _users(request).create(owner, wanted, body.model_dump(by_alias=True), retry=is_retry(request))
    return _shown(owner, record)


@router.get(USERS, response_model=None)
def list_all(request: Request, owner: Owner, account: str, listing: Listing) -> Mapping[str, Any]:
    names.check_account(owner, account)
    users = [_first(owner), *_users(request).all(owner)]
    return listing.page("users", [_shown(owner, user) for user in users])


@router.get(USER, response_model=None)
def get(request: Request, owner: Owner, account: str, user_id: str, read_mask: Mask = "") -> Mapping[str, Any]:
    names.check_account(owner, account)
    return masked(_shown(owner, _user(request, owner, user_id)), read_mask)


@router.patch(USER, response_model=None)
async def change(request: Request, owner: Owner, account: str, user_id: str) -> Mapping[str, Any]:
    names.check_account(owner, account)
    body = await read(request, Change)
    check_texts(body.display_name or "")
    old = _users(request).get(owner, user_id)
    said = body.model_dump(by_alias=True, exclude_none=True)
    return _shown(owner, _users(request).change(owner, user_id, {**old.body, **said}))


@router.delete(USER, response_model=None)
def delete(request: Request, owner: Owner, account: str, user_id: str) -> Mapping[str, Any]:
    """The user goes, and its keys are refused from then on."""
    names.check_account(owner, account)
    _users(request).delete(owner, user_id)
    keys: Keys = request.app.state.keys
    for key in _keys_of(keys, owner, user_id):
        keys.revoke(key.id)
    return {}


@router.post(KEYS, response_model=None)
async def create_key(request: Request, owner: Owner, account: str, user_id: str) -> Mapping[str, Any]:
    """A further key of the account, in plain text for this once."""
    names.check_account(owner, account)
    body = await read(request, CreateKey)
    _user(request, owner, user_id)
    if body.api_key.expire_time:
        raise UserError("apiKey.expireTime", "is not kept: keys are good until they are deleted", "Leave it out")
    keys: Keys = request.app.state.keys
    plain = keys.create(owner, f"{OF_USER}{user_id}/{body.api_key.display_name}")
    made = keys.find(plain)
    assert made is not None, "it was made"
    return {**_shown_key(made), "key": plain}


@router.get(KEYS, response_model=None)
def list_keys(request: Request, owner: Owner, account: str, user_id: str, listing: Listing) -> Mapping[str, Any]:
    """Good keys that were made for the user; of the owner also those that the command line made."""
    names.check_account(owner, account)
    _user(request, owner, user_id)
    rows = [_shown_key(key) | {"name": key.id} for key in _keys_of(request.app.state.keys, owner, user_id)]
    page = listing.page("apiKeys", rows)
    return page | {"apiKeys": [without_name(row) for row in page["apiKeys"]]}


@router.post(KEYS + ":delete", response_model=None)
async def delete_key(request: Request, owner: Owner, account: str, user_id: str) -> Mapping[str, Any]:
    names.check_account(owner, account)
    body = await read(request, DeleteKey)
    keys: Keys = request.app.state.keys
    if body.key_id not in {key.id for key in _keys_of(keys, owner, user_id)}:
        raise NotFound(body.key_id[:100], "no such key of this user", "List the user's keys")
    keys.revoke(body.key_id)
    return {}


def without_name(row: Body) -> Body:
    """Keys have no names on this wire; lists are ordered by one."""
    return {field: value for field, value in row.items() if field != "name"}


def _users(request: Request) -> Records:
    users: Records = request.app.state.users
    return users


def _first(owner: str) -> Record:
    return Record(names.account_of(owner), {"role": "admin", "displayName": owner[:63]}, FIRST_AT, FIRST_AT)


def _user(request: Request, owner: str, user_id: str) -> Record:
    return _first(owner) if user_id == names.account_of(owner) else _users(request).get(owner, user_id)


def _keys_of(keys: Keys, owner: str, user_id: str) -> list[KeyInfo]:
    mine = [key for key in keys.list() if key.owner == owner and key.revoked_at is None]
    if user_id == names.account_of(owner):
        return [key for key in mine if _user_of(key) in ("", user_id)]
    return [key for key in mine if _user_of(key) == user_id]


def _user_of(key: KeyInfo) -> str:
    return key.name.removeprefix(OF_USER).partition("/")[0] if key.name.startswith(OF_USER) else ""


def _shown_key(key: KeyInfo) -> Body:
    user = _user_of(key)
    display_name = key.name.removeprefix(f"{OF_USER}{user}/") if user else key.name
    about = {"keyId": key.id, "displayName": display_name, "prefix": key.prefix}
    return {**about, "createTime": key.created_at, "secure": True}


def _shown(owner: str, user: Record) -> Body:
    return without_empty(
        {
            **user.body,
            "name": full_name(owner, "users", user.id),
            "createTime": None if user.created_at == FIRST_AT else user.created_at,
            "updateTime": None if user.updated_at == FIRST_AT else user.updated_at,
            "state": "READY",
        }
    )
