"""``tunesmith evaluations`` against a real server: from a file to the answers of a model, and back out."""

import json
from pathlib import Path

import pytest
from server.rest.breaking import Breaking

pytestmark = pytest.mark.thorough


def line(name: str, said: str) -> str:
    messages = [{"role": "user", "content": f"What is {name}?"}, {"role": "assistant", "content": said}]
    return json.dumps({"id": name, "messages": messages, "ground_truth": "4"}) + "\n"


def test_from_a_file_to_its_answers(shell, tmp_path):
    (tmp_path / "rows.jsonl").write_text(line("a", "4") + line("b", "5") + line("c", "4") + line("d", "3"))
    given = ("--dataset", "rows.jsonl", "--evaluator", "exact_match", "--name", "shown")
    done = shell("evaluations", "create", *given, "--follow")
    assert "/dashboard/evaluations/shown" in done.err
    assert "next: tunesmith evaluations results" in done.err
    assert "0.500 [-0.419, 1.419]" in done.out and "█" in done.out
    shown = shell("evaluations", "get", "shown", "--json").json
    assert (shown["state"], shown["score"]["rows"], shown["output_dataset"]) == ("succeeded", 4, "shown-results")
    listed = shell("evaluations", "list", "--state", "succeeded").out
    assert "shown" in listed and "0.500 [-0.419, 1.419]" in listed
    worst = shell("evaluations", "results", "sho", "--limit", "1")
    assert "0.000  row b, answer 0" in worst.out and "said: 5" in worst.out
    best = shell("evaluations", "results", "shown", "--order", "best", "--json").json
    assert [one["prompt_id"] for one in best] == ["a", "c", "b", "d"]
    assert "order" in shell("evaluations", "results", "shown", "--order", "odd", code=2).err
    shell("evaluations", "logs", "shown")
    assert shell("evaluations", "download", "shown", "--json").json["file"] == "shown-results.jsonl"
    lines = [json.loads(text) for text in Path("shown-results.jsonl").read_text().splitlines()]
    assert [one["evaluation_result"]["score"] for one in lines] == [1.0, 0.0, 1.0, 0.0]
    assert "cannot cancel" in shell("evaluations", "cancel", "shown", code=5).err
    assert shell("evaluations", "delete", "shown", "--yes", "--json").json["deleted"] is True
    assert "no evaluation is called 'shown'" in shell("evaluations", "get", "shown", code=3).err


def test_what_is_refused_and_what_a_broken_connection_costs(shell, trainer, tmp_path):
    (tmp_path / "rows.jsonl").write_text("".join(line(name, "4") for name in "abcd"))
    given = ("evaluations", "create", "--dataset", "rows.jsonl")
    assert "without a model" in shell(*given, "--evaluator", "exact_match", "--temperature", "1", code=2).err
    assert "unknown 'nothing'" in shell(*given, "--evaluator", "nothing", code=2).err
    assert "no such file" in shell("evaluations", "create", "--dataset", "x.jsonl", "--evaluator", "a", code=3).err
    made = shell(*given, "--evaluator", "exact_match", "--model", "test/tiny", "--max-tokens", "16", "--samples", "1",
                 "--max-context-length", "64", "--json").json  # fmt: skip
    assert made["settings"]["eval_samples"] == 1 and made["model"] == "test/tiny"
    way = Breaking(trainer.base_url, [0])
    try:
        followed = shell("evaluations", "follow", made["id"], "--url", way.url)
    finally:
        way.close()
    assert followed.err.count("does not answer; trying again") == 1
    assert "reward" in followed.out
