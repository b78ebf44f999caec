"""Scripts and styles: our own, and the two libraries that ``make web`` puts beside them."""

import hashlib
from functools import cache
from importlib.resources import files
from pathlib import Path

from fastapi import Response
from fastapi.responses import FileResponse

from tunesmith.core.errors import NotFound

FOLDER = Path(str(files("tunesmith.server.web") / "static"))
LIBRARIES = ("htmx.min.js", "uplot.min.js", "uplot.min.css")
KINDS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
FOREVER = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}


def missing() -> list[str]:
    """Libraries that were not built; the pages can be read without them."""
    return [name for name in LIBRARIES if not (FOLDER / "lib" / name).is_file()]


@cache
def address(name: str) -> str:
    """Where a file is; another one when its content is another, so that browsers may keep it."""
    digest = hashlib.sha256((FOLDER / name).read_bytes()).hexdigest()[:12]
    return f"/dashboard/static/{digest}/{name}"


def answer(name: str) -> Response:
    """
    Raises:
        NotFound: no such file.
    """
    # Looked up, and not built from the name: a name may be anything.
    file = {str(p.relative_to(FOLDER)): p for p in FOLDER.rglob("*") if p.suffix in KINDS}.get(name)
    if file is None:
        raise NotFound("static", f"no file {name[:80]!r}", "Reload the page")
    return FileResponse(file, media_type=KINDS[file.suffix], headers=FOREVER)
