"""Prompts of messages that nobody vouches for: what they say is text, whatever it looks like.

A tokenizer reads ``<|im_end|>`` as the end of a turn wherever it stands. A judge that reads a completion so would let
the completion end the question and go on with a turn of its own.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tunesmith.core.errors import UserError
from tunesmith.core.types import Ints
from tunesmith.models.chat import ChatRenderer

Messages = Sequence[Mapping[str, Any]]
MARK = "\ue000"
"""Around the number of a message in the place of its text; of the code points that mean nothing."""


def untrusted_prompt(renderer: ChatRenderer, messages: Messages) -> Ints:
    """[L] ids as of ``renderer.prompt``, but special tokens come from the template alone.

    Raises:
        UserError: as ``prompt``; or a text that this tokenizer cannot but read as a special token.
    """
    special = {i for i, token in renderer.tokenizer.added_tokens_decoder.items() if token.special}
    forged = [i for i, message in enumerate(messages) if not special.isdisjoint(renderer.inner(_text(message)))]
    if not forged:
        return renderer.prompt(messages)
    held = [{**m, "content": f"{MARK}{i}{MARK}" if i in forged else _text(m)} for i, m in enumerate(messages)]
    pieces = re.split(f"{MARK}(\\d+){MARK}", renderer.prompt_text(held))
    backend = type(renderer.backend).from_str(renderer.backend.to_str())
    backend.encode_special_tokens = True
    ids = [] if renderer.has_template else list(renderer.bos)
    for i, piece in enumerate(pieces):
        if i % 2 == 0:
            ids += renderer.inner(piece).tolist()
            continue
        plain = backend.encode(_text(messages[int(piece)]), add_special_tokens=False).ids
        if not special.isdisjoint(plain):
            raise UserError("messages", "hold a special token that cannot be read as text", "Leave it out")
        ids += plain
    return np.array(ids, np.int32)


def _text(message: Mapping[str, Any]) -> str:
    """What it says, without what is kept for the places of others."""
    return str(message.get("content") or "").replace(MARK, "")
