"""RESULTS.md: one table of every measurement with its target, and for each missed target the reason."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from bench import flops
from bench.machine import Limits
from bench.race import Lap
from bench.results import facts, row, verdict
from bench.workload import Case

MB = 1 << 20
MEMORY_TARGET, LOGPROB_TARGET, HELP_TARGET_S = 2.0, 8.0, 0.3


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table."""

    what: str
    ours: str
    peer: str
    ratio: float
    """How many times better than the peer, or than the limit where there is no peer."""
    target: float
    note: str = ""
    reason: str = ""
    """Why it is as it is, shown when the target is missed."""

    @property
    def met(self) -> bool:
        return self.ratio >= self.target


def race_lines(case: Case, laps: Sequence[Lap], limits: Limits) -> list[Line]:
    """Time and memory of one race, each against the peer's best variant for it."""
    ours, *peers = laps
    fastest = min(peers, key=lambda lap: lap.median_s)
    smallest = min(peers, key=lambda lap: lap.peak_bytes)
    least_s = flops.of(case).least_s(limits)
    note = f"{least_s:.2f} s at the machine's full rate: {least_s / ours.median_s:.0%} of it reached"
    if case.kind == "rft":
        note += f"; sampler gap {ours.gap:.1g}"
    cpu = median(fastest.cpu_s) / median(ours.cpu_s)
    time = Line(
        f"{case.name}, step",
        spread(ours),
        f"{spread(fastest)} ({fastest.side})",
        fastest.median_s / ours.median_s,
        case.target,
        f"{note}; by processor time {cpu:.1f}x",
        _why_slow(case, ours, least_s, limits),
    )
    memory = Line(
        f"{case.name}, peak memory",
        f"{ours.peak_bytes / MB:.0f} MB",
        f"{smallest.peak_bytes / MB:.0f} MB ({smallest.side})",
        smallest.peak_bytes / ours.peak_bytes,
        MEMORY_TARGET,
        f"of which {ours.loaded_bytes / MB:.0f} and {smallest.loaded_bytes / MB:.0f} MB before the first step",
        _why_large(ours, smallest, laps),
    )
    return [time, memory]


def _why_slow(case: Case, ours: Lap, least_s: float, limits: Limits) -> str:
    """How much is arithmetic that either side has to do."""
    work = flops.of(case)
    rest = max(0.0, ours.median_s - least_s)
    share = work.decode / limits.decode_gflops
    split = f" ({share:.2f} s of them one token at a time)" if share else ""
    return (
        f"{least_s:.2f} s of the step{split} are matrix products at the machine's full rate, which a step cannot do "
        f"without; the other {rest:.2f} s are small operations, memory traffic, products that run below that rate and "
        "waiting for other programs on the machine"
    )


def _why_large(ours: Lap, peer: Lap, laps: Sequence[Lap]) -> str:
    most = max(laps[1:], key=lambda lap: lap.peak_bytes)
    steps = [(lap.peak_bytes - lap.loaded_bytes) / MB for lap in (ours, peer, most)]
    return (
        f"the libraries alone take {ours.loaded_bytes / MB:.0f} MB here; the steps themselves add {steps[0]:.0f} MB to "
        f"ours, {steps[1]:.0f} MB to the peer's smallest variant ({peer.side}) and {steps[2]:.0f} MB to its largest "
        f"({most.side})"
    )


def logprob_lines(extra: Mapping[str, int]) -> list[Line]:
    ours = max(extra["ours"], 1)
    return [
        Line(
            f"Log-probabilities at vocabulary 151,936, extra memory against {way}",
            f"{ours / MB:.0f} MB",
            f"{other / MB:.0f} MB",
            other / ours,
            LOGPROB_TARGET,
            "1,024 tokens, hidden 256, forward and backward, head frozen",
        )
        for way, other in extra.items()
        if way != "ours"
    ]


def help_line(seconds: Sequence[float]) -> Line:
    """The limit stands where the peer's number would."""
    middle = median(seconds)
    shown = f"{middle:.2f} s ({min(seconds):.2f}-{max(seconds):.2f})"
    return Line("`tunesmith --help`", shown, f"limit {HELP_TARGET_S} s", HELP_TARGET_S / middle, 1.0)


def spread(lap: Lap) -> str:
    return f"{lap.median_s:.2f} s ({min(lap.steps_s):.2f}-{max(lap.steps_s):.2f})"


def _row(n: Line) -> str:
    return row((n.what, n.ours, n.peer, f"{n.ratio:.1f}x", f"{n.target:g}x", verdict(n.met), n.note))


def render(head: Mapping[str, str], limits: Limits, lines: Sequence[Line], rounds: int) -> str:
    """The whole file as Markdown."""
    table = "\n".join(map(_row, lines))
    missed = "\n".join(f"- **{n.what}**, {n.ratio:.1f}x of {n.target:g}x: {n.reason}." for n in lines if not n.met)
    return f"""# Results

Written by `python -m bench`; how it is measured stands in README.md beside this file.

{facts(head)}
- Rounds: {rounds}, each side one optimizer step per round, after one step to warm up
- Limits of one thread: {limits.pass_gflops:.0f} GFLOP/s in the matrix products of a training pass, \
{limits.decode_gflops:.0f} in those of a decoding step, {limits.copy_gb_s:.1f} GB/s of memory copied

Times are medians with the fastest and slowest step in brackets. The peer is TRL in whichever of its variants (named in
brackets) is best in that line.

| what | Tunesmith | peer | better | target | | beside it |
|---|---|---|---|---|---|---|
{table}

## Missed targets

{missed or "None."}
"""
