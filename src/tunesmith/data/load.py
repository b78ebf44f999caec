"""From a dataset file to a report: every line checked, every problem named, rows kept only when they will be used."""

from collections import Counter
from pathlib import Path
from typing import Literal, overload

from tunesmith.core.errors import unknown
from tunesmith.data.formats import FORMATS, Format
from tunesmith.data.problems import Check, Counts, Problem, Report, in_file
from tunesmith.data.read import Found, read_objects
from tunesmith.data.rows import DpoRow, RftRow, Row, SftRow

MAX_LINES = 3_000_000
MAX_PROBLEMS = 10_000
"""Problems kept in full; all are counted."""
LARGE_BYTES = 64 * 2**20
"""Larger files are checked before rows are kept, so that one bad row at the end is refused without their memory."""


def check_file(path: Path, kind: str) -> Report[Row]:
    """Check every line without keeping the rows.

    Raises:
        NotFound: no such file.
        UserError: an unknown kind, a folder, or a file that cannot be read.
    """
    scan = _Scan(path, kind, skip_bad=False, keep_rows=False)
    return scan.run()


@overload
def load_rows(path: Path, kind: Literal["sft"], skip_bad: bool = False) -> Report[SftRow]: ...
@overload
def load_rows(path: Path, kind: Literal["dpo"], skip_bad: bool = False) -> Report[DpoRow]: ...
@overload
def load_rows(path: Path, kind: Literal["rft"], skip_bad: bool = False) -> Report[RftRow]: ...
@overload
def load_rows(path: Path, kind: str, skip_bad: bool = False) -> Report[Row]: ...
def load_rows(path: Path, kind: str, skip_bad: bool = False) -> Report[Row]:
    """The rows of a dataset, never none.

    Args:
        skip_bad: leave out bad lines and list them in ``Report.skipped`` instead of refusing the file.

    Raises:
        NotFound: no such file.
        UserError: lists the problems; with skip_bad only those that leaving out lines does not mend.
    """
    if not skip_bad and path.is_file() and path.stat().st_size > LARGE_BYTES:
        check_file(path, kind).raise_if_bad()
    report = _Scan(path, kind, skip_bad, keep_rows=True).run()
    report.raise_if_bad()
    return report


class _Scan:
    """One pass over one file."""

    def __init__(self, path: Path, kind: str, skip_bad: bool, keep_rows: bool) -> None:
        if kind not in FORMATS:
            raise unknown("kind", kind, FORMATS)
        self.path, self.kind, self.skip_bad, self.keep_rows = path, kind, skip_bad, keep_rows
        self.format: Format = FORMATS[kind]
        self.rows: list[Row] = []
        self.problems: list[Problem] = []
        self.skipped: list[int] = []
        self.ignored: set[str] = set()
        self.notes: Counter[str] = Counter()
        self.num_lines = self.num_blank = self.num_problems = self.num_examples = self.num_messages = 0
        self.with_field = {name: _Presence() for name in self.format.all_or_none}
        self.trains = False

    def run(self) -> Report[Row]:
        last = 1
        for line, found in read_objects(self.path):
            last = line
            self._take(line, found)
            if self.num_lines > MAX_LINES:
                mend = "Split the dataset"
                self._add(Problem(line, "file", f"more than {MAX_LINES:,} rows", "too many rows", mend, True))
                break
        self._check_whole(last)
        return self._report()

    def _take(self, line: int, found: Found) -> None:
        if found is None:
            self.num_blank += 1
            return
        self.num_lines += 1
        if isinstance(found, Problem):
            self._refuse_line(line, [found])
            return
        check = Check(line)
        rows = self.format.parse(check, found)
        if check.problems:
            self._refuse_line(line, check.problems)
            return
        for name, presence in self.with_field.items():
            presence.see(line, found.get(name) is not None)
        self.ignored |= check.ignored
        self.notes.update(check.notes)
        self.num_examples += len(rows)
        self.num_messages += sum(len(row.messages) for row in rows)
        self.trains = self.trains or any(not isinstance(row, SftRow) or row.weight != 0 for row in rows)
        if self.keep_rows:
            self.rows += rows

    def _refuse_line(self, line: int, problems: list[Problem]) -> None:
        for problem in problems:
            self._add(problem)
        if self.skip_bad:
            self.skipped.append(line)

    def _add(self, problem: Problem) -> None:
        self.num_problems += 1
        if len(self.problems) < MAX_PROBLEMS or problem.whole_file:
            self.problems.append(in_file(problem, self.path.name))

    def _check_whole(self, last: int) -> None:
        """Rules that no single line can break."""
        if any(problem.whole_file for problem in self.problems):
            return
        usable = self.num_lines - len(self.skipped)
        fewest = self.format.min_lines
        if usable < fewest:
            found = f"{usable} rows" if usable else "no rows"
            problem = "too few rows" if self.num_lines else "File is empty"
            self._add(Problem(last, "file", found, problem, f"{self.kind} needs at least {fewest} rows", True))
        for name, presence in self.with_field.items():
            if presence.mixed:
                found, mend = presence.describe(), f"Give every row a {name}, or none"
                self._add(Problem(presence.odd_line, name, found, f"root {name} on some rows only", mend, True))
        if self.num_examples and not self.trains:
            mend = "Give some rows another weight"
            self._add(Problem(last, "weight", "0 on every row", "nothing to train", mend, True))

    def _report(self) -> Report[Row]:
        notes = [f"ignored fields: {', '.join(sorted(self.ignored))}"] if self.ignored else []
        notes += [f"skipped {self.num_blank} blank lines"] if self.num_blank else []
        notes += [f"{note} ({count} rows)" for note, count in sorted(self.notes.items())]
        notes += [f"left out {len(self.skipped)} bad lines"] if self.skipped else []
        counts = Counts(self.num_lines, self.num_blank, self.num_examples, self.num_messages, self.num_problems)
        rows, problems, skipped = tuple(self.rows), tuple(self.problems), tuple(self.skipped)
        return Report(self.path, self.kind, rows, problems, tuple(notes), skipped, counts)


class _Presence:
    """On how many rows a field stands, and the first line that differs from the first row."""

    def __init__(self) -> None:
        self.num_with = self.num_without = self.odd_line = 0

    def see(self, line: int, there: bool) -> None:
        self.num_with += there
        self.num_without += not there
        if self.mixed and not self.odd_line:
            self.odd_line = line

    @property
    def mixed(self) -> bool:
        return self.num_with > 0 and self.num_without > 0

    def describe(self) -> str:
        return f"it on {self.num_with} of {self.num_with + self.num_without} rows"
