"""Runs that the pages are held against, made once: the README's first example, and a short one of each other kind."""

import json
import os
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docs.pages import ROOT, named_files

import tunesmith
from tunesmith.services.run_folder import RunFolder, all_runs


@pytest.fixture(scope="session")
def readme_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the files of the README lie and its job has run."""
    folder = tmp_path_factory.mktemp("readme")
    for name, text in named_files((ROOT / "README.md").read_text("utf-8")).items():
        (folder / name).write_text(text)
    before = Path.cwd()
    os.chdir(folder)
    try:
        runpy.run_path("job.py", run_name="__main__")
    finally:
        os.chdir(before)
    yield folder


@pytest.fixture(scope="session")
def finished_run(readme_folder: Path) -> RunFolder:
    return all_runs(readme_folder / "runs")[0]


@pytest.fixture(scope="session")
def sft_run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("sft")
    return tunesmith.sft.run(settings(folder, [{"messages": [*asked(a), answered(a + 1)]} for a in range(12)]))


@pytest.fixture(scope="session")
def dpo_run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("dpo")
    rows = [
        {
            "input": {"messages": asked(a)},
            "preferred_output": [answered(a + 1)],
            "non_preferred_output": [answered(a)],
        }
        for a in range(12)
    ]
    return tunesmith.dpo.run(settings(folder, rows))


def settings(folder: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"dataset": str(folder / "rows.jsonl"), "output_dir": str(folder / "run"), "batch_size_samples": 6}


def asked(a: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"{a}+1"}]


def answered(total: int) -> dict[str, str]:
    return {"role": "assistant", "content": str(total)}
