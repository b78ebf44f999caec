"""Attacks on the sandbox, at each level that has walls; without a sandbox the same attacks get through."""

import asyncio
import contextlib
import json
import os
import platform
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from tunesmith.grading.sandbox import Limits, launch, python_folders, run, seccomp
from tunesmith.grading.sandbox.levels import trial

pytestmark = pytest.mark.thorough
ATTACKS = Path(__file__).with_name("attacks.py")
NAMES = [name for name in ATTACKS.read_text().split("\ndef ") if "(" in name]
NAMES = [name.partition("(")[0] for name in NAMES[1:] if not name.startswith(("done", "attempt"))]
WALLS = ("bubblewrap", "namespaces", "landlock")
PYTHON = os.path.realpath(sys.executable)
KERNELS_OWN = {"open_a_socket_between_machines", "use_the_keyring", "use_a_program_in_the_kernel"}
KERNELS_OWN |= {"use_a_queue_in_the_kernel", "find_open_files", "trace_a_process", "open_a_disk", "make_a_device"}
"""Attacks that not every kernel or container lets through even where nothing else stops them."""


class Targets:
    """What there is to find outside: a file, a process, sockets of every kind."""

    def __init__(self) -> None:
        self.word = secrets.token_hex(8)
        # Not below pytest's own folder, which only its owner may enter: rights of files should not help.
        self.folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
        self.folder.chmod(0o777)
        (self.folder / "jobs").mkdir()
        (self.folder / "jobs" / "key").write_text("the secret")
        self.readable = self.folder / "readable"
        self.readable.mkdir(mode=0o777)
        self.helper = self.readable / "id"
        shutil.copy("/usr/bin/id", self.helper)
        self.helper.chmod(0o4755)
        environment = {"SECRET": self.word}
        self.victim = subprocess.Popen(["sleep", "600"], env=environment, process_group=0)
        self.named = subprocess.Popen([PYTHON, "-I", "-c", "import time; time.sleep(600)", self.word])
        self.sockets = [socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX)]
        self.sockets += [socket.socket(socket.AF_UNIX)] if sys.platform == "linux" else []
        self.sockets[1].bind(str(self.folder / "socket"))
        (self.folder / "socket").chmod(0o777)
        self.sockets[2].bind(f"\0{self.word}")
        for listener in self.sockets:
            listener.listen()
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        threading.Thread(target=self._answer_connections, daemon=True).start()
        threading.Thread(target=self._answer_datagrams, daemon=True).start()

    def _answer_connections(self) -> None:
        while True:
            try:
                with self.sockets[0].accept()[0] as connection:
                    connection.sendall(b"hello")
            except OSError:
                return

    def _answer_datagrams(self) -> None:
        while True:
            sender = self.udp.recvfrom(10)[1]
            if sender is None:
                return
            self.udp.sendto(b"hello", sender)

    def told(self) -> str:
        numbers = {"x86_64": {"add_key": 248, "bpf": 321}, "aarch64": {"add_key": 217, "bpf": 280}}
        return json.dumps(
            {
                "secret": str(self.folder / "jobs" / "key"),
                "open_folder": str(self.folder),
                "readable": str(self.readable),
                "helper": str(self.helper),
                "word": self.word,
                "victim": self.victim.pid,
                "tcp": self.sockets[0].getsockname()[1],
                "udp": self.udp.getsockname()[1],
                "unix": str(self.folder / "socket"),
                "abstract": self.word,
                **numbers[platform.machine()],
            }
        )

    def close(self) -> None:
        for process in (self.victim, self.named):
            process.kill()
            process.wait()
        for listener in (*self.sockets, self.udp):
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        shutil.rmtree(self.folder)


@pytest.fixture(scope="module")
def targets():
    if platform.machine() not in ("x86_64", "aarch64"):
        pytest.skip("the numbers of system calls are known for x86_64 and aarch64")
    made = Targets()
    yield made
    made.close()


@pytest.fixture(scope="module", params=WALLS)
def walls(request):
    if problem := trial(request.param):
        pytest.skip(f"{request.param}: {problem}")
    return request.param


@pytest.fixture(scope="module")
def outcomes(walls, targets):
    """What each attack came to, inside."""
    command = [PYTHON, "-I", str(ATTACKS)]
    asked = {
        "given": targets.told().encode(),
        "readable": [ATTACKS, targets.readable],
        "limits": Limits(wall_s=120),
        "at": walls,
    }
    ended = asyncio.run(run(command, **asked))
    assert ended.returncode == 0, ended.errors.decode()
    return json.loads(ended.output)


@pytest.fixture(scope="module")
def without(targets):
    """The same attacks with nothing around them."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        ended = subprocess.run(
            [PYTHON, "-I", str(ATTACKS)], input=targets.told(), cwd=folder, capture_output=True, text=True, check=True
        )
    return json.loads(ended.stdout)


@pytest.mark.parametrize("name", NAMES)
def test_an_attack_finds_nothing(outcomes, name):
    assert not outcomes[name].startswith("found"), outcomes[name]


def test_the_list_of_attacks_is_whole(outcomes):
    assert set(outcomes) == set(NAMES)
    assert len(NAMES) >= 38


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is stopped by nothing")
@pytest.mark.parametrize("name", sorted(set(NAMES) - KERNELS_OWN))
def test_without_a_sandbox_the_attack_gets_through(without, name):
    assert without[name].startswith("found"), without[name]


def python(code, level, **asked):
    asked.setdefault("limits", Limits(wall_s=20))
    return asyncio.run(run([PYTHON, "-I", "-c", code], at=level, **asked))


def test_a_fork_bomb_is_held_and_ends_with_the_sandbox(walls):
    code = """
import os, time
made = 0
try:
    while True:
        if os.fork() == 0:
            time.sleep(60)
        made += 1
except OSError:
    print(made, flush=True)
time.sleep(60)
"""

    async def bomb():
        async with await launch([PYTHON, "-I", "-c", code], at=walls) as process:
            assert process.stdout is not None
            made = int(await process.stdout.readline())
        return made, process.members()

    made, left = asyncio.run(bomb())
    assert 10 < made < 64
    assert left == []


def test_memory_has_a_bound(walls):
    code = "held = []\nwhile True: held.append(bytearray(16 << 20))"
    ended = python(code, walls, limits=Limits(wall_s=60, memory_mb=512))
    assert b"MemoryError" in ended.errors


def test_a_file_has_a_bound(walls):
    code = "f = open('big', 'wb')\nfor n in range(300): f.write(bytes(1 << 20)); print(n, flush=True)"
    ended = python(code, walls)
    assert ended.returncode != 0
    assert int(ended.output.split()[-1]) < 64


@pytest.mark.parametrize("place", [".", "/tmp", "/dev/shm"])
def test_many_files_have_a_bound(walls, place):
    if walls == "landlock":
        pytest.skip("its folder lies on the disk")
    code = f"""
import os
total = 0
try:
    for n in range(200):
        with open(os.path.join({place!r}, str(n)), "wb") as f:
            f.write(bytes(4 << 20))
        total += 4
except OSError as e:
    print(total, e.strerror)
"""
    assert python(code, walls, limits=Limits(wall_s=60, scratch_mb=32)).output == b"32 No space left on device\n"


def test_processor_time_has_a_bound(walls):
    began = time.monotonic()
    ended = python("while True: pass", walls, limits=Limits(wall_s=60, cpu_s=1))
    assert ended.returncode < 0
    assert time.monotonic() - began < 30


def test_killing_everybody_around_it_ends_the_sandbox_alone(walls):
    code = """
import os, signal
for pid in (os.getppid(), 1):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        try: os.kill(pid, number)
        except OSError: pass
print("still here")
"""
    assert python(code, walls).output == b"still here\n"


def test_a_link_left_in_the_working_folder_shows_nothing_inside(walls, targets, tmp_path):
    (tmp_path / "link").symlink_to(targets.folder / "jobs" / "key")
    ended = python("print(open('link').read())", walls, work=tmp_path)
    assert (b"PermissionError" if walls == "landlock" else b"FileNotFoundError") in ended.errors


def test_what_a_user_may_not_read_of_his_own_folder_is_not_made_readable_by_us(walls, tmp_path):
    """A folder that only its owner may enter is seen as the owner sees it, and is not changed outside."""
    own = tmp_path / "own"
    own.mkdir(mode=0o700)
    (own / "file").write_text("mine")
    (own / "file").chmod(0o600)
    ended = python(f"print(open({str(own / 'file')!r}).read())", walls, readable=[own])
    assert ended.output == b"mine\n", ended.errors
    assert (own.stat().st_mode & 0o777, own.stat().st_uid) == (0o700, os.geteuid())


def test_the_network_is_there_when_it_is_given(walls, targets):
    port = targets.sockets[0].getsockname()[1]
    code = f"import socket; print(socket.create_connection(('127.0.0.1', {port}), 5).recv(10))"
    assert python(code, walls, network=True).output == b"b'hello'\n"
    problem = b"Address family not supported" if walls == "landlock" else b"ConnectionRefusedError"
    assert problem in python(code, walls).errors


def test_numbers_of_system_calls_are_the_kernels():
    """Against libseccomp, where it is installed."""
    ctypes = pytest.importorskip("ctypes")
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        pytest.skip("libseccomp is not installed")
    resolve = library.seccomp_syscall_resolve_name_arch
    for name, numbers in seccomp.DENIED.items():
        for architecture, number in zip((0xC000003E, 0xC00000B7), numbers, strict=True):
            found = resolve(ctypes.c_uint32(architecture), name.encode())
            assert found == number or (number is None and found < 0), name


def test_our_own_python_sees_no_more_than_it_needs(walls):
    folders = [str(folder) for folder in python_folders()]
    assert all(folder not in ("/", "/root", "/home", str(Path.home())) for folder in folders)
