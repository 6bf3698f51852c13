"""Chapter 5's models in the page: their sums in Node, their Python side, and in a real browser what a reader does."""

import base64
from typing import Any

import pytest
import torch

from mobius_lib.runs.twistor.models import RecurrentModel
from mobius_lib.twistor import TwistorHopeArchitecture
from mobius_lib.twistor import math as twistor
from mobius_lib.widgets.source import served
from mobius_lib.widgets.twistor_reader import PARTS, PLAIN, TwistorReader, known

LETTERS = "\n ,.123abcdefghikLxyÆæ—’"
TEXT = "a bed, a face. 12\nfeed a cab: x"


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
    return TwistorReader(model, lstm, LETTERS, text=TEXT)


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
    widget.off = off
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
    again = TwistorReader(widget.model(), widget.model("lstm"), LETTERS, text=TEXT)
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
