"""A server refuses to start where it would remove files that another database names."""

from pathlib import Path

import pytest
from databases import Postgres

from tunesmith.core.errors import Conflict
from tunesmith.services.backup import backup, restore
from tunesmith.services.data_directory import FILE, open_both
from tunesmith.services.keys import Keys
from tunesmith.services.store import file_url


def opened(data_dir: Path, database: Path) -> str:
    """(what the directory calls its database) after a server's start and end."""
    store = open_both(data_dir, file_url(database))
    Keys(store).create_first()
    store.close()
    return (data_dir / FILE).read_text()


@pytest.fixture
def used(tmp_path: Path) -> Path:
    """A data directory with a database of its own, and a file that a row of it would name."""
    folder = tmp_path / "data"
    folder.mkdir()
    opened(folder, folder)
    (folder / "datasets" / "key").mkdir(parents=True)
    return folder


def test_a_directory_knows_its_database_again(used: Path) -> None:
    assert opened(used, used) == (used / FILE).read_text() != ""


def test_a_new_database_is_refused_until_the_old_rows_are_in_it(used: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    with pytest.raises(Conflict, match="this one is new: they would be removed"):
        opened(used, new)
    backup(file_url(used), tmp_path / "kept.db")
    restore(file_url(new), tmp_path / "kept.db")
    assert opened(used, new) == opened(used, used)


def test_a_new_database_is_refused_where_an_earlier_release_left_its_files(used: Path, tmp_path: Path) -> None:
    (used / FILE).unlink()
    with pytest.raises(Conflict, match="this one is new"):
        opened(used, tmp_path / "new")
    assert not (used / FILE).exists()
    opened(used, used)


def test_a_database_of_another_directory_is_refused(used: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    opened(other, other)
    with pytest.raises(Conflict, match="with this one they would be removed"):
        opened(used, other)
    (used / FILE).unlink()
    assert opened(used, other) == opened(other, other)


def test_an_empty_directory_takes_a_database_that_was_brought_back(used: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert opened(empty, used) == opened(used, used)


@pytest.mark.thorough
def test_the_file_that_a_database_moved_away_from_is_refused(used: Path, tmp_path: Path, postgres: Postgres) -> None:
    backup(file_url(used), tmp_path / "kept.db")
    restore(postgres.url, tmp_path / "kept.db")
    for _ in range(2):
        open_both(used, postgres.url).close()
    with pytest.raises(Conflict, match="has its database on PostgreSQL"):
        opened(used, used)
    open_both(used, postgres.url).close()
    (used / FILE).unlink()
    assert "PostgreSQL" not in opened(used, used)
