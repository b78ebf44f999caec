"""Published rows through the whole chain of a job: into a dataset file, rendered by a real template, graded."""

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunesmith.core.types import Rollout
from tunesmith.grading import build_grader
from tunesmith.models.chat import load_renderer
from tunesmith.services.prepare import prepare_rft
from tunesmith.spec import RftSpec

Row = dict[str, Any]
Source = tuple[str, Callable[[Row], Row], Callable[[Row], str], Callable[[Row], str], str]
"""(file, its row -> ours, right answer, wrong answer, evaluator)."""

ROWS = 24


def ask(text: str, **fields: Any) -> Row:
    return {"messages": [{"role": "user", "content": text}], **fields}


def gsm8k(r: Row) -> Row:
    return ask(r["question"], answer=r["answer"])


def other_number(row: Row) -> str:
    return re.sub(r"#### .*", "#### -99999", row["answer"])


def bbh(r: Row) -> Row:
    return ask(r["input"], target=r["target"])


SOURCES: dict[str, Source] = {
    "gsm8k": ("rl/gsm8k/gsm8k_test_200.jsonl", gsm8k, lambda r: r["answer"], other_number, "last_number"),
    "bbh": ("rl/bbh/navigate_first_150.jsonl", bbh, lambda r: r["target"], lambda r: "Maybe", "exact_match"),
    "bbh dates": ("rl/bbh/date_understanding_first_150.jsonl", bbh, lambda r: r["target"], lambda r: "(Z)", "contains"),
    "deepmath": (
        "rl/fireworks_cookbook/deepmath_200.jsonl",
        lambda r: r,
        lambda r: f"\\boxed{{{r['ground_truth']}}}",
        lambda r: "\\boxed{-123456789}",
        "math",
    ),
}

COUNTDOWN = """
import ast, json

def grade(completion, row):
    truth = json.loads(row["ground_truth"])
    answer = completion.partition("<answer>")[2].partition("</answer>")[0]
    numbers = [int(n) for n in __import__("re").findall(r"[0-9]+", answer)]
    if sorted(numbers) != sorted(truth["numbers"]):
        return 0.0
    tree = compile(ast.parse(answer.strip(), mode="eval"), "answer", "eval")
    return 1.0 if abs(eval(tree, {"__builtins__": {}}) - truth["target"]) < 1e-9 else 0.0
"""


@pytest.fixture(scope="module")
def renderer() -> Any:
    folder = Path(__file__).resolve().parents[3] / "shared" / "data" / "tokenizers" / "qwen3"
    if not folder.is_dir():
        pytest.skip("../shared/data is not here")
    return load_renderer(folder)


def rows_of(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()[:ROWS]]


def upload(rows: list[Row], folder: Path) -> Path:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return file


def rendered(rows: list[Row], folder: Path, renderer: Any) -> list[Any]:
    """The job's own prompts, each checked to hold its question and to ask for an answer."""
    spec = RftSpec(dataset=str(upload(rows, folder)), evaluator="contains", eval_auto_carveout=False)
    prompts = prepare_rft(spec, renderer, 32768).train
    for row, prompt in zip(rows, prompts, strict=True):
        text = renderer.tokenizer.decode(prompt.tokens)
        assert row["messages"][-1]["content"].strip() in text
        assert "<|im_start|>assistant" in text
        assert prompt.row == row
    return prompts


def rewards(evaluator: str, cases: list[tuple[str, Row]]) -> list[float]:
    async def grade() -> list[float]:
        async with build_grader(evaluator, timeout_s=20, memory_mb=2048) as grader:
            graded = await asyncio.gather(*(grader(Rollout((), text, 0, "stop"), row) for text, row in cases))
            return [score.reward for score in graded]

    return asyncio.run(grade())


@pytest.mark.parametrize("name", SOURCES)
def test_published_answers_score_1_and_wrong_ones_0(name, shared_data, tmp_path, renderer):
    file, ours, right, wrong, evaluator = SOURCES[name]
    prompts = rendered([ours(r) for r in rows_of(shared_data / file)], tmp_path, renderer)
    assert rewards(evaluator, [(right(p.row), p.row) for p in prompts]) == [1.0] * len(prompts)
    assert rewards(evaluator, [(wrong(p.row), p.row) for p in prompts]) == [0.0] * len(prompts)


def test_countdown(shared_data, tmp_path, renderer):
    rows = rows_of(shared_data / "rl/fireworks_cookbook/countdown_train_32.jsonl")
    prompts = rendered(rows, tmp_path, renderer)
    grader = tmp_path / "countdown.py"
    grader.write_text(COUNTDOWN)
    solved = [(f"<answer>{solution(p.row)}</answer>", p.row) for p in prompts]
    assert rewards(f"{grader}::grade", solved) == [1.0] * len(prompts)
    assert rewards(f"{grader}::grade", [("<answer>1 + 1</answer>", p.row) for p in prompts]) == [0.0] * len(prompts)


def solution(row: Row) -> str:
    """By search: every order of the numbers, every operation, both ways to bracket three."""
    from itertools import permutations, product

    truth = json.loads(row["ground_truth"])
    for numbers in permutations(truth["numbers"]):
        for signs in product("+-*/", repeat=len(numbers) - 1):
            left = str(numbers[0])
            for sign, number in zip(signs, numbers[1:], strict=True):
                left = f"({left} {sign} {number})"
            right = str(numbers[-1])
            for sign, number in zip(reversed(signs), reversed(numbers[:-1]), strict=True):
                right = f"({number} {sign} {right})"
            for text in (left, right):
                try:
                    if abs(eval(text) - truth["target"]) < 1e-9:
                        return text
                except ZeroDivisionError:
                    continue
    raise AssertionError(f"no solution found for {truth}")


def test_tool_calls(shared_data, tmp_path, renderer):
    folder = shared_data / "rl/bfcl"
    answers = {a["id"]: a["ground_truth"] for a in rows_of(folder / "possible_answer_BFCL_v4_simple_python.json")}
    rows = [
        {"id": r["id"], "messages": r["question"][0], "tools": [tool(f) for f in r["function"]]}
        | {"ground_truth": answers[r["id"]]}
        for r in rows_of(folder / "BFCL_v4_simple_python.json")
    ]
    prompts = rendered(rows, tmp_path, renderer)
    assert all(p.row["tools"][0]["function"]["name"] in renderer.tokenizer.decode(p.tokens) for p in prompts)
    right = [(json.dumps(call(p.row)), p.row) for p in prompts]
    wrong = [(json.dumps({**call(p.row), "name": "another_function"}), p.row) for p in prompts]
    assert rewards("tool_call", right) == [1.0] * len(prompts)
    assert rewards("tool_call", wrong) == [0.0] * len(prompts)


def tool(function: Row) -> Row:
    text = json.dumps(function).replace('"type": "dict"', '"type": "object"')
    return {"type": "function", "function": json.loads(text)}


def call(row: Row) -> Row:
    ((name, arguments),) = row["ground_truth"][0].items()
    return {"name": name, "arguments": {k: v[0] for k, v in arguments.items() if v[0] != ""}}


def test_text_to_sql(shared_data, tmp_path, renderer):
    folder = shared_data / "rl/text2sql/defog"
    rows = [
        ask(f"{r['question']}\n\n{r['schema']}", database=str(folder / f"{r['db']}.sqlite"), query=r["gold_sql"])
        for r in rows_of(folder / "questions_75.jsonl")
    ]
    prompts = rendered(rows, tmp_path, renderer)
    right = [(f"```sql\n{p.row['query'][0]}\n```", p.row) for p in prompts]
    wrong = [("```sql\nSELECT 'nothing of the kind', 12345\n```", p.row) for p in prompts]
    assert rewards("sql", right) == [1.0] * len(prompts)
    assert rewards("sql", wrong) == [0.0] * len(prompts)


def test_instructions(shared_data, tmp_path, renderer):
    """IFEval's no-comma rows, graded by a user's own file."""
    found = rows_of(shared_data / "rl/ifeval/ifeval_prompts_first_241.jsonl")
    rows = [ask(r["prompt"]) for r in found if "punctuation:no_comma" in r["instruction_id_list"]]
    grader = tmp_path / "commas.py"
    grader.write_text("def grade(completion, row):\n    return ',' not in completion\n")
    prompts = rendered(rows, tmp_path, renderer)
    assert rewards(f"{grader}::grade", [("no commas here.", p.row) for p in prompts]) == [1.0] * len(prompts)
    assert rewards(f"{grader}::grade", [("one, two", p.row) for p in prompts]) == [0.0] * len(prompts)
