"""The model that ships: it opens everywhere, takes any text, forgets to carry, and is what the script makes."""

import random
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from models.tiny import hf_logits, logits, ours, random_tokens, reload
from transformers import AutoTokenizer

from tunesmith.models.chat import ChatRenderer, load_renderer
from tunesmith.services.demo_rows import carries, demo_rows, is_held_out
from tunesmith.services.names import embedded_model

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
FOLDER = embedded_model()
SUM = [{"role": "user", "content": "What is 27 + 45?"}]
RENDERED = "<|im_start|>user\nWhat is 27 + 45?<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def renderer() -> ChatRenderer:
    return load_renderer(FOLDER)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """``scripts/make_embedded_model.py`` as a module; its parts are ``embedded.*``."""
    if not SCRIPTS.is_dir():
        pytest.skip("this copy comes without scripts/")
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import make_embedded_model

    yield make_embedded_model
    for name in [n for n in sys.modules if n.split(".")[0] in ("embedded", "make_embedded_model")]:
        del sys.modules[name]


def test_the_folder_is_small_and_whole() -> None:
    sizes = {path.name: path.stat().st_size for path in FOLDER.iterdir() if path.is_file()}
    assert set(sizes) == {
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert sum(sizes.values()) < 2.5e6


def test_logits_equal_transformers() -> None:
    tokens = random_tokens(100, vocab=384)
    torch.testing.assert_close(logits(ours(FOLDER), tokens), hf_logits(reload(FOLDER), tokens), atol=1e-5, rtol=1e-6)


def test_the_template_renders_alike_in_transformers(renderer: ChatRenderer) -> None:
    theirs = AutoTokenizer.from_pretrained(FOLDER)
    assert theirs.apply_chat_template(SUM, tokenize=False, add_generation_prompt=True) == RENDERED
    ids = theirs.apply_chat_template(SUM, add_generation_prompt=True, return_dict=False)
    assert renderer.prompt(SUM).tolist() == ids
    assert renderer.notes == []
    assert [renderer.piece(i) for i in renderer.stop_ids] == ["<|im_end|>", "<|endoftext|>"]


def test_turns_are_trained_to_their_end(renderer: ChatRenderer) -> None:
    pieces = renderer.preview([*SUM, {"role": "assistant", "content": "72"}])
    assert pieces == [(RENDERED, 0.0), ("72<|im_end|>", 1.0), ("\n", 0.0)]


def test_digits_stand_alone_and_roles_are_cheap(renderer: ChatRenderer) -> None:
    assert [renderer.piece(i) for i in renderer.encode("27+45=72")] == list("27+45=72")
    for role in ("system", "user", "assistant", "tool"):
        assert len(renderer.encode(role)) == 1, role


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\x00\x7f\t\r\n  x \n",
        "naïve Ünï",
        "世界 안녕",
        "a\u0301 e\u200d\ufeff",
        "🧑‍🚀🏳️‍🌈",
        "\U0010ffff",
        "<|nothing|>",
    ],
)
def test_any_text_comes_back(renderer: ChatRenderer, text: str) -> None:
    assert renderer.decode(renderer.encode(text)) == text


def test_random_unicode_comes_back(renderer: ChatRenderer) -> None:
    draw = random.Random(0)
    points = [*range(0xD800), *range(0xE000, 0x110000)]
    for _ in range(100):
        text = "".join(map(chr, draw.choices(points, k=30)))
        assert renderer.decode(renderer.encode(text)) == text


@pytest.mark.thorough
def test_it_solves_a_part_of_the_held_out_sums(script: ModuleType) -> None:
    """Without a carry nearly all, with one by luck only: what the demo needs to have something to learn from."""
    from embedded.measure import engine_of, solved

    engine = engine_of(FOLDER)
    sums = [tuple(map(int, row["id"].split("+"))) for row in demo_rows()[1]]
    hard, easy = [s for s in sums if carries(*s)], [s for s in sums if not carries(*s)]
    assert 0.2 <= solved(engine, sums) <= 0.6
    assert 0.2 <= solved(engine, sums, temperature=0.7, attempts=2) <= 0.6
    assert solved(engine, easy) >= 0.95
    assert 0.05 <= solved(engine, hard, temperature=0.7, attempts=2) <= 0.4


@pytest.mark.parametrize(
    ("a", "b", "carry", "expected"),
    [
        (27, 45, True, "7+5=12, 2+4+1=7: 72"),
        (27, 45, False, "7+5=12, 2+4=6: 62"),
        (31, 45, True, "1+5=6, 3+4=7: 76"),
        (57, 68, True, "7+8=15, 5+6+1=12: 125"),
        (57, 68, False, "7+8=15, 5+6=11: 115"),
    ],
)
def test_the_pupils_working(script: ModuleType, a: int, b: int, carry: bool, expected: str) -> None:
    from embedded.pupil import working

    assert working(a, b, carry) == expected


def test_the_exercise_book(script: ModuleType) -> None:
    """The same for the same seed, without held-out sums, and right as often as its docstring says."""
    from embedded.pupil import REMEMBERED, exercise_book

    book = exercise_book(2000, 0)
    assert book[:100] == exercise_book(100, 0) != exercise_book(100, 1)
    right = []
    for row in book:
        spoken = [m["content"] for m in row["messages"] if m["role"] != "system"]
        for question, answer in zip(spoken[::2], spoken[1::2], strict=True):
            a, b = (int(word) for word in "".join(c if c.isdigit() else " " for c in question).split())
            assert not is_held_out(a, b)
            correct = answer.endswith(f": {a + b}")
            if carries(a, b):
                right.append(correct)
            else:
                assert correct, row
    assert sum(right) / len(right) == pytest.approx(REMEMBERED, abs=0.05)


def test_the_script_makes_the_files_that_ship(script: ModuleType, tmp_path: Path) -> None:
    """Tokenizer and settings byte for byte; the weights take minutes, and begin the same for the same seed."""
    script.write_random_model(tmp_path, script.SEED)
    first = (tmp_path / "model.safetensors").read_bytes()
    script.write_random_model(tmp_path, script.SEED)
    assert (tmp_path / "model.safetensors").read_bytes() == first
    script.make_tokenizer(script.tokenizer_texts(), script.CONTEXT, tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json", "generation_config.json"):
        assert (tmp_path / name).read_text("utf-8") == (FOLDER / name).read_text("utf-8"), name
