"""Two kinds of block side by side: plain and residual, basic and bottleneck."""

import numpy as np

from resnet_helpers.plotting import BLACK, BLUE, GREY, ORANGE, PALE_BLUE, PALE_GREY, WHITE
from resnet_helpers.sketch import CENTRED, WIDTH, Sketch

LAYERS = ("3×3 convolution", "batch norm", "ReLU", "3×3 convolution", "batch norm")
LAYER_WIDTH, LAYER_HEIGHT, LAYER_PITCH = 1.75, 0.36, 0.56
TOP_LAYER, SUM_HEIGHT, LAST_HEIGHT = 4.2, 1.33, 0.72  # heights in the drawing, in inches


def draw_plain_and_residual():
    """The picture of the field: the same layers without a shortcut and with one.

    Source: paper, figure 2, with batch norm as in the code; d2l's figure draws both side by side.
    """
    sketch = Sketch(WIDTH, 5.5)
    _draw_column(sketch, 1.75, "plain block", "f(x)", "y = ReLU( f(x) )", ORANGE)
    _draw_column(sketch, 5.75, "residual block", "g(x)", "y = ReLU( g(x) + x )", BLUE)
    right = 5.75 + LAYER_WIDTH / 2 + 0.5
    _draw_to_the_addition(sketch, 5.75, right, 4.62, SUM_HEIGHT, size=24, fontsize=20)
    sketch.text(right + 0.1, 3.1, "shortcut:\nx, as it is", 13, BLUE, va="center")
    return sketch


def _draw_column(sketch, x, title, function, formula, color):
    """x, five layers in a dashed frame, the last ReLU and y, from top to bottom."""
    heights = [TOP_LAYER - i * LAYER_PITCH for i in range(len(LAYERS))]
    sketch.text(x, 5.22, title, 15, color, bold=True, **CENTRED)
    sketch.text(x, 4.87, "x", 15, italic=True, **CENTRED)
    width, bottom, top = LAYER_WIDTH + 0.3, heights[-1] - 0.27, heights[0] + 0.27
    middle = (bottom + top) / 2
    sketch.box(x, middle, width, top - bottom, edge=color, line_width=2, dash="--", radius=0.1)
    sketch.text(x - width / 2 - 0.12, middle, function, 15, color, "right", "center", italic=True)
    tips = [y + LAYER_HEIGHT / 2 + 0.05 for y in (*heights, LAST_HEIGHT)]
    _draw_down(sketch, x, 4.72, [*tips, 0.2])
    for name, y in zip((*LAYERS, "ReLU"), (*heights, LAST_HEIGHT), strict=True):
        fill = PALE_BLUE if "conv" in name else PALE_GREY
        sketch.box(x, y, LAYER_WIDTH, LAYER_HEIGHT, fill, line_width=1.2, radius=0.08)
        sketch.text(x, y, name, 13, **CENTRED)
    sketch.text(x + 0.15, 0.26, formula, 14, va="center", italic=True)


def _draw_down(sketch, x, start, tips):
    """A line down from the height `start`, with tips above what it leads to and at its end."""
    sketch.line([x, x], [start, tips[-1]])
    for y in tips:
        sketch.mark(x, y, "v")


def _draw_to_the_addition(sketch, x, right, start, end, size, fontsize):
    """A line from x out to `right`, down, and back to a plus of this size at height `end`."""
    sketch.line([x, right, right, x + 0.2], [start, start, end, end], BLUE, 3)
    sketch.mark(x + 0.27, end, "<", BLUE, 10)
    sketch.mark(x, end, "o", BLUE, size)
    sketch.text(x, end - 0.01, "+", fontsize, WHITE, bold=True, **CENTRED)


# --- a basic block beside a bottleneck ---

WIDE, NARROW = 256, 64  # channels
INCH_PER_CHANNEL = 2.5 / WIDE
FIRST_TOP, LAST_BOTTOM, BAND, ADDITION = 3.72, 1.3, 0.56, 0.74  # heights, in inches


def draw_basic_and_bottleneck():
    """Both blocks for 256 channels, each layer as wide as the channels that it takes and gives.

    Source: paper, figure 5, whose basic block has 64 channels.
    """
    sketch = Sketch(WIDTH, 4.75)
    _draw_block_to_scale(sketch, 2.45, "basic block", [(3, WIDE, WIDE), (3, WIDE, WIDE)])
    _draw_block_to_scale(sketch, 6.5, "bottleneck",
                         [(1, WIDE, NARROW), (3, NARROW, NARROW), (1, NARROW, WIDE)])
    sketch.text(WIDTH / 2, 0.08, "width: number of channels; batch norms and ReLUs are not drawn",
                12, GREY, ha="center")
    return sketch


def _draw_block_to_scale(sketch, x, title, convolutions):
    """A column of convolutions (kernel size, channels in, channels out), from top to bottom."""
    tops = np.linspace(FIRST_TOP, LAST_BOTTOM + BAND, len(convolutions))
    sketch.text(x, 4.52, title, 15, bold=True, **CENTRED)
    sketch.text(x, 4.1, f"{WIDE} channels", 13, **CENTRED)
    _draw_down(sketch, x, 3.97, [*(top + 0.05 for top in tops), ADDITION + 0.2, 0.38])
    corners = []
    for top, (kernel, before, after) in zip(tops, convolutions, strict=True):
        high, low = (INCH_PER_CHANNEL * channels / 2 for channels in (before, after))
        corners.append([(x - high, top), (x + high, top), (x + low, top - BAND),
                        (x - low, top - BAND)])
        sketch.text(x - INCH_PER_CHANNEL * WIDE / 2 - 0.08, top - BAND / 2,
                    f"{kernel}×{kernel} conv", 13, ha="right", va="center")
        sketch.text(x + 0.12, top - BAND - 0.16, after, 13, va="center")
    sketch.polygons(corners, PALE_BLUE, BLACK, 1.2)
    right = x + INCH_PER_CHANNEL * WIDE / 2 + 0.3
    _draw_to_the_addition(sketch, x, right, 3.93, ADDITION, size=22, fontsize=19)
