"""A whole ResNet, drawn to scale."""

import math
from itertools import pairwise

import numpy as np

from resnet_helpers.plotting import BLACK, BLUE, GREY, ORANGE
from resnet_helpers.sketch import CENTRED, WIDTH, Sketch

MIDDLE, TALLEST = 2.13, 1.65  # of the drawing, in inches


def draw_resnet(stages, size, in_channels=1, shortcuts=True):
    """Draw a ResNet to scale: a box for what leaves the stem, each block and the pooling.

    Height stands for height and width of the feature maps, width for the number of channels, both
    on a linear scale; a bar shows how much. The image is drawn at a quarter of that scale. Each
    shortcut is an arc over its block, dashed where a 1x1 convolution sits on it. Residual blocks
    are blue, those of a plain network orange.

    Args:
        stages: of `costs.model_costs`.
        size, in_channels: of the image, as given to `costs.model_costs`.
        shortcuts: draw the arcs.
    """
    sketch = Sketch(WIDTH, 3.6)
    inch_per_pixel, color = TALLEST / stages[0].shape[1], BLUE if shortcuts else ORANGE
    boxes = [[branch[-1].shape for branch, _ in stage.blocks] or [stage.shape] for stage in stages]
    boxes[-1] = [(stages[-2].shape[0], 1, 1)]  # what the pooling makes of b5
    widths = [[shape[0] for shape in shapes] for shapes in boxes]
    centres, inch_per_channel = _share_width([sum(channels) for channels in widths])
    for stage, shapes, channels, centre in zip(stages, boxes, widths, centres, strict=True):
        edges = centre + inch_per_channel * (np.cumsum([0] + channels) - sum(channels) / 2)
        height = max(shapes[0][1] * inch_per_pixel, 0.03)
        _draw_feature_boxes(sketch, edges, height, color if stage.blocks else GREY)
        if shortcuts and stage.blocks:
            dashed = [bool(shortcut) for _, shortcut in stage.blocks]
            _draw_arcs(sketch, edges, MIDDLE + height / 2 + 0.05, dashed)
        n = len(stage.blocks)
        kind = {"b1": "stem", "linear": "classifier"}.get(stage.name, f"{n} block{'s' * (n > 1)}")
        into = f"{channels[0]} → " if stage is stages[-1] else ""
        _draw_label(sketch, centre, stage.name, kind, into + "×".join(map(str, stage.shape)))
    height = size * inch_per_pixel / 4
    sketch.line([0.75, 0.75], [MIDDLE - height / 2, MIDDLE + height / 2], BLACK, 3)
    _draw_label(sketch, 0.75, "image", "at ¼ scale", f"{in_channels}×{size}×{size}")
    _draw_scale(sketch, inch_per_channel, inch_per_pixel, stages[0].shape[1], shortcuts)
    return sketch


def _share_width(channels, left=1.3, right=WIDTH - 0.1, least=1.0):
    """Give each stage room for its label, and share out the rest in proportion to its channels.

    Returns:
        (centres, inch_per_channel): where to draw each stage, and the scale at which all of them
        have room.
    """
    channels = np.array(channels)
    widths = least + (right - left - least * len(channels)) * channels / channels.sum()
    return left + np.cumsum(widths) - widths / 2, 0.9 * (widths / channels).min()


def _draw_feature_boxes(sketch, edges, height, color):
    """Boxes side by side, from each of `edges` to the next."""
    low, high = MIDDLE - height / 2, MIDDLE + height / 2
    corners = [[(a, low), (b, low), (b, high), (a, high)] for a, b in pairwise(edges)]
    sketch.polygons(corners, color, color, 1 if edges[1] - edges[0] > 0.06 else 0.5, opacity=0.25)


def _draw_arcs(sketch, edges, bottom, dashed):
    """Shortcuts from each of `edges` to the next: half ellipses above the height `bottom`."""
    angle, widths = np.linspace(0, np.pi, 13), np.diff(edges)
    y = bottom + min(0.3, 0.1 + widths[0] / 3) * np.sin(angle)
    curves = [np.stack([a + w / 2 * (1 - np.cos(angle)), y], axis=1)
              for a, w in zip(edges[:-1], widths, strict=True)]
    for dash, is_dashed in (("-", False), ("--", True)):
        kind = [curve for curve, d in zip(curves, dashed, strict=True) if d == is_dashed]
        if kind:
            sketch.lines(kind, BLUE, 1.5 if widths[0] > 0.06 else 0.6, dash)


def _draw_label(sketch, x, name, kind, shape):
    sketch.text(x, 0.82, f"{name}\n{kind}\n{shape}", 10.5, spacing=1.3, **CENTRED)


def _draw_scale(sketch, inch_per_channel, inch_per_pixel, pixels, shortcuts):
    """What an inch means: a bar of a round number of channels, and one of pixels."""
    channels = 2 ** math.floor(math.log2(1.1 / inch_per_channel))
    pixels = 2 ** math.floor(math.log2(pixels))
    end, top = 0.2 + channels * inch_per_channel, MIDDLE + pixels * inch_per_pixel / 2
    sketch.line([0.2, end], [0.2, 0.2], GREY, 2)
    sketch.text(end + 0.08, 0.2, f"{channels:,} channels", 10, GREY, va="center")
    sketch.line([0.25, 0.25], [2 * MIDDLE - top, top], GREY, 2)
    sketch.text(0.25, top + 0.12, f"{pixels} px", 10, GREY, **CENTRED)
    note = "arc: shortcut (dashed: 1×1 convolution)" if shortcuts else (
        "no shortcuts: a plain network")
    sketch.text(WIDTH - 0.1, 0.2, f"height: feature map; width: channels; {note}", 10, GREY,
                ha="right", va="center")
