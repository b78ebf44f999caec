"""``python -m server.warm_main LINE``: a nursery that has imported a server and done what a start does once.

Its ``main`` is ``tunesmith serve`` of the words and with the environment that stdin holds.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from socket import AF_UNIX, SOCK_SEQPACKET, socketpair

from tunesmith.cli.main import main as tunesmith
from tunesmith.core import durable
from tunesmith.grading import sandbox
from tunesmith.server.process import create_app
from tunesmith.server.settings import ServerSettings
from tunesmith.services import nursery_main
from tunesmith.services.nursery import Nursery


def main() -> None:
    given = json.load(sys.stdin)
    os.environ.clear()
    os.environ.update(given["environment"])
    ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET)
    if os.fork() == 0:
        os.setsid()
        ours.close()
        nursery_main.serve_on(theirs)
    theirs.close()
    # The nursery that this server begins is there already.
    Nursery._begin = lambda _: ours  # type: ignore[method-assign]
    sys.argv = ["tunesmith", *given["words"]]
    tunesmith()


if __name__ == "__main__":
    sandbox.level()
    with tempfile.TemporaryDirectory() as folder:
        create_app(ServerSettings(Path(folder))).state.store.close()
    durable._passed[0] = 0  # what tests count in a worker begins there
    nursery_main.main()
