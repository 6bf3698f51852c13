"""Trains the networks that chapters show in the page, and embeds their weights; and what chapter 4 makes of one.

    python data/make_network.py [waves] [simplex] [twistor] [squeezed]     # all where none is named

Writes, below this folder, each with command, commit, seed, recipe and versions in its metadata:
    waves_network.safetensors    the state dicts of the models that `mobius_lib.runs.waves.network` and
    simplex_network.safetensors  `mobius_lib.runs.simplex.network` declare, in half precision; the accuracy of the
                                 rounded weights on all embedded test rows (two minutes on one core, half a minute)
    twistor_readers.safetensors  the state dicts of the models that `mobius_lib.runs.twistor.reader` declares, in a
                                 byte a weight (`mobius_lib.eight_bits`); of each the bits per character of the
                                 validation books after training, and of the test books with the rounded weights (some
                                 four minutes)
    squeezed_network.safetensors what chapter 4 puts in the place of the matrices of waves_network.safetensors, as
                                 `mobius_lib.runs.gauge.squeezed` declares it, and the bits of each (a minute)

Their lines in SHA256SUMS are put in place.
"""

import json
import sys
from dataclasses import asdict
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from make_data import note_hashes
from safetensors.torch import save

from mobius_lib.eight_bits import packed
from mobius_lib.runs.gauge import squeezed
from mobius_lib.runs.provenance import provenance
from mobius_lib.runs.twistor import reader
from mobius_lib.runs.twistor.training import bits_per_character

HERE = Path(__file__).resolve().parent


def write(name: str, state: dict[str, torch.Tensor], made: dict[str, Any], facts: dict[str, Any]) -> None:
    command = {"command": f"python data/make_network.py {name.split('_')[0]}"}
    facts = command | {key: made[key] for key in ("commit", "versions")} | facts
    (HERE / name).write_bytes(save(state, {key: json.dumps(value) for key, value in facts.items()}))
    note_hashes([HERE / name])
    print(f"{name}: {facts}, {(HERE / name).stat().st_size:,} bytes")


def classifier(chapter: str) -> None:
    network, made = import_module(f"mobius_lib.runs.{chapter}.network"), provenance()
    state = {name: value.contiguous() for name, value in network.train().state_dict().items()}  # a file wants one row
    half = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    rounded = network.fresh()
    rounded.load_state_dict(half)
    facts = {"seed": network.SEED, "training": asdict(network.TRAINING)}
    write(network.FILE, half, made, facts | network.judged(rounded.eval()))


def twistor() -> None:
    made, comparison = provenance(), reader.prepared()
    state, bits = {}, {"validation_bits": {}, "test_bits": {}}
    for name in reader.ARMS:
        model = reader.train(name, comparison)
        bits["validation_bits"][name] = bits_per_character(model, comparison.validation)
        state |= packed(reader.to_keep(name, model))
        reader.filled(name, model, state, reader.FILE)
        bits["test_bits"][name] = bits_per_character(model, comparison.test)
    facts = {
        "seed": reader.SEED,
        "arms": reader.ARMS,
        "rates": reader.RATES,
        "sizes": asdict(comparison.sizes),
        **bits,
    }
    write(reader.FILE, state, made, facts)


def squeezed_matrices() -> None:
    made, (state, bits) = provenance(), squeezed.prepared()
    write(squeezed.FILE, state, made, {"bits": bits})


if __name__ == "__main__":
    for each in sys.argv[1:] or ("waves", "simplex", "twistor", "squeezed"):
        {"twistor": twistor, "squeezed": squeezed_matrices}.get(each, partial(classifier, each))()
