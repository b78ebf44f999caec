"""OpenTelemetry: each step as a span with its phases below it. ``OTEL_EXPORTER_OTLP_ENDPOINT`` says where."""

from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.trace import Span, Status, StatusCode

from tunesmith.core.types import Finding, Metrics
from tunesmith.services.trackers.port import About, Ending

PHASES = ("rollout", "train", "eval")
NS = 1_000_000_000


class Exporter(OTLPSpanExporter):  # type: ignore[misc]  # mypy does not see the library
    """Remembers what a collector did not take: the library only logs it."""

    lost = 0
    """Spans."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = super().export(spans)
        if result is not SpanExportResult.SUCCESS:
            self.lost += len(spans)
        return result


class OpenTelemetry:
    """One trace per run. A step's span ends when the step was seen to be done; its phases have their measured length,
    end to end before that.
    """

    def open(self, about: About) -> str:
        resource = Resource.create({"service.name": "tunesmith", "tunesmith.run": about.name})
        self._provider = TracerProvider(resource=resource)
        self._exporter = Exporter()
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("tunesmith")
        flat = {f"setting.{k}": v if isinstance(v, bool | int | float) else str(v) for k, v in about.settings.items()}
        name, began = f"{about.settings['kind']} {about.name}", int(about.began * NS)
        self._root = self._tracer.start_span(name, attributes=flat, start_time=began)
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
                if phase == "rollout":
                    self._grading(part, moment, metrics)
                part.end(moment)
        span.end(end)
        self._send()

    def _grading(self, rollout: Span, end: int, metrics: Metrics) -> None:
        """The end of the rollouts, where nothing was left but to wait for gradings."""
        if seconds := metrics.get("time/grade_s", 0.0):
            begin = end - int(seconds * NS)
            self._tracer.start_span("grading", trace.set_span_in_context(rollout), start_time=begin).end(end)

    def table(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Texts are not for traces."""

    def finding(self, finding: Finding) -> None:
        self._root.add_event(finding.rule, {"level": finding.level, "step": finding.step, "saw": finding.saw})

    def close(self, ending: Ending) -> None:
        if not ending.good:
            self._root.set_status(Status(StatusCode.ERROR, f"{ending.state} {ending.reason}"))
        self._root.end(int(ending.at * NS))
        self._send()
        self._provider.shutdown()

    def _send(self) -> None:
        """A step that was not taken counts as not told."""
        self._provider.force_flush()
        if self._exporter.lost:
            raise ConnectionError(f"the collector did not take {self._exporter.lost} spans")
