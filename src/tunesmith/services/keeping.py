"""Keeps what a job yields, step by step, in the order that a crash can be undone in; and tells whoever looks on."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from tunesmith.core.types import Finding
from tunesmith.health.history import Lines
from tunesmith.health.rules import examine
from tunesmith.health.stopping import why_stop
from tunesmith.recipes.report import StepReport
from tunesmith.services import checkpoints
from tunesmith.services.engine import Engine
from tunesmith.services.memory import peak_bytes
from tunesmith.services.run_folder import RunFolder
from tunesmith.services.usage import Usage
from tunesmith.spec import AnySpec


@dataclass(frozen=True, slots=True)
class Watcher:
    """Whoever looks on: told what happens, asked nothing."""

    started: Callable[[RunFolder, int, list[str]], None] = lambda run, num_steps, notes: None
    """(run, planned steps, notes) once data and model are ready."""
    stepped: Callable[[StepReport], None] = lambda report: None
    found: Callable[[Finding], None] = lambda finding: None
    """A finding that was not there before."""
    warned: Callable[[str], None] = lambda text: None
    """Something went wrong beside the run, which is not affected: a tracker was not told everything."""


SILENT = Watcher()


class Keeper:
    """One job's steps on their way to its folder."""

    def __init__(
        self, run: RunFolder, spec: AnySpec, engine: Engine, num_steps: int, watcher: Watcher = SILENT
    ) -> None:
        self._run, self._spec, self._engine = run, spec, engine
        self._num_steps, self._watcher = num_steps, watcher
        self._settings = spec.model_dump()
        self._history = Lines(run.metrics())
        self._usage = Usage(engine.model.device)

    def keep(self, report: StepReport) -> str:
        """Store a step: its data, then the checkpoint that counts them.

        A step that ends the job early has none, so that resuming comes to the same end.

        Returns:
            Why the job ends here, before its last step; empty to go on.
        """
        run, spec, trainer = self._run, self._spec, self._engine.trainer
        for log in report.logs:
            run.write_rollouts(log.name, report.step, log.groups, log.judged, self._engine.renderer.decode, log.updates)
        size = run.append_metrics(report.step, report.metrics)
        self._history.append({"step": report.step, **report.metrics})
        used = {"memory/peak_mib": peak_bytes() / 2**20, **self._usage.now()}
        run.append_timing(report.step, report.timing | used)
        if report.best:
            checkpoints.save_best(run, trainer, report.step)
        last = report.step == self._num_steps or bool(report.early_stop)
        findings = self._examine(finished=last)
        stopped = report.early_stop
        if report.step < self._num_steps:
            stopped = stopped or why_stop(self._settings, self._history, findings)
        if not stopped and (last or report.step % spec.save_every == 0):
            kept, weights = spec.keep_checkpoints, checkpoints.ADAPTER if spec.lora_rank else checkpoints.MODEL
            checkpoints.save(run, trainer, report.step, size, report.state, kept, weights)
        run.set_state("RUNNING", step=report.step)
        self._watcher.stepped(report)
        return stopped

    def _examine(self, finished: bool) -> list[Finding]:
        """Findings stay pinned to the step where they arose, and say what they see now."""
        known = self._run.findings()
        arose = {(f.rule, f.level): f.step for f in known}
        found = examine(self._history, self._settings, finished)
        findings = [replace(f, step=arose.get((f.rule, f.level), f.step)) for f in found]
        if findings != known:
            self._run.write_findings(findings)
        for finding in findings:
            if (finding.rule, finding.level) not in arose:
                self._watcher.found(finding)
        return findings
