"""Calls of functions in replies: both notations, in pieces and whole, and what only looks like a call."""

import json
from dataclasses import replace
from typing import Any

import pytest

from tunesmith.core.errors import UserError
from tunesmith.core.types import NewToken
from tunesmith.models.chat import ChatRenderer, load_renderer
from tunesmith.models.tool_calls import BARE, TAGGED, Notation, notation_of
from tunesmith.server.dialects.openai.choices import ChatChoice, Pieces
from tunesmith.server.dialects.openai.requests import ChatRequest
from tunesmith.services.names import embedded_model

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
SHOWN = "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}{{ m.role }}: {{ m.content or '' }}"
END = "<|im_end|>{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
CALLS = {
    "tagged": "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}",
    "bare": """{% for c in m.tool_calls or [] %}{"name": "{{ c.function.name }}", "parameters": """
    """{{ c.function.arguments | tojson }}}{% endfor %}""",
    "python": "{% for c in m.tool_calls or [] %}{{ c.function.name }}(){% endfor %}",
}


def renderer(template: str | None = None) -> ChatRenderer:
    """The embedded model's, perhaps with another template."""
    own = load_renderer(embedded_model())
    if template is not None:
        own.tokenizer.chat_template = template
    return own


@pytest.mark.parametrize(("name", "notation"), [("tagged", TAGGED), ("bare", BARE)])
def test_the_notation_is_the_templates(name, notation):
    assert notation_of(renderer(SHOWN + CALLS[name] + END), [TOOL]) is notation


@pytest.mark.parametrize(
    ("template", "words"),
    [(None, "does not tell it about tools"), (SHOWN + CALLS["python"] + END, "notation that is not known here")],
)
def test_other_templates_are_refused_by_name(template, words):
    with pytest.raises(UserError, match=words) as refused:
        notation_of(renderer(template), [TOOL])
    assert refused.value.where == "tools"


def reply(text: str, notation: Notation, stop: str = "stop") -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(the whole choice, its pieces) of a reply of one character per token."""
    own = renderer()
    given = ChatRequest(model="m", messages=[{"role": "user", "content": "a"}], tools=[TOOL])
    ids = [t for c in text for t in own.encode(c).tolist()]
    tokens = [NewToken(0, t, -1.0, -1.0, None, None, None) for t in ids]
    tokens[-1] = replace(tokens[-1], stop=stop)
    whole, piecewise = (ChatChoice(0, given, own, Pieces(own), notation) for _ in range(2))
    pieces = []
    for token in tokens:
        whole.add(token)
        piecewise.add(token)
        if (piece := piecewise.piece()) is not None:
            pieces.append(piece)
    return whole.whole(), pieces


ONE = '{"name": "look", "arguments": {"at": "x"}}'
TWO = '{"name": "look", "parameters": {"at": 1}}'


@pytest.mark.parametrize(
    ("text", "notation", "content", "calls"),
    [
        (f"<tool_call>{ONE}</tool_call>", TAGGED, "", [{"at": "x"}]),
        (f"a < b <tool_call>\n{ONE}\n</tool_call>\n<tool_call>{ONE}</tool_call>", TAGGED, "a < b ", [{"at": "x"}] * 2),
        (f"<tool_call>{ONE}", TAGGED, "", [{"at": "x"}]),
        ("<tool_call>{broken</tool_call>", TAGGED, "<tool_call>{broken</tool_call>", []),
        ("a <tool", TAGGED, "a <tool", []),
        ("<tool_call>[1]</tool_call>", TAGGED, "<tool_call>[1]</tool_call>", []),
        (TWO, BARE, "", [{"at": 1}]),
        (f"<|python_tag|>{TWO}; {TWO}", BARE, "", [{"at": 1}] * 2),
        ('{"a": 1}', BARE, '{"a": 1}', []),
        (f"No. {TWO}", BARE, f"No. {TWO}", []),
    ],
)
def test_replies(text, notation, content, calls):
    whole, pieces = reply(text, notation)
    message = whole["message"]
    assert (message["content"] or "") == content
    assert [json.loads(c["function"]["arguments"]) for c in message.get("tool_calls", [])] == calls
    assert [c["function"]["name"] for c in message.get("tool_calls", [])] == ["look"] * len(calls)
    assert whole["finish_reason"] == ("tool_calls" if calls else "stop") == pieces[-1]["finish_reason"]
    assert "".join(p["delta"].get("content", "") for p in pieces) == content
    told = [call for p in pieces for call in p["delta"].get("tool_calls", [])]
    assert [(c["index"], json.loads(c["function"]["arguments"])) for c in told] == list(enumerate(calls))
    assert len({c["id"] for c in told}) == len(calls)


def test_text_before_a_call_is_not_held_back():
    _, pieces = reply(f"Let me look. <tool_call>{ONE}</tool_call>", TAGGED)
    assert [p["delta"].get("content") for p in pieces[:4]] == ["L", "e", "t", " "]


def test_a_reply_that_was_cut_short_says_so():
    whole, _ = reply('<tool_call>{"name": "lo', TAGGED, "length")
    assert (whole["finish_reason"], whole["message"]["content"]) == ("length", '<tool_call>{"name": "lo')
