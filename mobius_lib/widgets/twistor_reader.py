"""Chapter 5's second widget: trained language models that read what one types, and go on writing."""

import copy
import json
import math
import unicodedata
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from traitlets import Dict as DictTrait
from traitlets import TraitError, Unicode, validate

from mobius_lib.eight_bits import packed, unpacked
from mobius_lib.twistor import MobiusCycles, TwistorHopeArchitecture
from mobius_lib.twistor.cell import RATES
from mobius_lib.widgets.pack import Packed
from mobius_lib.widgets.source import served
from mobius_lib.widgets.traits import Float, Int, List

OWN = """from mobius_lib.widgets import TwistorReader

explorer = TwistorReader(twistor, lstm, letters, {})
model = explorer.model()
explorer"""
"""What makes the widget of models that are not the book's: whoever made it knows the arguments."""
PARTS: dict[str, dict[str, Any]] = {
    "mobius": {"use_mobius": False},
    "memory": {"use_memory": False},
    "nested": {"use_nested_learning": False},
    "scales": {"scales": ()},
}
"""What can be switched off, and the settings of a model without it."""
MOST = 600
"""Characters that are read."""
PLAIN = {"'": "’", "‘": "’", "`": "’", "´": "’", "–": "—", "\t": " "}
"""What stands for characters that many keyboards have and a book has not."""


def known(text: str, letters: str) -> tuple[str, str]:
    """A text in the characters that there are, and those that have no likeness among them, once each.

    A character that is not there is taken apart (é is an e), written in plain (a straight apostrophe is a curved one),
    or in lower case.
    """
    found, lost = [], dict[str, None]()
    for character in text:
        parts = (
            [character] if character in letters else PLAIN.get(character) or unicodedata.normalize("NFKD", character)
        )
        here = [like for part in parts if (like := part if part in letters else part.lower()) in letters]
        found += here
        if not here:
            lost[character] = None
    return "".join(found), "".join(lost)


class TwistorReader(Packed):
    """Language models of characters in the page: what they expect, how surprised they are, and what they remember.

    The reader types; a worker of the browser reads along, from weights that are fetched when they are asked for: the
    next character's distribution, the surprise at each that stands there (bits), the state of every layer as points on
    the sphere, and how much of each memory slot is read. Parts of the twistor are switched off, and a second model goes
    beside it; either writes on. The traits `text`, `at` (the character that is looked at; -1: the last), `temperature`,
    `off` (of `PARTS`, with spaces between) and `turn` can be set from Python.

    The weights of both are rounded to a byte (`eight_bits`), here as in the page.

    Args:
        twistor: trained, causal, of the form "recurrent" and without a continuum memory; copied.
        lstm: trained on the same characters, with an `embedding`, `cells` of `nn.LSTM` and a `head`, linear or linear,
            layer norm, linear; `stream(tokens, state)` as the twistor's. Copied.
        letters: the character of each token.
        first: the text that stands there at first.
        pack: name of the script that holds the files in the book's pages; "" where only a kernel has them.
        traits: further traits.
    Raises:
        TypeError: for a model of another kind.
        ValueError: for a twistor that a page does not compute, or letters that do not fit the models.
        TraitError: when a trait cannot have a value.
    Source:
        ours.
    """

    _esm = served("shared.js", "solid.js", "pack.js", "twistor_reader.js")
    _css = served("shared.css", "pack.css", "twistor_reader.css")
    recipe = Unicode(OWN).tag(sync=True)
    engine = ("tensors.js", "twistor_net.js")

    text = Unicode().tag(sync=True)
    at = Int(-1).tag(sync=True)
    temperature = Float(0.5).tag(sync=True)
    off = Unicode().tag(sync=True)
    turn = List(Float(), [0.5, 0.35]).tag(sync=True)
    letters = Unicode(read_only=True).tag(sync=True)
    plain = DictTrait(PLAIN, read_only=True).tag(sync=True)
    most = Int(MOST, read_only=True).tag(sync=True)
    parameters = DictTrait(read_only=True).tag(sync=True)
    parts = List(Unicode(), read_only=True).tag(sync=True)

    def __init__(
        self,
        twistor: TwistorHopeArchitecture,
        lstm: nn.Module,
        letters: str,
        first: str = "",
        *,
        pack: str = "",
        **traits: Any,
    ) -> None:
        if not isinstance(twistor, TwistorHopeArchitecture) or not isinstance(getattr(lstm, "cells", None), nn.LSTM):
            kinds = f"{type(twistor).__name__} and {type(lstm).__name__}"
            raise TypeError(f"TwistorReader takes a TwistorHopeArchitecture and a model with LSTM cells, got {kinds}.")
        config = twistor.config
        if config.bidirectional or config.form != "recurrent" or config.continuum_levels:
            raise ValueError("A page reads in one direction, by recurrent cells, and has no continuum memory.")
        sizes = [config.vocab_size, len(lstm.get_submodule("embedding").weight)]  # type: ignore[arg-type]
        if sizes != [len(letters)] * 2 or len(set(letters)) != len(letters):
            raise ValueError(
                f"{len(letters)} letters, each once, do not fit models of {sizes[0]} and {sizes[1]} tokens."
            )
        self._models = {name: _rounded(each) for name, each in (("twistor", twistor), ("lstm", lstm))}
        has = [twistor.config.use_mobius, twistor.memory is not None, twistor.nested is not None, bool(config.scales)]
        told = {
            "letters": letters,
            "parameters": {name: sum(p.numel() for p in each.parameters()) for name, each in self._models.items()},
            "parts": [part for part, there in zip(PARTS, has, strict=True) if there],
            "pack": pack,
            "text": first,
        }
        super().__init__(told, **traits)

    @validate("text", "at", "temperature", "off", "turn")
    def _check(self, proposal: dict[str, Any]) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        if name == "text" and len(value) > MOST:
            raise TraitError(f"text takes up to {MOST} characters, got {len(value)}.")
        if name == "at" and value < -1:
            raise TraitError(f"at is a place in the text, from 0 on, or -1 for its end; got {value}.")
        if name == "temperature" and not 0 <= value < math.inf:
            raise TraitError(f"temperature is 0 (the likeliest character) or above, got {value}.")
        if name == "off":
            if unknown := [part for part in value.split() if part not in self.parts]:
                raise TraitError(f"off names parts among {', '.join(self.parts)}; got {unknown[0]!r}.")
            value = " ".join(part for part in self.parts if part in value.split())
        if name == "turn" and not (len(value) == 2 and all(map(math.isfinite, value))):
            raise TraitError(f"turn takes 2 finite numbers, got {value}.")
        return value

    def model(self, name: str = "twistor") -> Any:
        """One of the two, "twistor" or "lstm", in evaluation mode; the twistor without the parts that are off."""
        own = self._models[name]
        if name == "lstm" or not self.off:
            return copy.deepcopy(own)
        changes = {key: value for part in self.off.split() for key, value in PARTS[part].items()}
        with torch.random.fork_rng(devices=[]):
            model = TwistorHopeArchitecture(replace(own.config, **changes))
        fresh, state = model.state_dict(), own.state_dict()
        shared = {key: state[key] for key in fresh if state[key].shape == fresh[key].shape}
        model.load_state_dict(fresh | shared)
        return model.eval()

    def tokens(self) -> Tensor:
        """What is read of the text: (T,) int64."""
        return torch.tensor([self.letters.index(each) for each in known(self.text, self.letters)[0]], dtype=torch.int64)

    @torch.no_grad()
    def logits(self, name: str = "twistor") -> Tensor:
        """What a model expects after each character of the text: (T, letters); T >= 1."""
        return self.model(name).stream(self.tokens().unsqueeze(0))[0][0]

    def surprise(self, name: str = "twistor") -> Tensor:
        """Bits of each character but the first: (T - 1,); their mean is the text's bits per character."""
        logs = torch.log_softmax(self.logits(name).double(), -1)[:-1]
        return -logs.gather(1, self.tokens()[1:, None])[:, 0] / math.log(2)

    def files(self) -> dict[str, bytes]:
        """The weights of both in a byte each (safetensors), the Möbius cycles as matrices; and what belongs to them."""
        from safetensors.torch import save

        twistor = self._models["twistor"]
        states = {"twistor": _for_the_page(twistor), "lstm": self._models["lstm"].state_dict()}
        cell = twistor.self_modifying.recurrent.forwards[0]
        facts = {"periods": cell.periods, "rates": RATES, "constraint": twistor.config.constraint}
        named = {f"{name}.{key}": value for name, state in states.items() for key, value in state.items()}
        return {"weights": save(packed(named)), "facts": json.dumps(facts).encode()}


def _rounded(model: nn.Module) -> Any:
    """A copy with the weights that a byte has, in evaluation mode on the CPU."""
    model = copy.deepcopy(model).cpu().float().eval()
    with torch.no_grad():
        for name, value in unpacked(packed(dict(model.named_parameters()))).items():
            model.get_parameter(name).copy_(value)
    return model


@torch.no_grad()
def _for_the_page(model: TwistorHopeArchitecture) -> dict[str, Tensor]:
    """Its parameters, with what is made of some of them in their place."""
    state: dict[str, Tensor] = {
        name: value for name, value in model.named_parameters() if not name.endswith((".generators", ".couplings"))
    }
    cycles = ((name, module) for name, module in model.named_modules() if isinstance(module, MobiusCycles))
    state |= {f"{name}.matrix": module.matrix() for name, module in cycles}
    if model.nested is not None:
        state["nested.level_weights"] = model.nested.level_weights()
    return state
