"""Extra memory of the log-probabilities of a large vocabulary, forward and backward, each way in a process of its own.

``python -m bench.logprob_memory <way>`` prints the bytes of one way.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from bench.race import ROOT, one_thread
from tunesmith.services.memory import peak_bytes

TOKENS, VOCAB, HIDDEN = 1024, 151_936, 256
WAYS = ("ours", "log_softmax", "trl selective_log_softmax")


def measure() -> dict[str, int]:
    """Bytes above what the inputs take, for every way."""
    out = {}
    for way in WAYS:
        command = [sys.executable, "-m", "bench.logprob_memory", way]
        done = subprocess.run(command, cwd=ROOT, env=one_thread(), capture_output=True, text=True, check=True)
        out[way] = int(json.loads(done.stdout.splitlines()[-1]))
    return out


def extra_bytes(way: str) -> int:
    """The head is frozen, as under LoRA: only hidden states have a gradient."""
    import torch

    torch.set_num_threads(1)
    logprobs = _way(way)
    hidden = torch.randn(TOKENS, HIDDEN, requires_grad=True)
    weight, targets = torch.randn(VOCAB, HIDDEN), torch.randint(0, VOCAB, (TOKENS,))
    (torch.randn(64, HIDDEN) @ weight[:64].T).sum()  # the library's own buffers are not counted
    before = peak_bytes()
    logprobs(hidden, weight, targets).sum().backward()
    return peak_bytes() - before


def _way(way: str) -> Callable[..., Any]:
    import torch

    if way == "ours":
        from tunesmith.models.head import selected_logprobs

        return lambda h, w, t: selected_logprobs(h, w, t, torch.ones(TOKENS))
    if way == "log_softmax":
        return lambda h, w, t: (h @ w.T).log_softmax(-1).gather(1, t[:, None])[:, 0]
    from trl.trainer.utils import selective_log_softmax

    return lambda h, w, t: selective_log_softmax(h @ w.T, t)


if __name__ == "__main__":
    print(json.dumps(extra_bytes(sys.argv[1])))
