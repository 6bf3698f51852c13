"""Where data comes from: checked on disk, fetched when absent, and one sentence when neither works."""

import errno
import gc
import http.server
import os
import shutil
import socket
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mobius_lib.datasets import data_dir, fashion_mnist, features, fetch, paths, registry
from mobius_lib.errors import DataError

FEATURES = "features_test.safetensors"
LABELS = "FashionMNIST/raw/t10k-labels-idx1-ubyte.gz"
IMAGES = "FashionMNIST/raw/t10k-images-idx3-ubyte.gz"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with a copy of three embedded files, to be damaged."""
    copy = tmp_path / "data [1]"  # a name with signs in it, as people have them
    for name in (FEATURES, LABELS, IMAGES, "SHA256SUMS"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(paths.PACKAGE.parent / "data" / name, copy / name)
    monkeypatch.setenv("MOBIUS_DATA", str(copy))
    return copy


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where downloads go."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mobius"


class Served(http.server.SimpleHTTPRequestHandler):
    """A folder, some files of which are sent altered, or not to their end."""

    altered: dict[str, bytes]
    requests: list[str]

    def do_GET(self) -> None:
        name = self.path.removeprefix("/main/data/")
        self.requests.append(name)
        path = Path(self.directory) / name
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(self.altered.get(name, content))

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Served]]:
    """The repository's data folder on this machine's own network."""

    class Handler(Served):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(paths.PACKAGE.parent / "data"))

    Handler.altered, Handler.requests = {}, []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setattr(paths, "raw_address", lambda: f"http://127.0.0.1:{running.server_port}/main")
        yield Handler
        running.shutdown()
        thread.join()
    with warnings.catch_warnings():
        # pooch leaves the connection of a download that failed to the garbage collector, which grumbles
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def no_network(cache: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An address where nobody listens: bound a moment ago, and closed again."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/main"
    monkeypatch.setattr(paths, "raw_address", lambda: address)
    return address


def sentence(error: pytest.ExceptionInfo, *words: str) -> None:
    """One line, with these words in it."""
    text = str(error.value)
    assert "\n" not in text and "Traceback" not in text
    for word in words:
        assert word in text, f"{word!r} is not in {text!r}"


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_checkout_reads_its_own_data_from_anywhere(monkeypatch, tmp_path):
    monkeypatch.delenv("MOBIUS_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    assert data_dir() == paths.PACKAGE.parent / "data"
    assert fetch(LABELS) == data_dir() / LABELS


def test_a_relative_mobius_data_stays_the_same_folder_elsewhere(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("MOBIUS_DATA", folder.name)
    path = fetch(LABELS)
    monkeypatch.chdir(folder)
    assert path.is_file()


def test_a_good_copy_is_read_and_no_more_than_once(folder, monkeypatch):
    x, y = features("test")
    counted = []
    monkeypatch.setattr(paths, "sha256", lambda path: counted.append(path))
    again, labels = features("test")
    assert torch.equal(x, again) and torch.equal(y, labels) and counted == []


@pytest.mark.parametrize("position", [0, 1000, -1])
def test_one_flipped_bit(folder, position):
    content = bytearray((folder / FEATURES).read_bytes())
    content[position] ^= 1
    (folder / FEATURES).write_bytes(content)
    with pytest.raises(DataError) as error:
        features("test")
    sentence(error, str(folder / FEATURES), "is damaged", "SHA-256", "delete it, and it is fetched")
    assert "git" not in str(error.value), "git knows nothing of this folder"
    shutil.copy(paths.PACKAGE.parent / "data" / FEATURES, folder / FEATURES)
    assert len(features("test")[0]) == 2000, "mended, it is read: the complaint is not remembered"


@pytest.mark.parametrize("chosen", [False, True], ids=["by itself", "by MOBIUS_DATA"])
def test_damage_in_a_checkout_is_mended_by_git(folder, monkeypatch, chosen):
    monkeypatch.setattr(paths, "PACKAGE", folder.parent / "mobius_lib")
    home = folder.rename(folder.parent / "data")
    (home / FEATURES).write_bytes(b"")
    if chosen:
        monkeypatch.setenv("MOBIUS_DATA", str(home / ".." / "data"))
    else:
        monkeypatch.delenv("MOBIUS_DATA")
    with pytest.raises(DataError) as error:
        features("test")
    sentence(error, "is damaged", "delete it")  # unpacked, say: there is no git
    (folder.parent / ".git").mkdir()
    with pytest.raises(DataError) as error:
        features("test")
    sentence(error, "is damaged", f"git checkout -- data/{FEATURES}")


@pytest.mark.parametrize("size", [0, 1, 800_000])
def test_truncated(folder, size):
    os.truncate(folder / IMAGES, size)
    with pytest.raises(DataError) as error:
        fashion_mnist("test")
    sentence(error, str(folder / IMAGES), "is damaged", f"{size:,} bytes")


def test_absent_without_network(folder, no_network, cache):
    (folder / FEATURES).unlink()
    with pytest.raises(DataError) as error:
        features("test")
    sentence(error, FEATURES, str(folder), no_network, "connect to the network", "MOBIUS_DATA")
    assert files(cache) == []


def test_absent_and_not_installed(folder, cache, monkeypatch):
    def nothing(name: str) -> None:
        raise paths.metadata.PackageNotFoundError(name)

    (folder / FEATURES).unlink()
    monkeypatch.setattr(paths.metadata, "metadata", nothing)
    with pytest.raises(DataError) as error:
        features("test")
    sentence(error, "not installed", "pip install", "MOBIUS_DATA")


def test_absent_files_are_fetched_once_and_checked(folder, server, cache):
    expected, here = features("test"), fashion_mnist("test")
    (folder / FEATURES).unlink()
    paths._verified.cache_clear()
    fetched = features("test")
    assert all(map(torch.equal, fetched, expected))
    assert server.requests == [FEATURES]
    paths._verified.cache_clear()  # as in a new process: the cache on disk is enough
    assert fetch(FEATURES) == cache / FEATURES
    assert server.requests == [FEATURES]

    # one of a pair at home, the other fetched
    (folder / LABELS).unlink()
    paths._verified.cache_clear()
    assert all(map(torch.equal, fashion_mnist("test"), here))
    assert server.requests == [FEATURES, LABELS]
    assert sorted(files(cache)) == sorted([cache / FEATURES, cache / LABELS])


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda content: content[:-1] + b"\xff", id="one byte wrong"),
        pytest.param(lambda content: content[:1000], id="the connection breaks off"),
        pytest.param(lambda content: b"", id="nothing comes"),
    ],
)
def test_what_is_fetched_wrong_is_refused_and_not_kept(folder, server, cache, change):
    content = (folder / LABELS).read_bytes()
    (folder / LABELS).unlink()
    server.altered[LABELS] = change(content)
    with pytest.raises(DataError) as error:
        fetch(LABELS)
    sentence(error, LABELS, "could not be fetched")
    assert server.requests == [LABELS] and files(cache) == []
    server.altered.clear()
    assert fetch(LABELS).read_bytes() == content


@pytest.mark.parametrize("where", ["os.makedirs", "tempfile.NamedTemporaryFile", "shutil.move"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES], ids=errno.errorcode.get)
def test_a_cache_that_takes_nothing(folder, server, cache, monkeypatch, where, number):
    (folder / FEATURES).unlink()
    (cache.parent if where == "os.makedirs" else cache).mkdir(parents=True)

    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(where, refuse)
    with pytest.raises(DataError) as error:
        fetch(FEATURES)
    sentence(error, "cannot be written", os.strerror(number).lower(), "GB free", "make room there", "MOBIUS_CACHE")


def test_fetched_and_damaged_later(folder, server, cache):
    content = (folder / LABELS).read_bytes()
    (folder / LABELS).unlink()
    fetch(LABELS)
    (cache / LABELS).write_bytes(content[:-1])
    paths._verified.cache_clear()
    assert fetch(LABELS).read_bytes() == content
    assert server.requests == [LABELS, LABELS]


def test_not_on_the_server(folder, server, cache):
    name = "moved.bin"
    with (folder / "SHA256SUMS").open("a") as file:
        file.write(f"{'0' * 64}  {name}\n")
    with pytest.raises(DataError) as error:
        fetch(name)
    sentence(error, name, "404")
    assert files(cache) == []


@pytest.mark.parametrize("name", ["features.safetensors", "", "../SHA256SUMS", "/etc/hostname", "FashionMNIST"])
def test_unknown_name(name):
    with pytest.raises(DataError) as error:
        fetch(name)
    sentence(error, f"no embedded file {name!r}", FEATURES, LABELS)


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"\xff\xfe\x00garbage",
        b"<!DOCTYPE html>\n<title>404  not found</title>\n",
        b"09aa97682083115044dc77b8ec4e569a",
        b"09aa97682083115044dc77b8ec4e569af5f5a825f373ff2d26f91182cbfabe32  good\n09aa  half a line\n",
    ],
    ids=["missing", "empty", "binary", "a web page", "cut short", "half a line"],
)
def test_list_of_hashes_missing_or_damaged(folder, content):
    path = folder / "SHA256SUMS"
    path.unlink() if content is None else path.write_bytes(content)
    for call in (registry, lambda: fetch(FEATURES), lambda: features("test")):
        with pytest.raises(DataError) as error:
            call()
        sentence(error, f"{path} is missing or damaged", "MOBIUS_DATA")


def test_a_list_that_an_editor_of_windows_saved_is_the_same_list(folder):
    path = folder / "SHA256SUMS"
    expected = registry()
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert registry() == expected


def test_the_address_is_of_this_repository(pytestconfig):
    text = (pytestconfig.rootpath / "pyproject.toml").read_text(encoding="utf-8")
    owner_and_name = text.split('Repository = "https://github.com/')[1].split('"')[0]
    assert paths.raw_address() == f"https://raw.githubusercontent.com/{owner_and_name}/main"


@pytest.mark.parametrize("free", [999_999_999, None])
def test_too_little_memory_is_told(monkeypatch, free):
    monkeypatch.setattr(paths, "available_memory", lambda: free)
    if free is None:  # a system that does not tell
        paths.check_memory(10**15, "The pictures")
        return
    paths.check_memory(free, "The pictures")
    with pytest.raises(
        DataError, match=r"The pictures take 1\.5 GB of memory, and 1\.0 GB are free; end other programs"
    ):
        paths.check_memory(1_500_000_000, "The pictures")


def test_the_memory_of_this_machine():
    if sys.platform == "linux":
        assert 0 < paths.available_memory() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
