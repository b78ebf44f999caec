"""The server of a project's MCP environments, beside the guest: started once, for all rollouts of the process.

It stands alone, as the guest does. eval-protocol would start one for every call, each on the same port, and wait for it
without letting others go on.
"""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

START_S = 100.0
_LOOK_S = 0.2


class Gym:
    """Answers once ``ready`` returns; ends with the sandbox."""

    def __init__(self, script: str, asked: Mapping[str, Any]) -> None:
        """
        Args:
            script: what starts the server, as the project names it.
            asked: the project's own settings of its rollout processor.
        """
        self._script, self._asked = script, asked
        self._port = int(asked.get("port") or _free_port())
        self._process: subprocess.Popen[bytes] | None = None
        self._starting = asyncio.Lock()

    async def ready(self) -> dict[str, Any]:
        """Settings for the rollout processor, under which it finds this server and starts none.

        Raises:
            RuntimeError: the server ended, or answers nobody.
        """
        async with self._starting:
            if self._process is None or self._process.poll() is not None:
                await self._start()
        return {**self._asked, "start_server": False, "server_mode": "per_run", "port": self._port}

    async def _start(self) -> None:
        domain = self._asked.get("domain")
        command = [sys.executable, self._script, "--port", str(self._port), *(["--domain", domain] if domain else [])]
        # What it prints goes where the project's own prints go.
        self._process = subprocess.Popen(
            command, env={**os.environ, "PORT": str(self._port)}, stdin=subprocess.DEVNULL, stdout=2, stderr=2
        )
        try:
            async with asyncio.timeout(START_S):
                while not await self._answers():
                    if (code := self._process.poll()) is not None:
                        raise RuntimeError(f"{self._script} ended with status {code} before it answered")
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError:
            self._process.kill()
            raise RuntimeError(f"{self._script} does not answer on port {self._port} after {START_S:g} s") from None

    async def _answers(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("localhost", self._port)
        except OSError:
            return False
        writer.close()
        return True


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
