"""A skeleton to start from: `make new-run NAME=edges CHAPTER=waves`, `make new-claim ID=edges-help CHAPTER=waves`.

Both pass lint and tests as they are written; what has to be filled in stands in them as sentences in brackets.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import yaml

from tools.build_book import one_sentence
from tools.house import ROOT, BuildError, notebooks

WORD = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")

RUN = '''\
"""[What is compared, and what that decides.]

Source: ours. [Or: the MobiusNet card, and how the comparison differs from it.]
"""

import torch
from torch import nn

from mobius_lib.runs.base import Data, Run
from mobius_lib.runs.{chapter} import ABOUT


def load() -> Data:
    """Noise on one of three patterns. [A data set of `mobius_lib.datasets`.]"""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(120) % 3
    x = 2 * torch.randn(3, 8, generator=generator)[y] + torch.randn(120, 8, generator=generator)
    return Data((x[:90], y[:90]), (x[90:], y[90:]))


def hidden() -> nn.Module:
    """[What is looked at.]"""
    return nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 3))


def linear() -> nn.Module:
    """[The plain alternative that a practitioner would pick.]"""
    return nn.Linear(8, 3)


RUN = Run(**vars(ABOUT["{name}"]), arms={{"hidden": hidden, "linear": linear}}, data=load, baseline="linear")
'''
ABOUT = """\
    About(
        name="{name}",
        chapter={number},
        summary="[what is compared, on what, in one line]",
        scales={{
            "quick": Scale(epochs=5, batch_size=15, lr=0.03, note="a second on one core"),
            "full": Scale(epochs=50, batch_size=15, lr=0.03, note="seconds on one core"),
        }},
    ),
"""
TEST = '''\
"""The run {name}: its arms learn what can be learned, and the record has what is read from it."""

from mobius_lib.runs import execute, get_run


def test_its_quick_scale():
    record = execute(get_run("{name}"), device="cpu", progress=False)
    assert record["arms"].keys() == {{"hidden", "linear"}}
    for rows in record["arms"].values():
        assert rows[0]["final_accuracy"] > 0.5  # chance: a third
'''
CLAIM = """
  - id: {name}
    chapter: {number}
    # What a source says has `whose: source`, `source: "000:12"` (its number and line) and a `quote` too.
    whose: ours
    statement: "[One sentence in our own words: a vector of 768 numbers is laid out 24 by 32.]"
    # What decides it: a `formula`, or a `check` of mobius_lib/ledger/checks with its `arguments`.
    basis: arithmetic
    reported: 768
    why: "[Why this tolerance: a product is right or wrong.]"
    formula: 24 * 32
"""


def chapter(text: str, root: Path = ROOT) -> tuple[int, str]:
    """Number and name of a chapter, from either.

    Raises:
        BuildError: when there is no such chapter.
    """
    stems = (path.stem.partition("_") for path in notebooks(root))
    known = {int(number): name for number, _, name in stems if number.isdigit()}
    for number, name in known.items():
        if text in (name, str(number)):
            return number, name
    raise BuildError(
        f"There is no chapter {text!r}: give CHAPTER as one of {', '.join(known.values())}, or its number."
    )


def word(text: str, what: str) -> str:
    """A name as it may stand in a list.

    Raises:
        BuildError: for any other.
    """
    if not WORD.fullmatch(text):
        raise BuildError(f"{text!r} is no name: give {what} in small letters and digits, such as edges-help.")
    return text


def new_run(name: str, of: str, root: Path = ROOT) -> list[Path]:
    """Write a run that can be executed: its file, what is said of it, its test.

    Args:
        name: without the chapter, such as edges; the run is then called waves-edges.
        of: the chapter.
    Returns:
        the files that are new or changed.
    Raises:
        BuildError: for a name or a chapter that cannot be; nothing is written then.
    """
    number, of = chapter(of, root)
    name = word(name, "NAME").removeprefix(f"{of}-")
    module = name.replace("-", "_")
    fields = {"name": f"{of}-{name}", "chapter": of, "number": number}
    runs = root / "mobius_lib" / "runs"
    run, test = runs / of / f"{module}.py", root / "tests" / "runs" / of / f"test_{module}.py"
    for path in (run, test):
        if path.exists():
            raise BuildError(f"{path.relative_to(root)} is there already: give another NAME.")
    about = runs / of / "__init__.py"
    said = about.read_text("utf-8")
    if f'"{fields["name"]}"' in said:
        raise BuildError(f"There is a run {fields['name']} already: give another NAME.")
    (table,) = (node for node in ast.parse(said).body if isinstance(node, ast.Assign) and node.targets[0].id == "ABOUT")
    lines = said.splitlines(keepends=True)
    lines.insert(table.end_lineno - 1, ABOUT.format(**fields))
    said = re.sub(r"(runs\.about import (?!.*\bScale\b))", r"\1Scale, ", "".join(lines))
    made = {run: RUN.format(**fields), test: TEST.format(**fields), about: said}
    for path, text in made.items():
        path.write_text(text, "utf-8")
    # it puts a new import where it belongs
    ruff = [sys.executable, "-m", "ruff", "check", "--quiet", "--fix", "--select", "I"]
    subprocess.run([*ruff, about], cwd=root, check=True)
    return list(made)


def new_claim(name: str, of: str, root: Path = ROOT) -> list[Path]:
    """Append a claim to those of a chapter.

    Args:
        name: the claim's id.
        of: the chapter.
    Returns:
        the file that it stands in.
    Raises:
        BuildError: for an id or a chapter that cannot be; nothing is written then.
    """
    number, of = chapter(of, root)
    word(name, "ID")
    folder = root / "data" / "claims"
    for path in sorted(folder.glob("*.yaml")):
        if any(claim["id"] == name for claim in yaml.safe_load(path.read_text("utf-8")).get("claims", ())):
            raise BuildError(f"There is a claim {name} already, in {path.relative_to(root)}: give another ID.")
    path = folder / f"{of}.yaml"
    text = path.read_text("utf-8").rstrip() + "\n" if path.exists() else "claims:"
    text += CLAIM.format(name=name, number=number)
    try:
        ends_with_it = yaml.safe_load(text)["claims"][-1]["id"] == name
    except yaml.YAMLError:  # another key stands after the claims, at another depth
        ends_with_it = False
    if not ends_with_it:
        raise BuildError(f"{path.relative_to(root)} does not end with its claims: move `claims` to its end.")
    folder.mkdir(exist_ok=True)
    path.write_text(text, "utf-8")
    return [path]


def main() -> None:
    what, name, of = sys.argv[1:]
    with one_sentence():
        written = {"run": new_run, "claim": new_claim}[what](name, of)
    print(f"Written: {', '.join(str(path.relative_to(ROOT)) for path in written)}. Fill in what stands in [brackets].")


if __name__ == "__main__":
    main()
