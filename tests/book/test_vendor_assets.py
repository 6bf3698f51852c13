"""The scripts that the pages bring along are fetched once, whole or not at all."""

import os
from pathlib import Path

import pytest

from tests.book.small import write
from tools import vendor_assets


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Stands in for npm; gives the folders into which was fetched."""
    folders: list[Path] = []

    def fetch(folder: Path) -> Path:
        folders.append(folder)
        files = [f"es5/{part}" + ("" if "." in part else "/a.js") for part in vendor_assets.MATHJAX_PARTS]
        write(folder / "package", {name: f"what is in {name}" for name in files})
        return folder / "package"

    monkeypatch.setattr(vendor_assets, "_fetch", fetch)
    return folders


def test_they_are_fetched_once(tmp_path: Path, fetched: list[Path]):
    target = vendor_assets.vendor(tmp_path)
    assert target == vendor_assets.vendor(tmp_path) and len(fetched) == 1
    assert (target / "mathjax/tex-mml-chtml.js").is_file() and (target / "mathjax/ui/a.js").is_file()
    (target / ".DS_Store").touch()  # what a file manager leaves is no reason
    vendor_assets.vendor(tmp_path)
    assert len(fetched) == 1
    assert {path.name for path in target.parent.iterdir()} == {"vendor", "vendor.json"}


@pytest.mark.parametrize("name", ["mathjax/tex-mml-chtml.js", "mathjax/output/chtml/fonts/a.js"])
@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("cut sh", "utf-8")])
def test_what_is_missing_or_damaged_is_fetched_anew(tmp_path: Path, fetched: list[Path], name: str, damage):
    target = vendor_assets.vendor(tmp_path)
    whole = (target / name).read_bytes()
    damage(target / name)
    vendor_assets.vendor(tmp_path)
    assert len(fetched) == 2 and (target / name).read_bytes() == whole


def test_a_folder_of_which_nobody_wrote_down_the_content(tmp_path: Path, fetched: list[Path]):
    target = vendor_assets.vendor(tmp_path)
    target.with_suffix(".json").write_text("{", "utf-8")
    vendor_assets.vendor(tmp_path)
    assert len(fetched) == 2


def test_filling_that_was_killed(tmp_path: Path, fetched: list[Path], monkeypatch: pytest.MonkeyPatch):
    """It fills a folder beside the target, on the same file system, and the next build clears it away."""
    with monkeypatch.context() as patch:
        patch.setattr(vendor_assets, "listing", lambda folder: os._exit(137))
        killed = os.fork()
        if not killed:
            vendor_assets.vendor(tmp_path)
        assert os.waitstatus_to_exitcode(os.waitpid(killed, 0)[1]) == 137
    built = tmp_path / "_build"
    (left,) = built.iterdir()
    assert left.name.startswith("vendor-") and (left / "static/mathjax/tex-mml-chtml.js").is_file()
    vendor_assets.vendor(tmp_path)
    assert {path.name for path in built.iterdir()} == {"vendor", "vendor.json"}
