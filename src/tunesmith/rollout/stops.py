"""When a completion ends: at an id, or at a text that its tokens spell."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tunesmith.core.types import Ints

MARGIN = 8
"""Characters of a decoded tail that may not be those of the whole: cut ones at the ends, a leading space."""


@dataclass(frozen=True, slots=True)
class Stops:
    """What ends the completions of one request before max_tokens."""

    ids: frozenset[int]
    texts: tuple[str, ...]
    decode: Callable[[Ints], str]

    def end(self, tokens: Sequence[int]) -> bool:
        """Whether the newest token ends a completion that none of the earlier ones did."""
        return tokens[-1] in self.ids or (bool(self.texts) and self._spelled(tokens))

    def _spelled(self, tokens: Sequence[int]) -> bool:
        """Decode no more of the end than a text can reach into, for decoding all of it at every token is quadratic."""
        reach = max(len(text) for text in self.texts) + MARGIN + len(self._text(tokens[-1:]))
        count = reach
        while len(tail := self._text(tokens[-count:])) < reach and count < len(tokens):
            count *= 2
        return any(text in tail for text in self.texts)

    def _text(self, tokens: Sequence[int]) -> str:
        return self.decode(np.array(tokens, np.int32))
