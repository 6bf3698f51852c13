"""Docstrings as the library writes them become what Sphinx reads."""

import inspect
import pkgutil

import pytest
from docutils.core import publish_doctree
from docutils.nodes import literal_block, system_message

import mobius_lib
from tools.api import restructured


def read(text):
    """What docutils makes of it; its complaints are errors."""
    tree = publish_doctree("\n".join(restructured(text.split("\n"))), settings_overrides={"report_level": 5})
    assert not list(tree.findall(system_message)), tree.pformat()
    return tree


def test_mathematics_is_no_markup():
    tree = read("The mean of |tanh x|, at most |x| * |y|; and `a * b|c` stands as it is.")
    assert tree.astext() == "The mean of |tanh x|, at most |x| * |y|; and a * b|c stands as it is."


@pytest.mark.parametrize("gap", ["", "\n"])
def test_what_is_indented_under_a_colon_stands_as_it_was_typed(gap):
    tree = read(f"By its name:\n{gap}    one   | 1\n    two   * 2\nAnd on.")
    (block,) = tree.findall(literal_block)
    assert block.astext() == "one   | 1\ntwo   * 2"
    assert tree.astext().startswith("By its name:") and tree.astext().endswith("And on.")


def test_a_list_under_a_sentence_is_one():
    tree = read("Proof. Let T be so.\n    1. One thing\n       and more of it.\n    2. Another.\nSo it is.")
    (items,) = (node for node in tree.findall() if node.tagname == "enumerated_list")
    assert [item.astext() for item in items] == ["One thing\nand more of it.", "Another."]


def test_sections_are_left_to_napoleon():
    text = "One.\n\nArgs:\n    x: what is\n        told of it.\n    y: |z|.\nShape:\n    (a, b) to c."
    assert [line for line in restructured(text.split("\n")) if line] == [
        line for line in text.replace("|z|", r"\|z\|").split("\n") if line
    ]


def test_no_docstring_of_the_library_is_misread():
    """Of modules, classes and functions, up to the first section: the rest is for napoleon."""
    seen = 0
    for info in pkgutil.walk_packages(mobius_lib.__path__, "mobius_lib."):
        if info.name.split(".")[1] not in ("waves", "cantor", "simplex", "gauge", "twistor", "training", "datasets"):
            continue
        module = __import__(info.name, fromlist=["x"]) if "triton" not in info.name else None
        for _, each in [("", module), *inspect.getmembers(module)]:
            ours = each is module or (
                (inspect.isclass(each) or inspect.isfunction(each)) and each.__module__ == info.name
            )
            if ours and each.__doc__:
                text = inspect.cleandoc(each.__doc__)
                read(text.split("\nArgs:")[0].split("\nShape:")[0].split("\nRaises:")[0].split("\nReturns:")[0])
                seen += 1
    assert seen > 300
