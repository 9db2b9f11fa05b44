"""The pictures of notebook 2: a block, what it makes of an image, and its gradient."""

import math

from resnet_helpers import diagrams
from resnet_helpers.pictures.looks import KINDS
from resnet_helpers.plotting import WHITE, show, subplots, zero_centred


def plain_and_residual():
    """A plain block beside a residual one."""
    show(diagrams.draw_plain_and_residual().figure(),
         "A plain block beside a residual block\n"
         "Left, x goes down through convolution, batch norm, ReLU, convolution and batch norm, "
         "framed and called f(x), and through a last ReLU. Right, the same five layers are called "
         "g(x); a line carries x past them to a plus sign, which comes before the last ReLU.")


def maps_along_block(steps, image=0, channel=4):
    """One channel of one image after each step of a block, all on one scale around zero.

    Args:
        steps: {name: tensor (N, C, H, W)}.
        image, channel: which one.
    """
    maps = {name: tensor[image, channel].detach() for name, tensor in steps.items()}
    largest = max(Z.abs().max().item() for Z in maps.values())
    fig, axes = subplots(2, math.ceil(len(maps) / 2), figsize=(8.6, 4.4))
    for ax, (name, Z) in zip(axes.flat, maps.items(), strict=True):
        picture = ax.imshow(Z.numpy(), cmap=zero_centred(), vmin=-largest, vmax=largest)
        ax.set_title(name, fontsize=14)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(True)
    fig.colorbar(picture, ax=axes, fraction=0.03, pad=0.02,
                 ticks=[-int(largest), 0, int(largest)])
    ranges = ", ".join(f"{name} {Z.min():.1f} to {Z.max():.1f}" for name, Z in maps.items())
    show(fig, f"One channel after each step\nBlue below zero, white at zero, orange above, the "
              f"same scale for all. Smallest and largest value: {ranges}.")


def gradient_curves(gradients):
    """Size of the gradient on its way from the last block to the first, beside where it starts.

    Args:
        gradients: {name: sizes after the stem and after each block}; the name begins with "plain"
            or "residual", and says if there is "no batch norm".
    """
    fig, ax = subplots(figsize=(8.6, 4.4))
    words = []
    for name, sizes in gradients.items():
        style, has_norm = KINDS[name.split(",")[0]], "no batch norm" not in name
        relative = [size / sizes[-1] for size in sizes]
        ax.plot(range(len(sizes)), relative, **style, markersize=6, label=name,
                markerfacecolor=style["color"] if has_norm else WHITE)
        words.append(f"{name}: times {relative[0]:.0e}")
    last = len(sizes) - 1
    ax.set(xlabel=f"block: from {last}, the last, back to 0, the stem",
           ylabel="size relative to the last block", yscale="log", xlim=(last + 0.5, -0.5),
           xticks=sorted({last, *range(0, last - 2, 5)}))
    ax.legend(fontsize=13, loc="lower left")
    show(fig, f"Size of the gradient, from the last block to the first\nBetween the last block and "
              f"the stem: {'; '.join(words)}.")
