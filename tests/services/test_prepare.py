"""From files to rendered rows: what is too long by line, what is left out, what is held out."""

import json

import numpy as np
import pytest
from crash.tiny_jobs import END, LETTERS, make_model

from tunesmith.core.errors import UserError
from tunesmith.models.chat import load_renderer
from tunesmith.services.prepare import prepare_dpo, prepare_rft, prepare_sft
from tunesmith.spec import DpoSpec, RftSpec, SftSpec

CONTEXT = 64


@pytest.fixture(scope="module")
def renderer(tmp_path_factory):
    """One id per character; without a chat template, messages are their plain text."""
    return load_renderer(make_model(tmp_path_factory.mktemp("models") / "model"))


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def rft_rows(count, length=3):
    return [{"messages": [user(LETTERS[i % 26] * length)], "answer": i} for i in range(count)]


def sft_rows(count, length=3):
    return [{"messages": [user("qq"), assistant(LETTERS[i % 26] * length)]} for i in range(count)]


def dpo_rows(count, length=3):
    return [
        {
            "input": {"messages": [user(f"qq{LETTERS[i % 26]}")]},
            "preferred_output": [assistant(LETTERS[i % 26] * length)],
            "non_preferred_output": [assistant("z")],
        }
        for i in range(count)
    ]


KINDS = {
    "rft": (prepare_rft, rft_rows, RftSpec, {"evaluator": "exact_match", "max_tokens": 8}),
    "sft": (prepare_sft, sft_rows, SftSpec, {}),
    "dpo": (prepare_dpo, dpo_rows, DpoSpec, {}),
}


def prepared(kind, renderer, dataset, context=CONTEXT, **changes):
    prepare, _, spec, needed = KINDS[kind]
    given = {"dataset": dataset, "limits": "off", "eval_auto_carveout": False, "max_context_length": 64}
    return prepare(spec(**{**given, **needed, **changes}), renderer, context)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_are_too_long_are_refused_by_line(kind, renderer, tmp_path):
    rows = KINDS[kind][1](5)
    rows[1], rows[3] = KINDS[kind][1](1, length=90)[0], KINDS[kind][1](1, length=100)[0]
    with pytest.raises(UserError) as caught:
        prepared(kind, renderer, write(tmp_path / "rows.jsonl", rows))
    said = str(caught.value)
    assert "Dataset validation failed: too long on line 2" in said
    assert "rows.jsonl:2" in said
    assert "1 more lines: 4" in said or "rows.jsonl:4" in said
    assert "limit 64" in said
    assert "skip_bad_rows" in caught.value.mend


@pytest.mark.parametrize("kind", KINDS)
def test_skip_bad_rows_leaves_them_out_and_lists_them(kind, renderer, tmp_path):
    rows = KINDS[kind][1](5)
    rows[1] = KINDS[kind][1](1, length=90)[0]
    file = write(tmp_path / "rows.jsonl", rows)
    (tmp_path / "rows.jsonl").write_text((tmp_path / "rows.jsonl").read_text() + "{broken\n")
    found = prepared(kind, renderer, file, skip_bad_rows=True)
    assert len(found.train) == 4
    notes = "\n".join(found.notes)
    assert "left out 1 bad lines" in notes
    assert "left out rows.jsonl:2: messages: found" in notes


@pytest.mark.parametrize("kind", KINDS)
def test_a_dataset_of_only_long_rows_is_refused_even_so(kind, renderer, tmp_path):
    file = write(tmp_path / "rows.jsonl", KINDS[kind][1](5, length=90))
    with pytest.raises(UserError, match="too long"):
        prepared(kind, renderer, file, skip_bad_rows=True)


@pytest.mark.parametrize("kind", KINDS)
def test_the_models_context_counts_where_it_is_shorter(kind, renderer, tmp_path):
    file = write(tmp_path / "rows.jsonl", KINDS[kind][1](5, length=40))
    assert len(prepared(kind, renderer, file).train) == 5
    with pytest.raises(UserError, match="limit 32"):
        prepared(kind, renderer, file, context=32)
    with pytest.raises(UserError, match="limit 32"):
        prepared(kind, renderer, file, max_context_length=32)


def test_a_row_that_just_fits(renderer, tmp_path):
    """Prompt and max_tokens together fill the context to the last token."""
    length = len(renderer.prompt([user("a" * 20)]))
    file = write(tmp_path / "rows.jsonl", rft_rows(3, length=20))
    assert len(prepared("rft", renderer, file, max_tokens=CONTEXT - length).train) == 3
    with pytest.raises(UserError, match=f"{length} prompt tokens \\+ max_tokens {CONTEXT - length + 1}, limit 64"):
        prepared("rft", renderer, file, max_tokens=CONTEXT - length + 1)


def test_max_tokens_must_leave_room_for_a_prompt(renderer, tmp_path):
    file = write(tmp_path / "rows.jsonl", rft_rows(3))
    with pytest.raises(UserError, match="max_tokens: max_tokens 64 leaves no room for a prompt in a context of 64"):
        prepared("rft", renderer, file, max_tokens=64)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("rows", "held"), [(9, 0), (10, 1), (26, 2)])
def test_held_out_rows_are_set_aside(kind, renderer, tmp_path, rows, held):
    file = write(tmp_path / "rows.jsonl", KINDS[kind][1](rows))
    found = prepared(kind, renderer, file, eval_auto_carveout=True)
    assert (len(found.train), len(found.heldout)) == (rows - held, held)
    assert any(("held out" in n) if held else ("fewer than 10" in n) for n in found.notes)
    again = prepared(kind, renderer, file, eval_auto_carveout=True)
    assert repr(again) == repr(found)
    if held:
        other = prepared(kind, renderer, file, eval_auto_carveout=True, seed=5)
        assert repr(other.heldout) != repr(found.heldout)
    off = prepared(kind, renderer, file)
    assert (len(off.train), off.heldout) == (rows, [])
    assert "no held-out rows: eval_auto_carveout is off" in off.notes


def test_rows_that_are_all_alike_are_not_parted(renderer, tmp_path):
    """A held-out row that is trained on too would measure memory."""
    file = write(tmp_path / "rows.jsonl", dpo_rows(1) * 20)
    found = prepared("dpo", renderer, file, eval_auto_carveout=True)
    assert (len(found.train), found.heldout) == (20, [])
    assert "none of 20 rows is held out: they are fewer than 10, or nearly all alike" in found.notes


@pytest.mark.parametrize("kind", KINDS)
def test_a_dataset_of_its_own_for_evaluation(kind, renderer, tmp_path):
    file, other = (write(tmp_path / name, KINDS[kind][1](n)) for name, n in (("train.jsonl", 20), ("held.jsonl", 4)))
    found = prepared(kind, renderer, file, evaluation_dataset=other, eval_auto_carveout=True)
    assert (len(found.train), len(found.heldout)) == (20, 4)
    bad = write(tmp_path / "bad.jsonl", KINDS[kind][1](4, length=90))
    with pytest.raises(UserError, match=r"bad\.jsonl"):
        prepared(kind, renderer, file, evaluation_dataset=bad)
    with pytest.raises(UserError, match="nowhere"):
        prepared(kind, renderer, file, evaluation_dataset=str(tmp_path / "nowhere.jsonl"))


def test_prompts_of_rft(renderer, tmp_path):
    file = write(tmp_path / "rows.jsonl", rft_rows(4))
    found = prepared("rft", renderer, file)
    assert [p.row["answer"] for p in found.train] == [0, 1, 2, 3]
    assert len({p.prompt_id for p in found.train}) == 4
    assert renderer.decode(found.train[2].tokens).count("ccc") == 1


def test_prompts_of_one_name_are_told_apart(renderer, tmp_path):
    """Seeds go by the name: two rows of one id would otherwise get the same attempts."""
    rows = [{**row, "id": name} for row, name in zip(rft_rows(4), ["a", "b", "a", "a"], strict=True)]
    found = prepared("rft", renderer, write(tmp_path / "rows.jsonl", rows))
    assert [p.prompt_id for p in found.train] == ["a", "b", "a#2", "a#3"]


def trained(renderer, datum):
    """The text of the tokens that have a weight."""
    return renderer.decode(datum.targets[datum.weights != 0])


def test_sft_trains_what_the_assistant_says(renderer, tmp_path):
    rows = [
        {"messages": [user("qq"), assistant("abc")]},
        {"messages": [user("qq"), assistant("no", weight=0), user("r"), assistant("yes")]},
        {"messages": [user("qq"), assistant("abc")], "weight": -0.5},
    ]
    rows = [{"weight": 1.0, **row} for row in rows]
    first, second, third = prepared("sft", renderer, write(tmp_path / "rows.jsonl", rows)).train
    assert trained(renderer, first).strip() == "abc"
    assert trained(renderer, second).strip() == "yes"
    assert set(third.weights.tolist()) == {0.0, -0.5}
    assert len(first.tokens) == len(first.targets) == len(first.weights)
    assert (first.tokens[1:] == first.targets[:-1]).all()


def test_the_end_of_an_answer_is_trained(renderer, tmp_path):
    (datum, *_) = prepared("sft", renderer, write(tmp_path / "rows.jsonl", sft_rows(3))).train
    last = datum.targets[np.flatnonzero(datum.weights)[-1]]
    assert renderer.piece(last) == END


def test_pairs_of_dpo_share_their_prompt(renderer, tmp_path):
    pairs = prepared("dpo", renderer, write(tmp_path / "rows.jsonl", dpo_rows(3))).train
    for (better, worse), letter in zip(pairs, "abc", strict=True):
        assert trained(renderer, better).strip() == letter * 3
        assert trained(renderer, worse).strip() == "z"
        begin = int(np.flatnonzero(better.weights)[0])
        assert (better.tokens[:begin] == worse.tokens[:begin]).all()


def test_a_row_with_nothing_to_train_is_refused(renderer, tmp_path):
    rows = [*sft_rows(3), {"messages": [user("qq"), assistant("abc", weight=0)]}]
    with pytest.raises(UserError, match="line 4"):
        prepared("sft", renderer, write(tmp_path / "rows.jsonl", rows))
