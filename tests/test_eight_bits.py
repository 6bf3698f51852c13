"""Weights in a byte each."""

import torch

from mobius_lib.eight_bits import packed, unpacked


def drawn() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    rows = torch.randn(40, 50) * torch.logspace(-6, 3, 40).unsqueeze(1)
    rows[3] = 0
    return {"large": rows, "small": torch.randn(4, 5), "row": torch.randn(5000), "clock": torch.tensor(1000)}


def test_each_row_has_its_own_scale() -> None:
    state = drawn()
    found, back = packed(state), unpacked(packed(state))
    assert found["large"].dtype == torch.int8 and found.keys() == {*state, "large.scale"}
    # half of a step, which is a 127th of the row's largest, to the 11 binary digits that a scale has
    worst = state["large"].abs().amax(1, keepdim=True) / 127 * (0.5 + 127 * 2**-11)
    assert ((back["large"] - state["large"]).abs() <= worst).all()
    assert all(torch.equal(back[name], state[name].float()) for name in ("small", "row", "clock"))


def test_what_is_packed_again_is_the_same() -> None:
    once = packed(drawn())
    again = packed(unpacked(once))
    assert all(torch.equal(once[name], again[name]) for name in once) and once.keys() == again.keys()


def test_products_are_exact_in_float32() -> None:
    """So a page, which multiplies in double precision, has the same weights."""
    once = packed(drawn())
    wide = once["large"].double() * once["large.scale"].double().unsqueeze(1)
    assert torch.equal(wide, unpacked(once)["large"].double())
