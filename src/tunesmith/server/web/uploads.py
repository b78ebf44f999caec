"""A form with one file, as browsers send it: the file to the disk, the fields and the session's token checked."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import PurePath
from re import sub
from typing import IO, Any

from fastapi import Request

from tunesmith.core.errors import UserError
from tunesmith.server.dialects.multipart import read_form
from tunesmith.server.web.forms import Posted
from tunesmith.server.web.visitor import Visitor, check_origin, check_token
from tunesmith.services.datasets import Datasets
from tunesmith.services.uploads import Incoming


@dataclass(frozen=True, slots=True)
class Upload:
    """What arrived."""

    form: Posted
    filename: str
    """As the browser had it; empty where no file was chosen."""
    file: IO[bytes]

    async def copy_to(self, incoming: Incoming) -> None:
        self.file.seek(0)
        target: Any = incoming
        await asyncio.to_thread(shutil.copyfileobj, self.file, target, 1 << 20)


@asynccontextmanager
async def uploaded(request: Request, visitor: Visitor) -> AsyncIterator[Upload]:
    """The form of a request; its file lies beside the data until the block ends.

    Raises:
        HTTPException: 403 for a form that is not of this session.
        UserError: no form, or a file over the server's limit.
    """
    check_origin(request)
    settings = request.app.state.settings
    with tempfile.TemporaryFile(dir=settings.data_dir) as file:
        form = await read_form(
            request.headers.get("content-type", ""), request.stream(), file, settings.max_dataset_bytes
        )
        fields = dict(form.fields)
        check_token(visitor, fields.pop("csrf", ""))
        yield Upload(Posted(visitor.owner, list(fields.items())), form.filename or "", file)


async def take_dataset(datasets: Datasets, upload: Upload, kind: str) -> str:
    """Make a dataset of an upload and check it; its id. One that cannot be taken leaves nothing behind.

    Raises:
        UserError: no file, or a name that cannot be one.
    """
    if not upload.filename or upload.filename == "upload":
        raise UserError("file", "none was chosen", "Choose a file of JSON lines")
    owner, name = upload.form.owner, upload.form.fields.get("name", "").strip()
    dataset_id = name or id_of_file(upload.filename)
    await asyncio.to_thread(lambda: datasets.create(owner, dataset_id, kind=kind))
    try:
        with datasets.upload(owner, dataset_id) as incoming:
            await upload.copy_to(incoming)
    except BaseException:
        await asyncio.to_thread(datasets.delete, owner, dataset_id)
        raise
    await asyncio.to_thread(datasets.finish, owner, dataset_id)
    return dataset_id


def id_of_file(filename: str) -> str:
    """``My rows.jsonl`` is ``my-rows``."""
    stem = PurePath(filename.replace("\\", "/")).name.partition(".")[0]
    name = sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:60].strip("-")
    return name if name[:1].isalpha() else f"data-{name}".rstrip("-")
