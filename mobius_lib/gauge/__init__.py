"""Chapter 4: cascades of Gaussians, transport between scales, and the ladder from L1 to L6."""

from mobius_lib.gauge.base import Compression, Rung, relative_error
from mobius_lib.gauge.baselines import BASELINES, at_bits
from mobius_lib.gauge.bridge import PRODUCTS, MobiusHarmonicBridge, Step
from mobius_lib.gauge.codes import GaugeTensor, IntegerNormal, gauge_tensor, integer_normal
from mobius_lib.gauge.compress import RUNGS, Compressed, compress
from mobius_lib.gauge.cooccurrence import cooccurrence_counts, log_cooccurrence, pair_counts
from mobius_lib.gauge.cosmic import CosmicLinear, FibreVAE, FractalVAEStack, fibres_of, train_stack
from mobius_lib.gauge.harmonic import FractalHarmonicLinear, HarmonicLinear, TriLevelHarmonicLinear
from mobius_lib.gauge.math import (
    KPZ,
    cascade,
    circulant,
    circular_convolution,
    fft_product,
    frame_transport,
    gaussians,
    holonomy,
    kernel,
    kpz_widths,
    path_ordered,
    power_law,
    transport_first_order,
)
from mobius_lib.gauge.meta import WINDOWS, Bundle, MetaMobiusLinear, bundle, connection_count, seed_count

__all__ = [
    "BASELINES",
    "KPZ",
    "PRODUCTS",
    "RUNGS",
    "WINDOWS",
    "Bundle",
    "Compressed",
    "Compression",
    "CosmicLinear",
    "FibreVAE",
    "FractalHarmonicLinear",
    "FractalVAEStack",
    "GaugeTensor",
    "HarmonicLinear",
    "IntegerNormal",
    "MetaMobiusLinear",
    "MobiusHarmonicBridge",
    "Rung",
    "Step",
    "TriLevelHarmonicLinear",
    "at_bits",
    "bundle",
    "cascade",
    "circulant",
    "circular_convolution",
    "compress",
    "connection_count",
    "cooccurrence_counts",
    "fft_product",
    "fibres_of",
    "frame_transport",
    "gauge_tensor",
    "gaussians",
    "holonomy",
    "integer_normal",
    "kernel",
    "kpz_widths",
    "log_cooccurrence",
    "pair_counts",
    "path_ordered",
    "power_law",
    "relative_error",
    "seed_count",
    "train_stack",
    "transport_first_order",
]
