"""A look-alike of the Hugging Face hub, for clients with ``HF_ENDPOINT`` set: tokenizers and datasets, read only.

Registered base models give their tokenizer and configuration, never weights; folders under ``data-dir/hub`` give all.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs

from fastapi import Depends, Request, Response
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException

from tunesmith.core.errors import NotFound
from tunesmith.server.body import read_body
from tunesmith.server.errors import refusal
from tunesmith.server.routing import Router
from tunesmith.services.registry import Registry

OF_A_MODEL = frozenset(
    {
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.json",
        "vocab.txt",
        "merges.txt",
        "tokenizer.model",
        "chat_template.jinja",
        "chat_template.json",
    }
)
"""What a registered base model shows."""
LONGEST_LIST_BYTES = 1 << 20
Kind = Literal["models", "datasets"]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


@dataclass(frozen=True, slots=True)
class Repo:
    """One repository: the files below a folder. There is one revision, whatever name a client has for it."""

    id: str
    folder: Path
    only: frozenset[str] | None
    """Names that are shown; None shows all but hidden ones."""

    def files(self) -> dict[str, os.stat_result]:
        """Path with ``/`` -> size and times, by path."""
        return dict(sorted(self._walk()))

    def _walk(self) -> Iterator[tuple[str, os.stat_result]]:
        for parent, folders, names in os.walk(self.folder):
            folders[:] = [name for name in folders if not name.startswith(".") and self.only is None]
            for name in names:
                path = Path(parent, name)
                if self._shows((name,)) and path.is_file():
                    yield path.relative_to(self.folder).as_posix(), path.stat()

    def find(self, path: str) -> Path | None:
        """A file by its path in the repository; None for what is not shown, and for paths that lead out of it."""
        parts = tuple(path.split("/"))
        file = self.folder.joinpath(*parts)
        try:
            return file if self._shows(parts) and file.is_file() else None
        except OSError:
            # A name longer than the system allows, and other paths that no file has.
            return None

    def _shows(self, parts: tuple[str, ...]) -> bool:
        if self.only is not None:
            return len(parts) == 1 and parts[0] in self.only
        # Empty parts and .. are refused with the hidden ones.
        return all(part and not part.startswith(".") and "\\" not in part for part in parts)


def commit_of(files: dict[str, os.stat_result]) -> str:
    """40 hexadecimal digits that change with every file."""
    listed = [(path, stat.st_size, stat.st_mtime_ns) for path, stat in files.items()]
    return hashlib.sha1(json.dumps(listed).encode(), usedforsecurity=False).hexdigest()


def _open(request: Request, kind: Kind, org: str, name: str) -> Repo:
    repo_id = f"{org}/{name}"
    if kind == "models":
        registry: Registry = request.app.state.registry
        found = next((model for model in registry.models() if model.name == repo_id), None)
        if found is not None:
            return Repo(repo_id, found.folder, OF_A_MODEL)
    folder: Path = request.app.state.settings.data_dir / "hub" / kind / org / name
    if _NAME.fullmatch(org) and _NAME.fullmatch(name) and folder.is_dir():
        return Repo(repo_id, folder, None)
    mend = f"Put its files into hub/{kind}/{org}/{name} of the data directory"
    if kind == "models":
        mend = f"Register it: tunesmith models add {repo_id} DIR. Or: {mend[0].lower()}{mend[1:]}"
    raise _absent("RepoNotFound", NotFound(repo_id, f"no such repository of {kind}", mend))


def _absent(code: str, error: NotFound) -> HTTPException:
    """404 as Hugging Face's clients know it: they tell a missing file from a missing repository by the header."""
    # The name is quoted in it: what cannot stand in a header would break the answer off.
    said = "".join(c if " " <= c <= "~" else "?" for c in str(error))
    return refusal(404, error, {"X-Error-Code": code, "X-Error-Message": said[:500]})


def _no_entry(repo: Repo, path: str) -> HTTPException:
    return _absent("EntryNotFound", NotFound(repo.id, f"no {path[:200]!r} in it", "List its files to see which it has"))


def _model(request: Request, org: str, name: str) -> Repo:
    return _open(request, "models", org, name)


def _dataset(request: Request, org: str, name: str) -> Repo:
    return _open(request, "datasets", org, name)


def describe(repo: Repo) -> dict[str, Any]:
    """A repository and the names of its files."""
    files = repo.files()
    newest = max((stat.st_mtime for stat in files.values()), default=0.0)
    changed = datetime.fromtimestamp(newest, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {
        "id": repo.id,
        "sha": commit_of(files),
        "siblings": [{"rfilename": path} for path in files],
        "tags": [],
        "private": False,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "lastModified": changed,
        "createdAt": changed,
    }


def tree(repo: Repo, path: str, recursive: bool) -> list[dict[str, Any]]:
    """What is below a folder of a repository: its own entries, or with ``recursive`` all."""
    prefix = f"{path.strip('/')}/" if path.strip("/") else ""
    files = {p: stat for p, stat in repo.files().items() if p.startswith(prefix)}
    if prefix and not files:
        raise _no_entry(repo, path)
    folders: set[str] = set()
    for below in files:
        parts = below.removeprefix(prefix).split("/")[:-1]
        folders |= {prefix + "/".join(parts[: i + 1]) for i in range(len(parts))}
    wanted = sorted([*folders, *files])
    return [
        _folder_entry(p) if p in folders else _file_entry(p, files[p])
        for p in wanted
        if recursive or "/" not in p.removeprefix(prefix)
    ]


def _file_entry(path: str, stat: os.stat_result) -> dict[str, Any]:
    return {"type": "file", "path": path, "size": stat.st_size, "oid": commit_of({path: stat})}


def _folder_entry(path: str) -> dict[str, Any]:
    oid = hashlib.sha1(path.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()
    return {"type": "directory", "path": path, "size": 0, "oid": oid}


def resolve(repo: Repo, path: str) -> Response:
    """A file with what clients keep it by; a range of it where they ask for one."""
    file = repo.find(path)
    if file is None:
        raise _no_entry(repo, path)
    stat = file.stat()
    headers = {"ETag": f'"{commit_of({path: stat})}"', "X-Repo-Commit": commit_of(repo.files())}
    return FileResponse(file, headers=headers, media_type="application/octet-stream", stat_result=stat)


async def _asked_paths(request: Request) -> list[str]:
    """Paths from a form or from JSON: clients of different age send one or the other."""
    body = await read_body(request, LONGEST_LIST_BYTES)
    if "json" not in request.headers.get("content-type", ""):
        return parse_qs(body.decode("utf-8", "replace")).get("paths", [])
    try:
        paths = json.loads(body)["paths"]
    except (ValueError, LookupError, TypeError, RecursionError):
        paths = None
    if not isinstance(paths, list):
        raise refusal(400, NotFound("paths", "is no list of paths", 'Send {"paths": ["a file"]}'))
    return [str(path) for path in paths]


Paths = Annotated[list[str], Depends(_asked_paths)]


def _routes(kind: Kind, opened: Callable[[Request, str, str], Repo], prefix: str) -> Router:
    """The addresses of one kind of repository. Plain functions: they read disks, so they run in threads."""
    routes = Router(include_in_schema=False)
    api = f"/api/{kind}/{{org}}/{{name}}"

    @routes.get(api)
    @routes.get(api + "/revision/{revision}")
    def info(repo: Annotated[Repo, Depends(opened)]) -> dict[str, Any]:
        return describe(repo)

    @routes.get(api + "/tree/{revision}")
    @routes.get(api + "/tree/{revision}/{path:path}")
    def list_tree(
        repo: Annotated[Repo, Depends(opened)], path: str = "", recursive: bool = False
    ) -> list[dict[str, Any]]:
        return tree(repo, path, recursive)

    @routes.post(api + "/paths-info/{revision}")
    def paths_info(repo: Annotated[Repo, Depends(opened)], paths: Paths) -> list[dict[str, Any]]:
        files = repo.files()
        return [_file_entry(path, files[path]) for path in paths if path in files]

    @routes.api_route(prefix + "/{org}/{name}/resolve/{revision}/{path:path}", methods=["GET", "HEAD"])
    def file(repo: Annotated[Repo, Depends(opened)], path: str) -> Response:
        return resolve(repo, path)

    return routes


router = Router()
router.include_router(_routes("models", _model, ""))
router.include_router(_routes("datasets", _dataset, "/datasets"))
