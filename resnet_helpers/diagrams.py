"""Drawings of function classes, blocks, models and runs, from computed numbers.

For the notebooks and the explorers: each `draw_...` takes values and returns a Figure.
"""

import math
import textwrap
from itertools import pairwise

import numpy as np
import torch

from resnet_helpers.function_classes import REGION_TARGET, distance_to_region, region_outlines
from resnet_helpers.plotting import (
    BLACK,
    BLUE,
    FORMATS,
    GREEN,
    GREY,
    GRID,
    ORANGE,
    PALE_BLUE,
    PALE_GREY,
    PALETTE,
    TEXT_ORANGE,
    WHITE,
    draw_pixels,
    drawing,
    subplots,
)

WIDTH = 8.6  # inches, of the explorers' drawings: a notebook in a window of 1280 pixels
CENTRED = {"ha": "center", "va": "center"}


# --- function classes ---

# Classes that are not nested, and nested ones: as plain and residual networks in other pictures.
FAMILIES = {False: ("not nested", "o--", ORANGE), True: ("nested", "s-", BLUE)}


def draw_function_classes():
    """Six regions of growing area, not nested and nested, with f* and each one's nearest point."""
    fig, axes = subplots(1, 2, figsize=(10, 4.6))
    label_degrees = {False: (190, 105, 60, -30, 140, 250), True: (95, 125, 160, 195, 230, 265)}
    for ax, nested in zip(axes, (False, True), strict=True):
        (name, _, colour), outlines = FAMILIES[nested], region_outlines(nested)
        for k in range(5, -1, -1):  # the largest at the back
            ax.fill(*outlines[k].T, facecolor=(*_rgb(colour), 0.08), edgecolor=colour, linewidth=2)
        for k, outline in enumerate(outlines):
            _, nearest = distance_to_region(REGION_TARGET, outline)
            ax.plot(*nearest, "o", color=colour, markersize=7)
            if k + 1 in (3, 6):
                ax.plot(*torch.stack([REGION_TARGET, nearest]).T, ":", color=BLACK, linewidth=1.5)
            ax.text(*outline[label_degrees[nested][k]], f"$F_{k + 1}$", **CENTRED, fontsize=14,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})
        ax.plot(*REGION_TARGET, "*", color=BLACK, markersize=18)
        ax.text(*(REGION_TARGET + torch.tensor([0.14, 0.1])), "$f^*$", fontsize=18)
        ax.set_title(name, fontsize=15)
        ax.set(aspect="equal", xticks=[], yticks=[], xlim=(-2.6, 2.5), ylim=(-2.6, 2.1))
        ax.grid(False)
        ax.spines[:].set_visible(False)
    return fig


DATA = {"color": GREY, "markersize": 5}
F_STAR = {"color": BLACK, "linewidth": 1.5}
FIT = {"color": GREEN, "linewidth": 3}
FIT_CROSS = {"color": GREEN, "markersize": 10, "zorder": 6}


def draw_class_fit(fit):
    """Draw a `ClassFit`: the classes as regions round f*, the fit to its data, the distances.

    In the first picture only the distances mean something: the nearest point of each region is as
    far from f* as the best function of that class, and the cross as far as the fit to the data.
    Regions of nested classes contain each other. The size of a region only says that the classes
    grow.
    """
    fig, ax = drawing(WIDTH, 3.4)
    name, top = class_name(fit.complexity), 1.15 * _largest_distance(fit)
    classes = "F₁" if fit.complexity == 1 else f"F₁ to {name}"
    _draw_regions(_Panel(ax, (0.06, 0.15, 2.65, 2.65), f"{classes} around f*"), fit)
    _draw_fit(_Panel(ax, (3.2, 0.6, 2.35, 2.2), f"best fit of {name} to the data", "x", xlim=(0, 1),
                     ylim=(-1, 2), xticks=(0, 0.5, 1), yticks=(-1, 0, 1, 2)), fit)
    _draw_distances(_Panel(ax, (6.1, 0.6, 2.4, 2.2), "distance to f* so far", "complexity k",
                           xlim=(0.5, 6.5), ylim=(0, 1.4 * top), xticks=range(1, 7),
                           yticks=np.arange(0, top, 0.1)), fit)
    return fig


def class_name(k):
    """F₁ .. F₉, in characters: matplotlib's formulas take longer than all the rest of a drawing."""
    return f"F{'₀₁₂₃₄₅₆₇₈₉'[k]}"


def _largest_distance(fit):
    return max(*fit.class_distances[True], *fit.class_distances[False], fit.distance)


class _Panel:
    """A rectangle of a `drawing` with coordinates, a title and, if it has ticks, a frame.

    Several Axes in a figure would do the same and take 100 ms more, too long for a slider.

    Args:
        box: left, bottom, width and height in inches.
    """

    def __init__(self, ax, box, title, xlabel="", xlim=(0, 1), ylim=(0, 1), xticks=(), yticks=()):
        self.ax, self.box, self.xlim, self.ylim = ax, box, xlim, ylim
        left, bottom, width, height = box
        ax.text(left + width / 2, bottom + height + 0.33, title, ha="center", fontsize=12.5)
        ax.text(left + width / 2, bottom - 0.48, xlabel, ha="center", fontsize=11.5)
        for tick in xticks:
            ax.text(self.x(tick), bottom - 0.2, f"{tick:g}", ha="center", fontsize=10.5)
        for tick in yticks:
            ax.text(left - 0.08, self.y(tick), f"{tick:g}", ha="right", va="center", fontsize=10.5)
        if len(xticks):
            lines = [((tick, tick), ylim) for tick in xticks] + [(xlim, (y, y)) for y in yticks]
            gap = (math.nan,)  # one broken line is drawn faster than many
            self.plot(*(np.concatenate([(*line[i], *gap) for line in lines]) for i in (0, 1)),
                      color=GRID, linewidth=0.8, zorder=0)
            ax.plot([left, left, left + width], [bottom + height, bottom, bottom], color=BLACK,
                    linewidth=1)

    def x(self, values):
        """Inches from the left of the drawing."""
        low, high = self.xlim
        return self.box[0] + (np.asarray(values) - low) / (high - low) * self.box[2]

    def y(self, values):
        """Inches from the bottom of the drawing."""
        low, high = self.ylim
        return self.box[1] + (np.asarray(values) - low) / (high - low) * self.box[3]

    def plot(self, x, y, *args, **kwargs):
        self.ax.plot(self.x(x), self.y(y), *args, **kwargs)

    def legend(self, entries, columns=1, width=0.82, above=False):
        """Samples of line and marker with their names, for (name, format, style)s.

        They begin in the upper left corner of the panel, or just above it.
        """
        top = self.box[1] + self.box[3] + (0.12 if above else -0.12)
        for i, (name, fmt, style) in enumerate(entries):
            x, y = self.box[0] + 0.15 + i % columns * width, top - i // columns * 0.24
            self.ax.plot([x, x + 0.15, x + 0.3], [y, y, y], fmt, markevery=[1], **style)
            self.ax.text(x + 0.4, y, name, va="center", fontsize=10.5)


def _draw_regions(panel, fit):
    from matplotlib.patches import Circle
    unit = 1 / _largest_distance(fit)
    regions = []  # (k, direction seen from f*, distance to f*, radius)
    for k in range(1, fit.complexity + 1):
        angle = math.pi if fit.nested else math.pi - 2 * math.pi * (k - 1) / 6
        direction = np.array([math.cos(angle), math.sin(angle)])
        radius = 0.5 * k if fit.nested else 0.25 + 0.12 * k
        regions.append((k, direction, unit * fit.class_distances[fit.nested][k - 1], radius))
    extent = max(distance + 2 * radius for _, _, distance, radius in regions)
    low, high = (-extent, 0.35) if fit.nested else (-extent, extent)
    half = max(high - low, 1.5) / 2 * 1.04
    panel.xlim, panel.ylim = ((low + high) / 2 - half, (low + high) / 2 + half), (-half, half)
    for k, direction, distance, radius in reversed(regions):  # the largest at the back
        is_last, (_, _, colour) = k == fit.complexity, FAMILIES[fit.nested]
        x, y = (distance + radius) * direction
        panel.ax.add_artist(Circle(
            (panel.x(x), panel.y(y)), radius * panel.box[2] / (2 * half), edgecolor=colour,
            facecolor=(*_rgb(colour), 0.1), linewidth=2.5 if is_last else 1))
        panel.plot(*(distance * direction), "o", color=colour, markersize=8 if is_last else 5)
        x, y = (distance + 1.5 * radius) * direction
        if fit.nested:  # below the top of its circle, where no other circle is
            x, y = -(distance + radius), radius - 0.24
        panel.ax.text(panel.x(x), panel.y(y), class_name(k), **CENTRED, fontsize=12)
    panel.plot(*(unit * fit.distance * regions[-1][1]), "X", **FIT_CROSS)
    panel.plot(0, 0, "*", color=BLACK, markersize=16, zorder=7)


def _draw_fit(panel, fit):
    low, high = panel.ylim
    visible = (fit.y >= low) & (fit.y <= high)
    panel.plot(fit.x[visible], fit.y[visible], ".", **DATA)
    panel.plot(fit.grid, fit.f_star, "--", **F_STAR)
    for i, height in enumerate(fit.heights.clamp(low, high).tolist()):
        panel.plot(fit.edges[i:i + 2], [height, height], **FIT)
    panel.legend([("data", ".", DATA), ("f*", "--", F_STAR), ("fit", "-", FIT)], columns=3,
                 above=True)


def _draw_distances(panel, fit):
    so_far, legend = range(1, fit.complexity + 1), []
    for nested, (name, fmt, colour) in FAMILIES.items():
        width, size = (2.5, 7) if nested == fit.nested else (1, 4)
        style = {"color": colour, "linewidth": width, "markersize": size, "zorder": 3 + width}
        panel.plot(so_far, fit.class_distances[nested][:fit.complexity], fmt, **style)
        legend.append((name, fmt, style))
    panel.plot([fit.complexity], [fit.distance], "X", **FIT_CROSS)
    panel.legend([*legend, ("fit to the data", "X", FIT_CROSS)], columns=2, width=1.36)


# --- a plain block beside a residual one ---

LAYERS = ("3×3 convolution", "batch norm", "ReLU", "3×3 convolution", "batch norm")
LAYER_WIDTH, LAYER_HEIGHT, LAYER_PITCH = 1.75, 0.36, 0.56
TOP_LAYER, SUM_HEIGHT, LAST_HEIGHT = 4.2, 1.33, 0.72  # heights in the drawing, in inches


def draw_plain_and_residual():
    """The picture of the field: the same layers without a shortcut and with one.

    Source: paper, figure 2, with batch norm as in the code; d2l's figure draws both side by side.
    """
    fig, ax = drawing(WIDTH, 5.5)
    _draw_column(ax, 1.75, "plain block", "f(x)", "y = ReLU( f(x) )", ORANGE)
    _draw_column(ax, 5.75, "residual block", "g(x)", "y = ReLU( g(x) + x )", BLUE)
    _draw_way_past(ax, 5.75)
    return fig


def _draw_column(ax, x, title, function, formula, colour):
    """x, five layers in a dashed frame, the last ReLU and y, from top to bottom."""
    from matplotlib.patches import FancyBboxPatch
    heights = [TOP_LAYER - i * LAYER_PITCH for i in range(len(LAYERS))]
    ax.text(x, 5.22, title, **CENTRED, fontsize=15, color=colour, weight="bold")
    ax.text(x, 4.87, "x", **CENTRED, fontsize=15, style="italic")
    width, bottom, top = LAYER_WIDTH + 0.3, heights[-1] - 0.27, heights[0] + 0.27
    ax.add_artist(FancyBboxPatch(
        (x - width / 2, bottom), width, top - bottom, facecolor="none", edgecolor=colour,
        linewidth=2, linestyle=(0, (4, 2)), boxstyle="round,pad=0,rounding_size=0.1", zorder=0))
    ax.text(x - width / 2 - 0.12, (bottom + top) / 2, function, ha="right", va="center",
            fontsize=15, color=colour, style="italic")
    _draw_down(ax, x, [4.72, *heights, LAST_HEIGHT, 0.2])
    for name, y in zip((*LAYERS, "ReLU"), (*heights, LAST_HEIGHT), strict=True):
        ax.add_artist(FancyBboxPatch(
            (x - LAYER_WIDTH / 2, y - LAYER_HEIGHT / 2), LAYER_WIDTH, LAYER_HEIGHT, zorder=2,
            facecolor=PALE_BLUE if "conv" in name else PALE_GREY, edgecolor=BLACK, linewidth=1.2,
            boxstyle="round,pad=0,rounding_size=0.08"))
        ax.text(x, y, name, **CENTRED, fontsize=13, zorder=3)
    ax.text(x + 0.15, 0.26, formula, va="center", fontsize=14, style="italic")


def _draw_down(ax, x, heights):
    """A line down through all heights, with a tip above each layer and at its end."""
    ax.plot([x, x], [heights[0], heights[-1]], color=BLACK, linewidth=1.5, zorder=1)
    tips = [y + LAYER_HEIGHT / 2 + 0.05 for y in heights[1:-1]] + [heights[-1]]
    ax.plot([x] * len(tips), tips, "v", color=BLACK, markersize=6, zorder=1)


def _draw_way_past(ax, x):
    """The shortcut of the residual block, round its layers to the addition."""
    right, start = x + LAYER_WIDTH / 2 + 0.5, 4.62
    _draw_to_the_addition(ax, x, right, start, SUM_HEIGHT, size=24, fontsize=20)
    ax.text(right + 0.1, 3.1, "shortcut:\nx, as it is", va="center", fontsize=13, color=BLUE)


def _draw_to_the_addition(ax, x, right, start, end, size, fontsize):
    """A line from x out to `right`, down, and back to a plus of this size at height `end`."""
    ax.plot([x, right, right, x + 0.2], [start, start, end, end], color=BLUE, linewidth=3, zorder=1)
    ax.plot([x + 0.27], [end], "<", color=BLUE, markersize=10, zorder=2)
    ax.plot([x], [end], "o", color=BLUE, markersize=size, zorder=2)
    ax.text(x, end - 0.01, "+", **CENTRED, fontsize=fontsize, color=WHITE, weight="bold", zorder=3)


# --- a block ---

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
    fig, ax = drawing(WIDTH, 4.2 - bottom)
    ax.set_ylim(bottom, 4.2)
    shapes = [costs.input_shape, *(step.shape for step in costs.branch)]
    _draw_edges(ax, shapes + (2 * [costs.output_shape] if costs.output_shape else []))
    for i, step in enumerate(costs.branch):
        _draw_box(ax, FIRST_EDGE + (i + 0.5) * PITCH, ROW, _step_lines(step))
    ax.text(FIRST_EDGE - 0.06, ROW + 0.6, f"branch g(x): {path_costs(costs.branch)}", fontsize=10.5)
    _draw_shortcut(ax, costs)
    _draw_addition(ax, costs)
    note = "at arrows: channels × height × width; in boxes: parameters last"
    if maps:
        _draw_maps(ax, maps, convolved=bool(costs.shortcut))
        note += "; pictures: one channel, blue below zero, orange above"
    ax.text(0.09, bottom + 0.1, note, fontsize=10, color=GREY, va="bottom")
    return fig


def _draw_edges(ax, shapes):
    """An arrow on each edge, between the boxes and signs there, and below it the shape."""
    from matplotlib.collections import LineCollection
    sum_edge, last_edge = NUM_BRANCH_STEPS + 1, NUM_BRANCH_STEPS + 2
    starts = {0: -0.2, sum_edge: -0.33, last_edge: -0.23}
    ends = {NUM_BRANCH_STEPS: 0.33, sum_edge: 0.23, last_edge: 0.4}
    lines, tips = [], []
    for i, shape in enumerate(shapes):
        x = FIRST_EDGE + i * PITCH
        tips.append(x - 0.05 + ends.get(i, 0.12))
        lines.append([(x + starts.get(i, -0.12), ROW), (tips[-1], ROW)])
        ax.text(x, ROW - 0.57, _shape_name(shape), **CENTRED, fontsize=11)
    ax.add_collection(LineCollection(lines, colors=BLACK, linewidths=1.5, zorder=1))
    ax.plot(tips, len(tips) * [ROW], ">", color=BLACK, markersize=6)


def _draw_box(ax, x, y, lines, colour=BLACK, width=BOX_WIDTH):
    """A box centred at (x, y) with lines of text in it."""
    from matplotlib.patches import FancyBboxPatch
    ax.add_artist(FancyBboxPatch(
        (x - width / 2, y - BOX_HEIGHT / 2), width, BOX_HEIGHT, edgecolor=colour, linewidth=1.5,
        facecolor=PALE_BLUE if "conv" in lines[0] else PALE_GREY, zorder=2,
        boxstyle="round,pad=0,rounding_size=0.08"))
    ax.text(x, y, "\n".join(lines), **CENTRED, fontsize=9.5, zorder=3)


def _step_lines(step):
    """The lines in a step's box: what it does, its name, its parameters."""
    name = step.name if step.stride is None else f"{step.name}, /{step.stride}"
    if not step.parameters:
        return (step.operation,)
    return step.operation, name, f"{step.parameters:,}"


def _draw_shortcut(ax, costs):
    start = FIRST_EDGE - 0.2
    ax.plot([start, start, PLUS, PLUS], [ROW, SHORTCUT_ROW, SHORTCUT_ROW, ROW + 0.45], color=BLUE,
            linewidth=2.5, zorder=1)
    ax.plot([PLUS], [ROW + 0.36], "v", color=BLUE, markersize=10)
    ax.text(start + 0.14, SHORTCUT_ROW + 0.12, f"shortcut: {path_costs(costs.shortcut)}",
            color=BLUE, fontsize=10.5)
    for step in costs.shortcut:
        _draw_box(ax, PLUS - 0.68, SHORTCUT_ROW, _step_lines(step), colour=BLUE)
    ax.text(PLUS + 0.12, ROW + 0.62, _shape_name(costs.shortcut_shape), color=BLUE, fontsize=11,
            va="center")


def _draw_addition(ax, costs):
    """The sign where both paths meet, then the ReLU, or torch's message if they do not fit."""
    fits = costs.output_shape is not None
    ax.plot([PLUS], [ROW], "o", color=BLUE if fits else ORANGE, markersize=27)
    ax.text(PLUS, ROW - 0.02, "+" if fits else "×", **CENTRED, fontsize=20, color=WHITE,
            weight="bold")
    if fits:
        _draw_box(ax, PLUS + PITCH, ROW, ("ReLU",), width=0.62)
        return
    branch, shortcut = _shape_name(costs.branch_shape), _shape_name(costs.shortcut_shape)
    ax.text(PLUS + 0.27, ROW, f"{branch} and\n{shortcut}\ndo not fit", fontsize=12, va="center",
            color=TEXT_ORANGE, weight="bold")
    message = (f'torch says: "{costs.error}"' if costs.error else
               "torch says nothing: it would stretch the shortcut to fit, which is not what a "
               "block means")
    ax.text(PLUS - 0.02, ROW - 0.6, textwrap.fill(message, 26), fontsize=10, va="top")


def _draw_maps(ax, maps, convolved):
    """The feature map on each edge, below its shape; that of the shortcut beside its line."""
    from matplotlib.collections import PolyCollection
    half, frames = MAP_SIDE / 2, []
    summed = max(maps[name].abs().max() for name in SUMMED if name in maps)
    for name, Z in maps.items():
        i = MAPS.index(name) if name in MAPS else None
        x, y = (PLUS + 0.7, SHORTCUT_ROW + 0.02)
        if i is not None:
            x, y = (FIRST_EDGE + i * PITCH, ROW - 1.19)
            label = {"relu": "ReLU", "bn2": "g(x)", "sum": "g(x) + x"}.get(name, name)
            ax.text(x, ROW - 1.8, label, **CENTRED, fontsize=11)
        left, right, bottom, top = x - half, x + half, y - half, y + half
        largest = summed if name in SUMMED else Z.abs().max()
        draw_pixels(ax, _map_colours(Z, largest), (left, right, bottom, top), zorder=2)
        frames.append([(left, bottom), (right, bottom), (right, top), (left, top)])
    ax.text(PLUS + 0.7 + half + 0.08, SHORTCUT_ROW, "conv3(x)" if convolved else "x", fontsize=11,
            va="center", color=BLUE)
    ax.add_collection(PolyCollection(frames, facecolor="none", edgecolor=GREY, linewidth=1,
                                     zorder=3))


def _map_colours(Z, largest):
    """A feature map (H, W) as 8-bit colours (H, W, 3): white at 0, blue below, orange above."""
    t = (Z / largest.clamp(min=1e-12)).clamp(-1, 1).unsqueeze(-1).numpy()
    rgb = np.where(t < 0, 1 + t * (1 - _rgb(BLUE)), 1 - t * (1 - _rgb(ORANGE)))
    return (255 * rgb).round().astype(np.uint8)


def _rgb(colour):
    from matplotlib.colors import to_rgb
    return np.array(to_rgb(colour))


def path_costs(steps):
    """What one path of a block costs, as text; a shortcut without convolution has no `Step`s."""
    if not steps:
        return "x unchanged, costs nothing"
    return (f"{sum(step.parameters for step in steps):,} parameters, "
            f"{sum(step.multiply_adds for step in steps):,} multiply-adds")


def _shape_name(shape):
    """(6, 3, 3) as `6×3×3`."""
    return "×".join(map(str, shape))


# --- a basic block beside a bottleneck ---

WIDE, NARROW = 256, 64  # channels
INCH_PER_CHANNEL = 2.5 / WIDE
FIRST_TOP, LAST_BOTTOM, BAND, ADDITION = 3.72, 1.3, 0.56, 0.74  # heights, in inches


def draw_basic_and_bottleneck():
    """Both blocks for 256 channels, each layer as wide as the channels that it takes and gives.

    Source: paper, figure 5, whose basic block has 64 channels.
    """
    fig, ax = drawing(WIDTH, 4.75)
    _draw_block_to_scale(ax, 2.45, "basic block", [(3, WIDE, WIDE), (3, WIDE, WIDE)])
    _draw_block_to_scale(ax, 6.5, "bottleneck",
                         [(1, WIDE, NARROW), (3, NARROW, NARROW), (1, NARROW, WIDE)])
    ax.text(WIDTH / 2, 0.08, "width: number of channels; batch norms and ReLUs are not drawn",
            ha="center", fontsize=12, color=GREY)
    return fig


def _draw_block_to_scale(ax, x, title, convolutions):
    """A column of convolutions (kernel size, channels in, channels out), from top to bottom."""
    from matplotlib.collections import PolyCollection
    tops = np.linspace(FIRST_TOP, LAST_BOTTOM + BAND, len(convolutions))
    ax.text(x, 4.52, title, **CENTRED, fontsize=15, weight="bold")
    ax.text(x, 4.1, f"{WIDE} channels", **CENTRED, fontsize=13)
    _draw_arrows_down(ax, x, tops)
    corners = []
    for top, (kernel, before, after) in zip(tops, convolutions, strict=True):
        high, low = (INCH_PER_CHANNEL * channels / 2 for channels in (before, after))
        corners.append([(x - high, top), (x + high, top), (x + low, top - BAND),
                        (x - low, top - BAND)])
        ax.text(x - INCH_PER_CHANNEL * WIDE / 2 - 0.08, top - BAND / 2,
                f"{kernel}×{kernel} conv", ha="right", va="center", fontsize=13)
        ax.text(x + 0.12, top - BAND - 0.16, after, va="center", fontsize=13)
    ax.add_collection(PolyCollection(corners, facecolor=PALE_BLUE, edgecolor=BLACK, linewidth=1.2,
                                     zorder=2))
    right = x + INCH_PER_CHANNEL * WIDE / 2 + 0.3
    _draw_to_the_addition(ax, x, right, 3.93, ADDITION, size=22, fontsize=19)


def _draw_arrows_down(ax, x, tops):
    """A line from the input through all layers to below the addition, a tip above each of them."""
    ax.plot([x, x], [3.97, 0.38], color=BLACK, linewidth=1.5, zorder=1)
    tips = [*(top + 0.05 for top in tops), ADDITION + 0.2, 0.38]
    ax.plot([x] * len(tips), tips, "v", color=BLACK, markersize=6, zorder=1)


# --- a model ---

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
    fig, ax = drawing(WIDTH, 3.6)
    inch_per_pixel, colour = TALLEST / stages[0].shape[1], BLUE if shortcuts else ORANGE
    boxes = [[branch[-1].shape for branch, _ in stage.blocks] or [stage.shape] for stage in stages]
    boxes[-1] = [(stages[-2].shape[0], 1, 1)]  # what the pooling makes of b5
    widths = [[shape[0] for shape in shapes] for shapes in boxes]
    centres, inch_per_channel = _share_width([sum(channels) for channels in widths])
    for stage, shapes, channels, centre in zip(stages, boxes, widths, centres, strict=True):
        edges = centre + inch_per_channel * (np.cumsum([0] + channels) - sum(channels) / 2)
        height = max(shapes[0][1] * inch_per_pixel, 0.03)
        _draw_feature_boxes(ax, edges, height, colour if stage.blocks else GREY)
        if shortcuts and stage.blocks:
            dashed = [bool(shortcut) for _, shortcut in stage.blocks]
            _draw_arcs(ax, edges, MIDDLE + height / 2 + 0.05, dashed)
        n = len(stage.blocks)
        kind = {"b1": "stem", "linear": "classifier"}.get(stage.name, f"{n} block{'s' * (n > 1)}")
        into = f"{channels[0]} → " if stage is stages[-1] else ""
        _draw_label(ax, centre, stage.name, kind, into + _shape_name(stage.shape))
    height = size * inch_per_pixel / 4
    ax.plot([0.75, 0.75], [MIDDLE - height / 2, MIDDLE + height / 2], color=BLACK, linewidth=3,
            solid_capstyle="butt")
    _draw_label(ax, 0.75, "image", "at ¼ scale", _shape_name((in_channels, size, size)))
    _draw_scale(ax, inch_per_channel, inch_per_pixel, stages[0].shape[1], shortcuts)
    return fig


def _share_width(channels, left=1.3, right=WIDTH - 0.1, least=1.0):
    """Give each stage room for its label, and share out the rest in proportion to its channels.

    Returns:
        (centres, inch_per_channel): where to draw each stage, and the scale at which all of them
        have room.
    """
    channels = np.array(channels)
    widths = least + (right - left - least * len(channels)) * channels / channels.sum()
    return left + np.cumsum(widths) - widths / 2, 0.9 * (widths / channels).min()


def _draw_feature_boxes(ax, edges, height, colour):
    """Boxes side by side, from each of `edges` to the next."""
    from matplotlib.collections import PolyCollection
    low, high = MIDDLE - height / 2, MIDDLE + height / 2
    corners = [[(a, low), (b, low), (b, high), (a, high)] for a, b in pairwise(edges)]
    ax.add_collection(PolyCollection(
        corners, facecolor=(*_rgb(colour), 0.25), edgecolor=colour,
        linewidth=1 if edges[1] - edges[0] > 0.06 else 0.5))


def _draw_arcs(ax, edges, bottom, dashed):
    """Shortcuts from each of `edges` to the next: half ellipses above the height `bottom`."""
    from matplotlib.collections import LineCollection
    angle, widths = np.linspace(0, np.pi, 13), np.diff(edges)
    y = bottom + min(0.3, 0.1 + widths[0] / 3) * np.sin(angle)
    curves = [np.stack([a + w / 2 * (1 - np.cos(angle)), y], axis=1)
              for a, w in zip(edges[:-1], widths, strict=True)]
    ax.add_collection(LineCollection(
        curves, colors=BLUE, linewidths=1.5 if widths[0] > 0.06 else 0.6,
        linestyles=[(0, (2, 1)) if d else "-" for d in dashed]))


def _draw_label(ax, x, name, kind, shape):
    ax.text(x, 0.82, f"{name}\n{kind}\n{shape}", **CENTRED, fontsize=10.5, linespacing=1.3)


def _draw_scale(ax, inch_per_channel, inch_per_pixel, pixels, shortcuts):
    """What an inch means: a bar of a round number of channels, and one of pixels."""
    channels = 2 ** math.floor(math.log2(1.1 / inch_per_channel))
    pixels = 2 ** math.floor(math.log2(pixels))
    end, top = 0.2 + channels * inch_per_channel, MIDDLE + pixels * inch_per_pixel / 2
    bar = {"color": GREY, "linewidth": 2, "solid_capstyle": "butt"}
    words = {"fontsize": 10, "color": GREY, "va": "center"}
    ax.plot([0.2, end], [0.2, 0.2], **bar)
    ax.text(end + 0.08, 0.2, f"{channels:,} channels", **words)
    ax.plot([0.25, 0.25], [2 * MIDDLE - top, top], **bar)
    ax.text(0.25, top + 0.12, f"{pixels} px", **words, ha="center")
    note = "arc: shortcut (dashed: 1×1 convolution)" if shortcuts else (
        "no shortcuts: a plain network")
    ax.text(WIDTH - 0.1, 0.2, f"height: feature map; width: channels; {note}", **words, ha="right")


# --- training runs ---

def draw_runs(histories):
    """Draw the training loss and the test (or held-out) accuracy of several runs.

    Args:
        histories: {name: `History`}. Runs differ in colour, line and marker.
    """
    fig, (losses, accuracies) = subplots(1, 2, figsize=(WIDTH, 3.2))
    was_tested = False
    for i, (name, history) in enumerate(histories.items()):
        style = {"color": PALETTE[i % 6], "linestyle": FORMATS[i % 4], "marker": "osD^v"[i % 5],
                 "markersize": 4}
        label = name if len(name) <= 40 else f"{name[:39]}…"  # the curves need room, too
        label = label.replace("$", r"\$")  # a dollar sign would start a formula
        records = history.records
        losses.plot([r.epoch for r in records], [r.train_loss for r in records], **style)
        tested = [r for r in records if r.test_acc is not None]
        accuracies.plot([r.epoch for r in tested], [r.test_acc for r in tested], label=f" {label}",
                        **style)
        was_tested = was_tested or bool(tested)
    images = sorted({history.tested_on for history in histories.values()}, reverse=True) or ["test"]
    losses.set(xlabel="epoch", ylabel="train loss")
    accuracies.set(xlabel="epoch", ylabel=f"{' / '.join(images)} acc")
    if histories:
        accuracies.legend(fontsize=10.5)
    if not was_tested:
        accuracies.set(xlim=losses.get_xlim(), ylim=(0, 1))
    return fig
