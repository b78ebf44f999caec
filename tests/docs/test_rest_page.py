"""The reference in docs/rest.md is what the routes are now."""

import importlib.util
from types import ModuleType

from docs.pages import ROOT, page


def script() -> ModuleType:
    file = ROOT / "scripts" / "make_rest_reference.py"
    spec = importlib.util.spec_from_file_location("make_rest_reference", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_not_stale() -> None:
    text = page("rest.md")
    assert text == script().page(text), "run: python scripts/make_rest_reference.py"


def test_it_has_every_route() -> None:
    text = page("rest.md")
    for route in ("POST /api/v1/jobs", "PUT /api/v1/datasets/{dataset_id}", "GET /api/v1/jobs/{job_id}/events"):
        assert f"### `{route}`" in text
    assert "| `name` | body | Unique among the jobs of the kind; default the job's id; string or null |" in text
