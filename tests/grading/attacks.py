"""The attacks themselves: run by itself, each in a child, and reports what each found, or what stopped it.

What there is to find is a JSON object on its input; it is never imported.
"""

import contextlib
import ctypes
import glob
import json
import os
import socket
import stat
import subprocess
import sys

TARGETS = json.load(sys.stdin)
LIBC = ctypes.CDLL(None, use_errno=True)
NEW_USER, NEW_PID = 0x10000000, 0x20000000
ATTACH, TRACE_ME = 16, 0


def done(result):
    """True for a system call that succeeded."""
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return True


def read_a_secret():
    return open(TARGETS["secret"]).read()


def read_passwords():
    return open("/etc/shadow").read()


def list_other_jobs():
    return os.listdir(os.path.dirname(TARGETS["secret"]))


def read_by_a_link():
    os.symlink(TARGETS["secret"], "link")
    return open("link").read()


def read_by_a_second_name():
    os.link(TARGETS["secret"], "second")
    return open("second").read()


def read_up_the_tree():
    return open("../" * 20 + TARGETS["secret"]).read()


def read_the_root_of_others():
    return [p for p in glob.glob("/proc/[0-9]*/root") if os.path.exists(p + TARGETS["secret"])]


def read_environments():
    found = []
    for path in glob.glob("/proc/[0-9]*/environ"):
        with contextlib.suppress(OSError), open(path) as file:
            found += [path] if TARGETS["word"] in file.read() else []
    return found


def see_a_process():
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        with contextlib.suppress(OSError), open(path) as file:
            found += [path] if TARGETS["word"] in file.read() else []
    return found


def signal_a_process():
    os.kill(TARGETS["victim"], 0)
    return True


def trace_a_process():
    return done(LIBC.ptrace(ATTACH, TARGETS["victim"], 0, 0))


def trace_at_all():
    return done(LIBC.ptrace(TRACE_ME, 0, 0, 0))


def connect():
    with socket.create_connection(("127.0.0.1", TARGETS["tcp"]), 2) as connection:
        return connection.recv(10).decode()


def send_a_datagram():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.settimeout(1)
        sender.sendto(b"?", ("127.0.0.1", TARGETS["udp"]))
        return sender.recv(10).decode()


def leave_the_machine():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(("192.0.2.1", 9))
        return sender.getsockname()[0]


def connect_by_a_path():
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(TARGETS["unix"])
        return True


def connect_by_an_abstract_name():
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect("\0" + TARGETS["abstract"])
        return True


def open_a_raw_socket():
    return socket.socket(socket.AF_PACKET, socket.SOCK_RAW).fileno()


def open_a_socket_between_machines():
    return socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).fileno()


def open_a_kernel_socket():
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).fileno()


def write_outside():
    path = os.path.join(TARGETS["open_folder"], "left")
    open(path, "w").close()
    return path


def write_what_it_reads():
    path = os.path.join(TARGETS["readable"], "left")
    open(path, "w").close()
    return path


def write_where_nothing_bounds_it():
    bounded = [os.getcwd(), os.path.dirname(os.getcwd()), "/tmp", "/dev/shm", "/dev/pts", "/proc"]
    found = []
    for folder, folders, _ in os.walk("/"):
        folders[:] = [f for f in folders if os.path.join(folder, f) not in bounded and folder.count("/") < 4]
        if folder not in bounded and os.access(folder, os.W_OK):
            found.append(folder)
    return found


def open_a_disk():
    disks = [path for path in glob.glob("/dev/*") if stat.S_ISBLK(os.stat(path).st_mode)]
    return [path for path in disks if open(path, "rb").read(1)]


def make_a_device():
    os.mknod("disk", stat.S_IFBLK | 0o666, os.makedev(8, 0))
    return True


def become_root_by_a_program():
    said = subprocess.run([TARGETS["helper"], "-u"], capture_output=True, text=True).stdout
    return said.strip() == "0"


def become_root_at_all():
    os.setuid(0)
    return True


def make_a_namespace():
    return done(LIBC.unshare(NEW_USER))


def make_a_namespace_by_fork():
    stack = ctypes.create_string_buffer(1 << 16)
    run = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(lambda _: 0)
    top = ctypes.c_void_p(ctypes.addressof(stack) + (1 << 16) - 64)
    return done(LIBC.clone(run, top, NEW_USER | 17, None))


def make_a_namespace_by_program():
    return subprocess.run(["unshare", "--user", "true"], capture_output=True).returncode == 0


def enter_a_namespace():
    for path in glob.glob("/proc/[0-9]*/ns/mnt"):
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError:
            continue
        if os.stat(path).st_ino != os.stat("/proc/self/ns/mnt").st_ino:
            return done(LIBC.setns(descriptor, 0))
    return False


def mount():
    os.makedirs("place", exist_ok=True)
    done(LIBC.mount(b"none", b"place", b"tmpfs", 0, None))
    return done(LIBC.umount2(b"place", 2))


def change_root():
    os.chroot(".")
    return True


def name_the_machine():
    return done(LIBC.sethostname(socket.gethostname().encode(), len(socket.gethostname())))


def use_the_keyring():
    return done(LIBC.syscall(TARGETS["add_key"], b"user", b"attack", b"x", 1, -2))


def use_a_program_in_the_kernel():
    return done(
        LIBC.syscall(TARGETS["bpf"], 0, ctypes.create_string_buffer(b"\2\0\0\0\4\0\0\0\4\0\0\0\1\0\0\0", 64), 64)
    )


def use_a_queue_in_the_kernel():
    return done(LIBC.syscall(425, 2, ctypes.create_string_buffer(256)))


def find_open_files():
    found = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found += [os.readlink(f"/proc/self/fd/{number}")] if int(number) > 2 else []
    return [name for name in found if name not in (TARGETS["own_pipe"], f"/proc/{os.getpid()}/fd")]


def attempt(attack):
    """What an attack found, in a child of its own: "" for nothing, "stopped: ..." with the reason."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receive)
        TARGETS["own_pipe"] = os.readlink(f"/proc/self/fd/{send}")
        try:
            found = attack()
            said = f"found: {str(found)[:200]}" if found else "nothing"
        except BaseException as e:
            said = f"stopped: {type(e).__name__}: {e}"
        os.write(send, said.encode())
        os._exit(0)
    os.close(send)
    with os.fdopen(receive) as said:
        text = said.read()
    os.waitpid(child, 0)
    return text or "stopped: killed"


NOT_ATTACKS = {"done", "attempt"}
print(
    json.dumps(
        {
            name: attempt(value)
            for name, value in list(globals().items())
            if callable(value) and getattr(value, "__module__", "") == "__main__" and name not in NOT_ATTACKS
        }
    )
)
