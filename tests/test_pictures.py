"""The pictures of the notebooks: what they draw, in which colours, and what they say in words."""

import math
import re

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex
from torch.optim import lr_scheduler

from resnet_helpers import pictures
from resnet_helpers.costs import model_costs
from resnet_helpers.data import FASHION_MNIST_CLASSES
from resnet_helpers.diagrams import draw_class_fit
from resnet_helpers.diagrams.block_kinds import INCH_PER_CHANNEL
from resnet_helpers.function_classes import TARGETS, best_distances, fit_class
from resnet_helpers.history import History, Progress
from resnet_helpers.pictures import (
    inside_lesson,
    lesson1,
    lesson2,
    lesson3,
    lesson4,
    machines_lesson,
    recipe_lesson,
)
from resnet_helpers.plotting import BLACK, BLUE, GREEN, GREY, ORANGE, WHITE
from resnet_helpers.runs.recipes import LADDER
from resnet_helpers.runs.recordings import load_recording

LESSONS = (lesson1, lesson2, lesson3, lesson4, inside_lesson, machines_lesson, recipe_lesson)


@pytest.fixture
def shown(monkeypatch):
    """What the pictures would show in a notebook: a list of (figure, alt text)."""
    found = []
    for lesson in LESSONS:
        if hasattr(lesson, "show"):
            monkeypatch.setattr(lesson, "show", lambda fig, alt: found.append((fig, alt)))
    yield found
    plt.close("all")


def lines_of(fig):
    """{name in the legend: line} of the first axes."""
    return {line.get_label(): line for line in fig.axes[0].lines}


def curves(ax):
    """{name in the legend: y values} of the lines of an axes that have a name."""
    return {line.get_label(): list(line.get_ydata()) for line in ax.lines
            if not line.get_label().startswith("_")}


def assert_looks(line, colour, linestyle, marker):
    found = to_hex(line.get_color()), line.get_linestyle(), line.get_marker()
    assert found == (colour.lower(), linestyle, marker)


# --- notebook 1 ---

def test_each_image_has_its_name(shown):
    images = torch.rand(2, 1, 4, 4)
    pictures.row_of_images(images, ["coat", "bag"])
    ((fig, alt),) = shown
    assert [ax.get_title() for ax in fig.axes] == ["coat", "bag"]
    np.testing.assert_array_equal(fig.axes[1].images[0].get_array(), images[1, 0])
    assert alt == "Images and what they show\ncoat, bag."


def test_losses_stand_over_their_depths_beside_that_of_guessing(shown):
    pictures.depth_curves({"plain": {6: 1.5, 20: 1.25, 56: 2.0}, "residual": {6: 1.0, 56: 0.5}})
    ((fig, alt),) = shown
    lines = lines_of(fig)
    assert_looks(lines["plain"], ORANGE, "--", "o")
    assert_looks(lines["residual"], BLUE, "-", "s")
    np.testing.assert_array_equal(lines["plain"].get_xydata(), [(6, 1.5), (20, 1.25), (56, 2)])
    equal = torch.nn.functional.cross_entropy(torch.zeros(1, 10), torch.tensor([3]))
    assert lines["guessing"].get_ydata() == pytest.approx([equal.item()] * 2)
    title, words = alt.splitlines()
    assert title == "Training loss against depth"
    assert "2.00 with 56 layers; residual: 1.00 with 6 layers" in words


def test_regions_have_the_colours_of_their_family_and_f_star_is_black(shown):
    pictures.regions()
    ((fig, alt),) = shown
    areas = [area for area in fig.axes[0].collections if isinstance(area, PolyCollection)]
    outlines = [area for area in areas if len(area.get_paths()[0].vertices) > 100]
    assert [to_hex(area.get_edgecolor()[0]) for area in outlines] == [
        color.lower() for color in 6 * [ORANGE] + 6 * [BLUE]]
    stars = [area for area in areas if len(area.get_paths()[0].vertices) == 11]
    assert [to_hex(area.get_facecolor()[0]) for area in stars] == 2 * [BLACK]
    title, words = alt.splitlines()
    assert title == "Six regions and f*, not nested and nested"
    assert "not nested 3.04, 1.74, 0.29" in words and "; nested 2.05, 1.80, 1.58" in words


def test_each_target_has_its_name_and_its_curve(shown):
    pictures.targets()
    ((fig, alt),) = shown
    assert [ax.get_title() for ax in fig.axes] == list(TARGETS)
    x, y = fig.axes[1].lines[0].get_data()
    np.testing.assert_allclose(x, y)  # the ramp
    assert alt.splitlines()[0] == "Four functions f*"


def test_the_best_steps_are_the_means_of_f_star_on_their_pieces(shown):
    pictures.best_steps("ramp")
    ((fig, alt),) = shown
    assert len(fig.axes) == 12
    third = fig.axes[2]
    steps, cuts = third.collections
    np.testing.assert_allclose([cut[0][0] for cut in cuts.get_segments()], [1 / 3, 2 / 3])
    assert to_hex(steps.get_color()[0]) == ORANGE.lower()
    expected = [[(i / 3, (i + 0.5) / 3), ((i + 1) / 3, (i + 0.5) / 3)] for i in range(3)]
    np.testing.assert_allclose(steps.get_segments(), expected, atol=2e-3)
    assert third.get_title() == f"$F_3$: {12 ** -0.5 / 3:.3f}"
    assert to_hex(fig.axes[8].collections[0].get_color()[0]) == BLUE.lower()
    assert to_hex(third.lines[0].get_color()) == BLACK
    assert alt.splitlines()[0] == "f* and the best step functions of six classes"


def test_words_on_distances_say_where_they_grow(shown):
    jump = TARGETS["jump"]
    distances = {"not nested": best_distances(jump, 6, False),
                 "nested": best_distances(jump, 6, True)}
    pictures.class_distances(distances)
    ((fig, alt),) = shown
    lines = lines_of(fig)
    assert_looks(lines["not nested"], ORANGE, "--", "o")
    assert_looks(lines["nested"], BLUE, "-", "s")
    np.testing.assert_array_equal(lines["nested"].get_xydata()[:, 1], distances["nested"])
    title, words = alt.splitlines()
    assert title == "Distance to f* against complexity"
    assert "not nested: farther than the class before at F3, F5; nested: " in words
    assert words.endswith("at no point.")


def test_losses_of_inserted_layers_begin_where_nothing_is_inserted(shown):
    losses = {"plain": {0: 0.5, 1: 2.5}, "shortcut, g small": {0: 0.5, 1: 0.6},
              "shortcut, g of usual size": {0: 0.5, 1: 1000.0}}
    pictures.inserted_layers(losses)
    ((fig, alt),) = shown
    lines = lines_of(fig)
    assert_looks(lines["plain"], ORANGE, "--", "o")
    for name, fill in (("shortcut, g small", BLUE), ("shortcut, g of usual size", WHITE)):
        assert_looks(lines[name], BLUE, "-", "s")
        assert to_hex(lines[name].get_markerfacecolor()) == fill.lower()
        np.testing.assert_array_equal(lines[name].get_ydata(), list(losses[name].values()))
    assert [label.get_text() for label in fig.axes[0].get_xticklabels()] == ["0", "1"]
    title, words = alt.splitlines()
    assert title == "Test loss against the number of layers put in"
    assert "shortcut, g of usual size: 0.50 with 0, 1000.00 with 1. Guessing" in words


@pytest.mark.parametrize("nested", [False, True])
def test_the_explorer_of_classes_has_the_same_colours(nested):
    svg = draw_class_fit(fit_class(3, nested, noise=0.2)).svg("")
    color, other = (BLUE, ORANGE) if nested else (ORANGE, BLUE)
    circles = re.findall(r"<circle [^>]*stroke:var\([^,]*, (#\w+)\)", svg)
    assert circles == 3 * [color.lower()]
    widths = {of: max(float(width) for width in re.findall(
        rf"stroke:var\([^,]*, {of.lower()}\);stroke-width:([\d.]+)", svg.split("complexity k")[1]))
        for of in (color, other)}
    assert widths[color] > widths[other]
    stars, crosses = (re.findall(rf'd="M[^L"]*(?:L[^LZ"]*){{{corners - 1}}}Z" style="fill:var'
                                 rf'\([^,]*, (#\w+)', svg) for corners in (10, 12))
    assert set(crosses) == {GREEN.lower()} and stars == [BLACK]


# --- notebook 2 ---

def test_both_blocks_have_the_same_layers_and_one_has_a_way_past_them(shown):
    pictures.plain_and_residual()
    ((fig, alt),) = shown
    left, right = [], []
    for text in fig.axes[0].texts:
        (left if text.get_position()[0] < 3.5 else right).append(text.get_text())
    layers = ["3×3 convolution", "batch norm", "ReLU", "3×3 convolution", "batch norm", "ReLU"]
    assert [text for text in left if text in layers] == layers
    assert [text for text in right if text in layers] == layers
    assert "+" in right and "+" not in left
    assert "y = ReLU( g(x) + x )" in right and "y = ReLU( f(x) )" in left
    assert alt.splitlines()[0] == "A plain block beside a residual block"


def test_zero_is_white_in_every_feature_map_and_one_scale_serves_all(shown):
    steps = {"x": torch.zeros(2, 3, 4, 4), "g": torch.full((2, 3, 4, 4), -2.0)}
    steps["x"][1, 2, 0, 0] = 4
    pictures.maps_along_block(steps, image=1, channel=2)
    ((fig, alt),) = shown
    maps = [ax.images[0] for ax in fig.axes if ax.images]
    assert [to_hex(picture.to_rgba(0.0)) for picture in maps] == [WHITE] * 2
    assert [picture.get_clim() for picture in maps] == [(-4, 4)] * 2
    assert to_hex(maps[0].to_rgba(4.0)) == ORANGE.lower()
    assert to_hex(maps[0].to_rgba(-4.0)) == BLUE.lower()
    np.testing.assert_array_equal(maps[0].get_array(), steps["x"][1, 2])
    assert "x 0.0 to 4.0, g -2.0 to -2.0" in alt.splitlines()[1]


def test_the_gradient_travels_to_the_right_and_starts_at_1(shown):
    pictures.gradient_curves({"plain, no batch norm": [1e-8, 1e-4, 0.01], "residual": [8, 6, 4]})
    ((fig, alt),) = shown
    lines = lines_of(fig)
    assert_looks(lines["plain, no batch norm"], ORANGE, "--", "o")
    assert_looks(lines["residual"], BLUE, "-", "s")
    assert lines["plain, no batch norm"].get_markerfacecolor() == WHITE
    assert lines["residual"].get_markerfacecolor() == BLUE
    first, last = fig.axes[0].get_xlim()
    assert first > 2 and last < 0  # from the last block to the stem
    np.testing.assert_allclose(lines["plain, no batch norm"].get_ydata(), [1e-6, 1e-2, 1])
    title, words = alt.splitlines()
    assert not any(c.isdigit() for c in title) and "plain, no batch norm: times 1e-06" in words


# --- notebook 3 ---

def test_model_to_scale_says_the_shapes(shown):
    pictures.model_to_scale(model_costs(18, size=96), size=96)
    ((fig, alt),) = shown
    title, words = alt.splitlines()
    assert title == "The network to scale"
    for shape in ("b1 gives 64×24×24", "b3 gives 128×12×12", "b5 gives 512×3×3", "linear gives 10",
                  "dashed over the first block of b3, b4, b5."):
        assert shape in words
    assert "image\nat ¼ scale\n1×96×96" in {text.get_text() for text in fig.axes[0].texts}


def test_bars_are_as_high_as_what_they_count(shown):
    stages = model_costs(18)
    pictures.parameters_and_computing(stages)
    ((fig, alt),) = shown
    title, words = alt.splitlines()
    assert title == "Parameters and multiply-adds of each part"
    heights = [[bar.get_height() * 1e6 for bar in ax.patches] for ax in fig.axes]
    assert heights[0] == pytest.approx([stage.parameters for stage in stages])
    assert heights[1] == pytest.approx([stage.multiply_adds for stage in stages])
    assert "b1 <0.01, b2 0.15, b3 0.53, b4 2.10, b5 8.40, linear <0.01" in words
    assert "b1 39, b2 462, b3 411, b4 411, b5 411, linear <1" in words


def test_layers_of_both_blocks_are_as_wide_as_their_channels(shown):
    pictures.basic_and_bottleneck()
    ((fig, alt),) = shown
    title = alt.splitlines()[0]
    assert title == "A basic block beside a bottleneck"
    widths = []
    for column in fig.axes[0].collections:
        if isinstance(column, PolyCollection) and len(column.get_paths()[0].vertices) == 5:
            for path in column.get_paths():
                (a, _), (b, _), (c, _), (d, _) = path.vertices[:4]
                widths.append([(b - a) / INCH_PER_CHANNEL, (c - d) / INCH_PER_CHANNEL])
    assert widths == [pytest.approx(pair) for pair in (
        (256, 256), (256, 256), (256, 64), (64, 64), (64, 256))]
    kernels = [text.get_text() for text in fig.axes[0].texts if "conv" in text.get_text()]
    assert kernels == ["3×3 conv", "3×3 conv", "1×1 conv", "3×3 conv", "1×1 conv"]


def test_accuracies_without_a_block_stand_beside_those_of_the_whole_networks(shown):
    without = {"plain": [0.1, 0.25, 0.2], "residual": [0.5, 0.625, 0.75]}
    pictures.without_one_block({"plain": 0.7, "residual": 0.8}, without)
    ((fig, alt),) = shown
    title, words = alt.splitlines()
    ax, = fig.axes
    assert title == "Test accuracy without one block"
    assert "plain: 0.70 with all blocks" in words and "0.50, 0.62, 0.75" in words
    curves = {line.get_label(): line for line in ax.lines}
    for name, colour in (("plain", ORANGE), ("residual", BLUE)):
        assert list(curves[name].get_ydata()) == without[name]
        assert curves[name].get_color() == colour
    assert [label.get_text() for label in ax.get_xticklabels()] == ["none", "1", "2", "3"]


# --- notebook 4 ---

def test_images_of_each_class_stand_below_their_name(shown):
    labels = torch.arange(40) % 10
    images = labels.view(-1, 1, 1, 1) / 10 + torch.arange(4.0).view(2, 2)
    pictures.images_of_each_class(images, labels, rows=3)
    ((fig, alt),) = shown
    assert alt.startswith("Images of each class\n") and "ankle boot" in alt
    drawn = [ax for ax in fig.axes if ax.images]
    assert [ax.get_title() for ax in drawn] == [*FASHION_MNIST_CLASSES, *20 * [""]]
    corners = [ax.images[0].get_array()[0, 0] for ax in drawn]
    assert corners == pytest.approx([c / 10 for c in range(10)] * 3)


def test_a_run_has_its_loss_left_and_its_accuracies_right_and_words_for_both():
    curves = pictures.RunCurves(num_epochs=2)
    curves.add(0.5, (2.5, 0.25, None))
    curves.add(1, (1.25, 0.5, 0.375))
    curves.draw()
    assert curves.alt == ("Train loss, train acc and test acc against epoch\ntrain loss from 2.500 "
                          "to 1.250, train acc from 0.250 to 0.500, test acc from 0.375 to 0.375")
    left, right = curves.axes
    assert [line.get_label() for line in left.lines] == ["train loss"]
    assert [list(line.get_ydata()) for line in right.lines] == [[0.25, 0.5], [0.375]]
    assert len({line.get_color() for line in curves.lines}) == 3
    assert left.get_xlim() == right.get_xlim() == (0, 2.04)
    assert left.get_ylim()[0] <= 1.25 and left.get_ylim()[1] >= 2.5


def test_a_replay_has_all_points_of_the_recording(monkeypatch):
    made = []
    monkeypatch.setattr(lesson4, "RunCurves", lambda *args, kind=lesson4.RunCurves, **kwargs:
                        made.append(kind(*args, **kwargs)) or made[-1])
    recording = load_recording("article-seed0")
    pictures.replay(recording, seconds=0)
    tests = [record.test_acc for record in recording.records if record.test_acc is not None]
    assert len(made[0].Y[0]) == len(recording.records) and made[0].Y[2] == tests
    assert made[0].axes[1].get_xlim() == (0, 10.2)
    made[0].draw()
    assert made[0].alt.endswith("acc from 0.856 to 0.888")


def test_the_confusion_matrix_shows_every_count_but_zeros(shown):
    counts = torch.diag(torch.arange(90, 100))
    counts[6, 0] = 10  # shirts taken for T-shirts
    pictures.confusion_matrix(counts)
    ((fig, alt),) = shown
    assert alt.startswith("Confusion matrix\n") and "shirt 96 of 106" in alt
    text = {text.get_position(): text for text in fig.axes[0].texts}
    assert len(text) == 11 and text[0, 6].get_text() == "10"
    assert text[0, 6].get_color() == BLACK and text[6, 6].get_color() == WHITE


def test_answers_stand_above_the_labels(shown):
    pictures.answers(torch.rand(9, 1, 4, 4), torch.full((9,), 6), torch.arange(9))
    ((fig, alt),) = shown
    assert fig.axes[0].get_title() == "t-shirt?\n(shirt)"
    assert alt.startswith("Images and the network's answers\nt-shirt for shirt, trouser for shirt")
    assert len(fig.axes) == 16 and sum(bool(ax.images) for ax in fig.axes) == 9


def test_networks_differ_in_colour_and_their_depths_in_the_marker(shown):
    runs = {}
    for name in ("ResNet-18", "plain-34"):
        runs[name] = History()
        runs[name].add(0.5, 1, 2.0, 0.25, None, 10, 1.0)
        runs[name].add(1, 2, 0.5, 0.5, 0.375, 20, 2.0)
    pictures.depth_runs(runs)
    ((fig, alt),) = shown
    title, words = alt.split("\n")
    assert title == "Training loss of four networks against epoch"
    assert "plain-34 from 0.50 to 0.500" in words
    residual, plain = fig.axes[0].lines
    assert (residual.get_color(), plain.get_color()) == (BLUE, ORANGE)
    assert residual.get_markerfacecolor() == WHITE
    assert plain.get_markerfacecolor() == ORANGE
    assert list(residual.get_xydata()[0]) == [1, 0.5]


# --- further: better recipes ---

def run(*test_accs, train_acc=0.9, **config):
    """A `History` with these accuracies, an epoch each."""
    return History(config, [Progress(i, i, 0.5, train_acc, test_acc, 0, 0.0)
                            for i, test_acc in enumerate(test_accs, 1)])


def test_rate_curves(shown):
    schedules = {
        "constant": lambda optimizer, steps: lr_scheduler.LambdaLR(optimizer, lambda step: 1.0),
        "linear": lambda optimizer, steps: lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)}
    pictures.rate_curves(schedules, 0.4, 2, 2)
    ((fig, alt),) = shown
    title, words = alt.splitlines()
    assert title == "Learning rate against epoch"
    drawn = curves(fig.axes[0])
    assert drawn["constant"] == [0.4] * 4 and drawn["linear"] == pytest.approx([0.4, 0.3, 0.2, 0.1])
    assert list(fig.axes[0].lines[0].get_xdata()) == [0, 0.5, 1, 1.5]
    assert "linear: from 0.400, highest 0.400 in epoch 0.00, at the end 0.100" in words


def test_stored_and_moved(shown):
    stored = torch.rand(3, 1, 4, 4)
    moved = stored.clone()
    moved[0] = moved[0].flip(-1)
    pictures.stored_and_moved(stored, [stored, moved])
    ((fig, alt),) = shown
    title, words = alt.splitlines()
    images = [ax.images[0].get_array() for ax in fig.axes]
    assert len(images) == 9 and (images[6] == moved[0, 0].numpy()).all()
    names = [text.get_text() for ax in fig.axes for text in ax.texts]
    assert names == ["stored", "epoch 1", "epoch 2"]
    assert title == "The same images in several epochs" and "0 and 1 of them" in words


def test_losses_by_lead(shown):
    leads = torch.tensor([0.0, 1.0, 2.0])
    pictures.losses_by_lead(leads, {"plain": torch.tensor([3.0, 2.0, 1.0]),
                                    "smoothed": torch.tensor([3.0, 1.0, 2.0])})
    ((fig, alt),) = shown
    title, words = alt.splitlines()
    lowest = [(line.get_xdata().item(), line.get_ydata().item())
              for line in fig.axes[0].lines if len(line.get_xydata()) == 1]
    assert lowest == [(2, 1), (1, 1)]
    assert "plain: lowest, 1.00, at a lead of 2.0" in words


def test_held_out_curves(shown):
    pictures.held_out_curves({"constant": [run(0.5, 0.4), run(0.6, 0.3)],
                              "one-cycle": [run(0.5, 0.7)]})
    ((fig, alt),) = shown
    title, words = alt.splitlines()
    (ax,) = fig.axes
    assert [list(line.get_ydata()) for line in ax.lines] == [[0.5, 0.4], [0.6, 0.3], [0.5, 0.7]]
    assert len({line.get_color() for line in ax.lines}) == 2 and len(curves(ax)) == 2
    assert "constant: 0.40, 0.30 at the end" in words


def test_ladder_curves(shown):
    runs = {rung.change: load_recording(f"ladder-{i}") for i, rung in enumerate(LADDER)}
    pictures.ladder_curves(runs)
    ((fig, alt),) = shown
    title, words = alt.splitlines()
    (ax,) = fig.axes
    assert len(ax.lines) == 8 and list(curves(ax)) == [
        "constant rate", "falling rate", "falling rate, small stem"]
    assert "constant rate: 0.901, 0.907, 0.895 at the end" in words
    assert title == "Held-out accuracy against epoch"


def test_two_recipes(shown):
    pictures.two_recipes({"article": run(0.8, 0.7), "modern": run(0.8, 0.9, train_acc=0.95)})
    ((fig, alt),) = shown
    title, words = alt.splitlines()
    assert [ax.get_title() for ax in fig.axes] == ["article", "modern"]
    assert [curves(ax)["test"] for ax in fig.axes] == [[0.8, 0.7], [0.8, 0.9]]
    assert "modern: test accuracy 0.800, 0.900, train accuracy at the end 0.950" in words


# --- further: inside a ResNet ---

def test_three_blocks_have_eight_paths_through_twelve_branches(shown):
    pictures.unrolled_paths()
    ((fig, alt),) = shown
    names = [text.get_text() for text in fig.axes[0].texts]
    for i in (1, 2, 3):  # once in the chain, and on half of the paths
        assert names.count(f"g{'₀₁₂₃'[i]}") == 1 + 4
    assert alt.splitlines()[0] == "Three blocks and their paths"


def test_the_control_is_grey_and_the_trained_network_blue(shown):
    shares = [0.1] * 10
    pictures.path_lengths(([1 - i / 20 for i in range(10)], shares), ([1.0] * 10, shares))
    pictures.branch_sizes_by_block([1.4, 0.3], [1.5, 0.4])
    pictures.purity_by_depth([5.0, 7.0], [4.0, 4.5], 2.4)
    for fig, _ in shown:
        lines = lines_of(fig)
        assert_looks(lines["trained"], BLUE, "-", "s")
        assert_looks(lines["untrained"], GREY, ":", "D")
        assert fig.axes[0].get_ylim()[0] == 0
    paths, sizes, purities = (alt for _, alt in shown)
    assert "brings 1.8 times as much" in paths and "bring 40% of the whole" in paths
    assert "from 1.40 to 0.30" in sizes and "from 1.50 to 0.40" in sizes
    assert "5.0 after the first block to 7.0" in purities and "at random: 2.4" in purities


def test_each_row_of_brightest_images_says_its_most_frequent_class(shown):
    labels = torch.tensor([1, 1, 1, 8, 8, 0])
    images = torch.linspace(0, 1, 6).view(6, 1, 1, 1).expand(6, 1, 4, 4)
    pictures.brightest_images(images, labels, torch.tensor([[0, 1, 3], [5, 4, 3]]), (0, 1), "here")
    ((fig, alt),) = shown
    assert alt.splitlines()[0] == "The images that light up some channels, here"
    assert "channel 0: 2 of 3, trouser; channel 1: 2 of 3, bag" in alt
    first = fig.axes[3].images[0].get_array()
    assert first[0, 0] == pytest.approx(1.0)  # image 5 leads the second row


def test_surfaces_share_their_shades_and_mark_the_loss_of_guessing(shown):
    positions = torch.linspace(-1, 1, 5)
    rows, columns = torch.meshgrid(positions, positions, indexing="ij")
    bowl = rows**2 + columns**2
    pictures.loss_surfaces({"plain": (positions, 1 + bowl), "residual": (positions, 5 * bowl)})
    ((fig, alt),) = shown
    plain, residual, bar = fig.axes
    assert plain.collections[0].levels == pytest.approx(residual.collections[0].levels)
    for ax in (plain, residual):
        assert ax.collections[1].levels == pytest.approx([math.log(10)])
    assert bar.lines[-1].get_ydata()[0] == pytest.approx(math.log(10))
    assert "plain: 1.0 in the middle, 3.0 at most" in alt
    assert "residual: 0.0 in the middle, 10.0 at most" in alt


# --- further: beyond one machine ---

def test_step_times_are_drawn_in_milliseconds_on_two_logarithmic_axes(shown):
    pictures.step_times({2: (0.004, 0.008, 0.001), 4: (0.002, 0.008, 0.0015)})
    ((fig, alt),) = shown
    ax, lines = fig.axes[0], lines_of(fig)
    assert ax.get_xscale() == ax.get_yscale() == "log"
    assert list(lines["computing, 256 images shared"].get_ydata()) == pytest.approx([4, 2])
    assert list(lines["computing, 256 images each"].get_ydata()) == pytest.approx([8, 8])
    assert list(lines["all-reduce"].get_ydata()) == pytest.approx([1, 1.5])
    assert "falls from 4.000 to 2.000 ms" in alt and "rises from 1.000 to 1.500 ms" in alt
