"""The client of the server commands: requests to our own REST with the standard library, which loads at once."""

import json
import os
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any, NoReturn
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

from tunesmith.cli.login import Login, login_of
from tunesmith.core.errors import Conflict, Denied, JobStopped, NotFound, UserError

TIMEOUT_S = 60.0
"""Without a byte from the server."""
PIECE_BYTES = 1 << 20
KINDS: Mapping[str, type[UserError]] = {
    "not_found": NotFound,
    "conflict": Conflict,
    "denied": Denied,
    "unauthenticated": Denied,
    "stopped": JobStopped,
}
STATUSES: Mapping[int, type[UserError]] = {401: Denied, 403: Denied, 404: NotFound, 409: Conflict}


class Unreachable(UserError):
    """Nothing answers, or what answers is no server of ours."""


class Client:
    """One server and one key."""

    def __init__(self, login: Login) -> None:
        self.url, self._key = login.url.rstrip("/"), login.key
        self._opener: OpenerDirector = build_opener(_NoRedirects)

    def get(self, path: str, **query: Any) -> Any:
        return self.send("GET", path, query=query)

    def post(self, path: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None) -> Any:
        return self.send("POST", path, json.dumps(body or {}).encode(), headers)

    def put(self, path: str, body: Mapping[str, Any]) -> Any:
        return self.send("PUT", path, json.dumps(body).encode())

    def delete(self, path: str) -> Any:
        return self.send("DELETE", path)

    def send(
        self,
        method: str,
        path: str,
        body: bytes | IO[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, Any] | None = None,
    ) -> Any:
        """The answer as it was before it became JSON; None where there is none.

        Raises:
            UserError: whatever the server refuses, of its kind. Unreachable: no server answers there.
        """
        with self.open(method, path, body, headers, query) as answer:
            text = answer.read()
        try:
            return json.loads(text) if text else None
        except ValueError:
            raise Unreachable(self.url, "is some other program's address", "Give the server's own: --url") from None

    def open(
        self,
        method: str,
        path: str,
        body: bytes | IO[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, Any] | None = None,
    ) -> Any:
        """The answer as a file that is read as it comes. Paths begin with ``/``; those of jobs and such are ours."""
        root = "" if path.startswith(("/v1/", "/tunesmith/")) else "/api/v1"
        given = {name: value for name, value in (query or {}).items() if value is not None}
        url = f"{self.url}{root}{path}" + (f"?{urlencode(given, doseq=True)}" if given else "")
        request = Request(url, body, {"x-api-key": self._key, **(headers or {})}, method=method)
        try:
            return self._opener.open(request, timeout=TIMEOUT_S)
        except HTTPError as e:
            self._refuse(e.code, e.read())
        except (OSError, HTTPException, ValueError) as e:
            mend = "Start one with: tunesmith serve, or say where it is: tunesmith login URL, or --url"
            raise Unreachable(self.url, f"no server answers there ({getattr(e, 'reason', e)})", mend) from None

    def download(self, path: str, file: Path) -> int:
        """Write an answer to a file, which appears when it is whole; its size in bytes."""
        unfinished = file.with_name(f".{file.name}.part")
        size = 0
        try:
            with self.open("GET", path) as answer, unfinished.open("wb") as out:
                while piece := answer.read(PIECE_BYTES):
                    size += out.write(piece)
                declared = answer.headers.get("content-length")
            if declared is not None and int(declared) != size:
                problem = f"the answer broke off after {size:,} of {int(declared):,} bytes"
                raise Unreachable(self.url, problem, "Try again")
            unfinished.replace(file)
        finally:
            unfinished.unlink(missing_ok=True)
        return size

    def events(self, path: str, **query: Any) -> Iterator[tuple[str, Any]]:
        """(name, data) of server-sent events; the last is ("end", ...) unless the server went away."""
        event = ""
        with self.open("GET", path, query={**query, "follow": "true"}) as answer:
            for raw in answer:
                name, _, value = raw.decode("utf-8", "replace").rstrip("\n").partition(": ")
                event = value if name == "event" else event if name else ""
                if name == "data":
                    yield event or "message", json.loads(value)

    def _refuse(self, status: int, body: bytes) -> NoReturn:
        try:
            said = json.loads(body)
        except ValueError:
            said = {}
        error = said.get("error") if isinstance(said, dict) else None
        if isinstance(error, dict) and "problem" in error:
            kind = KINDS.get(error["kind"], UserError)
            shown = f"{error['problem']}" + (f" [{error['request_id']}]" if status >= 500 else "")
            raise kind(error["where"], shown, error["mend"])
        text = error.get("message") if isinstance(error, dict) else said.get("detail") if said else None
        raise STATUSES.get(status, UserError)(self.url, f"answers {status}: {text or 'no reason given'}", "")


class _NoRedirects(HTTPRedirectHandler):
    """A key is for the server that it was given for, and no other."""

    def redirect_request(self, *_: Any) -> None:
        return None


def client_of(url: str | None = None) -> Client:
    """The client of the server that a flag, the environment or the last login names."""
    return Client(login_of(url, os.environ))


def path_of(*parts: str) -> str:
    """``path_of("jobs", "job-1")`` is ``/jobs/job-1``; what a part holds stays one part, but for names with ``/``."""
    return "".join(f"/{quote(part, safe='/' if i else '')}" for i, part in enumerate(parts))
