"""Memory slots that every step writes to, each at its own pace, and reads from."""

import math
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from mobius_lib import transforms
from mobius_lib.native import ready
from mobius_lib.products import Linear
from mobius_lib.twistor.checks import check_carried, check_count, check_twistor, check_width, is_whole
from mobius_lib.twistor.fast.choice import known_backend, works
from mobius_lib.twistor.fast.linear_scan import linear_scan
from mobius_lib.twistor.fast.memory import MemoryNative, library
from mobius_lib.twistor.fast.turning import turn
from mobius_lib.twistor.mobius import MobiusCycles, matrices

KEPT = {8: torch.int8, 16: torch.int16}
"""Bits of a phase that is kept, and its type: a turn has 2^bits equal parts."""


@dataclass(frozen=True)
class PackedPhases:
    """Twistors as `PhaseCompression.pack` keeps them, (2n bits / 8 + 8) bytes each in place of 16n (of float32)."""

    phase: Tensor
    """(..., 2, n), of a type of `KEPT`."""
    size: Tensor
    """(..., 2)."""

    @property
    def nbytes(self) -> int:
        """Of all of it."""
        return self.phase.nbytes + self.size.nbytes

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the twistors that are kept: (..., 4n)."""
        return (*self.phase.shape[:-2], 4 * self.phase.shape[-1])

    def detach(self) -> Self:
        """The same; no gradient goes through what is kept."""
        return self


class PhaseCompression(nn.Module):
    """A twistor by the phases of its components, and one size each for omega and pi.

    The sizes of the components are replaced by a learned profile times one number, fitted by least squares; so 4n real
    numbers become 2n phases and 2 sizes. What that loses is `error`, which is reported and can be trained down.

    Args:
        dim: width 4n of the twistors.
    Shape:
        (..., 4n) to (..., 4n): what comes back.
    Attributes:
        log_profile: (2, n), initially 0: all components of one size.
    Source:
        the MT-HOPE README asks for compression by phase; the form is ours.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        check_width("dim", dim)
        self.dim, self.log_profile = dim, nn.Parameter(torch.zeros(2, dim // 4))

    @property
    def ratio(self) -> float:
        """Numbers kept per number given: (2n + 2) / 4n."""
        return (self.dim // 2 + 2) / self.dim

    def compress(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(..., 4n) to phases in radians (..., 2, n) and sizes (..., 2)."""
        real, imag, _, size = _polar(x, self.log_profile.exp())
        return torch.atan2(imag, real), size

    def decompress(self, phase: Tensor, size: Tensor) -> Tensor:
        """The twistor of phases and sizes: `forward` is this after `compress`, but for components near 0.

        One of length r has no phase to speak of where r is not much more than 1e-6. `forward` shortens it by a factor
        r / (r^2 + 1e-12)^(1/2), which takes 0 to 0 and has a gradient there; here it is as long as the others.
        """
        length = size.unsqueeze(-1) * self.log_profile.exp()
        return torch.stack([length * torch.cos(phase), length * torch.sin(phase)], dim=-2).flatten(-3)

    @torch.no_grad()
    def pack(self, x: Tensor, bits: int = 8) -> PackedPhases:
        """What `compress` gives with the phases rounded to 2^bits parts of a turn; bits is 8 or 16."""
        phase, size = self.compress(x)
        half = 2 ** (_known_bits(bits) - 1)
        steps = (phase * (half / math.pi)).round().nan_to_num()  # of a NaN its size tells
        return PackedPhases((torch.remainder(steps + half, 2 * half) - half).to(KEPT[bits]), size)

    def unpack(self, packed: PackedPhases) -> Tensor:
        """(..., 4n) again: off from `decompress` by at most pi / 2^bits times the length of each component."""
        half = torch.iinfo(packed.phase.dtype).max + 1
        size = packed.size.to(self.log_profile.dtype)
        return self.decompress(packed.phase.to(size.dtype) * (math.pi / half), size)

    def error(self, x: Tensor, bits: int | None = None) -> Tensor:
        """|x - forward(x)|^2 / |x|^2 over all rows together: a scalar in [0, 1], 0 where x is 0.

        Args:
            bits: of the phases that are kept (`pack`), whose rounding then counts too; None rounds nothing.
        """
        back = self(x) if bits is None else self.unpack(self.pack(x, bits))
        return (x - back).square().sum() / x.square().sum().clamp_min(torch.finfo(x.dtype).tiny)

    def forward(self, x: Tensor) -> Tensor:
        return _by_phase(x, self.log_profile.exp())


Slots = Tensor | PackedPhases


class TwistorMemorySystem(nn.Module):
    """K slots, each a twistor; every step writes to them and then reads from them.

        M_k(t) = (1 - w_k(t)) M_k(t-1) + w_k(t) turn_k(v(t)),  w_k(t) = alpha_k softmax_k(key x(t)),
        y(t) = x(t) + out(sum_k softmax_k(query x(t)) phase(M_k(t)))

    What makes slots different, where the public code's stay identical: each has a pace alpha_k of its own, Möbius
    cycles of its own that start far from those of the others, a learned start, and its share of the writing. Slots
    belong to a row of the batch, not to the model: they start anew with each sequence, or go on from a given state, and
    no row sees another's.

    As the weights depend on the input alone, all steps are one scan; for float32 on a CPU, one sweep in C++.

    Args:
        dim: width 4n of the twistors.
        num_memories: K, at least 1.
        num_cycles: Möbius cycles of every slot; 0 leaves them out. coupled: False leaves out J; see `MobiusCycles`.
        update_rate: alpha of the fastest slot at first; each further one is slower by a factor 1/2.
        use_phase_compression: read the slots as `PhaseCompression` gives them back.
        slot_bits: 8 or 16: the slots are returned as `PackedPhases` of so many bits, to be carried on in a fraction of
            the memory, by which reading in pieces is no longer exact (`reconstruction_error`) and no gradient goes from
            one piece to the next; None: as they are.
        backend: one of `choice.BACKENDS`; "eager" is the scan, the others the sweep in C++; the same numbers.
    Shape:
        (batch, time, 4n) and slots (batch, K, 4n), packed or not, or None for the learned start, to (batch, time, 4n)
        and the slots after the last step. Causal.
    Raises:
        ValueError: for sizes that cannot be, an empty sequence, or slots of another model or batch.
    Source:
        the MT-HOPE README: M(t+1) = f(M(t), h(t), alpha) with alpha about 0.1, cycles, phase compression.
    """

    def __init__(
        self,
        dim: int,
        num_memories: int = 3,
        num_cycles: int = 2,
        *,
        coupled: bool = True,
        update_rate: float = 0.1,
        use_phase_compression: bool = True,
        slot_bits: int | None = None,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        check_width("dim", dim)
        check_count("num_memories", num_memories)
        if not 0 < update_rate < 1:
            raise ValueError(f"update_rate must lie between 0 and 1, not {update_rate!r}.")
        if slot_bits is not None and not use_phase_compression:
            raise ValueError("slot_bits keeps slots by their phases, so it needs use_phase_compression=True.")
        self.dim, self.num_memories, self.backend = dim, num_memories, known_backend(backend)
        self.slot_bits = None if slot_bits is None else _known_bits(slot_bits)
        paces = update_rate * 0.5 ** torch.arange(num_memories)
        self.pace = nn.Parameter(torch.logit(paces))
        self.start = nn.Parameter(torch.randn(num_memories, dim) / 8)
        self.select = Linear(dim, 2 * num_memories)  # key and query in one product
        self.value, self.out = Linear(dim, dim), Linear(dim, dim)
        # near the identity all slots would hear the same, and stay alike
        self.cycles = nn.ModuleList(
            MobiusCycles(dim, num_cycles, anywhere=True, coupled=coupled)
            for _ in range(num_memories if num_cycles else 0)
        )
        self.compression = PhaseCompression(dim) if use_phase_compression else None

    def trajectory(self, x: Tensor, slots: Slots | None = None) -> Tensor:
        """The slots after every step: (batch, time, 4n) to (batch, time, K, 4n)."""
        turns = matrices(self.cycles) if self.cycles else None
        weight = torch.sigmoid(self.pace) * self._choose(x)[0]
        return _written(self.value(x), turns, weight, self._start(x, slots)).transpose(0, 1)

    def forward(self, x: Tensor, slots: Slots | None = None) -> tuple[Tensor, Slots]:
        check_twistor("x", x, self.dim, ("batch", "time"))
        share, attention = self._choose(x)
        turns = matrices(self.cycles) if self.cycles else None
        profile = None if self.compression is None else self.compression.log_profile.exp()
        weight, start = torch.sigmoid(self.pace) * share, self._start(x, slots)
        given: list[Any] = ready(self.value(x), turns, weight, attention, profile, start, dtype=self.start.dtype)
        with transforms.no_autocast(x):
            swept = self.backend != "eager" and works(library, *given)
            mixed, last = MemoryNative.apply(_sweep, *given) if swept else _sweep(*given)
        if self.compression is not None and self.slot_bits is not None:
            last = self.compression.pack(last, self.slot_bits)
        return x + self.out(mixed), last

    def reconstruction_error(self, slots: Tensor) -> float:
        """What phase compression loses of some slots, as a share of their squared length; 0 without compression.

        Where slots are kept packed, the rounding of their phases counts too.
        """
        return 0.0 if self.compression is None else self.compression.error(slots.detach(), self.slot_bits).item()

    def _choose(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """How much of a step each slot takes, and how much of its reading each gives: (B, T, K) twice."""
        key, query = self.select(x).chunk(2, dim=-1)
        return torch.softmax(key, dim=-1), torch.softmax(query, dim=-1)

    def _start(self, x: Tensor, slots: Slots | None) -> Tensor:
        want = (x.shape[0], self.num_memories, self.dim)
        if slots is None:
            return self.start.expand(want)
        if not isinstance(slots, Tensor | PackedPhases) or tuple(slots.shape) != want:
            there = tuple(slots.shape) if isinstance(slots, Tensor | PackedPhases) else type(slots).__name__
            raise ValueError(f"slots must have the shape {want} of this model and batch, not {there}; begin with None.")
        check_carried("slots", slots if isinstance(slots, Tensor) else slots.size, self.start)
        if isinstance(slots, Tensor):
            return slots.to(self.start.dtype)
        if self.compression is None:
            raise ValueError("slots are packed by phases, but this model has no phase compression to unpack them.")
        return self.compression.unpack(slots).to(self.start.dtype)


def _known_bits(bits: int) -> int:
    """The bits of a kept phase.

    Raises:
        ValueError: when no phase is kept in so many.
    """
    if not is_whole(bits) or bits not in KEPT:
        raise ValueError(f"bits of a kept phase are one of {', '.join(map(str, KEPT))}, not {bits!r}.")
    return int(bits)


def _written(value: Tensor, turns: Tensor | None, weight: Tensor, start: Tensor) -> Tensor:
    """The slots after every step: (T, B, K, 4n)."""
    value = value.transpose(0, 1).unsqueeze(2)
    value = value if turns is None else turn(value, turns)
    weight = weight.transpose(0, 1).unsqueeze(-1)
    return linear_scan(1 - weight, weight * value, start)


def _sweep(
    value: Tensor, turns: Tensor | None, weight: Tensor, attention: Tensor, profile: Tensor | None, start: Tensor
) -> tuple[Tensor, Tensor]:
    """What `MemoryNative` gives, by the scan."""
    written = _written(value, turns, weight, start)
    read = written if profile is None else _by_phase(written, profile)
    mixed = (attention.transpose(0, 1).unsqueeze(-1) * read).sum(2).transpose(0, 1)
    return mixed, written[-1].clone()  # a view would keep all steps alive


def _polar(x: Tensor, profile: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Real and imaginary parts and lengths (..., 2, n), and the sizes that fit the profile best (..., 2)."""
    real, imag = x.unflatten(-1, (2, 2, -1)).unbind(-2)
    length = (real.square() + imag.square() + 1e-12).sqrt()  # a component of 0 has no phase, and stays 0
    return real, imag, length, (length * profile).sum(-1) / profile.square().sum(-1)


def _by_phase(x: Tensor, profile: Tensor) -> Tensor:
    """`PhaseCompression` by its profile, (2, n)."""
    real, imag, length, size = _polar(x, profile)
    scale = size.unsqueeze(-1) * profile / length
    return torch.stack([real * scale, imag * scale], dim=-2).flatten(-3)
