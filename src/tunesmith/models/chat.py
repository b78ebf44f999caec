"""Conversations to token ids and back, by the model's own tokenizer and chat template.

What carries loss is decided where the text is made (``turns``); everything else has weight 0.
"""

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tunesmith.core.errors import NotFound, UserError
from tunesmith.core.types import Floats, Ints
from tunesmith.models.turns import Messages, Tools, Turns

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")


class ChatRenderer:
    """The ``Renderer`` of one model folder; ``load_renderer`` makes it."""

    def __init__(self, tokenizer: Any, stop_ids: Sequence[int], notes: Sequence[str] = ()) -> None:
        self.tokenizer, self.backend = tokenizer, tokenizer.backend_tokenizer
        self._turns = Turns(tokenizer, stop_ids, notes)
        self.notes = self._turns.notes
        """What the user should know about how this model's conversations are rendered."""
        self.has_template = self._turns.has_template
        self.stop_ids = self._turns.stop_ids
        """Ids that end a completion."""
        self.stop_texts = self._turns.stop_texts
        """What ends a turn, as the template writes it."""
        first = self.backend.encode("").ids[:1]
        self.bos: tuple[int, ...] = tuple(first) if first == [tokenizer.bos_token_id] else ()
        """The token the tokenizer puts before plain text, if it does; templates write it themselves."""

    def prompt(self, messages: Messages, tools: Tools = ()) -> Ints:
        """[L] ids that ask the model for the next assistant turn."""
        text = self.prompt_text(messages, tools)
        return self.inner(text) if self.has_template else self.encode(text)

    def prompt_text(self, messages: Messages, tools: Tools = ()) -> str:
        """The text of ``prompt``."""
        return self._turns.prompt(messages, tools)

    def ended_text(self, messages: Messages, tools: Tools = ()) -> str:
        """The text of a conversation that nobody goes on with."""
        return self._turns.ended(messages, tools)

    def conversation(self, messages: Messages, tools: Tools = ()) -> tuple[Ints, Floats]:
        """[L] ids of a whole conversation and [L] weights: a message's weight on what the assistant wrote, else 0.

        A message's optional ``weight`` (default 1) counts for assistant messages only.

        Raises:
            UserError: the template refuses the messages, or rewrites a trained turn once others follow it.
        """
        _, ids, _, weights = self._weighted(messages, tools)
        return ids, weights

    def preview(self, messages: Messages, tools: Tools = ()) -> list[tuple[str, float]]:
        """The conversation as the model reads it, cut where the weight changes: (text, weight) pieces."""
        text, ids, starts, weights = self._weighted(messages, tools)
        cuts = [0, *(np.flatnonzero(np.diff(weights)) + 1).tolist(), len(ids)]
        ends = [*starts.tolist(), len(text)]
        pieces = [(text[ends[a] : ends[b]], float(weights[a])) for a, b in pairwise(cuts) if a < b]
        bos = "".join(map(self.piece, () if self.has_template else self.bos))
        return [(bos + pieces[0][0], pieces[0][1]), *pieces[1:]] if pieces else []

    def encode(self, text: str) -> Ints:
        """[L] ids of plain text, after the BOS token where the tokenizer adds one."""
        return np.array([*self.bos, *self._encode(text).ids], np.int32)

    def decode(self, tokens: Ints | Sequence[int]) -> str:
        """The text of sampled ids, special tokens left out and spaces as they are."""
        return self.backend.decode([int(t) for t in tokens], skip_special_tokens=True)  # type: ignore[no-any-return]

    def spell(self, tokens: Ints | Sequence[int]) -> str:
        """The text of sampled ids, special tokens by their names: as the template writes them."""
        return self.backend.decode([int(t) for t in tokens], skip_special_tokens=False)  # type: ignore[no-any-return]

    def inner(self, text: str) -> Ints:
        """[L] ids of a text in the middle of a conversation."""
        return np.array(self._encode(text).ids, np.int32)

    def piece(self, token: int) -> str:
        """The text of one id inside a text, special tokens by their name; part of a character is U+FFFD."""
        anchor = self._encode("a").ids
        before = self.backend.decode(anchor, skip_special_tokens=False)
        both = self.backend.decode([*anchor, int(token)], skip_special_tokens=False)
        return str(both[len(before) :])

    def _weighted(self, messages: Messages, tools: Tools) -> tuple[str, Ints, Ints, Floats]:
        """(text, [L] ids, [L] first character of each, [L] weights). A token belongs to where its text starts."""
        text, spans = self._turns.trained(messages, tools)
        bos = () if self.has_template else self.bos
        encoding = self._encode(text)
        ids = np.array([*bos, *encoding.ids], np.int32)
        starts = np.array([*(0 for _ in bos), *(start for start, _ in encoding.offsets)], np.int32)
        weights = np.zeros(len(ids), np.float32)
        for span in spans:
            inside = (starts >= span.start) & (starts < span.end)
            inside[: len(bos)] = False
            weights[inside] = span.weight
        return text, ids, starts, weights

    def _encode(self, text: str) -> Any:
        """Without added special tokens, never cut or padded."""
        try:
            return self.backend.encode(text, add_special_tokens=False)
        except (UnicodeEncodeError, TypeError):
            raise UserError("messages", "hold half of a UTF-16 pair, which no text can", "Remove it") from None


def load_renderer(folder: Path) -> ChatRenderer:
    """The renderer of a model folder. Nothing is fetched and no code of the folder is run.

    Raises:
        NotFound: no tokenizer here.
        UserError: a tokenizer that cannot be read, or that encodes text to nothing.
    """
    tokenizer = _load_tokenizer(folder)
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    if not tokenizer.backend_tokenizer.encode("a", add_special_tokens=False).ids:
        mend = "Add tokenizer.json, or all files of its vocabulary"
        raise UserError(str(folder), "the tokenizer encodes text to nothing", mend)
    return ChatRenderer(tokenizer, _stop_ids(folder, tokenizer))


def _load_tokenizer(folder: Path) -> Any:
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise NotFound(
            str(folder), "no tokenizer here", f"Add tokenizer.json (looked for {', '.join(TOKENIZER_FILES)})"
        )
    kind = _tokenizer_class(folder)
    try:
        tokenizer = kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as e:  # the border to transformers and tokenizers, which raise bare Exceptions for damaged files
        problem = f"the tokenizer cannot be read: {' '.join(str(e).split())[:300]}".rstrip(".")
        raise UserError(str(folder), problem, "Save it again as tokenizer.json") from None
    if not tokenizer.is_fast:
        raise UserError(str(folder), "the tokenizer has no fast form", "Save it again as tokenizer.json")
    return tokenizer


def _tokenizer_class(folder: Path) -> Any:
    """AutoTokenizer rebuilds some tokenizers from their class and then encodes otherwise than tokenizer.json says.

    It also knows every model there is, and takes a third of a second to learn that: it is asked only where it must be.
    """
    if (folder / "tokenizer.json").is_file():
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast
    from transformers import AutoTokenizer

    return AutoTokenizer


def _stop_ids(folder: Path, tokenizer: Any) -> tuple[int, ...]:
    """generation_config.json's eos ids; without them config.json's, then the tokenizer's own."""
    for name in ("generation_config.json", "config.json"):
        path = folder / name
        if not path.is_file():
            continue
        try:
            found = json.loads(path.read_text("utf-8")).get("eos_token_id")
        except (ValueError, AttributeError) as e:
            raise UserError(str(path), f"is not a JSON object: {e}", "Restore it from the model's source") from None
        if found is not None:
            return tuple(dict.fromkeys(found if isinstance(found, list) else [found]))
    return () if tokenizer.eos_token_id is None else (tokenizer.eos_token_id,)
