"""The text of a completion while its tokens arrive: never half a character, never a part of a text it stops at."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tunesmith.core.types import Completion, NewToken

UNFINISHED = "\ufffd"
"""What decoding makes of bytes that are no character, or not yet."""
Decode = Callable[[Sequence[int]], str]


@dataclass(slots=True)
class Part:
    """What has become certain since the last one."""

    text: str = ""
    shown: list[NewToken] = field(default_factory=list)
    """Tokens of the text so far; those that belong to a stop text, and the token that ends a turn, are in none."""
    offsets: list[int] = field(default_factory=list)
    """Of each token shown, the character of the whole text at which it begins."""
    tokens: list[int] = field(default_factory=list)
    """Ids as they were sampled, all of them."""

    def __iadd__(self, other: "Part") -> "Part":
        self.text += other.text
        self.shown += other.shown
        self.offsets += other.offsets
        self.tokens += other.tokens
        return self

    def __bool__(self) -> bool:
        return bool(self.text or self.shown)


class Growing:
    """One completion. Every token goes through ``add``; the parts joined are the same however they were cut."""

    def __init__(self, decode: Decode, stops: Sequence[str], withheld: Callable[[str], int | None] | None = None):
        """
        Args:
            stops: texts that end the completion and are not part of it.
            withheld: the character from which a text is not to be told until it is finished, or None;
                it may become less than it was only for text that was never told.
        """
        self.text = ""
        """All that is certain, told or not."""
        self._decode, self._stops, self._withheld = decode, stops, withheld
        self._tokens: list[NewToken] = []
        self._starts: list[int] = []
        self._told = self._shown = 0
        self._over = False
        """A stop text was found: nothing after it counts."""
        # Tokens are decoded from the beginning of a character, with those of one clean stretch before them.
        self._window = self._clean = self._in_window = 0

    def add(self, token: NewToken) -> Part:
        """What the token makes certain; after the last token, all there is but what is withheld."""
        last = token.stop is not None
        if self._over:
            return Part(tokens=[token.token])
        self._starts.append(len(self.text))
        self._tokens.append(token)
        self._read(last)
        if (cut := self._cut()) is not None:
            self.text, self._over = self.text[:cut], True
        free = self._free(last or self._over)
        part = Part(self.text[self._told : free], tokens=[token.token])
        self._told = max(self._told, free)
        self._show(part, last)
        return part

    def rest(self) -> Part:
        """What was withheld, once all tokens are there."""
        part = Part(self.text[self._told :])
        self._told = len(self.text)
        self._show(part, True)
        return part

    def _read(self, last: bool) -> None:
        ids = [t.token for t in self._tokens[self._window :]]
        window = self._decode(ids)
        # Only the last of them can still become a character: an incomplete one is decoded to exactly one.
        certain = window if last else window.removesuffix(UNFINISHED)
        self.text += certain[self._in_window :]
        self._in_window = max(self._in_window, len(certain))
        if not last and not window.endswith(UNFINISHED):
            since_clean = ids[self._clean - self._window :]
            if self._clean > self._window and self._decode(since_clean):
                self._window, self._in_window = self._clean, len(self._decode(since_clean))
            self._clean = len(self._tokens)

    def _cut(self) -> int | None:
        """Where the first stop text begins; what has been told holds no part of one."""
        found = [at for stop in self._stops if (at := self.text.find(stop, self._told)) >= 0]
        return min(found, default=None)

    def _free(self, whole: bool) -> int:
        """Characters that may be told."""
        limit = len(self.text)
        if not whole:
            limit -= max((_overlap(self.text[self._told :], stop) for stop in self._stops), default=0)
        withheld = None if self._withheld is None else self._withheld(self.text)
        return limit if withheld is None else max(self._told, min(limit, withheld))

    def _show(self, part: Part, everything: bool) -> None:
        """Tokens that begin in what was told, in their order; at the very end those without text too."""
        ended = everything and not self._over and self._told == len(self.text)
        while self._shown < len(self._tokens):
            token, start = self._tokens[self._shown], self._starts[self._shown]
            if start >= self._told and not (ended and not self._ends(token)):
                return
            part.shown.append(token)
            part.offsets.append(start)
            self._shown += 1

    def _ends(self, token: NewToken) -> bool:
        """Whether it is the token of the end of a turn, which has no text."""
        return token.stop == "stop" and not self._decode([token.token])


def _overlap(text: str, stop: str) -> int:
    """Characters at the end of a text with which a stop text may begin."""
    longest = min(len(stop) - 1, len(text))
    return next((n for n in range(longest, 0, -1) if stop.startswith(text[len(text) - n :])), 0)


def tokens_of(completion: Completion, candidate: int) -> list[NewToken]:
    """A finished completion, token by token."""
    last = len(completion.tokens) - 1
    ids, nats = completion.top_ids, completion.top_logprobs
    return [
        NewToken(
            candidate,
            int(token),
            float(completion.logprobs[i]),
            float(completion.sampling_logprobs[i]),
            None if ids is None else ids[i],
            None if nats is None else nats[i],
            completion.stop if i == last else None,
        )
        for i, token in enumerate(completion.tokens)
    ]
