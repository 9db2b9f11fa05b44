"""Pictures in the outputs of cells: their words, and what becomes of them in the dark."""

import base64
import html
import io
import re

import numpy as np
import pytest
from PIL import Image

from resnet_helpers.cells import picture_output
from resnet_helpers.plotting import BLUE, DARK, GREEN, ORANGE, WHITE, rgb, subplots, zero_centred
from resnet_helpers.raster import darkened, encode, picture_boxes, rasterize

ALT = 'Curves of "loss" & <acc>'


def small_figure(**image):
    fig, ax = subplots(figsize=(3, 2))
    if image:
        fig.colorbar(ax.imshow(image["Z"], cmap=image["cmap"]), ax=ax)
    else:
        ax.plot([0, 1], [0, 1], color=BLUE, linewidth=8)
    return fig


def pictures_in(page):
    """The PNGs in the HTML of an output, as arrays: the light one, then the dark one."""
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
            for data in re.findall(r"base64,([A-Za-z0-9+/=]+)", page)]


def test_a_picture_has_its_words_where_jupyterlab_reads_them():
    data, metadata = picture_output(small_figure(), ALT)
    image = re.match('<img id="([^"]+)" alt="([^"]+)" width="300" src="data:image/png;base64,'
                     '([^"]+)">', data["text/html"])
    assert html.unescape(image[2]) == ALT == metadata["image/png"]["alt"] == data["text/plain"]
    assert image[3] == data["image/png"]
    rule = f'<style>[data-jp-theme-light="false"] #{image[1]} {{ content: url("'
    assert data["text/html"].count("<style>") == data["text/html"].count(rule) == 1


def test_the_title_of_a_picture_stands_in_for_it_where_it_is_folded():
    page = picture_output(small_figure(), "Loss & <acc>\nIt falls.")[0]["text/html"]
    first, picture = page.split("\n")
    assert html.unescape(first) == "Loss & <acc>" and ' alt="It falls." ' in picture
    name = re.search('id="([^"]+)"', picture)[1]
    assert f":has(> #{name}) {{ font-size: 0 }}" in picture  # in JupyterLab nobody sees it


def test_the_dark_picture_is_light_on_dark():
    light, dark = pictures_in(picture_output(small_figure(), ALT)[0]["text/html"])
    assert light.shape == dark.shape == (400, 600, 3)
    assert light[0, 0].tolist() == 3 * [0xFF] and dark[0, 0].tolist() == 3 * [0x11]
    is_ink = (light < 0x20).all(-1)  # the frame and the numbers
    assert is_ink.any() and (dark[is_ink] > 0xC0).all()


@pytest.mark.parametrize("color", [BLUE, ORANGE, GREEN, WHITE])
def test_a_colour_keeps_its_hue_in_the_dark_and_can_be_seen(color):
    dark = np.array(darkened(Image.new("RGB", (1, 1), color)).getpixel((0, 0))) / 255
    if color == WHITE:
        assert np.ptp(dark) == 0
        return
    assert dark.argmax() == rgb(DARK[color]).argmax() and dark.argmin() == rgb(color).argmin()
    luminance, paper = (np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
                        @ [0.2126, 0.7152, 0.0722] for c in (dark, rgb("#111111")))
    assert (luminance + 0.05) / (paper + 0.05) >= 4.5  # WCAG's contrast for words


@pytest.mark.parametrize("cmap", ["gray", zero_centred()])
def test_images_and_their_scales_keep_their_colours_in_the_dark(cmap):
    fig = small_figure(Z=np.random.default_rng(0).normal(size=(4, 4)), cmap=cmap)
    light, dark = pictures_in(picture_output(fig, ALT)[0]["text/html"])
    boxes = picture_boxes(fig)
    assert len(boxes) == 2
    for left, top, right, bottom in boxes:
        inside = slice(top + 2, bottom - 2), slice(left + 2, right - 2)
        assert light[inside].size and (light[inside] == dark[inside]).all()
    assert dark[0, 0].tolist() == 3 * [0x11]


def test_few_colours_are_kept_of_curves_and_all_of_images():
    noise = np.random.default_rng(0).integers(0, 256, (30, 30, 3), np.uint8)
    image = Image.fromarray(noise)
    kept = Image.open(io.BytesIO(encode(image, photos=[(0, 0, 30, 30)])))
    assert (np.asarray(kept) == noise).all()
    assert Image.open(io.BytesIO(encode(image))).mode == "P"
    grey = Image.fromarray(np.repeat(noise[:, :, :1], 3, axis=2))
    kept = Image.open(io.BytesIO(encode(grey, photos=[(0, 0, 30, 30)])))
    assert kept.mode == "L" and (np.asarray(kept) == noise[:, :, 0]).all()


@pytest.mark.parametrize("dpi", [50, 100, 200])
def test_a_figure_is_left_as_it_was(dpi):
    fig = small_figure()
    fig.set_dpi(dpi)
    assert rasterize(fig).size == (600, 400) and fig.dpi == dpi
