"""The database of a server whose data directory is at hand, for the commands that work beside it."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tunesmith.services.store import Store


def store_of(data_dir: Path, database_url: str, there: bool = False) -> "Store":
    """As for ``url_of``."""
    from tunesmith.services.store import open_store

    return open_store(url_of(data_dir, database_url, there))


def url_of(data_dir: Path, database_url: str, there: bool = False) -> str:
    """
    Args:
        there: it has to be there already: what is asked for makes no sense of a new one.

    Raises:
        NotFound: it is not.
    """
    from tunesmith.core.errors import NotFound
    from tunesmith.services.store import FILE_NAME, file_url

    folder = data_dir.expanduser().resolve()
    if there and not database_url and not (folder / FILE_NAME).is_file():
        mend = "Give the --data-dir or --database-url that the server is started with"
        raise NotFound(str(data_dir), "no server keeps its data here", mend)
    return database_url or file_url(folder)
