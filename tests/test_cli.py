"""The command: what it prints, what it refuses, and what is left when it is killed."""

import copy
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

from mobius_lib import cli, ledger, runs
from mobius_lib.datasets import data_dir, paths, registry
from mobius_lib.errors import DataError
from mobius_lib.ledger.verdicts import select
from mobius_lib.runs import ABOUT, RUNS, Run, Scale, evidence, load_result
from mobius_lib.runs.base import Data
from mobius_lib.runs.records import command

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Ended:
    """A process that has ended."""

    status: int
    out: str
    err: str
    replaced: int
    """Files that were put in place."""


class Server:
    """The processes of cli_server.py."""

    def __init__(self) -> None:
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", str(Path(__file__).with_name("cli_server.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **threads, "PYTHONPATH": str(ROOT), "COLUMNS": "100", "NO_COLOR": "1"},
        )
        assert self.process.stdout.readline() == "ready\n"

    def run(self, folder: Path, line: str, number: int | None = None, at: int = 0, **environment: str) -> Ended:
        """`mobius …` in a folder, which is made; it sends itself the signal before the `at`-th file is in place."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "calls.txt").write_text("0")
        request = {"argv": shlex.split(line)[1:], "folder": str(folder), "environment": environment}
        self.process.stdin.write(json.dumps({**request, "signal": number, "at": at}) + "\n")
        self.process.stdin.flush()
        status = int(self.process.stdout.readline())
        out, err, calls = ((folder / f"{name}.txt").read_text() for name in ("stdout", "stderr", "calls"))
        # on a new machine whoever comes first builds kernels, and says so
        err = "".join(line for line in err.splitlines(keepends=True) if not line.startswith("Building the C++ kernel"))
        return Ended(status, out, err, int(calls))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.process.stdin.close()
    running.process.stdout.close()
    running.process.wait(timeout=30)


def invoke(*arguments: str) -> Result:
    """In this process, on a wide terminal: how lines are broken is not tested here."""
    with patch.object(cli, "console", Console(width=300)):
        return CliRunner().invoke(cli.app, list(arguments))


def lasting(result: dict[str, Any]) -> dict[str, Any]:
    """A result without its times."""
    result = copy.deepcopy(result)
    result.pop("wall_seconds"), result.pop("created")
    for rows in result["arms"].values():
        for row in rows:
            row.pop("seconds")
            for epoch in row["history"]:
                epoch.pop("seconds")
    for row in result["cost"].values():
        row.pop("seconds"), row.pop("ratio_to_gelu"), row.pop("ratios_to_gelu")
    return result


TINY = "mobius run tiny --seeds 2 --epochs 2 --output result.json"


@pytest.fixture(scope="module")
def undisturbed(server, tmp_path_factory) -> tuple[Ended, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    ended = server.run(folder, TINY)
    assert ended.status == 0, ended.err
    return ended, load_result(folder / "result.json")


# What it prints.


def test_a_run_prints_what_it_found(undisturbed):
    ended, result = undisturbed
    assert "mobius run tiny --scale quick --seeds 2 --epochs 2" in " ".join(ended.out.split())
    for arm, rows in result["arms"].items():
        first, second = (row["final_accuracy"] for row in rows)
        spread = abs(first - second) / 2**0.5
        cells = f"{(first + second) / 2:.4f} ± {spread:.4f}", f"{rows[0]['parameters']:,}"
        assert re.search(rf"{arm} .* {cells[0]} .* {cells[1]} ", ended.out)
    assert "majority" in ended.out and "0.3333" in ended.out
    assert re.search(r"a training step of 15: lens \(printed\) \d+ ms, \d+\.\d\d x gelu", ended.out)
    assert "Result written to result.json" in ended.out
    assert "Warning" not in ended.err and "Traceback" not in ended.err


def test_list_names_every_run_and_what_each_scale_takes(server, tmp_path):
    ended = server.run(tmp_path, "mobius run --list")
    assert ended.status == 0 and ended.err == ""
    words = " ".join(re.sub(r"[│┃]", " ", ended.out).split())
    for name, run in RUNS.items():
        assert re.search(rf"\b{name} ", words)
        assert all(f"{scale}: " in words for scale in run.scales)
    assert "tiny" in words and "quick: 3 epochs," in words and "no training" in words
    bare = server.run(tmp_path, "mobius run")
    assert bare.status == 0 and bare.out == ended.out, "without a name it shows them, too"


@pytest.mark.parametrize("name", list(RUNS))
def test_list_of_one_run_shows_its_notes(name):
    result = invoke("run", name, "--list")
    assert result.exit_code == 0
    words = " ".join(re.sub(r"[│┃]", " ", result.stdout).split())
    assert RUNS[name].summary.split(":")[0] in words
    for note in (scale.note for scale in RUNS[name].scales.values()):
        assert set(note.split()) <= set(words.split())
    assert sum(other in words.split() for other in RUNS) == 1


def test_list_cuts_nothing_off_on_a_terminal_of_80_columns():
    with patch.object(cli, "console", Console(width=80)):
        result = CliRunner().invoke(cli.app, ["run", "waves-tiny-imagenet", "--list"])
    assert result.exit_code == 0 and "…" not in result.stdout
    scales = [line.split("│")[4].strip() for line in result.stdout.splitlines() if line.startswith("│")]
    assert "(MOBIUS_TINY_IMAGENET)" in "".join(scales)


def test_data_names_every_file_that_was_checked(server, tmp_path):
    ended = server.run(tmp_path, "mobius data")
    assert ended.status == 0 and ended.err == ""
    assert ended.out.splitlines() == [f"ok {data_dir() / name}" for name in registry()]


def test_data_that_is_damaged(server, tmp_path):
    name = "FashionMNIST/raw/t10k-labels-idx1-ubyte.gz"
    folder = tmp_path / "data [bold]"  # a name that must not be taken for a colour
    (folder / name).parent.mkdir(parents=True)
    content = bytearray((data_dir() / name).read_bytes())
    content[100] ^= 64
    (folder / name).write_bytes(content)
    (folder / "SHA256SUMS").write_text(f"{registry()[name]}  {name}\n")
    ended = server.run(tmp_path, "mobius data", MOBIUS_DATA=str(folder))
    assert ended.status == 2 and ended.out == ""
    assert ended.err.startswith(f"Error: {folder / name} is damaged (SHA-256 ") and ended.err.count("\n") == 1
    assert "git checkout" not in ended.err  # the folder is no checkout's
    assert "; restore it from a copy, or delete it, and it is fetched" in ended.err


def test_data_of_a_run_and_of_ones_own(tmp_path, monkeypatch):
    """Got ready before the run, with the columns that are named."""
    monkeypatch.setenv("MOBIUS_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "own.safetensors"
    save_file({"f": torch.ones(9, 4), "kind": torch.arange(9) % 3, "number": torch.arange(9)}, path)
    found = CliRunner().invoke(cli.app, ["data", str(path), "--label-column", "kind"])
    assert "own.safetensors: 9 rows of 4 float32, labels 0 to 2" in " ".join(found.output.split())
    with pytest.raises(DataError, match="name it with label_column"):
        CliRunner().invoke(cli.app, ["data", str(path)], catch_exceptions=False)
    with pytest.raises(runs.RunError, match="The embedded data have no columns"):
        CliRunner().invoke(cli.app, ["data", "--label-column", "kind"], catch_exceptions=False)
    found = CliRunner().invoke(cli.app, ["data", "simplex-made", "--scale", "quick"])
    assert "to train on: 400 rows of 512 float32, labels 0 to 19" in " ".join(found.output.split())
    assert len(list((tmp_path / "cache" / "features").glob("made-*/x.npy"))) == 2

    def load(**columns: str) -> Data:
        assert columns == {"feature_column": "f"}
        raise KeyboardInterrupt

    monkeypatch.setitem(RUNS, "simplex-imagenet", replace(RUNS["simplex-imagenet"], data=load))
    found = CliRunner().invoke(cli.app, ["data", "simplex-imagenet", "--feature-column", "f"])
    assert found.exit_code == 130 and "the same command continues" in found.output


def test_ledger_judges_a_folder_of_results(server, tmp_path):
    """Of an empty one: what code alone can tell is told, and the rest waits for a run."""
    (tmp_path / "empty").mkdir()
    ended = server.run(tmp_path, "mobius ledger --json --results empty --chapter 1")
    assert ended.status == 0 and ended.err == ""
    found = {each["claim"]["id"]: each for each in json.loads(ended.out)}
    assert list(found) == [claim.id for claim in ledger.load_claims() if claim.chapter == 1]
    waiting = [each for each in found.values() if each["outcome"] == "awaits"]
    assert waiting and all(each["command"].startswith("mobius run ") for each in waiting)
    assert any(each["outcome"] == "reproduced" for each in found.values())


def test_ledger_of_a_chapter_that_is_not_there(server, tmp_path):
    for chapter in ("0", "9", "-1"):
        ended = server.run(tmp_path, f"mobius ledger --chapter {chapter}")
        assert ended.status == 2 and ended.out == ""
        assert ended.err == f"Error: The ledger has no chapter {chapter}; it has 1, 2, 3, 4, 5.\n"


def test_ledger_of_a_claim_that_is_not_there(server, tmp_path):
    """Close names come first, and all of them are told."""
    names = [claim.id for claim in ledger.load_claims()]
    ended = server.run(tmp_path, f"mobius ledger {names[5]}x")
    assert ended.status == 2 and ended.out == ""
    assert ended.err.startswith(f"Error: No claim is called '{names[5]}x'; there are {names[5]}, ")
    assert sorted(re.split(", ", ended.err.split("there are ")[1].rstrip(".\n"))) == sorted(names)


@pytest.fixture
def judged(made_up):
    """The ledger of made-up verdicts, and what its judge was asked for."""
    asked = []

    def judge(**given):
        asked.append(given)
        chosen = select([v.claim for v in made_up], given["only"], given["chapter"])
        return [v for v in made_up if v.claim in chosen]

    claims = [v.claim for v in made_up]
    with patch.object(ledger, "judge", judge), patch.object(ledger, "load_claims", lambda: claims):
        yield asked


def test_ledger_of_a_folder_and_of_none(judged, tmp_path):
    assert invoke("ledger", "--json").exit_code == 0
    assert invoke("ledger", "--json", "--results", str(tmp_path), "--chapter", "2").exit_code == 0
    missing = invoke("ledger", "--results", str(tmp_path / "none"))
    nothing = {"results_dir": None, "only": None, "chapter": None}
    assert judged == [nothing, nothing | {"results_dir": tmp_path, "chapter": 2}]  # a chapter is judged alone
    assert isinstance(missing.exception, ledger.LedgerError)
    assert str(missing.exception).startswith(f"There is no folder {tmp_path / 'none'}; --results names")


def test_ledger_in_full_and_as_numbers(judged, made_up):
    """Several ids and wildcards; what is shown in full, and what a program reads."""
    asked = ["claim-1", "claim-5?"]
    shown = [v for v in made_up if v.claim.id == "claim-1" or re.fullmatch("claim-5.", v.claim.id)]
    assert len(shown) > 2
    out = invoke("ledger", *asked).stdout
    assert re.findall(r"(?m)^(claim-\d+): ", out) == [v.claim.id for v in shown]
    assert all(v.claim.statement in out and f"{v.words.split('.')[0]}." in out for v in shown)
    found = json.loads(invoke("ledger", *asked, "--json").stdout)
    assert [ledger.Verdict.model_validate(each) for each in found] == shown
    assert found[0]["measured"] == shown[0].measured and found[0]["claim"]["tolerance"] == 0.25


def test_ledger_check_is_1_for_what_is_stale_or_inconsistent(judged, made_up):
    stale = [v for v in made_up if v.outcome == "stale"]
    found = invoke("ledger", "--check")
    assert found.exit_code == 1
    assert len(stale) > 2 and set(found.stderr.splitlines()) == {
        f"{v.basis}: [o]ther code. On it rest {v.claim.id}." for v in stale
    }
    assert invoke("ledger").exit_code == 0  # it was not asked for
    assert invoke("ledger", "claim-1", "--check").exit_code == 0
    with patch.object(ledger, "judge", side_effect=ledger.LedgerError("x.json [is] damaged.")):
        damaged, plain = invoke("ledger", "--check"), invoke("ledger")
    assert damaged.exit_code == 1 and damaged.stderr == "x.json [is] damaged.\n"
    assert isinstance(plain.exception, ledger.LedgerError)  # `main` makes it a sentence and status 2
    assert isinstance(invoke("ledger", "claim-x", "--check").exception, ledger.LedgerError)


# What it refuses.


def test_a_real_process_with_an_unknown_run(tmp_path):
    process = subprocess.run(
        [sys.executable, "-m", "mobius_lib", "run", "waves-of-sound"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 2 and process.stdout == ""
    assert process.stderr == f"Error: There is no run 'waves-of-sound'; there are {', '.join(RUNS)}.\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("mobius run tiny --scale huge", "has no scale 'huge'; it has quick, full"),
        ("mobius run tiny --backend '[red]magic'", "no backend '[red]magic'; use printed, eager, compiled"),
        ("mobius run tiny --device tpu", "no device 'tpu'"),
        ("mobius run tiny --lr=-1", "lr must be a number above 0"),
        ("mobius run tiny --output .", "cannot be written"),
        ("mobius run tiny --output stdout.txt/x.json", "cannot be written"),
    ],
    ids=lambda text: text.split()[-1],
)
def test_one_sentence_and_status_2(server, tmp_path, line, words):
    ended = server.run(tmp_path, line)
    assert ended.status == 2
    assert ended.err.startswith("Error: ") and ended.err.count("\n") == 1 and ended.err.endswith(".\n")
    assert words in ended.err and "Traceback" not in ended.err


@pytest.mark.parametrize("line", ["run x --seeds 0", "run x --epochs 0", "run x --lr a", "walk", "ledger --chapter a"])
def test_options_of_the_wrong_kind(line):
    result = invoke(*line.split())
    assert result.exit_code == 2 and isinstance(result.exception, SystemExit)
    assert "Usage" in result.output and "Traceback" not in result.output


# Where the result goes.


@pytest.fixture
def spied(tiny_result):
    """Patches `execute`; gives what it was called with."""
    calls: list[tuple[str, str, dict[str, Any]]] = []

    def execute(run: Run, scale: str, **options: Any) -> dict[str, Any]:
        calls.append((run.name, scale, options))
        return tiny_result

    with patch.object(runs, "execute", execute), patch.object(evidence, "enter_made"):
        yield calls


@pytest.fixture(scope="module")
def tiny_result() -> dict[str, Any]:
    row = {"final_accuracy": 0.5, "best_accuracy": 0.5, "parameters": 7, "seconds": 1.0}
    return {"command": "mobius run", "arms": {"lens": [row]}, "cost": {}}


def test_a_result_goes_where_the_ledger_reads(server, tmp_path):
    """With no word about folders. What options have changed takes the place of no other record."""
    ended = server.run(tmp_path / "here", "mobius run tiny --epochs 1", MOBIUS_DATA=str(tmp_path / "data [1]"))
    assert ended.status == 0, ended.err
    written = tmp_path / "data [1]" / "results" / "tiny.quick.epochs1.json"
    assert load_result(written)["configuration"]["epochs"] == 1
    assert f"Result written to {written}\n" in ended.out
    assert not (tmp_path / "here" / "results").exists()


def test_folders_of_results(spied, monkeypatch, tmp_path):
    name = "waves-features"
    monkeypatch.delenv("MOBIUS_DATA", raising=False)
    assert invoke("run", name, "--scale", "full").exit_code == 0
    assert spied[-1][2]["output"] == ROOT / "data" / "results" / "waves-features.full.json"
    monkeypatch.setenv("MOBIUS_DATA", str(tmp_path))
    invoke("run", name)
    assert spied[-1][2]["output"] == tmp_path / "results" / "waves-features.quick.json"
    invoke("run", name, "--output", "mine [1].json")
    assert spied[-1][2]["output"] == Path("mine [1].json")
    # installed without a checkout: the package is no place for results
    monkeypatch.setattr(paths, "data_dir", lambda: paths.PACKAGE / "_data")
    result = invoke("run", name)
    assert spied[-1][2]["output"] == Path("results") / "waves-features.quick.json"
    assert "mobius ledger --results results" in result.output


def test_what_changes_the_numbers_has_a_work_folder_of_its_own(spied):
    lines = [
        "--scale full",
        "",
        "--epochs 2",
        "--train-samples 2",
        "--test-samples 2",
        "--batch-size 2",
        "--lr 2",
        "--backend printed",
    ]
    for line in lines:
        assert invoke("run", "waves-images", *line.split()).exit_code == 0
    folders = [options["work"] for *_, options in spied]
    assert len(set(folders)) == len(lines) and all(folder.parent == Path("outputs/waves-images") for folder in folders)
    for line in ("--seeds 5", "--output elsewhere.json", "--device cpu"):
        invoke("run", "waves-images", *line.split())
        assert spied[-1][2]["work"] == folders[1], "goes on with what is there"


SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "epochs": st.integers(1, 10**6),
        "batch_size": st.integers(1, 10**6),
        "train_samples": st.integers(1, 10**9),
        "test_samples": st.integers(1, 10**9),
        "lr": st.floats(min_value=0, exclude_min=True, allow_infinity=False),
        "precision": st.sampled_from(["bf16", "fp16"]),
        "accumulate": st.integers(1, 100),
    },
)


@settings(max_examples=40)
@given(
    name=st.sampled_from(list(RUNS)),
    scale=st.sampled_from(["quick", "full"]),
    seeds=st.integers(1, 1000),
    changes=SETTINGS,
    backend=st.sampled_from(["printed", "eager", "compiled"]),
)
def test_the_command_in_a_result_asks_for_the_same(tiny_result, name, scale, seeds, changes, backend):
    calls = []

    def execute(run: Run, scale: str, **options: Any) -> dict[str, Any]:
        calls.append((run, scale, options))
        return tiny_result

    line = command(RUNS[name], scale, seeds, changes, backend)
    with patch.object(runs, "execute", execute), patch("mobius_lib.runs.evidence.enter_made") as entered:
        result = invoke(*shlex.split(line)[1:])
    assert result.exit_code == 0, result.output
    entered.assert_called_once()
    (run, asked, options), *rest = calls
    assert not rest and run is RUNS[name] and asked == scale
    assert options["seeds"] == seeds and options["backend"] == backend
    numbers = [field for field in Scale.__dataclass_fields__ if field != "note"]
    assert {key: options[key] for key in numbers if options[key] is not None} == changes


def test_the_command_in_a_result_makes_it_again(server, tmp_path):
    line = "mobius run tiny --scale full --epochs 2 --lr 0.015 --batch-size 12 --train-samples 50 --test-samples 25"
    first = server.run(tmp_path, f"{line} --backend printed --output first.json --work one")
    assert first.status == 0
    result = load_result(tmp_path / "first.json")
    again = server.run(tmp_path, f"{result['command']} --output again.json --work two")
    assert again.status == 0
    assert lasting(load_result(tmp_path / "again.json")) == lasting(result)


# Killed, and started again.


@pytest.mark.parametrize("moment", [0.45, 1.0])
def test_killed_and_started_again(server, undisturbed, tmp_path, moment):
    """At 1.0 the result itself is written, and has not got its name."""
    ended, expected = undisturbed
    killed = server.run(tmp_path, TINY, signal.SIGKILL, at=max(1, int(moment * ended.replaced)))
    assert killed.status == -signal.SIGKILL
    assert not (tmp_path / "result.json").exists()
    again = server.run(tmp_path, TINY)
    assert again.status == 0, again.err
    assert lasting(load_result(tmp_path / "result.json")) == lasting(expected)
    assert {path.name for path in tmp_path.iterdir()} == {
        *("result.json", "outputs", "stdout.txt", "stderr.txt", "calls.txt")
    }


def test_stopped_by_hand_and_started_again(server, undisturbed, tmp_path):
    """Ctrl-C, and then to the end."""
    ended, expected = undisturbed
    stopped = server.run(tmp_path, TINY, signal.SIGINT, at=2 * ended.replaced // 3)
    assert stopped.status == 130
    assert stopped.err.splitlines()[-1] == "Stopped; the same command continues."
    assert "Traceback" not in stopped.err and not (tmp_path / "result.json").exists()
    again = server.run(tmp_path, TINY)
    assert again.status == 0 and again.replaced < ended.replaced, "it did not begin at the beginning"
    assert lasting(load_result(tmp_path / "result.json")) == lasting(expected)


def test_goes_on_elsewhere(server, undisturbed, tmp_path):
    """The folder of --work, taken to another home, another cache and another place, as a session's drive is."""
    ended, expected = undisturbed
    for name in ("first", "second/home", "second/temporary"):
        (tmp_path / name).mkdir(parents=True)
    assert server.run(tmp_path / "first", TINY, signal.SIGKILL, at=ended.replaced // 2).status == -signal.SIGKILL
    (tmp_path / "first" / "outputs").rename(tmp_path / "second" / "drive")
    other = {"HOME": "home", "XDG_CACHE_HOME": "home/cache", "TMPDIR": "temporary", "MOBIUS_CACHE": "home/mobius"}
    absolute = {name: str(tmp_path / "second" / path) for name, path in other.items()}
    again = server.run(tmp_path / "second", f"{TINY} --work drive", **absolute)
    assert again.status == 0 and again.replaced < ended.replaced, "it did not begin at the beginning"
    assert lasting(load_result(tmp_path / "second" / "result.json")) == lasting(expected)


# What a shell completes.


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("mobius le", ["ledger"]),
        ("mobius run gauge-", [name for name in ABOUT if name.startswith("gauge-")]),
        ("mobius run waves-features --scale ", ["quick", "short", "long", "full"]),
        ("mobius run --seeds 3 waves-clip --scale f", ["full"]),
        ("mobius run --scale ", []),
    ],
)
def test_what_a_shell_completes(tmp_path, line, expected):
    """By the installed command's own name, as a shell asks; an option whose run is not known yet completes nothing."""
    code = "import sys; sys.argv = ['mobius']; from mobius_lib.cli import main; main()"
    asked = {"_MOBIUS_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    process = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, **asked, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0 and process.stdout.split() == expected, process.stderr


# What an import costs.


@pytest.mark.parametrize("line", ["--help", "run --help", "run --list", "run cantor-mask --list", "ledger --help"])
def test_help_and_lists_import_neither_torch_nor_numpy(tmp_path, line):
    code = (
        "import sys\nfor name in ('torch', 'numpy'): sys.modules[name] = None\n"  # None: importing it raises
        f"sys.argv = ['mobius', *{line.split()!r}]\nfrom mobius_lib.cli import main\nmain()"
    )
    process = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0 and process.stdout, process.stderr


def test_every_run_is_what_is_said_of_it():
    assert list(RUNS) == list(ABOUT)
    for name, run in RUNS.items():
        assert {field: getattr(run, field) for field in vars(ABOUT[name])} == vars(ABOUT[name])
        for scale in run.scales:
            there = run.at(scale)
            assert (there.name, there.chapter, there.scales) == (name, ABOUT[name].chapter, ABOUT[name].scales)


def test_importing_the_library_imports_little():
    """Nothing that only training, notebooks or the command need."""
    heavy = {
        *("accelerate", "torchvision", "safetensors", "huggingface_hub", "matplotlib", "pydantic", "typer", "rich"),
        *("yaml", "tensorboard", "anywidget", "ipywidgets", "sklearn", "pyarrow", "pooch", "IPython"),
    }
    code = "import sys; from mobius_lib import *; MobiusNet(); print(*{name.split('.')[0] for name in sys.modules})"
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    loaded = set(process.stdout.split())
    assert "torch" in loaded and not loaded & heavy
