"""Write the reference in docs/rest.md from the routes themselves: ``python scripts/make_rest_reference.py``."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from tunesmith.server import openapi
from tunesmith.server.dialects import tunesmith

PAGE = Path(__file__).resolve().parents[1] / "docs" / "rest.md"
MARK = "<!-- what follows is written by scripts/make_rest_reference.py -->\n"
Schema = Mapping[str, Any]


def page(text: str) -> str:
    """The page with its reference as the routes are now."""
    return text.partition(MARK)[0] + MARK + "\n" + reference()


def reference() -> str:
    app = FastAPI()
    app.include_router(tunesmith.router)
    described = app.openapi()
    for route in openapi.routes_of(app):
        if (model := openapi.body_model(route.endpoint)) is not None:
            body = {"content": {"application/json": {"schema": model.model_json_schema()}}}
            described["paths"][route.path_format][min(route.methods).lower()]["requestBody"] = body
    by_noun: dict[str, list[str]] = {}
    for path, methods in described["paths"].items():
        for method, route in methods.items():
            by_noun.setdefault(route["tags"][0], []).append("\n".join(_route(method, path, route)))
    parts = [f"## {noun.capitalize()}\n\n" + "\n".join(routes) for noun, routes in by_noun.items()]
    return "\n".join([*parts, _answers(described["components"]["schemas"])])


def _route(method: str, path: str, route: Schema) -> Iterator[str]:
    yield f"### `{method.upper()} {path}`\n"
    if text := route.get("description"):
        yield " ".join(text.split()) + "\n"
    rows = [_parameter(one) for one in route.get("parameters", ()) if one["in"] != "path"]
    for kind, content in route.get("requestBody", {}).get("content", {}).items():
        schema = content["schema"]
        if kind == "application/json":
            rows += [_field(name, one, "body", name in schema.get("required", ())) for name, one in _fields(schema)]
            rows += ["| any setting | body | see [settings](settings.md) |"] * bool(schema.get("additionalProperties"))
        else:
            rows.append(f"| the body | `{kind}` | the file |")
    if rows:
        yield "| name | where | meaning |\n|---|---|---|\n" + "\n".join(rows) + "\n"
    yield f"Answers {_answer(route['responses'])}.\n"


def _parameter(one: Schema) -> str:
    return _field(one["name"], {**one["schema"], "description": one.get("description", "")}, one["in"], one["required"])


def _field(name: str, schema: Schema, where: str, required: bool) -> str:
    notes = [_kind(schema)]
    if "default" in schema and schema["default"] not in (None, ""):
        notes.append(f"default {json.dumps(schema['default'])}")
    if required and where != "answer":
        notes.append("required")
    text = " ".join(schema.get("description", "").split()).rstrip(".")
    meaning = f"{text}; {', '.join(notes)}" if text else ", ".join(notes)
    return f"| `{name}` | {where} | {meaning} |".replace("| answer |", "|")


def _fields(schema: Schema) -> Iterator[tuple[str, Schema]]:
    yield from schema.get("properties", {}).items()


def _kind(schema: Schema) -> str:
    """A type as people say it."""
    if "$ref" in schema:
        return _link(schema["$ref"])
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "prefixItems" in schema:
        return f"list of {', '.join(_kind(one) for one in schema['prefixItems'])}"
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    bounds = [
        f"{word} {schema[key]}" for key, word in (("minimum", "at least"), ("maximum", "at most")) if key in schema
    ]
    return " ".join([schema.get("type", "any"), *bounds])


def _answer(responses: Schema) -> str:
    """Of the one response that is no refusal."""
    status, response = next((s, r) for s, r in responses.items() if s.startswith("2"))
    content = response.get("content", {})
    schema = content.get("application/json", {}).get("schema")
    if status == "204":
        return "204 and nothing"
    if schema is None:
        return "a file"
    return _kind(schema) if "$ref" in schema else "an object"


def _link(reference: str) -> str:
    shown = _title(reference.rpartition("/")[2])
    return f"[{shown}](#{shown.lower().replace(' ', '-')})"


def _title(name: str) -> str:
    return f"Page of {name.removeprefix('Page_').removesuffix('_')}" if name.startswith("Page_") else name


def _answers(schemas: Mapping[str, Schema]) -> str:
    parts = ["## Answers\n"]
    for name, schema in sorted(schemas.items()):
        if name.endswith("ValidationError"):
            continue
        parts.append(f"### {_title(name)}\n")
        if text := schema.get("description"):
            parts.append(" ".join(text.split()) + "\n")
        rows = [_field(field, one, "answer", False) for field, one in _fields(schema)]
        parts.append("| field | meaning |\n|---|---|\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
