"""Trains the network that chapter 1 shows in the page, and embeds its weights (some two minutes on one core).

    python data/make_network.py

Writes, below this folder, waves_network.safetensors: the state dict of the `MobiusNet` that
`mobius_lib.runs.waves.network` declares, in half precision; in its metadata the command, commit, seed, recipe and
versions, and the accuracy of the rounded weights on all embedded test pictures. Its line in SHA256SUMS is put in place.
"""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from make_data import note_hashes
from safetensors.torch import save

from mobius_lib.runs.provenance import provenance
from mobius_lib.runs.waves import images
from mobius_lib.runs.waves.network import FILE, SEED, SIZES, TRAINING, train
from mobius_lib.waves import MobiusNet

HERE = Path(__file__).resolve().parent


def main() -> None:
    made = provenance()
    state = {name: value.contiguous() for name, value in train().state_dict().items()}  # a file wants them in one row
    half = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    rounded = MobiusNet(**SIZES)
    rounded.load_state_dict(half)
    x, y = images.load().test
    with torch.no_grad():
        right = (torch.cat([rounded.eval()(part).argmax(1) for part in x.split(500)]) == y).sum().item()
    facts = {
        "command": "python data/make_network.py",
        "commit": made["commit"],
        "versions": made["versions"],
        "seed": SEED,
        "training": asdict(TRAINING),
        "test_pictures": len(y),
        "test_accuracy": right / len(y),
    }
    (HERE / FILE).write_bytes(save(half, {key: json.dumps(value) for key, value in facts.items()}))
    note_hashes([HERE / FILE])
    print(f"{FILE}: {right} of {len(y)} test pictures, {(HERE / FILE).stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
