"""eval-protocol's own processor makes rollouts by way of a remote server, and tells what it found of them."""

import asyncio
import json
import os
import sys

settings = json.loads(sys.argv[1])
os.environ |= {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "FIREWORKS_API_KEY": "fw_" + os.environ["TINKER_API_KEY"].removeprefix("tml-"),
    "EP_MODEL_BASE_URL": settings["gateway"],
}

from eval_protocol.models import EvaluationRow, InputMetadata, Message  # noqa: E402
from eval_protocol.pytest import RemoteRolloutProcessor  # noqa: E402
from eval_protocol.pytest.types import RolloutProcessorConfig  # noqa: E402


def row(i: int, text: str) -> EvaluationRow:
    made = EvaluationRow(messages=[Message(role="user", content=text)], input_metadata=InputMetadata(row_id=f"row-{i}"))
    data = made.execution_metadata
    data.rollout_id, data.run_id, data.invocation_id, data.experiment_id = f"r{i}-{settings['mark']}", "u", "v", "e"
    return made


async def main() -> None:
    processor = RemoteRolloutProcessor(
        remote_base_url=settings["remote"],
        poll_interval=0.1,
        timeout_seconds=settings["seconds"],
        include_payloads=True,
    )
    params = {"model": settings["model"], "temperature": 0.7, "max_tokens": 24}
    config = RolloutProcessorConfig(
        completion_params=params, mcp_config_path="", semaphore=asyncio.Semaphore(8), steps=1, kwargs={}
    )
    rows = [row(i, text) for i, text in enumerate(settings["texts"])]
    found = []
    for result in await asyncio.gather(*processor(rows, config), return_exceptions=True):
        if isinstance(result, BaseException):
            found.append({"error": f"{type(result).__name__}: {result}"})
            continue
        found.append(
            {
                "status": result.rollout_status.code,
                "said": result.rollout_status.message,
                "messages": [{"role": m.role, "content": m.content} for m in result.messages],
                "logprobs": [m.logprobs for m in result.messages if m.role == "assistant"],
                "extra": result.execution_metadata.extra,
                "ids": [result.execution_metadata.rollout_id, result.execution_metadata.run_id],
            }
        )
    await processor.acleanup()
    print(json.dumps(found))


asyncio.run(main())
