"""What the sources name: every row stands on code, commands, claims and records that are there, in every chapter."""

import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name

import pytest

from mobius_lib.ledger import LedgerError, stands_here
from mobius_lib.ledger.components import Component, figures, load_components
from mobius_lib.ledger.page import NOTHING, UNMEASURED, ComponentsView
from tests.commands import parsed
from tests.ledger.test_page import Page

COMPONENTS = load_components()
CHAPTERS = sorted((Path(__file__).resolve().parents[2] / "book").glob("[1-5]_*.ipynb"))
ONE = """
components:
  - chapter: 1
    name: MobiusLens
    source: "000:9"
    does: a gate
    here: [waves.MobiusLens]
    worth:
      - {of: more, check: run_difference, arguments: {run: waves-features, better: lens, than: gelu}, unit: points}
"""


@pytest.mark.parametrize("each", COMPONENTS, ids=lambda each: f"{each.chapter} {each.name}")
def test_what_stands_here_is_there(each: Component) -> None:
    """A name, with an argument that it takes; or a command with its options."""
    for name in each.here:
        if name.startswith("mobius "):
            parsed(name)
            continue
        path, argument = re.fullmatch(r"([\w.]+)(?:\((\w+)\))?", name).groups()  # type: ignore[union-attr]
        found = resolve_name(f"mobius_lib.{path}")
        assert found is not None and (argument is None or argument in inspect.signature(found).parameters), name


def test_every_figure_has_its_evidence() -> None:
    """No reference to a record leads nowhere, and no two rows of a chapter have one name."""
    found = figures(COMPONENTS)
    for each, told in zip(COMPONENTS, found, strict=True):
        assert [figure.of for figure in told] == [worth.of for worth in each.worth]
        assert not [figure for figure in told if figure.text == UNMEASURED], each.name
    assert len({(each.chapter, each.name) for each in COMPONENTS}) == len(COMPONENTS)
    assert {each.chapter for each in COMPONENTS} == {1, 2, 3, 4, 5}


def test_a_figure_from_another_chapters_run_says_so() -> None:
    """Chapter 2's staircase stands in chapter 3's classifier, and its mask in a run of its own."""
    found = zip(COMPONENTS, figures(COMPONENTS), strict=True)
    told = {(each.chapter, figure.claim): figure.text for each, row in found for figure in row}
    assert told[2, "cantor-term-helps"].endswith(", from `simplex-tiny-features` of chapter 3")
    assert "of chapter" not in told[3, "cantor-term-helps"] + told[2, "mask-coadaptation"]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_shows_its_table_before_its_verdicts(path: Path) -> None:
    cells = ["".join(cell["source"]) for cell in json.loads(path.read_text("utf-8"))["cells"]]
    at = next(i for i, text in enumerate(cells) if text.startswith("### What the source names and what stands here"))
    assert f"stands_here(chapter={path.name[0]})" in cells[at + 1]
    assert cells[at + 2].startswith("### Reported and measured")


def load(tmp_path: Path, text: str) -> list[Component]:
    path = tmp_path / "components.yaml"
    path.write_text(text)
    return load_components(path)


def test_a_figure_is_a_paired_mean_with_its_interval(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    """Of differences of 1, 2 and 3 points the mean is 2, and Student's half width 4.303 / sqrt 3."""
    (one,) = load(tmp_path, ONE)
    lens, gelu = ([{"final_accuracy": 0.8 + step * i / 100} for i in (1, 2, 3)] for step in (2, 1))
    write_run("waves-features", {"tuning": dict.fromkeys(("lens", "gelu"), TUNED)}, lens=lens, gelu=gelu)
    assert [[figure.text for figure in told] for told in figures([one], tmp_path)] == [["2 points (−0.484 to 4.48)"]]
    write_run("waves-features", {"tuning": {"lens": TUNED, "gelu": TUNED | {"lr": 0.1}}}, lens=lens, gelu=gelu)
    assert figures([one], tmp_path)[0][0].text.startswith("? undecided: 2 points (−0.484 to 4.48); the best learning")
    write_run("waves-features", {"tuning": {"lens": TUNED, "gelu": TUNED}, "stale": "old"}, lens=lens, gelu=gelu)
    assert figures([one], tmp_path)[0][0].text == "↻ stale: 2 points (−0.484 to 4.48)"
    (tmp_path / "waves-features.short.json").unlink()
    assert figures([one], tmp_path)[0][0].text == UNMEASURED


def test_a_yes_or_no_is_said_once(tmp_path: Path) -> None:
    found = []
    for claim in ("transport-shares", "position-attention", "clip-top1"):
        (one,) = load(tmp_path, re.sub(r"check: .*unit: points", f"claim: {claim}", ONE))
        found.append(figures([one], tmp_path)[0][0].text)
    assert found[:2] == ["✗ no", "◐ partly: ✓ another input; ✗ the same input elsewhere"]
    assert re.fullmatch("… awaits: `mobius run waves-clip .*`", found[2])


TUNED = {"lr": 0.01, "held_out": {"0.001": 0.7, "0.01": 0.8, "0.1": 0.7}}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("name:", "named:", "`components.0.name`: Field required"),
        ('"000:9"', '"9"', "`components.0.source.0`: String should match"),
        ("check: run_difference", "check: run_differences", "there is no check 'run_differences'"),
        ("than: gelu", "then: gelu", "the check run_difference takes"),
        ("of: more,", "of: more, claim: works,", "give a `claim`, or a `check`"),
        ("components:", "parts:", "`components`: there is no such list"),
    ],
)
def test_a_slip_is_named(tmp_path: Path, old: str, new: str, words: str) -> None:
    with pytest.raises(LedgerError, match=re.escape(words)):
        load(tmp_path, ONE.replace(old, new, 1))


def test_a_claim_or_chapter_that_is_not_there_is_named(tmp_path: Path) -> None:
    (one,) = load(tmp_path, re.sub(r"check: .*unit: points", "claim: worke", ONE))
    with pytest.raises(LedgerError, match="No claim is called 'worke'; there are works"):
        figures([one])
    with pytest.raises(LedgerError, match="a chapter 6"):
        stands_here(6)


def test_a_table_can_be_read_out_and_leads_to_the_ledger(tmp_path: Path) -> None:
    (one,) = load(tmp_path, re.sub(r"check: .*unit: points", "claim: params-base", ONE))
    bare = one.model_copy(update={"name": "a < b", "here": [], "worth": []})
    view = ComponentsView(((one, tuple(figures([one])[0])), (bare, ())))
    html = view._repr_html_()
    found = Page(html)
    assert [a["href"] for tag, a in found.tags if tag == "a"] == ["ledger.html#params-base"]
    assert [attributes["scope"] for tag, attributes in found.tags if tag == "th"] == ["col"] * 4 + ["row"] * 2
    roles = {"table": "table", "tr": "row", "td": "cell", "tbody": "rowgroup"}
    assert all(attributes.get("role") == roles[tag] for tag, attributes in found.tags if tag in roles)
    labels = [attributes["data-label"] for tag, attributes in found.tags if tag == "td"]
    assert labels == ["there", "here", "worth"] * 2  # on a phone each cell says what it is
    assert "a &lt; b" in html and NOTHING in found.text and UNMEASURED in found.text
    assert "<code>waves.<wbr>MobiusLens</code>" in html and "33.71 M" in found.text
    assert "33.71 M" in repr(view) and NOTHING in repr(view)
