"""Sketches: the same drawing as SVG and as a Figure, in both themes."""

import base64
import hashlib
import io
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from processes import run_python

from resnet_helpers.costs import block_costs
from resnet_helpers.diagrams import draw_block, draw_class_fit, draw_plain_and_residual
from resnet_helpers.function_classes import fit_class
from resnet_helpers.plotting import BLACK, BLUE, DARK, ORANGE, WHITE
from resnet_helpers.raster import rasterize
from resnet_helpers.sketch import MARKS, STYLE, Panel, Sketch, ticks_between

ANY_FONT = st.characters(max_codepoint=0x17F, exclude_categories=("C",))
PRINTABLE = st.text(ANY_FONT, max_size=40)


def svg_root(svg):
    root = ET.fromstring(svg)
    assert root.tag == "svg"
    return root


def small_sketch(label="f(x)"):
    sketch = Sketch(3, 2)
    sketch.line([0, 1], [0, 1], BLUE)
    sketch.text(1, 1, label, 12, ORANGE)
    sketch.pixels(np.zeros((2, 2, 3), np.uint8), 1, 2, 1, 2)
    return sketch


@settings(max_examples=100, deadline=None, derandomize=True)
@given(PRINTABLE, PRINTABLE)
@example('"><script>&amp; \'x\' </svg>', '</text><script> & "y" <style>*{}</style>')
def test_svg_is_well_formed_and_says_any_text_as_it_is(alt, label):
    svg = small_sketch(label).svg(alt)
    root = svg_root(svg)
    assert root.attrib["role"] == "img" and root.attrib["aria-label"] == alt
    assert "".join("".join(text.itertext()) for text in root.iter("text")) == label
    assert "<script" not in svg


@pytest.mark.parametrize("inches", [(3, 2, 0), (10, 3.7, 1), (0.5, 4, 0)])
def test_svg_shrinks_with_the_page_and_is_never_wider_than_the_drawing(inches):
    root = svg_root(Sketch(*inches).svg("empty"))
    assert "width" not in root.attrib and "height" not in root.attrib
    declarations = dict(part.split(": ") for part in root.attrib["style"].split("; "))
    assert declarations["width"] == f"{100 * inches[0]:.0f}px"
    assert declarations["max-width"] == "100%"
    left, top, width, height = map(float, root.attrib["viewBox"].split())
    assert (left, top) == (0, 0)
    assert width / height == pytest.approx(inches[0] / (inches[1] - inches[2]))


@pytest.mark.parametrize("color", sorted(DARK))
def test_colours_change_with_the_theme_and_have_a_value_without_it(color):
    sketch = Sketch(2, 2)
    sketch.line([0, 1], [0, 1], color)
    sketch.circle(1, 1, 0.5, color)
    svg = sketch.svg("a line")
    name = f"--rh-{color[1:].lower()}"
    assert f"stroke:var({name}, {color.lower()})" in svg
    assert f"fill:var({name}, {color.lower()})" in svg
    dark = STYLE.split("[data-jp-theme-light=")[1]
    assert f"{name}: {DARK[color].lower()}" in dark
    assert not re.search(f"(?<!, ){color}", svg, re.IGNORECASE)


def test_words_and_the_paper_change_with_the_theme_too():
    assert f"fill: var(--rh-000000, {BLACK})" in STYLE
    assert f"background: var(--rh-ffffff, {WHITE})" in STYLE
    assert "--rh-000000: #f0f0f0" in STYLE and "--rh-ffffff: #111111" in STYLE
    assert WHITE not in small_sketch().svg("words")  # no paper of its own


def test_style_of_a_picture_does_not_reach_the_rest_of_the_page():
    assert "<style" not in small_sketch().svg("a picture")
    style, = re.findall(r"<style>(.*?)</style>", STYLE)
    rules = [rule.split("{") for rule in style.split("}") if rule.strip()]
    assert [rule[0].strip() for rule in rules] == [".rh-picture", '[data-jp-theme-light="false"]']
    variables = re.findall(r"[{;]([^{};:]+):", style.split("}")[1])
    assert all(name.strip().startswith("--rh-") for name in variables)


def test_other_colours_and_text_that_looks_like_a_colour_are_left_alone():
    sketch = small_sketch("colour: #0072B2")
    sketch.line([0, 1], [0, 1], "#123456")
    svg = sketch.svg("a picture")
    assert "colour: #0072B2<" in svg and "stroke:#123456" in svg


@pytest.mark.slow
def test_svg_is_the_same_in_another_process():
    script = ("from test_sketch import small_sketch; import hashlib; "
              "print(hashlib.sha256(small_sketch().svg('same').encode()).hexdigest())")
    printed = run_python("-c", script, cwd=Path(__file__).parent)
    svg = small_sketch().svg("same")
    assert printed.strip() == hashlib.sha256(svg.encode()).hexdigest()


# --- the two kinds ---

def pixels_of(sketch):
    return np.asarray(rasterize(sketch.figure()))


def test_pixels_stand_as_they_are_in_the_array():
    rgb = np.full((2, 2, 3), 255, np.uint8)
    rgb[0, 1] = 255, 0, 0  # the upper right one
    sketch = Sketch(2, 2)
    sketch.pixels(rgb, 0, 2, 0, 2)
    is_red = (pixels_of(sketch) == (255, 0, 0)).all(-1)
    height, width = is_red.shape
    assert is_red[:height // 2, width // 2:].all() and is_red.sum() == is_red.size / 4
    image = next(svg_root(sketch.svg("")).iter("image"))
    place = [float(image.attrib[name]) for name in ("x", "y", "width", "height")]
    assert place == [0, 0, 200, 200] and "pixelated" in image.attrib["style"]
    encoded = image.attrib["href"].split(",")[1]
    kept = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))))
    np.testing.assert_array_equal(kept, rgb)


@pytest.mark.parametrize("sketch", [
    draw_block(block_costs(3, 6, False, 2)), draw_plain_and_residual(),
    draw_class_fit(fit_class(5, True, noise=0.1))], ids=["block", "both blocks", "fit"])
def test_words_stand_at_the_same_places_in_svg_and_figure(sketch):
    fig = sketch.figure()
    renderer = FigureCanvasAgg(fig).get_renderer()
    heights = []  # of the middle of each word, in pixels from the top
    for text in fig.axes[0].texts:
        if "\n" not in text.get_text():
            extent = text.get_window_extent(renderer)
            heights.append((text.get_text(), fig.bbox.height - (extent.y0 + extent.y1) / 2))
    lines = {line for text in fig.axes[0].texts for line in text.get_text().split("\n")[1:]}
    heights = [(text, y) for text, y in heights if text not in lines]
    words = {text for text, _ in heights}
    placed = [(text.text, float(text.attrib["y"])
               - 0.28 * float(re.search(r"font-size:([\d.]+)", text.attrib["style"]).group(1)))
              for text in svg_root(sketch.svg("")).iter("text") if text.text in words]
    assert [text for text, _ in placed] == [text for text, _ in heights]
    np.testing.assert_allclose([y for _, y in placed], [y for _, y in heights], atol=2.5)


@pytest.mark.parametrize("kind", ["o", ".", *MARKS])
def test_a_mark_is_where_it_should_be_and_of_its_size(kind):
    sketch = Sketch(1, 1)
    sketch.mark(0.25, 0.75, kind, BLUE, size=18)
    rows, columns = np.nonzero((pixels_of(sketch) != 255).any(-1))
    assert rows.mean() == pytest.approx(50, abs=10) and columns.mean() == pytest.approx(50, abs=10)
    size = 2 * {".": 12.5, "D": 35.4}.get(kind, 25)
    assert max(np.ptp(rows), np.ptp(columns)) == pytest.approx(size, abs=4)


def test_a_curve_goes_through_its_points_and_leaves_out_what_is_no_number():
    sketch = Sketch(2, 2)
    panel = Panel(sketch, (0, 0, 2, 2), xlim=(0, 10), ylim=(0, 1))
    panel.plot([0, 5, 10], [0, float("nan"), 1], width=1)
    path = next(svg_root(sketch.svg("")).iter("path"))
    assert path.attrib["d"] == "M0 200L200 0"


@pytest.mark.parametrize(("low", "high", "whole", "expected"), [
    (0, 10, True, [0, 2, 4, 6, 8, 10]), (0, 1, True, [0, 1]), (0, 3, True, [0, 1, 2, 3]),
    (0, 1, False, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0.78, 0.91, False, [0.75, 0.8, 0.85, 0.9, 0.95]),
    (0.5, 0.5, False, [0.4, 0.6, 0.8, 1, 1.2, 1.4, 1.6])])
def test_ticks_are_round_and_hold_all(low, high, whole, expected):
    assert ticks_between(low, high, whole=whole) == pytest.approx(expected)
