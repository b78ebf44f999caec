"""Errands in processes of their own: answers, refusals, one that takes too long, and whose they are."""

import asyncio

import pytest
from server.warm import warm_nursery

from tunesmith.core.errors import NotFound
from tunesmith.services.errands import Errand, Errands


def run(what, given, longest_s=300.0):
    async def wait() -> Errand:
        errands = Errands(warm_nursery(), longest_s)
        errand = errands.get("ann", errands.start("ann", what, given))
        while errand.state in ("waiting", "running"):
            await asyncio.sleep(0.05)
        await errands.stop()
        return errand

    return asyncio.run(wait())


@pytest.mark.thorough
def test_what_is_refused_is_told_in_its_words():
    errand = run("plan", {"spec": {"kind": "sft", "dataset": "nowhere.jsonl", "epochs": 99}})
    assert (errand.state, errand.answer) == ("failed", None)
    assert errand.problem.startswith("epochs: outside valid range [1, 10]")


def test_a_process_that_fails_is_told_with_its_last_words():
    errand = run("no-such-errand", {})
    assert errand.state == "failed"
    assert "KeyError: 'no-such-errand'" in errand.problem


def test_one_that_takes_too_long_is_stopped():
    errand = run("plan", {"spec": {"kind": "sft", "dataset": "x"}}, longest_s=0.01)
    assert errand.problem == "took longer than 0 s and was stopped"


def test_another_owner_has_it_not():
    async def ask() -> None:
        errands = Errands(warm_nursery())
        name = errands.start("ann", "plan", {})
        with pytest.raises(NotFound, match="not known here"):
            errands.get("bob", name)
        await errands.stop()

    asyncio.run(ask())
