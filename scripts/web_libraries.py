"""Put the web page's two libraries beside its own scripts: from node_modules, as package-lock.json pins them.

``make web`` runs this after ``npm ci``. Licences go along; nothing of it is in version control.
"""

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "src" / "tunesmith" / "server" / "web" / "static" / "lib"
FILES = {
    "htmx.org/dist/htmx.min.js": "htmx.min.js",
    "htmx.org/LICENSE": "htmx.LICENSE",
    "uplot/dist/uPlot.iife.min.js": "uplot.min.js",
    "uplot/dist/uPlot.min.css": "uplot.min.css",
    "uplot/LICENSE": "uplot.LICENSE",
}


def main() -> None:
    TARGET.mkdir(parents=True, exist_ok=True)
    for source, name in FILES.items():
        shutil.copyfile(ROOT / "node_modules" / source, TARGET / name)
    print(f"{len(FILES)} files in {TARGET.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
