"""``tunesmith chat``: talk to a model of the server, base or tuned, token by token as it answers."""

import json as json_text
import sys
from typing import Annotated, Any

import typer

from tunesmith.cli.references import Url


def add_to(app: typer.Typer, name: str) -> None:
    app.command(name)(chat)


def chat(
    model: Annotated[str, typer.Argument(help="Base or tuned model, its beginning, or @latest.")],
    text: Annotated[str | None, typer.Argument(help="What to say; without it, chat until end of input.")] = None,
    system: Annotated[str | None, typer.Option(help="System message.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Longest answer in tokens.")] = None,
    temperature: Annotated[float, typer.Option(help="0 always takes the likeliest token.")] = 0.7,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same answer.")] = None,
    url: Url = None,
    json: Annotated[bool, typer.Option("--json", help="Print the server's answer as JSON, whole.")] = False,
) -> None:
    """Chat with a model of the server.

    Example: tunesmith chat @latest "What is 27 + 45?"
    """
    from tunesmith.cli.client import client_of
    from tunesmith.cli.output import print_json

    client = client_of(url)
    given = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed}
    settings: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    settings |= {"model": _name(client, model), "stream": not json}
    history: list[dict[str, str]] = [{"role": "system", "content": system}] if system else []
    for line in [text] if text is not None else _lines():
        history.append({"role": "user", "content": line})
        body = {**settings, "messages": history}
        if json:
            answer = client.post("/v1/chat/completions", body)
            print_json(answer)
            said = answer["choices"][0]["message"]["content"] or ""
        else:
            said = _streamed(client, body)
        history.append({"role": "assistant", "content": said})


def _name(client: Any, model: str) -> str:
    """Names of checkpoints, deployments and other wires are the server's to find."""
    from tunesmith.cli.references import one_of

    theirs = ":" in model or "#" in model or model.startswith(("accounts/", "deployments/"))
    return model if theirs else one_of(client, "models", model, "name")


def _streamed(client: Any, body: dict[str, Any]) -> str:
    from tunesmith.core.errors import UserError

    parts: list[str] = []
    with client.open("POST", "/v1/chat/completions", json_text.dumps(body).encode()) as answer:
        for raw in answer:
            data = raw.decode("utf-8").removeprefix("data: ").strip()
            if not data or data == "[DONE]":
                continue
            piece = json_text.loads(data)
            if "error" in piece:
                raise UserError("chat", piece["error"]["message"], "")
            for choice in piece["choices"]:
                parts.append(choice["delta"].get("content") or "")
                typer.echo(parts[-1], nl=False)
                sys.stdout.flush()
    typer.echo()
    return "".join(parts)


def _lines() -> Any:
    """What a person types, until end of input."""
    while True:
        try:
            yield input("> ")
        except EOFError:
            return
