"""How a model that grades is asked, wherever it is sampled: in a job's process, or in an engine of the server."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from tunesmith.core.errors import UserError
from tunesmith.core.ports import Answer, Question
from tunesmith.core.types import Completion, Ints, SamplingParams
from tunesmith.models.chat import ChatRenderer
from tunesmith.models.grammar import json_grammar
from tunesmith.models.untrusted import untrusted_prompt

Draw = Callable[[Ints, SamplingParams], Awaitable[Completion]]


async def answered(question: Question, renderer: ChatRenderer, context: int, draw: Draw) -> Answer:
    """The answer to a question in the form that it asks for; shorter where the context has no room for more.

    Args:
        context: positions of the model.
        draw: one completion of a prompt.

    Raises:
        UserError: the question leaves no room for an answer, or its form cannot be enforced.
    """
    # What is graded came from a policy or from strangers: it may not end its turn and speak for others.
    prompt = untrusted_prompt(renderer, question.messages)
    room = context - len(prompt)
    if room < 1:
        problem = f"a question of {len(prompt)} tokens leaves no room in a context of {context}"
        raise UserError(question.model, problem, "Shorten the grader's messages, or the job's max_tokens")
    grammar = json_grammar(question.schema, "range")
    params = replace(question.params, grammar=grammar, max_tokens=min(room, question.params.max_tokens))
    completion = await draw(prompt, params)
    sampled = len(completion.tokens)
    return Answer(renderer.decode(completion.tokens), sampled, len(prompt) + sampled)
