"""``POST /completions``: what follows a text or ids, with no template between."""

import asyncio
import time
from secrets import token_hex

import numpy as np
from fastapi import Request, Response

from tunesmith.core.errors import UserError
from tunesmith.core.types import Ints, NewToken, PromptScores, PromptScoring, SamplingParams
from tunesmith.models.chat import ChatRenderer
from tunesmith.server.auth import Owner
from tunesmith.server.body import read_json
from tunesmith.server.dialects.openai.choices import Pieces, TextChoice
from tunesmith.server.dialects.openai.envelope import failure, new_router
from tunesmith.server.dialects.openai.generation import Work, check_room, streamed, unless_gone, whole
from tunesmith.server.dialects.openai.growing import Growing, Part
from tunesmith.server.dialects.openai.requests import CompletionRequest, check
from tunesmith.server.dialects.weights import find_weights, renderer_of
from tunesmith.services.sessions.results import Failed
from tunesmith.services.sessions.samplers import MOST_SAMPLES, LiveSampler
from tunesmith.services.sessions.sessions import Sessions

router = new_router()
OBJECTS = ("text_completion", "text_completion")


@router.post("/completions", response_model=None)
async def completions(request: Request, owner: Owner) -> Response:
    """n continuations of every prompt."""
    sessions: Sessions = request.app.state.sessions
    given = await read_json(request, CompletionRequest)
    check(given)
    check_room(sessions.samplers)
    live = find_weights(request, owner, given.model)
    renderer = await asyncio.to_thread(renderer_of, request, live)
    prompts = await asyncio.to_thread(_prompts, given, renderer)
    echoed = await _echoed(request, given, live, renderer, prompts)
    pieces = Pieces(renderer)
    work = Work(
        samplers=sessions.samplers,
        live=live,
        prompts=prompts,
        params=[given.params(given.max_tokens, given.logprobs or 0)] * len(prompts),
        n=given.n,
        frame={"id": f"cmpl-{token_hex(16)}", "created": int(time.time()), "model": given.model},
        object=OBJECTS,
        choices=[
            TextChoice(i, given, prompts[i // given.n], renderer, pieces, echoed[i // given.n])
            for i in range(given.n * len(prompts))
        ],
        nothing=given.max_tokens == 0,
    )
    return await (streamed(request, work, given.stream_options.include_usage) if given.stream else whole(request, work))


def _prompts(given: CompletionRequest, renderer: ChatRenderer) -> list[Ints]:
    prompts = given.prompts
    if not prompts or len(prompts) * given.n > MOST_SAMPLES:
        problem = f"asks for {len(prompts) * given.n} completions"
        raise UserError("prompt", problem, f"Give at least one prompt, and at most {MOST_SAMPLES} for all n of them")
    return [renderer.encode(p) if isinstance(p, str) else _ids(p) for p in prompts]


def _ids(prompt: list[int]) -> Ints:
    wrong = [i for i in prompt if not 0 <= i < 1 << 31]
    if wrong:
        raise UserError("prompt", f"{wrong[0]} is no id", "Encode with the tokenizer of this model")
    return np.array(prompt, np.int32)


async def _echoed(
    request: Request, given: CompletionRequest, live: LiveSampler, renderer: ChatRenderer, prompts: list[Ints]
) -> list[Part | None]:
    """Every prompt as the beginning of its answer, with its scores where they are wanted; None without echo."""
    if not given.echo:
        return [None] * len(prompts)
    scores: list[PromptScores | None] = [None] * len(prompts)
    if given.logprobs is not None:
        scores = [await unless_gone(request, _scores(request, live, prompt, given.logprobs)) for prompt in prompts]
    return await asyncio.to_thread(lambda: [_part(p, s, renderer) for p, s in zip(prompts, scores, strict=True)])


async def _scores(request: Request, live: LiveSampler, prompt: Ints, likeliest: int) -> PromptScores:
    """What the model says of a prompt. The engine draws a token with it, for which there must be room."""
    sessions: Sessions = request.app.state.sessions
    one = SamplingParams(max_tokens=1)
    result = await sessions.samplers.draw(live, prompt, one, 1, PromptScoring(top_k=likeliest))
    if isinstance(result, Failed):
        raise failure(result)
    assert result.prompt is not None, "scores were asked for"
    return result.prompt


def _part(prompt: Ints, scores: PromptScores | None, renderer: ChatRenderer) -> Part:
    """A prompt, token by token; the first has no log-probability."""
    growing, part, last = Growing(renderer.decode, ()), Part(), len(prompt) - 1
    for i, token in enumerate(prompt):
        logprob = float("nan") if scores is None else float(scores.logprobs[i])
        ids = None if scores is None or scores.top_ids is None else scores.top_ids[i]
        nats = None if scores is None or scores.top_logprobs is None else scores.top_logprobs[i]
        part += growing.add(NewToken(0, int(token), logprob, logprob, ids, nats, "length" if i == last else None))
    return part
