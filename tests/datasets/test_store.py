"""Large features, converted once: the same numbers, at any moment of a kill, in little memory, by one of two."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from huggingface_hub import constants

from mobius_lib.datasets import feature_files, shards, store
from mobius_lib.datasets.feature_files import imagenet_clip, load_features
from mobius_lib.errors import DataError
from tests.hub.stand_in import stand_in

DIM = 8


def write(folder: Path, rows: int, files: int = 3, dim: int = DIM, group: int = 10_000) -> Path:
    """Parquet shards of float32 rows in groups of so many; row i is of class i % 7."""
    folder.mkdir(exist_ok=True, parents=True)
    draw = np.random.default_rng(0)
    kind = pa.schema({"features": pa.list_(pa.float32(), dim), "label": pa.int64()})
    at = 0
    for i in range(files):
        with pq.ParquetWriter(folder / f"{i}.parquet", kind) as writer:
            for start in range(0, rows // files, group):
                n = min(group, rows // files - start)
                x = draw.standard_normal((n, dim), dtype=np.float32)
                y = pa.array(np.arange(at, at + n) % 7)
                writer.write_table(pa.table([pa.FixedSizeListArray.from_arrays(x.ravel(), dim), y], schema=kind))
                at += n
    return folder


@pytest.fixture
def mapped(tmp_path, monkeypatch) -> Path:
    """Everything goes through the store, ten rows at a time; the folder of all stores."""
    monkeypatch.setenv("MOBIUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(feature_files, "RESIDENT", 0)
    monkeypatch.setattr(shards, "SLICE", 10)
    return tmp_path / "cache" / "features"


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def only(stores: Path) -> Path:
    (folder,) = [path for path in stores.iterdir() if path.is_dir()]
    return folder


@pytest.mark.parametrize("ending", ["parquet", "safetensors", "npy"])
def test_the_same_numbers_as_in_memory(mapped, tmp_path, monkeypatch, ending):
    from safetensors.numpy import save_file

    folder = write(tmp_path / "data", 66)
    path = folder if ending == "parquet" else tmp_path / f"x.{ending}"
    if ending != "parquet":
        monkeypatch.setattr(feature_files, "RESIDENT", 2**28)
        x, y = (part.numpy() for part in load_features(folder, normalise=False))
        save_file({"f": x, "label": y}, path) if ending == "safetensors" else np.save(path, x)
        np.save(path.with_suffix(".labels.npy"), y)
        monkeypatch.setattr(feature_files, "RESIDENT", 0)
    found = load_features(path)
    monkeypatch.setattr(feature_files, "RESIDENT", 2**28)
    assert all(map(torch.equal, found, load_features(path)))
    assert found[0].dtype == torch.float32 and found[1].dtype == torch.int64
    assert torch.equal(torch.from_numpy(np.load(only(mapped) / "x.npy")), found[0])  # any reader of .npy can have it


def test_it_is_converted_once(mapped, tmp_path, monkeypatch):
    folder = write(tmp_path / "data", 66)
    first = load_features(folder)
    monkeypatch.setattr(shards.Shard, "slices", lambda *_: pytest.fail("read again"))
    assert all(map(torch.equal, load_features(folder), first))


def test_what_is_converted_takes_no_room_and_no_lock(mapped, tmp_path, monkeypatch):
    folder = write(tmp_path / "data", 66)
    first = load_features(folder)
    for name in ("disk_usage", "rmtree"):
        monkeypatch.setattr(store.shutil, name, lambda *_: pytest.fail("nothing is to be written"))
    monkeypatch.setattr("filelock.FileLock", lambda *_: pytest.fail("a folder that is not ours takes no lock"))
    assert all(map(torch.equal, load_features(folder), first))


def test_other_files_columns_or_settings_are_converted_anew(mapped, tmp_path):
    folder = write(tmp_path / "data", 66)
    scaled = load_features(folder)[0]
    raw = load_features(folder, normalise=False)[0]
    assert not torch.equal(scaled, raw)
    pq.write_table(pq.read_table(folder / "1.parquet").slice(0, 20), folder / "1.parquet")
    assert len(load_features(folder)[0]) == 64


@pytest.mark.parametrize("damage", ["x.npy", "y.npy", "about.json"])
def test_a_damaged_store_is_made_anew(mapped, tmp_path, damage):
    folder = write(tmp_path / "data", 66)
    first = [part.clone() for part in load_features(folder)]
    path = only(mapped) / damage
    path.write_bytes(path.read_bytes()[:-9])
    assert all(map(torch.equal, load_features(folder), first))


def test_one_file_twice(mapped, tmp_path):
    folder = write(tmp_path / "data", 66)
    (folder / "9.parquet").write_bytes((folder / "1.parquet").read_bytes())
    with pytest.raises(DataError, match=r"9\.parquet holds the same bytes as 1\.parquet; take one of them away"):
        load_features(folder)


@pytest.mark.parametrize("system", ["No space left on device", "Read-only file system", "Permission denied"])
def test_a_cache_that_takes_nothing(mapped, tmp_path, monkeypatch, system):
    numbers = {"No space left on device": 28, "Read-only file system": 30, "Permission denied": 13}
    folder = write(tmp_path / "data", 66)

    def refuse(*_):
        raise OSError(numbers[system], system)

    monkeypatch.setattr(store, "_sync", refuse)
    with pytest.raises(DataError, match=rf"{system.lower()}, .* GB free\); make room there.*MOBIUS_CACHE"):
        load_features(folder)


def test_no_room_is_told_before_anything_is_read(mapped, tmp_path, monkeypatch):
    folder = write(tmp_path / "data", 66)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _: type("", (), {"free": 100}))
    with pytest.raises(DataError, match=r"needs 0\.0 GB of disk, and 0\.0 GB are free"):
        load_features(folder)
    assert not mapped.exists()


CHILD = """
import os, sys
from mobius_lib.datasets import feature_files, shards, store
feature_files.RESIDENT, shards.SLICE = 0, int(sys.argv[2])
{}
x, y = feature_files.load_features(sys.argv[1])
print(len(x), *found() if "found" in globals() else ())
"""


def child(folder: Path, before: str = "", rows: int = 10) -> subprocess.Popen:
    code = CHILD.format(textwrap.dedent(before))
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", code, str(folder), str(rows)], text=True, **pipes)


# what stands before the moment, and how often it has come when the process is killed
MOMENTS = {
    "in the first slice": ("store._as", 1),
    "in the middle of the second shard": ("store._as", 13),
    "before the first shard is on the disk": ("store._sync", 0),
    "after it, before that is noted": ("store._sync", 1),
    "after it is noted": ("store.write_json", 1),
    "when all are noted": ("store.write_json", 3),
    "after the header": ("store._write_header", 1),
    "before the last file": ("store._sync", 4),
    "before the folder has its name": ("store.write_json", 4),
    "after it": ("os.rename", 1),
}


KILLED = """
import json, os, shutil, sys
from pathlib import Path
from mobius_lib.datasets import feature_files, hub_files, shards, store
from mobius_lib.progress import Bar
import huggingface_hub.utils, pyarrow.parquet
feature_files.RESIDENT, feature_files.ROWS, feature_files.DIMS, shards.SLICE, hub_files._CHUNK = 0, {}, {}, 10, 100
modules = {"store": store, "os": os, "Bar": Bar, "shutil": shutil}

def load():
    try:
        if sys.argv[1] == "hub":
            feature_files.imagenet_clip("train")
        else:
            feature_files.load_features(sys.argv[1])
    finally:
        os._exit(0)

ends = {}
for moment, (name, times) in {"never": ("os.rename", 9), **json.loads(sys.argv[2])}.items():
    os.environ["MOBIUS_CACHE"] = str(Path(os.environ["HOME_OF_ALL"], moment))
    module, function = name.split(".")
    whole, left = getattr(modules[module], function), [times]

    def counted(*given, **named):
        if left[0] == 0:
            os.kill(os.getpid(), 9)
        found = whole(*given, **named)
        left[0] -= 1
        if left[0] == 0 and times:
            os.kill(os.getpid(), 9)
        return found

    if (process := os.fork()) == 0:
        setattr(modules[module], function, counted)
        load()
    ends[moment] = os.waitpid(process, 0)[1]
    if (process := os.fork()) == 0:
        load()
    os.waitpid(process, 0)
print(json.dumps(ends))
"""


FETCHING = {
    "before the first byte": ("Bar.add", 1),
    "at the beginning of the first file": ("Bar.add", 3),
    "in the middle of the first file": ("Bar.add", 9),
    "before the file has its name": ("os.replace", 0),
    "after the file has its name": ("os.replace", 1),
    "when the file is converted": ("store._as", 2),
    "before the file is taken away": ("shutil.rmtree", 1),
    "after the file is taken away": ("shutil.rmtree", 2),
    "in the second file": ("os.replace", 3),
    "when the last is converted": ("store._sync", 2),
}


def ends_of(place: Path, source: str, moments: dict, **further: str) -> dict[str, int]:
    """Has processes killed and others go on, and tells how the first ended. They are forks of one, with torch."""
    command = [sys.executable, "-W", "ignore", "-c", KILLED, source, json.dumps(moments)]
    there = {**os.environ, "HOME_OF_ALL": str(place), **further}
    return json.loads(subprocess.run(command, env=there, capture_output=True, text=True, check=True).stdout)


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> tuple[Path, dict[str, int]]:
    place = tmp_path_factory.mktemp("killed")
    return place, ends_of(place, str(write(place / "data", 66)), MOMENTS)


@pytest.fixture(scope="module")
def killed_fetching(tmp_path_factory) -> tuple[Path, dict[str, int], list]:
    place = tmp_path_factory.mktemp("fetching")
    write(place / "hub" / "clip_vit_l14" / "train", 66)
    with stand_in(place / "hub") as server:
        return place, ends_of(place, "hub", FETCHING, HF_ENDPOINT=server.address), server.requests


@pytest.mark.parametrize("moment", FETCHING)
def test_killed_while_fetching_it_ends_byte_equal(killed_fetching, moment):
    place, ends, requests = killed_fetching
    assert os.WTERMSIG(ends[moment]) == signal.SIGKILL and ends["never"] == 0
    (stores,) = (place / moment / "features").iterdir()
    assert content(only(stores)) == content(only(next((place / "never" / "features").iterdir())))
    assert {path.suffix for path in stores.iterdir() if path.is_file()} == {".lock"}, "no part is left"
    assert any(wanted not in (None, "bytes=0-") for _, wanted in requests), "what had come was asked for again"


def test_ctrl_c_ends_it_once_while_the_hub_is_silent(tmp_path):
    write(tmp_path / "hub" / "clip_vit_l14" / "train", 66)
    # which is ignored where tests run in the background
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "from mobius_lib.datasets import feature_files; feature_files.imagenet_clip('train')"
    with stand_in(tmp_path / "hub") as server:
        server.faults, server.always = [("none",)], ("silent", 300)
        there = {**os.environ, "HF_ENDPOINT": server.address, "MOBIUS_CACHE": str(tmp_path)}
        process = subprocess.Popen([sys.executable, "-c", code], env=there, stderr=subprocess.PIPE, text=True)
        while len(server.requests) < 2:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=100)  # of the 300 seconds that the hub would have it wait
    assert process.returncode == -signal.SIGINT and said.rstrip().endswith("KeyboardInterrupt")


@pytest.mark.parametrize("share", [0.5, 1.0], ids=["for no shard", "for shards and not for all rows"])
def test_a_disk_that_is_full_loses_nothing(tmp_path, monkeypatch, share):
    """The system itself refuses what is written of a file beyond this share of a shard."""
    shards = write(tmp_path / "hub" / "clip_vit_l14" / "train", 600).iterdir()
    room = int(share * max(path.stat().st_size for path in shards))
    assert room < 600 * DIM * 2
    for name, value in {"ROWS": {}, "DIMS": {}}.items():
        monkeypatch.setattr(feature_files, name, value)
    with stand_in(tmp_path / "hub") as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        template = f"{server.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setenv("MOBIUS_CACHE", str(tmp_path / "whole"))
        expected = imagenet_clip("train")
        monkeypatch.setenv("MOBIUS_CACHE", str(tmp_path / "full"))
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
        try:
            with pytest.raises(DataError, match=r"cannot be written \(file too large, .* GB free\); make room there"):
                imagenet_clip("train")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert all(map(torch.equal, imagenet_clip("train"), expected))


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_any_moment_it_ends_byte_equal(killed, moment):
    place, ends = killed
    assert os.WTERMSIG(ends[moment]) == signal.SIGKILL and ends["never"] == 0
    stores = place / moment / "features"
    assert content(only(stores)) == content(only(place / "never" / "features"))
    assert [path.suffix for path in stores.iterdir() if path.is_file()] == [".lock"]


def test_shards_that_were_done_are_not_read_again(mapped, tmp_path, monkeypatch):
    folder = write(tmp_path / "data", 66)
    whole, read = store.write_json, []

    def stop(*given, **named):
        whole(*given, **named)
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "write_json", stop)
    with pytest.raises(KeyboardInterrupt):
        load_features(folder)
    monkeypatch.setattr(store, "write_json", whole)
    slices = shards.Shard.slices
    monkeypatch.setattr(shards.Shard, "slices", lambda self, *a: read.append(self.path.name) or slices(self, *a))
    load_features(folder)
    assert read == ["1.parquet", "2.parquet"]


def test_of_two_processes_one_converts(mapped, tmp_path):
    folder = write(tmp_path / "data", 66)
    counted = """
    made, whole = [], store._make
    def counted(*given):
        import time
        made.append(1)
        time.sleep(1)
        whole(*given)
    store._make = counted
    found = lambda: [len(made)]
    """
    both = [child(folder, counted) for _ in range(2)]
    said = sorted(process.communicate(timeout=120)[0].split()[1] for process in both)
    assert said == ["0", "1"]


@pytest.mark.parametrize("group", [10_000, 200_000])
def test_the_memory_does_not_grow_with_the_rows(mapped, tmp_path, group):
    """Nor with those of a group, of which pandas makes one.

    From 20,000 to 200,000 rows of 128: 92 MB more of data; what the system keeps of files it can take back. The peak is
    the process's own: that of `getrusage` begins at what the process that started it had.
    """
    peaks = {}
    measure = """
    import re
    found = lambda: re.findall(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())
    """
    for rows in (20_000, 200_000):
        process = child(write(tmp_path / str(rows), rows, files=1, dim=128, group=group), measure, rows=2_048)
        count, peaks[rows] = map(int, process.communicate(timeout=300)[0].split())
        assert count == rows
    assert (peaks[200_000] - peaks[20_000]) / 1024 < 25, peaks  # a quarter of it: pages of files, and chance


def test_a_line_now_and_then_where_there_is_no_terminal(mapped, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("mobius_lib.progress.LINE_EVERY", 0)
    load_features(write(tmp_path / "data", 66))
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 9 and re.fullmatch(r"converting: 10 of 66 rows, \d+:\d\d left", said[0])
    assert said[-1] == "converting: 66 of 66 rows"
