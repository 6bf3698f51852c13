"""Cosine to the centroid and distance to the nearest vertex together: the matrix products of a training step.

At k = 12, 1,000 classes and five scales the vertices are 52 of the 63 million numbers, and their product with the
batch is nearly all the work. So everything else is kept off them: forward reads the vertices three times (mean, norm,
product), backward writes their gradient once and adds to it in place, and what is kept for backward is B x C.
"""

import torch
from torch import Tensor

from mobius_lib.native import concrete
from mobius_lib.simplex.math import SMALLEST_NORM, centroid_cosine, least_product, safe_sqrt, vertex_distance
from mobius_lib.transforms import again, gradients, no_autocast

LARGEST = 2**26
"""Numbers in the largest tensor of products; beyond it classes are taken in groups."""


def cosine_and_distance(q: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """`math.centroid_cosine` and `math.vertex_distance`, values and gradients, at the cost of the products alone.

    Always at least float32, under autocast too: the distance is a difference of numbers near 1, of which bfloat16
    would leave two digits.

    Args:
        q: (B, D), of norm 1.
        v: (C, k+1, D).
    Returns:
        cosine and distance, each (B, C).
    """
    precision = torch.promote_types(torch.promote_types(q.dtype, v.dtype), torch.float32)
    with no_autocast(q):
        q, v = q.to(precision), v.to(precision)
        if not concrete(q, v) or q.shape[0] == 0:
            return centroid_cosine(q, v), vertex_distance(q, v)
        cosine, least = _Products.apply(q, v)
        return cosine, safe_sqrt(q.square().sum(-1, keepdim=True) + 2 * least)


def _readable(q: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """What `_Products` computes, in operations that torch differentiates itself."""
    return centroid_cosine(q, v), least_product(q, v)


class _Products(torch.autograd.Function):
    """(q, v) to q.u / |u| with u the centroid, and min_j (|v_j|^2 / 2 - q.v_j); both (B, C).

    Tensors of products lie classes first, (C, k+1, B): the minimum over j then runs along whole rows.
    """

    @staticmethod
    def forward(ctx, q: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        classes, corners, _ = v.shape
        centroids = v.mean(dim=1)
        norms = centroids.norm(dim=-1, keepdim=True)
        directions = centroids / norms.clamp_min(SMALLEST_NORM)
        half_squares = torch.linalg.vector_norm(v, dim=-1).square_().div_(2).unsqueeze(-1)  # (C, k+1, 1)
        least = q.new_empty(classes, len(q))
        nearest = torch.empty(classes, len(q), dtype=torch.int64, device=q.device)
        for part in _groups(classes, corners * len(q)):
            flat = v[part].flatten(0, 1)
            products = torch.addmm(half_squares[part].flatten(0, 1), flat, q.mT, alpha=-1)
            torch.min(products.view(-1, corners, len(q)), dim=1, out=(least[part], nearest[part]))
            del products  # before the next is made
        ctx.save_for_backward(q, v, norms, directions, nearest)
        return q @ directions.mT, least.mT.contiguous()

    @staticmethod
    def backward(ctx, by_cosine: Tensor, by_least: Tensor) -> tuple[Tensor | None, Tensor | None]:
        if again(by_cosine, by_least):
            return gradients(_readable, ctx.saved_tensors[:2], (by_cosine, by_least))
        with no_autocast(by_cosine):  # where backward is called under autocast
            return _gradients(*ctx.saved_tensors, *ctx.needs_input_grad, by_cosine, by_least)


def _gradients(
    q: Tensor, v: Tensor, norms: Tensor, directions: Tensor, nearest: Tensor, for_q: bool, for_v: bool,
    by_cosine: Tensor, by_least: Tensor,
) -> tuple[Tensor | None, Tensor | None]:  # fmt: skip
    """Of q and v, as far as they are wanted, from those of the two results."""
    classes, corners, dim = v.shape
    grad_q = by_cosine @ directions if for_q else None
    grad_v = torch.empty_like(v, memory_format=torch.contiguous_format) if for_v else None
    if for_v:
        # through u / |u|: what is perpendicular to u, over its length; a centroid of no direction stays
        pull = by_cosine.mT @ q
        pull -= directions * (pull * directions).sum(-1, keepdim=True)
        pull = torch.where(norms > SMALLEST_NORM, pull / (corners * norms), 0.0)
    by_least = by_least.mT.neg()
    for part in _groups(classes, corners * len(q)):
        chosen = q.new_zeros(part.stop - part.start, corners, len(q))
        chosen.scatter_(1, nearest[part].unsqueeze(1), by_least[part].unsqueeze(1))
        flat = chosen.view(-1, len(q))
        if for_q:
            grad_q.addmm_(flat.mT, v[part].reshape(-1, dim))
        if for_v:  # everything but the product in one go over the vertices, then the product onto it
            torch.addcmul(
                pull[part].unsqueeze(1), v[part], chosen.sum(-1, keepdim=True), value=-1, out=grad_v[part]
            ).view(-1, dim).addmm_(flat, q)
        del chosen, flat
    return grad_q, grad_v


def _groups(classes: int, per_class: int) -> list[slice]:
    """The classes in groups, whose products are at most LARGEST numbers where one class alone is not more."""
    size = max(1, LARGEST // max(per_class, 1))
    return [slice(start, min(start + size, classes)) for start in range(0, classes, size)]
