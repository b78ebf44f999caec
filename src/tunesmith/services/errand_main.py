"""The process of one errand: ``python -m tunesmith.services.errand_main NAME``, JSON on stdin, JSON on stdout."""

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from tunesmith.core.errors import UserError
from tunesmith.spec import RftSpec, build_spec

TRIED_ROWS = 10


def plan(given: Mapping[str, Any]) -> dict[str, Any]:
    """What a job will take, by a rehearsal of a few steps."""
    from tunesmith.services.rehearsal import plan

    return plan(build_spec(given["spec"]), given.get("secrets")).as_dict()


def try_grader(given: Mapping[str, Any]) -> dict[str, Any]:
    """How a grader scores the base model's own attempts at the first rows."""
    from tunesmith.services.try_grader import try_grader

    spec = build_spec(given["spec"])
    assert isinstance(spec, RftSpec), "only these have graders"
    return try_grader(spec, TRIED_ROWS, sample=True, secrets=given.get("secrets")).as_dict()


def regrade(given: Mapping[str, Any]) -> dict[str, Any]:
    """What a changed grader says of a run's attempts, told by the names that were asked for."""
    from tunesmith.services.regrade import regrade as replayed
    from tunesmith.services.run_folder import RunFolder

    run = RunFolder.open(given["run"])
    found = replayed(run, given["evaluator"], given["steps"], given["name"], given.get("secrets"))
    return {**found.as_dict(), **given["named"]}


ERRANDS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "plan": plan,
    "try": try_grader,
    "regrade": regrade,
}


def main() -> None:
    """Answer with ``{"answer": ...}`` or, where the input was refused, ``{"problem": ...}``."""
    answer, out = ERRANDS[sys.argv[1]], sys.stdout
    # Whatever prints, a grader say, must not get between the braces.
    sys.stdout = sys.stderr
    try:
        said: dict[str, Any] = {"answer": answer(json.load(sys.stdin))}
    except UserError as e:
        said = {"problem": str(e)}
    json.dump(said, out, allow_nan=False)


if __name__ == "__main__":
    main()
