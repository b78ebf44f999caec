"""The renderer over real tokenizers, real templates and real conversations."""

import json
import re
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tunesmith.core.errors import UserError
from tunesmith.models.chat import ChatRenderer, load_renderer

Message = dict[str, Any]
TEMPLATES = [
    "llama_cpp/HuggingFaceTB-SmolLM3-3B",
    "llama_cpp/Qwen-QwQ-32B",
    "llama_cpp/Qwen-Qwen2.5-7B-Instruct",
    "llama_cpp/Qwen-Qwen3-0.6B",
    "llama_cpp/Qwen3-Coder",
    "llama_cpp/Qwen3.5-4B",
    "llama_cpp/deepseek-ai-DeepSeek-R1-Distill-Qwen-32B",
    "llama_cpp/microsoft-Phi-3.5-mini-instruct",
    "mistral/v13",
    "mistral/v15_think",
    "mistral/v3",
    "mistral/v3_spm",
    "mistral/v7",
    "trl/qwen2_5",
    "trl/qwen2_5_training",
    "trl/qwen3",
    "trl/qwen3_training",
]
REWRITING = {"llama_cpp/Qwen-QwQ-32B", "llama_cpp/Qwen3.5-4B", "llama_cpp/deepseek-ai-DeepSeek-R1-Distill-Qwen-32B"}
"""Their prompts open a thought that finished conversations do not show, so only a last turn can be trained."""
OF_ANOTHER_VOCABULARY = {"llama_cpp/microsoft-Phi-3.5-mini-instruct"}
"""Its <|end|> is plain text to this tokenizer; it is tried with its own below."""
CALLING = [t for t in TEMPLATES if "Phi" not in t and "mistral" not in t and "SmolLM3" not in t and t not in REWRITING]
"""Templates that show tool calls and their ids as OpenAI writes them."""
ASK = [{"role": "user", "content": "What is 2+2? é👍🏽"}]
LONG: list[Message] = [
    {"role": "user", "content": "Add 2 and 2."},
    {"role": "assistant", "content": "It is **4**.\n\nSure?"},
    {"role": "user", "content": "And 3?"},
    {"role": "assistant", "content": "7 - naïve 👍🏽"},
]


@pytest.fixture(scope="module")
def qwen(request: pytest.FixtureRequest) -> Any:
    folder = Path(__file__).resolve().parents[3] / "shared" / "data" / "tokenizers" / "qwen3"
    if not folder.is_dir():
        pytest.skip("../shared/data is not here")
    return load_renderer(folder).tokenizer


def with_template(tokenizer: Any, template: str, shared_data: Path) -> ChatRenderer:
    tokenizer.chat_template = (shared_data / "templates" / f"{template}.jinja").read_text()
    return ChatRenderer(tokenizer, [tokenizer.eos_token_id])


def of_templates(tokenizer: Any, messages: list[Message], tools: list[Message] | None = None) -> list[int]:
    """The prompt as transformers itself encodes it."""
    encoded = tokenizer.apply_chat_template(messages, tools=tools, add_generation_prompt=True, return_dict=True)
    return list(encoded["input_ids"])


def jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


def test_the_list_of_templates_is_whole(shared_data: Path) -> None:
    root = shared_data / "templates"
    assert sorted(TEMPLATES) == sorted(str(p.relative_to(root).with_suffix("")) for p in root.rglob("*.jinja"))


@pytest.mark.parametrize("template", TEMPLATES)
def test_prompts_are_the_template_s_own(template: str, qwen: Any, shared_data: Path) -> None:
    r = with_template(qwen, template, shared_data)
    for messages in (ASK, LONG[:3]):
        assert r.prompt(messages).tolist() == of_templates(qwen, messages)


@pytest.mark.parametrize("template", CALLING)
def test_prompts_with_tools_are_the_template_s_own(template: str, qwen: Any, shared_data: Path) -> None:
    r = with_template(qwen, template, shared_data)
    row = jsonl(shared_data / "sft/glaive_tool_calls_openai_200.jsonl")[0]
    messages, tools = row["messages"][:3], row["tools"]
    assert r.prompt(messages, tools).tolist() == of_templates(qwen, messages, tools)
    assert not any("ignores tools" in note for note in r.notes)


@pytest.mark.parametrize("template", sorted(set(TEMPLATES) - OF_ANOTHER_VOCABULARY))
def test_exactly_what_the_assistant_said_is_trained(template: str, qwen: Any, shared_data: Path) -> None:
    r = with_template(qwen, template, shared_data)
    messages = LONG
    if template in REWRITING:
        with pytest.raises(UserError, match=r"messages\[1\]"):
            r.conversation(LONG)
        messages = [LONG[0], {**LONG[1], "weight": 0}, *LONG[2:]]
    expected = [m["content"] for m in messages if m["role"] == "assistant" and m.get("weight") != 0]
    pieces = [text for text, weight in r.preview(messages) if weight]
    for piece, content in zip(pieces, expected, strict=True):
        # what follows is the end token; mistral's v3_spm writes a space before the content
        assert piece.lstrip().startswith(content)
        assert re.fullmatch(r"(<[^<>]+>)?<\|im_end\|>", piece.lstrip()[len(content) :])
    ids, weights = r.conversation(messages)
    end = next(i for i in reversed(range(len(ids))) if weights[i])
    assert ids[end] in r.stop_ids


@pytest.mark.parametrize("template", sorted(set(TEMPLATES) - REWRITING - OF_ANOTHER_VOCABULARY))
def test_the_prompt_begins_the_conversation(template: str, qwen: Any, shared_data: Path) -> None:
    r = with_template(qwen, template, shared_data)
    ids, weights = r.conversation(LONG)
    prompt = r.prompt(LONG[:3])
    assert ids[: len(prompt)].tolist() == prompt.tolist()
    assert not weights[int(np.flatnonzero(weights)[-1]) + 1 :].any()
    whole = qwen.apply_chat_template(LONG, tokenize=False)
    assert ids.tolist() == qwen(whole, add_special_tokens=False).input_ids


def test_a_template_s_own_words_reach_the_user(qwen: Any, shared_data: Path) -> None:
    r = with_template(qwen, "mistral/v3", shared_data)
    with pytest.raises(UserError, match="Conversation must start with a user message, got assistant"):
        r.prompt([{"role": "assistant", "content": "a"}, *ASK])


@pytest.mark.parametrize("template", CALLING)
def test_real_tool_conversations_are_rendered_and_trained(template: str, qwen: Any, shared_data: Path) -> None:
    r = with_template(qwen, template, shared_data)
    rows = jsonl(shared_data / "sft/glaive_tool_calls_openai_200.jsonl")
    for row in rows if template == "trl/qwen3" else rows[:15]:
        ids, weights = r.conversation(row["messages"], row.get("tools") or [])
        said = [m for m in row["messages"] if m["role"] == "assistant"]
        # one end token is trained per turn
        assert np.isin(ids[weights > 0], r.stop_ids).sum() == len(said)
        text = r.decode(ids[weights > 0])
        for message in said:
            assert (message["content"] or "").strip() in text
            for call in message.get("tool_calls") or []:
                assert call["function"]["name"] in text
        assert '\\"' not in text or any('\\"' in json.dumps(m) for m in said)
        if row.get("tools"):
            assert "<tool_response>" not in text


def test_weights_of_real_conversations_choose_their_turns(qwen: Any, shared_data: Path) -> None:
    r = with_template(qwen, "trl/qwen2_5", shared_data)
    rows = jsonl(shared_data / "sft/oasst_multiturn_weights.jsonl")
    left_out = 0
    for row in rows:
        said = [m for m in row["messages"] if m["role"] == "assistant"]
        chosen = [m["content"] + "<|im_end|>" for m in said if m.get("weight", 1)]
        left_out += len(said) - len(chosen)
        assert [text for text, weight in r.preview(row["messages"]) if weight] == chosen
    assert left_out > 0


def test_naughty_strings_come_back_as_they_went_in(qwen: Any, shared_data: Path) -> None:
    r = with_template(qwen, "trl/qwen2_5", shared_data)
    for text in json.loads((shared_data / "malformed/blns.json").read_text("utf-8")):
        ids, weights = r.conversation([{"role": "user", "content": text}, {"role": "assistant", "content": text}])
        assert r.decode(ids[weights > 0]) == unicodedata.normalize("NFC", text), text
        assert weights[ids == qwen.eos_token_id].sum() == 1


@pytest.mark.parametrize("name", ["stories260K-hf", "babyllama-tok105-hf"])
def test_real_models_without_a_template_continue_plain_text(name: str, shared_data: Path) -> None:
    r = load_renderer(shared_data / "models" / name)
    assert r.stop_ids == (1, 2)
    assert r.notes == ["no chat template: messages are joined as plain text"]
    text = "Once upon a time, there was a girl."
    assert r.prompt([{"role": "user", "content": text}]).tolist() == r.tokenizer(text).input_ids
    assert r.prompt([{"role": "user", "content": text}])[0] == r.tokenizer.bos_token_id == 1
    assert r.decode(r.prompt([{"role": "user", "content": text}])) == text
    rows = [{"role": "user", "content": "Once upon"}, {"role": "assistant", "content": " a time"}]
    assert r.preview(rows) == [("<s>Once upon", 0.0), (" a time</s>", 1.0)]


def test_the_published_story_is_decoded(shared_data: Path) -> None:
    golden = json.loads((shared_data / "golden/models/stories260K_golden.json").read_text())
    r = load_renderer(shared_data / "models/stories260K-hf")
    assert r.decode(golden["greedy_token_ids"]).startswith(golden["published"]["greedy_from_bos_200_tokens"])
    for case in golden["teacher_forced"]:
        assert r.prompt([{"role": "user", "content": case["text"]}]).tolist() == case["ids"]


def test_the_digit_task_is_trained_as_it_is_sampled(shared_data: Path) -> None:
    r = load_renderer(shared_data / "models/digit-completion-random")
    assert r.stop_ids == (1,)
    rows = jsonl(shared_data / "rl/digit_completion/digit_completion_train_800.jsonl")
    for row in rows[:50]:
        messages = [*row["messages"], {"role": "assistant", "content": row["ground_truth"]}]
        ids, weights = r.conversation(messages)
        prompt = r.prompt(row["messages"])
        assert ids[: len(prompt)].tolist() == prompt.tolist() == of_templates(r.tokenizer, row["messages"])
        assert weights.tolist() == [0.0] * len(prompt) + [1.0] * (len(ids) - len(prompt))
        assert r.decode(ids[weights > 0]) == row["ground_truth"] and ids[-1] == 1
    with pytest.raises(UserError, match="System role not supported"):
        r.prompt([{"role": "system", "content": "1"}])


@pytest.mark.parametrize("name", ["phi-3-mini", "phi-2", "dolma2"])
def test_a_tokenizer_file_is_followed_exactly(name: str, shared_data: Path) -> None:
    from tokenizers import Tokenizer

    r = load_renderer(shared_data / "tokenizers" / name)
    exact = Tokenizer.from_file(str(shared_data / "tokenizers" / name / "tokenizer.json"))
    for text in ("  leading", "a  b\n\n\tc", "<|end|> x", "é👍🏽", "    def f():\n        return 1"):
        assert r.encode(text).tolist() == exact.encode(text, add_special_tokens=False).ids
        assert r.decode(r.encode(text)) == exact.decode(exact.encode(text, add_special_tokens=False).ids)


def test_phi_3_is_trained_through_its_own_end_token(shared_data: Path) -> None:
    r = load_renderer(shared_data / "tokenizers/phi-3-mini")
    ids, weights = r.conversation(LONG)
    assert r.prompt(LONG[:1]).tolist() == of_templates(r.tokenizer, LONG[:1])
    ends = r.tokenizer.convert_tokens_to_ids(["<|end|>", "<|endoftext|>"])
    assert [w for i, w in zip(ids, weights, strict=True) if i == ends[0]] == [0, 1, 0, 1]
    assert [w for i, w in zip(ids, weights, strict=True) if i == ends[1]] == [0]


@pytest.mark.parametrize("name", ["qwen2.5", "qwen3-coder"])
def test_a_tokenizer_without_its_vocabulary_is_refused(name: str, shared_data: Path) -> None:
    with pytest.raises(UserError, match="no tokenizer here"):
        load_renderer(shared_data / "tokenizers" / name)


def test_a_vocabulary_of_an_unknown_kind_is_refused(shared_data: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be read|encodes text to nothing"):
        load_renderer(shared_data / "tokenizers/gpt2")
