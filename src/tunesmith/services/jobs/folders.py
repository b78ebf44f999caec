"""Where jobs keep their files."""

from dataclasses import dataclass
from pathlib import Path

from tunesmith.services.run_folder import RunFolder


@dataclass(frozen=True, slots=True)
class Folders:
    """Where jobs keep their files: ``<root>/<id>/run`` is the run folder."""

    root: Path

    def of(self, job_id: str) -> Path:
        return self.root / job_id

    def run(self, job_id: str) -> RunFolder:
        return RunFolder(self.of(job_id) / "run")
