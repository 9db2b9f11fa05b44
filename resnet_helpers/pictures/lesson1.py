"""The pictures of notebook 1: classes of functions, and the puzzle of depth."""

import torch

from resnet_helpers import diagrams
from resnet_helpers.function_classes import (
    REGION_TARGET,
    TARGETS,
    best_distances,
    best_fit,
    distance_to_region,
    piece_edges,
    region_outlines,
)
from resnet_helpers.pictures.looks import GUESSING, KINDS, draw_guessing
from resnet_helpers.plotting import BLACK, GREY, WHITE, show, show_images, subplots


def row_of_images(images, names):
    """Images side by side, with their names above.

    Args:
        images: tensors (1, H, W).
        names: one per image.
    """
    axes = show_images(images, 1, len(names), titles=names, scale=1.2)
    for ax in axes:
        ax.title.set_fontsize(13)
    show(axes[0].figure, f"Images and what they show\n{', '.join(names)}.")


def depth_curves(losses):
    """Training loss against the number of layers.

    Args:
        losses: {"plain": {depth: loss}, "residual": {depth: loss}}, or one of them.
    """
    fig, ax = subplots(figsize=(6, 3.6))
    draw_guessing(ax)
    for name, of_depth in losses.items():
        ax.plot(of_depth.keys(), of_depth.values(), label=name, markersize=8, **KINDS[name])
    depths = sorted({depth for of_depth in losses.values() for depth in of_depth})
    ax.set_xlabel("layers", fontsize=14)
    ax.set_ylabel("training loss", fontsize=14)
    ax.set(xticks=depths, ylim=(0, 1.12 * GUESSING))
    ax.legend(fontsize=13, loc="center left", bbox_to_anchor=(0.02, 0.67))
    words = "; ".join(f"{name}: " + ", ".join(f"{loss:.2f} with {depth} layers"
                                              for depth, loss in of_depth.items())
                      for name, of_depth in losses.items())
    show(fig, f"Training loss against depth\n{words}. Guessing costs {GUESSING:.2f}.")


def regions():
    """Six classes as regions of growing area around f*, not nested and nested."""
    words = []
    for nested, (name, _) in diagrams.FAMILIES.items():
        distances = [distance_to_region(REGION_TARGET, outline)[0]
                     for outline in region_outlines(nested)]
        words.append(f"{name} {', '.join(f'{distance:.2f}' for distance in distances)}")
    show(diagrams.draw_function_classes().figure(),
         f"Six regions and f*, not nested and nested\nDistances of F1 to F6 from the star f*: "
         f"{'; '.join(words)}.")


def targets():
    """The four functions f* that the classes are fitted to."""
    fig, axes = subplots(1, len(TARGETS), figsize=(10, 2.4), sharex=True, sharey=True)
    x = torch.linspace(0, 1, 1001, dtype=torch.float64)[:-1]
    for ax, (name, f_star) in zip(axes, TARGETS.items(), strict=True):
        ax.plot(x, f_star(x), "--", color=BLACK, linewidth=1.5)
        ax.set_title(name, fontsize=14)
        ax.set(xticks=[0, 1])
    show(fig, "Four functions f*\nA jump in the middle with a bend on either side, a straight "
              "ramp, a wave and a bump.")


def best_steps(target="jump"):
    """A target and the best step function of F_1 to F_6, equal pieces above, nested ones below.

    Args:
        target: a name in `function_classes.TARGETS`.
    """
    fig, axes = subplots(2, 6, figsize=(10, 4.2), sharex=True, sharey=True)
    f_star, words = TARGETS[target], []
    for row, (nested, (name, style)) in zip(axes, diagrams.FAMILIES.items(), strict=True):
        distances = best_distances(f_star, 6, nested)
        for k, ax in enumerate(row, start=1):
            _draw_best_steps(ax, f_star, piece_edges(k, nested).double(), style["color"])
            ax.set_title(f"$F_{k}$: {distances[k - 1]:.3f}", fontsize=13)
            ax.set(xticks=[0, 1], yticks=[0, 1])
        row[0].set_ylabel(name, fontsize=14)
        words.append(f"{name}: distances {', '.join(f'{d:.3f}' for d in distances)}")
    show(fig, f"f* and the best step functions of six classes\n{'; '.join(words)}.")


def _draw_best_steps(ax, f_star, edges, colour):
    x = torch.linspace(0, 1, 1001, dtype=torch.float64)[:-1]
    heights = best_fit(x, f_star(x), edges)
    ax.plot(x, f_star(x), "--", color=BLACK, linewidth=1.2)
    ax.hlines(heights, edges[:-1], edges[1:], color=colour, linewidth=3)
    ax.vlines(edges[1:-1], 0, 1, color=GREY, linewidth=1, linestyle=":")


def class_distances(distances):
    """How near the best function of each class comes to f*, against complexity.

    Args:
        distances: {"not nested": distances of F_1, F_2, ..., "nested": the same}.
    """
    fig, ax = subplots(figsize=(6, 3.6))
    words = []
    for name, style in diagrams.FAMILIES.values():
        d = distances[name]
        ax.plot(range(1, len(d) + 1), d, color=style["color"], linestyle=style["dash"],
                marker=style["mark"], markersize=8 if name == "nested" else 11, label=name)
        worse = [f"F{k + 1}" for k in range(1, len(d)) if d[k] > d[k - 1] + 1e-9]
        words.append(f"{name}: farther than the class before at {', '.join(worse) or 'no point'}")
    ax.set_xlabel("complexity k", fontsize=14)
    ax.set_ylabel("distance to f*", fontsize=14)
    ax.set_ylim(bottom=0)
    ax.legend(fontsize=13)
    show(fig, f"Distance to f* against complexity\n{'; '.join(words)}.")


def inserted_layers(losses):
    """Loss of a trained network against the number of untrained layers that were put into it.

    Args:
        losses: {name: {number of layers: loss}}; a name begins with "plain" or "shortcut", and with
            "small" in it the layers change little.
    """
    fig, ax = subplots(figsize=(7, 4))
    draw_guessing(ax)
    words = []
    for name, of_number in losses.items():
        style = KINDS["plain" if name.startswith("plain") else "residual"]
        is_filled = name.startswith("plain") or "small" in name
        ax.plot(range(len(of_number)), of_number.values(), label=name, markersize=9, **style,
                markerfacecolor=style["color"] if is_filled else WHITE)
        words.append(f"{name}: " + ", ".join(f"{loss:.2f} with {number}"
                                             for number, loss in of_number.items()))
    ticks = [0.5, 1, 2, 5, 10, 100, 1000]
    ax.set_yscale("log")
    ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    ax.set_xticks(range(len(of_number)), of_number)
    ax.set_xlabel("layers put in, none of them trained", fontsize=14)
    ax.set_ylabel("test loss", fontsize=14)
    ax.legend(fontsize=13, loc="upper left")
    show(fig, f"Test loss against the number of layers put in\n{'; '.join(words)}. Guessing costs "
              f"{GUESSING:.2f}.")
