"""``/models``: base models by their public names, and an account's own: uploaded, tuned or promoted."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Query, Request
from pydantic import Field

from tunesmith.core.errors import Denied, NotFound, UserError, unknown
from tunesmith.server import files
from tunesmith.server.auth import Owner
from tunesmith.server.dialects.fireworks import names
from tunesmith.server.dialects.fireworks.envelope import new_router
from tunesmith.server.dialects.fireworks.managed import model_objects, uploads
from tunesmith.server.dialects.fireworks.managed.bodies import Wire, check_texts, full_name, id_in, read, read_members
from tunesmith.server.dialects.fireworks.managed.creating import is_retry, taken
from tunesmith.server.dialects.fireworks.managed.lists import Listing, Mask, masked
from tunesmith.services.model_uploads import ADAPTER, BASE, ModelUploads, check_model_file

router = new_router()
MODELS = "/v1/accounts/{account}/models"
ONE = MODELS + "/{model_id}"
KIND = "models"
"""Of uploads to a signed address."""
KINDS = {
    "": ADAPTER,
    "KIND_UNSPECIFIED": ADAPTER,
    "HF_PEFT_ADDON": ADAPTER,
    "HF_BASE_MODEL": BASE,
    "CUSTOM_MODEL": BASE,
}


class Create(Wire):
    model_id: Annotated[str, Field(min_length=1)]
    model: dict[str, Any] = Field(default_factory=dict)


@router.post(MODELS, response_model=None)
async def create(request: Request, owner: Owner, account: str) -> Mapping[str, Any]:
    """A model whose files are to come: of the account itself, or an adapter for a base model that is there."""
    names.check_account(owner, account)
    body = await read(request, Create)
    said = str(body.model.get("kind", ""))
    if said not in KINDS:
        raise unknown("model.kind", said[:60], filter(None, KINDS))
    details = body.model.get("peftDetails")
    base = str(details.get("baseModel", "")) if isinstance(details, dict) else ""
    if KINDS[said] == ADAPTER and not base:
        mend = "Name the model that the adapter is for; a whole model has the kind HF_BASE_MODEL"
        raise UserError("model.peftDetails.baseModel", "is missing", mend)
    asked = model_objects.kept(body.model)
    check_texts(str(asked.get("displayName", "")), str(asked.get("description", "")))
    model_id = id_in("modelId", owner, "models", body.model_id)
    base = names.our_model(request.app.state.registry, owner, base)
    with taken(model_id):
        _uploads(request).create(owner, model_id, KINDS[said], base, asked, retry=is_retry(request))
    return model_objects.own(request, owner, model_id)


@router.get(MODELS, response_model=None)
def list_all(request: Request, owner: Owner, account: str, listing: Listing) -> Mapping[str, Any]:
    """The account's own; of another account, the base models that are registered under it."""
    if account == names.account_of(owner):
        return listing.page("models", model_objects.all_own(request, owner))
    public = [model_objects.base(base) for base in request.app.state.registry.models()]
    beginning = f"accounts/{account}/models/"
    return listing.page("models", [body for body in public if body["name"].startswith(beginning)])


@router.post(ONE + ":getUploadEndpoint", response_model=None)
async def upload_endpoint(request: Request, owner: Owner, account: str, model_id: str) -> Mapping[str, Any]:
    names.check_account(owner, account)
    body = await read(request, uploads.Files)
    _uploads(request).records.get(owner, model_id)
    for filename in body.filename_to_size:
        check_model_file(filename)
    links = uploads.addresses(request, KIND, owner, model_id, body.filename_to_size)
    return {"filenameToSignedUrls": links, "filenameToUnsignedUris": {}}


@router.get(ONE + ":validateUpload", response_model=None)
async def validate_upload(request: Request, owner: Owner, account: str, model_id: str) -> Mapping[str, Any]:
    """All files have arrived: check them, and put the model to use."""
    names.check_account(owner, account)
    name = full_name(owner, "models", model_id)
    await asyncio.to_thread(_uploads(request).finish, owner, model_id, name)
    return {"warnings": []}


@router.get(ONE + ":getDownloadEndpoint", response_model=None)
def download_endpoint(request: Request, owner: Owner, account: str, model_id: str) -> Mapping[str, Any]:
    """Addresses of the files of a model of one's own."""
    names.check_account(owner, account)
    folder = model_objects.folder_of(request, owner, model_id)
    inside = folder.resolve().is_relative_to(request.app.state.settings.data_dir.resolve())
    if not inside:
        raise Denied(model_id, "lies outside the server's data directory", "Copy it where the server runs")
    found = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    return {"filenameToSignedUrls": {file.name: files.link(request, file) for file in found}}


@router.post(ONE + ":prepare", response_model=None)
def prepare(request: Request, owner: Owner, account: str, model_id: str) -> Mapping[str, Any]:
    """Models are loaded as they are: there is nothing to prepare for a precision."""
    model_objects.find(request, owner, account, model_id)
    return {}


@router.get(ONE, response_model=None)
def get(request: Request, owner: Owner, account: str, model_id: str, read_mask: Mask = "") -> Mapping[str, Any]:
    return masked(model_objects.find(request, owner, account, model_id), read_mask)


@router.patch(ONE, response_model=None)
async def change(
    request: Request,
    owner: Owner,
    account: str,
    model_id: str,
    update_mask: Annotated[str, Query(alias="updateMask")] = "",
) -> Mapping[str, Any]:
    """What people read of it."""
    names.check_account(owner, account)
    asked = model_objects.kept(uploads.masked_update(await read_members(request), update_mask))
    check_texts(str(asked.get("displayName") or ""), str(asked.get("description") or ""))
    model_objects.own(request, owner, model_id)
    _uploads(request).describe(owner, model_id, asked)
    return model_objects.own(request, owner, model_id)


@router.delete(ONE, response_model=None)
def delete(request: Request, owner: Owner, account: str, model_id: str) -> Mapping[str, Any]:
    names.check_account(owner, account)
    try:
        _uploads(request).delete(owner, model_id)
    except NotFound:
        name = full_name(owner, "models", model_id)
        if name not in {base.name for base in request.app.state.registry.models()}:
            raise
        request.app.state.registry.remove(name)
    return {}


def _uploads(request: Request) -> ModelUploads:
    found: ModelUploads = request.app.state.model_uploads
    return found
