"""The description of the server, and generated requests to every operation in it."""

import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
from server.running import RunningServer

from tunesmith.server.app import create_app
from tunesmith.server.openapi import WIRES, body_model, routes_of, wire_of
from tunesmith.server.settings import ServerSettings

ROOT = Path(__file__).parents[2]
READS = re.compile(r"\b(?:read|read_json|read_body)\(request|read_form\(|request\.(?:stream|body|json|form)\(\)")
KEEPS_NOTHING = {"telemetry"}
"""Takes any body."""


def test_the_description_names_every_route_and_body(tmp_path: Path) -> None:
    app = create_app(ServerSettings(tmp_path))
    described = app.openapi()
    app.state.store.close()
    assert json.loads(json.dumps(described, allow_nan=False)) == described
    assert {tag["name"] for tag in described["tags"]} == set(WIRES)
    text = json.dumps(described)
    assert "$defs" not in text, "references lead to components"
    for name in {part.partition('"')[0] for part in text.split('"#/components/schemas/')[1:]}:
        assert name in described["components"]["schemas"], name
    hidden = set()
    told = set()
    for route in routes_of(app):
        if not getattr(route, "include_in_schema", False):
            continue
        for method in route.methods:
            if (route.path_format, method) in told:
                continue
            told.add((route.path_format, method))
            operation = described["paths"][route.path_format][method.lower()]
            assert operation["tags"] == [wire_of(route.endpoint)], "the first of several routes is the one that answers"
            assert (body_model(route.endpoint) is None) or "requestBody" in operation
            if "requestBody" not in operation and READS.search(inspect.getsource(route.endpoint)):
                hidden.add(route.name)
    assert hidden <= KEEPS_NOTHING, "they read bodies that the description does not show: say so with openapi_extra"


def test_it_is_served_without_a_key(guarded: RunningServer) -> None:
    with urlopen(guarded.base_url + "/openapi.json", timeout=30) as answer:
        assert json.load(answer)["openapi"].startswith("3.1")


@pytest.mark.thorough
def test_generated_requests_find_no_defect(guarded: RunningServer) -> None:
    """A few for every operation; ``make soak`` sends more than 20,000."""
    command = [sys.executable, "-m", "bench.fuzz", guarded.base_url, "--examples", "2", "--phases", "fuzzing"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "TUNESMITH_API_KEY": guarded.key},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "internal error" not in guarded.log()
