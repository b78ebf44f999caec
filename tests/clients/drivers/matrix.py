"""Every public method of the SDK's four clients, found by introspection and called with real arguments.

A method without a row in its table counts as not exercised, so a newer SDK with more of them shows up as missing.
"""

import asyncio
import inspect
from typing import Any

import tinker
from calls import SAMPLING, SERVICE, TRAINING, Stage
from rest_calls import REST
from talk import answer

CLASSES = {
    "ServiceClient": tinker.ServiceClient,
    "TrainingClient": tinker.TrainingClient,
    "SamplingClient": tinker.SamplingClient,
    "RestClient": tinker.RestClient,
}
CALLS = {"ServiceClient": SERVICE, "TrainingClient": TRAINING, "SamplingClient": SAMPLING, "RestClient": REST}
LIMIT_S = 20.0


def main(model: str) -> list[dict[str, Any]]:
    stage = Stage.prepare(model)
    rows = [row(stage, client, method) for client, methods in public_methods().items() for method in methods]
    return sorted(rows, key=lambda r: (list(CLASSES).index(r["client"]), r["method"]))


def public_methods() -> dict[str, list[str]]:
    """Names of what a class offers to call, closing a client last."""
    found = {
        client: [n for n, m in inspect.getmembers(cls) if inspect.isroutine(m) and not n.startswith("_")]
        for client, cls in CLASSES.items()
    }
    return {client: sorted(names, key=lambda n: n == "close") for client, names in found.items()}


def row(stage: Stage, client: str, method: str) -> dict[str, Any]:
    call = CALLS[client].get(method.removesuffix("_async"))
    if call is None:
        return {"client": client, "method": method, "works": False, "reason": "not exercised"}
    try:
        target, arguments, settings = call.arguments(stage)
        result = invoked(getattr(target, method), arguments, settings)
        works = bool(call.check(stage, result))
        return {"client": client, "method": method, "works": works, "reason": "" if works else "another result"}
    except Exception as e:  # whatever a method of another's library throws is the entry of its row
        first = (str(e) or repr(e)).splitlines()[0]
        return {"client": client, "method": method, "works": False, "reason": f"{type(e).__name__}: {first}"}


def invoked(method: Any, arguments: tuple[Any, ...], settings: dict[str, Any]) -> Any:
    """The result of a call: of its coroutine, where it is one, and of the future that either may return."""
    value = method(*arguments, **settings)
    if inspect.iscoroutine(value):
        value = asyncio.run(asyncio.wait_for(finished(value), LIMIT_S))
    return value.result(timeout=LIMIT_S) if hasattr(value, "result") else value


async def finished(coroutine: Any) -> Any:
    value = await coroutine
    return await value if inspect.isawaitable(value) else value


if __name__ == "__main__":
    answer(main)
