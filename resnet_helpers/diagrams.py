"""Drawings of function classes, blocks and models, made from computed distances and traced shapes."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from resnet_helpers.function_classes import REGION_TARGET, distance_to_region, region_outlines
from resnet_helpers.models import Bottleneck, Residual, count_parameters
from resnet_helpers.plotting import BLACK, BLUE, GREEN, ORANGE, subplots


def draw_function_classes():
    """Six regions of growing area, not nested and nested, with f* and the nearest point of each to it.

    Returns:
        Figure; the distances are those of `function_classes.distance_to_region`.
    """
    import matplotlib
    fig, axes = subplots(1, 2, figsize=(10, 4.6))
    colours = [matplotlib.colormaps["viridis"](0.85 - 0.15 * k) for k in range(6)]  # darker = larger
    label_degrees = {False: (190, 105, 60, -30, 140, 250), True: (95, 125, 160, 195, 230, 265)}
    for ax, nested in zip(axes, (False, True), strict=True):
        outlines = region_outlines(nested)
        for k in range(5, -1, -1):  # the largest at the back
            ax.fill(*outlines[k].T, facecolor=(*colours[k][:3], 0.10), edgecolor=colours[k], linewidth=2)
        for k, outline in enumerate(outlines):
            _, nearest = distance_to_region(REGION_TARGET, outline)
            ax.plot(*nearest, "o", color=colours[k], markersize=6)
            if k + 1 in (3, 6):
                ax.plot(*torch.stack([REGION_TARGET, nearest]).T, ":", color=BLACK, linewidth=1.5)
            ax.text(*outline[label_degrees[nested][k]], f"$F_{k + 1}$", ha="center", va="center", fontsize=14,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})
        ax.plot(*REGION_TARGET, "*", color=ORANGE, markersize=18)
        ax.text(*(REGION_TARGET + torch.tensor([0.14, 0.1])), "$f^*$", fontsize=18)
        ax.set_title("nested" if nested else "not nested", fontsize=15)
        ax.set(aspect="equal", xticks=[], yticks=[], xlim=(-2.6, 2.5), ylim=(-2.6, 2.1))
        ax.grid(False)
        ax.spines[:].set_visible(False)
    return fig


@dataclass(frozen=True)
class Step:
    """One operation of a block: its name, what to print below it, parameters, output shape (C, H, W)."""

    name: str
    detail: str
    parameters: int
    shape: tuple


@dataclass(frozen=True)
class BlockTrace:
    """What happens to a shape on its way through a residual block.

    Attributes:
        input_shape: (C, H, W).
        branch, shortcut: the steps of the two paths; the shortcut has none without the 1x1 convolution.
        output_shape: (C, H, W); None if branch and shortcut cannot be added.
        error: the block's own message in that case, else None.
    """

    input_shape: tuple
    branch: tuple
    shortcut: tuple
    output_shape: tuple | None
    error: str | None

    @property
    def branch_shape(self):
        """Shape (C, H, W) that the branch brings to the addition."""
        return self.branch[-1].shape

    @property
    def shortcut_shape(self):
        """Shape (C, H, W) that the shortcut brings to the addition."""
        return self.shortcut[-1].shape if self.shortcut else self.input_shape


def trace_block(input_channels, num_channels, use_1x1conv=False, strides=1, size=6):
    """Run a `Residual` block on an image of `size` x `size` pixels and note every shape.

    The block is run on torch's "meta" device, which computes shapes only.

    Raises:
        ValueError: a size below 1, as `Residual`.
    """
    with torch.device("meta"):
        block = Residual(input_channels, num_channels, use_1x1conv, strides)
        X = torch.empty(4, input_channels, size, size)
    shapes = {}
    for name, layer in block.named_children():
        layer.register_forward_hook(lambda _, __, Y, name=name: shapes.update({name: tuple(Y.shape[1:])}))
    try:
        output_shape, error = tuple(block(X).shape[1:]), None
    except ValueError as reason:
        output_shape, error = None, str(reason)
    return BlockTrace(tuple(X.shape[1:]), _steps(block, shapes, ("conv1", "bn1", "relu", "conv2", "bn2")),
                      _steps(block, shapes, ("conv3",) if use_1x1conv else ()), output_shape, error)


def _steps(block, shapes, names):
    steps = []
    for name in names:
        layer = getattr(block, name, None)
        if isinstance(layer, nn.Conv2d):
            k, s = layer.kernel_size[0], layer.stride[0]
            steps.append(Step(f"{k}×{k} {name}", f"stride {s}", count_parameters(layer), shapes[name]))
        elif isinstance(layer, nn.BatchNorm2d):
            steps.append(Step("batch norm", name, count_parameters(layer), shapes[name]))
        else:
            steps.append(Step("ReLU", "", 0, steps[-1].shape))
    return tuple(steps)


def draw_block(trace):
    """Draw a residual block from its `BlockTrace`: a box per step, the shape on every edge, both paths.

    Returns:
        Figure, 10 x 3.6 inches; one unit of its axes is one inch.
    """
    fig, ax = subplots(figsize=(10, 3.6))
    ax.set(xlim=(0, 10), ylim=(-0.95, 2.35), aspect="equal")
    ax.axis("off")
    x = 0.0
    for i, (shape, step) in enumerate(zip((trace.input_shape, *(s.shape for s in trace.branch)),
                                          (*trace.branch, None), strict=True)):
        width = 0.85 if i == 0 else 0.42
        _edge(ax, x, x + width, shape)
        x += width
        if step:
            _box(ax, x, 0, step)
            x += BOX_WIDTH
    plus = x + 0.22
    ax.plot([0.3, 0.3, plus, plus], [0, 1.75, 1.75, 0.45], color=BLUE, linewidth=2.5, zorder=1)
    ax.plot([plus], [0.36], "v", color=BLUE, markersize=10)
    ax.text(0.42, 1.87, "shortcut", color=BLUE, fontsize=13)
    ax.text(0.95, 0.48, "branch g(x)", fontsize=13)
    ax.text(plus + 0.12, 1.1, _name(trace.shortcut_shape), color=BLUE, fontsize=11, va="center")
    for step in trace.shortcut:
        _box(ax, (0.3 + plus - BOX_WIDTH) / 2, 1.75, step, colour=BLUE)
    if not trace.shortcut:
        ax.text((0.3 + plus) / 2, 1.87, "x unchanged", color=BLUE, fontsize=11, ha="center")
    _addition(ax, plus, trace)
    ax.text(0, -0.9, "shapes: channels × height × width; third line of a box: its parameters", fontsize=10,
            color="#555555", va="bottom")
    return fig


BOX_WIDTH = 0.95


def _addition(ax, plus, trace):
    """The sign where both paths meet, and what comes after it if they fit."""
    fits = trace.output_shape is not None
    colour = GREEN if fits else ORANGE
    ax.plot([plus], [0], "o", color=colour, markersize=27)
    ax.text(plus, -0.02, "+" if fits else "×", ha="center", va="center", fontsize=20, color="white", weight="bold")
    if fits:
        _edge(ax, plus + 0.2, plus + 0.47, None)
        _box(ax, plus + 0.47, 0, Step("ReLU", "", 0, trace.output_shape), width=0.62)
        _edge(ax, plus + 1.09, plus + 1.6, trace.output_shape)
    else:
        shapes = f"{_name(trace.branch_shape)}\nand {_name(trace.shortcut_shape)}"
        ax.text(plus + 0.28, 0, f"cannot be added:\n{shapes}", fontsize=12, va="center",
                color="#A33F00", weight="bold")


def _box(ax, x, y, step, colour=BLACK, width=BOX_WIDTH):
    """A box whose left edge is at x and whose middle is at height y."""
    from matplotlib.patches import FancyBboxPatch
    ax.add_patch(FancyBboxPatch((x, y - 0.34), width, 0.68, boxstyle="round,pad=0,rounding_size=0.08",
                                facecolor="#E3F1FA" if "conv" in step.name else "#F4F4F4", edgecolor=colour,
                                linewidth=1.5, zorder=2))
    lines = [step.name, step.detail, f"{step.parameters:,}" if step.parameters else ""]
    ax.text(x + width / 2, y, "\n".join(filter(None, lines)), ha="center", va="center", fontsize=9.5, zorder=3)


def _edge(ax, start, end, shape):
    ax.annotate("", (end, 0), (start, 0), arrowprops={"arrowstyle": "-|>", "color": BLACK, "shrinkA": 0,
                                                      "shrinkB": 0})
    if shape:
        ax.text((start + end) / 2, -0.52, _name(shape), ha="center", va="center", fontsize=11)


def _name(shape):
    """(6, 3, 3) as `6×3×3`."""
    return "×".join(map(str, shape))


def trace_layers(net, X):
    """Run `net`, a Sequential, on X layer by layer.

    Returns:
        List of (layer, output shape without the batch dimension), one per layer of `net`.
    """
    shapes = []
    was_training = net.training
    net.eval()
    with torch.no_grad():
        for layer in net:
            X = layer(X)
            shapes.append((layer, tuple(X.shape[1:])))
    net.train(was_training)
    return shapes


def draw_resnet(net, X):
    """Draw a ResNet of `resnet` by what leaves each of its layers for an input X (1, C, H, W).

    Height stands for height and width of the feature maps, width for the number of channels, both on a
    logarithmic scale.

    Returns:
        Figure, 10 x 3.6 inches.
    """
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Rectangle
    traced = trace_layers(net, X)
    blocks = [sum(isinstance(m, (Residual, Bottleneck)) for m in layer.modules()) for layer, _ in traced]
    names = ["stem b1", "b2", "b3", "b4", "b5", "average pool", "flatten", "linear"]
    fig, ax = subplots(figsize=(10, 3.6))
    x = 0.0
    stages = [("image", 0, tuple(X.shape[1:]))] + [
        (name, n, shape) for name, n, (_, shape) in zip(names, blocks, traced, strict=True) if name != "flatten"]
    for name, num_blocks, shape in stages:
        side = shape[1] if len(shape) == 3 else 1
        height, width = 0.25 + 0.28 * math.log2(side), 0.12 + 0.07 * math.log2(shape[0])
        x += 0.36
        colour = BLUE if num_blocks else "#777777"
        ax.add_patch(Rectangle((x, -height / 2), width, height, facecolor=(*to_rgb(colour), 0.2), edgecolor=colour,
                               linewidth=2))
        ax.text(x + width / 2, -1.62, name, ha="center", va="center", fontsize=12)
        ax.text(x + width / 2, -1.9, f"{num_blocks} blocks" if num_blocks else "", ha="center", va="center",
                fontsize=10, color=BLUE)
        ax.text(x + width / 2, height / 2 + 0.16, _name(shape), ha="center", va="center", fontsize=11)
        x += width + 0.36
        if name != "linear":
            ax.annotate("", (x + 0.3, 0), (x - 0.3, 0), arrowprops={"arrowstyle": "-|>", "color": BLACK})
    ax.set(xlim=(0.1, x), ylim=(-2.05, 1.75))
    ax.axis("off")
    return fig
