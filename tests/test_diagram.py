"""The pictures of architectures: their shapes are the model's, and what they say fits."""

import re
import xml.etree.ElementTree as XML
from itertools import pairwise

import pytest
import torch
from torch import nn

from mobius_lib.diagram import BOX, LEFT, WIDTH, Box, flow, shapes


def drawn(*arguments):
    picture, caption = XML.fromstring(flow(*arguments).data)
    assert caption.tag == "figcaption" and caption.text == arguments[1] == picture.get("aria-label")
    return picture


def texts(picture):
    return [each for each in picture if each.tag == "text"]


def test_shapes_are_those_that_the_parts_give():
    model = nn.Sequential(nn.Conv2d(1, 6, 3, stride=2), nn.Flatten(), nn.LazyLinear(5), nn.LSTM(5, 4))
    parts = {"picture": model[0], "flat": model[1], "pair": model[3]}
    for rows in (1, 3):
        found = shapes(model, parts, torch.zeros(rows, 1, 9, 7))
        assert found == {"picture": (6, 4, 3), "flat": (72,), "pair": (4,)}
    assert not any(part._forward_hooks for part in parts.values())


def test_a_part_that_is_never_called_is_named():
    model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"^No tensor came out of other: name parts that the model calls\.$"):
        shapes(model, {"itself": model, "other": nn.Linear(2, 2)}, torch.zeros(1, 2))
    assert not model._forward_hooks


def test_everything_is_there_once_and_in_order_and_inside_the_picture():
    boxes = [Box("first <b>", "a & b", (2, 1000)), Box("second"), Box("third", leaves="as long")]
    picture = drawn(boxes, 'A "picture" & more', {(0, 1): "past both"})
    words = [each.text for each in texts(picture)]
    assert words == ["first <b>", "a & b", "2 × 1,000", "second", "third", "as long", "past both"]
    assert picture.get("aria-label") == 'A "picture" & more' and picture.get("role") == "img"
    _, _, width, height = map(float, picture.get("viewBox").split())
    assert width == WIDTH
    rows = [(float(each.get("y")), float(each.get("height"))) for each in picture if each.tag == "rect"]
    assert len(rows) == 3 and all(y + h < after for (y, h), (after, _) in pairwise(rows))
    assert rows[-1][0] + rows[-1][1] < height and all(0 < float(each.get("y")) < height for each in texts(picture))


def test_a_path_goes_past_the_boxes_that_it_names():
    picture = drawn([Box("a"), Box("b"), Box("c"), Box("d")], "told", {(1, 2): "inner", (0, 3): "outer"})
    tops = [float(each.get("y")) for each in picture if each.tag == "rect"]
    bottoms = [float(each.get("y")) + float(each.get("height")) for each in picture if each.tag == "rect"]
    dashed = [each.get("d") for each in picture if each.get("stroke-dasharray")]
    (start, x, end), (start_, x_, end_) = (
        map(float, re.fullmatch(r"M[\d.]+ ([\d.]+)H([\d.]+)V([\d.]+)H[\d.]+", path).groups()) for path in dashed
    )
    assert bottoms[0] < start < tops[1] and bottoms[2] < end < tops[3]
    assert start_ < tops[0] and bottoms[3] < end_ and 0 < x_ < x < LEFT


def test_it_takes_the_colours_of_the_page():
    source = flow([Box("a", "b", (1,)), Box("c")], "told", {(0, 1): "past"}).data
    assert not re.search(r"#[0-9a-fA-F]{3}|rgb|white|black", source)
    assert set(re.findall(r'(?:fill|stroke)="([^"]*)"', source)) == {"currentColor", "none"}


def test_what_would_not_fit_is_refused():
    with pytest.raises(ValueError, match="has 31 characters, and 30 fit"):
        Box("x" * 31)
    with pytest.raises(ValueError, match="has 37 characters, and 36 fit"):
        Box("a", "x" * 37)


@pytest.mark.browser
def test_the_longest_lines_fit_into_their_boxes(browser):
    """As wide as letters are on average: the words of a chapter."""
    long = Box("the mean of all of these words", "which is as long as a note may get..", (1000, 1000))
    page = browser.new_page(viewport={"width": 390, "height": 400})
    page.set_content(flow([long], "told").data)
    widths = page.eval_on_selector_all("text", "all => all.map((e) => e.getBBox().width)")
    assert len(widths) == 3 and max(widths[:2]) <= BOX and LEFT + BOX / 2 + 8 + widths[2] <= WIDTH
    sizes = page.eval_on_selector_all(
        "text", "all => all.map((e) => e.getScreenCTM().a * parseFloat(e.getAttribute('font-size')))"
    )
    assert min(sizes) >= 11  # pixels, on a phone
    page.close()
