"""When a completion ends: at an id, or at a text that its tokens spell."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tunesmith.core.types import Ints

MARGIN = 8
"""Characters at the beginning of a decoded tail that may differ from the whole: the rest of a cut one, a space."""


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
        longest = max(len(text) for text in self.texts)
        count = longest + MARGIN
        while count < len(tokens) and len(self._text(tokens[-count:-1])) < longest + MARGIN:
            count *= 2
        return self._holds(tokens[-count:]) and (count >= len(tokens) or self._holds(tokens))

    def _holds(self, tokens: Sequence[int]) -> bool:
        decoded = self._text(tokens)
        return any(text in decoded for text in self.texts)

    def _text(self, tokens: Sequence[int]) -> str:
        return self.decode(np.array(tokens, np.int32))
