"""The kernels under the compiler's sanitizers: nothing is read or written that is not there, nothing is undefined."""

import os
import shutil
import subprocess
import sys

import pytest

from mobius_lib import native

CODE = """
import warnings

import torch
from mobius_lib.twistor import AdaptiveMobiusLayer, TwistorHopeArchitecture
from mobius_lib.twistor.fast import choice
from mobius_lib.waves import MobiusLens, use_backend

warnings.simplefilter("error")  # a lens whose kernel does not work would take another form, and say so
torch.manual_seed(0)
for form in ("recurrent", "scan"):
    for sizes in ({"dim": 6, "hidden_dim": 10}, {"dim": 2, "use_phase_compression": False, "num_memory_cycles": 0},
                  {"dim": 4, "scales": (), "constraint": 0.0}, {"dim": 4, "scales": ("slow",), "use_mobius": False},
                  {"dim": 4, "use_adaptive_evolution_rate": False}):
        model = TwistorHopeArchitecture(vocab_size=5, num_memories=2, num_nested_levels=2, form=form, **sizes)
        for batch, time in ((3, 7), (1, 1), (0, 2), (35, 2)):
            tokens = torch.randint(5, (batch, time))
            logits, state = model.stream(tokens)
            logits, _ = model.stream(tokens, state)
            logits.sum().backward()
layer = AdaptiveMobiusLayer(12)
for rows in (0, 1, 33, 70):
    x = torch.randn(rows, 12, requires_grad=True)
    layer(x).sum().backward()
expanded = torch.tensor(0.7).expand(20)
model = TwistorHopeArchitecture(vocab_size=5, dim=10, num_nested_levels=1)
weights = {n: expanded if "surprise" in n else p for n, p in model.state_dict().items()}
model.load_state_dict(weights, assign=True)
model(torch.zeros(2, 3, dtype=torch.int64))
assert not choice.failed, choice.failed
for channels in (1, 3, 17):
    lens = use_backend(MobiusLens(channels, 0, 2), "native")
    for rows in (0, 1, 33, 70):
        lens(torch.randn(rows, channels, requires_grad=True)).sum().backward()
print("sound")
"""


@pytest.mark.compiler
@pytest.mark.slow
def test_kernels_under_sanitizers(tmp_path):
    command = native.compiler()
    found = [
        subprocess.run([*command, f"-print-file-name={name}"], capture_output=True, text=True).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    if not all(os.path.isabs(path) and os.path.exists(path) for path in found):
        pytest.skip("this compiler has no libasan.so and libubsan.so")
    words = "-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer"
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        capture_output=True,
        text=True,
        env=os.environ
        | {
            "CXX": f"{shutil.which(command[0])} {words}",
            "MOBIUS_CACHE": str(tmp_path),
            "LD_PRELOAD": " ".join(found),
            "OMP_NUM_THREADS": "2",
            "OMP_WAIT_POLICY": "passive",
            "PYTHONMALLOC": "malloc",
            # Python and torch keep what they have until the end
            "ASAN_OPTIONS": "detect_leaks=0",
        },
    )
    assert done.returncode == 0 and done.stdout.endswith("sound\n"), done.stderr[-3000:]
    assert len(list(tmp_path.rglob("*.so"))) == 6
