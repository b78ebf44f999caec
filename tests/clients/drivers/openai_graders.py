"""OpenAI's own SDK with another base URL: graders tried out, refused, and one that a reinforcement job trains with."""

import io
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import openai

ADDRESS = {"base_url": os.environ["TINKER_BASE_URL"] + "/v1", "api_key": os.environ["TINKER_API_KEY"]}
ENDED = ("succeeded", "failed", "cancelled")
LIMIT_S = 120
OUT, ANSWER = "{{sample.output_text}}", "{{item.answer}}"
CHECK = {"type": "string_check", "name": "right", "operation": "eq", "input": OUT, "reference": ANSWER}
ALIKE = {
    "type": "text_similarity",
    "name": "near",
    "evaluation_metric": "fuzzy_match",
    "input": OUT,
    "reference": ANSWER,
}
SOURCE = """
def grade(sample, item):
    return sum(c.isdigit() for c in sample["output_text"]) / max(1, len(sample["output_text"]))
"""
PYTHON = {"type": "python", "name": "digits", "source": SOURCE}
SUM = {
    "type": "multi",
    "name": "sum",
    "graders": {"right": CHECK, "near": ALIKE, "digits": PYTHON},
    "calculate_output": "0.5 * right + 0.3 * near + 0.2 * digits",
}
PEEK = {"type": "python", "name": "peek", "source": "def grade(s, i):\n    return len(open('/etc/shadow').read())\n"}


def main(model: str) -> dict[str, Any]:
    client = openai.OpenAI(**ADDRESS, max_retries=0)
    alpha = client.fine_tuning.alpha.graders
    judge = judge_of(model)
    hasty = {**judge, "sampling_params": {"max_completions_tokens": 3}}
    both = {"type": "multi", "name": "both", "graders": {"judge": judge, "right": CHECK}}
    both["calculate_output"] = "0.1 * judge + right"

    def run(grader: dict[str, Any], text: str, **item: Any) -> dict[str, Any]:
        return alpha.run(grader=grader, model_sample=text, item=item).model_dump()

    return {
        "check": [run(CHECK, text, answer="4")["reward"] for text in ("4", "5")],
        "alike": run(ALIKE, "abcd", answer="abcx"),
        "python": run(PYTHON, "12ab"),
        "sum": run(SUM, "4", answer="4"),
        "no_field": run(CHECK, "4", other="4"),
        "peek": run(PEEK, "4"),
        "validated": alpha.validate(grader=SUM).model_dump(exclude_none=True),
        "judged": run(judge, "4", question="What is 3+1?"),
        "judged_again": run(judge, "4", question="What is 3+1?"),
        "speechless": run(hasty, "4", question="What is 3+1?"),
        "refused": refusals(alpha),
        "job": job(client, model, SUM),
        "judged_job": job(client, model, both),
    }


def judge_of(model: str) -> dict[str, Any]:
    """A number from 0 to 5, by a model of the server."""
    text = {"type": "input_text", "text": "{{item.question}} " + OUT}
    return {
        "type": "score_model",
        "name": "judge",
        "model": model,
        "input": [{"role": "user", "content": [text]}],
        "range": [0, 5],
        "pass_threshold": 3,
        "sampling_params": {"temperature": 1.0, "seed": 7, "max_completions_tokens": 32},
    }


def refusals(alpha: Any) -> dict[str, Any]:
    backwards = {**judge_of("any"), "range": [1, 0]}
    broken = {**PYTHON, "source": "def grade(sample item):"}
    judge = {"type": "score_model", "name": "a", "model": "any", "input": [{"role": "user", "content": OUT}]}
    return {
        "source": refusal(lambda: alpha.validate(grader=broken)),
        "judge": refusal(lambda: alpha.validate(grader=judge)),
        "range": refusal(lambda: alpha.validate(grader={**SUM, "graders": {**SUM["graders"], "judge": backwards}})),
        "metric": refusal(lambda: alpha.run(grader={**ALIKE, "evaluation_metric": "cosine"}, model_sample="")),
        "formula": refusal(lambda: alpha.validate(grader={**SUM, "calculate_output": "right + near"})),
    }


def job(client: openai.OpenAI, model: str, grader: dict[str, Any]) -> dict[str, Any]:
    """A short reinforcement job."""
    asked = [f"What is {a}+1?" for a in range(8)]
    lines = [
        {"messages": [{"role": "user", "content": q}], "answer": str(a + 1), "question": q} for a, q in enumerate(asked)
    ]
    rows = io.BytesIO("".join(json.dumps(line) + "\n" for line in lines).encode())
    file = client.files.create(file=("prompts.jsonl", rows), purpose="fine-tune")
    hyperparameters = {"n_epochs": 1, "batch_size": 4}
    method = {"type": "reinforcement", "reinforcement": {"grader": grader, "hyperparameters": hyperparameters}}
    made = client.fine_tuning.jobs.create(model=model, training_file=file.id, method=method)
    deadline = time.monotonic() + LIMIT_S
    while (found := client.fine_tuning.jobs.retrieve(made.id)).status not in ENDED and time.monotonic() < deadline:
        time.sleep(0.3)
    events = [e.model_dump() for e in client.fine_tuning.jobs.list_events(made.id, limit=100)]
    shown = found.model_dump(exclude_none=True)
    return {"status": found.status, "error": str(found.error), "method": shown["method"], "events": events}


def refusal(call: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"kind": "none", "text": str(call())}
    except openai.APIStatusError as e:
        return {"kind": type(e).__name__, "param": e.param, "text": e.message}


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
