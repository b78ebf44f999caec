"""Built-in graders: hand-made cases here, real rows of public datasets below, run as a job runs them."""

import asyncio
import json

import pytest

from tunesmith.core.ports import GradingError
from tunesmith.core.types import Rollout
from tunesmith.grading import GRADERS, build_grader
from tunesmith.grading.answers import boxed, code_block, json_value, number_in
from tunesmith.grading.builtin.text import overlong_penalty
from tunesmith.grading.verdict import as_score


def reward(name, completion, row, **arguments):
    return as_score(GRADERS[name].function(completion, row, **arguments)).reward


def rewards(evaluator, cases, timeout_s=10.0):
    """The rewards of (completion, row) pairs, graded by a pool."""

    async def grade_all():
        async with build_grader(evaluator, timeout_s=timeout_s, memory_mb=1024, workers=2) as grader:
            calls = [grader(Rollout((), completion, 0, "stop"), row) for completion, row in cases]
            return [score.reward for score in await asyncio.gather(*calls)]

    return asyncio.run(grade_all())


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("#### 18", 18),
        ("so 5 and 7.\n#### 1,234\n", 1234),
        ("it costs $3.50.", 3.5),
        ("-7 degrees", -7),
        ("7-3", 3),
        ("x = -2e3", -2000),
        ("[1,2,3]", 3),
        ("12,345,678.5 people", 12345678.5),
        (".5", 0.5),
        ("\u22124", -4),
        ("18.", 18),
        ("none", None),
        ("5 #### none", None),
        ("1" + "0" * 400, float("inf")),
    ],
)
def test_the_final_number(text, number):
    assert number_in(text) == number


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{3} then \boxed{4}", "4"),
        (r"\boxed{3} then \boxed{4", "3"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        ("3", None),
        ("\\boxed{" * 20_000, None),
    ],
)
def test_the_boxed_answer(text, content):
    assert boxed(text) == content


def test_the_longest_block_of_the_language_is_taken():
    text = "```python\nx = 1\n```\nor\n```python\nx = 1\ny = 2\n```\n```bash\nls -l some/very/long/path\n```"
    assert code_block(text, "python") == "x = 1\ny = 2\n"
    assert code_block("```\nfree\n```", "python") == "free\n"
    assert code_block("```python\nnever closed", "python") == "never closed"
    assert code_block("no fence", "python") is None


@pytest.mark.parametrize("text", ['{"a": [1]}', 'Sure:\n```json\n{"a": [1]}\n```', 'It is {"a": [1]}, or {"b": 2}.'])
def test_json_in_a_completion(text):
    assert json_value(text) == {"a": [1]}


@pytest.mark.parametrize("text", ["", "none", "{" * 100_000, "[" * 100_000])
def test_no_json_in_a_completion(text):
    with pytest.raises(ValueError, match="no JSON"):
        json_value(text)


@pytest.mark.parametrize(
    ("name", "completion", "row", "arguments", "expected"),
    [
        ("exact_match", " Yes\n", {"answer": "Yes"}, {}, 1),
        ("exact_match", "yes", {"answer": "Yes"}, {}, 0),
        ("exact_match", "yes", {"answer": "Yes"}, {"ignore_case": True}, 1),
        ("exact_match", "b", {"target": ["a", "b"]}, {}, 1),
        ("exact_match", "51.0", {"Answer": 51.0}, {"field": "Answer"}, 1),
        ("exact_match", "", {"ground_truth": ""}, {}, 1),
        ("exact_match", "x", {"ground_truth": "y", "answer": "x"}, {}, 0),
        ("contains", "It is Paris.", {"expected": "Paris"}, {}, 1),
        ("contains", "It is Rome.", {"expected": "Paris"}, {}, 0),
        ("last_number", "so 3", {"answer": "3.0"}, {}, 1),
        ("last_number", "so 1234", {"answer": "#### 1,234"}, {}, 1),
        ("last_number", "so 3.1", {"answer": 3}, {}, 0),
        ("last_number", "so 3.1", {"answer": 3}, {"tolerance": 0.05}, 1),
        ("last_number", "no idea", {"answer": 3}, {}, 0),
        ("boxed", r"\boxed{\dfrac{1}{2}}", {"answer": r"$\frac{1}{2}$"}, {}, 1),
        ("boxed", r"\boxed{1,000}", {"answer": "1000.0"}, {}, 1),
        ("boxed", r"\boxed{\left( 3, \frac{\pi}{2} \right)}", {"answer": r"\left(3,\frac{\pi}{2}\right)"}, {}, 1),
        ("boxed", r"\boxed{4}", {"answer": "5"}, {}, 0),
        ("boxed", "4", {"answer": "4"}, {}, 0),
        ("regex", "Answer: 42", {}, {"pattern": r"Answer: \d+"}, 1),
        ("regex", "Answer: 42", {"pattern": "nothing"}, {}, 0),
        ("regex", "Answer: 41\nAnswer: 42", {"answer": 42}, {"pattern": r"^Answer: (\d+)$"}, 1),
        ("regex", "Answer: 41", {"answer": 42}, {"pattern": r"^Answer: (\d+)$"}, 0),
        ("format", "<think>a</think><answer>b</answer>", {}, {"answer": True}, 1),
        ("format", "<think>a</think>b", {}, {"answer": True}, 0),
        ("format", "<think>a</think><answer>b</answer><answer>c</answer>", {}, {"answer": True}, 0),
        ("format", "<think>a</think>  \n", {}, {}, 0),
        # 5 words, wanted 4: 1 - 1/4
        ("length", "a b c d e", {"target_length": 4}, {}, 0.75),
        ("length", "abc", {}, {"target": 3, "unit": "characters"}, 1),
        ("length", "", {}, {"target": 3, "unit": "tokens", "num_tokens": 9}, 0),
        # 90 tokens of 100 with a cache of 20: halfway down
        ("length", "", {}, {"max": 100, "cache": 20, "unit": "tokens", "num_tokens": 90}, -0.5),
        # a b, b a, a b, b a: two of four are new
        ("repetition", "a b a b a", {}, {"ngram": 2}, -0.5),
        ("json_schema", '{"a": 1}', {"schema": {"required": ["a"]}}, {}, 1),
        ("json_schema", '{"b": 1}', {"schema": {"required": ["a"]}}, {}, 0),
        ("json_schema", '{"b": 1}', {"schema": '{"required": ["b"]}'}, {}, 1),
        ("json_schema", '{"a": 1.0}', {"answer": '{"a": 1}'}, {}, 1),
        ("json_schema", '{"a": true}', {"answer": {"a": 1}}, {}, 0),
        ("json_schema", '{"a": 1}', {"schema": {"required": ["a"]}, "answer": {"a": 2}}, {}, 0),
        ("json_schema", '{"a": 1}', {"ground_truth": {"required": ["a"]}}, {"schema": "ground_truth"}, 1),
        ("json_schema", "none", {"answer": {}}, {}, 0),
        ("tool_call", 'f(x=1, y="A b")', {"answer": [{"f": {"x": [1], "y": ["a-B"], "z": ["", 3]}}]}, {}, 1),
        ("tool_call", "f(x=1)", {"answer": [{"f": {"x": [1], "y": ["a"]}}]}, {}, 0),
        ("tool_call", "f(x=1, q=2)", {"answer": [{"f": {"x": [1]}}]}, {}, 0),
        ("tool_call", "[f(x=True)]", {"answer": [{"f": {"x": [1]}}]}, {}, 0),
        (
            "tool_call",
            '{"name": "f", "arguments": {"x": {"k": 2}}}',
            {"answer": [{"f": {"x": [{"k": [1, 2]}]}}]},
            {},
            1,
        ),
        ("tool_call", "(" * 50_000, {"answer": [{"f": {}}]}, {}, 0),
    ],
)
def test_rewards(name, completion, row, arguments, expected):
    assert reward(name, completion, row, **arguments) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "row", "arguments"),
    [
        ("exact_match", {"question": "?"}, {}),
        ("exact_match", {"answer": {"a": 1}}, {}),
        ("last_number", {"answer": "many"}, {}),
        ("boxed", {}, {}),
        ("regex", {}, {"pattern": "(a)"}),
        ("sql", {"database": __file__}, {}),
        ("length", {}, {}),
        ("length", {}, {"target": 3, "unit": "lines"}),
        ("regex", {}, {}),
        ("regex", {"pattern": "("}, {}),
        ("json_schema", {}, {}),
        ("json_schema", {"answer": "not JSON"}, {}),
        ("json_schema", {"schema": {"type": "nonsense"}}, {}),
        ("tool_call", {"answer": "not JSON"}, {}),
        ("tool_call", {"answer": {"a": 1}}, {}),
        ("unit_tests", {"tests": []}, {}),
        ("sql", {"db": "academic"}, {}),
        ("sql", {"database": "no/such/file"}, {}),
    ],
)
def test_a_row_that_does_not_fit_is_said(name, row, arguments):
    with pytest.raises(GradingError) as failure:
        GRADERS[name].function("{}", row, **arguments)
    assert failure.value.label == "bad_row"


def test_golden_cases_of_formats_and_penalties(shared_data):
    cases = lines(shared_data / "golden/graders/trl_format_reward_cases.jsonl")
    for case in cases:
        if case["reward"] == "think_format":
            found = reward("format", case["completion"], {})
        elif case["reward"] == "soft_overlong":
            found = overlong_penalty(case["length"], case["max_completion_len"], case["soft_punish_cache"])
        else:
            words = " ".join(map(str, case["ids"]))
            found = reward("repetition", words, {}, ngram=case["ngram_size"], penalty=-case["max_penalty"])
        assert found == pytest.approx(case["expected"]), case
    assert len(cases) == 22


def test_gsm8k(shared_data):
    for row in lines(shared_data / "rl/gsm8k/gsm8k_train_1000.jsonl"):
        final = row["answer"].rpartition("####")[2].strip()
        assert reward("last_number", row["answer"], row) == 1
        assert reward("last_number", f"The answer is {final}.", row) == 1
        assert reward("last_number", f"#### {number_in(final) + 1}", row) == 0


def test_svamp(shared_data):
    for row in json.loads((shared_data / "rl/svamp/SVAMP.json").read_text()):
        assert reward("last_number", f"That makes {row['Answer']}.", row, field="Answer") == 1
        assert reward("last_number", f"That makes {row['Answer'] + 1}.", row, field="Answer") == 0


def test_bbh(shared_data):
    files = sorted((shared_data / "rl/bbh").glob("*.jsonl"))
    for row in [row for file in files for row in lines(file)]:
        assert reward("exact_match", row["target"], row) == reward("contains", f"So: {row['target']}.", row) == 1
        assert reward("exact_match", f"{row['target']}, I think", row) == 0


@pytest.mark.parametrize(
    ("completion", "answer", "expected"),
    [
        (r"so \boxed{\frac{200}{6}}", r"\dfrac{100}{3}", 1),
        (r"so \boxed{33}", r"\dfrac{100}{3}", 0),
        ("no idea", r"\dfrac{100}{3}", 0),
        (r"so $\sqrt{8}$", r"2\sqrt{2}", 1),
        (r"so \boxed{\{2, 1\}}", r"\{1,2\}", 1),
        (r"so \boxed{9^{9^{9^{9}}}}", "3", 0),
    ],
)
def test_math(completion, answer, expected):
    assert reward("math", completion, {"answer": answer}, budget_s=6) == expected


@pytest.mark.thorough
def test_math_on_deepmath_in_a_worker(shared_data):
    rows = lines(shared_data / "rl/fireworks_cookbook/deepmath_200.jsonl")[:40]
    right = [(f"so \\boxed{{{row['ground_truth']}}}", row) for row in rows]
    wrong = [(r"so \boxed{123456789}", row) for row in rows]
    assert rewards("math", right + wrong) == [1.0] * 40 + [0.0] * 40


@pytest.mark.thorough
def test_mbpp(shared_data):
    rows = lines(shared_data / "rl/code/mbpp_train_300.jsonl")[:10]
    right = [(f"Here:\n```python\n{row['code']}\n```", row) for row in rows]
    wrong = [("def nothing(): pass", row) for row in rows]
    assert rewards("unit_tests", right + wrong) == [1.0] * 10 + [0.0] * 10


@pytest.mark.thorough
def test_humaneval(shared_data):
    rows = lines(shared_data / "rl/code/humaneval_first_64.jsonl")[:10]
    bodies = [(row["canonical_solution"], row) for row in rows]
    whole = [(f"```python\n{row['prompt']}{row['canonical_solution']}\n```", row) for row in rows]
    wrong = [("    return None\n", row) for row in rows]
    assert rewards("unit_tests", bodies + whole + wrong) == [1.0] * 20 + [0.0] * 10


@pytest.mark.thorough
@pytest.mark.parametrize(
    "code",
    [
        "import sys; sys.exit(0)",
        "import os; os._exit(0)",
        "while True: pass",
        "import time; time.sleep(60)",
        'import sys; print(\'["", ""]\'); sys.stdout.flush(); import os; os._exit(0)',
        "import ctypes; ctypes.string_at(0)",
        "x = bytearray(8 << 30)",
        "import os\nfor _ in range(200): os.fork()",
        "not python",
    ],
)
def test_code_that_misbehaves_fails_its_tests_and_nothing_else(code):
    row = {"tests": ["assert f(1) == 2", "assert f(2) == 3"]}
    good = "def f(x): return x + 1"
    assert rewards("unit_tests", [(code, row), (good, row)], timeout_s=3) == [0.0, 1.0]


def test_a_share_of_the_tests():
    row = {"tests": ["assert f(1) == 2", "assert f(2) == 5"]}
    assert reward("unit_tests", "def f(x): return x + 1", row, partial=True) == 0.5
    assert reward("unit_tests", "def f(x): return x + 1", row) == 0


def test_bfcl(shared_data):
    answers = lines(shared_data / "rl/bfcl/possible_answer_BFCL_v4_simple_python.json")
    for row in answers:
        [(name, options)] = row["ground_truth"][0].items()
        arguments = {key: plain(values[0]) for key, values in options.items() if values[0] != ""}
        call = {"name": name, "arguments": arguments}
        assert reward("tool_call", f"<tool_call>\n{json.dumps(call)}\n</tool_call>", row) == 1, row["id"]
        spelled = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        assert reward("tool_call", f"[{name}({spelled})]", row) == 1, row["id"]
        assert reward("tool_call", json.dumps({**call, "name": "other"}), row) == 0
        assert reward("tool_call", json.dumps({**call, "arguments": {**arguments, "extra": 1}}), row) == 0


def plain(value):
    """A BFCL option as a caller would write it: of a nested dict, the first accepted value of each key."""
    if isinstance(value, dict):
        return {k: plain(v[0]) if isinstance(v, list) else v for k, v in value.items() if v != [""]}
    return [plain(item) for item in value] if isinstance(value, list) else value


def test_openai_tool_calls(shared_data):
    for row in lines(shared_data / "rl/eval_protocol/function_calling_13.jsonl"):
        said = row["messages"][-1]
        completion = json.dumps({"tool_calls": said["tool_calls"]}) if "tool_calls" in said else said["content"]
        assert reward("tool_call", completion, row) == row["evaluation_result"]["score"], row["input_metadata"]


def test_json_schema_rows(shared_data):
    for row in lines(shared_data / "rl/eval_protocol/json_schema_12.jsonl"):
        score = row["evaluation_result"]["score"]
        schema = row["input_metadata"]["dataset_info"]["expected_schema"]
        if score in (0.0, 1.0):
            assert reward("json_schema", row["messages"][-1]["content"], {"schema": schema}) == score


@pytest.mark.thorough
def test_text_to_sql(shared_data):
    folder = shared_data / "rl/text2sql/defog"
    rows = lines(folder / "questions_75.jsonl")
    right = [(f"```sql\n{query};\n```", row) for row in rows for query in row["gold_sql"]]
    wrong = [("SELECT 'nobody', -1", row) for row in rows]
    found = rewards(f"sql:folder={folder}", right + wrong)
    assert found == [1.0] * len(right) + [0.0] * len(wrong)
    by_query = [{k: v for k, v in row.items() if k != "gold_rows"} for row in rows[:10]]
    assert rewards(f"sql:folder={folder}", [(row["gold_sql"][0], row) for row in by_query]) == [1.0] * 10


@pytest.mark.parametrize(
    "query",
    [
        "DROP TABLE author",
        "ATTACH DATABASE 'other.db' AS other",
        "PRAGMA writable_schema = 1",
        "SELECT 1; SELECT 2",
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n",
        "SELECT load_extension('x')",
        "",
    ],
)
def test_a_query_that_writes_or_runs_on_scores_nothing(shared_data, query):
    row = {"database": str(shared_data / "rl/text2sql/defog/academic.sqlite"), "result": [[1]]}
    assert reward("sql", query, row, budget_s=0.5) == 0
    assert reward("sql", "SELECT 1", row, budget_s=0.5) == 1


def test_order_of_rows_counts_on_demand(shared_data):
    row = {"database": str(shared_data / "rl/text2sql/defog/academic.sqlite"), "result": [[1], [2.0]]}
    query = "SELECT 2 UNION ALL SELECT 1"
    assert reward("sql", query, row) == 1
    assert reward("sql", query, row, ordered=True) == 0
