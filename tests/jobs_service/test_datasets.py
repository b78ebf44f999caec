"""Datasets: whole or not there, checked line by line, kept while jobs use them, and nobody else's."""

from collections.abc import Callable
from pathlib import Path

import pytest
from jobs_service.workplace import Workplace

from tunesmith.core.errors import Conflict, NotFound, UserError
from tunesmith.services.datasets import Datasets
from tunesmith.services.store import Store

GOOD = b'{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}\n' * 4
BAD = GOOD + b"{\n" + GOOD.replace(b"assistant", b"bot")


@pytest.fixture
def datasets(store: Store, tmp_path: Path) -> Datasets:
    return Datasets(store, tmp_path, max_bytes=10_000)


def sent(datasets: Datasets, data: bytes, kind: str = "", owner: str = "ann", name: str = "d1") -> Datasets:
    datasets.create(owner, name, kind=kind)
    with datasets.upload(owner, name) as incoming:
        for start in range(0, len(data), 100):
            incoming.write(data[start : start + 100])
    datasets.finish(owner, name)
    return datasets


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file() and p.suffix != ".db" and "-" not in p.suffix)


@pytest.mark.parametrize("kind", ["", "sft"])
def test_a_file_in_pieces_becomes_ready(datasets: Datasets, kind: str) -> None:
    found = sent(datasets, GOOD, kind).get("ann", "d1")
    assert (found.state, found.num_bytes) == ("READY", len(GOOD))
    assert found.verdict is not None and (found.verdict.rows, found.verdict.num_problems) == (4, 0)
    assert datasets.file("ann", "d1").read_bytes() == GOOD


@pytest.mark.parametrize(("kind", "problems"), [("", 1), ("sft", 5)])
def test_a_bad_file_fails_with_every_problem_and_its_line(datasets: Datasets, kind: str, problems: int) -> None:
    """Line 5 is no JSON; lines 6 to 9 have a role that only rows of messages know to be wrong."""
    found = sent(datasets, BAD, kind).get("ann", "d1")
    assert found.state == "FAILED" and found.verdict is not None
    assert found.verdict.num_problems == len(found.verdict.problems) == problems
    assert "invalid JSON on line 5" in found.verdict.refusal
    with pytest.raises(Conflict, match="d1: is FAILED, not READY"):
        datasets.file("ann", "d1")


def test_an_empty_file_fails(datasets: Datasets) -> None:
    found = sent(datasets, b"\n\n").get("ann", "d1")
    assert found.state == "FAILED" and found.verdict is not None and "File is empty" in found.verdict.refusal


def test_what_failed_can_be_uploaded_again_and_leaves_no_file(datasets: Datasets, tmp_path: Path) -> None:
    sent(datasets, BAD)
    with datasets.upload("ann", "d1") as incoming:
        incoming.write(GOOD)
    assert datasets.get("ann", "d1").state == "UPLOADING"
    assert datasets.finish("ann", "d1").state == "READY"
    assert files(tmp_path / "datasets") == ["d1.jsonl"]


def test_a_ready_file_does_not_change(datasets: Datasets) -> None:
    sent(datasets, GOOD)
    with pytest.raises(Conflict, match="is READY"), datasets.upload("ann", "d1"):
        pass
    assert datasets.file("ann", "d1").read_bytes() == GOOD


def test_a_file_over_the_limit_leaves_nothing(datasets: Datasets, tmp_path: Path) -> None:
    datasets.create("ann", "d1")
    with pytest.raises(UserError, match="is larger than 10,000 bytes"), datasets.upload("ann", "d1") as incoming:
        for _ in range(11):
            incoming.write(b"x" * 1000)
    assert files(tmp_path / "datasets") == []
    with pytest.raises(Conflict, match="has no file yet"):
        datasets.finish("ann", "d1")


def test_a_deletion_during_the_upload_wins(datasets: Datasets, tmp_path: Path) -> None:
    datasets.create("ann", "d1")
    with pytest.raises(Conflict, match="was deleted"), datasets.upload("ann", "d1") as incoming:
        incoming.write(GOOD)
        datasets.delete("ann", "d1")
    assert files(tmp_path / "datasets") == []


def test_of_two_uploads_at_once_one_is_there_whole(datasets: Datasets, tmp_path: Path) -> None:
    datasets.create("ann", "d1")
    with datasets.upload("ann", "d1") as first:
        first.write(GOOD)
        with datasets.upload("ann", "d1") as second:
            second.write(GOOD * 2)
        first.write(GOOD * 2)
    assert datasets.finish("ann", "d1").num_bytes == 3 * len(GOOD)
    assert datasets.file("ann", "d1").read_bytes() == GOOD * 3
    assert files(tmp_path / "datasets") == ["d1.jsonl"]


def test_leftovers_of_a_crash_are_swept_and_nothing_else(datasets: Datasets, tmp_path: Path) -> None:
    sent(datasets, GOOD)
    for name in (".tmp-abc", "0123"):
        (tmp_path / "datasets" / name).mkdir()
        (tmp_path / "datasets" / name / "x.jsonl").write_bytes(b"half")
    datasets.sweep()
    assert files(tmp_path / "datasets") == ["d1.jsonl"]


@pytest.mark.parametrize("name", ["", "A", "1a", "a-", "-a", "a" * 64, "../a", "a/b", "a\0", "ä", "a.b", "a\n"])
def test_names_that_could_be_paths_are_refused(datasets: Datasets, name: str) -> None:
    for ask in (datasets.create, datasets.get, datasets.file, datasets.delete, datasets.finish):
        with pytest.raises((UserError, NotFound)):
            ask("ann", name)  # type: ignore[operator]


def test_owners_do_not_see_each_other(datasets: Datasets) -> None:
    sent(datasets, GOOD)
    for ask in (datasets.get, datasets.file, datasets.delete, datasets.finish):
        with pytest.raises(NotFound, match="no such dataset"):
            ask("bob", "d1")  # type: ignore[operator]
    sent(datasets, GOOD * 2, owner="bob")
    assert datasets.file("ann", "d1").read_bytes() == GOOD
    assert datasets.page("bob")[1] == 1


def test_a_name_is_taken_unless_the_same_request_comes_again(datasets: Datasets) -> None:
    first = datasets.create("ann", "d1", display_name="One", asked={"a": 1})
    assert datasets.create("ann", "d1", display_name="One", asked={"a": 1}, retry=True) == first
    for given in ({}, {"retry": True, "display_name": "Two"}):
        with pytest.raises(Conflict, match="is the id of a dataset already"):
            datasets.create("ann", "d1", **given)  # type: ignore[arg-type]


def test_pages(datasets: Datasets) -> None:
    for name in ("d1", "d2", "d3"):
        sent(datasets, BAD if name == "d2" else GOOD, name=name)
    page, total = datasets.page("ann", limit=2, newest_first=False)
    assert ([d.id for d in page], total) == (["d1", "d2"], 3)
    assert [d.id for d in datasets.page("ann", limit=2, offset=2, newest_first=False)[0]] == ["d3"]
    assert [d.id for d in datasets.page("ann", states=["FAILED"])[0]] == ["d2"]


def test_a_verdict_is_found_once(datasets: Datasets) -> None:
    sent(datasets, GOOD)
    first = datasets.verdict("ann", "d1", "sft")
    datasets.file("ann", "d1").unlink()
    assert datasets.verdict("ann", "d1", "sft") == first
    assert datasets.quick("ann", "d1", "sft")


def test_a_dataset_stays_while_a_job_may_need_it(places: Callable[[str], Workplace]) -> None:
    place = places("p")
    job = place.create("sft")
    with pytest.raises(Conflict, match=f"sft: is used by the job {job.name}"):
        place.datasets.delete("ann", "sft")
    place.jobs.cancel("ann", job.id)
    place.datasets.delete("ann", "sft")
    with pytest.raises(NotFound, match="no such dataset"):
        place.jobs.resume("ann", job.id)
    assert place.state(job) == "cancelled"
