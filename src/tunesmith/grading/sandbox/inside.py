"""The second half of a start, inside: the first process there, which starts the command, reaps, and leaves with it.

It has nothing that the command may not have: it is confined before the command is started.
"""

import base64
import ctypes
import os
import resource
import signal
import socket
import sys

from tunesmith.grading.sandbox import kernel, landlock
from tunesmith.grading.sandbox.bubblewrap import layout
from tunesmith.grading.sandbox.plan import Limits, Plan, read

_NOT_STARTED = 127
_DEVICES = tuple(f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom"))
_MACHINE = ("/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu", "/proc/self/statm")
"""What libraries ask about the processor, and our own about what they hold; it tells of nobody."""


def main() -> None:
    """Run the command of the plan; arguments are the descriptors of the plan, its input and its output."""
    plan_descriptor, given, taken = map(int, sys.argv[1:4])
    plan = read(plan_descriptor)
    os.close(plan_descriptor)
    if sys.platform == "linux":
        kernel.call("prctl", kernel.PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # Anyone inside may signal this process; only the default, which the first process of a namespace ignores, is safe.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    listeners = {_listener(int(port)): path for port, path in plan.sockets.items()}
    if plan.level != "landlock":
        _confine(plan)
    if listeners:
        _start_forwarding(listeners, (given, taken))
    child = os.fork()
    if child == 0:
        _become(plan, given, taken)
    # The other side should see the end of the output as soon as the command closes it.
    os.close(given)
    os.close(taken)
    os._exit(kernel.exit_code(_wait_for(child)))


def _confine(plan: Plan) -> None:
    """No new rights, no files and processes but its own, and none of the denied system calls, for good."""
    if sys.platform != "linux":
        return
    kernel.call("prctl", kernel.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if plan.level == "landlock":
        landlock.confine(_rights(plan), None if plan.network else [int(port) for port in plan.sockets])
    elif plan.level != "limits":
        # A second wall behind the mounts, with a lock of its own.
        landlock.confine({"/": landlock.LOOK, **dict.fromkeys(("/dev", *plan.fresh, *plan.writable), landlock.CHANGE)})
    if plan.seccomp:
        rules = base64.b64decode(plan.seccomp)
        buffer = ctypes.create_string_buffer(rules, len(rules))

        class Program(ctypes.Structure):
            _fields_ = (("length", ctypes.c_ushort), ("rules", ctypes.c_void_p))

        filter_mode = 2
        program = Program(len(rules) // 8, ctypes.addressof(buffer))
        kernel.call("prctl", kernel.PR_SET_SECCOMP, filter_mode, ctypes.byref(program), 0, 0)


def _rights(plan: Plan) -> dict[str, int]:
    """What the mounts would show, as rights over the places where it lies."""
    seen = [path for place, (kind, source) in layout(plan).items() if kind == "read" for path in (place, source)]
    changed = (*_DEVICES, *plan.writable, plan.working_folder)
    return {**dict.fromkeys((*seen, *_MACHINE), landlock.LOOK), **dict.fromkeys(changed, landlock.CHANGE)}


def _become(plan: Plan, given: int, taken: int) -> None:
    """Take the limits and the descriptors, and be the command."""
    try:
        os.dup2(given, 0)
        os.dup2(taken, 1)
        os.close(given)
        os.close(taken)
        os.makedirs(plan.working_folder, exist_ok=True)
        os.chdir(plan.working_folder)
        if sys.platform == "linux":
            kernel.call("prctl", kernel.PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        limit_resources(plan.limits, own_user=plan.user is not None or plan.level in ("bubblewrap", "namespaces"))
        if plan.level == "landlock":
            # Not before the fork: who is confined alike could be signalled, and forwarding needs sockets.
            _confine(plan)
        os.execvpe(plan.command[0], plan.command, plan.environment)
    except OSError as e:
        os.write(2, f"{plan.command[0]} cannot be started: {e}\n".encode())
    finally:
        os._exit(_NOT_STARTED)


def limit_resources(limits: Limits, own_user: bool) -> None:
    """The kernel's limits on each process; that on their number needs a user who has no other processes."""
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, limits.file_mb << 20)
    if limits.cpu_s is not None:
        _limit(resource.RLIMIT_CPU, limits.cpu_s)
    if limits.memory_mb is not None:
        _limit(resource.RLIMIT_AS, limits.memory_mb << 20)
    if own_user:
        _limit(resource.RLIMIT_NPROC, limits.processes)


def _limit(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (value, value))


def _listener(port: int) -> socket.socket:
    return socket.create_server(("127.0.0.1", port), backlog=128)


def _start_forwarding(listeners: dict[socket.socket, str], not_its: tuple[int, int]) -> None:
    """A process that joins the ports to their sockets; requests wait at the port until it is ready."""
    if os.fork():
        for listener in listeners:
            listener.close()
        return
    for descriptor in not_its:
        os.close(descriptor)
    kernel.call("prctl", kernel.PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    from tunesmith.grading.sandbox.forward import serve

    serve(listeners)


def _wait_for(child: int) -> int:
    """Reap whoever ends, until it is the command."""
    while True:
        pid, status = os.wait()
        if pid == child:
            return status
