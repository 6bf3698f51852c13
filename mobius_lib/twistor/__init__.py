"""Chapter 5: twistors, Möbius maps, and a recurrence made of them (MT-HOPE)."""

from mobius_lib.twistor.attention import IncidenceAttention
from mobius_lib.twistor.cell import CellState, TwistorTitansCell
from mobius_lib.twistor.config import PRESETS, TwistorConfig, create_full_config, get_config
from mobius_lib.twistor.embedding import SpinorEmbedding
from mobius_lib.twistor.generation import ENDED, generated
from mobius_lib.twistor.hope import HopeState, TwistorHopeArchitecture, hide, language_objective, masked_objective
from mobius_lib.twistor.memory import PackedPhases, PhaseCompression, TwistorMemorySystem
from mobius_lib.twistor.mobius import AdaptiveMobiusLayer, MobiusCycles, MobiusLayer
from mobius_lib.twistor.nested import OmegaNestedOptimizer, PiNestedOptimizer, TwistorNestedLearning
from mobius_lib.twistor.recurrent import TwistorSelfModifyingRecurrent, TwistorTitansRecurrent
from mobius_lib.twistor.scan_cell import TwistorScanCell
from mobius_lib.twistor.self_modifying import ContinuumMemory, FastState, SelfModifyingMemory

__all__ = [
    "ENDED",
    "PRESETS",
    "AdaptiveMobiusLayer",
    "CellState",
    "ContinuumMemory",
    "FastState",
    "HopeState",
    "IncidenceAttention",
    "MobiusCycles",
    "MobiusLayer",
    "OmegaNestedOptimizer",
    "PackedPhases",
    "PhaseCompression",
    "PiNestedOptimizer",
    "SelfModifyingMemory",
    "SpinorEmbedding",
    "TwistorConfig",
    "TwistorHopeArchitecture",
    "TwistorMemorySystem",
    "TwistorNestedLearning",
    "TwistorScanCell",
    "TwistorSelfModifyingRecurrent",
    "TwistorTitansCell",
    "TwistorTitansRecurrent",
    "create_full_config",
    "generated",
    "get_config",
    "hide",
    "language_objective",
    "masked_objective",
]
