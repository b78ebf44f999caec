"""The gateway within a job's worker: a project's processor finds its remote server and its records here.

The project has no network. What it sends to its remote server is handed on to the one address that it names, after
that was checked; the remote server is told the server's own address and the key of that rollout, and nothing else.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tunesmith.core import addresses
from tunesmith.core.errors import UserError
from tunesmith.rollout.conversation import Turn
from tunesmith.services.gateway import wire
from tunesmith.services.gateway.book import RUNNING, Book, Trace, tags_of
from tunesmith.services.gateway.exchange import exchange
from tunesmith.services.gateway.rollouts import key_of
from tunesmith.services.gateway.wire import Wanted
from tunesmith.services.outside import Reach

REMOTE = "/remote"
"""Below it the project finds its remote server."""
WHERE = "remote_base_url"
INIT_S = 600.0
"""A remote server may make all of a rollout before it answers /init."""
HOLD_S = 1.0
"""A question for a status waits so long for the end."""
Answer = tuple[int, dict[str, Any]]


class Records:
    """What is known of one rollout."""

    def __init__(self) -> None:
        self.book = Book()
        self._ended = asyncio.Event()

    def keep(self, path: str, body: Mapping[str, Any], turn: Turn) -> None:
        """Note a call of the model, under the ids that its address names."""
        parts = urlsplit(path).path.strip("/").split("/")
        tags = tags_of({n: v for n, v in pairwise(parts) if n.endswith("_id")})
        done, messages = turn.completion, list(body["messages"])
        size = len(str(messages)) + 8 * len(turn.prompt) + 24 * len(done.tokens)
        asked = (str(body.get("model", "")), messages, list(body.get("tools") or ()))
        drawn = (turn.prompt, done.tokens, done.logprobs)
        self.book.traces.add(Trace(tags, *asked, turn.message, turn.finish_reason, *drawn, size, done.version))

    def take(self, given: Any, size: int) -> None:
        """
        Raises:
            UserError: a line that cannot be read.
        """
        log = wire.read_log(given, size)
        self.book.logs.add(log)
        if log.code not in (None, RUNNING):
            self._ended.set()

    async def status(self, rollout: str) -> dict[str, Any]:
        try:
            async with asyncio.timeout(HOLD_S):
                await self._ended.wait()
        except TimeoutError:
            pass
        return wire.status(self.book, rollout)


class Front:
    """Answers what is asked about the rollouts in hand, and begins them at the remote server."""

    def __init__(self, reach: Reach, remote: str, records_of: Callable[[str], Records | None]) -> None:
        """
        Args:
            remote: address of the remote server, as the project names it.
            records_of: a rollout's; None for one that is not in hand.
        """
        self._reach, self._remote, self._records_of = reach, remote.rstrip("/"), records_of

    async def check(self) -> None:
        """
        Raises:
            UserError: the remote server is where nobody may reach.
        """
        await asyncio.to_thread(addresses.destination, WHERE, self._remote, self._reach.allowed)

    async def answer(self, method: str, target: str, data: bytes) -> Answer | None:
        """None for what is no question of the gateway.

        Raises:
            UserError, ValueError, LookupError, TypeError: a request that cannot be read.
        """
        parts = urlsplit(target)
        if method == "POST" and parts.path == f"{REMOTE}/init":
            return await self._begin(json.loads(data))
        place = parts.path.removeprefix("/v1")
        asked = parse_qs(parts.query)
        if (method, place) == ("GET", "/status"):
            rollout = asked["rollout_id"][0]
            records = self._records_of(rollout)
            return _unknown(rollout) if records is None else (200, await records.status(rollout))
        if (method, place) == ("POST", "/logs"):
            return self._log(json.loads(data), len(data))
        find = {"/logs": wire.logs, "/traces": wire.traces, "/traces/pointwise": wire.last_trace}.get(place)
        if method != "GET" or find is None:
            return None
        wanted = _wanted(asked)
        records = self._records_of(wanted.rollout)
        return _unknown(wanted.rollout) if records is None else (200, find(records.book, wanted))

    def _log(self, given: Any, size: int) -> Answer:
        rollout = wire.rollout_of(wire.read_log(given, size).tags)
        records = self._records_of(rollout)
        if records is None:
            return _unknown(rollout)
        records.take(given, size)
        return 200, wire.TAKEN

    async def _begin(self, given: dict[str, Any]) -> Answer:
        """Hand /init on, with addresses and a key that are good outside."""
        rollout = str(given["metadata"]["rollout_id"])
        if self._records_of(rollout) is None:
            return _unknown(rollout)
        ids = urlsplit(given["model_base_url"]).path
        base = self._reach.base_url.rstrip("/")
        told = {**given, "model_base_url": f"{base}{ids}", "api_key": key_of(self._reach.secret, rollout)}
        try:
            async with asyncio.timeout(INIT_S):
                return await self._sent(json.dumps(told).encode())
        except UserError as e:
            return 403, _error(str(e))
        except TimeoutError:
            return 504, _error(f"{WHERE}: {self._remote} did not answer /init within {INIT_S:g} s")
        except OSError as e:
            return 502, _error(f"{WHERE}: {self._remote} cannot be reached: {e}")

    async def _sent(self, body: bytes) -> Answer:
        """
        Raises:
            UserError: an address that is not allowed. OSError: nobody answers there.
        """
        url = f"{self._remote}/init"
        to = await asyncio.to_thread(addresses.destination, WHERE, url, self._reach.allowed)
        host, headers = urlsplit(url).netloc, {"Content-Type": "application/json", "User-Agent": "tunesmith"}
        answer = await exchange(await addresses.open_streams(to), "POST", to.target, host, headers, body)
        if 300 <= answer.status < 400:
            return 502, _error(f"{WHERE}: {self._remote} answers with a redirect, which is not followed")
        if answer.status >= 400:
            return answer.status, _error(answer.body[:2000].decode("utf-8", "replace"))
        return answer.status, {}


def _wanted(asked: Mapping[str, list[str]]) -> Wanted:
    payloads = asked.get("include_payloads", [""])[0].lower() in ("1", "true")
    limit = max(1, min(int(asked.get("limit", ["100"])[0]), wire.MOST_FOUND))
    return Wanted(tuple(asked.get("tags", ())), limit, program=asked.get("program", [""])[0], payloads=payloads)


def _unknown(rollout: str) -> Answer:
    return 404, _error(f"rollout {rollout[:100]!r}: is not in this job's hands any more")


def _error(text: str) -> dict[str, Any]:
    return {"detail": text, "error": {"message": text, "type": "invalid_request_error", "code": None}}
