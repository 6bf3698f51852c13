"""Local copies of what Jupyter Book's pages would load from CDNs: require.js, the widget host, MathJax.

The packages come through npm, in exact versions and with their published hashes, into `_build/vendor`, which a
configuration laid over `_config.yml` hands to Sphinx as static files.
"""

import base64
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from tools.house import BUILD, ROOT, BuildError, listing

PACKAGES = {
    "requirejs@2.3.8": "7/cTSLOdYkNBNJcDMWf+luFvMriVm7eYxp4BcFCsAX0wF421Vyce5SXP17c+Jd5otXKGNehIonFlyQXSowL6Mw==",
    "@jupyter-widgets/html-manager@1.0.15": (
        "5thBIV6ymNgmPVOHvzx+gGy8ZSKmSazhtGw4/c4xJDVzRhG9PTeQsRjF3FUTopvFi//SABeNz1yp47bCrJ3CQA=="
    ),
    "mathjax@3.2.2": "Bt+SSVU8eBG27zChVewOicYs7Xsdt40qm4+UpHyX7k0/O9NliPc+x77k1/FEsPsjKPZGJvtRZM1vO+geW0OhGw==",
}
"""npm's name and version, and the SHA-512 that npm publishes for it."""

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

# Runs before require.js, and says where anywidget's models and the widget host's fonts lie, at any page's depth.
WIDGET_HOST = """\
var widgetFiles = (document.documentElement.dataset.content_root || "./") + "_static";
var require = {paths: {anywidget: widgetFiles + "/anywidget", "@jupyter-widgets/html-manager/dist": widgetFiles}};
"""


def npm_available() -> bool:
    return shutil.which("npm") is not None


def vendor(root: Path = ROOT) -> Path:
    """Fill `_build/vendor`, unless everything that this file asks for is there, unchanged; returns the folder.

    It is made beside its place, and put there whole. What it holds stands in `_build/vendor.json`, so that a file that
    went missing or was changed is noticed.

    Raises:
        BuildError: when npm cannot fetch a package, or what it fetched is not what was published.
    """
    anywidget = _anywidget_file()
    key = hashlib.sha256(Path(__file__).read_bytes() + anywidget.read_bytes()).hexdigest()
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
        (static / "mathjax").mkdir(parents=True)
        (static / "widget-host.js").write_text(WIDGET_HOST, "utf-8")
        shutil.copy(anywidget, static / "anywidget.js")
        shutil.copy(fetched["requirejs"] / "require.js", static / "require.min.js")
        shutil.copy(fetched["html-manager"] / "dist" / "embed-amd.js", static / "embed-amd.js")
        for font in (fetched["html-manager"] / "dist").glob("*.woff2"):
            shutil.copy(font, static / font.name)
        for part in MATHJAX_PARTS:
            source, goal = fetched["mathjax"] / "es5" / part, static / "mathjax" / part
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
    """The book's configuration, with the pages' scripts taken from `_build/vendor`."""
    sphinx = config.setdefault("sphinx", {}).setdefault("config", {})
    sphinx["html_static_path"] = [*sphinx.get("html_static_path", []), f"{BUILD}/vendor"]
    sphinx["mathjax_path"] = "mathjax/tex-mml-chtml.js"
    late = {"defer": "defer"}  # 3.6 MB: the text is there before them
    sphinx["nb_ipywidgets_js"] = {
        "widget-host.js": late,
        "require.min.js": late,
        # A widget that is not in `paths` above would be looked for here, in vain, and not on a CDN.
        "embed-amd.js": {"data-jupyter-widgets-cdn": "_static/npm/", **late},
    }
    return config


def _anywidget_file() -> Path:
    """anywidget's AMD module, from the installed Python package: so page and library have the same version."""
    spec = importlib.util.find_spec("anywidget")
    if spec is None or spec.origin is None:
        raise BuildError("anywidget is not installed: run `make setup`.")
    return Path(spec.origin).parent / "nbextension" / "index.js"


def _fetch(folder: Path) -> dict[str, Path]:
    """Download and unpack every package; returns their folders by the last part of their names."""
    downloads = folder / "downloads"
    downloads.mkdir()
    packed = subprocess.run(
        ["npm", "pack", "--silent", "--ignore-scripts", *PACKAGES],
        cwd=downloads,
        capture_output=True,
        text=True,
        env=os.environ | {"npm_config_update_notifier": "false"},
    )
    if packed.returncode:
        reason = (packed.stderr.strip() or packed.stdout.strip() or f"status {packed.returncode}").splitlines()[-1]
        raise BuildError(f"npm could not fetch {', '.join(PACKAGES)}: {reason}")
    found = {}
    for package, published in PACKAGES.items():
        name, version = package.lstrip("@").rsplit("@", 1)
        archive = downloads / f"{name.replace('/', '-')}-{version}.tgz"
        content = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if content != published:
            raise BuildError(f"npm delivered a {package} whose SHA-512 is not the published one; not using it.")
        unpacked = folder / name.replace("/", "-")
        with tarfile.open(archive) as tar:
            tar.extractall(unpacked, filter="data")
        found[name.rsplit("/", 1)[-1]] = unpacked / "package"
    return found
