"""Classes of functions as regions round f*, and what a fit of one of them comes to."""

import math

import numpy as np

from resnet_helpers.function_classes import REGION_TARGET, distance_to_region, region_outlines
from resnet_helpers.plotting import BLACK, BLUE, GREEN, GREY, ORANGE, WHITE
from resnet_helpers.sketch import CENTRED, WIDTH, Panel, Sketch

# Classes that are not nested, and nested ones: as plain and residual networks in other pictures.
FAMILIES = {
    False: ("not nested", {"color": ORANGE, "dash": "--", "mark": "o"}),
    True: ("nested", {"color": BLUE, "dash": "-", "mark": "s"}),
}


def class_name(k):
    """F₁ .. F₉, in characters."""
    return f"F{'₀₁₂₃₄₅₆₇₈₉'[k]}"


def draw_function_classes():
    """Six regions of growing area, not nested and nested, with f* and each one's nearest point."""
    sketch = Sketch(10, 4.6)
    for left, nested in ((0.1, False), (5.1, True)):
        name, style = FAMILIES[nested]
        panel = Panel(sketch, (left, 0.1, 4.8, 4.2), xlim=(-2.74, 2.64), ylim=(-2.6, 2.1))
        sketch.text(left + 2.4, 4.36, name, 15, ha="center")
        _draw_outlines(panel, region_outlines(nested), style["color"], nested)
        x, y = REGION_TARGET.tolist()
        panel.plot([x], [y], mark="*", size=18)
        sketch.text(panel.x(x + 0.14), panel.y(y + 0.1), "f*", 18, italic=True)
    return sketch


LABEL_DEGREES = {False: (190, 105, 60, -30, 140, 250), True: (95, 125, 160, 195, 230, 265)}


def _draw_outlines(panel, outlines, color, nested):
    """Six regions, the largest at the back, with their names and nearest points to f*."""
    for outline in reversed(outlines):
        corners = np.stack([panel.x(outline[:, 0]), panel.y(outline[:, 1])], axis=1)
        panel.sketch.polygons([corners], color, color, 2, opacity=0.08)
    for k, outline in enumerate(outlines):
        _, nearest = distance_to_region(REGION_TARGET, outline)
        if k + 1 in (3, 6):
            ends = np.stack([REGION_TARGET, nearest])
            panel.plot(ends[:, 0], ends[:, 1], width=1.5, dash=":")
        x, y = nearest.tolist()
        panel.plot([x], [y], color=color, mark="o", size=7)
        x, y = outline[LABEL_DEGREES[nested][k]].tolist()
        panel.sketch.box(panel.x(x), panel.y(y), 0.26, 0.24, WHITE, edge=None)
        panel.sketch.text(panel.x(x), panel.y(y), class_name(k + 1), 14, **CENTRED)


# --- a fit ---

DATA = {"color": GREY, "dash": "", "mark": ".", "size": 5}
F_STAR = {"color": BLACK, "width": 1.5, "dash": "--"}
FIT = {"color": GREEN, "width": 3}
FIT_CROSS = {"color": GREEN, "dash": "", "mark": "X", "size": 10}


def draw_class_fit(fit):
    """Draw a `ClassFit`: the classes as regions round f*, the fit to its data, the distances.

    In the first picture only the distances mean something: the nearest point of each region is as
    far from f* as the best function of that class, and the cross as far as the fit to the data.
    Regions of nested classes contain each other. The size of a region only says that the classes
    grow.
    """
    sketch = Sketch(WIDTH, 3.4)
    name, top = class_name(fit.complexity), 1.15 * _largest_distance(fit)
    classes = "F₁" if fit.complexity == 1 else f"F₁ to {name}"
    _draw_regions(Panel(sketch, (0.06, 0.15, 2.65, 2.65), f"{classes} around f*"), fit)
    _draw_fit(Panel(sketch, (3.2, 0.6, 2.35, 2.2), f"best fit of {name} to the data", "x",
                    xlim=(0, 1), ylim=(-1, 2), xticks=(0, 0.5, 1), yticks=(-1, 0, 1, 2)), fit)
    _draw_distances(Panel(sketch, (6.1, 0.6, 2.4, 2.2), "distance to f* so far", "complexity k",
                          xlim=(0.5, 6.5), ylim=(0, 1.4 * top), xticks=range(1, 7),
                          yticks=np.arange(0, top, 0.1)), fit)
    return sketch


def _largest_distance(fit):
    return max(*fit.class_distances[True], *fit.class_distances[False], fit.distance)


def _draw_regions(panel, fit):
    unit, sketch = 1 / _largest_distance(fit), panel.sketch
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
    color = FAMILIES[fit.nested][1]["color"]
    for k, direction, distance, radius in reversed(regions):  # the largest at the back
        is_last = k == fit.complexity
        x, y = (distance + radius) * direction
        sketch.circle(panel.x(x), panel.y(y), radius * panel.box[2] / (2 * half), color, color,
                      2.5 if is_last else 1, opacity=0.1)
        x, y = (distance + 1.5 * radius) * direction
        if fit.nested:  # below the top of its circle, where no other circle is
            x, y = -(distance + radius), radius - 0.24
        sketch.text(panel.x(x), panel.y(y), class_name(k), 12, **CENTRED)
    for k, direction, distance, _ in regions:
        x, y = distance * direction
        panel.plot([x], [y], color=color, mark="o", size=8 if k == fit.complexity else 5)
    x, y = unit * fit.distance * regions[-1][1]
    panel.plot([x], [y], **FIT_CROSS)
    panel.plot([0], [0], mark="*", size=16)


def _draw_fit(panel, fit):
    low, high = panel.ylim
    visible = (fit.y >= low) & (fit.y <= high)
    panel.plot(fit.x[visible], fit.y[visible], **DATA)
    panel.plot(fit.grid, fit.f_star, **F_STAR)
    heights, edges = fit.heights.clamp(low, high).tolist(), panel.x(fit.edges)
    panel.sketch.lines([[(left, panel.y(y)), (right, panel.y(y))]
                        for y, left, right in zip(heights, edges, edges[1:], strict=False)], **FIT)
    panel.legend([("data", DATA), ("f*", F_STAR), ("fit", FIT)], columns=3, above=True)


def _draw_distances(panel, fit):
    so_far, legend = range(1, fit.complexity + 1), []
    for nested in sorted(FAMILIES, key=lambda nested: nested == fit.nested):  # its own on top
        name, style = FAMILIES[nested]
        width, size = (2.5, 7) if nested == fit.nested else (1, 4)
        style = {**style, "width": width, "size": size}
        panel.plot(so_far, fit.class_distances[nested][:fit.complexity], **style)
        legend.append((name, style))
    panel.plot([fit.complexity], [fit.distance], **FIT_CROSS)
    legend.sort(key=lambda entry: entry[0] == "nested")  # in one order, whichever is on top
    panel.legend([*legend, ("fit to the data", FIT_CROSS)], columns=2, width=1.36)
