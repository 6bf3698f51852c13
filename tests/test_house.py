"""Facts about the tree: the directions of imports, what an import costs, and what git holds."""

import ast
import json
import re
import subprocess
import sys
import tomllib
import unicodedata
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import mobius_lib
from tools.dependencies import imports
from tools.house import ROOT, source_files

LIBRARY = ROOT / "mobius_lib"


def _tracked() -> list[str]:
    """What git would hand to a fresh clone, with what is not ignored and about to be added."""
    return [path.relative_to(ROOT).as_posix() for path in source_files()]


def test_imports_go_one_way():
    """The contracts of pyproject.toml, by import-linter."""
    lint = Path(sys.executable).parent / "lint-imports"
    run = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "0 broken" in run.stdout


@pytest.mark.parametrize("path", sorted(LIBRARY.glob("*/math.py")), ids=lambda path: path.parent.name)
def test_math_imports_torch_alone(path: Path):
    top = {name.split(".")[0] for name in imports(path.read_text("utf-8"))}
    assert top <= {"torch", "math", "collections"}, f"{path} imports more than torch and the standard library"


def test_importing_the_library_needs_torch_and_numpy_alone():
    """In a fresh process that refuses every other third-party module of ours."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    names = {"pyyaml": "yaml"}
    extras = {
        names.get(name, name)
        for extra in ("run", "widgets")
        for requirement in project["optional-dependencies"][extra]
        for name in [requirement.split(">")[0]]
    }
    assert "typer" in extras and "anywidget" in extras
    code = (
        "import sys\n"
        f"for name in {sorted(extras)!r}: sys.modules[name] = None\n"  # None: importing it raises ImportError
        "from mobius_lib import *\n"
        "assert MobiusNet.__module__ == 'mobius_lib.waves.net' and waves.MobiusNet is MobiusNet\n"
        "from mobius_lib import train_david\n"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    last = run.stderr.splitlines()[-1]
    assert re.fullmatch(
        r"ModuleNotFoundError: mobius_lib\.train_david needs \w+, .* pip install 'mobius_lib\[run\]'\.", last
    )


def test_every_name_of_the_library_is_where_it_is_said_to_be():
    """And nothing is imported before somebody asks."""
    code = (
        "import sys, mobius_lib\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
        "assert {*mobius_lib.HOMES, *mobius_lib.__all__} <= set(dir(mobius_lib))\n"
        "from mobius_lib import train_david, train_tiny_imagenet, waves\n"
        "assert callable(train_david) and callable(train_tiny_imagenet)\n"
        "for name in mobius_lib.HOMES: assert getattr(mobius_lib, name) is not None\n"
        "try: mobius_lib.sonar\n"
        "except AttributeError as error: print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout == "module 'mobius_lib' has no attribute 'sonar'\n"
    tree = ast.parse((LIBRARY / "__init__.py").read_text("utf-8"))
    (checked,) = (node for node in tree.body if isinstance(node, ast.If))
    named = {
        alias.name: node.module if node.module != "mobius_lib" else f"mobius_lib.{alias.name}"
        for node in checked.body
        for alias in node.names
    }
    assert named == mobius_lib.HOMES, "a type checker is told otherwise"


def test_versions_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    tree = ast.parse((LIBRARY / "__init__.py").read_text("utf-8"))
    stated = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__version__"
    ]
    assert stated == [project["version"]]


def test_requirements_pin_what_pyproject_asks_for():
    """Each direct dependency is pinned exactly once, and each pin is asked for by somebody."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    asked = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    asked = {_normal(text.split(">")[0].split("[")[0]) for text in asked} - {"mobius-lib"}
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith(("#", "-c"))]
    assert all(line.count("==") == 1 for line in pins)
    names = [_normal(line.split("==")[0]) for line in pins]
    assert sorted(names) == sorted(asked)
    constraints = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pinned = {_normal(line.split("==")[0]) for line in constraints if line and not line.startswith("#")}
    assert len(pinned) > 100 and not pinned & asked, "a direct requirement is pinned in two places"


COLAB = {"torch": "2.11.0", "numpy": "2.1.0", "ipywidgets": "7.7.1", "python": "3.13"}
"""What was preinstalled in August 2026 and must stay as it is."""


def test_what_colab_has_is_enough():
    """The set-up cell of a chapter installs what it says, and changes none of these."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = [Requirement(text) for text in (*project["dependencies"], *extras["run"], *extras["widgets"])]
    asked += [Requirement(f"python{project['requires-python']}")]
    met = {each.name: COLAB[each.name] in each.specifier for each in asked if each.name in COLAB}
    assert met == dict.fromkeys(COLAB, True)
    assert not [each.name for each in asked if "bible" in each.name], "the text is embedded; two Bibles take 144 MB"


def test_no_outputs_in_git():
    """Notebooks are kept without outputs; the built book has them."""
    notebooks = [path for path in source_files() if path.suffix == ".ipynb"]
    assert notebooks
    for path in notebooks:
        notebook = json.loads(path.read_text("utf-8"))
        assert "widgets" not in notebook["metadata"], f"{path.name} holds widget states: clear its outputs"
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                assert not cell["outputs"] and cell["execution_count"] is None, f"clear the outputs of {path.name}"


def test_nothing_made_is_tracked():
    made = {"_build", ".venv", "node_modules", "__pycache__", ".ipynb_checkpoints", "outputs"}
    assert not [name for name in _tracked() if made & set(Path(name).parts)]


def test_embedded_data_stay_small():
    """Under 30 MB with the results, as promised to whoever clones or opens the book in Colab; and at most 1.5 MB for
    the trained networks of a chapter's page."""
    sizes = {path: path.stat().st_size for path in source_files() if path.is_relative_to(ROOT / "data")}
    networks = [path for path in sizes if path.suffix == ".safetensors" and not path.name.startswith("features_")]
    assert len(networks) >= 4 and max(sizes[path] for path in networks) < 1.5e6
    assert 0 < sum(sizes.values()) - sum(sizes[path] for path in networks) < 30e6


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md"])
def test_paths_that_a_page_names_are_there(page: str):
    """Every `folder/` or `folder/file.ext` between backquotes, but for patterns and placeholders."""
    text = (ROOT / page).read_text("utf-8")
    named = set(re.findall(r"`((?:book|data|mobius_lib|tests|tools)/[\w./-]*)`", text))
    named = {name for name in named if "N_name" not in name}
    assert named or page == "CONTRIBUTING.md"
    assert not [name for name in sorted(named) if not (ROOT / name).exists()]


def test_no_file_is_named_after_its_room():
    """`runs/waves/waves_clip.py` says its chapter twice."""
    named = [path for path in source_files() if path.is_relative_to(LIBRARY)]
    assert not [path for path in named if path.name.startswith(f"{path.parent.name}_")]


def test_no_machine_paths():
    """No file names a folder of the machine it was written on."""
    forbidden = ("/ho" + "me/", "/ro" + "ot/", "/wo" + "rk/", "/Us" + "ers/")
    for path in source_files():
        if path.suffix in {".py", ".md", ".ipynb", ".toml", ".yml", ".yaml", ".txt", ".json", ".js", ".css", ""}:
            text = path.read_text("utf-8", errors="ignore")
            assert not [word for word in forbidden if word in text], f"{path} names a folder of one machine"


CHAPTERS = sorted((ROOT / "book").glob("[1-9]_*.ipynb"))
PAGES = sorted(path for path in (ROOT / "book").iterdir() if path.suffix in (".md", ".ipynb"))


def _prose(path: Path) -> str:
    if path.suffix == ".md":
        return path.read_text("utf-8")
    cells = json.loads(path.read_text("utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_a_seed_is_a_random_seed(page):
    """A source is a card, a note or a README, or has its author's name."""
    assert not re.findall(r"(?i)\bseeds? 00\d|\bthe seed\b(?! of)[^.\n]{0,40}", _prose(page))


def test_the_library_calls_a_source_by_its_name():
    """Its docstrings are pages of the book; "the seed" alone is what numbers are drawn with."""
    named = r"(?i)\bseeds? 00\d\b|\bthe seed('s)? (asks|calls|has|names|own|prints|says|table)\b|\bas in the seed\b"
    texts = {path: path.read_text("utf-8") for path in source_files() if path.suffix in (".py", ".js", ".md", ".yaml")}
    assert not {str(path): found for path, text in texts.items() if (found := re.findall(named, text))}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_a_percent_sign_stands_apart_from_its_number(page):
    text = re.sub(r"https?://\S+", "", _prose(page))
    assert not re.findall(r"\.\d%\}|\d%(?!\w)", text)


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_opens_with_its_question_its_answer_and_its_widget(chapter):
    """In this order, with the set-up folded; the answer on real data opens that section, asserted where it is computed;
    and the exercises have hints, solutions that say so, and an open end."""
    cells = json.loads(chapter.read_text("utf-8"))["cells"]
    title, set_up, answer, see, widget = cells[:5]
    assert "**The question: " in "".join(title["source"])
    assert set_up["metadata"]["tags"] == ["hide-cell"] and "setup()" in "".join(set_up["source"])
    assert answer["metadata"]["tags"] == ["remove-input"] and "**The answer" in "".join(answer["source"])
    assert "".join(see["source"]).startswith("## See it") and "Explorer()" in "".join(widget["source"])
    data = next(at for at, cell in enumerate(cells) if "".join(cell["source"]).endswith("## On real data"))
    found, code = cells[data + 1]["metadata"]["tags"], "".join(cells[data + 1]["source"])
    assert found == ["remove-input"] and "\nassert " in f"\n{code}" and "**In one sentence.** " in code
    told = [cell["metadata"].get("mystnb", {}).get("code_prompt_show") for cell in cells]
    solutions = [at for at, prompt in enumerate(told) if prompt == "Show the solution"]
    assert len(solutions) >= 4 and all(cells[at]["metadata"]["tags"] == ["hide-cell"] for at in solutions)
    assert all("*Hint:*" in "".join(cells[at - 1]["source"]) for at in solutions)
    assert "*Open-ended.*" in "".join(cells[solutions[-1] + 1]["source"])


@pytest.mark.parametrize("page", [page for page in PAGES if page.suffix == ".ipynb"], ids=lambda path: path.stem)
def test_the_set_up_of_every_page_is_folded(page):
    cells = json.loads(page.read_text("utf-8"))["cells"]
    first = next(cell for cell in cells if cell["cell_type"] == "code")
    assert "setup()" in "".join(first["source"]) and first["metadata"]["tags"] == ["hide-cell"]
    assert "set-up" in first["metadata"]["mystnb"]["code_prompt_show"]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_no_text_names_a_colour_that_one_theme_lacks(page):
    """What is black or pale on white paper is neither by night."""
    if page.suffix == ".ipynb":
        cells = json.loads(page.read_text("utf-8"))["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    else:
        text = page.read_text("utf-8")
    assert not re.findall(r"(?i)[^.\n]*\b(?:black|pale|paler|whitish)\b[^.\n]*", text)


def _minutes(chapter: Path) -> float:
    """Of reading, up to the exercises: 200 words a minute, 10 s for a displayed equation, 2 s for a line of code.

    Tables are looked up and not read; code that is folded is not counted, of a function shown by its name ten lines.
    """
    words = equations = lines = 0
    for cell in json.loads(chapter.read_text("utf-8"))["cells"]:
        source, tags = "".join(cell["source"]), cell["metadata"].get("tags", [])
        if source.startswith("## Exercises"):
            break
        if cell["cell_type"] == "markdown":
            text, found = re.subn(r"(?s)\$\$.*?\$\$", "", re.sub(r"(?m)^\|.*$", "", source))
            equations += found
            words += len(re.findall(r"\w+", re.sub(r"\$[^$]*\$|\]\([^)]*\)", " x ", text)))
        elif not tags:
            lines += sum(bool(line.strip()) for line in source.splitlines())
        else:
            lines += 10 * source.count("show_source(")
    return words / 200 + equations / 6 + lines / 30


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_is_read_in_25_minutes(chapter):
    """What its argument does not need stands in an appendix."""
    assert 5 < _minutes(chapter) < 25, f"{_minutes(chapter):.1f} minutes"


@pytest.mark.parametrize("page", [page for page in PAGES if page.suffix == ".ipynb"], ids=lambda path: path.stem)
def test_a_paragraph_is_no_wall(page):
    """At most a hundred words, so that it has one thing to say; of a displayed equation none, of one in a line one."""
    cells = json.loads(page.read_text("utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    long = []
    for paragraph in chain(*(re.split(r"\n\s*\n|\n(?=- |\d+\. )", text) for text in texts)):
        plain = re.sub(r"\$\$?[^$]*\$\$?", "x", re.sub(r"\]\([^)]*\)", "]", paragraph))
        if len(re.findall(r"\w+", plain)) > 100 and not paragraph.startswith(("|", "**References")):
            long.append(paragraph[:80])
    assert not long


def test_the_glossary_and_the_chapters_agree():
    """Its words in order; each links to the page that introduces it, and that page to it; no page to another word."""
    _, *entries = (ROOT / "book" / "glossary.md").read_text("utf-8").split("\n## ")
    words = [entry.partition("\n")[0] for entry in entries]
    plain = [unicodedata.normalize("NFKD", word).encode("ascii", "ignore").lower() for word in words]
    assert plain == sorted(set(plain)) and 30 <= len(words) <= 60
    slugs = [re.sub(r"[^\w -]", "", word.lower()).replace(" ", "-") for word in words]
    linked = {page.name: set(re.findall(r"\(glossary\.(?:md|html)#([^)]+)\)", _prose(page))) for page in PAGES}
    introduced: dict[str, set[str]] = {}
    for slug, entry in zip(slugs, entries, strict=True):
        introduced.setdefault(re.findall(r"\]\((\w+\.ipynb)\)", entry)[-1], set()).add(slug)
    assert not [slug for found in linked.values() for slug in found - {*slugs}], "these words are not in the glossary"
    assert not [slug for page, found in introduced.items() for slug in found - linked[page]], "no page introduces these"
    assert {chapter.name for chapter in CHAPTERS} <= introduced.keys()


def _normal(name: str) -> str:
    return name.strip().lower().replace("_", "-")
