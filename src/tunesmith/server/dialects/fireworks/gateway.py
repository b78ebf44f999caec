"""The tracing gateway's records: how a rollout stands, what was logged of it, and the calls that it made.

Each address is there with and without ``/v1``: clients try one after the other. What belongs to a job's rollout is
asked of the job's worker.
"""

import json
from typing import Annotated, Any

from fastapi import Depends, Query, Request, Response

from tunesmith.core.errors import UserError
from tunesmith.server.body import read_body
from tunesmith.server.dialects.fireworks.envelope import new_router
from tunesmith.server.dialects.rollout_desk import AnyCaller, desk_of, relayed
from tunesmith.services.gateway import wire
from tunesmith.services.gateway.book import HOURS
from tunesmith.services.gateway.wire import Wanted

MOST_LOG_BYTES = 1 << 20
PROJECT = "/project_id/{project_id}"
LOG = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["tags"],
                    "properties": {
                        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 1},
                        "program": {"type": "string"},
                        "message": {"type": "string"},
                        "severity": {"type": "string"},
                        "status": {"type": ["object", "null"]},
                        "extras": {"type": ["object", "null"]},
                    },
                }
            }
        },
    }
}
"""How a line of log is described; it is read by hand, as leniently as clients write it."""
ROOTS = ("", "/v1")
router = new_router()
Answer = dict[str, Any] | Response


async def wanted(
    tags: Annotated[list[str] | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=wire.MOST_FOUND)] = 100,
    hours_back: Annotated[float, Query(gt=0)] = HOURS,
    program: str = "",
    include_payloads: bool = False,
    project_id: str = wire.DEFAULT_PROJECT,
) -> Wanted:
    """
    Raises:
        UserError: no tags.
    """
    return Wanted(tuple(tags or ()), limit, hours_back, program, include_payloads, project_id)


Search = Annotated[Wanted, Depends(wanted)]


async def status(request: Request, caller: AnyCaller, rollout_id: str) -> Answer:
    """How a rollout stands: the code that its server logged; null before it did."""
    desk = await desk_of(request, caller, rollout_id)
    return await relayed(request, desk, rollout_id) if desk.socket else wire.status(desk.book, rollout_id)


async def get_logs(request: Request, caller: AnyCaller, search: Search) -> Answer:
    """What was logged under all of these tags, newest first."""
    desk = await desk_of(request, caller, search.rollout)
    return await relayed(request, desk, search.rollout) if desk.socket else wire.logs(desk.book, search)


async def post_log(request: Request, caller: AnyCaller) -> Answer:
    """Take a line of log, which may carry the status of a rollout."""
    body = await read_body(request, MOST_LOG_BYTES)
    try:
        given = json.loads(body)
    except ValueError:
        raise UserError("body", "is not JSON", 'Send {"message": "", "tags": ["rollout_id:<id>"]}') from None
    log = wire.read_log(given, len(body))
    rollout = wire.rollout_of(log.tags)
    desk = await desk_of(request, caller, rollout)
    if desk.socket:
        return await relayed(request, desk, rollout, body)
    desk.book.logs.add(log)
    return wire.TAKEN


async def get_traces(request: Request, caller: AnyCaller, search: Search) -> Answer:
    """The calls that were made under all of these tags, newest first."""
    desk = await desk_of(request, caller, search.rollout)
    return await relayed(request, desk, search.rollout) if desk.socket else wire.traces(desk.book, search)


async def get_last_trace(request: Request, caller: AnyCaller, search: Search) -> Answer:
    """The call that holds all of a rollout's conversation; each call where tokens are asked for."""
    desk = await desk_of(request, caller, search.rollout)
    return await relayed(request, desk, search.rollout) if desk.socket else wire.last_trace(desk.book, search)


for root in ROOTS:
    router.add_api_route(f"{root}/status", status, methods=["GET"], response_model=None)
    router.add_api_route(f"{root}/logs", get_logs, methods=["GET"], response_model=None)
    router.add_api_route(f"{root}/logs", post_log, methods=["POST"], response_model=None, openapi_extra=LOG)
    for project in ("", PROJECT):
        router.add_api_route(f"{root}{project}/traces", get_traces, methods=["GET"], response_model=None)
        router.add_api_route(f"{root}{project}/traces/pointwise", get_last_trace, methods=["GET"], response_model=None)
