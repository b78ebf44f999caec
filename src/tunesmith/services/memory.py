"""How much memory this process took at most: Python, libraries and tensors together."""

import resource
import sys


def peak_bytes() -> int:
    """The largest resident set so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
