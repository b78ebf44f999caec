"""Builds of uploaded evaluators, one after the other in the background, each to the row that says how it ended."""

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from tunesmith.core.errors import UserError
from tunesmith.services.evaluator_builds import build
from tunesmith.services.evaluator_rows import EvaluatorRow
from tunesmith.services.store import Store, utc_now
from tunesmith.services.uploads import Uploads

LOG = "build.log"
_log = logging.getLogger(__name__)


class SecretEnvironment(Protocol):
    """Where an owner's secrets come from."""

    def environment(self, owner: str) -> dict[str, str]:
        """Name -> value, for the processes of the owner's evaluators."""
        ...


class Builders:
    """Who builds."""

    def __init__(self, store: Store, uploads: Uploads, environments: Path, secrets: SecretEnvironment) -> None:
        self._store, self._uploads, self._environments, self._secrets = store, uploads, environments, secrets
        self._threads = ThreadPoolExecutor(1, "evaluator-build")

    def submit(self, row: EvaluatorRow) -> Future[None]:
        """Build what is uploaded now, once it has its turn."""
        return self._threads.submit(self._built, row.owner, row.id, row.key)

    def close(self) -> None:
        """Builds that have not begun are left to the next start."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _built(self, owner: str, evaluator_id: str, key: str) -> None:
        """A build from its beginning to the row that says how it ended."""
        folder = self._uploads.folder(key)
        with self._store.read() as db:
            row = db.get(EvaluatorRow, (owner, evaluator_id))
        if row is None or row.key != key or not folder.is_dir():
            return
        with (folder / LOG).open("w", encoding="utf-8") as log:

            def say(text: str) -> None:
                log.write(f"{utc_now()} {text}\n")
                log.flush()

            state, reason, traits = "ACTIVE", "", {}
            try:
                secrets = self._secrets.environment(owner)
                project = build(folder / row.upload, folder, row.entry_point, self._environments, secrets, say)
                traits = asdict(project.traits)
            except UserError as e:
                state, reason = "BUILD_FAILED", str(e)
            except Exception as e:
                _log.exception("the build of an evaluator failed")
                state, reason = "BUILD_FAILED", f"{type(e).__name__} in the server; see its log"
            say(reason or "built")
        with self._store.begin() as db:
            now = db.get(EvaluatorRow, (owner, evaluator_id), with_for_update=True)
            if now is not None and now.key == key:
                now.state, now.reason, now.traits, now.updated_at = state, reason[-8000:], traits, utc_now()
