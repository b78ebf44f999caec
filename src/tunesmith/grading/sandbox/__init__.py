"""The sandbox: the one way to start code that is not ours. ``launch`` and ``run`` start it, ``level`` says how safe.

Levels, best first: ``bubblewrap``; ``namespaces``, the same walls by our own hands; ``landlock``, where a process may
make no namespaces but can give up files and sockets; ``limits``, no walls at all.
"""

from tunesmith.grading.sandbox.launch import Outcome, Sandboxed, launch, run
from tunesmith.grading.sandbox.levels import AUTO, LEVELS, SETTING, WARNING, Found, Level, found, level
from tunesmith.grading.sandbox.plan import Limits
from tunesmith.grading.sandbox.prepare import python_folders

__all__ = [
    "AUTO",
    "LEVELS",
    "SETTING",
    "WARNING",
    "Found",
    "Level",
    "Limits",
    "Outcome",
    "Sandboxed",
    "found",
    "launch",
    "level",
    "python_folders",
    "run",
]
