"""Models that grade while a grader is tried out: sampled in the engines of this server, like any request for them."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any

from fastapi import Request

from tunesmith.core.errors import NotFound, UserError
from tunesmith.core.ports import Answer, Question
from tunesmith.core.types import Completion, Ints, SamplingParams
from tunesmith.grading.composed import judged
from tunesmith.server.dialects.weights import find_weights, renderer_of
from tunesmith.services.judging import answered
from tunesmith.services.sessions.results import Failed
from tunesmith.services.sessions.sessions import Sessions


class EngineJudge:
    """Asks whatever the owner may sample from."""

    def __init__(self, request: Request, owner: str) -> None:
        self.tokens: Counter[str] = Counter()
        """Model -> tokens that it read and wrote."""
        self._request, self._owner = request, owner

    def check(self, grader: Mapping[str, Any], where: str) -> None:
        """
        Raises:
            NotFound: a model that is not there, with its place.
        """
        for name, part in judged.parts_of(grader).items():
            place = f"{where}.graders.{name}.model" if name else f"{where}.model"
            try:
                find_weights(self._request, self._owner, part["model"])
            except NotFound as e:
                raise NotFound(place, e.problem, e.mend) from None

    async def __call__(self, question: Question) -> Answer:
        sessions: Sessions = self._request.app.state.sessions
        live = find_weights(self._request, self._owner, question.model)
        renderer = await asyncio.to_thread(renderer_of, self._request, live)

        async def draw(prompt: Ints, params: SamplingParams) -> Completion:
            drawn = await sessions.samplers.draw(live, prompt, params, 1)
            if isinstance(drawn, Failed):
                raise UserError(question.model, drawn.error, "Look at the server's log")
            return drawn.completions[0]

        answer = await answered(question, renderer, live.context, draw)
        self.tokens[question.model] += answer.tokens
        return answer
