"""The ledger as HTML: every row with all that is known of it, for eyes, ears and links; what is said of the sources."""

import html
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from mobius_lib.ledger import LedgerError, Verdict, page, show
from mobius_lib.ledger.page import choices, claims_table, overview, questions
from mobius_lib.ledger.sources import fill, load_sources
from mobius_lib.ledger.words import facts, measured_text, outcome_text, reported_text, verdict_text, why_text, word

SOURCES = """
sources:
  - number: "000"
    name: a < b card
    what: What it is.
    paragraph: It stands ({claim-5}), {claim-5.outcome}, said {claim-5.reported}, found {claim-5.measured} & {{so}}.
    chosen: [Of `x` we took one.]
    ask: ["Why {claim-8.measured}?", "And why not?"]
"""


class Page(HTMLParser):
    """Elements with their attributes, and the text inside elements that have an id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: dict[str, str] = {}
        self._id = ""
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tbody":
            self._id = dict(attrs).get("id") or ""
            self.rows[self._id] = ""

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._id:
            self.rows[self._id] += data


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "sources.yaml"
    path.write_text(SOURCES)
    monkeypatch.setattr(page, "load_sources", lambda: load_sources(path))
    return path


def test_every_row_holds_all_that_is_known(made_up: list[Verdict]) -> None:
    found = Page(claims_table(made_up))
    assert [*found.rows] == [v.claim.id for v in made_up]
    for v in made_up:
        text = found.rows[v.claim.id]
        said = [v.claim.statement, reported_text(v), measured_text(v), *(text for _, text in facts(v))]
        assert all(each.replace("`", "") in text for each in said), v.claim.id
        assert word(v) in text and v.basis in text  # the words, not only a sign or a colour
    assert "digit" not in [tag for tag, _ in found.tags]
    details = [attributes for tag, attributes in found.tags if tag == "details"]
    assert len(details) == len(made_up)  # without scripts each opens by itself


def test_every_row_can_be_filtered_by_what_it_is(made_up: list[Verdict]) -> None:
    found = Page(claims_table(made_up))
    options = [attributes["value"] for tag, attributes in found.tags if tag == "option"]
    rows = [attributes for tag, attributes in found.tags if tag == "tbody"]
    for row, v in zip(rows, made_up, strict=True):
        values = [str(v.claim.chapter), word(v), v.basis, v.claim.whose]
        assert [row[f"data-{key}"] for key in ("chapter", "outcome", "basis", "whose")] == values
        assert {*values, *str(row["data-source"]).split("|")} <= {*options}


def test_a_chapters_table_can_be_read_out_and_leads_to_the_ledger(made_up: list[Verdict]) -> None:
    mine = [v for v in made_up if v.claim.chapter == 2]
    view = show(made_up, chapter=2)
    found = Page(view._repr_html_())
    assert sorted(a["href"] for tag, a in found.tags if tag == "a") == sorted(f"ledger.html#{v.claim.id}" for v in mine)
    heads = [attributes["scope"] for tag, attributes in found.tags if tag == "th"]
    folded = [v.outcome for v in mine].count("reproduced")
    tables = (len(mine) - folded, folded) if folded else (len(mine),)
    assert heads == [scope for rows in tables for scope in ["col"] * 4 + ["row"] * rows]
    # blocks on a phone: only the roles still say that it is a table
    roles = {"table": "table", "tr": "row", "td": "cell", "tbody": "rowgroup"}
    assert all(attributes.get("role") == roles[tag] for tag, attributes in found.tags if tag in roles)
    assert all(f"{verdict_text(v)}  {v.claim.id}" in repr(view) for v in mine)


def test_what_holds_is_folded_away_and_what_is_undecided_says_why(every: list[Verdict]) -> None:
    for chapter in range(1, 6):
        mine = [v for v in every[: len(every) // 2] if v.claim.chapter == chapter]
        open_, _, folded = show(mine)._repr_html_().partition('<details class="ledger-held">')
        for v in mine:
            row = f'href="ledger.html#{v.claim.id}"'
            assert (row in open_, row in folded) == (not (holds := v.outcome in ("reproduced", "seen here")), holds)
            assert bool(v.why) == (v.outcome == "undecided")
            assert v.why in " ".join((v.words, *(part.words for part in v.parts)))
            shown = html.unescape(re.sub("</?code>", "", open_))
            assert not v.why or f"Undecided: {why_text(v).replace('`', '')}" in shown
        assert f"{sum(v.outcome in ('reproduced', 'seen here') for v in mine)} that hold" in folded


def test_why_is_told_in_a_few_words(made_up: list[Verdict]) -> None:
    known = {
        "Nothing is decided: 3 of at least 5 seeds; and so on.": "3 of at least 5 seeds; and more.",
        "Some 15 seeds would decide it, if they spread as these do.": "some 15 seeds would decide it.",
        "": "",
    }
    assert {why: why_text(made_up[0].model_copy(update={"why": why})) for why in known} == known


def test_a_chapter_is_judged_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(page, "judge", lambda **given: asked.append(given) or [])
    show(chapter=2)
    assert asked == [{"chapter": 2}]


def test_the_overview_counts_the_claims_of_the_sources(made_up: list[Verdict], sources: Path) -> None:
    found = Page(overview(made_up))
    asked = [a for tag, a in found.tags if tag == "a" and "whose=source" in str(a["href"])]
    for link in asked:
        number, outcome = str(link["aria-label"]).split(" ", 1)
        basis = re.search(r"basis=([a-z+]+)&", str(link["href"]))
        assert basis and int(number) == sum(
            (v.outcome, v.basis, v.claim.whose) == (outcome, basis[1].replace("+", " "), "source") for v in made_up
        )
    assert sum(int(str(a["aria-label"]).split()[0]) for a in asked) == sum(v.claim.whose == "source" for v in made_up)


def test_the_rows_of_the_sources_add_up(without_results: list[Verdict]) -> None:
    """To those of the page, where one that stands in two sources is counted with both."""
    text = overview(without_results)
    total, twice = map(int, re.search(r"<p>(\d+) rows in all; (\d+) stand in two", text).groups())  # type: ignore[union-attr]
    assert total == len(without_results)
    assert sum(map(int, re.findall(r">(\d+) rows</a>", text))) == total + twice


def test_what_is_said_of_a_source_has_its_verdicts_put_in(made_up: list[Verdict], sources: Path) -> None:
    by_id = {v.claim.id: v for v in made_up}
    third = by_id["claim-5"]
    found = Page(overview(made_up))
    said = f"said {reported_text(third)}, found {measured_text(third)} & {{so}}."
    verdict = f"{outcome_text(word(third))} · {third.basis}"
    assert f"What it is. It stands ({verdict}), {word(third)}, {said}" in found.text
    assert found.text.count("a < b card") == 1
    assert sum(a.get("href") == "#claim-5" for _, a in found.tags) == 4
    assert "<li>Of <code>x</code> we took one.</li>" in choices(made_up)
    asked = Page(questions(made_up)).text
    assert f"Why {measured_text(by_id['claim-8'])}?" in asked and "And why not?" in asked


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{claim-x}", r"no claim 'claim-x'.*claim-"),
        ("{claim-5.size}", r"A lone \{"),
        ("a } b", r"A lone \}"),
    ],
)
def test_a_slip_in_what_is_said_is_named(text: str, words: str, made_up: list[Verdict]) -> None:
    with pytest.raises(LedgerError, match=words):
        fill(text, {v.claim.id: v for v in made_up}, lambda v, aspect: "")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("name:", "named:", "`sources.0.name`: Field required"),
        ('"000"', "0", "`sources.0.number`: Input should be a valid string"),
        ("sources:", "others:", "`sources`: there is no such list"),
        ("[Of `x`", "[[Of `x`", "not valid YAML"),
    ],
)
def test_a_damaged_file_of_sources_is_named(sources: Path, old: str, new: str, words: str) -> None:
    sources.write_text(sources.read_text().replace(old, new, 1))
    with pytest.raises(LedgerError, match=re.escape(words)) as caught:
        load_sources(sources)
    assert "sources.yaml" in str(caught.value)


def test_our_sources_are_those_that_claims_name(without_results: list[Verdict]) -> None:
    """Each of ours is complete, and every place in its texts holds a claim that there is."""
    named = {place.split(":")[0] for v in without_results for place in v.claim.source}
    assert [*load_sources()] == sorted(named)
    for source in load_sources().values():
        assert source.paragraph and source.chosen and source.ask
    for text in (overview(without_results), choices(without_results), questions(without_results)):
        assert "{" not in text.split("</style>")[1]
