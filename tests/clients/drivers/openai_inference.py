"""OpenAI's own SDK, with another base URL and key: chats, completions, streams, refusals, many at once."""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from typing import Any

import openai

ADDRESS = {"base_url": os.environ["TINKER_BASE_URL"] + "/v1", "api_key": os.environ["TINKER_API_KEY"]}
HOT = {"temperature": 2.0, "top_p": 0.99, "max_tokens": 24}
MESSAGES = [{"role": "system", "content": "Add."}, {"role": "user", "content": [{"type": "text", "text": "1+2=?"}]}]


def main(model: str) -> dict[str, Any]:
    client = openai.OpenAI(**ADDRESS, max_retries=0)
    return {
        "models": [m.id for m in client.models.list()],
        "model": client.models.retrieve(model).id,
        "chat": chats(client, model),
        "completions": completions(client, model),
        "refused": refused(client, model),
        "many": asyncio.run(many(model)),
        "inference": other_root(model),
        "formats": formats(client, model),
    }


def formats(client: openai.OpenAI, model: str) -> dict[str, Any]:
    """Answers that have to look like something, hot enough that they would not by themselves."""
    schema = {
        "type": "object",
        "properties": {"sum": {"type": "integer"}, "sure": {"type": "boolean"}},
        "required": ["sum", "sure"],
        "additionalProperties": False,
    }
    given = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}
    asked = {"model": model, "messages": MESSAGES, "seed": 7, "temperature": 1.5, "max_tokens": 80}
    whole = client.chat.completions.create(**asked, n=3, response_format=given)
    streamed, _, _ = joined(client, **asked, n=3, response_format=given)
    either = client.completions.create(
        model=model,
        prompt="1+1=",
        max_tokens=8,
        n=4,
        extra_body={"response_format": {"type": "grammar", "grammar": 'start: "yes" | "no"'}},
    )
    loose = client.chat.completions.create(**asked | {"max_tokens": 200}, response_format={"type": "json_object"})
    return {
        "whole": [[c.message.content, c.finish_reason] for c in whole.choices],
        "streamed": [[c["content"], c["finish_reason"]] for c in streamed],
        "grammar": [c.text for c in either.choices],
        "object": [loose.choices[0].message.content, loose.choices[0].finish_reason],
    }


def chats(client: openai.OpenAI, model: str) -> dict[str, Any]:
    asked = {"model": model, "messages": MESSAGES, "n": 3, "seed": 7, "logprobs": True, "top_logprobs": 3, **HOT}
    whole = client.chat.completions.create(**asked)
    again = client.chat.completions.create(**asked)
    streamed, usage, chunks = joined(client, **asked)
    cold = {"model": model, "messages": MESSAGES, "temperature": 0}
    with client.chat.completions.stream(**cold) as stream:
        final = stream.get_final_completion()
    text = whole.choices[0].message.content
    stopped = client.chat.completions.create(**asked | {"n": 1, "stop": [text[2:4], "never"]})
    stopped_stream, _, _ = joined(client, **asked | {"n": 1, "stop": [text[2:4], "never"]})
    return {
        "whole": [c.model_dump() for c in whole.choices],
        "again": [c.message.content for c in again.choices],
        "usage": whole.usage.model_dump(),
        "streamed": streamed,
        "streamed_usage": usage.model_dump(),
        "chunks": chunks,
        "helper": [c.choices[0].message.content for c in (final, client.chat.completions.create(**cold))],
        "stopped": [stopped.choices[0].message.content, stopped.choices[0].finish_reason],
        "stopped_stream": stopped_stream[0]["content"],
        "short": client.chat.completions.create(model=model, messages=MESSAGES, max_completion_tokens=1)
        .choices[0]
        .finish_reason,
    }


def joined(client: openai.OpenAI, **asked: Any) -> tuple[list[dict[str, Any]], Any, int]:
    """A stream put together by hand: (choices, usage, how many chunks brought text)."""
    choices: dict[int, dict[str, Any]] = {}
    usage, chunks = None, 0
    for chunk in client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **asked):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            own = choices.setdefault(choice.index, {"content": "", "tokens": [], "logprobs": [], "finish_reason": None})
            own["content"] += choice.delta.content or ""
            own["role"] = choice.delta.role or own["role"]
            chunks += bool(choice.delta.content)
            entries = choice.logprobs.content if choice.logprobs else []
            own["tokens"] += [entry.token for entry in entries]
            own["logprobs"] += [entry.logprob for entry in entries]
            assert own["finish_reason"] is None, "nothing comes after the end"
            own["finish_reason"] = choice.finish_reason
    return [choices[i] for i in sorted(choices)], usage, chunks


def completions(client: openai.OpenAI, model: str) -> dict[str, Any]:
    def ask(**more: Any) -> Any:
        return client.completions.create(model=model, **{"max_tokens": 6, "temperature": 0, **more})

    ids = ask(prompt="1+1=", extra_body={"return_token_ids": True}).choices[0]
    return {
        "text": ask(prompt="1+1=").choices[0].text,
        "of_ids": ask(prompt=ids.prompt_token_ids).choices[0].text,
        "ids": [ids.prompt_token_ids, ids.token_ids],
        "two": [c.text for c in ask(prompt=["1+1=", "2+2="], n=2).choices],
        "each": [ask(prompt=p).choices[0].text for p in ("1+1=", "2+2=")],
        "echo": ask(prompt="1+1=", echo=True, logprobs=2).choices[0].model_dump(),
        "scored": ask(prompt="1+1=", echo=True, logprobs=0, max_tokens=0).choices[0].model_dump(),
        "streamed": "".join(chunk.choices[0].text for chunk in ask(prompt="1+1=", echo=True, stream=True)),
    }


def refused(client: openai.OpenAI, model: str) -> dict[str, Any]:
    def why(call: Callable[..., Any], **asked: Any) -> dict[str, Any]:
        try:
            call(**asked)
        except openai.APIStatusError as e:
            return {"kind": type(e).__name__, "status": e.status_code, "param": e.param, "code": e.code, "text": str(e)}
        return {}

    def chat(**more: Any) -> dict[str, Any]:
        return why(client.chat.completions.create, **{"model": model, "messages": MESSAGES, **more})

    stranger = client.with_options(api_key="tml-somebody")
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    schema = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "nonsense"}}}
    return {
        "model": chat(model="gpt-4"),
        "stream": chat(model="gpt-4", stream=True),
        "retrieve": why(client.models.retrieve, model="gpt-4"),
        "delete": why(client.models.delete, model=model),
        "key": why(stranger.models.list),
        "context": chat(max_tokens=100_000, stream=True),
        "n": chat(n=129),
        "stop": chat(stop=["a"] * 17),
        "likeliest": chat(logprobs=True, top_logprobs=21),
        "logit_bias": chat(logit_bias={"1": 100}),
        "response_format": chat(response_format=schema),
        "tools": chat(tools=[tool]),
        "unknown": chat(extra_body={"temprature": 1}),
        "image": chat(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]),
        "empty": why(client.completions.create, model=model, prompt=[]),
        "id": why(client.completions.create, model=model, prompt=[10**6]),
    }


async def many(model: str) -> dict[str, Any]:
    """64 streams side by side, each with the text that it has alone."""
    async with openai.AsyncOpenAI(**ADDRESS, max_retries=0) as client:

        async def one(seed: int) -> str:
            asked = {"model": model, "messages": MESSAGES, "seed": seed, **HOT}
            stream = await client.chat.completions.create(stream=True, **asked)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

        together = await asyncio.gather(*map(one, range(64)))
        return {"together": together, "alone": [await one(seed) for seed in range(8)]}


def other_root(model: str) -> list[str]:
    """The same chat at each address that it has."""
    texts = []
    for root in ("/v1", "/inference/v1", ""):
        client = openai.OpenAI(base_url=os.environ["TINKER_BASE_URL"] + root, api_key=ADDRESS["api_key"])
        answer = client.chat.completions.create(model=model, messages=MESSAGES, seed=7, **HOT)
        texts.append(answer.choices[0].message.content or "")
    return texts


print(json.dumps(main(**json.loads(sys.argv[1]))), flush=True)
