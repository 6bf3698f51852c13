"""L6, which the note calls theoretical: a small variational autoencoder over the fibres of an L5. Our construction.

The note names a "FractalVAEStack", and prints no formula and no count. Papers of its author beside it give a stack
48-32-16-8 and 57,808 parameters. Ours takes these widths: three scales of N = 16 Gaussians give every row of a matrix a
fibre of 3 x 16 = 48 numbers; the autoencoder presses them into 8, and the rung keeps these 8 for each row beside the
decoder. Unlike all rungs below, it is trained by gradients.

`FractalVAEStack` is the other reading: not one autoencoder with three widths, but three of them one above the other,
each over the latents of the last.
"""

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from mobius_lib.gauge import math as gauge
from mobius_lib.gauge.base import Rung, Stored, check_matrix, relative_error, scale_of
from mobius_lib.gauge.bits import permutation_bits
from mobius_lib.gauge.meta import WINDOWS, MetaMobiusLinear

TERMS = 16
"""With three scales, 48 numbers in a fibre."""
INNER = (32, 16, 8)
"""Two middle layers, and the latent."""
STEPS = 1500
LEARNING_RATE = 3e-3
ROWS = 1024
"""In a step of training."""
CLAIMED = 57_808
"""Parameters of the stack, as papers of the note's author give it. The note itself has no count, and 570,000 times for
the rung; `FractalVAEStack.parameters_counted` says what ours come to."""
KL_WEIGHT = 1e-4
"""Of the divergence beside the squared error of a standardised fibre; ours. A larger one gives up detail for a smoother
latent space, which a stored matrix has no use for."""


class FibreVAE(nn.Module):
    """48-32-16-8 and back, tanh between the layers; the middle gives a mean and a log variance of each latent number.

    Fibres are centred and divided by one number, so that squared errors of fibres stay squared errors of the matrix.

    Args:
        fibre: F, numbers in a fibre.
        inner: the widths of the middle layers, and of the latent.
    Shape:
        fibres (M, F), latents (M, 8).
    Source:
        the widths are those of the MetaMobius note's siblings; all else is ours.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, fibre: int = 3 * TERMS, inner: Sequence[int] = INNER) -> None:
        super().__init__()
        widths = (fibre, *inner)
        self.encoder, self.decoder = _stack(widths[:-1]), _stack(widths[::-1])
        self.encoder.append(nn.Tanh())
        self.mean, self.log_variance = nn.Linear(inner[-2], inner[-1]), nn.Linear(inner[-2], inner[-1])
        self.register_buffer("centre", torch.zeros(fibre))
        self.register_buffer("scale", torch.ones(()))

    def encode(self, fibres: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and log variance of each latent number: (M, F) to twice (M, 8)."""
        h = self.encoder(self._standard(fibres))
        return self.mean(h), self.log_variance(h)

    def decode(self, latents: Tensor) -> Tensor:
        """(M, 8) to (M, F)."""
        return self.decoder(latents) * self.scale + self.centre

    def folded(self) -> nn.Sequential:
        """The decoder, which gives fibres less `centre`, divided by `scale`."""
        return self.decoder

    def loss(self, fibres: Tensor, noise: Tensor) -> Tensor:
        """Squared error in units of the fibres' spread, and `KL_WEIGHT` times the divergence from a normal latent."""
        mean, log_variance = self.encode(fibres)
        made = self.decoder(mean + noise * (log_variance / 2).exp())
        error = (made - self._standard(fibres)).square().mean()
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).mean() / 2
        return error + KL_WEIGHT * divergence

    def _standard(self, fibres: Tensor) -> Tensor:
        """Centred, and of spread 1; fibres that are all equal become 0, and are decoded exactly."""
        return (fibres - self.centre) / torch.where(self.scale > 0, self.scale, 1.0)

    def fit(self, fibres: Tensor, *, steps: int = STEPS, seed: int = 0, lr: float = LEARNING_RATE) -> Self:
        """Train on fibres of real matrices, (M, F) of one or of several; in place. The same seed gives the same.

        Raises:
            ValueError: fibres of another width, or not finite.
        """
        check_matrix(fibres, "fibres")
        if fibres.shape[1] != len(self.centre):
            raise ValueError(f"fibres must have {len(self.centre)} numbers each, not {fibres.shape[1]}.")
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                bound = parameter.shape[-1] ** -0.5 if parameter.dim() > 1 else 0.0
                parameter.copy_((2 * torch.rand(parameter.shape, generator=generator) - 1) * bound * math.sqrt(3))
            self.log_variance.bias.fill_(-4)  # little noise at first
            self.centre.copy_(fibres.mean(0))
            spread = fibres - self.centre
            size = scale_of(spread)  # whose square float32 can hold
            self.scale.copy_((spread / size).square().mean().sqrt() * size)
        _train(self.parameters(), self.loss, fibres, self.mean.out_features, steps, generator, lr)
        return self


class FractalVAEStack(nn.Module):
    """Variational autoencoders one above the other, 48 to 32, 32 to 16, 16 to 8: each over the latents of the last.

    Each has a hidden layer of its input's width. They are trained one after the other, from the fibres up, and then all
    together, since what the first one keeps need not be what the next ones can.

    Args:
        fibre: F, numbers in a fibre.
        inner: the latents of each.
    Shape:
        fibres (M, F), latents (M, 8).
    Source:
        the MetaMobius note for the name, its siblings for the widths; all else is ours.
    """

    def __init__(self, fibre: int = 3 * TERMS, inner: Sequence[int] = INNER) -> None:
        super().__init__()
        self.levels = nn.ModuleList(FibreVAE(wide, (wide, narrow)) for wide, narrow in pairwise((fibre, *inner)))

    @property
    def centre(self) -> Tensor:
        """Of the fibres: (F,)."""
        return self._level(0).centre

    @property
    def scale(self) -> Tensor:
        """Of the fibres: ()."""
        return self._level(0).scale

    def _level(self, at: int) -> FibreVAE:
        level = self.levels[at]
        assert isinstance(level, FibreVAE)
        return level

    def encode(self, fibres: Tensor, depth: int | None = None) -> tuple[Tensor, Tensor]:
        """The mean and log variance of the latents of the last level, or of that at a depth from 1 on."""
        for at in range(len(self.levels) if depth is None else depth):
            mean, log_variance = self._level(at).encode(fibres)
            fibres = mean
        return mean, log_variance

    def decode(self, latents: Tensor, depth: int | None = None) -> Tensor:
        """From the latents of the last level, or of that at a depth, to fibres."""
        for at in reversed(range(len(self.levels) if depth is None else depth)):
            latents = self._level(at).decode(latents)
        return latents

    def folded(self) -> nn.Sequential:
        """All decoders as one, which gives fibres less `centre`, divided by `scale`: a copy."""
        parts: list[nn.Module] = []
        for at in reversed(range(len(self.levels))):
            level = self._level(at)
            decoder = copy.deepcopy(level.decoder)
            last = decoder[-1]
            if at and isinstance(last, nn.Linear):
                with torch.no_grad():
                    last.weight.mul_(level.scale)
                    last.bias.mul_(level.scale).add_(level.centre)
            parts += decoder
        return nn.Sequential(*parts)

    def loss(self, fibres: Tensor, noise: Tensor) -> Tensor:
        """As `FibreVAE.loss`, through all levels; noise and divergence are those of the last latents."""
        mean, log_variance = self.encode(fibres)
        made = self.decode(mean + noise * (log_variance / 2).exp())
        error = ((made - fibres) / torch.where(self.scale > 0, self.scale, 1.0)).square().mean()
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).mean() / 2
        return error + KL_WEIGHT * divergence

    def fit(self, fibres: Tensor, *, steps: int = STEPS, seed: int = 0, lr: float = LEARNING_RATE) -> Self:
        """Train on fibres, (M, F), in place: so many steps for each level, and for all together.

        Raises:
            ValueError: as `FibreVAE.fit`.
        """
        return self.fit_levels(fibres, steps=steps, seed=seed, lr=lr).fit_together(
            fibres, steps=steps, seed=seed, lr=lr
        )

    def fit_levels(self, fibres: Tensor, *, steps: int = STEPS, seed: int = 0, lr: float = LEARNING_RATE) -> Self:
        """The first part of `fit`: each level over the latents of the last. Then all of them can be decoded."""
        latents = fibres
        for at in range(len(self.levels)):
            level = self._level(at).fit(latents, steps=steps, seed=seed + at, lr=lr)
            with torch.no_grad():
                latents = level.encode(latents)[0]
        return self

    def fit_together(self, fibres: Tensor, *, steps: int = STEPS, seed: int = 0, lr: float = LEARNING_RATE) -> Self:
        """The second part: the whole for the sake of its last latents. What lies between is then no code any more."""
        generator = torch.Generator().manual_seed(seed + len(self.levels))
        _train(self.parameters(), self.loss, fibres, self._level(-1).mean.out_features, steps, generator, lr)
        return self

    @torch.no_grad()
    def errors(self, fibres: Tensor) -> list[float]:
        """|fibres - decoded| / |fibres| when they go through the first level, the first two, and all; but for the last
        it is of levels that have been fitted alone."""
        depths = range(1, len(self.levels) + 1)
        return [relative_error(fibres, self.decode(self.encode(fibres, depth)[0], depth)) for depth in depths]

    def parameters_counted(self) -> dict[str, int]:
        """How many numbers are trained, which of them a rung keeps (the decoders), and `CLAIMED`."""
        kept = sum(p.numel() for p in self.folded().parameters())
        return {"trained": sum(p.numel() for p in self.parameters()), "kept": kept, "claimed": CLAIMED}


class Trained(NamedTuple):
    """What `train_stack` returns. Errors are |fibres - decoded| / |fibres|, through one and two levels before they are
    trained together, and through all after that."""

    stack: FractalVAEStack
    errors: list[float]
    """Of the fibres that it was trained on."""
    held_out: list[float]
    """Of fibres that it has not seen."""
    components: list[float]
    """Of the same, by as many principal components of the training fibres as each level has latents: what a plain
    linear code keeps."""


def train_stack(
    fibres: Tensor, *, held_out: float = 0.2, steps: int = STEPS, seed: int = 0, lr: float = LEARNING_RATE
) -> Trained:
    """A stack trained on some fibres and judged on the others, beside principal components.

    Args:
        fibres: (M, F), of one matrix or of several (`fibres_of`).
        held_out: the share that is drawn for judging, at least one fibre.
        steps, seed, lr: of the training, as `FractalVAEStack.fit`; the seed draws the share, too.
    Raises:
        ValueError: as `FibreVAE.fit`; a share that leaves nothing to train on or to judge.
    """
    train, test = split_fibres(fibres, held_out, seed)
    stack = FractalVAEStack(train.shape[1]).to(train).fit_levels(train, steps=steps, seed=seed, lr=lr)
    alone = [stack.errors(each) for each in (train, test)]
    stack.fit_together(train, steps=steps, seed=seed, lr=lr)
    seen, unseen = ([*levels[:-1], stack.errors(each)[-1]] for levels, each in zip(alone, (train, test), strict=True))
    directions = torch.linalg.svd(train - train.mean(0), full_matrices=False).Vh
    plain = []
    for width in INNER:
        some, centred = directions[:width], test - train.mean(0)
        plain.append(relative_error(test, train.mean(0) + centred @ some.mT @ some))
    return Trained(stack, seen, unseen, plain)


def split_fibres(fibres: Tensor, held_out: float, seed: int) -> tuple[Tensor, Tensor]:
    """Fibres to train on and fibres to judge by, as `train_stack` draws them.

    Raises:
        ValueError: a share that leaves nothing to train on or to judge.
    """
    fibres = check_matrix(fibres, "fibres")
    count = math.ceil(held_out * len(fibres))
    if not 0 < count < len(fibres):
        raise ValueError(f"held_out={held_out} of {len(fibres)} fibres leaves none to train on, or none to judge.")
    order = torch.randperm(len(fibres), generator=torch.Generator().manual_seed(seed))
    return fibres[order[count:]], fibres[order[:count]]


class CosmicLinear(Rung):
    """L6: W = decode(latents) Q, Q the orthonormal form of an L5's Gaussians (`math.symmetric_frame`).

    Q follows from mu, sigma_0 and the permutations, so it is not stored. The decoder bends the fibres, not x: the layer
    is linear. Its matrix is no nearer than the L5 of as many terms that it is made from.

    Args:
        in_features, out_features, terms, bias, device, dtype: as `Rung`; terms is N of each scale.
        windows: as `MetaMobiusLinear`.
        stack: whether the decoder is that of a `FractalVAEStack`, which is larger.
    Raises:
        ValueError: as `MetaMobiusLinear`.
    Source:
        ours, around the widths of the MetaMobius note's siblings.
    """

    level = "L6"
    places: Tensor
    centre: Tensor
    scale: Tensor

    def __init__(
        self, in_features: int, out_features: int, terms: int = TERMS, *, windows: Sequence[int] = WINDOWS,
        stack: bool = False, bias: bool = False, device: Any = None, dtype: torch.dtype | None = None,
    ) -> None:  # fmt: skip
        super().__init__(in_features, out_features, terms, bias=bias)
        l5 = MetaMobiusLinear(in_features, out_features, terms, windows=windows)
        self.windows = l5.windows
        self.mu, self.sigma_0 = nn.Parameter(l5.mu.detach()), nn.Parameter(l5.sigma_0.detach())
        self.register_buffer("places", l5.places)
        self.latents = nn.Parameter(torch.randn(out_features, INNER[-1]))
        vae = (FractalVAEStack if stack else FibreVAE)(len(self.windows) * terms)
        self.decoder = vae.folded()
        self.register_buffer("centre", vae.centre)
        self.register_buffer("scale", vae.scale * in_features**-0.5)
        self.to(device, dtype or torch.get_default_dtype())

    def frame(self) -> Tensor:
        """Q: (F, V), F = N for each window."""
        sigma = gauge.kpz_widths(self.sigma_0, self.terms)
        frames = gauge.gaussians(self.mu, sigma, self.places.to(self.mu.dtype).unsqueeze(1))
        return gauge.symmetric_frame(frames.flatten(0, 1))

    def fibres(self) -> Tensor:
        """The decoded fibre of each row: (M, F)."""
        return self.decoder(self.latents) * self.scale + self.centre

    def weight_free_forward(self, x: Tensor) -> Tensor:
        return x @ self.frame().mT @ self.fibres().mT

    def to_dense(self) -> Tensor:
        return self.fibres() @ self.frame()

    def storage(self) -> Mapping[str, Stored]:
        scales = len(self.windows)
        return {
            "latents": Stored(self.latents.numel()),
            "decoder": Stored(sum(parameter.numel() for parameter in self.decoder.parameters())),
            "centre, scale": Stored(len(self.centre) + 1),
            "mu": Stored(scales * self.terms),
            "sigma_0": Stored(scales),
            "permutations": Stored(scales * self.in_features, scales * permutation_bits(self.in_features)),
        }

    @classmethod
    def from_dense(
        cls, w: Tensor, terms: int = TERMS, *, windows: Sequence[int] = WINDOWS,
        vae: FibreVAE | FractalVAEStack | None = None, stack: bool = False, steps: int = STEPS, seed: int = 0,
    ) -> Self:  # fmt: skip
        """Of a matrix: an L5 of it, the fibres of its rows, and their latents.

        Args:
            w: (out_features, in_features).
            terms, windows: as the class.
            vae: trained on other fibres (`fibres_of`, `FibreVAE.fit`); None trains one on these. Its decoder is counted
                as stored in both cases.
            stack: whether the one that is trained here is a `FractalVAEStack`.
            steps, seed: of that training.
        Raises:
            ValueError: as the class, and for a matrix that is empty or not finite; a vae of other fibres.
        """
        l5, fibres = fibres_of(w, terms, windows=windows)
        if vae is None:
            made = (FractalVAEStack if stack else FibreVAE)(fibres.shape[1])
            vae = made.to(fibres).fit(fibres, steps=steps, seed=seed)
        if len(vae.centre) != fibres.shape[1]:
            raise ValueError(f"vae is for fibres of {len(vae.centre)} numbers, but these have {fibres.shape[1]}.")
        rung = cls(
            l5.in_features, l5.out_features, terms, windows=windows, stack=isinstance(vae, FractalVAEStack)
        ).to(fibres)  # fmt: skip
        with torch.no_grad():
            for name in ("mu", "sigma_0", "places"):
                getattr(rung, name).copy_(getattr(l5, name))
            rung.decoder.load_state_dict(vae.folded().state_dict())
            rung.centre.copy_(vae.centre)
            rung.scale.copy_(vae.scale)
            rung.latents.copy_(vae.encode(fibres)[0])
        return rung


def fibres_of(w: Tensor, terms: int = TERMS, *, windows: Sequence[int] = WINDOWS) -> tuple[MetaMobiusLinear, Tensor]:
    """An L5 of a matrix, and the fibre of each row in the orthonormal form of its Gaussians: W Q^T, (M, F).

    Raises:
        ValueError: as `MetaMobiusLinear.from_dense`.
    """
    w = check_matrix(w)
    l5 = MetaMobiusLinear.from_dense(w, terms, windows=windows)
    return l5, w @ gauge.symmetric_frame(l5.frames().detach().flatten(0, 1)).mT


def _train(
    parameters: Iterable[nn.Parameter], loss_of: Callable[[Tensor, Tensor], Tensor], fibres: Tensor, latents: int,
    steps: int, generator: torch.Generator, lr: float,
) -> None:  # fmt: skip
    """Adam on the loss of rows and noise, its rate along a cosine."""
    optimizer = torch.optim.Adam(parameters, lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        rows = fibres
        if len(fibres) > ROWS:
            rows = fibres[torch.randint(len(fibres), (ROWS,), generator=generator)]
        noise = torch.randn(len(rows), latents, generator=generator).to(rows)
        with torch.enable_grad():
            loss = loss_of(rows, noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def _stack(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for first, second in pairwise(widths):
        layers += [nn.Linear(first, second), nn.Tanh()]
    return nn.Sequential(*layers[:-1])
