"""Every reproduction of the book, by name. One file per run; each joins a chapter, a data set and the training loop."""

from mobius_lib.runs import (
    cantor_alpha,
    cantor_mask,
    gauge_cooccurrence,
    gauge_encoder,
    gauge_lens,
    gauge_network,
    simplex_features,
    simplex_imagenet,
    simplex_mixture,
    simplex_robustness,
    twistor_continual,
    twistor_length,
    twistor_maps,
    twistor_text,
    waves_clip,
    waves_features,
    waves_images,
    waves_tiny_imagenet,
)
from mobius_lib.runs.base import Arm, Run, RunError, Scale, execute, load_result, pick_device

RUNS: dict[str, Run] = {
    run.name: run
    for run in (
        waves_features.RUN,
        waves_images.RUN,
        waves_tiny_imagenet.RUN,
        waves_clip.RUN,
        waves_clip.RUN_WEIGHTS,
        cantor_alpha.RUN,
        cantor_mask.RUN,
        simplex_features.RUN,
        simplex_mixture.RUN,
        simplex_mixture.RUN_MODES,
        simplex_robustness.RUN,
        simplex_imagenet.RUN,
        gauge_cooccurrence.RUN,
        gauge_network.RUN,
        gauge_lens.RUN,
        gauge_encoder.RUN,
        twistor_text.RUN,
        twistor_maps.RUN,
        twistor_continual.RUN,
        twistor_length.RUN,
    )
}


def get_run(name: str) -> Run:
    """The run of that name.

    Raises:
        RunError: when there is none, naming those there are.
    """
    if name not in RUNS:
        raise RunError(f"There is no run {name!r}; there are {', '.join(RUNS)}.")
    return RUNS[name]


__all__ = ["RUNS", "Arm", "Run", "RunError", "Scale", "execute", "get_run", "load_result", "pick_device"]
