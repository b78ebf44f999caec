"""Keeps a project's process going: limits on time, another process when one was lost, and blame where it belongs."""

import asyncio
from collections.abc import Sequence
from secrets import token_hex
from time import monotonic
from typing import Any, Protocol

from tunesmith.core.ports import GradingError
from tunesmith.grading.projects.manifest import Project
from tunesmith.grading.projects.process import Died, Guest, Reply, Surroundings

LOOK_S = 0.25
GRACE_S = 2.0
"""Beyond its time, before a process that does not give up an attempt is ended."""
MAIN, ALONE = 0, 1
"""The process of all attempts, and that of those who were in one when it ended: one at a time, to find the reason."""


class Attempted(Protocol):
    """An attempt in hand."""

    def busy_since(self) -> float:
        """When, by the monotonic clock, the project was last given an answer; now while it waits for one."""
        ...

    def again(self) -> None:
        """It begins anew, in another process."""
        ...


class Supervisor:
    """The processes of a project, whichever they are at the moment."""

    def __init__(self, project: Project, given: Surroundings, idle_s: float) -> None:
        """
        Args:
            idle_s: how long an attempt may go on without asking the policy for anything.
        """
        self.restarts = 0
        self._project, self._given, self._idle_s = project, given, idle_s
        self._guests: list[Guest | None] = [None, None]
        self._starting, self._alone = asyncio.Lock(), asyncio.Lock()
        self._guilty: dict[str, GradingError] = {}

    async def ready(self, which: int = MAIN) -> Guest:
        """A live process.

        Raises:
            UserError: the project cannot be loaded.
        """
        async with self._starting:
            guest = self._guests[which]
            if guest is not None and guest.alive:
                return guest
            if guest is not None:
                self.restarts += 1
                await guest.stop()
            guest = self._guests[which] = await Guest.start(self._project, self._given)
            return guest

    async def ask(self, attempts: list[dict[str, Any]], watched: Sequence[Attempted]) -> list[Reply]:
        """Have attempts rolled out and scored; one result each.

        Raises:
            GradingError: none of them came through: timeout, crash.
        """
        try:
            return await self._asked(await self.ready(), attempts, watched)
        except Died:
            pass  # perhaps by another's doing
        async with self._alone:
            for attempt in watched:
                attempt.again()
            try:
                return await self._asked(await self.ready(ALONE), attempts, watched)
            except Died as e:
                raise GradingError("crash", f"the project's process died: {e}") from None

    async def close(self) -> None:
        for guest in self._guests:
            if guest is not None:
                await guest.stop()

    async def _asked(self, guest: Guest, attempts: list[dict[str, Any]], watched: Sequence[Attempted]) -> list[Reply]:
        """
        Raises:
            Died: the process ended, and it is not known that these attempts were the reason.
            GradingError: they were.
        """
        name = token_hex(8)
        try:
            return await self._watched(guest, name, attempts, watched)
        except Died:
            if (guilt := self._guilty.pop(name, None)) is not None:
                raise guilt from None
            raise

    async def _watched(
        self, guest: Guest, name: str, attempts: list[dict[str, Any]], watched: Sequence[Attempted]
    ) -> list[Reply]:
        began, given_up = monotonic(), False
        asking = asyncio.create_task(guest.ask(name, attempts))
        try:
            while not (await asyncio.wait((asking,), timeout=LOOK_S))[0]:
                await self._end_if_stuck(guest)
                idle = monotonic() - max(began, *(a.busy_since() for a in watched)) - self._idle_s
                if idle > 0 and not given_up:
                    given_up = True
                    guest.cancel(name)
                elif idle > GRACE_S:
                    self._guilty[name] = GradingError("timeout", f"did nothing for {self._idle_s:g} s")
                    await guest.stop()
            return asking.result()
        finally:
            asking.cancel()

    async def _end_if_stuck(self, guest: Guest) -> None:
        """End a process that one scoring holds up for too long; the others in it begin again elsewhere."""
        if guest.scoring is None:
            return
        name, since = guest.scoring
        if monotonic() - since > self._given.scoring_s + GRACE_S:
            self._guilty[name] = GradingError("timeout", f"no score within {self._given.scoring_s:g} s")
            guest.scoring = None
            await guest.stop()
