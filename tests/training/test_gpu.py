"""What only a GPU shows: the loss scale, the flag that stays on the device, and that no step waits for it."""

import math

import pytest
import torch

from mobius_lib.training import ResidentBatches

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


class Stop(Exception):
    pass


def resident(task, x=None) -> ResidentBatches:
    return ResidentBatches(task.x if x is None else x, task.y, 16, shuffle=True, seed=0, device="cuda")


def parameters(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([value.detach().float().flatten().cpu() for value in model.parameters()])


@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
def test_learns_what_the_cpu_learns(task, precision):
    # Twelve epochs: with fp16 some steps of the first go into finding the loss scale.
    there = task.fit(train=resident(task), device="cuda", changes={"precision": precision, "epochs": 12})
    here = task.fit(changes={"epochs": 12})
    assert next(there.model.parameters()).is_cuda
    assert abs(there.outcome.best_accuracy - here.outcome.best_accuracy) < 0.1  # 96 samples: nine of them
    if precision != "fp16":
        assert there.outcome.skipped_batches == 0


def test_bad_batch_on_the_device(task):
    """The NaN is not looked for before the pass; the pass contaminates the buffers, and all is put back."""
    x = task.x.clone()
    x[7, 0, 0, 0] = math.nan
    done = task.fit(train=resident(task, x), device="cuda")
    assert [record["skipped"] for record in done.outcome.history] == [1, 1, 1, 1]
    assert all(torch.isfinite(value).all() for value in done.model.state_dict().values())
    assert done.model[1].num_batches_tracked == 4 * 5


def test_no_step_waits_for_the_device(task, monkeypatch):
    """torch raises at every operation that would; only the sums at the end of an epoch may."""
    from mobius_lib.training.loop import _Run

    step = _Run._step

    def watched(self, *args):
        torch.cuda.set_sync_debug_mode("error")
        try:
            step(self, *args)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    task.fit(train=resident(task), device="cuda", changes={"epochs": 1})  # first uses may wait
    monkeypatch.setattr(_Run, "_step", watched)
    task.fit(train=resident(task), device="cuda")


@pytest.mark.parametrize("precision", ["no", "fp16"])
def test_continues(task, tmp_path, precision):
    def stop(record):
        if record["epoch"] == 3:
            raise Stop

    changes = {"precision": precision}
    whole = task.fit(train=resident(task), device="cuda", changes=changes)
    with pytest.raises(Stop):
        task.fit(tmp_path, train=resident(task), device="cuda", changes=changes, on_epoch=stop)
    parts = task.fit(tmp_path, train=resident(task), device="cuda", changes=changes)
    # A GPU may add in another order each time: 24 steps of rounding, and of half precision.
    torch.testing.assert_close(parameters(parts.model), parameters(whole.model), atol=1e-2, rtol=0)
