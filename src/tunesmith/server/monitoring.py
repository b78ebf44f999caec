"""How the server is doing: for probes (``/healthz``), for Prometheus (``/metrics``), for people (``status``)."""

from collections.abc import Callable, Iterable, Mapping
from time import perf_counter
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tunesmith import __version__
from tunesmith.grading.sandbox import LEVELS, level
from tunesmith.server.auth import Owner, owner_of
from tunesmith.server.routing import Router
from tunesmith.server.settings import ServerSettings
from tunesmith.services.registry import Registry
from tunesmith.services.store import utc_now

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
Status = Callable[[], Mapping[str, Any]]
OF_SESSIONS: dict[str, tuple[str, Callable[[Mapping[str, Any]], float]]] = {
    "tunesmith_sessions": ("Clients that are connected.", lambda s: s["sessions"]),
    "tunesmith_engines": ("Engine processes, one for each base model in use.", lambda s: len(s["engines"])),
    "tunesmith_live_models": ("Policies in memory.", lambda s: len(s["models"])),
    "tunesmith_queue_depth": ("Operations that wait for an engine.", lambda s: sum(e["waiting"] for e in s["engines"])),
    "tunesmith_engine_restarts": (
        "Engines that died by themselves.",
        lambda s: sum(e["restarts"] for e in s["engines"]),
    ),
    "tunesmith_samplings": ("Samplings in hand.", lambda s: s["sampling"]),
    "tunesmith_pending_requests": ("Requests whose result is not there yet.", lambda s: s["pending"]),
    "tunesmith_trained_tokens_total": ("Tokens of all forward and backward passes.", lambda s: s["trained_tokens"]),
    "tunesmith_sampled_tokens_total": ("Tokens sampled.", lambda s: s["sampled_tokens"]),
}
"""Metric -> what it says, and where the sessions' status has it."""
router = Router()


class Monitoring:
    """Counts of one app, and those that its sessions keep."""

    def __init__(self) -> None:
        self.started_at = utc_now()
        self._status: Status = dict
        self._registry = CollectorRegistry()
        self._registry.register(_OfSessions(self.sessions))
        self._sandbox = Gauge(
            "tunesmith_sandbox", "1 for the level that user code runs at.", ("level",), registry=self._registry
        )
        self._requests = Counter(
            "tunesmith_requests", "Requests answered.", ("method", "route", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "tunesmith_request_seconds",
            "Time from a request's first byte to the end of its answer.",
            ("method", "route"),
            buckets=BUCKETS_S,
            registry=self._registry,
        )

    def watch(self, status: Status) -> None:
        """Show what the sessions say of themselves: all of it in the status, ``OF_SESSIONS`` in the metrics."""
        self._status = status

    def watch_artefacts(self, waiting: Callable[[], int]) -> None:
        """Count finished folders that are not in the artefact store yet; a server without one has no such metric."""
        text = "Finished folders that are not in the artefact store yet."
        Gauge("tunesmith_artefacts_waiting", text, registry=self._registry).set_function(waiting)

    def sessions(self) -> Mapping[str, Any]:
        """What the sessions say now; empty before they are watched."""
        return self._status()

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def text(self) -> bytes:
        """Everything in Prometheus' format."""
        for name in LEVELS:
            self._sandbox.labels(name).set(name == level())
        return generate_latest(self._registry)


class _OfSessions(Collector):
    """Numbers that are asked for when they are read, not kept."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def describe(self) -> Iterable[Metric]:
        """Nothing ahead of time: sessions start later."""
        return []

    def collect(self) -> Iterable[Metric]:
        said = self._status()
        for name, (text, number) in OF_SESSIONS.items() if said else ():
            family = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            yield family(name, text, value=number(said))


class Timed:
    """Counts every request by the template of its route, so that ids do not make a series each."""

    def __init__(self, app: ASGIApp, monitoring: Monitoring) -> None:
        self._app, self._monitoring = app, monitoring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = perf_counter(), 499

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._monitoring.count(method, route, status, perf_counter() - began)


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def install(app: FastAPI, monitoring: Monitoring) -> None:
    app.state.monitoring = monitoring
    app.add_middleware(Timed, monitoring=monitoring)
    app.include_router(router)


@router.get("/healthz")
async def health() -> dict[str, str]:
    """Answers while the process lives, whatever it may be waiting for; ``/readyz`` tells more."""
    return {"status": "ok"}


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Needs a key unless the server is bound to loopback."""
    settings: ServerSettings = request.app.state.settings
    if not settings.loopback:
        await owner_of(request)
    monitoring: Monitoring = request.app.state.monitoring
    return Response(monitoring.text(), media_type=CONTENT_TYPE_LATEST)


@router.get("/tunesmith/v1/status")
async def status(request: Request, owner: Owner) -> dict[str, Any]:
    """Version, sandbox, registered models, and what the sessions say of themselves."""
    monitoring: Monitoring = request.app.state.monitoring
    registry: Registry = request.app.state.registry
    models = [{"name": m.name, "max_context": m.max_context} for m in registry.models()]
    known = {"version": __version__, "started_at": monitoring.started_at, "sandbox": level(), "base_models": models}
    return {**known, **monitoring.sessions()}
