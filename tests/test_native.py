"""The gate through which tensors come to kernels; and how kernels are built, with compilers of all kinds."""

import os
import shutil
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mobius_lib import native
from mobius_lib.waves.fast import native as waves_native
from tools.house import ROOT


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
    assert len(native.rows(torch.zeros(3, 0)[1:], 2, 0)) == 2
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


# --- building --------------------------------------------------------------------------------------------------------

SOURCE = """
extern "C" int twice(int x) {
    int sum = 0;
#pragma omp parallel for reduction(+ : sum)
    for (int k = 0; k < 2; ++k) sum += x;
    return sum;
}
"""
REAL = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
THROUGH = 'exec "$@"'
LACKS = """
for word in "$@"; do
  case "$word" in {flag}) echo "{says}" >&2; exit 1;; esac
done
"""


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A small kernel, and a cache of its own."""
    monkeypatch.setenv("MOBIUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CXX", raising=False)
    path = tmp_path / "twice.cpp"
    path.write_text(SOURCE)
    return path


def stand_in(path: Path, before: str = "", then: str = 'exec "{real}" "$@"') -> Path:
    """A compiler that first does something else; it notes each of its runs in `path`.runs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\necho run >> "{path}.runs"\n{before}\n{then.format(real=REAL)}\n')
    path.chmod(0o755)
    return path


def runs(compiler: Path) -> int:
    noted = Path(f"{compiler}.runs")
    return len(noted.read_text().split()) if noted.exists() else 0


WORDS = {
    "by name": lambda folder: REAL,
    "with an argument": lambda folder: f"{REAL} -DNDEBUG",
    "a space in its path": lambda folder: str(stand_in(folder / "my tools" / "c++")),
    "a space, quoted, and an argument": lambda folder: f"'{stand_in(folder / 'my tools' / 'c++')}' -DNDEBUG",
    "behind another program": lambda folder: f"{stand_in(folder / 'ccache', then=THROUGH)} {REAL}",
    "without OpenMP": lambda folder: str(
        stand_in(folder / "c++", LACKS.format(flag="-fopenmp", says="clang: error: unsupported option '-fopenmp'"))
    ),
    "with OpenMP but not its library": lambda folder: str(
        stand_in(folder / "c++", LACKS.format(flag="-fopenmp", says="ld: error: library not found for -lomp"))
    ),
    "that knows no native processor": lambda folder: str(
        stand_in(folder / "c++", LACKS.format(
            flag="-march=native", says="clang: error: the clang compiler does not support '-march=native'"
        ))
    ),
}  # fmt: skip


@pytest.mark.compiler
def test_a_kernel_has_no_wider_instructions_than_torch(source, monkeypatch):
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    (wide, kept), lens = native._recipe(source), waves_native.recipe()
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    (narrow, other), narrow_lens = native._recipe(source), waves_native.recipe()
    assert native.NATIVE in wide and native.AVX2 in narrow and kept != other
    assert native.NATIVE in lens[0] and native.AVX2 in narrow_lens[0] and lens[1] != narrow_lens[1]


@pytest.mark.compiler
@pytest.mark.parametrize("name", WORDS)
def test_compilers_that_serve(name, source, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("CXX", WORDS[name](tmp_path))
    assert native.build(source).twice(21) == 42
    said = capfd.readouterr()
    assert said.out == "" and len(said.err.splitlines()) == 1
    assert "Building the C++ kernel twice.cpp for this processor, once; kept in" in said.err
    assert native.build(source).twice(21) == 42 and capfd.readouterr().err == ""


@pytest.mark.compiler
def test_one_compiler_lacks_everything(source, tmp_path, monkeypatch):
    lacks = [LACKS.format(flag=flag, says=f"error: unknown argument {flag}") for flag in native.SPARED]
    monkeypatch.setenv("CXX", str(stand_in(tmp_path / "c++", "".join(lacks))))
    assert native.build(source).twice(21) == 42 and runs(tmp_path / "c++") == 3


BAD_COMPILERS = {
    "/nonexistent": "CXX names '/nonexistent', which is no command here; correct it, or unset it",
    "/no such/c++ -O1": r"CXX names '/no such/c\+\+ -O1', which is no command here",
    "'c++": r"CXX names \"'c\+\+\", which is no command here",
    "cl": "CXX names '.*cl', and Microsoft's compiler is not supported; name",
}


@pytest.mark.parametrize("name", BAD_COMPILERS)
def test_compilers_that_do_not_serve(name, source, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", str(stand_in(tmp_path / "cl")) if name == "cl" else name)
    with pytest.raises(native.BadCompiler, match=BAD_COMPILERS[name]):
        native.build(source)


def test_no_compiler_at_all(source, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(native.NoCompiler, match=r"there is no C\+\+ compiler; install"):
        native.build(source)


def test_a_failure_is_one_sentence_and_is_not_tried_again(source, tmp_path, monkeypatch):
    says = "In file included\ntwice.cpp:3: error: expected ;\ntwice.cpp:4: error: and more"
    broken = stand_in(tmp_path / "c++", then=f"printf '{says}' >&2; exit 1")
    monkeypatch.setenv("CXX", str(broken))
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"could not build twice\.cpp: twice\.cpp:3: error: expected ;$"):
            native.build(source)
    assert runs(broken) == 1 and not list((tmp_path / "cache").rglob("*.so"))
    assert not list((tmp_path / "cache").rglob(".build-*"))


@pytest.mark.compiler
def test_one_of_many_builds_a_kernel_and_the_others_wait(source, tmp_path, monkeypatch):
    slow = stand_in(tmp_path / "c++", "sleep 0.5")
    monkeypatch.setenv("CXX", str(slow))
    with ThreadPoolExecutor(4) as pool:  # a lock on a file is one of handles: threads stand for processes
        found = list(pool.map(native.build, [source] * 4))
    assert [lib.twice(1) for lib in found] == [2] * 4 and runs(slow) == 1


@pytest.mark.compiler
def test_different_kernels_are_built_at_the_same_time(source, tmp_path, monkeypatch, capfd):
    """Each of two compilations ends only when the other has begun, too."""
    wait = f'n=0; while [ $(wc -l < "{tmp_path}/c++.runs") -lt 2 ] && [ $n -lt 300 ]; do sleep 0.1; n=$((n+1)); done'
    both = stand_in(tmp_path / "c++", wait + "; [ $n -lt 300 ] || exit 1")
    monkeypatch.setenv("CXX", str(both))
    other = source.with_name("other.cpp")
    other.write_text(SOURCE + "// another")
    native.build_together(source, other)
    assert "Building the C++ kernels twice.cpp, other.cpp for" in capfd.readouterr().err
    assert len(list((tmp_path / "cache").rglob("*.so"))) == 2 == runs(both)
    native.build_together(source, other)
    assert capfd.readouterr().err == "" and runs(both) == 2


@pytest.mark.compiler
def test_another_user_of_a_shared_cache_can_load_what_is_there(source, tmp_path):
    before = os.umask(0o022)
    try:
        native.build(source)
    finally:
        os.umask(before)
    (made,) = (tmp_path / "cache").rglob("*.so")
    assert stat.S_IMODE(made.stat().st_mode) == 0o755 and stat.S_IMODE(made.parent.stat().st_mode) == 0o755


@pytest.mark.compiler
def test_a_damaged_kernel_is_built_anew(source, tmp_path):
    kept = native._recipe(source)[1]
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"no library")
    assert native.build(source).twice(2) == 4


# --- one OpenMP runtime -----------------------------------------------------------------------------------------------

THREADS = """
import os, re, torch
torch.set_num_threads(2)
from mobius_lib.twistor.fast import memory, nested, scan, step, turn
from mobius_lib.waves import MobiusLens, use_backend
from mobius_lib.waves.fast.native import library

def state():
    with open("/proc/self/maps") as maps:
        runtimes = set(re.findall(r"/\\S*/lib(?:gomp|omp|iomp5)[^/\\n]*", maps.read()))
    return sorted(runtimes), len(os.listdir("/proc/self/task"))

x = torch.randn(4096, 64, requires_grad=True)
((x @ torch.randn(64, 64)).sin() ** 2).sum().backward()  # torch's own threads, and its pool
before = state()
for each in (memory, nested, scan, step, turn):
    each.library()
use_backend(MobiusLens(64, 1, 6), "native")(x).sum().backward()
z = torch.randn(4096, 32, requires_grad=True)
turn.turn(z, torch.randn(4, 4, 8)).sum().backward()
assert library() and state() == before and len(before[0]) == 1, (before, state())
"""


@pytest.fixture
def runtime() -> Path:
    """Torch's OpenMP."""
    found = native.openmp()
    if found is None or not found.name.startswith("libgomp"):
        pytest.skip("torch computes without GNU's OpenMP here, or does not show it")
    return found


@pytest.mark.compiler
def test_kernels_and_torch_have_one_openmp_and_one_pool_of_threads(runtime):
    run = subprocess.run([sys.executable, "-c", THREADS], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def renamed(runtime: Path, folder: Path) -> Path:
    """As wheels have it: the same under another name, of the same length."""
    folder.mkdir()
    copy = folder / "libgomp.so.7"
    copy.write_bytes(runtime.read_bytes().replace(b"libgomp.so.1\0", b"libgomp.so.7\0"))
    return copy


@pytest.mark.compiler
def test_a_kernel_takes_the_openmp_of_torch_under_any_name(source, runtime, tmp_path, monkeypatch):
    usual = native._recipe(source)[1]
    copy = renamed(runtime, tmp_path / "lib")
    monkeypatch.setattr(native, "openmp", lambda: copy)
    assert native.build(source).twice(3) == 6
    (made,) = (tmp_path / "cache").rglob("*.so")
    assert b"\0libgomp.so.7\0" in made.read_bytes() and b"\0libgomp.so.1\0" not in made.read_bytes()
    assert made.name != usual.name, "a kernel of another OpenMP would be taken"


@pytest.mark.compiler
def test_an_openmp_that_cannot_be_linked_is_done_without(source, tmp_path, monkeypatch):
    broken = tmp_path / "libgomp-0123.so.1"
    broken.write_bytes(b"no library")
    monkeypatch.setattr(native, "openmp", lambda: broken)
    assert native.build(source).twice(3) == 6


def test_torchs_openmp_is_told_from_those_of_others(monkeypatch):
    home = Path(torch.__file__).resolve().parent
    line = "7f00-7f01 r-xp 00000000 08:01 77    {}\n"
    own, hashed = home / "lib" / "libgomp.so.1", home.with_name("torch.libs") / "libgomp-a34b.so.1.0.0"
    others = home.with_name("scikit_learn.libs") / "libgomp-e985.so.1.0.0", Path("/opt/a b/lib/libiomp5.so")
    for given, expected in (
        ((others[0], own), own), ((others[0], hashed, others[1]), hashed), (others[1:], others[1]), (others, None),
        ((home / "lib" / "libomptarget.so", home / "lib" / "libgompy.so"), None), ((), None),
    ):  # fmt: skip
        text = "".join(line.format(path) for path in given)
        monkeypatch.setattr(Path, "read_text", lambda path, text=text: text)
        assert native.openmp() == expected
    monkeypatch.setattr(native, "openmp", lambda: own)
    assert native.one_openmp() == []


def test_a_processor_is_told_by_what_it_can(monkeypatch):
    """A home folder may be shared by unlike machines: x86 says flags, ARM says Features."""
    texts = {
        "x86": "processor : 0\nflags : fpu avx2\n", "x86 with more": "processor : 0\nflags : fpu avx2 avx512f\n",
        "arm": "processor : 0\nFeatures : fp asimd\nCPU part : 0xd0c\n",
        "arm with more": "processor : 0\nFeatures : fp asimd sve\nCPU part : 0xd40\n", "nothing known": "",
    }  # fmt: skip
    names = set()
    for text in texts.values():
        monkeypatch.setattr(Path, "read_text", lambda path, text=text: text)
        names.add(native.kept_as("twice", b"", "c++").name)
    assert len(names) == len(texts)


@pytest.mark.compiler
@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() != "AVX512", reason="has no registers to switch off")
def test_what_torch_compiled_for_wide_registers_is_not_taken_for_narrow_ones(tmp_path):
    """Two processes keep their graphs in one folder: the second had half of its numbers, or crashed."""
    code = (
        "import torch\nfrom mobius_lib.native import torch_compile\nx = torch.arange(1.0, 1000)\n"
        "print(torch.equal(torch_compile(lambda x: x * x + 1)(x), x * x + 1))"
    )
    for limit in ({}, {"ATEN_CPU_CAPABILITY": "avx2"}):
        own = {k: v for k, v in os.environ.items() if k != "ATEN_CPU_CAPABILITY"}
        own |= {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path), **limit}
        done = subprocess.run([sys.executable, "-c", code], env=own, capture_output=True, text=True)
        assert done.stdout == "True\n", done.stderr
