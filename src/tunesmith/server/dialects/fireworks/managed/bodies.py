"""Bodies of this wire: camel case or snake case, members that nobody knows left alone, null the same as nothing."""

from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, RootModel, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from tunesmith.core.errors import UserError
from tunesmith.server.body import read_body
from tunesmith.server.dialects.fireworks import names
from tunesmith.server.dialects.fireworks.managed.filters import camel
from tunesmith.server.errors import explain

MOST_BYTES = 1 << 20
"""Of a request of the control plane; files come by other ways."""
LONGEST_DESCRIPTION = 1000


class Wire(BaseModel):
    """What older and newer clients send beside what is known here is left alone."""

    model_config = ConfigDict(
        extra="ignore", alias_generator=to_camel, populate_by_name=True, protected_namespaces=(), frozen=True
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_nothing(cls, given: Any) -> Any:
        return {k: v for k, v in given.items() if v is not None} if isinstance(given, dict) else given


class Members(RootModel[dict[str, Any]]):
    """A body of which each resource knows some members."""


Model = TypeVar("Model", bound=BaseModel)


async def read(request: Request, model: type[Model]) -> Model:
    """The body of a request; none at all is an empty object.

    Raises:
        UserError: not JSON, or not what the model says; names the field and what was given.
    """
    body = await read_body(request, MOST_BYTES)
    try:
        return model.model_validate_json(body if body.strip() else b"{}")
    except ValidationError as e:
        raise explain(e, "body") from None


async def read_members(request: Request) -> dict[str, Any]:
    """The members of a body, in camel case; null is the same as nothing."""
    body = (await read(request, Members)).root
    return {camel(name): value for name, value in body.items() if value is not None}


def id_in(where: str, owner: str, collection: str, name: str) -> str:
    """Of ``accounts/<account>/<collection>/<id>``, or an id alone, the id.

    Raises:
        UserError: a name of something else. Denied: another account's.
    """
    if "/" not in name:
        return name
    parts = name.strip("/").split("/")
    if len(parts) != 4 or parts[0] != "accounts" or parts[2] != collection:
        mend = f"Give accounts/{names.account_of(owner)}/{collection}/<id>, or the id alone"
        raise UserError(where, f"{name[:200]!r} is no name of one of the {collection}", mend)
    names.check_account(owner, parts[1])
    return parts[3]


def full_name(owner: str, collection: str, name: str) -> str:
    return f"accounts/{names.account_of(owner)}/{collection}/{name}"


def check_texts(display_name: str, description: str = "") -> None:
    """
    Raises:
        UserError: longer than this wire allows.
    """
    if len(display_name) >= 64 or not display_name.isprintable():
        raise UserError("display_name", "is not one line of less than 64 characters", "Give a shorter one")
    if len(description) >= LONGEST_DESCRIPTION:
        raise UserError("description", f"has {len(description)} characters", f"Give less than {LONGEST_DESCRIPTION}")
