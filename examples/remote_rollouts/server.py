"""A rollout server: it asks the policy, asks it once more, and tells how it went.

It runs wherever you like, with `pip install eval-protocol`; what it needs to know comes with each POST /init, and its
own environment says where to log to: FW_TRACING_GATEWAY_BASE_URL and FIREWORKS_API_KEY.
"""

import argparse
import logging
import threading

import uvicorn
from eval_protocol.log_utils.fireworks_tracing_http_handler import FireworksTracingHttpHandler
from eval_protocol.models import Status
from eval_protocol.types.remote_rollout_processor import InitRequest
from fastapi import FastAPI
from openai import OpenAI

app = FastAPI()
log = logging.getLogger("rollouts")
log.setLevel(logging.INFO)


@app.post("/init")
def init(request: InitRequest) -> dict[str, str]:
    """Begin a rollout; it goes on after this has been answered."""
    threading.Thread(target=rolled, args=(request,), daemon=True).start()
    return {"status": "started"}


def rolled(request: InitRequest) -> None:
    try:
        talk(request)
        status = Status.rollout_finished()
    except Exception as e:
        status = Status.rollout_internal_error(f"{type(e).__name__}: {e}")
    log.info(status.message, extra={"rollout_id": request.metadata.rollout_id, "status": status})


def talk(request: InitRequest) -> None:
    """Two turns: what was asked, and the same again."""
    params = dict(request.completion_params)
    model = params.pop("model").removeprefix("fireworks_ai/")
    messages = [message.dump_mdoel_for_chat_completion_request() for message in request.messages or []]
    with OpenAI(base_url=request.model_base_url, api_key=request.api_key) as client:
        for following in (messages[-1], None):
            answer = client.chat.completions.create(model=model, messages=messages, **params)
            messages.append({"role": "assistant", "content": answer.choices[0].message.content})
            if following is not None:
                messages.append(following)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--port", type=int, default=3000)
    log.addHandler(FireworksTracingHttpHandler())
    uvicorn.run(app, host="127.0.0.1", port=arguments.parse_args().port, log_level="warning")
