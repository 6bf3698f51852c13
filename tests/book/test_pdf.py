"""`make pdf`: small pages become one file, with what they show, and with links that stay within it."""

from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader

from tools import pdf

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><link rel="icon" href="data:,"><style>
.toggle-hidden, .shut {{ display: none; }}
</style></head><body><nav>Elsewhere</nav><article class="bd-article"><section id="top">
<h1>{title}<a class="headerlink">#</a></h1>
<p><a href="{link}">A link</a> and <a href="https://example.org/">another</a>.</p>
<div class="cell_output"><script type="application/vnd.jupyter.widget-view+json">{{}}</script></div>
<div class="toggle-hidden">The solution of {title}.</div>
<details class="hide"><summary>Show the code</summary>print(1)</details><h2 id="end">The end of {title}</h2>
</section></article><script>
setTimeout(() => {{  // as a widget comes: late
    const area = document.createElement("div");
    area.className = "widget-subarea";
    area.innerHTML = `<canvas aria-label="a red field" width="60" height="40"></canvas>
        <label>omega<input type="range"></label><button>Press here</button>`;
    document.querySelector(".cell_output").replaceChildren(area);
    const drawn = area.querySelector("canvas").getContext("2d");
    drawn.fillStyle = "#f00";
    drawn.fillRect(0, 0, 60, 40);
}}, 2000);
</script></body></html>"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A built book of two pages; the first leads into the second, the second to the first and to a page of no book."""
    (tmp_path / "book").mkdir()
    (tmp_path / "book/one.html").write_text(PAGE.format(title="1 · Stairs", link="two.html#end"), "utf-8")
    (tmp_path / "book/two.html").write_text(PAGE.format(title="2 · Basins", link="../search.html"), "utf-8")
    return tmp_path


def test_a_book_in_one_file(browser: Any, folder: Path, tmp_path: Path):
    pdf.write(browser, folder, ["one", "two"], tmp_path / "out.pdf", "The little book")
    assert not (tmp_path / "out.part").exists()
    book = PdfReader(tmp_path / "out.pdf")
    title, contents, one, two = [page.extract_text() for page in book.pages]
    assert "The little book" in title
    lines = " ".join(contents.split())
    assert "1 · Stairs 3" in lines and "2 · Basins 4" in lines
    assert "The solution of 1 · Stairs." in one and "The solution of 2 · Basins." in two
    for text in (one, two):
        assert not [word for word in ("Elsewhere", "omega", "Press", "Show the code", "print(1)", "#") if word in text]
    (picture,) = book.pages[2].images
    assert picture.image.convert("RGB").getpixel((5, 5)) == (255, 0, 0)

    links = [note.get_object() for page in book.pages for note in page.get("/Annots", [])]
    web = [link["/A"]["/URI"] for link in links if "/URI" in link.get("/A", {})]
    assert web == ["https://example.org/"] * 2, "a page of no book is no link"
    others = [link for link in links if "/URI" not in link.get("/A", {})]
    inside = {str(link.get("/Dest") or link["/A"]["/D"]).lstrip("/") for link in others}
    assert inside == {"one", "two", "two--end"}
    assert [entry.title for entry in book.outline if not isinstance(entry, list)][-2:] == ["1 · Stairs", "2 · Basins"]


def test_without_a_browser(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pdf.browser, "chromium", lambda: None)
    with pytest.raises(SystemExit, match="A PDF is printed by a Chromium, and there is no Chromium here: `apt install"):
        pdf.main()
