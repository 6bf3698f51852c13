"""`make book`: what is executed, when, and what happens when a cell fails."""

import copy
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import nbformat
import pytest

from mobius_lib.twistor.fast import memory, nested, scan, step, turn
from mobius_lib.waves.fast import native as lens
from tests.book.small import notebook_of, write
from tools import glossary, packs
from tools.build_book import Book, build_kernels
from tools.house import ROOT, BuildError, notebooks, pages
from tools.one_at_a_time import one_at_a_time


@pytest.mark.slow
def test_a_book_is_built_once_and_again_when_the_library_changes(small_book: Book, capfd: pytest.CaptureFixture[str]):
    root = small_book.root
    marks, page = root / "marks.txt", small_book.html / "book/page.html"
    assert not small_book.is_current()
    assert small_book.make()
    assert marks.read_text("utf-8") == "1\n"  # executed once, and these outputs are those that the page shows
    assert "There is no npm: the pages will load MathJax from a CDN." in capfd.readouterr().out
    assert page.read_text("utf-8").count("const THEBE_JS_URL") == 1  # of the theme's two one would be an error
    assert small_book.is_current() and not small_book.make()

    page.unlink()  # only the first page is there
    assert not small_book.is_current()
    assert small_book.make() and page.is_file()
    assert marks.read_text("utf-8") == "1\n"

    write(root, {"book/intro.md": "# The same book\n\n[a page](page.ipynb)\n"})
    assert small_book.make()
    assert marks.read_text("utf-8") == "1\n"  # prose only: nothing executed
    assert "The same book" in (small_book.html / "book/intro.html").read_text("utf-8")

    write(root, {"mobius_lib/__init__.py": "ONE = 1234567\n"})
    assert not small_book.is_current()
    assert small_book.make()
    assert marks.read_text("utf-8") == "1\n1234567\n"
    assert "1234567" in page.read_text("utf-8")


@pytest.mark.compiler
@pytest.mark.slow
def test_the_pages_tell_of_no_kernel_that_is_built(
    small_book: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    """On a machine that has none yet; its compiler makes libraries without anything in them, in no time."""
    real = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    words = f'for word; do out="$word"; done; echo | {real} -shared -fPIC -x c - -o "$out"'
    monkeypatch.setenv("CXX", f"sh -c {shlex.quote(words)} sh")
    monkeypatch.setenv("MOBIUS_CACHE", str(tmp_path / "cache"))
    write(small_book.root, {"book/page.ipynb": notebook_of("import os\nprint(os.listdir(os.environ['MOBIUS_CACHE']))")})
    monkeypatch.setattr(Book, "build_html", lambda book, local_assets: None)
    assert small_book.make()
    assert "kernels" in small_book.executed(small_book.root / "book/page.ipynb").cells[1].outputs[0].text
    said = capfd.readouterr()
    assert said.out.count("Building") == 1 and "Building" not in said.err
    for module in (memory, nested, scan, step, turn, lens):
        with suppress(AttributeError):  # there is no function in it
            module.library.__wrapped__()
    assert capfd.readouterr().err == ""
    monkeypatch.setenv("CXX", "nowhere")
    build_kernels()
    assert capfd.readouterr().out.startswith("No C++ kernel is built: CXX names 'nowhere'")


@pytest.mark.slow
def test_a_failing_cell_stops_the_build_with_its_traceback(small_book: Book, capfd: pytest.CaptureFixture[str]):
    write(small_book.root, {"book/page.ipynb": notebook_of("1", "left = 1\nassert left == 2, 'left is wrong'")})
    where = r"book/page\.ipynb failed after \d+ s in cell 2 of 2: the cell and its traceback are above\."
    with pytest.raises(BuildError, match=where):
        small_book.make()
    said = capfd.readouterr().out
    assert "left is wrong" in said and "AssertionError" in said
    assert not small_book.html.exists() and not small_book.is_current()
    with pytest.raises(BuildError):  # and the failure is not taken for a result
        small_book.make()


@pytest.mark.slow
def test_outputs_that_were_damaged_are_made_again(small_book: Book):
    small_book.execute([small_book.root / "book/page.ipynb"])
    assert small_book.stale() == []
    (kept,) = (small_book.build_dir / ".jupyter_cache").rglob("*.ipynb")
    kept.write_text(kept.read_text("utf-8")[:100], "utf-8")
    assert len(small_book.stale()) == 1
    small_book.execute([small_book.root / "book/page.ipynb"])
    assert small_book.stale() == []


@pytest.mark.slow
def test_a_build_that_was_killed_passes_for_no_earlier_one(small_book: Book, monkeypatch: pytest.MonkeyPatch):
    assert small_book.make()
    first = (small_book.root / "book/intro.md").read_text("utf-8")
    write(small_book.root, {"book/intro.md": "# Another book\n\n[a page](page.ipynb)\n"})
    with monkeypatch.context() as patch:
        # the pages are there, and the process ends before it has written that down
        patch.setattr("tools.build_book.listing", lambda folder: sys.exit(137))
        patch.setattr(Book, "_holds", lambda book, inputs: False)
        with pytest.raises(SystemExit):
            small_book.make()
    write(small_book.root, {"book/intro.md": first})
    assert not small_book.is_current()
    assert small_book.make() and "The book" in (small_book.html / "book/intro.html").read_text("utf-8")


@pytest.mark.slow
def test_two_builds_at_once(small_book: Book):
    """The second waits for the first, says so, and finds everything done."""
    code = (
        "import sys; from pathlib import Path; from tools import build_book; "
        "build_book.npm_available = lambda: False; print(build_book.Book(Path(sys.argv[1])).make())"
    )
    command = [sys.executable, "-c", code, str(small_book.root)]
    builds = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [build.communicate(timeout=300)[0] for build in builds]
    assert [build.returncode for build in builds] == [0, 0]
    assert sorted(text.splitlines()[-1] for text in said) == ["False", "True"]
    waited = next(text for text in said if text.endswith("False\n"))
    assert waited.startswith("Another process is building the book in this checkout; waiting")
    assert (small_book.root / "marks.txt").read_text("utf-8") == "1\n"


def test_a_lock_ends_with_its_holder(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    code = (
        "import sys, time; from pathlib import Path; from tools.one_at_a_time import one_at_a_time\n"
        "with one_at_a_time(Path(sys.argv[1]), 'busy'): print('held', flush=True); time.sleep(600)"
    )
    lock = tmp_path / "a folder to be made" / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(lock)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        holder.kill()
    with one_at_a_time(lock, "busy") as waited:
        assert not waited
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_a_warning_stops_the_build(small_book: Book, capfd: pytest.CaptureFixture[str]):
    write(small_book.root, {"book/intro.md": "# The book\n\n[nowhere](missing.md)\n"})
    with pytest.raises(BuildError, match="Jupyter Book could not build the pages, or warned"):
        small_book.make()
    assert "missing.md" in capfd.readouterr().out
    assert not small_book.is_current()


def test_a_training_cell_goes_on_when_it_is_run_again_and_shows_how_far_it_is():
    """In every notebook: its work is kept in a folder that has the same name the next time."""
    cells = [
        cell.source
        for notebook in notebooks()
        for cell in nbformat.read(notebook, nbformat.NO_CONVERT).cells
        if cell.cell_type == "code" and "execute(" in cell.source
    ]
    assert len(cells) >= 5
    for source in cells:
        assert 'Path("outputs", "' in source and "work=" in source, source
        assert "progress" not in source and "tempfile" not in source, source


def test_what_widgets_fetch_later_lies_beside_the_pages_that_ask(tmp_path: Path):
    config = {"sphinx": {"config": {"html_static_path": ["book/style"]}}}
    write(tmp_path, {"book/uses.ipynb": "{}"})
    assert packs.write_packs(copy.deepcopy(config), tmp_path) == config
    write(tmp_path, {f"book/{page}.ipynb": "{}" for page in packs.PACKED} | {"_build/packs/older.js": ""})
    written = packs.write_packs(copy.deepcopy(config), tmp_path)["sphinx"]["config"]["html_static_path"]
    assert written == ["book/style", "_build/packs"]
    found = {pack.name: pack.stat().st_size for pack in (tmp_path / "_build/packs").iterdir()}
    assert found.keys() == {"waves-network.js", "simplex-network.js", "squeezed-network.js", "twistor-readers.js"}
    assert max(found.values()) < 2.5e6


def test_the_entries_of_the_glossary_come_as_a_script(tmp_path: Path):
    """Read by a page that may fetch nothing; the first paragraph of each entry, as it stands in the page."""
    (tmp_path / "_static").mkdir()
    glossary.write_entries(tmp_path)
    assert not any((tmp_path / "_static").iterdir()), "a book without a glossary has no entries"
    words = '<section id="a-word"><h2>A word</h2><p>It <em>means</em> “this”.</p><p>More.</p></section>'
    write(tmp_path, {"book/glossary.html": f'<section id="glossary"><h1>Glossary</h1><p>All.</p>{words}</section>'})
    glossary.write_entries(tmp_path)
    script = (tmp_path / "_static/glossary-entries.js").read_text("utf-8")
    assert json.loads(script.removeprefix("window.GLOSSARY = ").removesuffix(";\n")) == {
        "a-word": "<p>It <em>means</em> “this”.</p>"
    }


def test_a_citation_leads_to_its_reference():
    references = (ROOT / "book/references.md").read_text("utf-8")
    labels = re.findall(r"^\((.*)\)=\n- ", references, re.MULTILINE)
    assert len(labels) == len(set(labels)) == len(re.findall("^- ", references, re.MULTILINE)) > 40
    for notebook in notebooks():
        cells = [c.source for c in nbformat.read(notebook, nbformat.NO_CONVERT).cells if c.cell_type == "markdown"]
        linked = {label for cell in cells for label in re.findall(r"\]\(#([^)]*)\)", cell)}
        assert linked <= set(labels), notebook.name
        for cited in (cell for cell in cells if cell.startswith("**References.**")):
            works = re.findall(r"\*, (?:19|20)\d\d", cited)
            assert works and cited.count("](#") >= len(works), notebook.name


def test_every_page_of_the_contents_is_there():
    stems = [page.stem for page in pages()]
    assert stems[0] == "intro" and {"1_waves", "ledger", "notation", "references"} <= set(stems)
    toc = {page.name for page in pages()}
    left = {path.name for path in (ROOT / "book").iterdir() if path.suffix in {".md", ".ipynb"}} - toc
    assert not left, f"not in _toc.yml, so in nobody's book: {sorted(left)}"
    assert not (ROOT / "book" / "_static").exists(), "every script in there would be loaded by every page"


def test_no_error_and_no_stderr_in_the_executed_notebooks(book: Book):
    for notebook in notebooks():
        for cell in book.executed(notebook).cells:
            if cell.cell_type == "code" and cell.source.strip():
                assert cell.execution_count is not None
                for output in cell.outputs:
                    assert output.output_type != "error"
                    assert output.get("name") != "stderr", f"{notebook.name} warns: {output.text}"


def test_a_second_make_book_does_nothing(book: Book):
    """The command itself: in seconds, and no page is written again."""
    stamps = {path: path.stat().st_mtime_ns for path in book.html.rglob("*.html")}
    record = book.record_file.read_bytes()
    run = subprocess.run(
        [sys.executable, "-m", "tools.build_book"], cwd=ROOT, capture_output=True, text=True, timeout=60, env=os.environ
    )
    assert run.returncode == 0, run.stderr
    assert "up to date" in run.stdout and "webbrowser" in run.stdout.splitlines()[-1]
    assert stamps == {path: path.stat().st_mtime_ns for path in book.html.rglob("*.html")}
    assert book.record_file.read_bytes() == record
    assert set(json.loads(record)["notebooks"]) == {f"book/{path.name}" for path in notebooks()}
