"""Calls of a rollout become Segments: what was sampled is never encoded again, a rewritten history begins another."""

import asyncio
from typing import Any

import numpy as np
import pytest

from tunesmith.core.errors import UserError
from tunesmith.core.types import Completion, SamplingParams
from tunesmith.models.chat import ChatRenderer, load_renderer
from tunesmith.rollout.conversation import Asked, Conversation
from tunesmith.services.names import embedded_model

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
TOOLS = (
    "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{{ m.content or '' }}{% for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
END = "<|im_end|>"


class Scripted:
    """A sampler that says what it is told to, by ids of its own choice."""

    version = 3

    def __init__(self, renderer: ChatRenderer, *replies: str) -> None:
        self._renderer, self._replies = renderer, list(replies)
        self.asked: list[tuple[np.ndarray, SamplingParams]] = []

    async def sample(self, prompt: Any, params: SamplingParams, n: int) -> list[Completion]:
        self.asked.append((prompt, params))
        # One id for each character: not what the tokenizer makes of the whole text.
        text, ended = self._replies.pop(0), 0
        ids = [int(i) for c in text.removesuffix(END) for i in self._renderer.inner(c)]
        if text.endswith(END):
            ids, ended = [*ids, int(self._renderer.inner(END)[0])], 1
        numbers = np.linspace(-1, -2, len(ids)).astype(np.float32)
        entropies = -numbers if params.entropies else None
        stop = "stop" if ended else "length"
        return [Completion(np.array(ids, np.int32), numbers, numbers, stop, 3, entropies=entropies)]


def renderer(template: str | None = None) -> ChatRenderer:
    own = load_renderer(embedded_model())
    if template is not None:
        own.tokenizer.chat_template = template
    return own


def talk(
    template: str | None,
    replies: list[str],
    *calls: list[dict[str, Any]],
    tools: Any = (),
    longest: int = 512,
    entropies=False,
):
    """A conversation after calls, and what its sampler was asked."""
    own = renderer(template)
    sampler = Scripted(own, *replies)
    conversation = Conversation(sampler, own, SamplingParams(30, 0.5, seed=1, entropies=entropies), longest)

    async def all_of_them() -> None:
        for messages in calls:
            await conversation.reply(messages, tools)

    asyncio.run(all_of_them())
    return conversation, sampler


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def sampled_text(conversation: Conversation, own: ChatRenderer) -> list[str]:
    return [own.spell(s.tokens[s.sampled]) for s in conversation.segments]


def test_a_second_turn_goes_on_after_the_sampled_ids():
    first, second = [user("one")], [user("one"), assistant("12 + 3"), user("two")]
    conversation, sampler = talk(None, ["12 + 3" + END, "ok" + END], first, second)
    own = renderer()
    (segment,) = conversation.segments
    assert own.spell(segment.tokens) == own.prompt_text(second) + "ok" + END
    prompt, params = sampler.asked[1]
    start = len(sampler.asked[0][0])
    reply = conversation.turns[0].completion.tokens
    assert prompt[start : start + len(reply)].tolist() == reply.tolist() != own.inner("12 + 3" + END).tolist()
    assert params.begun == len(prompt) - start and sampler.asked[0][1].begun == 0
    assert segment.sampled.sum() == sum(len(t.completion.tokens) for t in conversation.turns)
    assert np.array_equal(segment.logprobs[segment.sampled][: len(reply)], conversation.turns[0].completion.logprobs)
    assert not segment.logprobs[~segment.sampled].any() and segment.temperature == 0.5


def test_the_entropies_of_all_turns_stand_at_their_tokens():
    first, second = [user("one")], [user("one"), assistant("12"), user("two")]
    conversation, _ = talk(None, ["12" + END, "ok" + END], first, second, entropies=True)
    (segment,) = conversation.segments
    assert np.array_equal(segment.entropies, -segment.logprobs) and segment.entropies[segment.sampled].all()
    assert talk(None, ["12" + END], first)[0].segments[0].entropies is None


def test_a_reply_that_was_cut_off_is_ended_by_the_template():
    conversation, _ = talk(None, ["12", "ok" + END], [user("one")], [user("one"), assistant("12"), user("two")])
    (segment,) = conversation.segments
    own = renderer()
    assert own.spell(segment.tokens).count(END) == 4
    assert own.spell(segment.tokens[segment.sampled]) == "12ok" + END


@pytest.mark.parametrize(
    "second",
    [
        [user("another beginning")],
        [user("one"), assistant("13 + 3"), user("two")],
        [user("two"), assistant("12 + 3"), user("two")],
    ],
)
def test_a_rewritten_history_begins_another_segment(second):
    conversation, sampler = talk(None, ["12 + 3" + END, "ok" + END], [user("one")], second)
    assert sampled_text(conversation, renderer()) == ["12 + 3" + END, "ok" + END]
    assert sampler.asked[1][1].begun == 0


def test_a_call_is_the_same_however_the_template_writes_it():
    said = '<tool_call>{ "name":"look",   "arguments":{"x":1} }</tool_call>' + END
    conversation, sampler = talk(TOOLS, [said], [user("one")], tools=[TOOL])
    message = conversation.turns[0].message
    assert conversation.turns[0].finish_reason == "tool_calls"
    assert message["tool_calls"][0]["function"] == {"name": "look", "arguments": '{"x": 1}'}
    found = [user("one"), message, {"role": "tool", "content": "7", "tool_call_id": message["tool_calls"][0]["id"]}]
    again, sampler = talk(TOOLS, [said, "ok" + END], [user("one")], found, tools=[TOOL])
    (segment,) = again.segments
    own = renderer(TOOLS)
    assert own.spell(segment.tokens[segment.sampled]) == said + "ok" + END
    assert "<|im_start|>tool\n7<|im_end|>\n<|im_start|>assistant\n" in own.spell(sampler.asked[1][0])
    other = [found[0], {**message, "tool_calls": []}, found[2]]
    assert len(talk(TOOLS, [said, "ok" + END], [user("one")], other, tools=[TOOL])[0].segments) == 2


def test_equal_calls_have_streams_of_their_own():
    seeds = [p.seed for _, p in talk(None, ["1" + END, "2" + END, "3" + END], *([[user("one")]] * 3))[1].asked]
    assert len(set(seeds)) == 3
    again = [p.seed for _, p in talk(None, ["1" + END, "2" + END], *([[user("one")]] * 2))[1].asked]
    assert again == seeds[:2]


def test_the_room_of_the_context():
    conversation, sampler = talk(None, ["1" + END], [user("one")], longest=40)
    assert sampler.asked[0][1].max_tokens == min(30, 40 - len(conversation.turns[0].prompt))
    with pytest.raises(UserError, match="max_context_length"):
        talk(None, ["1" + END], [user("one " * 60)], longest=40)


def test_another_temperature_begins_another_segment():
    own = renderer()
    sampler = Scripted(own, "1" + END, "2" + END)
    conversation = Conversation(sampler, own, SamplingParams(max_tokens=9, temperature=0.5), 512)
    asyncio.run(conversation.reply([user("one")], (), Asked(temperature=1.5)))
    asyncio.run(conversation.reply([user("one"), assistant("1"), user("two")]))
    assert [s.temperature for s in conversation.segments] == [1.5, 0.5]
