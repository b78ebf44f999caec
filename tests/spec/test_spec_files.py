"""Settings from YAML and TOML files."""

import pytest

from tunesmith.core.errors import NotFound, UserError
from tunesmith.spec import build_spec, read_spec

YAML = """
kind: rft
dataset: rows.jsonl
evaluator: [last_number=0.7, repetition=-0.3]   # a weighted sum
learning_rate: 2e-4
batch_size: 32k
advantage_clip: null
length_norm: true
"""
TOML = """
kind = "rft"
dataset = "rows.jsonl"
evaluator = ["last_number=0.7", "repetition=-0.3"]
learning_rate = 2e-4
batch_size = "32k"
length_norm = true
"""


@pytest.mark.parametrize(("name", "text"), [("a.yaml", YAML), ("b.yml", YAML), ("c.toml", TOML)])
def test_both_formats_say_the_same(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    spec = build_spec(read_spec(tmp_path / name))
    assert (spec.kind, spec.dataset, spec.batch_size, spec.length_norm) == ("rft", "rows.jsonl", 32768, True)
    assert spec.evaluator == ["last_number=0.7", "repetition=-0.3"]
    assert spec.learning_rate == 2e-4
    assert spec.advantage_clip is None


def test_a_spec_comes_back_from_what_a_run_stores(tmp_path):
    import yaml

    spec = build_spec(
        {
            "dataset": "ü.jsonl",
            "evaluator": "exact_match",
            "temperature_end": 0.2,
            "temperature_schedule": "linear",
            "learning_rate": 1e-5,
        },
        "rft",
    )
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec.model_dump(), allow_unicode=True), "utf-8")
    assert build_spec(read_spec(tmp_path / "spec.yaml")) == spec


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.yaml", b"kind: [rft\ndataset: x\n", "cannot be read"),
        ("a.yaml", b"- kind\n- rft\n", "holds list, not settings"),
        ("a.yaml", b"", "holds NoneType, not settings"),
        ("a.yaml", b"rft", "holds str, not settings"),
        ("a.yaml", b"kind: \xff\xfe", "cannot be read"),
        ("a.yaml", b"kind: !!python/object/apply:os.system ['true']\n", "cannot be read"),
        ("a.toml", b"kind = rft", "cannot be read"),
        ("a.toml", b"kind = 'rft'\nkind = 'sft'\n", "cannot be read"),
        ("a.toml", b"\xff", "cannot be read"),
    ],
)
def test_malformed_files(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_spec(tmp_path / name)
    assert caught.value.where == str(tmp_path / name)
    assert said in caught.value.problem
    assert "\n" not in caught.value.problem


def test_no_such_file(tmp_path):
    for path in (tmp_path / "nowhere.yaml", tmp_path):
        with pytest.raises(NotFound, match="no such spec file"):
            read_spec(path)


@pytest.mark.parametrize("key", ["1: 2", "? [a]\n: 3", "null: 1", "true: 1"])
def test_names_that_are_no_names(tmp_path, key):
    (tmp_path / "a.yaml").write_text(f"kind: sft\ndataset: x\n{key}\n")
    with pytest.raises(UserError):
        build_spec(read_spec(tmp_path / "a.yaml"))
