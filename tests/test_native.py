"""The gate through which tensors come to kernels."""

import pytest
import torch
from torch import Tensor

from mobius_lib import native


class Wrapped(torch.Tensor):
    """Stands for a tensor, as tracing has them."""

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return NotImplemented


BAD = {
    "strided": lambda: torch.zeros(6, 2)[:, 0],
    "repeated": lambda: torch.zeros(1).expand(6),
    "longer": lambda: torch.zeros(7),
    "shorter": lambda: torch.zeros(5),
    "half": lambda: torch.zeros(6).half(),
    "double": lambda: torch.zeros(6).double(),
    "meta": lambda: torch.zeros(6, device="meta"),
    "sparse": lambda: torch.zeros(6).to_sparse(),
    "negative view": lambda: torch._neg_view(torch.ones(6)),
    "without memory": lambda: _freed(torch.zeros(6)),
}


def _freed(x: Tensor) -> Tensor:
    x.untyped_storage().resize_(0)
    return x


@pytest.mark.parametrize("name", BAD)
def test_no_pointer_but_to_what_a_kernel_reads(name):
    with pytest.raises(ValueError, match=r"A kernel takes 6 numbers of torch\.float32 in one row on the CPU, not"):
        native.address(BAD[name](), 6)


@pytest.mark.parametrize("name", ["strided", "repeated", "half", "double", "negative view"])
def test_made_ready(name):
    given = BAD[name]()
    (made,) = native.ready(given)
    assert native.address(made, 6) == made.data_ptr()
    torch.testing.assert_close(made, given.float().clone(memory_format=torch.contiguous_format))


def test_steps_of_a_tensor_one_after_the_other():
    x = torch.arange(24.0).view(4, 3, 2)
    assert native.rows(x[1:], 3, 6) == [x[t].data_ptr() for t in (1, 2, 3)]
    assert native.rows(None, 2, 6) == [None, None] and native.address(None, 6) is None
    with pytest.raises(ValueError, match="18 numbers"):
        native.rows(x, 3, 6)


def test_what_kernels_are_not_asked_for():
    x = torch.ones(3)
    assert native.fits(x, None, torch.nn.Parameter(x)) and native.fits(x.double(), dtypes=(torch.float64,))
    for other in (x.double(), x.to("meta"), x.to_sparse(), torch.Tensor._make_subclass(Wrapped, x)):
        assert not native.fits(x, other)
    seen = []
    torch.func.vmap(lambda row: seen.append(native.fits(row)) or row)(torch.ones(2, 3))
    torch.func.grad(lambda row: seen.append(native.fits(x)) or row.sum())(x)
    with torch.autograd.forward_ad.dual_level():
        seen.append(native.fits(x))
    assert seen == [False] * 3 and native.fits(x)
