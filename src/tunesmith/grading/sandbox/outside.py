"""The first half of a start, outside: prepares what the process will see, gives up our rights, and goes inside.

It runs by itself, before any user code, and takes nothing from it.
"""

import os
import signal
import sys

from tunesmith.grading.sandbox import bubblewrap, kernel, privileges, root
from tunesmith.grading.sandbox.plan import Plan, read

BOOT = """
import sys, types
package = sys.argv.pop(1)
# Without the packages' own imports, which take longer than all that is done here.
for name in ("tunesmith", "tunesmith.grading", "tunesmith.grading.sandbox"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [package + "/" + name.replace(".", "/")]
from tunesmith.grading.sandbox.{half} import main
main()
"""


def main() -> None:
    """Go inside by the level of the plan; the argument is its descriptor."""
    descriptor = int(sys.argv[1])
    plan = read(descriptor)
    os.umask(0o022)
    _stay_with(plan.parent)
    inside = (descriptor, *_hidden_descriptors())
    if plan.level == "bubblewrap":
        _into_bubblewrap(plan, inside)
    elif plan.level == "namespaces":
        _into_namespaces(plan, inside)
    else:
        _without_walls(plan, inside)


def _into_bubblewrap(plan: Plan, inside: tuple[int, ...]) -> None:
    """Become bubblewrap, under a user who has no rights; what only root may enter is mounted for it before."""
    sources: dict[str, str] = {}
    if plan.user is not None:
        kernel.call("unshare", kernel.NEW_NAMESPACES["mount"])
        sources = root.stage(plan)
        privileges.give_up(plan.user)
        _stay_with(plan.parent)
    os.execve(plan.bubblewrap, bubblewrap.arguments(plan, sources, command(plan, inside)), {})


def _into_namespaces(plan: Plan, inside: tuple[int, ...]) -> None:
    """The same by our own hands: namespaces first, then a root of its own, then no rights."""
    ours = os.getuid(), os.getgid()
    kinds = set(kernel.NEW_NAMESPACES) - ({"network"} if plan.network else set())
    kinds -= {"user"} if plan.user is not None else set()
    kernel.call("unshare", sum(kernel.NEW_NAMESPACES[kind] for kind in kinds))
    if plan.user is None:
        root.map_user(*ours)
    alive, told = os.pipe()
    child = os.fork()
    if child:
        for open_descriptor in (*inside, alive):
            os.close(open_descriptor)
        if plan.user is not None:
            privileges.give_up(plan.user)
        _stay_with(plan.parent)
        os._exit(kernel.exit_code(os.waitpid(child, 0)[1]))
    os.close(told)
    kernel.call("sethostname", b"sandbox", len("sandbox"))
    if not plan.network:
        root.start_loopback()
    root.enter(plan)
    if plan.user is not None:
        privileges.give_up(plan.user)
    kernel.call("prctl", kernel.PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    os.set_blocking(alive, False)
    _leave_at_end(alive)
    os.execve(plan.python, command(plan, inside), {})


def _without_walls(plan: Plan, inside: tuple[int, ...]) -> None:
    """No mounts; a user of its own where we are root."""
    if plan.user is not None:
        needed = [plan.python, plan.package, *plan.readable, *plan.writable, plan.working_folder]
        privileges.give_up_what_can_be(plan.user, [*needed, *plan.files.values(), *plan.sockets.values()])
        _stay_with(plan.parent)
    os.execve(plan.python, command(plan, inside), {})


def command(plan: Plan, inside: tuple[int, ...]) -> list[str]:
    """What starts the second half."""
    boot = BOOT.format(half="inside")
    return [plan.python, "-I", "-S", "-c", boot, plan.package, *map(str, inside)]


def _hidden_descriptors() -> tuple[int, int]:
    """Input and output under other numbers, so that no process in between holds them open."""
    given, taken = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)
    for descriptor in (given, taken):
        os.set_inheritable(descriptor, True)
    return given, taken


def _stay_with(parent: int) -> None:
    """Die when the parent does; a change of user undoes it."""
    if sys.platform == "linux":
        kernel.call("prctl", kernel.PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _leave_at_end(alive: int) -> None:
    """Leave if the process around the namespace died before we asked to die with it."""
    try:
        if os.read(alive, 1) == b"":
            os._exit(1)
    except BlockingIOError:
        os.close(alive)
