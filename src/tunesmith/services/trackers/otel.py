"""OpenTelemetry: each step as a span with its phases below it. ``OTEL_EXPORTER_OTLP_ENDPOINT`` says where."""

from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Status, StatusCode

from tunesmith.core.types import Finding, Metrics
from tunesmith.services.trackers.port import About, Ending

PHASES = ("rollout", "grading", "train", "eval")
NS = 1_000_000_000


class OpenTelemetry:
    """One trace per run. A step's span ends when the step was seen to be done; its phases have their measured length,
    end to end before that.
    """

    def open(self, about: About) -> str:
        resource = Resource.create({"service.name": "tunesmith", "tunesmith.run": about.name})
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("tunesmith")
        flat = {f"setting.{k}": v if isinstance(v, bool | int | float) else str(v) for k, v in about.settings.items()}
        self._root = self._tracer.start_span(f"{about.settings['kind']} {about.name}", attributes=flat)
        return about.name

    def log(self, step: int, metrics: Metrics, at: float) -> None:
        lengths = {phase: metrics.get(f"time/{phase}_s", 0.0) for phase in PHASES}
        end = int(at * NS)
        moment = end - int(sum(lengths.values()) * NS)
        here = trace.set_span_in_context(self._root)
        numbers = {name: float(value) for name, value in metrics.items()}
        span = self._tracer.start_span(f"step {step}", here, start_time=moment, attributes=numbers)
        below = trace.set_span_in_context(span)
        for phase, seconds in lengths.items():
            if seconds:
                part = self._tracer.start_span(phase, below, start_time=moment)
                moment += int(seconds * NS)
                part.end(moment)
        span.end(end)

    def table(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Texts are not for traces."""

    def finding(self, finding: Finding) -> None:
        self._root.add_event(finding.rule, {"level": finding.level, "step": finding.step, "saw": finding.saw})

    def close(self, ending: Ending) -> None:
        if not ending.good:
            self._root.set_status(Status(StatusCode.ERROR, f"{ending.state} {ending.reason}"))
        self._root.end()
        self._provider.shutdown()
