"""Projects as their authors write them, and archives of them."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

GRADER = """
def grade(completion, row):
    return {"reward": float(row["answer"] in completion), "parts": {"length": len(completion)}}
"""

POINTWISE = """
from eval_protocol.models import EvaluateResult, EvaluationRow, MetricResult
from eval_protocol.pytest import evaluation_test
from numbers_of import last_number

@evaluation_test(
    input_messages=[[[{"role": "user", "content": "What is 17 + 25?"}]]],
    completion_params=[{"model": "whatever", "temperature": 0.3}],
    max_concurrent_rollouts=24,
)
def test_sum(row: EvaluationRow) -> EvaluationRow:
    found = last_number(row.messages[-1].content)
    right = found == str(row.ground_truth)
    metrics = {"number": MetricResult(score=float(found is not None), is_score_valid=True, reason="")}
    row.evaluation_result = EvaluateResult(score=float(right), reason=f"found {found}", metrics=metrics)
    return row
"""

NUMBERS = """
import re

def last_number(text):
    found = re.findall(r"\\d+", text or "")
    return found[-1] if found else None
"""


def packed(files: Mapping[str, str], folder: str = "project") -> bytes:
    """A .tar.gz with one root folder, as eval-protocol makes it."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return made.getvalue()


def written(files: Mapping[str, str], folder: Path) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder
