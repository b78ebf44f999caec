"""The same on PostgreSQL, where it is installed: requests at once, claims, and a worker that is killed."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jobs_service.workplace import Workplace
from server.test_postgres import url  # noqa: F401  # a fixture

from tunesmith.core.errors import Conflict

pytestmark = pytest.mark.thorough


@pytest.fixture
def place(tmp_path: Path, tiny: Path, url: str) -> Iterator[Workplace]:  # noqa: F811
    made = Workplace(tmp_path, tiny, url=url)
    yield made
    made.close()


@pytest.mark.parametrize(("owner", "given"), [("bob", {"idempotency_key": "k"}), ("cy", {"retry": True})])
def test_at_once_eight_times_is_one_job(place: Workplace, owner: str, given: dict[str, Any]) -> None:
    place.upload(owner, "sft")
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda _: place.jobs.create(owner, place.new("sft"), **given).id, range(8)))
    assert len(set(ids)) == 1
    assert place.jobs.page(owner)[1] == 1
    place.jobs.cancel(owner, ids[0])


def test_a_job_from_creation_to_deletion_with_a_killed_worker(place: Workplace) -> None:
    place.upload("ann", "sft")
    job = place.jobs.create(
        "ann", replace(place.new("sft", epochs=10), name="mine", asked={"text": "a\u00e4\U0001f600"})
    )
    with pytest.raises(Conflict, match="is the name of another sft job"):
        place.jobs.create("ann", replace(place.new("sft"), name="mine"))
    with pytest.raises(Conflict, match="sft: is used by the job mine"):
        place.datasets.delete("ann", "sft")
    place.start_to_die(job, 100)
    ended = place.until_state(job, "succeeded", "failed")
    assert (ended.state, ended.starts, ended.asked) == ("succeeded", 2, {"text": "a\u00e4\U0001f600"}), place.said()
    assert [m["step"] for m in place.jobs.metrics("ann", job.id, 0)] == list(range(1, 31))
    place.jobs.delete("ann", job.id)
    place.datasets.delete("ann", "sft")
    assert place.jobs.page("ann") == ([], 0)
