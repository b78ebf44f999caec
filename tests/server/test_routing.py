import threading

import pytest
from fastapi import APIRouter, FastAPI, Request
from fastapi.testclient import TestClient

from tunesmith.server.routing import Router, reads_rows


def named(*paths: str) -> Router:
    """A router whose routes answer with their own path."""
    router = Router()
    for path in paths:
        router.add_api_route(path, lambda path=path: path, methods=["GET"])
    return router


def test_a_router_is_left_out_where_an_address_has_no_word_of_its(monkeypatch: pytest.MonkeyPatch):
    tried = []
    matches = APIRouter.matches
    monkeypatch.setattr(APIRouter, "matches", lambda self, scope: tried.append(self) or matches(self, scope))
    jobs, models, outer, app = (
        named("/jobs/{name}:cancel"),
        named("/models", "/{org}/resolve/{path:path}"),
        Router(),
        FastAPI(),
    )
    outer.include_router(jobs, prefix="/v1")
    outer.include_router(models, prefix="/v1")
    app.include_router(outer)
    client = TestClient(app)
    assert client.get("/v1/models").json() == "/models"
    assert client.get("/v1/somebody/resolve/a/b").status_code == 200
    assert jobs not in tried and models in tried
    tried.clear()
    assert client.get("/elsewhere").status_code == 404
    assert tried == []


def test_a_router_of_any_address_is_never_left_out():
    app = FastAPI()
    app.include_router(named("/{path:path}", "/models"))
    assert TestClient(app).get("/anything").status_code == 200


def test_methods_prefixes_and_escapes_are_what_they_were():
    app = FastAPI()
    app.include_router(named("/models"), prefix="/v1")
    client = TestClient(app)
    assert client.post("/v1/models").status_code == 405
    assert client.get("/v1/%6dodels").json() == "/models"
    assert client.get("/models").status_code == 404


def test_rows_are_read_where_they_are_asked_for_unless_the_database_may_keep_one_waiting():
    class Store:
        is_file = True

    @reads_rows
    def where(request: Request, name: str) -> dict[str, str]:
        """Of a thread."""
        return {name: threading.current_thread().name}

    router, app = Router(), FastAPI()
    router.add_api_route("/threads/{name}", where)
    app.include_router(router)
    app.state.store = Store()
    client = TestClient(app)
    loop = client.get("/threads/a").json()["a"]
    app.state.store.is_file = False
    assert client.get("/threads/a").json()["a"] != loop
    assert where.__doc__ == "Of a thread.", "it is described as it was"
