"""Loaded by schemathesis: bodies that are no JSON are generated as text, and sent as they are."""

from typing import Any

import schemathesis


@schemathesis.serializer("application/x-protobuf", "application/jsonl", "application/octet-stream", "application/x-tar")
def as_it_is(_context: schemathesis.SerializationContext, value: Any) -> Any:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
