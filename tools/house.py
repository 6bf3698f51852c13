"""Facts about the checkout that several tools need: where things are, and the repository's address."""

import hashlib
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
BUILD = "_build"  # under the root, as Jupyter Book has it; ignored by git

ADDRESS = re.compile(r"https://github\.com/(?P<owner>[A-Za-z0-9][A-Za-z0-9-]*)/(?P<name>[A-Za-z0-9._-]+)")
"""A repository's address as it stands in `_config.yml`."""

SETUP_CELL = """\
try:
    import mobius_lib
except ModuleNotFoundError:  # on Colab: fetch the book's library, leave torch as it is
    %pip install -q "mobius_lib[run,widgets] @ git+{url}"
    import mobius_lib
from mobius_lib.notebook import setup

device, scale = setup()"""
"""The first code cell of every notebook, to be completed with the address."""


class BuildError(Exception):
    """Something a person has to mend; the message is one sentence."""


@dataclass(frozen=True)
class Repository:
    """The address of the repository, and the forms in which it appears in the tree."""

    owner: str
    name: str
    branch: str = "main"

    @classmethod
    def parse(cls, url: str, branch: str = "main") -> "Repository":
        """From https://github.com/OWNER/NAME; a final slash or .git is dropped.

        Raises:
            BuildError: for any other form.
        """
        found = ADDRESS.fullmatch(re.sub(r"(\.git)?/?$", "", url.strip()))
        if found is None or found["name"] in {".", ".."}:
            raise BuildError(
                f"{url!r} is no repository address: give one like https://github.com/OWNER/NAME"
                " (Colab opens notebooks from GitHub only)."
            )
        return cls(found["owner"], found["name"], branch)

    @property
    def slug(self) -> str:
        return f"{self.owner}/{self.name}"

    @property
    def url(self) -> str:
        return f"https://github.com/{self.slug}"

    @property
    def pages(self) -> str:
        """Where GitHub publishes the book."""
        return f"https://{self.owner.lower()}.github.io/{self.name}"

    @property
    def colab(self) -> str:
        """Colab's address of the repository's root, without a final slash."""
        return f"https://colab.research.google.com/github/{self.slug}/blob/{self.branch}"

    @property
    def setup_cell(self) -> str:
        return SETUP_CELL.format(url=self.url)


def repository(root: Path = ROOT) -> Repository:
    """The address that stands in `_config.yml`."""
    stated = yaml.safe_load((root / "_config.yml").read_text("utf-8"))["repository"]
    return Repository.parse(stated["url"], stated["branch"])


def pages(root: Path = ROOT) -> list[Path]:
    """The source file of every page of the book, in reading order."""
    toc = yaml.safe_load((root / "_toc.yml").read_text("utf-8"))
    names = [toc["root"], *(chapter["file"] for part in toc["parts"] for chapter in part["chapters"])]
    found = []
    for name in names:
        candidates = [root / f"{name}{suffix}" for suffix in (".ipynb", ".md") if (root / f"{name}{suffix}").is_file()]
        if len(candidates) != 1:
            raise BuildError(f"_toc.yml names {name}, but there are {len(candidates)} files {name}.ipynb or {name}.md.")
        found += candidates
    return found


def notebooks(root: Path = ROOT) -> list[Path]:
    """The pages that are executed."""
    return [page for page in pages(root) if page.suffix == ".ipynb"]


def listing(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file under a folder, by its path there; empty where there is no such folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def source_files(root: Path = ROOT) -> Iterator[Path]:
    """Every file that belongs to the checkout: what git tracks or would track, and outside git everything not made."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=root, capture_output=True
    )
    if listed.returncode == 0:
        paths = [root / os.fsdecode(name) for name in listed.stdout.split(b"\0") if name]
    else:
        made = {BUILD, ".venv", ".git", "__pycache__", ".pytest_cache", ".ruff_cache", ".hypothesis"}
        paths = [path for path in root.rglob("*") if not made & set(path.relative_to(root).parts)]
    return (path for path in sorted(paths) if path.is_file())
