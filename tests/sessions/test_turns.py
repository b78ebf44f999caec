"""Models take turns; each model's own operations run in the order they came."""

import asyncio

from tunesmith.services.sessions.turns import AT_ONCE, Turns


def run_all(queued):
    """The order in which jobs of (model, number) begin, when all are queued at once."""
    begun, running, most = [], 0, 0

    async def main():
        turns = Turns()

        def job(entry):
            async def work():
                nonlocal running, most
                begun.append(entry)
                running += 1
                most = max(most, running)
                await asyncio.sleep(0)
                running -= 1

            return work

        for entry in queued:
            turns.add(entry[0], job(entry))
        await turns.drained()
        assert not turns.busy and turns.waiting == 0

    asyncio.run(main())
    assert most <= AT_ONCE
    return begun


def test_a_long_queue_of_one_model_does_not_hold_up_another():
    begun = run_all([("a", i) for i in range(6)] + [("b", 0), ("b", 1)])
    assert begun.index(("b", 0)) <= 3 and begun.index(("b", 1)) <= 5


def test_own_order_is_kept():
    begun = run_all([("ab"[i % 2], i) for i in range(10)])
    assert [i for m, i in begun if m == "a"] == [0, 2, 4, 6, 8]
    assert [i for m, i in begun if m == "b"] == [1, 3, 5, 7, 9]
