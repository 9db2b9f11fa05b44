"""Figures as PNG: for a light page and for a dark one, with few colours.

For `plotting` and the widgets. matplotlib and Pillow are imported when the first figure is drawn.
"""

import io

import numpy as np

PIXELS_PER_INCH = 100  # on the page
SCALE = 2  # pixels of a PNG for each pixel on the page, for sharp text on fine screens
# Red, green and blue of a picture in the dark: light becomes dark and keeps its hue, which is
# inverting all of it and turning the hues by half a circle.
HUES = np.array([[-0.574, 1.430, 0.144], [0.426, 0.430, 0.144], [0.426, 1.430, -0.856]])
DARK_PAPER, DARK_INK = "#111111", "#F0F0F0"  # greys, near to those of JupyterLab's dark theme


def rasterize(fig):
    """The figure as a Pillow image, `SCALE` pixels for each pixel on the page."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image
    dpi = fig.dpi
    try:
        fig.set_dpi(SCALE * PIXELS_PER_INCH)
        canvas = FigureCanvasAgg(fig)
        canvas.draw()
        return Image.fromarray(np.asarray(canvas.buffer_rgba())[:, :, :3])
    finally:
        fig.set_dpi(dpi)


def picture_boxes(fig):
    """(left, top, right, bottom) in pixels of each image in a figure that has been drawn."""
    from matplotlib.collections import QuadMesh
    height, scale, boxes = fig.bbox.height, SCALE * PIXELS_PER_INCH / fig.dpi, []
    for ax in fig.axes:
        for artist in (*ax.images, *ax.collections):
            if artist in ax.images or isinstance(artist, QuadMesh):  # the colours beside one
                box = artist.get_window_extent()
                edges = (box.x0, height - box.y1, box.x1, height - box.y0)
                boxes.append(tuple(round(scale * edge) for edge in edges))
    return boxes


def darkened(image, boxes=()):
    """A picture for a dark page; what is in the boxes of `picture_boxes` keeps its colours."""
    paper, ink = (int(grey[1:3], 16) for grey in (DARK_PAPER, DARK_INK))
    matrix = np.column_stack([(paper - ink) / 255 * HUES, 3 * [ink]])  # black becomes the ink
    dark = image.convert("RGB", tuple(matrix.ravel()))
    for box in boxes:
        dark.paste(image.crop(box), box[:2])
    return dark


def encode(image, photos=()):
    """A picture as PNG bytes, with at most 256 colours: a third of the bytes, the same to the eye.

    Args:
        photos: of `picture_boxes`; a picture that has some keeps all of its colours.
    """
    from PIL import Image
    file = io.BytesIO()
    if not photos:
        paper = image.getpixel((0, 0))
        image = image.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        colors, i = image.getpalette(), 3 * image.getpixel((0, 0))
        colors[i:i + 3] = paper  # not a mean of it and what is nearly the same
        image.putpalette(colors)
    elif all(high <= 2 for _, high in _differences(image)):
        image = image.convert("L")  # grey
    image.save(file, "PNG")
    return file.getvalue()


def _differences(image):
    """(least, largest) difference between red and each other channel."""
    from PIL import ImageChops
    red, *others = image.split()
    return [ImageChops.difference(red, other).getextrema() for other in others]
