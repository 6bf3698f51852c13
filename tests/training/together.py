"""One of the processes that train together, started by a launcher in test_together.py: `together.py FOLDER WHAT...`.

fit: trains the network below and a David, and leaves their weights and curves; run: the command `mobius run tiny`;
notebook: the same training by the launchers of a notebook. What a process other than the first writes is
noted in FOLDER/strange.txt. Each has a folder of its name in FOLDER.
"""

import importlib.util
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from mobius_lib.runs.simplex.trainer import train_david
from mobius_lib.simplex import DavidConfig
from mobius_lib.training import Recipe, ResidentBatches, fit
from mobius_lib.training.processes import processes

BATCH = 17
"""Of 86 rows: shares of 9 and 8, and a last batch of a single row."""


def load(name: str) -> object:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def watch(folder: Path) -> None:
    """Notes every file that another process than the first puts in place below the folder."""
    replace = os.replace

    def noted(source: object, target: object) -> None:
        if not processes().main and Path(target).absolute().is_relative_to(folder):
            with (folder / "strange.txt").open("a") as file:
                file.write(f"{target}\n")
        replace(source, target)

    os.replace = noted


def train(folder: str) -> None:
    """With batch norm, augmentation, and one batch in which a row is not finite."""
    watch(Path(folder))
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(86) % 3
    x = 5 + torch.randn(86, 2, 5, 5, generator=generator) + y.view(-1, 1, 1, 1)
    x[33, 1, 2, 2] = float("nan")
    torch.manual_seed(1)
    norm = nn.BatchNorm2d(8)
    model = nn.Sequential(nn.Conv2d(2, 8, 3, bias=False), norm, nn.GELU(), nn.Flatten(), nn.Linear(72, 3))
    outcome = fit(
        model,
        ResidentBatches(x, y, BATCH, shuffle=True, seed=0, augment=lambda x: x + 0.1 * torch.randn_like(x)),
        ResidentBatches(x[:32].nan_to_num(), y[:32], 10, shuffle=False, seed=0),
        Recipe(3, 0.01, batch_size=BATCH, save_every_n_epochs=1),
        Path(folder) / "run",
        device="cpu",
        progress=True,
    )
    assert type(norm) is nn.BatchNorm2d, "as it was"
    rows = (x.nan_to_num().flatten(1), y)
    config = DavidConfig(feature_dim=50, num_classes=3, k=2, scales=(8, 16))
    sizes = {"epochs": 2, "warmup_epochs": 0, "batch_size": BATCH, "output_dir": Path(folder) / "david"}
    david, _ = train_david(rows, rows, config, **sizes, device="cpu", progress=False)  # names its folder by the time
    torch.save(david.state_dict(), Path(folder) / f"david{processes().rank}.pt")
    told = asdict(outcome) | {"folder": str(outcome.folder), "processes": processes().count}
    (Path(folder) / f"outcome{processes().rank}.json").write_text(json.dumps(told))
    torch.save(model.state_dict(), Path(folder) / f"weights{processes().rank}.pt")


def command(folder: str) -> None:
    from mobius_lib import cli
    from mobius_lib.runs import ABOUT, RUNS

    watch(Path(folder))
    os.chdir(folder)
    ABOUT["tiny"] = RUNS["tiny"] = load("tiny_run").RUN
    sys.argv = ["mobius", "run", "tiny", "--epochs", "2", "--device", "cpu", "--output", "result.json"]
    cli.main()


def notebook(folder: str) -> None:
    from accelerate import debug_launcher, notebook_launcher

    notebook_launcher(train, (folder,), num_processes=1)  # without a GPU it starts no process of its own
    both = Path(folder) / "both"
    both.mkdir()
    debug_launcher(train, (str(both),), num_processes=2)


if __name__ == "__main__":
    given, whats = Path(sys.argv[1]), sys.argv[2:]
    for what in whats:
        (given / what).mkdir(parents=True, exist_ok=True)  # by each of the processes
        {"fit": train, "run": command, "notebook": notebook}[what](str(given / what))
    sys.stdout.flush()
    os._exit(0)  # gloo's threads may hang in a process that ends by itself
