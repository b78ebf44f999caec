"""Errands on pages: what came of one, and a plain word where nobody knows any more."""

from fastapi import Request

from tunesmith.core.errors import NotFound
from tunesmith.services.errands import Errand, Errands

GONE = "This result is gone: results are kept until the server is started anew, or fifty others came after. Ask again."


def errand_of(request: Request, owner: str, name: str) -> Errand:
    """The errand of a page's address; as one that failed where the server has forgotten it."""
    errands: Errands = request.app.state.errands
    try:
        return errands.get(owner, name)
    except NotFound:
        return Errand(name, owner, "", "failed", problem=GONE)
