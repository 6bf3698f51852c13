"""Verdicts in a page: a chapter's table, and the ledger's own page, which needs no kernel and no network."""

import html
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from mobius_lib.ledger.base import LedgerError
from mobius_lib.ledger.components import Component, Figure, figures, load_components
from mobius_lib.ledger.sources import Source, fill, load_sources
from mobius_lib.ledger.verdicts import Verdict, judge
from mobius_lib.ledger.words import (
    BASIS,
    OUTCOME,
    basis_text,
    facts,
    legend,
    lines,
    measured_text,
    outcome_text,
    places,
    reported_name,
    reported_text,
    sources_of,
    summary_counts,
    verdict_text,
    why_text,
    word,
)

ROOM = Path(__file__).parent
NOTHING, UNMEASURED = "nothing: it is named there, and no more", "not measured"
TABLE = "the-claims"
"""The heading under which the page's table stands."""
# "dataframe": what else a cell shows, the theme frames in white by night. Rows become blocks where there is little
# room; the roles keep them a table for a screen reader.
_TABLE = '<table class="table dataframe {}" role="table">'
_HOLDS = ("reproduced", "seen here")
_HUES = {"reproduced": "good", "seen here": "good", "refuted": "bad", "not seen here": "bad"}


class Html(str):
    """Text that a notebook shows as HTML."""

    def _repr_html_(self) -> str:
        return self


@dataclass(frozen=True)
class LedgerView:
    """Verdicts that a notebook shows as a table, each linked to its row in the ledger, and a terminal as text.

    In a notebook those that hold are folded away below the others.
    """

    verdicts: tuple[Verdict, ...]

    def _repr_html_(self) -> str:
        hold = [v for v in self.verdicts if v.outcome in _HOLDS]
        others = [v for v in self.verdicts if v not in hold]
        table = self._table(others, f"<caption>{_text(summary_counts(self.verdicts))}</caption>")
        told = f"{len(hold)} that {'hold' if len(hold) > 1 else 'holds'}: reproduced, seen here, or answered with yes"
        folded = f'<details class="ledger-held"><summary>{told}</summary>{self._table(hold)}</details>'
        return framed(_legend(self.verdicts) + table + (folded if hold else ""))

    def _table(self, verdicts: Sequence[Verdict], caption: str = "") -> str:
        rows = "".join(f'<tbody role="rowgroup">{_row(v, f"ledger.html#{v.claim.id}")}</tbody>' for v in verdicts)
        names = head("Verdict", "Claim", "Reported", "Measured")
        return f"{_TABLE.format('')}{caption}{names}{rows}</table>"

    def __repr__(self) -> str:
        return "\n".join([summary_counts(self.verdicts), *(f"{verdict_text(v)}  {v.claim.id}" for v in self.verdicts)])


def show(verdicts: Sequence[Verdict] | None = None, *, chapter: int | None = None) -> LedgerView:
    """A table of verdicts, as the last expression of a notebook cell.

    Args:
        verdicts: from `judge`; None judges now, and with `chapter` that chapter's claims alone.
        chapter: keep this chapter's claims only.
    Raises:
        LedgerError: when there is no claim of that chapter.
    """
    verdicts = judge(chapter=chapter) if verdicts is None else verdicts
    return LedgerView(tuple(v for v in verdicts if chapter in (None, v.claim.chapter)))


@dataclass(frozen=True)
class ComponentsView:
    """What a chapter's sources name, as a table in a notebook; figures of claims lead to their rows in the ledger."""

    rows: tuple[tuple[Component, tuple[Figure, ...]], ...]

    def _repr_html_(self) -> str:
        names = head("Named in the source", "What it does there", "What stands here", "What it is worth")
        body = "".join(f'<tbody role="rowgroup">{_component(*row)}</tbody>' for row in self.rows)
        caption = "Code stands below <code>mobius_lib</code>. In brackets: the 95 % interval over random seeds; "
        caption += "of a claim measured small a joint one, over all such claims of its chapter."
        return framed(f"{_TABLE.format('')}<caption>{caption}</caption>{names}{body}</table>")

    def __repr__(self) -> str:
        return "\n".join(
            f"{each.name}: {', '.join(each.here) or NOTHING}; "
            + (", ".join(f"{figure.of}: {figure.text}" for figure in found) or UNMEASURED)
            for each, found in self.rows
        )


def stands_here(chapter: int) -> ComponentsView:
    """What the sources of a chapter name, and what stands here, as the last expression of a notebook cell.

    Raises:
        LedgerError: when there is no such chapter; else as `components.figures`.
    """
    mine = [each for each in load_components() if each.chapter == chapter]
    if not mine:
        raise LedgerError(f"No source names anything of a chapter {chapter}; there are 1 to 5.")
    return ComponentsView(tuple(zip(mine, map(tuple, figures(mine)), strict=True)))


def overview(verdicts: Sequence[Verdict]) -> Html:
    """How many claims of the sources came out how, by basis; then a paragraph for each source."""
    rows = ""
    for basis in BASIS:
        counts = Counter(str(v.outcome) for v in verdicts if v.basis == basis and v.claim.whose == "source")
        bar = "".join(
            f'<a class="{_HUES.get(each, "")}" style="flex-grow: {counts[each]}" aria-label="{counts[each]} {each}" '
            f'href="{_asked(basis=basis, outcome=each, whose="source")}">{sign} {counts[each]}</a>'
            for each, (sign, _) in OUTCOME.items()
            if counts[each]
        )
        rows += bar and f'<tr><th scope="row">{basis}</th><td><div class="ledger-bar">{bar}</div></td></tr>'
    said = "".join(_paragraph(source, verdicts) for source in load_sources().values())
    table = f'<table class="dataframe ledger-counts"><tbody>{rows}</tbody></table>'
    twice = sum(len(sources_of(v)) > 1 for v in verdicts)
    told = f"{len(verdicts)} rows in all; {twice} stand in two sources, and count with each of them."
    return Html(framed(f"<p>{_text(summary_counts(verdicts))}</p>{table}<p>{told}</p>{said}"))


def claims_table(verdicts: Sequence[Verdict]) -> Html:
    """All rows; they open in place. What filters, searches and orders them is page.js; without it, all are there."""
    names = head("<b>Outcome</b> · <b>Basis</b>", "<b>Claim</b>", "Reported", "Measured")
    names = re.sub("<b>(.*?)</b>", lambda m: f'<button disabled value="{m[1].lower()}">{m[1]}</button>', names)
    rows = "".join(
        f'<tbody role="rowgroup" id="{v.claim.id}" data-chapter="{v.claim.chapter}" '
        f'data-source="{"|".join(sources_of(v))}" data-basis="{v.basis}" data-outcome="{word(v)}" '
        f'data-whose="{v.claim.whose}">{_row(v)}{_more(v)}</tbody>'
        for v in verdicts
    )
    table = f"{_TABLE.format('ledger-claims')}{names}{rows}</table>"
    script = (ROOM / "page.js").read_text("utf-8")
    return Html(framed(f"{_form(verdicts)}{_legend(verdicts)}{table}<script>{script}</script>"))


def choices(verdicts: Sequence[Verdict]) -> Html:
    """What we had to choose where a source is silent."""
    return _lists(verdicts, "chosen")


def questions(verdicts: Sequence[Verdict]) -> Html:
    """What we would ask the authors."""
    return _lists(verdicts, "ask")


# Parts of a page.


def framed(inside: str) -> str:
    """Inside the element that page.css is about."""
    return f'<style>{(ROOM / "page.css").read_text("utf-8")}</style><div class="ledger">{inside}</div>'


def _legend(verdicts: Sequence[Verdict]) -> str:
    return f'<ul class="ledger-legend">{"".join(f"<li><b>{w}</b>: {m}</li>" for w, m in legend(verdicts))}</ul>'


def head(*names: str) -> str:
    """A table's head, whose names are HTML."""
    cells = "".join(f'<th scope="col" role="columnheader">{name}</th>' for name in names)
    return f'<thead role="rowgroup"><tr role="row">{cells}</tr></thead>'


def values(cells: Mapping[str, str]) -> str:
    """Cells that say what they are where rows become blocks: label to HTML."""
    named = cells.items()
    return "".join(f'<td role="cell" class="ledger-value" data-label="{label}">{text}</td>' for label, text in named)


def _row(v: Verdict, link: str = "") -> str:
    statement = f'<a href="{link}">{_text(v.claim.statement)}</a>' if link else _text(v.claim.statement)
    label = "awaits" if v.outcome == "awaits" else "measured"
    why = f"<small>Undecided: {_text(why_text(v))}</small>" if v.why else ""
    return (
        f'<tr role="row"><td role="cell" class="ledger-word">{outcome_text(word(v))}'
        f"<small> · {_text(basis_text(v))}</small></td>"
        f'<th scope="row" role="rowheader" class="ledger-claim">{statement}</th>'
        + values({reported_name(v): _text(reported_text(v)), label: _text(measured_text(v)) + why})
        + "</tr>"
    )


def _component(each: Component, found: Sequence[Figure]) -> str:
    names = ", ".join(map(_code, each.here)) or NOTHING
    worth = [
        (f'<a href="ledger.html#{f.claim}">{_text(f.of)}</a>' if f.claim else _text(f.of)) + f": {_text(f.text)}"
        for f in found
    ]
    cells = values({"there": _text(each.does), "here": names, "worth": "<br>".join(worth) or UNMEASURED})
    return (
        f'<tr role="row"><th scope="row" role="rowheader" class="ledger-claim"><b>{_text(each.name)}</b> '
        f"<small>{lines(each.source)}</small></th>{cells}</tr>"
    )


def _more(v: Verdict) -> str:
    listed = "".join(f"<dt>{_text(name)}</dt><dd>{_text(text)}</dd>" for name, text in facts(v))
    where = f"chapter {v.claim.chapter}, " + ("a question of ours" if v.claim.whose == "ours" else places(v))
    return (
        f'<tr role="row" class="ledger-more"><td role="cell" colspan="4"><details><summary><code>{v.claim.id}</code> '
        f"{where}</summary><dl>{listed}</dl></details></td></tr>"
    )


def _form(verdicts: Sequence[Verdict]) -> str:
    names = load_sources()
    found = {number for v in verdicts for number in sources_of(v)}
    fields: dict[str, dict[str, str]] = {
        "chapter": {str(chapter): str(chapter) for chapter in sorted({v.claim.chapter for v in verdicts})},
        "source": {number: f"{number} {source.name}" for number, source in names.items() if number in found},
        "outcome": {each: outcome_text(each) for each in OUTCOME if any(word(v) == each for v in verdicts)},
        "basis": {basis: basis for basis in BASIS if any(v.basis == basis for v in verdicts)},
        "whose": {"source": "claims of the sources", "ours": "questions of ours"},
    }
    selects = "".join(
        f'<label>{name}<select name="{name}"><option value="">all</option>'
        + "".join(f'<option value="{value}">{text}</option>' for value, text in options.items())
        + "</select></label>"
        for name, options in fields.items()
    )
    search = '<label>search<input type="search" name="q" placeholder="words in a row"></label>'
    return (
        f'<form class="ledger-form" hidden>{search}{selects}<input type="hidden" name="sort">'
        '<button type="button">clear</button><output></output></form>'
    )


def _paragraph(source: Source, verdicts: Sequence[Verdict]) -> str:
    mine = [v for v in verdicts if source.number in sources_of(v)]
    return (
        f'<details class="ledger-source" open><summary><b>{_text(source.name)}</b>, source {source.number}: '
        f'<a href="{_asked(source=source.number)}">{len(mine)} rows</a></summary>'
        f"<p>{_filled(source.what, verdicts)} {_filled(source.paragraph, verdicts)}</p></details>"
    )


def _lists(verdicts: Sequence[Verdict], field: str) -> Html:
    parts = ""
    for source in load_sources().values():
        items = "".join(f"<li>{_filled(text, verdicts)}</li>" for text in getattr(source, field))
        parts += items and f"<p><b>{_text(source.name)}</b></p><ul>{items}</ul>"
    return Html(framed(parts))


def _filled(text: str, verdicts: Sequence[Verdict]) -> str:
    def put(v: Verdict, aspect: str) -> str:
        words = {"outcome": word(v), "reported": reported_text(v), "measured": measured_text(v)}
        return f'<a href="#{v.claim.id}">{_text(words.get(aspect, f"{outcome_text(word(v))} · {v.basis}"))}</a>'

    return fill(_text(text), {v.claim.id: v for v in verdicts}, put)


def _asked(**filters: str) -> str:
    return html.escape(f"?{urlencode(filters)}#{TABLE}")


def _text(text: str) -> str:
    return "".join(_code(part) if i % 2 else html.escape(part) for i, part in enumerate(re.split(r"`([^`]*)`", text)))


def _code(text: str) -> str:
    """A name of code; where there is little room it goes on in the next line after a mark, and not within a word."""
    return f"<code>{re.sub(r'(?<=[._(])(?=[A-Za-z])', '<wbr>', html.escape(text))}</code>"
