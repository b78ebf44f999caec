"""The sums of the demo: which are trained on, which are held out, and the rows of a dataset that ask them."""

from typing import Any

from tunesmith.core.seeds import seed_of

NUMBERS = range(10, 100)
"""What is added: numbers of two digits."""
CARRY_SHARE = 0.7
"""Share of the demo's rows whose ones add up to ten or more, which is what the embedded model gets wrong."""
TRAIN_ROWS, HELDOUT_ROWS = 640, 100

Sum = tuple[int, int]


def carries(a: int, b: int) -> bool:
    """The ones add up to ten or more."""
    return a % 10 + b % 10 >= 10


def is_held_out(a: int, b: int) -> bool:
    """A tenth of the sums, a + b with b + a, that neither the embedded model nor the demo was trained on."""
    return seed_of("held-out sum", min(a, b), max(a, b)) % 10 == 0


def demo_rows() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(training rows, held-out rows) in the OpenAI chat shape, each with its ``ground_truth``; always the same."""
    pairs = sorted(((a, b) for a in NUMBERS for b in NUMBERS), key=lambda pair: seed_of("demo sum", *pair))
    train = [pair for pair in pairs if not is_held_out(*pair)]
    heldout = [pair for pair in pairs if is_held_out(*pair)]
    return _rows(_mixed(train, TRAIN_ROWS)), _rows(_mixed(heldout, HELDOUT_ROWS))


def _mixed(pairs: list[Sum], count: int) -> list[Sum]:
    """The first ``count`` pairs of which CARRY_SHARE carry, in their order."""
    hard = round(count * CARRY_SHARE)
    chosen = {*[p for p in pairs if carries(*p)][:hard], *[p for p in pairs if not carries(*p)][: count - hard]}
    return [pair for pair in pairs if pair in chosen]


def _rows(pairs: list[Sum]) -> list[dict[str, Any]]:
    return [
        {
            "id": f"{a}+{b}",
            "messages": [{"role": "user", "content": f"What is {a} + {b}?"}],
            "ground_truth": str(a + b),
        }
        for a, b in pairs
    ]
