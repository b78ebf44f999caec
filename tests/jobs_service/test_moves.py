"""States of a job: what the table allows, and that every move leaves a trace."""

import pytest
from sqlalchemy import select

from tunesmith.core.errors import Conflict
from tunesmith.services.jobs.moves import ENDED, MOVES, STATES, STOPPED, move, note
from tunesmith.services.jobs.rows import JobEventRow, JobRow
from tunesmith.services.store import Store

EARLY, LATE = "2020-01-01T00:00:00.000Z", "2999-01-01T00:00:00.000Z"


def row(state: str = "", at: str = EARLY) -> JobRow:
    return JobRow(
        id="job-1",
        owner="ann",
        kind="sft",
        name="one",
        settings={},
        asked={},
        user_code=False,
        dataset="d",
        output_model="one",
        state=state,
        created_at=at,
        updated_at=at,
        fingerprint="",
        retried=False,
    )


def moved(store: Store, job: JobRow, *path: str) -> list[JobEventRow]:
    """Events of a job that goes along a path."""
    with store.begin() as db:
        db.add(job)
        db.flush()
        for to in path:
            move(db, job, to, f"to {to}")  # type: ignore[arg-type]
    with store.begin() as db:
        return list(db.scalars(select(JobEventRow).order_by(JobEventRow.number)))


def test_each_state_is_in_the_table_and_can_be_reached() -> None:
    assert set(MOVES) == {"", *STATES}
    assert {to for allowed in MOVES.values() for to in allowed} == set(STATES)


def test_a_job_that_came_to_its_end_never_runs_again() -> None:
    assert {MOVES[state] for state in ("succeeded", "early_stopped")} == {("deleting",)}
    assert MOVES["deleting"] == ()
    assert not any("running" in MOVES[state] for state in STATES if state != "queued")
    assert all(set(MOVES[by]) >= {to} for by, to in STOPPED.items())


@pytest.mark.parametrize(("state", "to"), [("succeeded", "queued"), ("running", "cancelled"), ("queued", "succeeded")])
def test_a_move_that_is_not_in_the_table_is_refused_and_leaves_nothing(store: Store, state: str, to: str) -> None:
    with pytest.raises(Conflict, match=f"one: is {state} and cannot become {to}"):
        moved(store, row(state), to)
    with store.begin() as db:
        assert db.scalars(select(JobEventRow)).all() == []


def test_every_move_is_an_event_with_its_reason(store: Store) -> None:
    job = row()
    events = moved(store, job, "created", "validating", "queued", "running", "failed")
    assert [(e.from_state, e.to_state, e.text) for e in events] == [
        ("", "created", "to created"),
        ("created", "validating", "to validating"),
        ("validating", "queued", "to queued"),
        ("queued", "running", "to running"),
        ("running", "failed", "to failed"),
    ]
    assert [e.level for e in events] == ["info"] * 4 + ["error"]
    assert (job.state, job.reason, job.started_at, job.ended_at) == ("failed", "to failed", events[3].at, events[4].at)


def test_times_follow_the_moves(store: Store) -> None:
    job = row()
    first = moved(store, job, "created", "validating", "queued", "running")[3].at
    with store.begin() as db:
        db.add(job)
        for to in ("failed", "validating", "queued", "running"):
            assert (job.ended_at is not None) == (job.state in ENDED)
            move(db, job, to)  # type: ignore[arg-type]
    assert (job.started_at, job.ended_at) == (first, None)


def test_a_clock_that_is_set_back_puts_no_event_before_another(store: Store) -> None:
    job = row(at=LATE)
    events = moved(store, job, "created", "validating")
    assert [e.at for e in events] == [LATE, LATE]


def test_notes_move_nothing(store: Store) -> None:
    job = row()
    moved(store, job, "created")
    with store.begin() as db:
        db.add(job)
        note(db, job, "look here", "finding", "warning")
    with store.begin() as db:
        last = db.scalars(select(JobEventRow).order_by(JobEventRow.number.desc())).first()
    assert last is not None
    assert (job.state, last.kind, last.level, last.text, last.to_state) == (
        "created",
        "finding",
        "warning",
        "look here",
        "",
    )
