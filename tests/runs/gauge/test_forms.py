"""Matrices in every form: the rungs are the library's, the bits are counted, and the rivals get no more of them."""

from collections import Counter

import pytest
import torch

from mobius_lib.gauge import relative_error
from mobius_lib.runs.gauge import forms as gauge_forms
from mobius_lib.runs.gauge.forms import Form

BITS = 32
"""Of a float."""


@pytest.fixture(scope="module")
def made() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator) for shape in ((6, 4), (40, 60), (90, 24))]


@pytest.fixture(scope="module")
def compressed(made) -> list[Form]:
    with torch.no_grad():
        return gauge_forms.compressed(made, (2, 8))


def test_every_arm_has_every_number_of_gaussians(compressed):
    found = Counter((form.arm, form.known.get("terms")) for form in compressed)
    per_terms = set(gauge_forms.ARMS) - {"dense", "4 bits"}
    assert found == Counter({("dense", None): 1, ("4 bits", None): 1} | {(a, n): 1 for a in per_terms for n in (2, 8)})


def test_rungs_are_those_of_the_library_and_their_bits_are_counted(made, compressed):
    whole = [w.numel() * BITS for w in made]
    kept = 0
    for form in compressed:
        if form.arm not in gauge_forms.RUNGS:
            continue
        stored = 0
        for w, matrix, bits, most in zip(made, form.matrices, form.bits, whole, strict=True):
            rung = gauge_forms.RUNGS[form.arm].from_dense(w, min(form.known["terms"], w.shape[1]))
            if rung.stored_bits() < most:
                assert torch.equal(matrix, rung.to_dense()) and bits == rung.stored_bits()
                stored += rung.compression_ratio().stored
            else:
                kept += 1
                assert torch.equal(matrix, w) and bits == most
                stored += w.numel()
        assert form.known["stored"] == stored and form.known["seconds"] > 0
    assert kept, "no layer was kept as it is, so that was not tested"


def test_compressors_stay_within_the_bits_of_l5_layer_by_layer(made, compressed):
    l5 = {form.known["terms"]: form for form in compressed if form.arm == "L5"}
    seen = 0
    for form in compressed:
        if form.arm not in gauge_forms.BASELINES:
            continue
        for w, matrix, bits, most in zip(made, form.matrices, form.bits, l5[form.known["terms"]].bits, strict=True):
            assert bits <= most
            if most == w.numel() * BITS:
                seen += 1
                assert torch.equal(matrix, w)
    assert seen, "L5 kept no layer, so that was not tested"


def test_no_form_is_larger_than_the_matrices(made, compressed):
    for form in compressed:
        assert all(bits <= w.numel() * BITS for w, bits in zip(made, form.bits, strict=True)), form.arm
    (four,) = (form for form in compressed if form.arm == "4 bits")
    # 4 bits an entry, and two floats for each 64 of them, the last of which may be fewer
    assert four.bits == [w.numel() * 4 + 2 * BITS * -(-w.numel() // 64) for w in made]


def test_a_compressor_that_has_nothing_so_small_gives_no_form(made):
    assert gauge_forms._baseline("SVD", gauge_forms.BASELINES["SVD"], made, [8] * 3) is None


def test_size_is_that_of_all_matrices_together(made):
    half = [made[0], made[1] / 2, torch.zeros_like(made[2])]
    form = Form("SVD", half, [made[0].numel() * BITS, 960, 1], {"terms": 8, "seconds": 1.5})
    found = gauge_forms.size(made, form)
    joined = [torch.cat([w.flatten() for w in part]).double() for part in (made, half)]
    assert found["relative_error"] == pytest.approx(relative_error(*joined), rel=1e-5)  # float32 sums of a matrix
    whole = sum(w.numel() for w in made) * BITS
    assert found["bits"] == 24 * BITS + 961 and found["ratio_in_bits"] == whole / found["bits"]
    assert found["layers_kept"] == 1 and found["terms"] == 8 and found["seconds"] == 1.5


def test_the_seeds_row_stands_directly_in_the_record():
    rows = [("a", {"terms": 4, "value": 1}), ("a", {"terms": 8, "value": 2}), ("b", {"value": 3})]
    assert gauge_forms.by_arm(["a", "b"], rows, {"a": {"more": 4}}) == {
        "a": {"terms": 8, "value": 2, "more": 4, "rows": [rows[0][1], rows[1][1]]},
        "b": {"value": 3, "rows": [rows[2][1]]},
    }
