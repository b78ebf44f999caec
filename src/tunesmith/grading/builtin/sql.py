"""Runs the SQL of a completion, read-only, on a SQLite file and compares the rows it returns with the answer's."""

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.core.ports import GradingError
from tunesmith.core.types import Row, Score
from tunesmith.grading.answers import TRUTH_FIELDS, Folder, code_block

if TYPE_CHECKING:
    import sqlite3

NO_FOLDER = Folder("")
_MAGIC = b"SQLite format 3\0"
MAX_ROWS = 100_000
_QUERY_FIELDS = ("gold_sql", "query", "sql")
_STEPS_BETWEEN_LOOKS = 10_000


def same_rows(
    completion: str, row: Row, *, folder: Folder = NO_FOLDER, ordered: bool = False, budget_s: float = 6.0
) -> Score:
    """1 when the completion's query (fenced, or all of it) returns the answer's rows; floats to 6 digits.

    Row: `database`, a SQLite file (or `db`, a name: `<folder>/<db>.sqlite`), and `result` (rows), `gold_rows` (a list
    of accepted results), or the right query or queries in `gold_sql`, `query`, `sql` or the answer's field. Order of
    rows counts with `ordered=true` only. A query that fails, writes or takes too long scores 0.
    """
    import sqlite3

    database = _database(row, folder)
    block = code_block(completion, "sql", "sqlite")
    query = (completion if block is None else block).strip()
    deadline = time.monotonic() + budget_s
    connection = _open(database, deadline)
    try:
        accepted = _accepted(connection, row)
        said = _rows(connection, query)
    except sqlite3.Error as e:
        return Score(0.0, reason=f"{e}"[:500])
    finally:
        connection.close()
    right = any(_same(said, wanted, ordered) for wanted in accepted)
    return Score(float(right), reason="" if right else f"{len(said)} rows, not the answer's")


def _database(row: Row, folder: str) -> Path:
    if isinstance(row.get("database"), str):
        path = Path(folder, row["database"])
    elif folder and isinstance(row.get("db"), str):
        path = Path(folder, f"{row['db']}.sqlite")
    else:
        raise GradingError("bad_row", f"needs database, or db and folder=; the row has {', '.join(row) or 'no fields'}")
    try:
        with path.open("rb") as f:
            known = f.read(len(_MAGIC)) == _MAGIC
    except OSError as e:
        raise GradingError("bad_row", f"{e}; give an absolute path to a database the grader may read") from None
    if not known:
        raise GradingError("bad_row", f"{path} is not a SQLite file")
    return path


def _open(database: Path, deadline: float) -> "sqlite3.Connection":
    """A connection that can only select, and gives up at the deadline."""
    import sqlite3

    connection = sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
    allowed = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}

    def authorize(action: int, *_: Any) -> int:
        return sqlite3.SQLITE_OK if action in allowed else sqlite3.SQLITE_DENY

    connection.set_authorizer(authorize)
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_LOOKS)
    return connection


def _accepted(connection: "sqlite3.Connection", row: Row) -> list[list[Any]]:
    """Every result that counts as right."""
    import sqlite3

    if isinstance(row.get("result"), list):
        return [row["result"]]
    if isinstance(row.get("gold_rows"), list):
        return list(row["gold_rows"])
    found = next((row[name] for name in (*_QUERY_FIELDS, *TRUTH_FIELDS) if row.get(name)), None)
    queries = [found] if isinstance(found, str) else found
    if not isinstance(queries, list) or not all(isinstance(query, str) for query in queries):
        raise GradingError("bad_row", f"needs result, gold_rows or gold_sql; the row has {', '.join(row)}")
    try:
        return [_rows(connection, query) for query in queries]
    except sqlite3.Error as e:
        raise GradingError("bad_row", f"the row's own query fails: {e}") from None


def _rows(connection: "sqlite3.Connection", query: str) -> list[Any]:
    import sqlite3

    try:
        rows = connection.execute(query).fetchmany(MAX_ROWS + 1)
    except sqlite3.Warning as e:
        raise sqlite3.Error(e) from None
    if len(rows) > MAX_ROWS:
        raise sqlite3.Error(f"more than {MAX_ROWS} rows")
    return rows


def _same(said: list[Any], wanted: list[Any], ordered: bool) -> bool:
    a, b = [_plain(row) for row in said], [_plain(row) for row in wanted]
    return a == b if ordered else Counter(a) == Counter(b)


def _plain(row: Any) -> tuple[Any, ...]:
    """A row as a tuple that compares by value: numbers to 6 significant digits."""
    values = row if isinstance(row, list | tuple) else [row]
    return tuple(float(f"{value:.6g}") if isinstance(value, int | float) else value for value in values)
