"""What an import costs, and that imports point down only."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "pyarrow", "fastapi", "ray")


def loaded_after(statement: str) -> set[str]:
    """Top-level packages in a fresh interpreter."""
    code = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import tunesmith", (*HEAVY, "pydantic", "typer", "numpy")),
        ("import tunesmith.cli.main", (*HEAVY, "pydantic")),
        ("import tunesmith.core.types, tunesmith.core.ports, tunesmith.core.errors", (*HEAVY, "pydantic")),
        ("import tunesmith.spec", HEAVY),
        ("import tunesmith.data", (*HEAVY, "pydantic")),
        ("import tunesmith.health.rules", HEAVY),
        ("import tunesmith.grading", HEAVY),
        ("import tunesmith.server.app", ("torch", "alembic", "ray")),
        ("import tunesmith.services.jobs.worker_main", ("torch", "alembic", "fastapi", "transformers", "ray")),
        ("import tunesmith.services.worker", ("sqlalchemy", "fastapi", "transformers", "ray")),
        ("import tunesmith.services.sessions.engine_main", ("sqlalchemy", "fastapi", "transformers", "ray")),
        ("import tunesmith.losses", ("transformers", "pyarrow", "fastapi", "ray")),
    ],
)
def test_what_an_import_does_not_bring(statement, absent):
    assert loaded_after(statement) & set(absent) == set()


def test_layers():
    """The contracts of pyproject.toml, as ``lint-imports`` reads them."""
    root = Path(__file__).parents[1]
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


def test_the_public_names():
    import tunesmith

    assert {name for name in tunesmith.__all__ if getattr(tunesmith, name) is None} == set()
    assert tunesmith.rft.run and tunesmith.sft.run and tunesmith.dpo.run
    with pytest.raises(AttributeError, match="has no attribute 'grpo'"):
        _ = tunesmith.grpo
