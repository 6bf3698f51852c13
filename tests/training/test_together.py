"""Several processes train one model as one process would. They run apart from these tests, and within a limit of time.

gloo's threads may hang when a process ends: such a launch is ended and tried once more, well before pytest's own limit.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mobius_lib.runs import load_result
from mobius_lib.training.processes import Processes
from mobius_lib.training.shares import UNCOUNTED, Share, counted

ROOT = Path(__file__).parents[2]
SECONDS = 150


def launched(folder: Path, *whats: str, count: int = 1) -> str:
    """What `together.py FOLDER WHAT...` prints, by `accelerate launch` where there is more than one process."""
    for _ in range(2):
        folder.mkdir(parents=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        # --multi_gpu means several processes; with --cpu it would start one, or ask for MPI
        launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines", "1", "--mixed_precision", "no"]
        launch += ["--dynamo_backend", "no", "--num_processes", str(count), "--main_process_port", str(port)]
        script = [str(Path(__file__).with_name("together.py")), str(folder), *whats]
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        environment = {**os.environ, **threads, "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo"}
        process = subprocess.Popen(
            [sys.executable, *(launch if count > 1 else []), *script],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that the processes it starts can be ended with it
        )
        try:
            out, err = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            folder.rename(folder.with_name(f"{folder.name}-hung"))
            continue
        assert process.returncode == 0, err
        return out
    pytest.fail(f"together.py {whats} hung twice, for {SECONDS} seconds each")


def same(first: Path, second: Path) -> None:
    """Weights to 1e-5, and metrics over every row once."""
    for file in ("weights0.pt", "david0.pt"):
        weights = [torch.load(path / file, weights_only=True) for path in (first, second)]
        for name, value in weights[0].items():
            assert torch.allclose(value.float(), weights[1][name].float(), rtol=0, atol=1e-5), name
    outcomes = [json.loads((path / "outcome0.json").read_text()) for path in (first, second)]
    for one, two in zip(*(each["history"] for each in outcomes), strict=True):
        assert one["skipped"] == two["skipped"] == 1
        for name in ("train_accuracy", "val_accuracy", "epoch", "lr"):
            assert one[name] == two[name], name
        for name in ("train_loss", "val_loss"):
            assert one[name] == pytest.approx(two[name], abs=1e-5), name


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one") / "here"
    launched(folder, "fit", "run")
    return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """What two processes left, and said."""
    folder = tmp_path_factory.mktemp("two") / "here"
    return folder, launched(folder, "fit", "run", count=2)


def test_two_processes_train_as_one_does(one: Path, two: tuple[Path, str]) -> None:
    one, folder, out = one / "fit", two[0] / "fit", two[1]
    assert json.loads((folder / "outcome1.json").read_text())["processes"] == 2
    same(one, folder)
    other, first = (torch.load(folder / f"weights{i}.pt", weights_only=True) for i in (1, 0))
    assert all(torch.equal(value, first[name]) for name, value in other.items()), "to the bit, in both"
    assert not (folder / "strange.txt").exists(), "the main process alone writes"
    assert len(list((folder / "david" / "weights").glob("*/*"))) == 1, "of a folder named by the time there is one"
    assert out.count("epoch 1/3") == 1, "and speaks"
    assert {path.name for path in (folder / "run").iterdir()} == {path.name for path in (one / "run").iterdir()}


def test_the_launchers_of_a_notebook(one: Path, tmp_path: Path) -> None:
    folder = tmp_path / "notebook"
    launched(folder, "notebook")
    same(one / "fit", folder / "notebook")
    same(one / "fit", folder / "notebook" / "both")


def test_the_command_under_a_launcher(one: Path, two: tuple[Path, str]) -> None:
    results = [load_result(folder / "run" / "result.json") for folder in (one, two[0])]
    assert results[1]["configuration"].pop("processes") == 2
    assert results[0]["configuration"] == results[1]["configuration"]
    assert results[0]["replay"] == results[1]["replay"], "by one process each, as `mobius verify` will"
    for arm, (row,) in results[0]["arms"].items():
        (other,) = results[1]["arms"][arm]
        for before, after in zip(row["history"], other["history"], strict=True):
            assert before["train_loss"] == pytest.approx(after["train_loss"], abs=1e-4), arm
    assert not (two[0] / "run" / "strange.txt").exists()
    assert two[1].count("Result written to") == 1


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 8])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_shares_are_the_batch(rows: int, count: int) -> None:
    """Every row is in one share, and their weighted means come to the mean; of too few rows each has all."""
    x, y = torch.arange(float(rows)), torch.zeros(rows, dtype=torch.int64)
    shares = [Share(Processes(rank, count), x, y, []) for rank in range(count)]
    means = [share.x.mean() * share.weight(counted(share), torch.float64) for share in shares]
    assert sum(means) / count == pytest.approx(x.mean().item())
    counting = torch.cat([share.x[share.counts_here()] for share in shares])
    assert torch.equal(counting, x), "each row once"
    if rows < count:
        assert all(torch.equal(share.x, x) for share in shares)


@pytest.mark.parametrize("count", [1, 2])
def test_shares_of_several_batches_count_by_their_labels(count: int) -> None:
    """Two batches of a step, of which one has labels that are none: the mean is over the four that are some."""
    x = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 9.0])
    y = torch.tensor([0, UNCOUNTED, 0, 0, UNCOUNTED, 0])
    total = torch.zeros(())
    for rank in range(count):
        step = [Share(Processes(rank, count), x[part], y[part], []) for part in (slice(0, 4), slice(4, 6))]
        for share in step:
            there = share.y != UNCOUNTED
            if there.any():
                total += share.x[there].mean() * share.weight(counted(*step), torch.float64)
    assert (total / count).item() == pytest.approx((1 + 3 + 4 + 9) / 4)
