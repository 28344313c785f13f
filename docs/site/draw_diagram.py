"""Draws the diagram of a page in Mermaid's words as the picture that the site shows: ``pictures/<page>.svg``.

    npm pack mermaid@11 && tar xf mermaid-11*.tgz
    python docs/site/draw_diagram.py docs/architecture.md package/dist/mermaid.min.js

Needs npm and chromium; the picture is committed, so that the site is built without either.
"""

import argparse
import hashlib
import re
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

FLOWCHART = {"htmlLabels": False, "wrappingWidth": 400}
SETTINGS = {"startOnLoad": False, "theme": "neutral", "htmlLabels": False, "flowchart": FLOWCHART}
DRAW = "async ([settings, text]) => { mermaid.initialize(settings); return (await mermaid.render('d', text)).svg }"


def draw(page: Path, library: Path) -> Path:
    """Write the picture of the first diagram of a page, which carries the SHA-256 of the words."""
    words = re.search(r"^```mermaid\n(.*?)\n```", page.read_text(encoding="utf-8"), flags=re.M | re.S)[1]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        tab = browser.new_page()
        tab.add_script_tag(path=library)
        svg = tab.evaluate(DRAW, [SETTINGS, words])
        browser.close()
    picture = page.parent / "pictures" / f"{page.stem}.svg"
    picture.write_text(f"<!-- {hashlib.sha256(words.encode()).hexdigest()} -->\n{svg}\n", encoding="utf-8")
    return picture


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path, help="page in Markdown")
    parser.add_argument("library", type=Path, help="mermaid.min.js")
    options = parser.parse_args()
    print(draw(options.page, options.library))
