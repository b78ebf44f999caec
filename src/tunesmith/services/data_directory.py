"""A data directory and its database know each other.

Files that no row names are removed when a server starts: with another database that would be all of them.
"""

from pathlib import Path
from secrets import token_hex

from sqlalchemy import inspect

from tunesmith.core import durable
from tunesmith.core.errors import Conflict
from tunesmith.services.records import Records
from tunesmith.services.store import PATIENT_MS, Store, open_engine, open_store, refused

FILE = "database.id"
_NOBODY, _RECORD = "", "name"
"""Owner and id of the record that names a database; no account can have this name."""
_HOLDS = "holds the files of another database"
_ELSEWHERE = "PostgreSQL\n"
"""Follows the name where the database has moved away: the file that it left has the same name and older rows."""
_NAMED_BY_ROWS = ("jobs/*", "datasets/*", "evaluators/*", "training/checkpoints/*")


def open_both(data_dir: Path, database_url: str) -> Store:
    """Open the database of a server, once it is sure that its rows name the files of the directory.

    Raises:
        Conflict: the files belong to another database.
    """
    file = data_dir / FILE
    wanted, _, elsewhere = file.read_text("utf-8").strip().partition("\n") if file.exists() else ("", "", "")
    if elsewhere and database_url.startswith("sqlite"):
        problem = f"has its database on {elsewhere} now, and with this one what is newer would be removed"
        mend = f"Name theirs with --database-url; if it has moved back, remove {file}"
        raise Conflict(str(data_dir), problem, mend)
    # Before any table is made: `db restore` fills only a database that has none.
    if (wanted or any(any(data_dir.glob(pattern)) for pattern in _NAMED_BY_ROWS)) and _is_new(database_url):
        mend = "Fill it with `tunesmith db restore`, name theirs with --database-url, or give another --data-dir"
        raise Conflict(str(data_dir), f"{_HOLDS}, and this one is new: they would be removed", mend)
    store = open_store(database_url, starting=True)
    names = Records(store, "database", "database")
    record = names.find(_NOBODY, _RECORD)
    name = "" if record is None else str(record.body["is"])
    if wanted and wanted != name:
        store.close()
        mend = f"Name theirs with --database-url, or give another --data-dir; if this one is theirs, remove {file}"
        raise Conflict(str(data_dir), f"{_HOLDS}, and with this one they would be removed", mend)
    if not name:
        name = token_hex(8)
        names.create(_NOBODY, _RECORD, {"is": name})
    if not wanted or not (store.is_file or elsewhere):
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        durable.write_file(file, f"{name}\n{'' if store.is_file else _ELSEWHERE}".encode())
    return store


def _is_new(database_url: str) -> bool:
    engine = open_engine(database_url, PATIENT_MS)
    with refused(engine), engine.connect() as connection:
        new = not inspect(connection).get_table_names()
    engine.dispose()
    return new
