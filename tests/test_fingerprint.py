"""What changes a fingerprint and what does not; and that nothing that is run is missed."""

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mobius_lib import fingerprint as module
from mobius_lib.fingerprint import fingerprint, known_by
from mobius_lib.runs.simplex import arms as david_arms
from mobius_lib.simplex import BasinLoss, DavidConfig, GeoFractalDavid
from mobius_lib.training import Recipe, ResidentBatches, fit, loop
from mobius_lib.waves import MobiusNet

CACHES = (module._module, module._definition)


class Copy:
    """A copy of the library to be edited, by which code is judged as if it had been imported from there."""

    def __init__(self, package: Path) -> None:
        self.package = package

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.package / name).read_text("utf-8")
        assert text.count(old) >= 1, f"{old!r} is not in {name}"
        self.write(name, text.replace(old, new, 1))

    def write(self, name: str, text: str) -> None:
        (self.package / name).write_text(text, "utf-8")
        for cache in CACHES:
            cache.cache_clear()


@pytest.fixture
def copied(tmp_path, monkeypatch) -> Iterator[Copy]:
    shutil.copytree(module.PACKAGE, tmp_path / "mobius_lib", ignore=shutil.ignore_patterns("__pycache__", "*.js"))
    monkeypatch.setattr(module, "PACKAGE", tmp_path / "mobius_lib")
    for cache in CACHES:
        cache.cache_clear()
    yield Copy(tmp_path / "mobius_lib")
    for cache in CACHES:
        cache.cache_clear()


def test_what_says_nothing_changes_nothing(copied):
    def now() -> list[str]:
        return [fingerprint(GeoFractalDavid, BasinLoss), fingerprint(MobiusNet), fingerprint(loop._Run)]

    before = now()
    text = (copied.package / "simplex/math.py").read_text("utf-8")
    copied.edit("simplex/math.py", "def safe_sqrt(", "# a comment\n\n\ndef safe_sqrt(")
    copied.edit("simplex/math.py", '"""', '"""Other words. ')
    copied.edit("waves/fast/kernel.cpp", "\n#include", "\n// a comment\n/* and\n another */\n#include")
    copied.edit("training/loop.py", "had to be skipped, because", "were left out because")
    copied.edit("simplex/math.py", "-> Tensor:", '-> "Tensor":')
    assert now() == before
    # a function in a file of another name, and that file in another folder
    begin = text.index("def safe_sqrt(")
    end = text.index("\n\n\n", begin)
    copied.write(
        "roots.py",
        "import torch\nfrom torch import Tensor\nfrom mobius_lib.simplex.math import *\n\n\n" + text[begin:end] + "\n",
    )
    moved = text[:begin] + text[end:].lstrip("\n")
    copied.write(
        "simplex/math.py", moved.replace("import torch\n", "import torch\nfrom mobius_lib.roots import safe_sqrt\n", 1)
    )
    assert now() == before


@pytest.mark.parametrize(
    ("name", "old", "new", "reached"),
    [
        ("waves/math.py", "SHARPNESS_FLOOR = ", "SHARPNESS_FLOOR = 2 * ", "lens"),
        ("waves/fast/kernel.cpp", "V(0.5f), odd", "V(0.25f), odd", "lens"),
        ("waves/fast/triton_kernels.py", "def _waves(", "def _waves(other, ", "lens"),
        ("simplex/math.py", "return ", "return -1 * ", "david"),
        ("cantor/math.py", "CENTERS = (0.5,", "CENTERS = (0.6,", "david"),
        ("training/recipe.py", "(1 + math.cos(", "(1 - math.cos(", "loop"),
        ("training/evaluation.py", "torch.where(bad, 0.0, step.loss", "torch.where(bad, 1.0, step.loss", "loop"),
    ],
)
def test_what_decides_a_number_changes_it(copied, name, old, new, reached):
    roots = {"lens": MobiusNet, "david": (GeoFractalDavid, BasinLoss), "loop": (fit, Recipe)}
    before = {key: fingerprint(root) for key, root in roots.items()}
    copied.edit(name, old, new)
    assert {key for key, root in roots.items() if fingerprint(root) != before[key]} == {reached}


def test_an_arm_is_its_code_and_what_it_was_made_with():
    def arm(**changes):
        return david_arms.david(DavidConfig(**{"feature_dim": 8, "num_classes": 3, "k": 2, "scales": (4,), **changes}))

    assert fingerprint(arm()) == fingerprint(arm()), "another object of the same"
    different = [
        arm(),
        arm(k=1),
        arm(alpha_init=0.25),
        arm(scales=(4, 8)),
        david_arms.david(DavidConfig(feature_dim=8, num_classes=3, k=2, scales=(4,)), BasinLoss(discretisation=0.0)),
    ]
    assert len({fingerprint(each) for each in different}) == len(different)


def test_values():
    x = torch.arange(12.0).view(3, 4)
    pixel = x.clone()
    pixel[1, 2] += 1e-6
    different = [
        *(x, pixel, x.view(4, 3), x.double(), x.bfloat16(), x > 1, x[:0], x.T, x.numpy().T.copy() * 2, "x", b"x"),
        *(
            None,
            0,
            False,
            0.0,
            -0.0,
            1,
            True,
            1.0,
            1j,
            float("nan"),
            "",
            "0",
            (),
            {},
            (1, 2),
            (2, 1),
            ((1, 2),),
            {1, 2},
        ),
        *({"a": 1}, {"a": 2}, {"b": 1}, torch.float32, torch.float64, partial(max, 1), partial(max, 2), max, min),
        *(nn.Linear(2, 3), nn.Linear(3, 2), nn.Dropout(0.1), nn.Dropout(0.2), nn.GELU, torch.sin, torch.cos),
    ]
    torch.manual_seed(0)
    assert len({fingerprint(each) for each in different}) == len(different)
    for one, same in [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ([1, 2], [np.int64(1), 2]),
        (x, x.clone()),
        (x[:, 1], x[:, 1].contiguous()),
        (x, x.numpy()),
        ({3, 1}, {1, 3}),
    ]:
        assert fingerprint(one) == fingerprint(same)
    itself: list = [1]
    itself.append(itself)
    assert len(fingerprint(itself)) == 64


SIZE = 3


@dataclass
class Sized:
    size: int = 3

    def grown(self, x: int) -> int:
        return x + self.size


def helper(x: int) -> int:
    return x + SIZE


def calls_it(x: int, ignored: int = 0) -> int:
    return helper(x)


def test_functions_of_a_user(monkeypatch):
    """By their own tree, the globals that they read, their closure and their defaults."""

    def plus(n: int, default: int = 1):
        return lambda x: x + n + default

    different = [
        helper,
        calls_it,
        plus(1),
        plus(2),
        plus(1, 2),
        lambda x: x + 1,
        lambda x: x - 1,
        Sized,
        Sized(4).grown,
        Sized(5).grown,
    ]
    assert len({fingerprint(each) for each in different}) == len(different)
    assert fingerprint(plus(1)) == fingerprint(plus(1))
    one, two = (lambda x: x + 1), (lambda x: x + 2)
    assert fingerprint(one) != fingerprint(two), "two on a line"
    before = fingerprint(calls_it), fingerprint(plus(1))
    monkeypatch.setitem(calls_it.__globals__, "SIZE", 4)
    monkeypatch.setitem(calls_it.__globals__, "x", 4)
    assert fingerprint(calls_it) != before[0], "it is read two calls away"
    monkeypatch.setitem(calls_it.__globals__, "SIZE", 3)
    assert (fingerprint(calls_it), fingerprint(plus(1))) == before, "x is no global in them"


def closure_of(*roots: object) -> set[tuple[str, str]]:
    met: dict[tuple[str, str], None] = {}
    waiting = [part for part in module._Values().of(roots) if not isinstance(part, str)]
    while waiting:
        key = waiting.pop()
        if key not in met:
            met[key] = None
            waiting += [part for part in module._definition(key) if not isinstance(part, str)]
    return set(met)


@pytest.mark.parametrize("which", ["lens", "david"])
def test_nothing_that_runs_is_missed(tmp_path, which):
    """Every function of the library that is called while a model trains is in what its fingerprint counts."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(40) % 4
    if which == "lens":
        model = MobiusNet(in_chans=1, num_classes=4, channels=(6,), depths=(1,))
        x, given = torch.randn(40, 1, 8, 8, generator=generator), {}
    else:
        model = GeoFractalDavid(DavidConfig(feature_dim=8, num_classes=4, k=2, scales=(4, 6)))
        x = nn.functional.normalize(torch.randn(40, 8, generator=generator))
        given = {"objective": david_arms.BasinObjective(), "groups": david_arms.groups, "scalars": david_arms.state}
    batches = ResidentBatches(x, y, 10, shuffle=True, seed=0)
    called = set()

    def watch(frame, event, argument) -> None:
        name = frame.f_globals.get("__name__") or ""
        top = frame.f_code.co_qualname.split(".")[0]
        own = frame.f_code.co_filename.startswith(str(module.PACKAGE))  # a dataclass makes functions of no file
        if event == "call" and own and not top.startswith("<"):
            called.add((name, top))

    recipe = Recipe(epochs=1, lr=0.01, save_every_n_epochs=1)
    sys.setprofile(watch)
    try:
        fit(model, batches, batches, recipe, tmp_path, device="cpu", progress=False, **given)
    finally:
        sys.setprofile(None)
    kinds = list(dict.fromkeys(type(each) for each in model.modules()))
    reached = closure_of(loop._Run, fit, kinds, tuple(given.values()), type(batches), Recipe)
    # where an earlier test has imported twistors, their hook of all optimizers is called, and finds none of its own
    beside = {("mobius_lib.twistor.nested", "_stepped")}
    missed = {each for each in called - reached - beside if each[0] != "mobius_lib.fingerprint"}
    assert len(called) > 40 and not missed


def test_a_tensor_that_is_known_by_a_name_counts_by_it():
    x = torch.arange(6.0)
    plain, named = fingerprint(x), fingerprint(known_by(torch.arange(6.0), "files"))
    assert plain != named == fingerprint(known_by(torch.zeros(6), "files")), "its numbers are not read"
    assert named != fingerprint(known_by(torch.arange(6.0), "other files"))
    moved = known_by(torch.arange(6.0).view(2, 3), known_by(x, "files"))
    assert fingerprint(moved) not in (named, fingerprint(torch.arange(6.0).view(2, 3))), "its shape counts"
    assert fingerprint(known_by(torch.arange(6.0), torch.ones(2))) == plain, "what has no name gives none"
