"""Whether this server may run code of its users: not where nothing keeps the code of one from the data of another."""

from tunesmith.core.errors import Denied
from tunesmith.grading.sandbox import level
from tunesmith.services.keys import Keys


def check_walls(keys: Keys, where: str = "evaluator") -> None:
    """
    Raises:
        Denied: keys have several owners, and user code would run with limits alone.
    """
    if level() == "limits" and len(keys.owners()) > 1:
        problem = "runs users' code, which nothing on this machine keeps from the data of the server's other users"
        raise Denied(where, problem, "Install bubblewrap on the server, or name a built-in grader that runs no code")
