"""What ``test_nursery`` starts: does what its first argument says, and tells what it finds."""

import json
import os
import random
import signal
import sys
import threading
import time


def main() -> int | str:
    match sys.argv[1]:
        case "tell":
            sys.stdout.write(json.dumps(_found()))
        case "sleep":
            time.sleep(600)
        case "parent":
            print(os.getppid())
        case "note":
            with open(sys.argv[2], "a") as notes:
                notes.write("started\n")
        case "code":
            return int(sys.argv[2])
        case "words":
            return "these words"
        case "raise":
            raise ValueError("this reason")
        case "linger":
            threading.Thread(target=lambda: (time.sleep(0.3), print("late"))).start()
    return 0


def _found() -> dict[str, object]:
    kept = int(sys.argv[-1])
    return {
        "given": sys.stdin.read(),
        "arguments": sys.argv[1:-1],
        "kept": os.read(kept, 100).decode(),
        "files": sorted(int(n) for n in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{n}")),
        "own": kept,
        "leader": os.getsid(0) == os.getpgid(0) == os.getpid(),
        "setting": os.environ.get("NURSERY_TEST"),
        "chance": random.random(),
        "handlers": [str(signal.getsignal(n)) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)],
        "threads": len(os.listdir("/proc/self/task")),
    }


if __name__ == "__main__":
    sys.exit(main())
