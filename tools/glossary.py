"""The entries of the built glossary as a script: a page that is read from disk shows them beside a word, too."""

import json
from pathlib import Path

from bs4 import BeautifulSoup


def write_entries(html: Path) -> None:
    """Write `_static/glossary-entries.js` from `book/glossary.html`; nothing where the book has no glossary.

    Args:
        html: the folder of the built pages.
    """
    page = html / "book" / "glossary.html"
    if not page.is_file():
        return
    sections = BeautifulSoup(page.read_text("utf-8"), "html.parser").select("section#glossary > section[id]")
    entries = {str(section["id"]): str(section.p) for section in sections}
    script = f"window.GLOSSARY = {json.dumps(entries, ensure_ascii=False)};\n"
    (html / "_static" / "glossary-entries.js").write_text(script, "utf-8")
