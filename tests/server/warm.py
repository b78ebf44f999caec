"""Servers, workers, engines and errands that start without imports: a process has them already, and forks for each.

It is the product's own nursery, one for a test process, that has imported a server too.
"""

import atexit
import json
from functools import cache
from pathlib import Path
from socket import socket
from typing import Any

from server.running import RunningServer

from tunesmith.services.nursery import Nursery, Program, begin

READY_S = 120.0


class WarmServer(RunningServer):
    """``tunesmith serve`` that starts in a fraction of a second."""

    def _spawn(self, words: list[str], environment: dict[str, str]) -> Any:
        given = json.dumps({"words": words, "environment": environment}).encode()
        with self._log.open("ab") as log:
            return warm_nursery().start(Program("server.warm_main", given=given, out=log.fileno(), err=log.fileno()))


@cache
def warm_nursery() -> Nursery:
    """The one of this test process; it ends with it."""
    made = _WithServers()
    atexit.register(made.close)
    assert made.ready(READY_S), "the words of the process are above"
    return made


class _WithServers(Nursery):
    def _begin(self) -> socket:
        return begin("server.warm_main", Path(__file__).parents[1])
