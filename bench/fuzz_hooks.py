"""Loaded by schemathesis: bodies that are no JSON are generated as text, and sent as they are."""

from typing import Any

import schemathesis


@schemathesis.serializer("application/octet-stream", "application/jsonl")
def as_it_is(_context: schemathesis.SerializationContext, value: Any) -> Any:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
