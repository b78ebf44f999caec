"""One side of a race, in a process of its own: ``python -m bench.side <side> <case as JSON> <folder>``."""

import json
import sys
from pathlib import Path

from bench.turns import Turns
from bench.workload import Case


def main(side: str, case_json: str, folder: str) -> None:
    """``side`` is ``ours`` or one of the peer's variants."""
    turns, case = Turns(), Case(**json.loads(case_json))
    if side == "ours":
        from bench import ours

        ours.run(case, Path(folder), turns)
    else:
        from bench import peer

        peer.run(case, Path(folder), turns, side)


if __name__ == "__main__":
    main(*sys.argv[1:])
