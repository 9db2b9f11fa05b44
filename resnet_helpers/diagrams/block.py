"""One residual block: a box per step, the shape on every edge, and what flows along it."""

import textwrap

import numpy as np

from resnet_helpers.plotting import (
    BLACK,
    BLUE,
    GREY,
    ORANGE,
    PALE_BLUE,
    PALE_GREY,
    TEXT_ORANGE,
    WHITE,
    rgb,
)
from resnet_helpers.sketch import CENTRED, WIDTH, Sketch

# It stands along a row of edges, PITCH inches apart; a box for a step sits between two of them.
PITCH, FIRST_EDGE, BOX_WIDTH, BOX_HEIGHT, MAP_SIDE = 1.07, 0.54, 0.82, 0.8, 0.9
ROW, SHORTCUT_ROW = 2.25, 3.6  # heights of the two paths
NUM_BRANCH_STEPS = 5
PLUS = FIRST_EDGE + (NUM_BRANCH_STEPS + 0.5) * PITCH
MAPS = ("x", "conv1", "bn1", "relu", "conv2", "bn2", "sum", "y")  # in the order of the edges
SUMMED = ("bn2", "shortcut", "sum", "y")  # on one scale, so that a sum can be seen


def draw_block(costs, maps=None):
    """Draw a residual block: a box per step, the shape on every edge, the costs of both paths.

    Args:
        costs: `BlockCosts`.
        maps: of `experiments.block_feature_maps`, to show what flows along each edge; None leaves
            the pictures out.
    """
    bottom = 0.0 if maps or costs.error is not None else 1.25
    sketch = Sketch(WIDTH, 4.2, bottom)
    shapes = [costs.input_shape, *(step.shape for step in costs.branch)]
    _draw_edges(sketch, shapes + (2 * [costs.output_shape] if costs.output_shape else []))
    for i, step in enumerate(costs.branch):
        _draw_box(sketch, FIRST_EDGE + (i + 0.5) * PITCH, ROW, _step_lines(step))
    sketch.text(FIRST_EDGE - 0.06, ROW + 0.6, f"branch g(x): {path_costs(costs.branch)}", 10.5)
    _draw_shortcut(sketch, costs)
    _draw_addition(sketch, costs)
    note = "at arrows: channels × height × width; in boxes: parameters last"
    if maps:
        _draw_maps(sketch, maps, convolved=bool(costs.shortcut))
        note += "; pictures: one channel, blue below zero, orange above"
    sketch.text(0.09, bottom + 0.1, note, 10, GREY, va="bottom")
    return sketch


def _draw_edges(sketch, shapes):
    """An arrow on each edge, between the boxes and signs there, and below it the shape."""
    sum_edge, last_edge = NUM_BRANCH_STEPS + 1, NUM_BRANCH_STEPS + 2
    starts = {0: -0.2, sum_edge: -0.33, last_edge: -0.23}
    ends = {NUM_BRANCH_STEPS: 0.33, sum_edge: 0.23, last_edge: 0.4}
    lines = []
    for i, shape in enumerate(shapes):
        x = FIRST_EDGE + i * PITCH
        tip = x - 0.05 + ends.get(i, 0.12)
        lines.append([(x + starts.get(i, -0.12), ROW), (tip, ROW)])
        sketch.mark(tip, ROW, ">")
        sketch.text(x, ROW - 0.57, _shape_name(shape), 11, **CENTRED)
    sketch.lines(lines)


def _draw_box(sketch, x, y, lines, color=BLACK, width=BOX_WIDTH):
    """A box centred at (x, y) with lines of text in it."""
    fill = PALE_BLUE if "conv" in lines[0] else PALE_GREY
    sketch.box(x, y, width, BOX_HEIGHT, fill, color, radius=0.08)
    sketch.text(x, y, "\n".join(lines), 9.5, **CENTRED)


def _step_lines(step):
    """The lines in a step's box: what it does, its name, its parameters."""
    name = step.name if step.stride is None else f"{step.name}, /{step.stride}"
    if not step.parameters:
        return (step.operation,)
    return step.operation, name, f"{step.parameters:,}"


def _draw_shortcut(sketch, costs):
    start = FIRST_EDGE - 0.2
    sketch.line([start, start, PLUS, PLUS], [ROW, SHORTCUT_ROW, SHORTCUT_ROW, ROW + 0.45], BLUE,
                2.5)
    sketch.mark(PLUS, ROW + 0.36, "v", BLUE, 10)
    sketch.text(start + 0.14, SHORTCUT_ROW + 0.12, f"shortcut: {path_costs(costs.shortcut)}",
                10.5, BLUE)
    for step in costs.shortcut:
        _draw_box(sketch, PLUS - 0.68, SHORTCUT_ROW, _step_lines(step), color=BLUE)
    sketch.text(PLUS + 0.12, ROW + 0.62, _shape_name(costs.shortcut_shape), 11, BLUE, va="center")


def _draw_addition(sketch, costs):
    """The sign where both paths meet, then the ReLU, or torch's message if they do not fit."""
    fits = costs.output_shape is not None
    sketch.mark(PLUS, ROW, "o", BLUE if fits else ORANGE, 27)
    sketch.text(PLUS, ROW - 0.02, "+" if fits else "×", 20, WHITE, bold=True, **CENTRED)
    if fits:
        _draw_box(sketch, PLUS + PITCH, ROW, ("ReLU",), width=0.62)
        return
    branch, shortcut = _shape_name(costs.branch_shape), _shape_name(costs.shortcut_shape)
    sketch.text(PLUS + 0.27, ROW, f"{branch} and\n{shortcut}\ndo not fit", 12, TEXT_ORANGE,
                va="center", bold=True)
    message = (f'torch says: "{costs.error}"' if costs.error else
               "torch says nothing: it would stretch the shortcut to fit, which is not what a "
               "block means")
    sketch.text(PLUS - 0.02, ROW - 0.6, textwrap.fill(message, 26), 10, va="top")


def _draw_maps(sketch, maps, convolved):
    """The feature map on each edge, below its shape; that of the shortcut beside its line."""
    half = MAP_SIDE / 2
    summed = max(maps[name].abs().max() for name in SUMMED if name in maps)
    for name, Z in maps.items():
        x, y = PLUS + 0.7, SHORTCUT_ROW + 0.02
        if name in MAPS:
            x, y = FIRST_EDGE + MAPS.index(name) * PITCH, ROW - 1.19
            label = {"relu": "ReLU", "bn2": "g(x)", "sum": "g(x) + x"}.get(name, name)
            sketch.text(x, ROW - 1.8, label, 11, **CENTRED)
        largest = summed if name in SUMMED else Z.abs().max()
        sketch.pixels(_map_colors(Z, largest), x - half, x + half, y - half, y + half)
        sketch.box(x, y, MAP_SIDE, MAP_SIDE, edge=GREY, line_width=1)
    sketch.text(PLUS + 0.7 + half + 0.08, SHORTCUT_ROW, "conv3(x)" if convolved else "x", 11, BLUE,
                va="center")


def _map_colors(Z, largest):
    """A feature map (H, W) as 8-bit colours (H, W, 3): white at 0, blue below, orange above."""
    t = (Z / largest.clamp(min=1e-12)).clamp(-1, 1).unsqueeze(-1).numpy()
    colors = np.where(t < 0, 1 + t * (1 - rgb(BLUE)), 1 - t * (1 - rgb(ORANGE)))
    return (255 * colors).round().astype(np.uint8)


def path_costs(steps):
    """What one path of a block costs, as text; a shortcut without convolution has no `Step`s."""
    if not steps:
        return "x unchanged, costs nothing"
    return (f"{sum(step.parameters for step in steps):,} parameters, "
            f"{sum(step.multiply_adds for step in steps):,} multiply-adds")


def _shape_name(shape):
    """(6, 3, 3) as `6×3×3`."""
    return "×".join(map(str, shape))
