"""Files that other people made get the verdict a person would give them."""

import json

import pytest
from data.dataset_files import ASSISTANT, said, write

from tunesmith.core.errors import UserError
from tunesmith.data import check_file, load_rows

VERDICTS: dict[str, tuple[str, int, str]] = {
    # file: (kind, examples when it is good or line of the first problem, words of the message when it is bad)
    "sft/fireworks_cookbook_food_reasoning_vision_6.jsonl": (
        "sft",
        1,
        "'image_url', not text. Tuning here is text-only",
    ),
    "sft/fireworks_cookbook_prompt_router_sample.jsonl": ("sft", 2, "sft needs at least 3 rows"),
    "sft/fireworks_cookbook_text2sql_100.jsonl": ("sft", 100, ""),
    "sft/glaive_tool_calls_openai_200.jsonl": ("sft", 200, ""),
    "sft/identity_91.jsonl": ("sft", 91, ""),
    "sft/llamafactory_v1_sft_demo.jsonl": ("sft", 1, "Rename it to weight"),
    "sft/mistral_dataset_import_example.jsonl": ("sft", 2, "does not end with an assistant message"),
    "sft/oasst_multiturn_weights.jsonl": ("sft", 80, ""),
    "sft/self_instruct_seed_tasks_175.jsonl": ("sft", 1, "Write 'instruction' as the user's content"),
    "sft/tinker_cookbook_conversations.jsonl": ("sft", 128, ""),
    "sft/wikisql_train.jsonl": ("sft", 1, "Plain text has no turns"),
    "sft/wikisql_valid.jsonl": ("sft", 1, "Plain text has no turns"),
    "preference/dpo_en_demo_200.jsonl": ("dpo", 200, ""),
    "preference/fireworks_cookbook_orpo_ifeval_100.jsonl": (
        "dpo",
        1,
        "the last assistant message of 'chosen' in preferred",
    ),
    "preference/llamafactory_v1_dpo_demo.jsonl": (
        "dpo",
        1,
        "the last assistant message of 'chosen_messages' in preferred",
    ),
    "preference/oasst_pairs_100.jsonl": ("dpo", 100, ""),
    "rl/bbh/boolean_expressions_first_150.jsonl": ("rft", 1, "Rename 'input' to 'prompt'"),
    "rl/bbh/date_understanding_first_150.jsonl": ("rft", 1, "Rename 'input' to 'prompt'"),
    "rl/bbh/dyck_languages_first_150.jsonl": ("rft", 1, "Rename 'input' to 'prompt'"),
    "rl/bbh/multistep_arithmetic_two_first_150.jsonl": ("rft", 1, "Rename 'input' to 'prompt'"),
    "rl/bbh/navigate_first_150.jsonl": ("rft", 1, "Rename 'input' to 'prompt'"),
    "rl/bbh/object_counting_first_150.jsonl": ("rft", 1, "Rename 'input' to 'prompt'"),
    "rl/bbh/web_of_lies_first_150.jsonl": ("rft", 1, "Rename 'input' to 'prompt'"),
    "rl/bbh/word_sorting_first_150.jsonl": ("rft", 1, "Rename 'input' to 'prompt'"),
    "rl/bfcl/BFCL_v4_simple_python.json": ("rft", 1, "Add 'prompt'"),
    "rl/bfcl/possible_answer_BFCL_v4_simple_python.json": ("rft", 1, "Add 'prompt'"),
    "rl/chinook/tasks_15.jsonl": ("rft", 1, "Rename 'task' to 'prompt'"),
    "rl/code/humaneval_first_64.jsonl": ("rft", 64, ""),
    "rl/code/mbpp_train_300.jsonl": ("rft", 1, "Rename 'text' to 'prompt'"),
    "rl/digit_completion/digit_completion_train_800.jsonl": ("rft", 800, ""),
    "rl/eval_protocol/apps_sample_3.jsonl": ("rft", 1, "Rename 'question' to 'prompt'"),
    "rl/eval_protocol/basic_coding_10.jsonl": ("rft", 10, ""),
    "rl/eval_protocol/frozen_lake_3.jsonl": ("rft", 1, "Add 'prompt'"),
    "rl/eval_protocol/function_calling_13.jsonl": ("rft", 13, ""),
    "rl/eval_protocol/gsm8k_sample_5.jsonl": ("rft", 1, "Rename 'user_query' to 'prompt'"),
    "rl/eval_protocol/halueval_3.jsonl": ("rft", 1, "Rename 'question' to 'prompt'"),
    "rl/eval_protocol/import_data_2.jsonl": ("rft", 1, "Rename 'conversation_messages' to 'messages'"),
    "rl/eval_protocol/json_schema_12.jsonl": ("rft", 12, ""),
    "rl/eval_protocol/markdown_highlight_19.jsonl": ("rft", 19, ""),
    "rl/eval_protocol/svgbench_3.jsonl": ("rft", 3, ""),
    "rl/eval_protocol/tool_calling_3.jsonl": ("rft", 3, ""),
    "rl/fireworks_cookbook/countdown_train_32.jsonl": ("rft", 32, ""),
    "rl/fireworks_cookbook/deepmath_200.jsonl": ("rft", 200, ""),
    "rl/fireworks_cookbook/eval_protocol_chat_train_4.jsonl": ("rft", 4, ""),
    "rl/fireworks_cookbook/frozen_lake_seeds_120.jsonl": ("rft", 1, "Add 'prompt'"),
    "rl/fireworks_cookbook/gsm8k_200.jsonl": ("rft", 1, "Rename 'question' to 'prompt'"),
    "rl/fireworks_cookbook/multi_lora_hotreload_eval_5.jsonl": ("rft", 5, ""),
    "rl/fireworks_cookbook/text2sql_agent_sample_3.jsonl": ("rft", 3, ""),
    "rl/gsm8k/gsm8k_test_200.jsonl": ("rft", 1, "Rename 'question' to 'prompt'"),
    "rl/gsm8k/gsm8k_train_1000.jsonl": ("rft", 1, "Rename 'question' to 'prompt'"),
    "rl/ifeval/ifeval_prompts_first_241.jsonl": ("rft", 241, ""),
    "rl/svamp/SVAMP.json": ("rft", 1, "a JSON array, not one object per line"),
    "rl/text2sql/defog/questions_75.jsonl": ("rft", 1, "Rename 'question' to 'prompt'"),
    "rl/text2sql/northwind_queries.jsonl": ("rft", 1, "Rename 'question' to 'prompt'"),
}


@pytest.mark.parametrize(("file", "verdict"), VERDICTS.items(), ids=VERDICTS)
def test_the_verdict(shared_data, file, verdict):
    kind, number, message = verdict
    if not message:
        report = load_rows(shared_data / file, kind)
        assert len(report.rows) == report.counts.examples == number
        return
    with pytest.raises(UserError) as refused:
        load_rows(shared_data / file, kind)
    assert message in str(refused.value)
    assert f".json{'l' if file.endswith('l') else ''}:{number}: " in str(refused.value)


def test_every_shared_file_has_a_verdict(shared_data):
    folders = ("sft", "preference", "rl")
    files = {str(p.relative_to(shared_data)) for f in folders for p in (shared_data / f).rglob("*.json*")}
    assert files == set(VERDICTS)


def test_the_row_of_an_evaluation_is_handed_on_verbatim(shared_data):
    path = shared_data / "rl/fireworks_cookbook/text2sql_agent_sample_3.jsonl"
    rows = load_rows(path, "rft").rows
    assert [row.row for row in rows] == [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert rows[0].prompt_id == "q669"


def test_a_really_broken_upload_names_line_16(shared_data):
    path = shared_data / "malformed/eval_protocol_chinook_tasks_bad_line16.jsonl"
    broken = [p for p in check_file(path, "rft").problems if p.problem == "invalid JSON"]
    assert [p.line for p in broken] == [16]
    assert "add } at its end" in broken[0].mend
    with pytest.raises(UserError, match=r"bad_line16\.jsonl:16: "):
        load_rows(path, "rft")


WHERE = {
    "sft.check_jsonl_empty_file": (1, "File is empty"),
    "sft.check_jsonl_invalid_json": (1, "Missing required field 'messages'"),
    "sft.check_jsonl_invalid_role": (1, "found 'invalid_role', unknown role"),
    "sft.check_jsonl_invalid_weight": (1, "Weight must be 0"),
    "preference.missing_preferred_output": (1, "Missing required field 'preferred_output'"),
    "preference.empty_messages": (1, "no messages"),
}


def test_upload_cases_of_another_platform(shared_data, tmp_path):
    cases = (shared_data / "malformed/together_dataset_cases_8.jsonl").read_text("utf-8").splitlines()
    for case in map(json.loads, cases):
        # Files here hold one to three rows; repeating them leaves the smallest size out of the verdict.
        path = tmp_path / "case.jsonl"
        path.write_text("\n".join([case["file_text"]] * 3) if case["file_text"] else "", "utf-8")
        report = check_file(path, "dpo" if case["id"].startswith("preference") else "sft")
        assert (not report.problems) == case["accepted_by_together"], case["id"]
        if report.problems:
            line, message = WHERE[case["id"]]
            assert report.problems[0].line == line and message in str(report.problems[0])


def test_a_bare_string_is_named_on_its_line(shared_data, tmp_path):
    cases = (shared_data / "malformed/together_dataset_cases_8.jsonl").read_text("utf-8").splitlines()
    text = next(c["file_text"] for c in map(json.loads, cases) if c["id"] == "sft.check_jsonl_invalid_json")
    path = tmp_path / "case.jsonl"
    path.write_text(text, "utf-8")
    assert [p.problem for p in check_file(path, "sft").problems if p.line == 2] == ["not an object", "too few rows"]


def test_naughty_strings_come_back_verbatim(shared_data, tmp_path):
    strings = json.loads((shared_data / "malformed/blns.json").read_text("utf-8"))
    rows = [said({"role": "user", "content": text}, {**ASSISTANT, "content": f"= {text}"}) for text in strings]
    read = load_rows(write(tmp_path / "blns.jsonl", *rows), "sft").rows
    assert [row.messages[0]["content"] for row in read] == strings
    assert [row.messages[1]["content"] for row in read] == [f"= {text}" for text in strings]
