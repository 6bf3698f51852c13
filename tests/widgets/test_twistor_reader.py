"""Chapter 5's models in the page: their sums in Node, their Python side, and in a real browser what a reader does."""

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from safetensors import safe_open

from mobius_lib.datasets import data_dir, text
from mobius_lib.datasets.paths import fetch
from mobius_lib.runs.twistor import books as book
from mobius_lib.runs.twistor import reader
from mobius_lib.runs.twistor.models import RecurrentModel
from mobius_lib.runs.twistor.text import SIZES
from mobius_lib.runs.twistor.training import bits_per_character
from mobius_lib.twistor import TwistorHopeArchitecture
from mobius_lib.twistor import math as twistor
from mobius_lib.widgets.source import served
from mobius_lib.widgets.twistor_reader import PARTS, PLAIN, TwistorReader, known

LETTERS = "\n ,.123abcdefghikLxyÆæ—’"
TEXT = "a bed, a face. 12\nfeed a cab: x"
MODELS = ("twistor", "lstm")
FIRST = text.books()[reader.FIRST[0]].split("\n")[reader.FIRST[1]]
SHOWN = {" ": "␣", "\n": "↵"}
READ = "#one progress.done"
"""There once all that is typed is read."""
OFFERS = 3
"""Buttons that every widget has."""


class Engine:
    """What the worker runs."""

    _esm = served(*TwistorReader.engine)


def small(head: str = "twistor", **settings: Any) -> TwistorReader:
    """Models in which no parameter stands at its initial value, large enough for a matrix in bytes."""
    torch.manual_seed(3)
    sizes: dict[str, Any] = {"dim": 24, "num_nested_levels": 2, "num_memories": 3}
    model = TwistorHopeArchitecture(vocab_size=len(LETTERS), **sizes | settings)
    lstm = RecurrentModel("lstm", len(LETTERS), 12, 20, 2, head=head)
    with torch.no_grad():
        for parameter in [*model.parameters(), *lstm.parameters()]:
            parameter.add_(0.2 * torch.randn_like(parameter))
        if model.nested is not None:
            model.nested.plan(4)
            model.nested.clock.fill_(3)
    return TwistorReader(model, lstm, LETTERS, TEXT)


def read_in_node(in_node: Any, widget: TwistorReader, cases: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """What the worker's program tells of every token, one case after the other."""
    files = {name: base64.b64encode(content).decode() for name, content in widget.files().items()}
    script = """const bytes = (text) => Uint8Array.from(atob(text), (v) => v.charCodeAt(0)).buffer;
        if (c.files) return w.answer({ files: { weights: bytes(c.files.weights), facts: bytes(c.files.facts) } });
        const { from, rows } = w.answer({ who: c.model, off: [], most: 1e9, ...c });
        return { from, rows };"""
    return in_node(Engine, script, [{"files": files}, *cases])[1:]


def logits_of(answer: dict[str, Any]) -> torch.Tensor:
    return torch.tensor([row["logits"] for row in answer["rows"]])


# ---- the sums, in Node


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"num_recurrent_layers": 1, "hidden_dim": 32, "scales": ("slow", "fast"), "constraint": None},
        {"use_phase_compression": False, "use_adaptive_evolution_rate": False, "coupled": False, "constraint": 0.5},
        *PARTS.values(),
        {"num_recurrent_layers": 3, "num_memories": 1, "num_memory_cycles": 0, "dynamic_weights": False},
    ],
    ids=lambda settings: " ".join(settings) or "whole",
)
def test_the_page_computes_the_logits_of_the_library(in_node, settings: dict[str, Any]) -> None:
    widget = small(**settings)
    (answer,) = read_in_node(in_node, widget, [{"model": "twistor", "tokens": widget.tokens().tolist()}])
    expected = widget.logits()
    # float32's roundings over the steps, in torch; the page computes in double precision
    assert (logits_of(answer) - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize("head", ["bare", "twistor"])
def test_and_of_the_lstm(in_node, head: str) -> None:
    widget = small(head)
    (answer,) = read_in_node(in_node, widget, [{"model": "lstm", "tokens": widget.tokens().tolist()}])
    expected = widget.logits("lstm")
    assert (logits_of(answer) - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize("off", [["mobius"], ["memory"], ["nested"], ["scales"], list(PARTS)])
def test_a_part_that_is_off_is_as_in_python(in_node, off: list[str]) -> None:
    widget = small()
    whole = widget.logits()
    widget.off = " ".join(off)
    expected = widget.logits()
    (answer,) = read_in_node(in_node, widget, [{"model": "twistor", "tokens": widget.tokens().tolist(), "off": off}])
    assert (logits_of(answer) - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert (whole - expected).abs().max() > 0.01


def test_what_is_told_of_a_character(in_node) -> None:
    """Its surprise, the state of every layer, and what the slots took and gave."""
    widget = small()
    tokens = widget.tokens()
    (answer,) = read_in_node(in_node, widget, [{"model": "twistor", "tokens": tokens.tolist()}])
    rows = answer["rows"]
    assert rows[0]["bits"] is None
    bits = torch.tensor([row["bits"] for row in rows[1:]], dtype=torch.float64)
    torch.testing.assert_close(bits, widget.surprise(), rtol=0, atol=1e-4)
    model = widget.model()
    with torch.no_grad():
        x, layers = model.self_modifying(model.embedding(tokens[None]))
        share, read = model.memory._choose(x)
    states = torch.tensor(rows[-1]["points"])
    torch.testing.assert_close(states, torch.cat([layer.twistor for layer in layers]), rtol=0, atol=1e-5)
    torch.testing.assert_close(torch.tensor([row["read"] for row in rows]), read[0], rtol=0, atol=1e-5)
    written = torch.sigmoid(model.memory.pace.detach()) * share[0]
    torch.testing.assert_close(torch.tensor([row["written"] for row in rows]), written, rtol=0, atol=1e-5)


def test_only_what_is_new_is_read_again(in_node) -> None:
    widget = small()
    tokens = widget.tokens().tolist()
    other = [*tokens[:9], 0, *tokens[10:12]]
    asked = [(tokens, [], 5), (tokens, [], 1000), (tokens, [], 1000), (other, [], 1000), (other, ["memory"], 2)]
    cases = [{"model": "twistor", "tokens": each, "off": off, "most": most} for each, off, most in asked]
    answers = read_in_node(in_node, widget, [*cases, {"model": "twistor", "who": "anew", "tokens": other}])
    told = [(answer["from"], len(answer["rows"])) for answer in answers]
    assert told == [(0, 5), (5, len(tokens) - 5), (len(tokens), 0), (9, 3), (0, 2), (0, 12)]
    assert answers[3]["rows"] == answers[-1]["rows"][9:]


def test_the_points_are_those_of_the_sphere(in_node) -> None:
    state = torch.randn(5, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = torch.tensor(in_node(TwistorReader, "return w.places(c);", state.tolist()), dtype=torch.float64)
    expected = twistor.sphere(torch.stack(twistor.to_complex(state), dim=-1))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_the_number_that_is_drawn_decides(in_node) -> None:
    logits = [0.0, 2.0, -1.0, 2.0]
    shares = torch.softmax(torch.tensor(logits).double() / 0.7, 0).cumsum(0).tolist()
    numbers = [0.0, *(each + off for each in shares[:-1] for off in (-1e-9, 1e-9)), 1 - 1e-12]
    cases = [[logits, 0.7, number] for number in numbers] + [[logits, 0, 0.99]]
    assert in_node(TwistorReader, "return w.drawn(...c);", cases) == [0, 0, 1, 1, 2, 2, 3, 3, 1]


# ---- the Python side


@pytest.mark.parametrize(
    ("text", "read", "lost"),
    [
        (TEXT, TEXT.replace(":", ""), ":"),
        ("Bé X–y's", "be x—y’", "s"),  # an accent, capitals, a dash, an apostrophe
        ("4Æ…😀4", "Æ...", "4😀"),
        ("", "", ""),
    ],
)
def test_what_is_typed_becomes_what_there_is(in_node, text: str, read: str, lost: str) -> None:
    assert known(text, LETTERS) == (read, lost)
    assert in_node(TwistorReader, "return w.known(...c);", [[text, LETTERS, PLAIN]]) == [[read, lost]]


def test_the_models_are_those_of_the_page(in_node) -> None:
    """Python's weights are rounded as the page's are, and a widget made of them has the same."""
    widget = small()
    again = TwistorReader(widget.model(), widget.model("lstm"), LETTERS, TEXT)
    assert again.files() == widget.files()
    assert torch.equal(again.logits(), widget.logits())
    assert widget.parameters["twistor"] == sum(p.numel() for p in widget.model().parameters())


def test_a_model_without_a_part_offers_no_switch_for_it() -> None:
    assert small().parts == list(PARTS)
    assert small(use_mobius=False, scales=()).parts == ["memory", "nested"]


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"twistor": torch.nn.Linear(2, 2)}, TypeError, "got Linear and RecurrentModel"),
        ({"lstm": RecurrentModel("gru", len(LETTERS), 4, 4, 1)}, TypeError, "a model with LSTM cells, got Twistor"),
        ({"twistor": TwistorHopeArchitecture(vocab_size=24, dim=4, form="scan")}, ValueError, "by recurrent cells"),
        ({"twistor": TwistorHopeArchitecture(vocab_size=24, dim=4, bidirectional=True)}, ValueError, "one direction"),
        ({"twistor": TwistorHopeArchitecture(vocab_size=24, dim=4, continuum_levels=1)}, ValueError, "no continuum"),
        ({"letters": LETTERS[1:]}, ValueError, "23 letters, each once, do not fit models of 24 and 24 tokens"),
        ({"letters": "aa" + LETTERS[2:]}, ValueError, "24 letters, each once"),
    ],
)
def test_what_does_not_fit_is_refused(given: dict[str, Any], error: type[Exception], message: str) -> None:
    fitting = {
        "twistor": TwistorHopeArchitecture(vocab_size=len(LETTERS), dim=4),
        "lstm": RecurrentModel("lstm", len(LETTERS), 4, 4, 1),
        "letters": LETTERS,
    }
    with pytest.raises(error, match=message):
        TwistorReader(**fitting | given)


# ---- the book's models


@pytest.fixture(scope="module")
def shown() -> TwistorReader:
    return reader.explorer()


@pytest.fixture
def fresh(shown: TwistorReader) -> Iterator[TwistorReader]:
    """The same, as it is at first before and after a test."""
    yield shown
    shown.text, shown.off = FIRST, ""


def greedy(model: Any, tokens: torch.Tensor, most: int) -> list[int]:
    """What a model puts after some tokens, the likeliest each time."""
    found, piece, state = [], tokens.unsqueeze(0), None
    with torch.no_grad():
        for _ in range(most):
            logits, state = model.stream(piece, state)
            piece = logits[:, -1:].argmax(-1)
            found.append(int(piece))
    return found


def test_the_weights_are_as_their_file_says() -> None:
    path = fetch(reader.FILE)
    with safe_open(path, "pt") as file:
        facts = {key: json.loads(value) for key, value in file.metadata().items()}
    assert path.stat().st_size < 1.1e6
    assert facts["arms"] == reader.ARMS and facts["rates"] == reader.RATES and facts["seed"] == reader.SEED
    assert facts["sizes"]["steps"] == SIZES[reader.SCALE].steps
    test, models = book.Pieces(book.characters(book.TEST, 20_000), 1024), reader.models()
    for name, model in models.items():
        # of a part of the books, which is a little easier or harder than all of them
        assert bits_per_character(model, test) == pytest.approx(facts["test_bits"][name], abs=0.15)
        assert facts["test_bits"][name] < 1.9  # and so they have learned


def test_their_rates_are_those_that_were_found() -> None:
    record = json.loads((data_dir() / "results" / "twistor-maps.short.json").read_text("utf-8"))
    assert {name: record["arms"][arm][0]["lr"] for name, arm in reader.ARMS.items()} == reader.RATES
    sizes = {name: record["arms"][arm][0]["parameters"] for name, arm in reader.ARMS.items()}
    assert reader.explorer().parameters == sizes


def test_what_is_read_first_is_held_out(shown: TwistorReader) -> None:
    assert reader.FIRST[0] in book.TEST and shown.text == FIRST and not shown.given
    assert len(FIRST) > 60 and known(FIRST, shown.letters) == (FIRST, "")
    assert shown.megabytes < 1.5


@pytest.mark.parametrize("name", MODELS)
def test_the_books_models_compute_the_same_in_the_page(in_node, fresh: TwistorReader, name: str) -> None:
    """Logits of 300 characters, and the likeliest hundred after ten beginnings."""
    lines = text.books()["John"][:300]
    fresh.text = lines
    cases = [{"model": name, "tokens": fresh.tokens().tolist(), "who": "long"}]
    begun = [fresh.tokens()[: 12 + 7 * n] for n in range(10)]
    expected, model = fresh.logits(name), fresh.model(name)
    wanted = [[*tokens.tolist(), *greedy(model, tokens, 1)] for tokens in begun]
    wanted.append([*begun[0].tolist(), *greedy(model, begun[0], 100)])
    answers = read_in_node(in_node, fresh, cases + [{"model": name, "tokens": tokens} for tokens in wanted])
    assert (logits_of(answers[0]) - expected).abs().max() <= 1e-4
    for tokens, answer, start in zip(wanted, answers[1:], [*begun, begun[0]], strict=True):
        rows = answer["rows"]  # of the tokens that are new to the voice
        likeliest = logits_of(answer).argmax(1).tolist()
        new = len(tokens) - len(rows)
        assert likeliest[max(0, len(start) - 1 - new) : -1] == tokens[max(len(start), new + 1) :]


# ---- in a browser


@pytest.fixture
def loaded(asked: Any) -> Any:
    """The page with its models loaded, and its text read."""

    def load(width: int = 1000, phone: bool = False) -> Any:
        page = asked(width, phone)
        page.wait_for_selector(READ)
        return page

    return load


def told(page: Any) -> list[float]:
    """Bits per character, as the widget says them once everything is read: twistor, whole where it is cut, LSTM."""
    page.rest()
    page.wait_for_selector(READ)
    return [float(number) for number in re.findall(r"\d+\.\d{3}", page.inner_text("#one .mw-say"))]


def typed(page: Any, content: str) -> None:
    page.fill("#one textarea", content)
    page.wait_for_function("(t) => one.get('text') === t", arg=content)


def test_it_reads_as_python_does(loaded, fresh: TwistorReader) -> None:
    page = loaded()
    for content in (FIRST, "And he said unto them, It’s 4 o'clock: Xylophones!\nBehold", "the " * 140):
        typed(page, content)
        fresh.text = content
        assert told(page) == pytest.approx([fresh.surprise(name).mean().item() for name in MODELS], abs=1e-3)
        best = shares(fresh)
        assert f"Expected next: {best}" in page.inner_text("#one .mw-read")


def shares(widget: TwistorReader) -> str:
    """The likeliest next character, as the page says it."""
    found = torch.softmax(widget.logits()[-1], 0)
    best = int(found.argmax())
    return f"{SHOWN.get(widget.letters[best], widget.letters[best])} {round(100 * found[best].item())}\u202f%"


def test_ten_beginnings(loaded, fresh: TwistorReader) -> None:
    page = loaded()
    lines = text.books()["Daniel"].split("\n")
    for number in range(10):
        fresh.text = lines[number][: 10 + 9 * number]
        typed(page, fresh.text)
        page.wait_for_function(
            "(w) => document.querySelector('#one .mw-read').textContent.includes(w)", arg=shares(fresh)
        )


def test_a_part_that_is_off_changes_the_bits_as_in_python(loaded, fresh: TwistorReader) -> None:
    page = loaded()
    before = told(page)
    for part, words in (
        ("mobius", "No Möbius"),
        ("memory", "No memory"),
        ("nested", "No nested"),
        ("scales", "No evo"),
    ):
        page.click(f"#one button:has-text('{words}')")
        fresh.off = part
        assert page.get("off") == part
        cut, whole, other = told(page)
        assert cut == pytest.approx(fresh.surprise().mean().item(), abs=1e-3) and [whole, other] == before
        assert cut != before[0]
        page.click(f"#one button:has-text('{words}')")
    assert told(page) == before


@pytest.mark.parametrize("name", MODELS)
def test_it_goes_on_writing(loaded, fresh: TwistorReader, name: str) -> None:
    """A hundred characters; at temperature 0 those of Python."""
    page = loaded()
    page.evaluate("one.set('temperature', 0)")
    button = f"#one button:has-text('The {name if name == 'twistor' else 'LSTM'} writes on')"
    page.click(button)
    page.wait_for_selector(button, state="detached")
    page.wait_for_selector(button)
    after = "".join(fresh.letters[token] for token in greedy(fresh.model(name), fresh.tokens(), 100))
    assert page.get("text") == FIRST + after == page.input_value("#one textarea")
    page.evaluate("one.set('temperature', 1)")
    page.click(button)
    page.wait_for_function("one.get('text').length > 185")
    page.click("#one button:has-text('Stop')")
    stopped = page.get("text")
    page.rest()
    assert page.get("text") == stopped
    page.click("#one button:has-text('Reset')")
    page.rest()
    assert page.get("text") == FIRST == page.input_value("#one textarea")


def test_unknown_characters_are_told(loaded) -> None:
    page = loaded()
    typed(page, "Bré 4 X's 😀")
    page.rest()
    assert page.inner_text("#one [role=status] >> nth=0").endswith("never seen them: 4 😀")
    typed(page, "")
    page.rest()
    assert "–" in page.inner_text("#one .mw-say") and page.inner_text("#one [role=status] >> nth=0") == ""
    typed(page, "a")
    page.wait_for_selector("#one .mw-read:has-text('Expected next')")


@pytest.mark.parametrize("nothing", ["", "4😀"])
def test_what_was_told_of_a_text_goes_with_it(loaded, nothing: str) -> None:
    page = loaded()
    page.wait_for_selector("#one .mw-read:has-text('a surprise of')")
    typed(page, nothing)
    page.rest()
    assert page.inner_text("#one .mw-read") == "Type something."
    typed(page, "a")
    page.wait_for_selector("#one .mw-read:has-text('Expected next')")


def test_one_looks_at_a_character_by_slider_arrows_and_pointer(loaded) -> None:
    page = loaded()
    before = page.picture()
    page.focus("#one input[data-trait=at]")
    page.keyboard.press("ArrowLeft")
    last = len(page.get("text")) - 1
    assert page.get("at") == last - 1 and page.picture() != before
    page.focus("#one canvas")
    page.keyboard.press("ArrowLeft")
    assert page.get("at") == last - 2
    box = page.locator("#one canvas").first.bounding_box()
    page.mouse.click(box["x"] + 40 + 15 * 3.5, box["y"] + 90)
    assert 0 < page.get("at") < last - 2
    page.rest()
    assert page.inner_text("#one .mw-read").startswith(f"“{page.get('text')[page.get('at')]}”".replace(" ", "␣"))
    names = page.eval_on_selector_all("#one :is(input, textarea)", "all => all.map((e) => e.ariaLabel)")
    assert len(names) == len(set(names)) == 5 and all(names)


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_loaded_it_fits_every_width_and_a_thumb(loaded, width: int) -> None:
    phone = width < 500
    page = loaded(width, phone)
    page.evaluate("document.querySelectorAll('#one details').forEach((d) => { d.open = true; })")
    page.evaluate("one.set('text', 'm'.repeat(600)); one.set('off', 'mobius memory nested scales')")
    told(page)
    heights = page.fits(width)
    # character, temperature, turn, tilt; two pens; parts; the summary
    assert len(heights) == 4 + 2 + 4 + 1 + OFFERS
    assert min(heights) >= 44 or not phone
