"""The card of an ended run in each of its forms, made from card.json when it is asked for."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from tunesmith.core.errors import NotFound, unknown
from tunesmith.services.card_pages import as_html, as_markdown
from tunesmith.services.run_folder import RunFolder

Card = Mapping[str, Any]


def _picture(name: str, card: Card, run: RunFolder) -> bytes:
    from tunesmith.services.card_picture import as_png  # loads Pillow

    return as_png(name, card, run.metrics())


FORMS: dict[str, tuple[str, Callable[[str, Card, RunFolder], bytes]]] = {
    "png": ("image/png", _picture),
    "html": ("text/html; charset=utf-8", lambda name, card, _: as_html(name, card).encode()),
    "md": ("text/markdown; charset=utf-8", lambda name, card, _: as_markdown(name, card).encode()),
    "json": ("application/json", lambda _, card, run: json.dumps(card, indent=2).encode()),
}
"""Ending of the file's name -> (media type, what makes it)."""


def card_file(run: RunFolder, form: str, name: str, command: str = "") -> tuple[bytes, str]:
    """(the file, its media type).

    Args:
        form: one of FORMS.
        name: how the run is called there.
        command: does the same again; where it is given, the run's own command and folder stay unsaid.

    Raises:
        NotFound: no such form, or the run has not ended.
    """
    if form not in FORMS:
        raise unknown("card", form[:20], FORMS)
    card = run.card()
    if not card:
        raise NotFound(name, "has no card yet", "It is made when the run ends")
    if command:
        card = {key: value for key, value in card.items() if key != "run_dir"} | {"reproduce": command}
    media_type, make = FORMS[form]
    return make(name, card, run), media_type
