"""The real server in a process of its own, for tests that a client in another process drives."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

START_S = 180.0
STOP_S = 60.0


class RunningServer:
    """``tunesmith serve`` on a free port. After a stop or a kill, ``start`` takes up the same data on the same port."""

    def __init__(self, data_dir: Path, *flags: str) -> None:
        self.data_dir, self._flags = data_dir, flags
        self.base_url = ""
        self.key = ""
        """The key of the first start."""
        self.process: subprocess.Popen[bytes] | None = None
        self._port = "0"
        self._log = data_dir.with_name(data_dir.name + ".log")

    def start(self) -> "RunningServer":
        """Return when the server is ready."""
        assert self.process is None, "it runs already"
        home = self.data_dir.with_name(self.data_dir.name + "-home")
        home.mkdir(exist_ok=True)
        before = len(self.log())
        words = ["serve", "--data-dir", str(self.data_dir), "--port", self._port, *self._flags]
        self.process = self._spawn(words, {**os.environ, "HOME": str(home), "OMP_NUM_THREADS": "1"})
        try:
            self._wait_until_ready(before)
        except BaseException:
            self.kill()  # nobody else knows of it
            raise
        return self

    def _spawn(self, words: list[str], environment: dict[str, str]) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [str(Path(sys.executable).with_name("tunesmith")), *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )

    def _wait_until_ready(self, before: int) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            assert self.process is not None and self.process.poll() is None, f"it ended:\n{self.log()}"
            said = self.log()[before:]
            if found := re.search(r"serves on (http://\S+:(\d+)),", said):
                self.base_url, self._port = found[1], found[2]
                if self._healthy():
                    if key := re.search(r"TINKER_API_KEY=(\S+)", self.log()):
                        self.key = key[1]
                    return
            time.sleep(0.05)
        raise AssertionError(f"not ready after {START_S} s:\n{self.log()}")

    def _healthy(self) -> bool:
        try:
            with urlopen(self.base_url + "/healthz", timeout=5) as response:
                return bool(response.status == 200)
        except (URLError, OSError):
            return False

    def log(self) -> str:
        """What it said, all starts together."""
        return self._log.read_text("utf-8", errors="replace") if self._log.exists() else ""

    def stop(self) -> int:
        """Ask it to stop and wait; the exit code."""
        assert self.process is not None, "it does not run"
        os.kill(self.process.pid, signal.SIGTERM)
        code = self.process.wait(STOP_S)
        self.process = None
        return code

    def kill(self) -> None:
        """End it and what it started, with no chance to save."""
        if self.process is not None:
            # It may have ended by itself, and what it started with it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(STOP_S)
            self.process = None

    def close(self) -> None:
        """The end of it."""
        self.kill()
