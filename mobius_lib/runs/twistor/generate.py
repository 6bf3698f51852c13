"""`mobius generate`: what a language model writes after the words of a user."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mobius_lib.files import check_writable
from mobius_lib.runs.about import RunError
from mobius_lib.runs.base import Data
from mobius_lib.runs.devices import pick_device
from mobius_lib.runs.provenance import provenance
from mobius_lib.runs.twistor import books as book
from mobius_lib.runs.twistor.text import SIZES, Comparison, load
from mobius_lib.runs.twistor.weights import FILE, restore, save
from mobius_lib.twistor import ENDED, generated

PROMPT = "In the beginning"


def asked(words: Sequence[str]) -> tuple[Path | None, str]:
    """The weights, if some are named, and the prompt: of [WEIGHTS] [PROMPT].

    Raises:
        RunError: for more words than these.
    """
    *named, prompt = words or [PROMPT]
    if not named and (prompt.endswith(".safetensors") or os.path.isfile(os.path.join(prompt, FILE))):
        named, prompt = [prompt], PROMPT
    if len(named) > 1:
        raise RunError(f"Give a file of weights and a prompt, in quotation marks, not {len(words)} words.")
    return (Path(named[0]) if named else None), prompt


def trained(scale: str, device: str, path: Path, say: Callable[[str], None]) -> None:
    """Train the twistor of twistor-text at a scale, with random seed 0, and `save` it; nothing where that is done.

    Raises:
        RunError: when there is no such scale, or the file cannot be written.
    """
    if scale not in SIZES:
        raise RunError(f"There is no scale {scale!r}; --scale is {', '.join(SIZES)}.")
    if path.is_file():
        say(f"reading {path}; delete it to train anew")
        return
    check_writable(path, error=RunError, advice="give another --work")  # now, and not after the training
    say(f"training the twistor of twistor-text at {scale} scale, once")
    sizes = SIZES[scale]
    place, data, comparison = pick_device(device), load(sizes), Comparison(sizes)
    (text, validation), (test, nothing) = data.train, data.test
    comparison.prepare(Data((text.to(place), validation.to(place)), (test.to(place), nothing)))
    rate = sizes.rates[len(sizes.rates) // 2]
    model, outcome = comparison.trained("twistor", 0, rate, sizes.steps, sizes.intervals)
    say(f"{outcome.history[-1]['validation_bits']:.2f} bits a character on held-out text; kept in {path}")
    about = {"run": "twistor-text", "scale": scale, "arm": "twistor", "seed": 0, **provenance()}
    save(model, book.alphabet(), path, about)


def written(
    path: Path | str, prompt: str, length: int, *, stop: str = "", device: str = "auto", **options: Any
) -> Iterator[str]:
    """The characters that a kept model writes after a prompt, as they come.

    Args:
        stop: characters of which each ends the text.
        options: temperature, top_k, seed; of `generation.generated`.
    Raises:
        RunError: for a prompt or a stop with a character that the model does not know, no prompt, or an option that
            cannot be.
    """
    model, letters = restore(path)
    if not prompt:
        raise RunError("The prompt is empty; give at least one character for the model to go on from.")
    place = pick_device(device)
    tokens = book.encode(prompt, letters).to(place).unsqueeze(0)
    ends = set(book.encode(stop, letters).tolist()) if stop else set()
    try:
        made = generated(model.to(place), tokens, length, stop=ends, **options)
    except ValueError as error:
        raise RunError(str(error)) from error
    return (letters[int(token)] for token in made if token != ENDED)
