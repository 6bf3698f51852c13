"""A local copy of what Jupyter Book's pages would load from a CDN: MathJax.

It comes through npm, in an exact version and with its published hash, into `_build/vendor`, which a configuration laid
over `_config.yml` hands to Sphinx as static files.
"""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from tools.house import BUILD, ROOT, BuildError, listing

PACKAGE = "mathjax@3.2.2"
SHA512 = "Bt+SSVU8eBG27zChVewOicYs7Xsdt40qm4+UpHyX7k0/O9NliPc+x77k1/FEsPsjKPZGJvtRZM1vO+geW0OhGw=="
"""npm's name and version, and the hash that npm publishes for it."""

MATHJAX_PARTS = (
    "tex-mml-chtml.js",
    "input/tex/extensions",
    "input/mml",
    "output/chtml/fonts",
    "a11y",
    "ui",
    "sre/mathmaps/base.json",
    "sre/mathmaps/en.json",
    "sre/mathmaps/nemeth.json",
)
"""What a page may ask MathJax for: the component that Sphinx loads, its extensions, fonts, menu and spoken English."""


def npm_available() -> bool:
    return shutil.which("npm") is not None


def vendor(root: Path = ROOT) -> Path:
    """Fill `_build/vendor`, unless everything that this file asks for is there, unchanged; returns the folder.

    It is made beside its place, and put there whole. What it holds stands in `_build/vendor.json`, so that a file that
    went missing or was changed is noticed.

    Raises:
        BuildError: when npm cannot fetch the package, or what it fetched is not what was published.
    """
    key = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    target = root / BUILD / "vendor"
    record = target.with_suffix(".json")
    try:
        known = json.loads(record.read_text("utf-8"))
        if known["key"] == key and known["files"].items() <= listing(target).items():
            return target
    except (OSError, ValueError, KeyError):
        pass  # never filled, or the filling was cut short
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob("vendor-*"):  # by a build that was killed
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="vendor-") as folder:
        fetched = _fetch(Path(folder))
        static = Path(folder) / "static"
        for part in MATHJAX_PARTS:
            source, goal = fetched / "es5" / part, static / "mathjax" / part
            goal.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if source.is_dir() else shutil.copy)(source, goal)
        known = {"key": key, "files": listing(static)}
        record.unlink(missing_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        static.rename(target)
    part = record.with_suffix(".part")
    part.write_text(json.dumps(known, indent=1), "utf-8")
    part.replace(record)
    return target


def overlay(config: dict[str, Any]) -> dict[str, Any]:
    """The book's configuration, with the pages' mathematics set by the copy in `_build/vendor`."""
    sphinx = config.setdefault("sphinx", {}).setdefault("config", {})
    sphinx["html_static_path"] = [*sphinx.get("html_static_path", []), f"{BUILD}/vendor"]
    sphinx["mathjax_path"] = "mathematics.js"  # which fetches it
    return config


def _fetch(folder: Path) -> Path:
    """Download and unpack the package; returns its folder."""
    packed = subprocess.run(
        ["npm", "pack", "--silent", "--ignore-scripts", PACKAGE],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"npm_config_update_notifier": "false"},
    )
    if packed.returncode:
        reason = (packed.stderr.strip() or packed.stdout.strip() or f"status {packed.returncode}").splitlines()[-1]
        raise BuildError(f"npm could not fetch {PACKAGE}: {reason}")
    archive = folder / f"{PACKAGE.replace('@', '-')}.tgz"
    if base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode() != SHA512:
        raise BuildError(f"npm delivered a {PACKAGE} whose SHA-512 is not the published one; not using it.")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / "package"
