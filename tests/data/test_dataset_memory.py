"""A large file with one bad row is refused within a memory bound, whichever way it is read."""

import json
import subprocess
import sys

import pytest
from data.dataset_files import good, said

SIZE_BYTES = 150 * 2**20
BOUND_MB = 200
PROGRAM = """
import sys
from pathlib import Path
from tunesmith.core.errors import UserError
from tunesmith.data import check_file, load_rows
from tunesmith.services.memory import peak_bytes
try:
    {call}
except UserError as e:
    print(e)
print(peak_bytes() >> 20)
"""


@pytest.fixture(scope="module")
def large_file(tmp_path_factory):
    """Short rows, which cost most when kept, the last of them torn."""
    path = tmp_path_factory.mktemp("large") / "train.jsonl"
    question = {"role": "user", "content": "why? " * 20}
    line = json.dumps(said(question, {"role": "assistant", "content": "because " * 10})).encode() + b"\n"
    with path.open("wb") as file:
        for _ in range(SIZE_BYTES // len(line)):
            file.write(line)
        file.write(json.dumps(good("sft")).encode()[:100])
    yield path
    path.unlink()


@pytest.mark.slow
@pytest.mark.parametrize(
    "call", ["check_file(Path(sys.argv[1]), 'sft').raise_if_bad()", "load_rows(Path(sys.argv[1]), 'sft')"]
)
def test_a_large_bad_file_fits_in_memory(large_file, call):
    program = PROGRAM.format(call=call)
    done = subprocess.run([sys.executable, "-c", program, str(large_file)], capture_output=True, text=True, check=True)
    *message, peak_mb = done.stdout.strip().splitlines()
    assert "invalid JSON on line" in message[0]
    assert int(peak_mb) < BOUND_MB


@pytest.mark.slow
def test_one_endless_line_fits_in_memory(tmp_path):
    path = tmp_path / "train.jsonl"
    with path.open("wb") as file:
        file.write(b'{"messages": "')
        for _ in range(SIZE_BYTES // 2**20):
            file.write(b"x" * 2**20)
    program = PROGRAM.format(call="load_rows(Path(sys.argv[1]), 'sft')")
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    *message, peak_mb = done.stdout.strip().splitlines()
    assert "line too long on line 1" in message[0]
    assert int(peak_mb) < 150
