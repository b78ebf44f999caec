"""Projects as their authors write them, and archives of them."""

import io
import tarfile
import zipfile
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


TURNS = """
import asyncio
import litellm
from eval_protocol.models import EvaluateResult, EvaluationRow, Message
from eval_protocol.pytest import RolloutProcessor, evaluation_test
from numbers_of import last_number

class Twice(RolloutProcessor):
    def __call__(self, rows, config):
        async def ask(row):
            messages = [m.dump_mdoel_for_chat_completion_request() for m in row.messages]
            answer = await litellm.acompletion(messages=messages, **config.completion_params)
            row.messages.append(Message(role="assistant", content=answer.choices[0].message.content))

        async def one(row):
            await ask(row)
            row.messages.append(Message(role="user", content=row.messages[0].content))
            if REWRITES:
                row.messages = row.messages[-1:]
            await ask(row)
            return row

        return [asyncio.create_task(one(row)) for row in rows]

REWRITES = False

@evaluation_test(
    input_messages=[[[{"role": "user", "content": "What is 17 + 25?"}]]],
    completion_params=[{"model": "whatever"}],
    rollout_processor=Twice(),
)
def test_twice(row: EvaluationRow) -> EvaluationRow:
    answers = [last_number(m.content) for m in row.messages if m.role == "assistant"]
    score = sum(a == str(row.ground_truth) for a in answers) / len(answers)
    row.evaluation_result = EvaluateResult(score=score, reason=str(answers))
    return row
"""

GROUPWISE = """
from eval_protocol.models import EvaluateResult, EvaluationRow
from eval_protocol.pytest import evaluation_test
from numbers_of import last_number

@evaluation_test(
    input_messages=[[[{"role": "user", "content": "What is 17 + 25?"}]]],
    completion_params=[{"model": "a"}, {"model": "b"}],
    mode="groupwise",
)
async def test_together(rows: list[EvaluationRow]) -> list[EvaluationRow]:
    right = [last_number(row.messages[-1].content) == str(row.ground_truth) for row in rows]
    for row, r in zip(rows, right):
        row.evaluation_result = EvaluateResult(score=float(r) / max(1, sum(right)), reason="")
    return rows
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


def wheel(folder: Path, name: str, source: str) -> Path:
    """A package of one module, as pip installs it."""
    file = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": source,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(file, "w") as packed:
        for inner, text in files.items():
            packed.writestr(inner, text)
        packed.writestr(f"{info}/RECORD", "".join(f"{inner},,\n" for inner in [*files, f"{info}/RECORD"]))
    return file


def written(files: Mapping[str, str], folder: Path) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder
