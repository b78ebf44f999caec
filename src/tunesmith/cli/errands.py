"""What a server computes in a process of its own while a person waits: asked for until it is there."""

import time
from collections.abc import Mapping
from typing import Any

from tunesmith.cli.client import Client, path_of
from tunesmith.cli.output import say
from tunesmith.core.errors import JobStopped

PAUSE_S = 0.2
"""The server holds a question back until it has the answer, or for some seconds."""


def answer_of(client: Client, errand: Mapping[str, Any], doing: str) -> Any:
    """The answer of an errand that was started; Ctrl-C leaves it to the server.

    Args:
        doing: what the server does meanwhile, for a person who waits.

    Raises:
        JobStopped: it failed; says why.
    """
    told = False
    while errand["state"] in ("waiting", "running"):
        if not told:
            told = True
            say(f"the server is {doing} ...")
        time.sleep(PAUSE_S)
        errand = client.get(path_of("errands", errand["id"]), wait_s=10)
    if errand["state"] == "failed":
        raise JobStopped(errand["what"], errand["problem"], "Mend that, and ask again")
    return errand["answer"]
