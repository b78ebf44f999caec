"""Creating and looking: what is refused before anything is spent, requests that come twice, pages, and whose it is."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from jobs_service.workplace import Workplace
from sqlalchemy import update

from tunesmith.core.errors import Conflict, NotFound, UserError
from tunesmith.services import datasets
from tunesmith.services.jobs.job import Job, NewJob
from tunesmith.services.jobs.moves import move
from tunesmith.services.jobs.offspring import Offspring
from tunesmith.services.jobs.rows import JobRow


@pytest.fixture
def place(place: Workplace) -> Workplace:
    for kind in ("sft", "rft", "dpo"):
        place.upload("ann", kind)
    return place


def age(place: Workplace, job: Job, created_at: str) -> None:
    with place.store.begin() as db:
        db.execute(update(JobRow).where(JobRow.id == job.id).values(created_at=created_at))


def end(place: Workplace, job: Job, *path: Any) -> None:
    """Bring a job to a state without a worker."""
    with place.store.begin() as db:
        for to in path:
            move(db, db.get_one(JobRow, job.id), to)


@pytest.mark.parametrize("kind", ["sft", "dpo", "rft"])
def test_a_good_job_is_queued(place: Workplace, kind: str) -> None:
    job = place.jobs.create("ann", place.new(kind))
    assert (job.state, job.kind, job.name, job.output_model, job.starts) == ("queued", kind, job.id, job.id, 0)
    assert place.jobs.get("ann", job.id) == place.jobs.find("ann", kind, job.name) == job
    spec = place.jobs.spec("ann", job.id)
    assert (spec.kind, spec.lora_rank, spec.epochs) == (kind, 4, 1)
    assert place.jobs.progress("ann", job.id).percent == 0
    assert (place.jobs.metrics("ann", job.id), place.jobs.logs("ann", job.id)) == ([], ("", 0))


@pytest.mark.parametrize(
    ("kind", "changes", "says"),
    [
        ("sft", {"learning_rat": 1e-4}, "learning_rat: sft jobs have no such setting. Did you mean 'learning_rate'"),
        ("sft", {"learning_rate": 1.0}, r"learning_rate: outside valid range \[1e-5, 5e-4\] \(got 1\)"),
        ("rft", {"rl_loss_method": "dapo", "rl_kl_beta": 0.1}, "kl_beta must be 0/unset when method is DAPO"),
        ("sft", {"base_model": "no/such"}, "unknown 'no/such'"),
        ("sft", {"base_model": "/etc"}, "unknown '/etc'"),
        ("sft", {"warm_start_from": "/etc"}, "there is no tuned model '/etc'"),
        ("sft", {"output_dir": "/etc"}, "output_dir: is no setting of a job on a server"),
        ("sft", {"dataset": "/etc/passwd"}, "dataset: is no setting of a job on a server"),
        ("sft", {"limits": "off"}, "limits: cannot be 'off' here"),
        ("rft", {"evaluator": "/etc/a.py::grade"}, "evaluator: is a file, which a server does not open"),
        ("rft", {"evaluator": ["contains=0.5", "a.py::grade=0.5"]}, "evaluator: is a file"),
        ("rft", {"evaluator": "sql:folder=/etc"}, "evaluator: reads files of the server"),
        ("rft", {"evaluator": "contians"}, "Did you mean 'contains'"),
    ],
)
def test_what_cannot_run_is_refused_and_leaves_nothing(
    place: Workplace, kind: str, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        place.jobs.create("ann", place.new(kind, **changes))
    assert place.jobs.page("ann") == ([], 0)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"kind": "ppo"}, "unknown 'ppo'"),
        ({"dataset": "nothing"}, "nothing: no such dataset"),
        ({"dataset": "../x"}, "dataset: cannot be called '../x'"),
        ({"evaluation_dataset": "nothing"}, "nothing: no such dataset"),
        ({"name": "../x"}, "name: cannot be '../x'"),
        ({"name": ""}, "name: cannot be ''"),
        ({"output_model": "a/b"}, "output_model: cannot be 'a/b'"),
        ({"display_name": "a\nb"}, "display_name: is not one line"),
    ],
)
def test_fields_beside_the_settings_are_checked_too(place: Workplace, fields: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        place.jobs.create("ann", replace(place.new("sft"), **fields))
    assert place.jobs.page("ann") == ([], 0)


def test_a_dataset_of_another_kind_is_refused_by_line(place: Workplace) -> None:
    with pytest.raises(UserError, match=r"dpo: Dataset validation failed: .* on line 1"):
        place.jobs.create("ann", replace(place.new("sft"), dataset="dpo"))
    assert place.datasets.get("ann", "dpo").state == "READY"


def test_a_large_dataset_is_checked_after_the_answer(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "QUICK_BYTES", 0)
    good = place.jobs.create("ann", place.new("sft"))
    bad = place.jobs.create("ann", replace(place.new("sft"), dataset="dpo"))
    assert (good.state, bad.state) == ("validating", "validating")
    for _ in range(3):
        place.scheduler._validate()
    assert place.state(good) == "queued"
    failed = place.jobs.get("ann", bad.id)
    assert failed.state == "failed" and "Dataset validation failed" in failed.reason


def test_the_same_key_is_the_same_job(place: Workplace) -> None:
    new = place.new("sft")
    first = place.jobs.create("ann", new, idempotency_key="k")
    assert place.jobs.create("ann", new, idempotency_key="k").id == first.id
    with pytest.raises(Conflict, match="was used for another request"):
        place.jobs.create("ann", place.new("sft", epochs=2), idempotency_key="k")
    place.upload("bob", "sft")
    assert place.jobs.create("bob", new, idempotency_key="k").id != first.id
    age(place, first, "2020-01-01T00:00:00.000Z")
    assert place.jobs.create("ann", new, idempotency_key="k").id != first.id


def test_a_repeated_request_is_the_same_job_and_a_new_one_is_not(place: Workplace) -> None:
    new = place.new("sft")
    first = place.jobs.create("ann", new)
    assert place.jobs.create("ann", new, retry=True).id == first.id
    assert place.jobs.create("ann", new).id != first.id
    assert place.jobs.create("ann", place.new("sft", epochs=2), retry=True).id != first.id
    assert place.jobs.page("ann")[1] == 3


def test_a_repetition_after_the_window_is_a_new_intent(place: Workplace) -> None:
    first = place.jobs.create("ann", place.new("sft"))
    age(place, first, "2020-01-01T00:00:00.000Z")
    assert place.jobs.create("ann", place.new("sft"), retry=True).id != first.id


@pytest.mark.parametrize("key", ["", "a" * 256, "a\0b"])
def test_keys_that_cannot_be_kept_are_refused(place: Workplace, key: str) -> None:
    with pytest.raises(UserError, match="idempotency_key"):
        place.jobs.create("ann", place.new("sft"), idempotency_key=key)


@pytest.mark.parametrize("given", [{"idempotency_key": "k"}, {"retry": True}])
def test_at_once_eight_times_is_one_job(place: Workplace, given: dict[str, Any]) -> None:
    new = place.new("sft")
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda _: place.jobs.create("ann", new, **given).id, range(8)))
    assert len(set(ids)) == 1
    assert place.jobs.page("ann")[1] == 1


def test_a_name_is_given_once_per_kind(place: Workplace) -> None:
    place.jobs.create("ann", replace(place.new("sft"), name="mine"))
    place.jobs.create("ann", replace(place.new("dpo"), name="mine"))
    with pytest.raises(Conflict, match="mine: is the name of another sft job"):
        place.jobs.create("ann", replace(place.new("sft", epochs=2), name="mine"))


def test_owners_do_not_see_each_other(place: Workplace) -> None:
    job = place.jobs.create("ann", place.new("sft"))
    jobs = place.jobs
    for ask in (
        jobs.get,
        jobs.cancel,
        jobs.pause,
        jobs.resume,
        jobs.delete,
        Offspring(jobs).clone,
        jobs.events,
        jobs.metrics,
    ):
        with pytest.raises(NotFound, match="no such job"):
            ask("bob", job.id)  # type: ignore[operator]
    assert jobs.page("bob") == ([], 0)
    assert place.state(job) == "queued"


@pytest.mark.parametrize("job_id", ["", "job-0", "../x", "a\0b", "\ud800"])
def test_ids_that_are_none(place: Workplace, job_id: str) -> None:
    for ask in (place.jobs.get, place.jobs.cancel, place.jobs.delete):
        with pytest.raises(NotFound):
            ask("ann", job_id)  # type: ignore[operator]


def test_pages(place: Workplace) -> None:
    made = [
        place.jobs.create("ann", replace(place.new(k), name=n)) for k, n in (("sft", "b"), ("dpo", "a"), ("sft", "c"))
    ]
    place.jobs.cancel("ann", made[0].id)

    def names(**given: Any) -> list[str]:
        return [job.name for job in place.jobs.page("ann", **given)[0]]

    assert names(order="name", descending=False) == ["a", "b", "c"]
    assert names(order="name", limit=2) == ["c", "b"]
    assert names(order="name", limit=2, offset=2) == ["a"]
    assert names(kind="sft", order="name") == ["c", "b"]
    assert names(states=["cancelled"]) == ["b"]
    assert place.jobs.page("ann", kind="sft", limit=1)[1] == 2
    for wrong in ({"order": "owner"}, {"states": ["ended"]}):
        with pytest.raises(UserError, match="unknown"):
            names(**wrong)


def test_a_job_without_a_worker_stops_at_once(place: Workplace) -> None:
    job = place.jobs.create("ann", place.new("sft"))
    assert place.jobs.pause("ann", job.id).state == "paused"
    assert place.jobs.resume("ann", job.id).state == "validating"
    place.scheduler._validate()
    assert place.jobs.cancel("ann", job.id).state == "cancelled"
    assert place.jobs.cancel("ann", job.id).state == "cancelled"
    place.jobs.delete("ann", job.id)
    with pytest.raises(NotFound):
        place.jobs.get("ann", job.id)


def test_what_has_ended_is_not_cancelled_and_does_not_go_on(place: Workplace) -> None:
    job = place.jobs.create("ann", place.new("sft"))
    end(place, job, "running", "succeeded")
    with pytest.raises(Conflict, match="cannot cancel job in state: succeeded"):
        place.jobs.cancel("ann", job.id)
    with pytest.raises(Conflict, match="is succeeded and cannot become validating"):
        place.jobs.resume("ann", job.id)


def test_a_clone_has_the_settings_but_for_the_changes(place: Workplace) -> None:
    job = place.jobs.create("ann", replace(place.new("rft", temperature=0.5), display_name="One", asked={"a": 1}))
    twin = Offspring(place.jobs).clone("ann", job.id, {"epochs": 2}, name="twin")
    assert twin.settings == {**job.settings, "epochs": 2}
    assert (twin.name, twin.dataset, twin.display_name, twin.asked) == ("twin", "rft", "One", {"a": 1})


def test_warnings_of_the_spec_are_events(place: Workplace) -> None:
    job = place.jobs.create("ann", place.new("sft", limits="extended", lora_rank=64))
    warnings = [e.text for e in place.jobs.events("ann", job.id) if e.level == "warning"]
    assert len(warnings) == 1 and "lora_rank: 64 needs more memory" in warnings[0]


def test_events_go_on_where_the_last_look_ended(place: Workplace) -> None:
    job = place.jobs.create("ann", place.new("sft"))
    events = place.jobs.events("ann", job.id)
    assert [e.to_state for e in events] == ["created", "validating", "queued"]
    assert place.jobs.events("ann", job.id, after=events[0].number) == events[1:]
    assert place.jobs.events("ann", job.id, limit=1) == events[:1]


def test_fingerprints_are_of_the_content() -> None:
    one = NewJob("sft", {"a": 1, "b": 2}, "d")
    assert one.fingerprint() == NewJob("sft", {"b": 2, "a": 1}, "d").fingerprint()
    others = [replace(one, dataset="e"), replace(one, settings={"a": 1}), replace(one, name="n")]
    assert len({one.fingerprint(), *(other.fingerprint() for other in others)}) == 4
