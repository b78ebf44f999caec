"""What a job leaves: a tuned model that outlives it, that later jobs start from, and that takes nobody's name."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jobs_service.workplace import MODEL, Workplace
from sqlalchemy.orm import Session

from tunesmith.core.errors import Conflict, NotFound, UserError
from tunesmith.services.jobs.job import Job
from tunesmith.services.jobs.lease import Lease, LeaseLost
from tunesmith.services.jobs.rows import JobRow
from tunesmith.services.tuned_models import TunedModel


def trained(place: Workplace, output_model: str, part: str = "adapter") -> Job:
    """A job of Ann's with a result in its run folder, not yet named."""
    if not place.datasets.page("ann")[1]:
        place.upload("ann", "sft")
    job = place.jobs.create("ann", replace(place.new("sft"), output_model=output_model))
    folder = place.run(job).path / part
    folder.mkdir(parents=True)
    config = "adapter_config.json" if part == "adapter" else "config.json"
    (folder / config).write_text(json.dumps({"r": 4, "target_modules": ["q_proj"]}))
    return job


def publish(place: Workplace, job: Job) -> TunedModel:
    with place.store.begin() as db:
        row = db.get_one(JobRow, job.id)
    return place.jobs.results.publish(row, place.run(job), Lease(place.store, job.id, row.fence))


def test_a_result_gets_the_name_once_and_outlives_the_job(place: Workplace) -> None:
    job = trained(place, "mine")
    model = publish(place, job)
    assert publish(place, job) == model
    assert (model.name, model.base_model, model.job_id, model.whole) == ("mine", MODEL, job.id, False)
    folder = place.jobs.folders.of(job.id)
    place.jobs.delete("ann", job.id)
    assert not folder.exists()
    assert [p.name for p in model.folder.iterdir()] == ["adapter_config.json"]


class LostOnTheWay(Lease):
    """A lease that a newer worker takes while this one looks at it for the last time but one."""

    def __init__(self, place: Workplace, job: Job, looks: int) -> None:
        super().__init__(place.store, job.id, 0)
        self.place, self.job, self.looks = place, job, looks

    def write(self, change: Callable[[Session, JobRow], Any]) -> Any:
        self.looks -= 1
        if self.looks < 0:
            with self.place.store.begin() as db:
                db.get_one(JobRow, self.job.id).fence += 1
        return super().write(change)


@pytest.mark.parametrize("looks", [0, 1])
def test_a_worker_that_lost_its_job_in_the_last_moment_names_nothing(place: Workplace, looks: int) -> None:
    job = trained(place, "mine")
    with place.store.begin() as db:
        row = db.get_one(JobRow, job.id)
    with pytest.raises(LeaseLost, match="newer worker"):
        place.jobs.results.publish(row, place.run(job), LostOnTheWay(place, job, looks))
    assert place.jobs.results.models.page("ann") == ([], 0)
    assert (place.data_dir / "tuned" / job.id).is_dir() is (looks == 1)
    # The newer worker finds the files as they are, or makes them, and gives the name.
    assert publish(place, job).name == "mine"


def test_where_files_cannot_be_linked_they_are_copied(place: Workplace, tmp_path: Path) -> None:
    if not Path("/dev/shm").is_dir():
        pytest.skip("no second file system here")
    job = trained(place, "mine")
    elsewhere = Path("/dev/shm") / job.id
    shutil.move(place.jobs.folders.of(job.id), elsewhere)
    place.jobs.folders.of(job.id).symlink_to(elsewhere)
    try:
        assert (publish(place, job).folder / "adapter_config.json").stat().st_nlink == 1
    finally:
        shutil.rmtree(elsewhere)


def test_a_whole_model_is_named_as_one(place: Workplace) -> None:
    assert publish(place, trained(place, "big", "model")).whole


def test_later_jobs_start_from_it(place: Workplace) -> None:
    model = publish(place, trained(place, "mine"))
    job = place.jobs.create("ann", place.new("sft", warm_start_from="mine"))
    assert place.jobs.spec("ann", job.id).warm_start_from == str(model.folder)
    place.upload("bob", "sft")
    with pytest.raises(NotFound):
        place.jobs.create("bob", place.new("sft", warm_start_from="mine"))


def test_an_adapter_is_no_base_model_and_a_whole_model_no_adapter(place: Workplace) -> None:
    publish(place, trained(place, "mine"))
    publish(place, trained(place, "big", "model"))
    with pytest.raises(UserError, match=r"mine: is not of kind base_model, but HF_PEFT_ADDON"):
        place.jobs.create("ann", place.new("sft", base_model="mine"))
    with pytest.raises(UserError, match="big: is a whole model, not an adapter"):
        place.jobs.create("ann", place.new("sft", warm_start_from="big"))


def test_a_name_is_not_taken_twice(place: Workplace) -> None:
    """Refused at creation; taken while the job ran, the earlier one keeps it."""
    late = trained(place, "mine")
    first = publish(place, trained(place, "mine"))
    with pytest.raises(Conflict, match="mine: is the name of a tuned model already"):
        trained(place, "mine")
    with pytest.raises(Conflict, match="mine: is the name of"):
        publish(place, late)
    assert place.jobs.results.adapter("ann", "mine") == first.folder
