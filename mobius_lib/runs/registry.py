"""Every run of the book, ready to be executed. Importing this imports all of them."""

from collections.abc import Callable, Mapping
from typing import Any

from mobius_lib.runs import RunError, described
from mobius_lib.runs.base import Data, Run
from mobius_lib.runs.cantor import alpha as cantor_alpha
from mobius_lib.runs.cantor import mask as cantor_mask
from mobius_lib.runs.gauge import connection as gauge_connection
from mobius_lib.runs.gauge import cooccurrence as gauge_cooccurrence
from mobius_lib.runs.gauge import cosmic as gauge_cosmic
from mobius_lib.runs.gauge import encoder as gauge_encoder
from mobius_lib.runs.gauge import kpz as gauge_kpz
from mobius_lib.runs.gauge import lens as gauge_lens
from mobius_lib.runs.gauge import network as gauge_network
from mobius_lib.runs.simplex import features as simplex_features
from mobius_lib.runs.simplex import imagenet as simplex_imagenet
from mobius_lib.runs.simplex import made as simplex_made
from mobius_lib.runs.simplex import mixture as simplex_mixture
from mobius_lib.runs.simplex import robustness as simplex_robustness
from mobius_lib.runs.simplex import tiny_features as simplex_tiny_features
from mobius_lib.runs.twistor import continual as twistor_continual
from mobius_lib.runs.twistor import length as twistor_length
from mobius_lib.runs.twistor import maps as twistor_maps
from mobius_lib.runs.twistor import text as twistor_text
from mobius_lib.runs.waves import clip as waves_clip
from mobius_lib.runs.waves import features as waves_features
from mobius_lib.runs.waves import images as waves_images
from mobius_lib.runs.waves import made as waves_made
from mobius_lib.runs.waves import tiny_features as waves_tiny_features
from mobius_lib.runs.waves import tiny_imagenet as waves_tiny_imagenet

RUNS: dict[str, Run] = {
    run.name: run
    for run in (
        waves_features.RUN,
        waves_images.RUN,
        waves_tiny_features.RUN,
        waves_tiny_imagenet.RUN,
        waves_clip.RUN,
        waves_made.RUN,
        waves_clip.RUN_WEIGHTS,
        cantor_alpha.RUN,
        cantor_mask.RUN,
        simplex_features.RUN,
        simplex_tiny_features.RUN,
        simplex_mixture.RUN,
        simplex_mixture.RUN_MODES,
        simplex_robustness.RUN,
        simplex_imagenet.RUN,
        simplex_made.RUN,
        gauge_cooccurrence.RUN,
        gauge_network.RUN,
        gauge_lens.RUN,
        gauge_encoder.RUN,
        gauge_kpz.RUN,
        gauge_connection.RUN,
        gauge_cosmic.RUN,
        twistor_text.RUN,
        twistor_maps.RUN,
        twistor_continual.RUN,
        twistor_length.RUN,
    )
}

CELLS: dict[str, Callable[[Run, Data, Mapping[str, Mapping[str, Any]]], Mapping[str, float]]] = {
    "gauge-cooccurrence": gauge_cooccurrence.cell,
    "gauge-network": gauge_network.cell,
    "gauge-lens": gauge_lens.cell,
    "gauge-encoder": gauge_encoder.cell,
    "gauge-kpz": gauge_kpz.cell,
    "gauge-connection": gauge_connection.cell,
    "gauge-cosmic": gauge_cosmic.cell,
    "twistor-text": twistor_text.cell,
    "twistor-maps": twistor_maps.cell,
    "twistor-continual": twistor_continual.cell,
    "twistor-length": twistor_length.cell,
}
"""Of each run that computes its records: from the run at a scale, its data and seed 0's records to a few of their
numbers (or lists of them), computed from scratch in at most a minute. See `replay`."""


def get_run(name: str) -> Run:
    """The run of that name.

    Raises:
        RunError: when there is none, naming those there are.
    """
    described(name)
    return RUNS[name]


def run_at(name: str, scale: str) -> Run:
    """The run of that name as it is at a scale.

    Raises:
        RunError: when there is no such run or scale.
    """
    run = get_run(name)
    if scale not in run.scales:
        raise RunError(f"The run {name} has no scale {scale!r}; it has {', '.join(run.scales)}.")
    return run if run.at_scale is None else run.at_scale(scale)
