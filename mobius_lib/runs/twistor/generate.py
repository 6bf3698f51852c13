"""`mobius generate`: what a twistor language model writes after the words of a user, and the file that keeps one."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mobius_lib.errors import CheckpointError
from mobius_lib.files import check_writable, write_whole
from mobius_lib.runs.about import RunError
from mobius_lib.runs.base import Data
from mobius_lib.runs.devices import pick_device
from mobius_lib.runs.twistor import books as book
from mobius_lib.runs.twistor.text import SIZES, Comparison, load
from mobius_lib.twistor import ENDED, TwistorConfig, TwistorHopeArchitecture, generated

FORMAT = "mobius_lib language model 1"


def save(model: TwistorHopeArchitecture, letters: str, path: Path | str) -> None:
    """Write a model of characters into one .safetensors file, whole or not at all.

    Args:
        letters: the character of each token.
    """
    from safetensors.torch import save

    about = {"format": FORMAT, "config": json.dumps(asdict(model.config)), "letters": letters}
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    write_whole(path, save(weights, about))


def restore(path: Path | str) -> tuple[TwistorHopeArchitecture, str]:
    """The model of such a file, in evaluation mode on the CPU, and the character of each token.

    Raises:
        CheckpointError: when the file is missing, damaged, or of another kind.
    """
    from safetensors import SafetensorError, safe_open

    from mobius_lib.training.checkpoint import load_model

    if not Path(path).is_file():
        raise CheckpointError(f"There is no weights file {path}; leave out --weights, and a model is trained first.")
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read as a .safetensors file ({error}); give another one.") from error
    if about.get("format") != FORMAT:
        raise CheckpointError(f"{path} holds no language model of `mobius generate`; give a file that it has written.")
    try:
        model = TwistorHopeArchitecture(TwistorConfig(**json.loads(about["config"])))
        letters = about["letters"]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} describes no model of this library ({error}); write it anew.") from error
    load_model(model, weights, path)
    return model.eval(), letters


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
    save(model.cpu(), book.alphabet(), path)


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
