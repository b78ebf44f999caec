"""``POST /inference/v1/completions``: what a deployment sampler asks, answered whole or as server-sent events."""

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator
from secrets import token_hex
from typing import Any

import numpy as np
from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect

from tunesmith.core.errors import UserError
from tunesmith.core.types import Completion, Floats, Ints, PromptScoring, SamplingParams
from tunesmith.models.chat import ChatRenderer
from tunesmith.models.config import read_config
from tunesmith.server.body import read_json
from tunesmith.server.dialects.fireworks import tensors
from tunesmith.server.dialects.fireworks.choices import Drawn, choice
from tunesmith.server.dialects.fireworks.completion_request import CompletionRequest, check, sampling_params
from tunesmith.server.dialects.fireworks.envelope import error_body, new_router, refused
from tunesmith.server.dialects.fireworks.place import Here, Place
from tunesmith.server.dialects.weights import find_weights, renderer_of
from tunesmith.services.sessions.results import Failed
from tunesmith.services.sessions.samplers import LiveSampler

router = new_router()
KEEPALIVE_SECONDS = 15.0
"""A stream that has nothing to say yet says so this often."""
LOOK_SECONDS = 1.0
"""How often to look whether the client is still there."""


@router.post("/completions", response_model=None)
async def completions(request: Request, here: Here) -> Response:
    """n completions of one prompt, by a base model, a checkpoint of a session, or what a deployment has loaded."""
    given = await read_json(request, CompletionRequest)
    check(given)
    live = find_weights(request, here.owner, given.model)
    renderer = await asyncio.to_thread(renderer_of, request, live)
    work = asyncio.create_task(_complete(here, given, live, renderer))
    headers = {"x-request-id": request.headers.get("x-request-id", token_hex(16))}
    try:
        await _settled(request, work, KEEPALIVE_SECONDS if given.stream else math.inf)
    except (asyncio.CancelledError, ClientDisconnect):
        work.cancel()
        raise
    if not work.done():
        return StreamingResponse(_events(work), media_type="text/event-stream", headers=headers)
    body = work.result()
    if isinstance(body, Failed):
        return refused(400 if body.category == "user" else 500, body.error, headers)
    if given.stream:
        return Response(_event(body) + "data: [DONE]\n\n", media_type="text/event-stream", headers=headers)
    return Response(json.dumps(body), headers=headers, media_type="application/json")


async def _settled(request: Request, work: "asyncio.Task[Any]", seconds: float) -> None:
    """Return when the work is done, or after so many seconds.

    Raises:
        ClientDisconnect: nobody waits any more.
    """
    until = time.monotonic() + seconds
    while not work.done() and (left := until - time.monotonic()) > 0:
        await asyncio.wait([work], timeout=min(LOOK_SECONDS, left))
        if not work.done() and await request.is_disconnected():
            raise ClientDisconnect


async def _events(work: "asyncio.Task[dict[str, Any] | Failed]") -> AsyncIterator[str]:
    """Comments until there is an answer, and then all of it; a failure so late is an event of its own."""
    try:
        while not work.done():
            yield ": still at work\n\n"
            await asyncio.wait([work], timeout=KEEPALIVE_SECONDS)
        try:
            body = work.result()
        except UserError as e:
            body = Failed(str(e), "user")
        if isinstance(body, Failed):
            yield _event(error_body(400 if body.category == "user" else 500, body.error))
        else:
            yield _event(body) + "data: [DONE]\n\n"
    finally:
        work.cancel()


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body)}\n\n"


async def _complete(
    here: Place, given: CompletionRequest, live: LiveSampler, renderer: ChatRenderer
) -> dict[str, Any] | Failed:
    began = time.perf_counter()
    prompt = renderer.encode(given.prompt) if isinstance(given.prompt, str) else tensors.ids("prompt", given.prompt)
    params = sampling_params(given)
    if params.routing:
        folder = here.sessions.engines.model(live.row.base_model).folder
        tensors.expert_shape("include_routing_matrix", read_config(folder))
    # At these temperatures what was sampled from is what the model says, but for top_k and top_p.
    own_scores = params.temperature in (0.0, 1.0)
    scoring = PromptScoring() if given.echo and given.logprobs and own_scores else None
    result = await here.sessions.samplers.draw(live, prompt, params, given.n, scoring)
    if isinstance(result, Failed):
        return result
    drawn = []
    for completion in result.completions:
        logprobs = completion.logprobs
        echoed = result.prompt.logprobs if result.prompt is not None else np.zeros(0, np.float32)
        if given.logprobs and not own_scores:
            scored = await _score(here, live, prompt, completion, given.echo)
            if isinstance(scored, Failed):
                return scored
            echoed, logprobs = scored[: len(prompt)], scored[len(prompt) :]
        drawn.append(Drawn(completion, prompt, logprobs, echoed))
    choices = await asyncio.to_thread(lambda: [choice(i, d, given, renderer) for i, d in enumerate(drawn)])
    return _body(given, prompt, drawn, choices, time.perf_counter() - began, here.sessions.samplers.running)


async def _score(here: Place, live: LiveSampler, prompt: Ints, completion: Completion, echo: bool) -> Floats | Failed:
    """[P + C] log-probabilities at temperature 1; NaN where they were not asked for, or the context has no room."""
    whole = np.concatenate([prompt, completion.tokens])
    if not len(completion.tokens) and not echo:
        return np.full(len(whole), np.nan, np.float32)
    asked = whole[: live.context - 1]
    last_n = None if echo else max(1, len(asked) - len(prompt))
    result = await here.sessions.samplers.draw(
        live, asked, SamplingParams(max_tokens=1), 1, PromptScoring(last_n=last_n)
    )
    if isinstance(result, Failed):
        return result
    assert result.prompt is not None, "scores were asked for"
    out = np.full(len(whole), np.nan, np.float32)
    out[: len(asked)] = result.prompt.logprobs
    return out


def _body(
    given: CompletionRequest,
    prompt: Ints,
    drawn: list[Drawn],
    choices: list[dict[str, Any]],
    seconds: float,
    running: int,
) -> dict[str, Any]:
    sampled = sum(len(d.completion.tokens) for d in drawn)
    usage = {"prompt_tokens": len(prompt), "completion_tokens": sampled, "total_tokens": len(prompt) + sampled}
    body = {
        "id": f"cmpl-{token_hex(16)}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": given.model,
        "choices": choices,
        "usage": usage,
    }
    if given.perf_metrics_in_response:
        body["perf_metrics"] = {
            "prompt-tokens": str(len(prompt)),
            "server-processing-time": f"{seconds:.6f}",
            "num-concurrent-requests": str(running),
        }
    return body
