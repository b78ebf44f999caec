"""Scores what the server in ../server.py made: the share of its answers that are right."""

import re

from eval_protocol.models import EvaluateResult, EvaluationRow
from eval_protocol.pytest import RemoteRolloutProcessor, evaluation_test


@evaluation_test(
    input_dataset=["sums.jsonl"],
    completion_params=[{"model": "accounts/tunesmith/models/embedded", "temperature": 0.7, "max_tokens": 32}],
    rollout_processor=RemoteRolloutProcessor(remote_base_url="http://127.0.0.1:3000", timeout_seconds=300),
)
def test_twice(row: EvaluationRow) -> EvaluationRow:
    answers = [re.findall(r"\d+", message.content or "") for message in row.get_assistant_messages()]
    right = [bool(numbers) and numbers[-1] == str(row.ground_truth) for numbers in answers]
    row.evaluation_result = EvaluateResult(score=sum(right) / max(1, len(right)), reason=str(answers))
    return row
