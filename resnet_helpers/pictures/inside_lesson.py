"""The pictures of further/inside_a_resnet: paths, branches, channels and the loss."""

import math
from itertools import product

from resnet_helpers.data import get_fashion_mnist_labels
from resnet_helpers.pictures.looks import LEGEND, TRAINED, UNTRAINED
from resnet_helpers.plotting import (
    BLACK,
    BLUE,
    PALE_BLUE,
    WHITE,
    show,
    show_images,
    subplots,
)
from resnet_helpers.sketch import CENTRED, Sketch


def unrolled_paths():
    """Three residual blocks in a row, and the eight paths through them."""
    sketch = Sketch(9.2, 3.6)
    _draw_three_blocks(sketch, [1.0, 2.2, 3.4], 1.6)
    paths = sorted(product((False, True), repeat=3), key=lambda path: (sum(path), path[::-1]))
    for row, path in enumerate(paths):
        y = 2.98 - 0.38 * row
        sketch.line([5.3, 8.6], [y, y], BLUE, 2)
        sketch.mark(8.6, y, ">", BLUE)
        for i, through in enumerate(path):
            if through:
                _draw_named_branch(sketch, 6.0 + 0.95 * i, y, i + 1, (0.52, 0.3))
    sketch.text(2.4, 3.32, "three blocks", 13, ha="center")
    sketch.text(6.95, 3.32, "eight paths", 13, ha="center")
    show(sketch.figure(), "Three blocks and their paths\n"
         "Left, three residual blocks, each with an arc past its branch. Right, eight lines: one "
         "around all branches, three through one of them, three through two, one through all "
         "three.")


def _draw_three_blocks(sketch, centres, y):
    """Residual blocks side by side: a branch in a box, an arc past it, a plus behind it."""
    sketch.line([0.25, centres[-1] + 0.85], [y, y])
    sketch.mark(centres[-1] + 0.85, y, ">", size=7)
    for i, x in enumerate(centres):
        start, plus = x - 0.5, x + 0.5
        sketch.line([start, start, plus, plus], [y, y + 0.75, y + 0.75, y + 0.15], BLUE, 2.5)
        _draw_named_branch(sketch, x, y, i + 1, (0.6, 0.5))
        sketch.mark(plus, y, "o", BLUE, 17)
        sketch.text(plus, y - 0.01, "+", 14, WHITE, **CENTRED)


def _draw_named_branch(sketch, x, y, number, size):
    sketch.box(x, y, *size, PALE_BLUE, line_width=1.2)
    sketch.text(x, y, f"g{'₀₁₂₃'[number]}", 13, italic=True, **CENTRED)


def path_lengths(trained, untrained):
    """What arrives on a single path of each length, and on all of that length together.

    Args:
        trained, untrained: of each network (sizes, shares), a number for each length from 0: the
            mean size of one path's gradient beside that of length 0, and the share of all of them
            in the whole.
    """
    fig, (single, together) = subplots(1, 2, figsize=(10, 3.8))
    lengths = range(len(trained[0]))
    for (sizes, shares), style in ((untrained, UNTRAINED), (trained, TRAINED)):
        single.plot(lengths, sizes, **style)
        together.plot(lengths, shares, **style)
    single.set_ylabel("size of one path's gradient,\nrelative to that of length 0")
    together.set_ylabel("share of the whole gradient")
    for ax in (single, together):
        ax.set(xlabel="branches on the path", xticks=lengths)
        ax.set_ylim(bottom=0)
    single.legend(**LEGEND)
    middle = f"{100 * sum(trained[1][3:7]):.0f}"
    factor = trained[0][0] / trained[0][-1]
    show(fig, "Gradients against the length of the path\n"
              f"Left, the gradient of one path falls with each branch on it: the path around all "
              f"branches brings {factor:.1f} times as much as that through all. Right, a hill: "
              f"paths of three to six branches bring {middle}% of the whole. The untrained "
              f"network gives curves of the same shape.")


def branch_sizes_by_block(trained, untrained):
    """How large each branch is beside its input.

    Args:
        trained, untrained: of each network a ratio per block.
    """
    fig, ax = subplots(figsize=(7, 3.8))
    blocks = range(1, len(trained) + 1)
    ax.plot(blocks, untrained, **UNTRAINED)
    ax.plot(blocks, trained, **TRAINED)
    ax.axhline(1, color=BLACK, linewidth=1)
    ax.set(xlabel="block", ylabel="size of g(x) / size of x", xticks=blocks)
    ax.set_ylim(bottom=0)
    ax.legend(**LEGEND)
    show(fig, "Size of each branch relative to its input\n"
              f"The ratio falls from block to block, from {trained[0]:.2f} to {trained[-1]:.2f} in "
              f"the trained network and from {untrained[0]:.2f} to {untrained[-1]:.2f} in the "
              f"untrained one; the two curves nearly cover each other.")


def brightest_images(images, labels, indices, channels, title):
    """A row of images for each of some channels: those that light it up most.

    Args:
        images, labels: all of them, (n, 1, height, width) and (n,).
        indices: of the brightest images, the best first, (all channels, k).
        channels: which of them to show.
        title: which network this is.
    """
    names, rows = get_fashion_mnist_labels(range(10)), []
    shown = [images[i] for c in channels for i in indices[c].tolist()]
    k = len(indices[0])
    axes = show_images(shown, len(channels), k, scale=1)
    fig = axes[0].figure
    fig.set_size_inches(k + 2.2, len(channels) + 0.4)
    for c, ax in zip(channels, axes[::k], strict=True):
        counts = labels[indices[c]].bincount(minlength=10)
        rows.append(f"channel {c}: {counts.max()} of {k}, {names[counts.argmax()]}")
        ax.text(-0.15, 0.5, rows[-1].replace(": ", "\n"), transform=ax.transAxes, ha="right",
                va="center", fontsize=13)
    fig.suptitle(title, fontsize=14)
    show(fig, f"The images that light up some channels, {title}\n"
              f"The most frequent class among the images of each row: {'; '.join(rows)}.")


def purity_by_depth(trained, untrained, chance):
    """How many of a channel's brightest images are of one class, after each block.

    Args:
        trained, untrained: of each network a mean number per block.
        chance: the same for images drawn at random.
    """
    fig, ax = subplots(figsize=(7, 3.8))
    blocks = range(1, len(trained) + 1)
    ax.plot(blocks, trained, **TRAINED)
    ax.plot(blocks, untrained, **UNTRAINED)
    ax.axhline(chance, color=BLACK, linewidth=1.5, linestyle="--", label="eight at random")
    ax.set(xlabel="after block", ylabel="of eight images, of one class", xticks=blocks, ylim=(0, 8))
    ax.legend(ncols=3, loc="lower center", **LEGEND)
    show(fig, "Images of one class among a channel's brightest eight\n"
              f"Trained: from {trained[0]:.1f} after the first block to {trained[-1]:.1f} after "
              f"the last. Untrained: from {untrained[0]:.1f} to {untrained[-1]:.1f}. Eight images "
              f"drawn at random: {chance:.1f}.")


def loss_surfaces(surfaces, highest=6):
    """The loss in a plane through the weights of networks, side by side in the same shades.

    Args:
        surfaces: {name: (positions, losses)} of `experiments.loss_surface`.
        highest: loss from which on all is of one shade.
    """
    fig, axes = subplots(1, len(surfaces), figsize=(10, 4.4), sharey=True)
    levels = [highest * i / 24 for i in range(25)]
    words = []
    for ax, (name, (positions, losses)) in zip(axes, surfaces.items(), strict=True):
        filled = ax.contourf(positions, positions, losses.clamp(max=highest - 1e-3).numpy(),
                             levels=levels, cmap="viridis")
        ax.contour(positions, positions, losses.numpy(), levels=[math.log(10)], colors=WHITE,
                   linewidths=2)
        ax.plot(0, 0, "+", color=WHITE, markersize=12, markeredgewidth=2)
        ticks = [-1, -0.5, 0, 0.5, 1]
        ax.set(title=name, xlabel="first direction", aspect="equal", xticks=ticks, yticks=ticks)
        ax.grid(False)
        words.append(f"{name}: {losses.min():.1f} in the middle, {losses.max():.1f} at most")
    axes[0].set_ylabel("second direction")
    bar = fig.colorbar(filled, ax=axes, ticks=range(highest + 1))
    bar.ax.axhline(math.log(10), color=WHITE, linewidth=2)
    bar.set_label("loss; the white line is log 10", fontsize=12)
    bar.ax.tick_params(labelsize=12)
    show(fig, "The loss around the weights of two networks\n"
              f"A hollow in each, and a white line round it where the loss is that of guessing. "
              f"{'; '.join(words)}.")
