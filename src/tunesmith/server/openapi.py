"""``GET /openapi.json``: every route of every wire, with the bodies that it reads and the shape of its refusals.

Routes read their bodies by hand, so that a limit holds while they are read. What a route reads is what its own lines
pass to ``read_json`` or ``read``; that is looked up here, so the description cannot say another thing than the code.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from fastapi import FastAPI, routing
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from tunesmith.server.auth import owner_of
from tunesmith.server.dialects.rollout_desk import caller_of

PATH = "/openapi.json"
WIRES = {
    "tunesmith": "Our own wire: jobs, datasets, models and keys in the words of the specs.",
    "tinker": "The Training API of the Tinker client.",
    "fireworks": "Fireworks' clients: training, jobs, models and deployments.",
    "openai": "OpenAI's clients: inference, files and fine-tuning.",
    "server": "Health, metrics and status.",
}
READERS = ("read", "read_json")
"""Functions that take a request and the model of its body."""
_KEYS = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}
_BINARY = {"type": "string", "format": "binary"}
BYTES = {"requestBody": {"required": True, "content": {"application/octet-stream": {"schema": _BINARY}}}}
"""``openapi_extra`` of a route whose body is a file."""


def form(file: str, *texts: str) -> dict[str, Any]:
    """``openapi_extra`` of a route whose body is a form with a file under this name, and texts."""
    properties: dict[str, Any] = {file: _BINARY, **{name: {"type": "string"} for name in texts}}
    schema = {"type": "object", "required": [file], "properties": properties}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


_REFUSAL = {
    "description": "Refused: the body says what is wrong and how to mend it",
    "content": {"application/json": {}},
}
_REFS = "#/components/schemas/given.{model}"


def install(app: FastAPI) -> None:
    """Serve the description; it is made when it is first asked for."""
    made: dict[str, Any] = {}

    def describe() -> dict[str, Any]:
        if not made:
            made.update(_described(app))
        return made

    app.openapi = describe  # type: ignore[method-assign]
    app.add_api_route(PATH, describe, include_in_schema=False)


def wire_of(endpoint: Callable[..., Any]) -> str:
    """The wire that a route speaks, by the package it is in."""
    parts = endpoint.__module__.split(".")
    return parts[parts.index("dialects") + 1] if "dialects" in parts else "server"


def body_model(endpoint: Callable[..., Any]) -> type[BaseModel] | None:
    """The model that a route's own lines read its body as; None where it reads none, or no JSON."""
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(endpoint)))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in READERS and len(node.args) > 1:
            named = ast.unparse(node.args[1]).split(".")
            found = endpoint.__globals__[named[0]]
            for name in named[1:]:
                found = getattr(found, name)
            if isinstance(found, type) and issubclass(found, BaseModel):
                return found
    return None


def routes_of(app: FastAPI) -> list[Any]:
    """Every route with its whole path. Newer releases of the framework nest them, older ones hold them flat."""
    walk = getattr(routing, "iter_route_contexts", None)
    found = app.routes if walk is None else walk(app.routes)
    return [route for route in found if getattr(route, "methods", None)]


def _answering(app: FastAPI) -> list[Any]:
    """The routes to describe: of several for one address and method, the first is the one that answers."""
    described: dict[tuple[str, str], Any] = {}
    for route in routes_of(app):
        if getattr(route, "include_in_schema", False):
            for method in route.methods:
                described.setdefault((route.path_format, method), route)
    return list({id(route): route for route in described.values()}.values())


def operation_id(route: APIRoute) -> str:
    """Unique although wires share names of functions, and roots share routes."""
    return re.sub(r"\W+", "_", f"{wire_of(route.endpoint)}_{min(route.methods or ('',)).lower()}{route.path_format}")


def _described(app: FastAPI) -> dict[str, Any]:
    routes = _answering(app)
    tags = [{"name": name, "description": text} for name, text in WIRES.items()]
    found = get_openapi(title=app.title, version=app.version, routes=routes, tags=tags)
    bodies, definitions = _bodies(routes)
    components = found["components"]
    components["schemas"].update((f"given.{name}", schema) for name, schema in definitions.items())
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    components["securitySchemes"] = _KEYS
    for route in routes:
        for method in route.methods:
            _complete(found["paths"][route.path_format][method.lower()], route, bodies.get(route.endpoint))
    return found


def _bodies(routes: list[Any]) -> tuple[dict[Callable[..., Any], dict[str, Any]], dict[str, Any]]:
    """(schema of each route's body, the definitions that they refer to)."""
    models = {route.endpoint: model for route in routes if (model := body_model(route.endpoint)) is not None}
    by_model, definitions = models_json_schema(
        [(model, "validation") for model in dict.fromkeys(models.values())], ref_template=_REFS
    )
    return {endpoint: by_model[model, "validation"] for endpoint, model in models.items()}, definitions["$defs"]


def _complete(operation: dict[str, Any], route: Any, body: dict[str, Any] | None) -> None:
    """Add what the framework cannot know: the wire, the body, whether a key is needed, how it refuses."""
    operation["tags"] = [wire_of(route.endpoint)]
    parameters = operation.setdefault("parameters", [])
    for name in {name for name in route.param_convertors if all(p["name"] != name for p in parameters)}:
        parameters.append({"name": name, "in": "path", "required": True, "schema": {"type": "string"}})
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    # A wrong parameter is refused with 400, as everything else is.
    operation["responses"].pop("422", None)
    operation["responses"]["4XX"] = _REFUSAL
    if needs_key(route):
        operation["security"] = [{name: []} for name in _KEYS]


def needs_key(route: Any) -> bool:
    """Whether the route, or something it depends on, asks whose key was sent."""
    return any(dependant.call in (owner_of, caller_of) for dependant in _dependants(route.dependant))


def _dependants(dependant: Any) -> Iterator[Any]:
    yield dependant
    for other in dependant.dependencies:
        yield from _dependants(other)
