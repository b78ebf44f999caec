"""Jobs that come from others on a server: the shared past, what is refused and leaves nothing, and the advice taken."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from crash.fingerprint import fingerprint
from jobs_service.workplace import Workplace

from tunesmith.core.errors import Conflict, NotFound, UserError
from tunesmith.services.jobs.job import Job
from tunesmith.services.jobs.offspring import Offspring

pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Iterator[tuple[Workplace, Job]]:
    """Ann's finished job of six steps, four checkpoints kept."""
    made = Workplace(tmp_path_factory.mktemp("offspring"), tiny)
    job = made.create("rft", epochs=2, keep_checkpoints=4, eval_every=2)
    yield made, made.until_state(job, "succeeded")
    made.close()


def folders(place: Workplace) -> set[str]:
    return {folder.name for folder in place.jobs.folders.root.iterdir()}


def test_a_fork_shares_the_past_and_ends_as_a_run_that_was_never_parted(trained: tuple[Workplace, Job]) -> None:
    place, job = trained
    made = Offspring(place.jobs).fork("ann", job.id, {"keep_checkpoints": 3}, at_step=4, name="same")
    assert made.origin is not None
    assert (made.origin.job, made.origin.step, made.origin.changed) == (job.id, 4, {"keep_checkpoints": [4, 3]})
    assert (made.name, made.output_model, made.state) == ("same", "same", "queued")
    assert place.run(made).metrics() == place.run(job).metrics()[:5], "before any worker was there"
    done = place.until_state(made, "succeeded", "failed")
    assert done.state == "succeeded", place.said()
    ours, theirs = fingerprint(place.run(made).path), fingerprint(place.run(job).path)
    # Findings speak of the clock too.
    assert ours | {"findings.json": ""} == theirs | {"findings.json": ""}
    assert [fork.id for fork in Offspring(place.jobs).forks("ann", job.id)] == [made.id]
    assert Offspring(place.jobs).forks("bob", job.id) == []


@pytest.mark.parametrize(
    ("changes", "at_step", "error", "said"),
    [
        ({}, None, UserError, "no setting differs"),
        ({"lora_rank": 8}, 4, UserError, "the 4 steps to be shared rest on it"),
        ({"epochs": 3}, 1, NotFound, "no checkpoint of step 1 is kept"),
        ({"learning_rat": 1e-4}, None, UserError, "Did you mean 'learning_rate'"),
        ({"dataset": "other"}, None, UserError, "is no setting of a job on a server"),
        ({"evaluator": "/etc/grader.py::grade"}, None, UserError, "a server does not open for a client"),
    ],
)
def test_what_is_refused_leaves_nothing(
    trained: tuple[Workplace, Job], changes: dict[str, object], at_step: int | None, error: type[UserError], said: str
) -> None:
    place, job = trained
    before = folders(place)
    with pytest.raises(error, match=said):
        Offspring(place.jobs).fork("ann", job.id, changes, at_step)
    assert folders(place) == before


def test_a_name_that_is_taken_leaves_nothing_and_a_key_gives_the_same_fork(trained: tuple[Workplace, Job]) -> None:
    place, job = trained
    forks = Offspring(place.jobs)
    first = forks.fork("ann", job.id, {"epochs": 3}, name="longer", idempotency_key="k")
    place.jobs.pause("ann", first.id)
    before = folders(place)
    assert forks.fork("ann", job.id, {"epochs": 3}, name="longer", idempotency_key="k").id == first.id
    with pytest.raises(Conflict, match="is the name of another rft job"):
        forks.fork("ann", job.id, {"epochs": 4}, name="longer")
    assert folders(place) == before


def test_only_what_has_begun_and_is_ones_own_is_forked(trained: tuple[Workplace, Job]) -> None:
    place, job = trained
    waiting = place.create("rft", epochs=4)
    with pytest.raises(NotFound, match="has not begun"):
        Offspring(place.jobs).fork("ann", waiting.id, {"epochs": 3})
    with pytest.raises(NotFound, match="no such job"):
        Offspring(place.jobs).fork("bob", job.id, {"epochs": 3})
    place.jobs.cancel("ann", waiting.id)


def test_a_fork_outlives_the_job_that_it_came_from(trained: tuple[Workplace, Job]) -> None:
    place, job = trained
    child = Offspring(place.jobs).fork("ann", job.id, {"learning_rate": 1e-4}, at_step=0)
    place.jobs.pause("ann", child.id)
    grandchild = Offspring(place.jobs).fork("ann", child.id, {"learning_rate": 2e-4})
    place.jobs.pause("ann", grandchild.id)
    place.jobs.delete("ann", child.id)
    left = place.jobs.get("ann", grandchild.id)
    assert left.origin is not None and left.origin.job == child.id and left.origin.step == 0
    assert left.origin.changed == {"learning_rate": [1e-4, 2e-4]}


def test_what_a_dead_server_prepared_is_swept_and_nothing_else(trained: tuple[Workplace, Job]) -> None:
    place, _ = trained
    before = folders(place)
    orphan = place.jobs.folders.of("job-00000000000000000000")
    (orphan / "run").mkdir(parents=True)
    (orphan / "run" / "parent.json").write_text("{}")
    place.jobs.sweep()
    assert folders(place) == before


def test_advice_is_taken_as_a_fork_with_its_one_change(trained: tuple[Workplace, Job]) -> None:
    place, job = trained
    advice = Offspring(place.jobs).advice("ann", job.id)
    by_program = [f for f in advice.findings if f.change is not None and not f.change.by_hand]
    assert by_program, "a short run on a tiny model has findings"
    chosen = by_program[0]
    made = Offspring(place.jobs).fork_advised("ann", job.id, chosen.rule, name="advised")
    place.jobs.pause("ann", made.id)
    assert chosen.change is not None and made.origin is not None
    assert list(made.origin.changed) == [chosen.change.setting]
    assert made.settings[chosen.change.setting] == chosen.change.new
    with pytest.raises(NotFound, match="no finding 'weather'"):
        Offspring(place.jobs).fork_advised("ann", job.id, "weather")


def test_a_clone_names_no_file_where_its_model_had_one(place: Workplace, tmp_path: Path) -> None:
    file = tmp_path / "grader.py"
    file.write_text("def grade(completion, row):\n    return 1.0\n")
    new = place.new("rft", evaluator=f"{file}::grade")
    place.upload("ann", "rft")
    job = place.jobs.create("ann", replace(new, user_code=True))
    Offspring(place.jobs).clone("ann", job.id, {"epochs": 2})
    with pytest.raises(UserError, match="a server does not open for a client"):
        Offspring(place.jobs).clone("ann", job.id, {"evaluator": "/etc/other.py::grade"})
