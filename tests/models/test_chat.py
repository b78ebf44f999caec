"""What a conversation becomes: the template's own ids, and weight on exactly what the assistant would have sampled."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from tunesmith.core.errors import NotFound, UserError
from tunesmith.core.ports import Renderer
from tunesmith.models.chat import ChatRenderer, load_renderer

Message = dict[str, Any]
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
TAGS = ["<|im_start|>", "<|im_end|>", "</s>", "<think>", "</think>"]


def user(content: str) -> Message:
    return {"role": "user", "content": content}


def said(content: str | None, **more: Any) -> Message:
    return {"role": "assistant", "content": content, **more}


def byte_tokenizer(template: str | None, eos: str | None = "</s>") -> PreTrainedTokenizerFast:
    """One token per byte, and the tags of ``TAGS``; only <think> and </think> are ordinary tokens."""
    vocab = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = Tokenizer(models.BPE(vocab, [], unk_token=None))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=eos, chat_template=template)
    tokenizer.add_special_tokens({"additional_special_tokens": TAGS[:3]})
    tokenizer.add_tokens(TAGS[3:])
    return tokenizer


def renderer(template: str | None = CHATML, stops: tuple[str, ...] = ("<|im_end|>",)) -> ChatRenderer:
    tokenizer = byte_tokenizer(template)
    return ChatRenderer(tokenizer, tokenizer.convert_tokens_to_ids(list(stops)))


def folder_of(tokenizer: PreTrainedTokenizerFast, folder: Path, **files: Any) -> Path:
    tokenizer.save_pretrained(folder)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def trained(r: ChatRenderer, messages: list[Message], tools: list[Message] | None = None) -> list[tuple[str, float]]:
    return [(text, weight) for text, weight in r.preview(messages, tools or []) if weight]


def test_a_turn_is_trained_through_its_end_token_and_no_further() -> None:
    messages = [{"role": "system", "content": "s"}, user("u"), said("a b"), user("v"), said("c")]
    head = "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nu<|im_end|>\n<|im_start|>assistant\n"
    between = "\n<|im_start|>user\nv<|im_end|>\n<|im_start|>assistant\n"
    expected = [(head, 0.0), ("a b<|im_end|>", 1.0), (between, 0.0), ("c<|im_end|>", 1.0), ("\n", 0.0)]
    assert renderer().preview(messages) == expected


def test_conversation_has_the_ids_of_the_whole_text_and_the_renderer_s_types() -> None:
    r: Renderer = renderer()
    ids, weights = r.conversation([user("u"), said("hello é👍🏽")])
    assert isinstance(r, ChatRenderer)
    whole = r.tokenizer.apply_chat_template([user("u"), said("hello é👍🏽")], tokenize=False)
    assert ids.tolist() == r.tokenizer(whole, add_special_tokens=False).input_ids
    assert (ids.dtype, weights.dtype) == (np.int32, np.float32)
    assert r.decode(ids[weights > 0]) == "hello é👍🏽"
    # 6 letters and spaces, é of 2 bytes, two emoji of 4 bytes each, the end token
    assert weights.sum() == 6 + 2 + 8 + 1


@pytest.mark.parametrize("weight", [0, 0.0, 0.25, 2, None])
def test_a_message_s_weight_is_its_tokens_weight(weight: float | None) -> None:
    expected = [("b<|im_end|>", 1.0 if weight is None else float(weight))] if weight != 0 else []
    messages = [user("u"), said("b", weight=weight), user("v"), said("c", weight=0)]
    assert trained(renderer(), messages) == expected


def test_only_the_assistant_is_trained_whatever_the_weights_say() -> None:
    messages = [{**user("u"), "weight": 1}, said("a"), {"role": "tool", "content": "t", "weight": 1}]
    assert trained(renderer(), messages) == [("a<|im_end|>", 1.0)]


def test_the_prompt_is_what_comes_before_the_trained_turn() -> None:
    r = renderer()
    ids, weights = r.conversation([user("u"), said("a")])
    first = int(np.flatnonzero(weights)[0])
    assert r.prompt([user("u")]).tolist() == ids[:first].tolist()


def test_end_tokens_written_into_a_message_do_not_end_its_span() -> None:
    messages = [user("x<|im_end|>y"), said("a<|im_end|>b"), user("v")]
    assert trained(renderer(), messages) == [("a<|im_end|>b<|im_end|>", 1.0)]


THINKING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last and '</think>' not in m.content %}<think>\n\n</think>\n\n{% endif %}"
    "{% if loop.last %}{{ m.content }}{% else %}{{ m.content.split('</think>')[-1].lstrip('\\n') }}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<<PROMPT>>{% endif %}"
)


@pytest.mark.parametrize("prompt", ["", "<think>\n", "<think>\n\n</think>\n\n"])
def test_an_empty_thought_of_the_template_is_not_trained(prompt: str) -> None:
    r = renderer(THINKING.replace("<<PROMPT>>", prompt))
    assert trained(r, [user("u"), said("a")]) == [("a<|im_end|>", 1.0)]


def test_a_thought_of_the_message_is_trained() -> None:
    r = renderer(THINKING.replace("<<PROMPT>>", ""))
    thought = "<think>\n\n</think>\n\na"
    assert trained(r, [user("u"), said(thought)]) == [(f"{thought}<|im_end|>", 1.0)]


def test_a_turn_that_later_messages_rewrite_is_refused_by_name_unless_it_has_no_weight() -> None:
    r = renderer(THINKING.replace("<<PROMPT>>", ""))
    messages = [user("u"), said("<think>hm</think>a"), user("v"), said("b")]
    with pytest.raises(UserError, match=r"messages\[1\].*otherwise.*row of its own"):
        r.conversation(messages)
    messages[1]["weight"] = 0
    assert trained(r, messages) == [("b<|im_end|>", 1.0)]


def test_a_turn_whose_prompt_is_rewritten_is_refused() -> None:
    r = renderer(THINKING.replace("<<PROMPT>>", "<think>\n"))
    with pytest.raises(UserError, match=r"messages\[1\]"):
        r.conversation([user("u"), said("a"), user("v"), said("b")])


def test_a_rewritten_history_of_the_same_length_is_refused_too() -> None:
    upper = CHATML.replace("m.content", "(m.content | upper if messages | length > 2 else m.content)")
    with pytest.raises(UserError, match=r"messages\[1\]"):
        renderer(upper).conversation([user("u"), said("1"), user("v"), said("2")])


def test_a_turn_that_begins_otherwise_than_its_prompt_is_refused() -> None:
    template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    with pytest.raises(UserError, match=r"messages\[1\].*begin with its own prompts"):
        renderer(template + "{% if add_generation_prompt %}Answer: {% endif %}").conversation([user("u"), said("a")])


BARE = "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}={% endif %}"


def test_a_template_that_leaves_its_prompt_out_is_trained_as_it_is_sampled() -> None:
    r = renderer(BARE, ("</s>",))
    assert r.preview([user("1+1"), said("2")]) == [("1+1=", 0.0), ("2</s>", 1.0)]
    assert r.preview([user("1+1"), said("")]) == [("1+1=", 0.0), ("</s>", 1.0)]
    assert any("generation prompt" in note for note in r.notes) and any("end token" in note for note in r.notes)
    with pytest.raises(UserError, match=r"messages\[1\]"):
        r.conversation([user("1+1"), said("2"), user("2+2"), said("4")])


def test_text_after_the_last_turn_is_not_trained() -> None:
    r = renderer(CHATML + "{% if not add_generation_prompt %}</s>{% endif %}", ("</s>",))
    messages = [user("u"), said("a"), user("v"), said("b")]
    assert trained(r, messages) == [("a<|im_end|>", 1.0), ("b<|im_end|>", 1.0)]


def test_the_template_s_end_of_turn_becomes_a_stop_token() -> None:
    r = renderer(CHATML, ("</s>",))
    assert [r.piece(i) for i in r.stop_ids] == ["</s>", "<|im_end|>"]
    assert any("<|im_end|>" in note for note in r.notes)
    assert renderer().notes == []


def test_an_ordinary_token_after_a_turn_is_no_stop_token() -> None:
    r = renderer(CHATML.replace("<|im_end|>", "</think>"), ("</s>",))
    assert [r.piece(i) for i in r.stop_ids] == ["</s>"]


def test_the_first_token_is_never_trained() -> None:
    tokenizer = byte_tokenizer(None)
    tokenizer.bos_token = "<|im_start|>"
    bos = ("<|im_start|>", tokenizer.bos_token_id)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(f"{bos[0]} $A", None, [bos])
    r = ChatRenderer(tokenizer, [tokenizer.eos_token_id])
    assert r.bos == (tokenizer.bos_token_id,)
    assert r.preview([said("a")]) == [("<|im_start|>", 0.0), ("a</s>", 1.0)]
    assert r.prompt([user("a")]).tolist() == r.encode("a").tolist() == tokenizer("a").input_ids


def test_without_a_template_messages_are_joined_and_this_is_said() -> None:
    r = renderer(None, ("</s>",))
    assert not r.has_template
    assert r.notes == ["no chat template: messages are joined as plain text"]
    messages = [user("1+1="), said("2"), user("3+3="), said("6")]
    assert r.preview(messages) == [("1+1=", 0.0), ("2</s>", 1.0), ("3+3=", 0.0), ("6</s>", 1.0)]
    ids, _ = r.conversation(messages)
    assert r.prompt(messages[:3]).tolist() == ids[: len(r.prompt(messages[:3]))].tolist()


def test_without_a_template_tool_calls_are_refused_and_tools_are_noted() -> None:
    r = renderer(None, ("</s>",))
    with pytest.raises(UserError, match=r"messages\[1\]: calls tools"):
        r.conversation([user("u"), said(None, tool_calls=[{"function": {"name": "f", "arguments": "{}"}}])])
    r.prompt([user("u")], [{"type": "function", "function": {"name": "f"}}])
    assert any("ignores tools" in note for note in r.notes)


@pytest.mark.parametrize(("template", "noted"), [(CHATML, True), ("{{ tools | tojson }}" + CHATML, False)])
def test_a_template_that_ignores_tools_is_noted_once(template: str, noted: bool) -> None:
    r = renderer(template)
    for _ in range(2):
        r.prompt([user("u")], [{"type": "function", "function": {"name": "f"}}])
    assert sum("ignores tools" in note for note in r.notes) == noted


CALLS = CHATML.replace(
    "m.content", "(m.content or '') + (m.tool_calls[0].function.arguments <<HOW>> if m.tool_calls else '')"
)


@pytest.mark.parametrize(
    ("how", "expected"), [("", '{"x":1}'), ("| tojson", '{"x": 1}'), ("| items | list | string", "[('x', 1)]")]
)
def test_arguments_of_tool_calls_are_never_quoted_twice(how: str, expected: str) -> None:
    r = renderer(CALLS.replace("<<HOW>>", how))
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
    assert trained(r, [user("u"), said(None, tool_calls=[call])]) == [(f"{expected}<|im_end|>", 1.0)]
    assert call["function"]["arguments"] == '{"x":1}', "the caller's message is left alone"  # type: ignore[index]


@pytest.mark.parametrize("content", ["m.content", "m.content | string", "(m.content if m.content is string else '')"])
def test_a_call_without_text_is_no_text_to_any_template(content: str) -> None:
    template = CHATML.replace("m.content", f"{content} + (m.tool_calls[0].function.name if m.tool_calls else '')")
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    for message in (said(None, tool_calls=[call]), {"role": "assistant", "tool_calls": [call]}):
        assert trained(renderer(template), [user("u"), message]) == [("f<|im_end|>", 1.0)]


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ raise_exception('Only two roles.') }}", "Only two roles"),
        ("{{ messages[0].content + 1 }}", "concatenate|unsupported"),
        ("{{ messages[9].content.x }}", "no attribute|no element|undefined"),
        ("{% for m in messages %}", "Unexpected end of template|endfor"),
    ],
)
def test_a_template_s_refusal_is_passed_on_in_its_own_words(template: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        renderer(template).prompt([user("u")])


@pytest.mark.parametrize("messages", [[], [{"content": "x"}], [{"role": None, "content": "x"}]])
def test_messages_without_a_speaker_are_refused(messages: list[Message]) -> None:
    with pytest.raises(UserError, match="messages"):
        renderer().conversation(messages)


def test_a_conversation_that_begins_with_a_trained_assistant_is_refused() -> None:
    with pytest.raises(UserError, match="begins with the assistant"):
        renderer().conversation([said("a"), user("u")])
    assert trained(renderer(), [said("a", weight=0), user("u"), said("b")]) == [("b<|im_end|>", 1.0)]


@pytest.mark.parametrize(("shown", "noted"), [("m.content", True), ("(m.reasoning_content or '') + m.content", False)])
def test_reasoning_that_the_template_leaves_out_is_noted(shown: str, noted: bool) -> None:
    r = renderer(CHATML.replace("m.content", shown))
    text = "b<|im_end|>" if noted else "why b<|im_end|>"
    assert trained(r, [user("u"), said("b", reasoning_content="why ")]) == [(text, 1.0)]
    assert any("reasoning_content" in note for note in r.notes) == noted


def test_half_a_character_is_refused() -> None:
    with pytest.raises(UserError, match="UTF-16"):
        renderer().prompt([user("\ud800")])


def test_special_tokens_are_left_out_of_decoded_text_and_named_in_pieces() -> None:
    r = renderer()
    ids = r.encode("a </think> b<|im_end|></s>")
    assert r.decode(ids) == r.decode(ids.tolist()) == "a </think> b"
    assert "".join(map(r.piece, ids)) == "a </think> b<|im_end|></s>"
    assert r.piece(r.encode("é")[0]) == "\ufffd"


def test_stop_ids_come_from_generation_config_several_if_there_are_several(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer(None)
    one, two = (tokenizer.convert_tokens_to_ids(t) for t in TAGS[1:3])
    cases: list[tuple[dict[str, Any], tuple[int, ...]]] = [
        ({"generation_config": {"eos_token_id": [one, 7, one]}, "config": {"eos_token_id": 9}}, (one, 7)),
        ({"generation_config": {"eos_token_id": 5}, "config": {"eos_token_id": 9}}, (5,)),
        ({"generation_config": {"eos_token_id": 0}}, (0,)),
        ({"generation_config": {}, "config": {"eos_token_id": [9, 8]}}, (9, 8)),
        ({"config": {"eos_token_id": None}}, (two,)),
        ({}, (two,)),
    ]
    for i, (files, expected) in enumerate(cases):
        assert load_renderer(folder_of(tokenizer, tmp_path / str(i), **files)).stop_ids == expected, files


def test_no_stop_token_at_all_is_said(tmp_path: Path) -> None:
    r = load_renderer(folder_of(byte_tokenizer(None, eos=None), tmp_path))
    assert r.stop_ids == ()
    assert any("no stop token" in note for note in r.notes)
    assert r.preview([user("u"), said("a")]) == [("u", 0.0), ("a", 1.0)]


def test_a_template_in_a_file_of_its_own_is_used(tmp_path: Path) -> None:
    folder_of(byte_tokenizer(None), tmp_path)
    (tmp_path / "chat_template.jinja").write_text(CHATML)
    assert load_renderer(tmp_path).has_template


def test_a_tokenizer_that_cuts_or_pads_is_told_not_to(tmp_path: Path) -> None:
    folder_of(byte_tokenizer(CHATML), tmp_path)
    backend = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    backend.enable_truncation(4)
    backend.enable_padding(length=64)
    backend.save(str(tmp_path / "tokenizer.json"))
    r = load_renderer(tmp_path)
    assert r.decode(r.encode("a long enough text")) == "a long enough text"
    assert len(r.encode("ab")) == 2


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (lambda f: (f / "tokenizer.json").unlink(), NotFound, "no tokenizer here"),
        (lambda f: (f / "tokenizer.json").write_text("{"), UserError, "cannot be read"),
        (lambda f: (f / "generation_config.json").write_text("{"), UserError, "generation_config"),
        (lambda f: (f / "generation_config.json").write_text("[]"), UserError, "generation_config"),
    ],
)
def test_a_spoilt_folder_is_refused(
    spoil: Callable[[Path], object], error: type[UserError], words: str, tmp_path: Path
) -> None:
    folder_of(byte_tokenizer(CHATML), tmp_path)
    spoil(tmp_path)
    with pytest.raises(error, match=words):
        load_renderer(tmp_path)


def test_no_text_is_no_tokens() -> None:
    assert renderer().encode("").shape == (0,)
