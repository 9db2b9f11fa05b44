"""The Animator outside and inside a notebook, plot and show_images, and what importing costs."""

import base64
import io
import re
import warnings

import nbformat
import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from nbclient import NotebookClient
from PIL import Image
from processes import run_python

import resnet_helpers as d2l
from resnet_helpers import plotting
from resnet_helpers.check.grade import CurrentPython

PNG = b"\x89PNG\r\n\x1a\n"


# --- outside a notebook ---

def test_animator_keeps_points_and_skips_none():
    animator = d2l.Animator(legend=["a", "b", "c"])
    animator.add(1, (0.5, None, torch.tensor(2.0)))
    animator.add([2, 3, 4], [0.25, 7, None])
    assert animator.X == [[1, 2], [3], [1]] and animator.Y == [[0.5, 0.25], [7], [2]]


def test_animator_takes_a_single_curve():
    animator = d2l.Animator()
    animator.add(1, 0.5)
    animator.add(2, [0.25])
    assert animator.Y == [[0.5, 0.25]]


@pytest.mark.parametrize("share", [0, -1, 1.5, float("nan")])
def test_a_share_of_time_that_makes_no_sense_is_refused(share):
    with pytest.raises(ValueError, match="share_of_time must be above 0"):
        d2l.Animator(share_of_time=share)


@pytest.mark.parametrize(("share", "pause"), [(0.01, 9.9), (0.5, 0.25), (1, 0.25)])
def test_the_next_picture_waits_until_drawing_takes_no_more_than_its_share(
        monkeypatch, share, pause):
    class Picture:
        def is_possible(self):
            return True

        is_current = is_possible

        def update(self, *args, **kwargs):
            nonlocal now
            now += 0.1  # seconds that drawing takes

    now = 50.0
    monkeypatch.setattr(plotting.time, "perf_counter", lambda: now)
    animator = d2l.Animator(picture=Picture(), share_of_time=share)
    animator.add(1, 1)
    assert animator._next_draw - now == pytest.approx(pause)


def test_savefig_draws_all_points_outside_a_notebook(tmp_path):
    animator = d2l.Animator(xlabel="epoch", legend=["loss"], fmts=("-", "m--"))
    for i in range(5):
        animator.add(i, (i, i * i, -i))  # more curves than formats and names
    animator.savefig(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(PNG)
    assert [list(line.get_ydata()) for line in animator.lines] == animator.Y
    assert [text.get_text() for text in animator.axes[0].get_legend().get_texts()] == ["loss"]


def test_a_curve_of_points_keeps_its_points_and_a_single_value_may_be_a_tensor(tmp_path):
    animator = d2l.Animator(fmts=(".", "-"))
    for i in range(40):
        animator.add(torch.tensor(i), (i, -i))
    animator.savefig(tmp_path / "curves.png")
    assert [line.get_marker() for line in animator.lines] == [".", ""]
    animator = d2l.Animator()
    animator.add(1, torch.tensor(0.5))
    assert (animator.X, animator.Y) == ([[1.0]], [[0.5]])


def test_arguments_reach_the_axes(tmp_path):
    animator = d2l.Animator(xlabel="step", ylabel="loss", xlim=[1, 3], ylim=[1, 10], yscale="log",
                            nrows=2, ncols=2)
    animator.add(2, 5)
    animator.axes[3].imshow(np.eye(3))  # the other axes are the caller's
    animator.savefig(tmp_path / "curves.png")
    ax = animator.axes[0]
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()) == ("step", "loss", "log")
    assert ax.get_xlim() == (1, 3) and ax.get_ylim() == (1, 10) and len(animator.axes) == 4


def test_the_last_point_of_a_run_is_whole():
    def blue_pixels(xlim):
        animator = d2l.Animator(xlim=xlim, ylim=[0, 2], fmts=["o"])
        animator.add(2, 1)
        animator.lines[0].set_color("#0000ff")
        pixels = np.asarray(animator._raster.image(animator.lines)).astype(int)
        return ((pixels[:, :, 2] - pixels[:, :, 0]) > 128).sum()

    assert blue_pixels([0, 2]) == pytest.approx(blue_pixels([0, 4]), rel=0.05)


def test_one_epoch_gives_no_warning(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        animator = d2l.Animator(xlim=[1, 1], legend=["a"])
        animator.add(1, 0.5)
        animator.savefig(tmp_path / "curves.png")


# --- in a notebook, run by nbclient as CI does ---

def run_cells(*sources):
    """Run cells in a fresh kernel; return the list of outputs of each."""
    notebook = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, sources)))
    NotebookClient(notebook, timeout=120, kernel_name="python3", kernel_manager_class=CurrentPython,
                   coalesce_streams=True).execute()
    return [cell.outputs for cell in notebook.cells]


def text(outputs):
    return "".join(output.text for output in outputs if output.output_type == "stream")


def pictures(outputs):
    return [base64.b64decode(output.data["image/png"]) for output in outputs
            if "image/png" in output.get("data", {})]


@pytest.fixture(scope="module")
def animated():
    """Outputs of cells: many points quickly, one more, a count, and pictures to compare with."""
    return run_cells("""
import resnet_helpers as d2l
from resnet_helpers import plotting
drawn, image = [], plotting._Raster.image
plotting._Raster.image = lambda raster, lines: drawn.append(1) or image(raster, lines)
animator = d2l.Animator(xlabel="x", legend=["y"])
print("before")
for i in range(1000):
    animator.add(i, i % 7)
print("after")
""", "animator.add(1000, 3)", "print(len(drawn))", """
animator = d2l.Animator(xlabel="x", legend=["y"])
animator._next_draw = float("inf")
for i in range(1000):
    animator.add(i, i % 7)
animator.draw()
""", """
animator = d2l.Animator(xlim=[0, 10], ylim=[0, 1], legend=["y"])
for i in range(11):
    animator.add(i, i / 10)
animator.axes[0].set_title("what came last")
""", """
print(animator._pending, animator.axes[0].get_legend().get_window_extent().x0 < 250)
animator = d2l.Animator(xlim=[0, 10], ylim=[0, 1], legend=["y"])
animator.axes[0].set_title("what came last")
for i in range(11):
    animator.add(i, i / 10)
animator._finish()
""")


def test_one_picture_and_the_printed_text_stays(animated):
    first = animated[0]
    assert text(first) == "before\nafter\n"
    assert len(pictures(first)) == 1
    assert {output.output_type for output in first} == {"stream", "display_data"}


def test_last_state_is_drawn(animated):
    assert pictures(animated[0]) == pictures(animated[3])


def test_what_the_cell_does_after_its_last_point_is_drawn_and_the_legend_makes_room(animated):
    assert pictures(animated[4]) == pictures(animated[5]) and text(animated[5]) == "False True\n"


def test_another_cell_gets_a_picture_of_its_own(animated):
    assert len(pictures(animated[1])) == 1
    assert pictures(animated[1]) != pictures(animated[0])


def test_a_thousand_points_are_not_a_thousand_drawings(animated):
    assert 2 <= int(text(animated[2])) <= 50


@pytest.mark.parametrize("limits", [{}, {"xlim": [0, 8], "ylim": [0, 3]}])
def test_lines_alone_drawn_anew_give_the_same_picture_as_everything_drawn_anew(limits):
    growing = d2l.Animator(xlabel="epoch", legend=["a", "b"], **limits)
    for n in range(1, 6):
        growing.add(n, (2.5 / n, None if n % 2 else 0.1 * n))
        quick = growing._raster.image(growing.lines)
        growing._raster.seen = None
        assert growing._raster.image(growing.lines) == quick


def test_whatever_else_changes_is_drawn_too():
    animator = d2l.Animator(xlabel="epoch", legend=["a"])
    animator.add(1, 0.5)
    pictures = [animator._raster.image(animator.lines).tobytes()]
    for change in (lambda ax: ax.set_title("title"), lambda ax: ax.axhline(0.3),
                   lambda ax: ax.set_ylim(0, 9),
                   lambda ax: ax.set_xlabel("step"), lambda ax: ax.set_yscale("symlog")):
        change(animator.axes[0])
        pictures.append(animator._raster.image(animator.lines).tobytes())
    assert len(set(pictures)) == len(pictures)


def test_limits_fit_the_points_up_to_round_numbers():
    animator = d2l.Animator()
    for x, y in ((0, 2.3), (3.2, 0.4), (5.7, 0.0)):
        animator.add(x, y)
    assert animator.axes[0].get_xlim() == (0, 6) and animator.axes[0].get_ylim() == (0, 2.5)
    animator.add(7, 4.1)
    assert animator.axes[0].get_xlim()[1] >= 7 and animator.axes[0].get_ylim()[1] >= 4.1


def test_picture_is_described_and_sized(animated):
    output = next(output for output in animated[0] if output.output_type == "display_data")
    metadata = output.metadata["image/png"]
    assert output.data["text/plain"] == metadata["alt"] == "Curves of y against x"
    size = Image.open(io.BytesIO(pictures(animated[0])[0])).size
    assert size == (2 * metadata["width"], 2 * metadata["height"])


def test_train_ch6_in_a_notebook_gives_one_picture_and_three_lines():
    outputs, = run_cells("""
import torch, resnet_helpers as d2l
net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
data = [(torch.rand(8, 1, 2, 2), torch.randint(0, 2, (8,)))] * 6
history = d2l.train_ch6(net, data, data, 3, 0.1)
""")
    assert len(pictures(outputs)) == 1 and len(text(outputs).splitlines()) == 3
    assert {output.output_type for output in outputs} == {"stream", "display_data"}


@pytest.mark.parametrize("shown", ["d2l.Animator().add(1, 1)",
                                   "from resnet_helpers.widgets import ModelExplorer; "
                                   "display(ModelExplorer())"])
def test_after_the_first_picture_each_cell_gives_memory_back(shown):
    *_, found, again = run_cells(f"""
import gc, weakref
import resnet_helpers as d2l
from resnet_helpers import cells
cells.give_back_memory = lambda: print("gave memory back")
{shown}
""", """
class Cycle:
    def __init__(self):
        self.itself = self

cycle = Cycle()
gone = weakref.ref(cycle)
gc.collect(1)
del cycle
gc.set_threshold(700, 10, 0)
gc.collect(1)  # from now on a search through all objects is due
print(gone() is not None)
""", "print(gone() is None)\nd2l.Animator().add(1, 1)")
    assert text(found) == "True\ngave memory back\n"
    assert text(again) == "True\ngave memory back\n"


def test_show_gives_one_picture_with_its_description_also_of_a_pyplot_figure():
    outputs, = run_cells("""
import resnet_helpers as d2l
axes = d2l.show_images([[[0, 1], [2, 3]]] * 2, 1, 2, titles=["a", "b"])
d2l.show(axes[0].figure, alt="two small images")
""")
    assert len(pictures(outputs)) == 1
    assert outputs[0].metadata["image/png"]["alt"] == "two small images"


# --- plot and show_images ---

@pytest.fixture
def axes():
    fig, ax = d2l.subplots()
    return ax


def drawn(ax):
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in ax.lines]


@pytest.mark.parametrize(("X", "Y", "expected"), [
    ([5, 6, 7], None, [([0, 1, 2], [5, 6, 7])]),
    ([[1, 2], [3, 4]], None, [([0, 1], [1, 2]), ([0, 1], [3, 4])]),
    ([0, 1], [2, 3], [([0, 1], [2, 3])]),
    ([0, 1], [[2, 3], [4, 5]], [([0, 1], [2, 3]), ([0, 1], [4, 5])]),
    ([[0, 1], [5, 6, 7]], [[2, 3], [4, 5, 6]], [([0, 1], [2, 3]), ([5, 6, 7], [4, 5, 6])]),
    (torch.arange(2), torch.tensor([2.0, 3.0], requires_grad=True), [([0, 1], [2, 3])]),
    (np.arange(2), [np.array([2, 3]), torch.tensor([4, 5])], [([0, 1], [2, 3]), ([0, 1], [4, 5])])])
def test_plot_takes_one_or_several_curves(axes, X, Y, expected):
    d2l.plot(X, Y, axes=axes)
    assert drawn(axes) == expected


def test_plot_labels_the_axes(axes):
    d2l.plot([1, 2], [[3, 4], [5, 6]], "x", "f(x)", legend=["a", "b"], xlim=[0, 4], yscale="log",
             axes=axes)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x", "f(x)")
    assert (axes.get_xlim(), axes.get_yscale()) == ((0, 4), "log")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]


def test_plot_refuses_xs_that_do_not_match(axes):
    with pytest.raises(ValueError, match="2 lists of x values for 3 curves"):
        d2l.plot([[1], [2]], [[1], [2], [3]], axes=axes)


def test_show_images_takes_tensors_arrays_and_pil():
    images = [torch.rand(4, 5), torch.rand(1, 4, 5), np.zeros((4, 5, 3)), Image.new("L", (5, 4))]
    axes = d2l.show_images(images, 2, 3, titles=list("abcd"))
    assert axes.shape == (6,)
    assert [ax.get_title() for ax in axes] == ["a", "b", "c", "d", "", ""]
    assert [len(ax.images) for ax in axes] == [1, 1, 1, 1, 0, 0]
    assert all(ax.images[0].get_array().shape[:2] == (4, 5) for ax in axes[:4])
    d2l.plt.close("all")


def test_set_figsize_is_for_pyplot():
    with d2l.plt.rc_context():
        d2l.set_figsize((6, 2))
        assert d2l.plt.rcParams["figure.figsize"] == [6, 2]


# --- curves wherever people draw them ---

def test_a_figure_is_up_to_date_whenever_it_is_looked_at(tmp_path):
    animator = d2l.Animator(legend=["a", "b"])
    pictures = []
    for x in range(10):
        animator.add(x, (x * x, None if x % 2 else x))
        pictures.append(animator.fig._repr_mimebundle_()[0]["image/png"])
    first, second = animator.axes[0].lines
    assert list(first.get_ydata()) == [x * x for x in range(10)]
    assert list(second.get_xdata()) == [0, 2, 4, 6, 8]
    assert len(set(pictures)) == 10
    animator.fig.savefig(tmp_path / "curves.png")
    left, right = animator.axes[0].get_xlim()
    bottom, top = animator.axes[0].get_ylim()
    assert left <= 0 and right >= 9 and bottom <= 0 and top >= 81


CLEARING = """
from IPython.display import clear_output
import resnet_helpers as d2l
animator = d2l.Animator(legend=["y"], xlim=[0, 4], ylim=[0, 4])
for x in range(5):
    animator.add(x, x)
    clear_output(wait=True)
    print("point", x)
"""
DISPLAYING = """
from IPython.display import display
for x in range(3):
    animator.add(x, 4 - x)
    display(animator.fig)
"""


def test_clearing_the_output_does_not_take_the_curves_away_and_a_figure_can_be_displayed():
    cleared, _, displayed = run_cells(CLEARING, "animator.alt", DISPLAYING)
    assert text(cleared) == "point 4\n" and len(pictures(cleared)) == 1
    own, *asked_for = pictures(displayed)
    assert len(asked_for) == len(set(asked_for)) == 3 and own == asked_for[-1]


def test_in_a_script_the_curves_of_train_ch6_are_pyplots_current_figure(tmp_path, capsys):
    plt.close("all")
    data = [(torch.rand(4, 1, 2, 2), torch.tensor([0, 1, 2, 0]))] * 5
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    d2l.train_ch6(net, data, data, 3, 0.1, "cpu")
    assert len(plt.get_fignums()) == 1
    train_loss, train_acc, test_acc = plt.gca().lines
    assert len(train_loss.get_xdata()) == 15 and list(test_acc.get_xdata()) == [1, 2, 3]
    plt.savefig(tmp_path / "curves.png")
    pixels = np.asarray(Image.open(tmp_path / "curves.png").convert("RGB")).reshape(-1, 3)
    assert len(np.unique(pixels, axis=0)) > 10
    plt.close("all")


def test_a_figure_that_is_displayed_is_a_picture_in_its_size():
    fig, _ = d2l.subplots(figsize=(4, 3))
    data, metadata = fig._repr_mimebundle_()
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert (metadata["image/png"]["width"], metadata["image/png"]["height"]) == (400, 300)


def test_code_that_clears_the_axes_and_draws_by_itself_finds_what_it_needs():
    animator = d2l.Animator(xlabel="epoch", xlim=[0, 5], ylim=[0, 2], legend=["a", "b"])
    for x in range(3):
        if not animator.X:
            animator.X, animator.Y = [[], []], [[], []]
        for i in range(2):
            animator.X[i].append(x)
            animator.Y[i].append(x / (i + 1))
        animator.axes[0].cla()
        for X, Y, fmt in zip(animator.X, animator.Y, animator.fmts, strict=False):
            animator.axes[0].plot(X, Y, fmt)
        animator.config_axes()
    ax = animator.axes[0]
    assert (ax.get_xlabel(), ax.get_xlim()) == ("epoch", (0, 5))
    assert (ax.get_ylim(), len(ax.lines)) == ((0, 2), 2)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]


def test_many_pictures_of_a_script_bring_no_warning(recwarn):
    plt.close("all")  # those of other tests
    for _ in range(25):
        d2l.show_images(torch.rand(1, 2, 2), 1, 1)
    assert not recwarn.list and len(plt.get_fignums()) == 25
    plt.close("all")


def test_images_beyond_the_titles_have_none():
    for titles, expected in (([], ["", ""]), (["a"], ["a", ""])):
        axes = d2l.show_images(torch.rand(2, 5, 5), 1, 2, titles=titles)
        assert [ax.get_title() for ax in axes] == expected
    plt.close("all")


def test_a_colour_image_with_its_colours_first_is_told_how_to_turn_them():
    with pytest.raises(ValueError, match=r"image 0 has the shape \(3, 8, 9\).*permute\(1, 2, 0\)"):
        d2l.show_images([torch.rand(3, 8, 9)], 1, 1)
    assert len(d2l.show_images([torch.rand(8, 9, 3), torch.rand(3, 9, 3)], 1, 2)) == 2
    plt.close("all")


# --- importing ---

def test_import_loads_neither_matplotlib_nor_torchvision_nor_ipywidgets():
    script = ("import sys, resnet_helpers; "
              "names = 'matplotlib', 'torchvision', 'ipywidgets', 'IPython'; "
              "print([name for name in names if name in sys.modules])")
    assert run_python("-c", script).strip() == "[]"


def test_unknown_names_are_refused_as_usual_and_those_of_other_chapters_with_advice():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = d2l.nothing
    for advice, names in d2l.ELSEWHERE.items():
        assert all(hasattr(d2l, other) for other in re.findall(r"d2l\.(\w+)", advice)), advice
        for name in names:
            with pytest.raises(AttributeError, match=f"^{name} is of another chapter") as error:
                getattr(d2l, name)
            assert f"Use {advice} instead" in str(error.value)


def test_every_public_name_is_there_and_documented():
    for name in d2l.__all__:
        assert getattr(d2l, name).__doc__, name
