"""Requests that come twice: clients send a creation again when its answer is lost, and mean one job."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from tunesmith.core.errors import Conflict, UserError
from tunesmith.services.jobs.rows import JobRow

RETRY_WINDOW = timedelta(minutes=15)
"""A client that says it repeats itself means the job of its last such request, if that is not older."""
KEY_WINDOW = timedelta(hours=24)
"""So long an idempotency key stands for its job."""


def check_key(key: str | None) -> None:
    """
    Raises:
        UserError: an idempotency key that cannot be kept.
    """
    if key is not None and not (0 < len(key) <= 255 and key.isprintable()):
        raise UserError("idempotency_key", "is not 1 to 255 printable characters", "Send a shorter one")


def earlier_job(db: Session, owner: str, fingerprint: str, key: str | None, retry: bool, began: str) -> JobRow | None:
    """The job that this request, sent before, has made already.

    Args:
        key: idempotency key, if there is one.
        retry: the client says that it sent this before.
        began: when this request came, UTC, RFC 3339.

    Raises:
        Conflict: the key stands for another request.
    """
    if key is not None:
        return _of_key(db, owner, fingerprint, key)
    # A repetition may overtake what it repeats: then the first request finds what the second has made.
    overtaken = (JobRow.retried.is_(True)) & (JobRow.created_at >= began)
    within = or_(overtaken, JobRow.created_at >= _ago(RETRY_WINDOW)) if retry else overtaken
    same = select(JobRow).where(JobRow.owner == owner, JobRow.fingerprint == fingerprint, within)
    return db.scalar(same.order_by(JobRow.created_at.desc()).limit(1))


def _of_key(db: Session, owner: str, fingerprint: str, key: str) -> JobRow | None:
    row = db.scalar(select(JobRow).where(JobRow.owner == owner, JobRow.request_key == key))
    if row is None:
        return None
    if row.created_at < _ago(KEY_WINDOW):
        row.request_key = None
        db.flush()
        return None
    if row.fingerprint != fingerprint:
        raise Conflict("idempotency_key", "was used for another request", "Send a new key with a new request")
    return row


def _ago(window: timedelta) -> str:
    return (datetime.now(UTC) - window).isoformat(timespec="milliseconds").replace("+00:00", "Z")
