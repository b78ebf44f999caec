"""Real workers: a job from queued to its end, and what a scheduler does about those that do not get there."""

import pytest
from jobs_service.workplace import Workplace


@pytest.mark.parametrize("kind", ["sft"])
def test_a_job_runs_to_its_end(place: Workplace, kind: str) -> None:
    job = place.create(kind)
    ended = place.until_state(job, "succeeded", "failed")
    assert ended.state == "succeeded", place.said()
    assert place.moves(job) == ["created", "validating", "queued", "running", "succeeded"]
    assert (place.run(job).path / "adapter").is_dir()
    progress = place.jobs.progress("ann", job.id)
    assert (progress.percent, progress.step, progress.num_steps, progress.epoch) == (100, 3, 3, 1)
