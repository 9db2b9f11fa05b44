"""Drawings without axes, of lines, boxes, words and pixels: SVG for a page, or a Figure.

For what explorers draw while a reader waits, since writing SVG takes a millisecond or two.
Coordinates are inches from the lower left corner; line widths and font sizes are points. What is
drawn later lies above.
"""

import base64
import html
import io
import json

import numpy as np

from resnet_helpers.plotting import (
    BLACK,
    DARK,
    FONTS,
    GRID,
    empty_figure,
)
from resnet_helpers.raster import PIXELS_PER_INCH

POINT = PIXELS_PER_INCH / 72  # in pixels
DASHES = {"-": (), "--": (3.7, 1.6), "-.": (6.4, 1.6, 1, 1.6), ":": (1, 1.65)}  # in line widths
ASCENT, DESCENT = 0.76, 0.2  # of a line of text, in font sizes
CENTRED = {"ha": "center", "va": "center"}
WIDTH = 8.6  # inches, of the explorers' drawings: a notebook in a window of 1280 pixels


def _star():
    radii, angles = np.tile([0.5, 0.19], 5), np.pi / 2 + np.arange(10) * np.pi / 5
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


_TIP = np.array([(0.5, 0), (-0.5, 0.5), (-0.5, -0.5)])
_SQUARE = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
MARKS = {  # corners of marks that are one point wide
    ">": _TIP, "<": -_TIP, "^": _TIP[:, ::-1], "v": -_TIP[:, ::-1], "s": _SQUARE,
    "D": _SQUARE @ [[1, 1], [-1, 1]] / np.sqrt(2), "*": _star(),
    "X": np.array([(-2, -1), (-1, -2), (0, -1), (1, -2), (2, -1), (1, 0), (2, 1), (1, 2), (0, 1),
                   (-1, 2), (-2, 1), (-1, 0)]) / 4,
}


class Sketch:
    """An empty drawing.

    Args:
        width, height: in inches.
        bottom: the height at which the drawing begins; what is below is cut off.
    """

    def __init__(self, width, height, bottom=0.0):
        self.width, self.height, self.bottom = width, height, bottom
        self._elements, self._artists = [], []  # the same marks, as SVG and for matplotlib

    # --- marks ---

    def line(self, x, y, color=BLACK, width=1.5, dash="-"):
        """A line through the points (x[i], y[i]); `dash` is a name in `DASHES`."""
        self.lines([np.stack([x, y], axis=1)], color, width, dash)

    def lines(self, curves, color=BLACK, width=1.5, dash="-"):
        """Lines of one kind, each through the points (x, y) of a sequence."""
        style = f"fill:none;{_stroke(color, width, dash)}"
        self._elements.append(f'<path d="{self._path(curves)}" style="{style}"/>')

        def draw(ax, zorder):
            from matplotlib.collections import LineCollection
            ax.add_collection(LineCollection(
                curves, colors=color, linewidths=width, zorder=zorder, capstyle="butt",
                linestyles=_linestyle(dash)))
        self._artists.append(draw)

    def polygons(self, corners, fill=None, edge=None, width=1.0, opacity=1.0):
        """Areas of one kind, each with its corners (x, y); `opacity` is that of the fill."""
        style = _area(fill, edge, width, opacity)
        self._elements.append(f'<path d="{self._path(corners, "Z")}" style="{style}"/>')

        def draw(ax, zorder):
            from matplotlib.collections import PolyCollection
            ax.add_collection(PolyCollection(
                corners, facecolor=_rgba(fill, opacity), edgecolor=edge or "none",
                linewidth=width if edge else 0, zorder=zorder))
        self._artists.append(draw)

    def circle(self, x, y, radius, fill=None, edge=None, width=1.0, opacity=1.0):
        """A circle; `opacity` is that of the fill."""
        self._elements.append(
            f'<circle cx="{self._x(x)}" cy="{self._y(y)}" r="{_number(PIXELS_PER_INCH * radius)}" '
            f'style="{_area(fill, edge, width, opacity)}"/>')

        def draw(ax, zorder):
            from matplotlib.patches import Circle
            ax.add_artist(Circle((x, y), radius, facecolor=_rgba(fill, opacity), zorder=zorder,
                                 edgecolor=edge or "none", linewidth=width if edge else 0))
        self._artists.append(draw)

    def box(self, x, y, width, height, fill=None, edge=BLACK, line_width=1.5, dash="-", radius=0.0,
            opacity=1.0):
        """A rectangle centred at (x, y), with rounded corners; `opacity` is that of the fill."""
        self._elements.append(
            f'<rect {self._frame(x - width / 2, y + height / 2, width, height)} '
            f'rx="{_number(PIXELS_PER_INCH * radius)}" '
            f'style="{_area(fill, edge, line_width, opacity, dash)}"/>')

        def draw(ax, zorder):
            from matplotlib.patches import FancyBboxPatch
            ax.add_artist(FancyBboxPatch(
                (x - width / 2, y - height / 2), width, height, facecolor=_rgba(fill, opacity),
                edgecolor=edge or "none", linewidth=line_width if edge else 0, zorder=zorder,
                linestyle=_linestyle(dash),
                boxstyle=f"round,pad=0,rounding_size={radius}"))
        self._artists.append(draw)

    def mark(self, x, y, kind, color=BLACK, size=6.0, edge=None):
        """A mark of so many points: "o", "." or a name in `MARKS`; `edge` is of another colour."""
        inches = size / 72
        if kind in "o.":
            self.circle(x, y, inches / (2 if kind == "o" else 4), color, edge, 1.5)
        else:
            self.polygons([inches * MARKS[kind] + (float(x), float(y))], color, edge, 1.5)

    def text(self, x, y, words, size=10.0, color=BLACK, ha="left", va="baseline", bold=False,
             italic=False, rotation=0, spacing=1.2):
        """Words in one or several lines, never taken for a formula.

        Args:
            ha, va: what of them is at (x, y): "left", "center" or "right"; "baseline" (of a single
                line), "center", "top" or "bottom".
            rotation: in degrees.
            spacing: distance between lines, in heights of a line.
        """
        lines, size_in_pixels = str(words).split("\n"), POINT * size
        pitch = (DESCENT + ASCENT * spacing) * size_in_pixels
        block = (len(lines) - 1) * pitch + (ASCENT + DESCENT) * size_in_pixels
        above = {"baseline": ASCENT * size_in_pixels, "top": 0, "center": block / 2,
                 "bottom": block}[va]
        left, top = PIXELS_PER_INCH * x, PIXELS_PER_INCH * (self.height - y) - above
        style = f"font-size:{_number(size_in_pixels)}px"
        style += "" if ha == "left" else f";text-anchor:{'middle' if ha == 'center' else 'end'}"
        style += "" if color == BLACK else f";fill:{_ink(color)}"
        style += ";font-weight:bold" * bold + ";font-style:italic" * italic
        turn = f' transform="rotate({-rotation} {self._x(x)} {self._y(y)})"' if rotation else ""
        for i, line in enumerate(lines):
            baseline = top + ASCENT * size_in_pixels + i * pitch
            self._elements.append(f'<text x="{_number(left)}" y="{_number(baseline)}"{turn} '
                                  f'style="{style}">{html.escape(line)}</text>')

        def draw(ax, zorder):
            ax.text(x, y, words, fontsize=size, color=color, ha=ha, va=va, rotation=rotation,
                    weight="bold" if bold else "normal", linespacing=spacing, parse_math=False,
                    style="italic" if italic else "normal", rotation_mode="anchor",
                    zorder=zorder)
        self._artists.append(draw)

    def pixels(self, rgb, left, right, bottom, top):
        """A picture, array (height, width, 3) of bytes; its first row is on top."""
        from PIL import Image
        file = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(rgb)).save(file, "PNG")
        self._elements.append(
            f'<image {self._frame(left, top, right - left, top - bottom)} '
            f'preserveAspectRatio="none" style="image-rendering:pixelated" '
            f'href="data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"/>')

        def draw(ax, zorder):
            ax.imshow(rgb, extent=(left, right, bottom, top), interpolation="none", aspect="auto",
                      zorder=zorder)
        self._artists.append(draw)

    def choice(self, x, y, width, height, words, **chosen):
        """A rectangle that is not seen, centred at (x, y): a click on it makes a choice on a page.

        Args:
            words: what it is, for the mouse that rests on it.
            chosen: {control: what addresses call its option}, for `assets/live.js`.
        """
        self._elements.append(
            f'<rect {self._frame(x - width / 2, y + height / 2, width, height)} '
            f'data-choice="{html.escape(json.dumps(chosen))}" style="fill:transparent">'
            f"<title>{html.escape(words)}</title></rect>")

    # --- what comes of it ---

    def svg(self, alt):
        """An <svg> element for a page, at most as wide as the drawing and as the page.

        With `STYLE` once on the page it follows JupyterLab's theme: the colours of `DARK` change
        with it, and the paper is the page's.

        Args:
            alt: what screen readers say.
        """
        width, height = (PIXELS_PER_INCH * length for length in
                         (self.width, self.height - self.bottom))
        opening = (
            f'<svg class="rh-picture" role="img" aria-label="{html.escape(alt)}" '
            f'viewBox="0 0 {_number(width)} {_number(height)}" '
            f'style="width: {width:.0f}px; max-width: 100%; height: auto; display: block">')
        return f"{opening}{''.join(self._elements)}</svg>"

    def figure(self):
        """A matplotlib Figure of the same, unknown to pyplot, for a PNG."""
        fig = empty_figure(self.width, self.height - self.bottom)
        ax = fig.add_axes((0, 0, 1, 1))
        ax.axis("off")
        for zorder, draw in enumerate(self._artists):
            draw(ax, zorder)
        ax.set(xlim=(0, self.width), ylim=(self.bottom, self.height))
        return fig

    def _x(self, x):
        return _number(PIXELS_PER_INCH * x)

    def _y(self, y):
        return _number(PIXELS_PER_INCH * (self.height - y))

    def _frame(self, left, top, width, height):
        """Place and size of an element, as its attributes."""
        return (f'x="{self._x(left)}" y="{self._y(top)}" '
                f'width="{_number(PIXELS_PER_INCH * width)}" '
                f'height="{_number(PIXELS_PER_INCH * height)}"')

    def _path(self, curves, end=""):
        return "".join(
            f"M{'L'.join(f'{self._x(x)} {self._y(y)}' for x, y in curve)}{end}" for curve in curves)


def _number(value):
    """A length in pixels, short."""
    return f"{round(float(value), 2):g}"


def _ink(color):
    """A colour that follows the theme, if it is one of `DARK`."""
    return f"var(--rh-{color[1:].lower()}, {color.lower()})" if color in DARK else color


def _stroke(color, width, dash):
    style = f"stroke:{_ink(color)};stroke-width:{_number(POINT * width)}"
    if DASHES[dash]:
        lengths = (_number(POINT * width * length) for length in DASHES[dash])
        style += f";stroke-dasharray:{' '.join(lengths)}"
    return style


def _linestyle(dash):
    """A name in `DASHES` as matplotlib takes it."""
    return (0, DASHES[dash]) if DASHES[dash] else "-"


def _area(fill, edge, width, opacity, dash="-"):
    style = f"fill:{_ink(fill) if fill else 'none'}"
    if fill and opacity < 1:
        style += f";fill-opacity:{opacity:g}"
    return f"{style};{_stroke(edge, width, dash)}" if edge else style


def _rgba(fill, opacity):
    from matplotlib.colors import to_rgba
    return to_rgba(fill, opacity) if fill else "none"


# It holds for the whole page, hence its names. Brought along by each picture it would cost each
# picture a look at all the rest of the page.
STYLE = (
    f"<style>.rh-picture {{ fill: {_ink(BLACK)}; font-family: {FONTS}; "
    f"background: {_ink('#ffffff')} }} "
    '[data-jp-theme-light="false"] { '
    + "; ".join(f"--rh-{light[1:].lower()}: {dark.lower()}" for light, dark in DARK.items())
    + " }</style>")


class Panel:
    """A rectangle of a `Sketch` with coordinates, a title and, if it has ticks, a frame.

    Args:
        box: left, bottom, width and height in inches.
        xlim, ylim: (low, high) of the coordinates.
        xticks, yticks: numbers to mark.
    """

    def __init__(self, sketch, box, title="", xlabel="", xlim=(0, 1), ylim=(0, 1), xticks=(),
                 yticks=()):
        self.sketch, self.box, self.xlim, self.ylim = sketch, box, xlim, ylim
        left, bottom, width, height = box
        middle = left + width / 2
        if title:
            sketch.text(middle, bottom + height + 0.33, title, 12.5, ha="center")
        if xlabel:
            sketch.text(middle, bottom - 0.48, xlabel, 11.5, ha="center")
        for tick in xticks:
            sketch.text(self.x(tick), bottom - 0.2, f"{tick:g}", 10.5, ha="center")
        for tick in yticks:
            sketch.text(left - 0.08, self.y(tick), f"{tick:g}", 10.5, ha="right", va="center")
        if len(xticks):
            grid = [[(self.x(tick), bottom), (self.x(tick), bottom + height)] for tick in xticks]
            grid += [[(left, self.y(tick)), (left + width, self.y(tick))] for tick in yticks]
            sketch.lines(grid, GRID, 0.8)
            sketch.line([left, left, left + width], [bottom + height, bottom, bottom], width=1)

    def x(self, values):
        """Inches from the left of the drawing."""
        low, high = self.xlim
        return self.box[0] + (np.asarray(values) - low) / (high - low) * self.box[2]

    def y(self, values):
        """Inches from the bottom of the drawing."""
        low, high = self.ylim
        return self.box[1] + (np.asarray(values) - low) / (high - low) * self.box[3]

    def plot(self, x, y, **style):
        """A curve with a mark at each of its points.

        Args:
            color, width, dash, mark, size: of line and marks, as for a `Sketch`; "" as dash, or as
                mark, which is the default, leaves that out.
        """
        x, y = self.x(x), self.y(y)
        is_number = np.isfinite(y)  # a loss that has diverged is none
        x, y = x[is_number], y[is_number]
        self._curve(x, y, zip(x, y, strict=True), **style)

    def _curve(self, x, y, points, color=BLACK, width=2.0, dash="-", mark="", size=6.0):
        """A line through (x[i], y[i]), in inches, and marks at these points."""
        if dash and len(x) > 1:
            self.sketch.line(x, y, color, width, dash)
        for point in points if mark else ():
            self.sketch.mark(*point, mark, color, size)

    def legend(self, entries, columns=1, width=0.82, above=False):
        """Samples of curves with their names, for (name, arguments of `plot`)s.

        They begin in the upper left corner of the panel, or just above it.
        """
        top = self.box[1] + self.box[3] + (0.12 if above else -0.12)
        for i, (name, style) in enumerate(entries):
            x, y = self.box[0] + 0.15 + i % columns * width, top - i // columns * 0.24
            self._curve([x, x + 0.3], [y, y], [(x + 0.15, y)], **style)
            self.sketch.text(x + 0.4, y, name, 10.5, va="center")


def ticks_between(low, high, count=5, whole=False):
    """About `count` round numbers, the first at or below `low`, the last at or above `high`.

    Args:
        whole: whole numbers only, none of them above `high`.
    """
    from matplotlib.ticker import MaxNLocator
    locator = MaxNLocator(nbins=count, steps=[1, 2, 2.5, 5, 10], integer=whole)
    ticks = locator.tick_values(low, high if high > low else low + 1)
    return [tick for tick in ticks if tick <= high] if whole else list(ticks)
