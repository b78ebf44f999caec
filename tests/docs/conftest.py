"""A run of the README's first example, made once."""

import os
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docs.pages import ROOT, named_files

from tunesmith.services.run_folder import all_runs


@pytest.fixture(scope="session")
def readme_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the files of the README lie and its job has run."""
    folder = tmp_path_factory.mktemp("readme")
    for name, text in named_files((ROOT / "README.md").read_text("utf-8")).items():
        (folder / name).write_text(text)
    before = Path.cwd()
    os.chdir(folder)
    runpy.run_path("job.py", run_name="__main__")
    os.chdir(before)
    yield folder


@pytest.fixture(scope="session")
def finished_run(readme_folder: Path) -> Any:
    [run] = all_runs(readme_folder / "runs")
    return run
