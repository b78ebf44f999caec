"""Runs and their forks as a tree: who comes from whom, at which step, with which setting changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.services.card import current_card
from tunesmith.services.run_folder import Parent, RunFolder


@dataclass(frozen=True, slots=True)
class Member:
    """One run in the tree."""

    run: RunFolder
    depth: int
    """Forks between it and a run that began by itself, among the runs listed."""
    parent: Parent | None

    def as_dict(self) -> dict[str, Any]:
        state, card = self.run.state(), current_card(self.run)
        origin = self.parent and {"run": self.parent.run, "step": self.parent.step, "changed": self.parent.changed}
        name = "reward" if state.kind == "rft" else "loss"
        return {
            "run": str(self.run.path),
            "kind": state.kind,
            "state": state.state,
            "step": state.step,
            "num_steps": state.num_steps,
            f"heldout_{name}_before": card[f"heldout_{name}_before"],
            f"heldout_{name}_after": card[f"heldout_{name}_after"],
            "depth": self.depth,
            "parent": origin,
        }


def family_tree(runs: Sequence[RunFolder]) -> list[Member]:
    """The runs in order, each followed by its forks; a fork whose parent is not listed stands by itself."""
    known = {run.path.resolve() for run in runs}
    children: dict[Path | None, list[tuple[RunFolder, Parent | None]]] = {}
    for run in runs:
        origin = run.parent()
        above = Path(origin.run).resolve() if origin else None
        children.setdefault(above if above in known else None, []).append((run, origin))
    return _below(children, None, 0)


def _below(
    children: dict[Path | None, list[tuple[RunFolder, Parent | None]]], above: Path | None, depth: int
) -> list[Member]:
    members: list[Member] = []
    for run, origin in children.get(above, []):
        members += [Member(run, depth, origin), *_below(children, run.path.resolve(), depth + 1)]
    return members


def origin_in_words(run: RunFolder) -> str:
    """``fork of NAME at step 4: learning_rate 0.0001 -> 5e-05``; empty for a run that began by itself."""
    origin = run.parent()
    if origin is None:
        return ""
    what = ", ".join(f"{name} {old} -> {new}" for name, (old, new) in origin.changed.items())
    at = f"at step {origin.step}" if origin.step else "from the start"
    return f"fork of {origin.name or Path(origin.run).name} {at}: {what}"


def in_words(members: Sequence[Member]) -> list[str]:
    """A line per run, forks indented below their parents."""
    names = [f"{'   ' * (m.depth - 1) + '└─ ' if m.depth else ''}{m.run.name}" for m in members]
    width = max(map(len, names), default=0)
    return [f"{name:<{width}}  {_line(member)}" for name, member in zip(names, members, strict=True)]


def _line(member: Member) -> str:
    about = member.as_dict()
    name = "reward" if about["kind"] == "rft" else "loss"
    before, after = about[f"heldout_{name}_before"], about[f"heldout_{name}_after"]
    result = "" if before is None or after is None else f"  held-out {name} {before:.3f} -> {after:.3f}"
    steps = f"{about['step']}/{about['num_steps']}"
    origin = f"  ({origin_in_words(member.run)})" if member.parent else ""
    return f"{about['state']:<13} {steps:>7}{result}{origin}"
