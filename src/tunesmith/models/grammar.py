"""What a completion must look like, token by token: JSON of a schema, or any text of a grammar. llguidance does it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from llguidance import LLMatcher

from tunesmith.core.errors import UserError
from tunesmith.core.types import Bools

WORD = 32
"""Bits of a word of a mask."""
LAYOUT: Any = {
    "whitespace_flexible": False,
    "item_separator": r",[ ]?",
    "key_separator": r":[ ]?",
    "coerce_one_of": True,
}
"""At most one space between parts: a model that is unsure could put spaces forever."""
ANY_OBJECT: Mapping[str, Any] = {"type": "object"}


def json_grammar(schema: Mapping[str, Any] = ANY_OBJECT, where: str = "response_format") -> str:
    """The grammar of JSON that a schema allows.

    Raises:
        UserError: a schema that cannot be enforced; says which part.
    """
    return _checked(LLMatcher.grammar_from_json_schema(dict(schema), defaults=LAYOUT), where)


def lark_grammar(text: str, where: str = "response_format") -> str:
    """A grammar in the notation of Lark, with ``start`` as its first rule.

    Raises:
        UserError: what is wrong with it, with its line.
    """
    return _checked(LLMatcher.grammar_from_lark(text), where)


class Grammars:
    """Grammars in the tokens of one model."""

    def __init__(self, tokenizer: Any, vocab: int, stop_ids: tuple[int, ...]) -> None:
        """Takes a second for a large vocabulary.

        Args:
            tokenizer: fast one of the transformers library.
            stop_ids: what ends a completion, once the grammar lets it end.
        """
        # Here, because it brings the transformers library, which those who only read schemas do without.
        from llguidance.hf import from_tokenizer

        self._tokenizer = from_tokenizer(tokenizer, n_vocab=vocab, eos_token=list(stop_ids))
        self._vocab = vocab

    def begin(self, grammar: str) -> "Match":
        """The beginning of one completion.

        Raises:
            UserError: a grammar that does not go together with the tokens.
        """
        matcher = LLMatcher(self._tokenizer, grammar, log_level=0)
        if matcher.is_error():
            raise _refused(matcher.get_error(), "response_format")
        return Match(matcher, self._vocab)


class Match:
    """How far one completion is in its grammar."""

    def __init__(self, matcher: LLMatcher, vocab: int) -> None:
        self._matcher = matcher
        self._words = np.zeros((vocab + WORD - 1) // WORD, np.int32)
        self._vocab = vocab

    def allowed(self) -> Bools:
        """[V] which tokens may come next; never none.

        Raises:
            UserError: the grammar has become too large to follow.
        """
        self._matcher.unsafe_compute_mask_ptr(self._words.ctypes.data, self._words.nbytes)
        if self._matcher.is_error():
            raise _refused(self._matcher.get_error(), "response_format")
        bits = np.unpackbits(self._words.view(np.uint8), bitorder="little", count=self._vocab)
        return bits.astype(np.bool_)

    def take(self, token: int) -> None:
        """A token that was allowed is there."""
        assert self._matcher.consume_token(token), "a token that the mask left out was drawn"


def _checked(grammar: str, where: str) -> str:
    problem = LLMatcher.validate_grammar(grammar)
    if problem:
        raise _refused(problem, where)
    return grammar


def _refused(problem: str, where: str) -> UserError:
    said = " ".join(str(problem).split())[:500]
    return UserError(where, f"cannot be enforced: {said}", "Use a schema of the parts that are known here")
