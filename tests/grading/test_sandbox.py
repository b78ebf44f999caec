"""Starting user code: what it gets, what it is told, and that nothing is left of it."""

import asyncio
import json
import os
import signal
import sys
import time

import pytest

from tunesmith.core.errors import UserError
from tunesmith.grading.sandbox import LEVELS, SETTING, Limits, found, launch, python_folders, run
from tunesmith.grading.sandbox.levels import trial

pytestmark = pytest.mark.thorough

PYTHON = os.path.realpath(sys.executable)


@pytest.fixture(scope="module", params=LEVELS)
def level(request):
    """Each level that this machine offers."""
    if problem := trial(request.param):
        pytest.skip(f"{request.param}: {problem}")
    return request.param


def python(code, *arguments, **asked):
    """How a Python script ends that is started in a sandbox."""
    asked.setdefault("limits", Limits(wall_s=20))
    return asyncio.run(run([PYTHON, "-I", "-c", code, *map(str, arguments)], **asked))


def test_input_output_errors_and_status_go_through(level):
    code = "import sys; print(sys.stdin.read()[::-1]); print('seen', file=sys.stderr); sys.exit(3)"
    outcome = python(code, given=b"abc", at=level)
    assert (outcome.returncode, outcome.output, outcome.errors, outcome.cut) == (3, b"cba\n", b"seen\n", False)


def test_our_own_packages_are_there_when_asked_for(level):
    code = "import numpy, tunesmith; print(tunesmith.__name__)"
    command = [sys.executable, "-P", "-s", "-c", code]
    outcome = asyncio.run(run(command, readable=python_folders(), limits=Limits(wall_s=60), at=level))
    assert outcome.output == b"tunesmith\n", outcome.errors


def test_a_python_that_was_started_by_a_relative_path_is_there(level, tmp_path):
    """``../.venv/bin/python``: the folder that the path begins in is none that may be seen."""
    relative = f"{tmp_path}/{os.path.relpath(sys.executable, tmp_path)}"
    command = [relative, "-P", "-s", "-c", "import numpy, tunesmith; print(tunesmith.__name__)"]
    folders = python_folders(relative)
    outcome = asyncio.run(run(command, readable=folders, limits=Limits(wall_s=60), at=level))
    assert outcome.output == b"tunesmith\n", outcome.errors


def test_a_python_behind_a_link_in_a_folder_that_is_shown_is_there(level, tmp_path):
    """A project whose ``.venv`` is a link to an environment elsewhere."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "grader.py").write_text("")
    linked = str(tmp_path / ".venv" / "bin" / "python")
    command = [linked, "-P", "-s", "-c", "import numpy, tunesmith; print(tunesmith.__name__)"]
    asked = {"readable": [tmp_path, *python_folders(linked)], "limits": Limits(wall_s=60), "at": level}
    outcome = asyncio.run(run(command, **asked))
    assert outcome.output == b"tunesmith\n", outcome.errors


def test_the_environment_is_what_was_given_and_a_small_one_of_its_own(level, monkeypatch):
    monkeypatch.setenv("TUNESMITH_TEST_SECRET", "1")
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    seen = json.loads(python(code, environment={"GIVEN": "yes"}, at=level).output)
    assert seen["GIVEN"] == "yes"
    assert "TUNESMITH_TEST_SECRET" not in seen
    assert seen["HOME"] == seen["TMPDIR"]


def test_a_working_folder_keeps_what_was_written_and_another_is_empty(level, tmp_path):
    (tmp_path / "given").write_text("1")
    code = "import os; print(sorted(os.listdir())); open('made', 'w').write('2')"
    assert python(code, work=tmp_path, at=level).output == b"['given']\n"
    assert (tmp_path / "made").read_text() == "2"
    assert python(code, at=level).output == b"[]\n"


def test_a_readable_folder_can_be_read_and_not_written(level, tmp_path):
    (tmp_path / "rows").write_text("here")
    code = "import sys; print(open(sys.argv[1] + '/rows').read()); open(sys.argv[1] + '/x', 'w')"
    outcome = python(code, tmp_path, readable=[tmp_path], at=level)
    assert outcome.output == b"here\n"
    if level != "limits" or os.geteuid() == 0:
        assert outcome.returncode == 1 and not (tmp_path / "x").exists()


def test_a_socket_that_was_passed_in_is_a_port_on_localhost(level, tmp_path):
    code = """
from http.client import HTTPConnection
for n in range(3):
    connection = HTTPConnection("localhost", 8399)
    connection.request("GET", f"/{n}")
    print(connection.getresponse().read())
"""

    async def answer(reader, writer):
        asked = await reader.readuntil(b"\r\n\r\n")
        path = asked.split()[1]
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(path), path))
        await writer.drain()
        writer.close()

    async def ask():
        server = await asyncio.start_unix_server(answer, tmp_path / "model.sock")
        async with server:
            limits = Limits(wall_s=30)
            return await run(
                [PYTHON, "-I", "-c", code], sockets={8399: tmp_path / "model.sock"}, limits=limits, at=level
            )

    outcome = asyncio.run(ask())
    assert outcome.output == b"b'/0'\nb'/1'\nb'/2'\n", outcome.errors


def test_when_its_time_is_up_all_of_it_is_killed(level):
    code = "import os, time; os.fork(); print('x', flush=True); time.sleep(60)"
    began = time.monotonic()
    outcome = python(code, limits=Limits(wall_s=1), at=level)
    assert outcome.returncode == -signal.SIGKILL
    assert time.monotonic() - began < 30, "it would have slept for 60"


def test_output_beyond_the_cap_is_thrown_away(level):
    outcome = python("print('x' * 5_000_000)", limits=Limits(wall_s=20, output_bytes=1000), at=level)
    assert (outcome.output, outcome.cut, outcome.returncode) == (b"x" * 1000, True, 0)


def test_nothing_is_left_of_it(level, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code = "import subprocess; subprocess.Popen(['sleep', '60'], start_new_session=True); print(1, flush=True)"

    async def leave():
        async with await launch([PYTHON, "-I", "-c", code + "; input()"], at=level) as process:
            assert process.stdout is not None
            await process.stdout.readline()
            during = process.members()
        return during, process.members()

    during, after = asyncio.run(leave())
    assert len(during) >= 2
    assert after == []
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_is_not_there_says_so(level):
    outcome = asyncio.run(run(["/no/such/program"], at=level))
    assert outcome.returncode == 127
    assert b"/no/such/program cannot be started" in outcome.errors


def test_the_best_level_that_works_is_in_use(monkeypatch):
    monkeypatch.delenv(SETTING, raising=False)
    working = [name for name in LEVELS if not trial(name)]
    assert found().level == working[0]
    assert list(found().refused) == list(LEVELS[: LEVELS.index(working[0])])


def test_a_demanded_level_is_used_or_refused(monkeypatch):
    monkeypatch.setenv(SETTING, "limits")
    assert found().level == "limits"
    monkeypatch.setenv(SETTING, "strongest")
    with pytest.raises(UserError, match="unknown 'strongest'"):
        found()
