"""Figures in one style: live curves (`Animator`), lines (`plot`), images (`show_images`).

For notebooks and scripts; explorers draw a `Sketch`. Figures of `Animator` and `subplots` are
unknown to pyplot: nothing appears twice at the end of a cell, and threads may draw. Those of
`plot` and `show_images` are pyplot's. matplotlib is imported when the first figure is made.
"""

import contextlib
import functools
import math
import sys
import threading
import time

import numpy as np

from resnet_helpers.cells import CellPicture, notebook_shell, picture_output
from resnet_helpers.raster import DARK_INK, DARK_PAPER, PIXELS_PER_INCH, SCALE

# Okabe and Ito's palette, told apart by colour-blind readers too.
BLUE, ORANGE, GREEN, PINK, SKY, YELLOW, BLACK = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
# Of other curves, in this order; in the lessons blue stands for residual, orange for plain.
PALETTE = (BLACK, PINK, GREEN, SKY, YELLOW, BLUE, ORANGE)
WHITE, GREY, PALE_GREY, PALE_BLUE = "#ffffff", "#6b6b6b", "#f4f4f4", "#e3f1fa"
TEXT_GREEN, TEXT_ORANGE = "#007F5C", "#B84F00"  # the same hues, dark enough for words on white
GRID = "#DDDDDD"
FONTS = "'DejaVu Sans', Verdana, sans-serif"  # equally wide, the first two
FORMATS = ("-", "--", "-.", ":")  # of curves, in this order
RUN_CURVES = ("train loss", "train acc", "test acc")  # of a training run, in this order

# What becomes of these colours under a dark JupyterLab theme: light on dark, the same hue.
DARK = {
    BLUE: "#56B4E9", ORANGE: "#FF9A4D", GREEN: "#2FD4A7", BLACK: DARK_INK,
    TEXT_GREEN: "#2FD4A7", TEXT_ORANGE: "#FF9A4D", WHITE: DARK_PAPER, GREY: "#B0B0B0",
    PALE_GREY: "#2B2B2B", PALE_BLUE: "#12354A", GRID: "#444444",
}


# --- figures ---

def style():
    """The matplotlib settings of all figures, as a dict."""
    from cycler import cycler
    return {
        "axes.prop_cycle": cycler(color=PALETTE), "axes.grid": True, "axes.axisbelow": True,
        "axes.spines.top": False, "axes.spines.right": False, "grid.color": GRID,
        "lines.linewidth": 2, "font.size": 12, "axes.titlesize": 12, "legend.frameon": False,
        "figure.facecolor": "white", "image.cmap": "gray", "figure.dpi": PIXELS_PER_INCH,
    }


_SETTINGS_LOCK = threading.RLock()


@contextlib.contextmanager
def _settings(values):
    """matplotlib's settings changed for a moment, also while another thread draws.

    `rc_context` would put back all settings, and so undo what another thread has changed.
    """
    import matplotlib
    with _SETTINGS_LOCK:
        before = {name: matplotlib.rcParams[name] for name in values}
        matplotlib.rcParams.update(values)
        try:
            yield
        finally:
            matplotlib.rcParams.update(before)


def use_style():
    """Give the figures that the caller draws the look of this package's own."""
    import matplotlib
    matplotlib.rcParams.update(style())


def subplots(nrows=1, ncols=1, figsize=(5, 3.5), in_pyplot=False, **kwargs):
    """Like `pyplot.subplots`, in this package's style and unknown to pyplot: show it with `show`.

    Args:
        in_pyplot: make it pyplot's current figure all the same.

    Returns:
        (fig, axes): a Figure, which is its own picture where a notebook displays it, and one Axes
        or an array of them.
    """
    with _settings(style()):
        options = {"figsize": figsize, "dpi": PIXELS_PER_INCH, "layout": "constrained"}
        if in_pyplot:
            from matplotlib import pyplot
            fig = pyplot.figure(FigureClass=_figure_class(), **options)
        else:
            fig = _figure_class()(**options)
        return fig, fig.subplots(nrows, ncols, **kwargs)


@functools.cache
def _figure_class():
    """matplotlib's Figure, which shows itself in a notebook as pyplot's figures do."""
    from matplotlib.figure import Figure

    class PictureFigure(Figure):
        def _repr_mimebundle_(self, include=None, exclude=None):
            return picture_output(self, repr(self))

    return PictureFigure


def empty_figure(width, height):
    """A Figure of so many inches, unknown to pyplot, with nothing on it."""
    with _settings(style()):
        return _figure_class()(figsize=(width, height), dpi=PIXELS_PER_INCH)


def rgb(color):
    """Red, green and blue of a colour, an array (3,) of numbers from 0 to 1."""
    from matplotlib.colors import to_rgb
    return np.array(to_rgb(color))


def zero_centred():
    """A colour map for numbers of both signs: white at zero, blue below, orange above."""
    from matplotlib.colors import LinearSegmentedColormap
    return LinearSegmentedColormap.from_list("zero_centred", (BLUE, WHITE, ORANGE), N=257)


def show(fig, alt):
    """Show a figure as the output of the cell; outside a notebook do nothing.

    Args:
        fig: a Figure, of `subplots` or of pyplot.
        alt: what is to be seen, in a sentence, for readers who do not see it.
    """
    if notebook_shell() is None:
        return
    CellPicture().update(fig, alt)
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close(fig)  # else the inline backend shows it once more


# --- live curves ---

class Animator:
    """Curves that grow in place while a loop runs.

    One picture in the output of the cell is updated; text printed before it stays. Drawing is
    limited to a few times a second and to a share of the time, and the last state is always drawn
    at the end of the cell. Outside a notebook nothing is drawn; `savefig`, and `fig` itself, give
    the picture anywhere.

    Args:
        xlabel, ylabel: axis labels.
        legend: one name per curve.
        xlim, ylim: (low, high); None fits the data.
        xscale, yscale: "linear" or "log".
        fmts: matplotlib format per curve, repeated if there are more curves.
        nrows, ncols: a grid of axes; the curves go into the first, `animator.axes[0]`.
        figsize: width and height in inches, 100 pixels each.
        picture: where to draw: None means an output of the cell that adds points; else an object
            with the methods of `cells.CellPicture`.
        share_of_time: how much of the time drawing may take, above 0 and at most 1.
        in_pyplot: make the figure pyplot's current one, for `pyplot.show` and `pyplot.savefig` in
            a script.

    Attributes:
        fig, axes: the Figure and the list of its Axes.
        X, Y: the points, a list of numbers per curve.
    """

    def __init__(self, xlabel=None, ylabel=None, legend=None, xlim=None, ylim=None,
                 xscale="linear", yscale="linear", fmts=FORMATS, nrows=1, ncols=1,
                 figsize=(5, 3.5), picture=None, share_of_time=0.01, in_pyplot=False):
        if not 0 < share_of_time <= 1:
            raise ValueError(
                f"share_of_time must be above 0 and at most 1, got {share_of_time!r}")
        self.fig, axes = subplots(nrows, ncols, figsize, in_pyplot, squeeze=False)
        self.axes = list(axes.flat)
        self.legend, self.fmts = list(legend or []), fmts
        self._config = xlabel, ylabel, xlim, ylim, xscale, yscale
        _set_axes(self.axes[0], *self._config)
        self.axes[0].margins(0, tight=False)
        self.X, self.Y, self.lines, self._has_no_marker = [], [], [], []
        names = ", ".join(map(str, self.legend)) or "values"
        self.alt = f"Curves of {names} against {xlabel or 'x'}"
        self._raster, self._picture = _Raster(self.fig), picture or CellPicture()
        self._share_of_time, self._next_draw, self._cost = share_of_time, 0.0, math.inf
        self._has_limits = self._pending = False

    def add(self, x, y):
        """Add a point to each curve.

        Args:
            x: a number, or one per curve.
            y: a number, or one per curve; None adds no point to that curve.
        """
        y = list(y) if _is_several(y) else [y]
        x = list(x) if _is_several(x) else [x] * len(y)
        while len(self.lines) < len(y):
            self._add_line()
        points = [(i, float(a), float(b))
                  for i, (a, b) in enumerate(zip(x, y, strict=False))  # fewer: the first curves
                  if a is not None and b is not None]
        for i, a, b in points:
            self.X[i].append(a)
            self.Y[i].append(b)
        self._update_lines(points)
        self._pending = True
        if time.perf_counter() >= self._next_draw or not self._picture.is_current():
            self.draw()

    def draw(self):
        """Bring the picture up to date now."""
        if not self._pending or not self._picture.is_possible():
            return
        start = time.perf_counter()
        self._picture.update(self.fig, self.alt, self._raster.image(self.lines),
                             at_end_of_cell=self._finish)
        self._pending = False
        end = time.perf_counter()
        self._cost = min(self._cost, end - start)  # the first one also loads fonts
        self._next_draw = end + max(0.25, (1 / self._share_of_time - 1) * self._cost)

    def config_axes(self):
        """Set labels, limits, scales and legend: for code that clears the axes and draws itself."""
        _set_axes(self.axes[0], *self._config, self.legend)

    def savefig(self, path, **kwargs):
        """Write the picture to a file; the arguments are those of `Figure.savefig`."""
        self.fig.savefig(path, **{"dpi": SCALE * PIXELS_PER_INCH, **kwargs})

    def _finish(self):
        """Draw all anew: the cell may have changed the figure, and lines may meet the legend."""
        self._pending, self._raster.seen = True, None
        self.draw()

    def _add_line(self):
        from matplotlib.transforms import Bbox, TransformedBbox
        i = len(self.lines)
        label = str(self.legend[i]) if i < len(self.legend) else None
        fmt, ax = self.fmts[i % len(self.fmts)], self._axes_of(i)
        self.lines += ax.plot([], [], fmt, label=label, linewidth=2)
        room = Bbox([[0, 0], [1.02, 1.02]])  # so that a point at the end of the axis is whole
        self.lines[-1].set_clip_box(TransformedBbox(room, ax.transAxes))
        self._has_no_marker.append(self.lines[-1].get_marker() == "None")
        self.X.append([])
        self.Y.append([])
        if label:
            ax.legend()

    def _axes_of(self, i):
        """Where curve `i` is drawn."""
        return self.axes[0]

    def _update_lines(self, points):
        """Bring the lines up to date with new points (curve, x, y)."""
        for i, _, _ in points:
            line, X = self.lines[i], self.X[i]
            line.set_data(X, self.Y[i])
            if self._has_no_marker[i]:  # a single point has no line to be seen by
                line.set_marker("." if len(X) <= 30 else "")
        ax = self.axes[0]
        if any(self.X):
            self._fit_limits(ax, points)
        elif ax.get_autoscaley_on() and ax.get_yscale() == "linear":
            ax.set_ylim(0, 1, auto=True)  # matplotlib would mark the surroundings of 0

    def _fit_limits(self, ax, points):
        """Make room for the points, up to the next ticks.

        The less often the limits change, the less is to be drawn.
        """
        (left, right), (bottom, top) = map(sorted, (ax.get_xlim(), ax.get_ylim()))
        is_inside = all(left <= x <= right and bottom <= y <= top for _, x, y in points)
        if self._has_limits and is_inside:
            return
        self._has_limits = True
        with _settings({"axes.autolimit_mode": "round_numbers"}):
            ax.relim()
            ax.autoscale_view()
            ax.get_xlim()  # limits are found when they are asked for


def _is_several(values):
    """Are these values for several curves? A tensor or array may hold a single one."""
    return hasattr(values, "__len__") and getattr(values, "ndim", 1) > 0


class _Raster:
    """A figure's pixels, of which only the lines are drawn anew as long as all else stays.

    Axes, labels and legend take 30 times as long as the lines.
    """

    def __init__(self, fig):
        self.fig, self.seen = fig, None

    def image(self, lines):
        """What `raster.rasterize` gives."""
        from PIL import Image
        if self.seen != self._all_else():
            self._draw_background(lines)
        self.canvas.restore_region(self.background)
        for line in lines:
            line.axes.draw_artist(line)
        return Image.fromarray(np.asarray(self.canvas.buffer_rgba())[:, :, :3])

    def _draw_background(self, lines):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        self.fig.set_dpi(SCALE * PIXELS_PER_INCH)
        self.canvas = FigureCanvasAgg(self.fig)
        for line in lines:
            line.set_animated(True)  # not to be drawn with the rest
        try:
            self.canvas.draw()
        finally:
            for line in lines:
                line.set_animated(False)
        self.background = self.canvas.copy_from_bbox(self.fig.bbox)
        self.seen = self._all_else()

    def _all_else(self):
        """What must stay the same for the background to be used again."""
        return [(ax.get_xlim(), ax.get_ylim(), ax.get_xscale(), ax.get_yscale(), ax.get_title(),
                 ax.get_xlabel(), ax.get_ylabel(), len(ax.get_children()))
                for ax in self.fig.axes]


def _set_axes(axes, xlabel, ylabel, xlim, ylim, xscale, yscale, legend=None):
    axes.set(xlabel=xlabel or "", ylabel=ylabel or "", xscale=xscale, yscale=yscale)
    if xlim is not None and xlim[0] != xlim[1]:  # one epoch: [1, 1] is no range to draw
        axes.set_xlim(xlim)
    if ylim is not None and ylim[0] != ylim[1]:
        axes.set_ylim(ylim)
    if legend:
        axes.legend(legend)


# --- lines and images, as in the article ---

def set_figsize(figsize=(3.5, 2.5)):
    """Set the size in inches of the figures that pyplot makes from now on.

    `plot` and `Animator` have a `figsize` of their own.
    """
    import matplotlib.pyplot as plt
    plt.rcParams["figure.figsize"] = figsize


def plot(X, Y=None, xlabel=None, ylabel=None, legend=None, xlim=None, ylim=None, xscale="linear",
         yscale="linear", fmts=FORMATS, figsize=(5, 3.5), axes=None):
    """Draw one or several curves.

    Args:
        X: x values, or a list with those of each curve. Without Y these are the y values, against
            0, 1, 2, ...
        Y: y values, or a list with those of each curve. One X serves all of them.
        xlabel, ylabel, legend, xlim, ylim, xscale, yscale, fmts: as for `Animator`.
        figsize: size in inches, if there is no figure yet.
        axes: where to draw; None means pyplot's current axes.

    Raises:
        ValueError: several X, and their number is not that of Y.
    """
    import matplotlib.pyplot as plt
    X, Y = _curves(X), None if Y is None else _curves(Y)
    if Y is None:
        X, Y = [np.arange(len(y)) for y in X], X
    if len(X) == 1:
        X = X * len(Y)
    if len(X) != len(Y):
        raise ValueError(f"there are {len(X)} lists of x values for {len(Y)} curves: give one, or "
                         f"one for each")
    with _settings(style()):
        if axes is None:
            axes = plt.gca() if plt.get_fignums() else plt.figure(figsize=figsize).gca()
        axes.cla()
        for i, (x, y) in enumerate(zip(X, Y, strict=True)):
            axes.plot(x, y, fmts[i % len(fmts)])
        _set_axes(axes, xlabel, ylabel, xlim, ylim, xscale, yscale, legend)


def _curves(values):
    """A list of arrays, one per curve, from numbers, a list of curves, arrays or tensors."""
    is_list = isinstance(values, (list, tuple))
    is_one_curve = np.ndim(values[0]) == 0 if is_list else np.ndim(values) == 1
    return [_to_array(v) for v in ([values] if is_one_curve else values)]


def _to_array(values):
    return values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)


def show_images(imgs, num_rows, num_cols, titles=None, scale=1.5):
    """Show images in a grid.

    Args:
        imgs: tensors or arrays (H, W), (1, H, W) or (H, W, colours), or PIL images; at most
            num_rows * num_cols of them are shown.
        titles: one per image; images beyond them have none.
        scale: side of a grid cell in inches.

    Returns:
        Array of num_rows * num_cols Axes.

    Raises:
        ValueError: a colour image of shape (colours, H, W).
    """
    import matplotlib.pyplot as plt
    arrays = [_image_array(i, img)
              for i, img in zip(range(num_rows * num_cols), imgs, strict=False)]
    # A script shows them all in the end: no warning about many open figures.
    with _settings({**style(), "axes.grid": False, "figure.max_open_warning": 0}):
        _, axes = plt.subplots(num_rows, num_cols, squeeze=False, layout="constrained",
                               figsize=(num_cols * scale, num_rows * scale))
        for ax in axes.flat:
            ax.axis("off")
        for i, (ax, array) in enumerate(zip(axes.flat, arrays, strict=False)):
            ax.imshow(array)
            if titles is not None and i < len(titles):
                ax.set_title(titles[i], fontsize=10)
    return axes.flatten()


def _image_array(i, img):
    """Image number `i` as matplotlib takes it, an array (H, W) or (H, W, colours)."""
    img = _to_array(img)
    if img.ndim == 3 and img.shape[0] in (3, 4) and img.shape[2] not in (3, 4):
        raise ValueError(f"image {i} has the shape {img.shape}, with its colours first: "
                         f"img.permute(1, 2, 0) puts them last")
    return img[0] if img.ndim == 3 and img.shape[0] == 1 else img
