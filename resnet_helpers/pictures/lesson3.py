"""The pictures of notebook 3: the model to scale, what it costs, and a block taken out."""

from resnet_helpers import diagrams
from resnet_helpers.pictures.looks import KINDS, draw_guessing
from resnet_helpers.plotting import BLUE, show, subplots


def model_to_scale(stages, size):
    """A ResNet from image to logits: boxes as high as the feature maps, as wide as the channels.

    Args:
        stages: of `costs.model_costs`.
        size: height and width of the image, as given to it.
    """
    words = "; ".join(f"{stage.name} gives {'×'.join(map(str, stage.shape))}" for stage in stages)
    dashed = [stage.name for stage in stages if any(shortcut for _, shortcut in stage.blocks)]
    show(diagrams.draw_resnet(stages, size).figure(),
         f"The network to scale\nA row of boxes that get lower and wider, an arc over each block, "
         f"dashed over the first block of {', '.join(dashed)}. {words}.")


def parameters_and_computing(stages):
    """Bars of the parameters and of the multiply-adds of each part of a network.

    Args:
        stages: of `costs.model_costs`.
    """
    names = [stage.name for stage in stages]
    costs = {"million parameters": ([stage.parameters / 1e6 for stage in stages], 2),
             "million multiply-adds": ([stage.multiply_adds / 1e6 for stage in stages], 0)}
    fig, axes = subplots(1, 2, figsize=(8.6, 3.4))
    words = []
    for ax, (what, (values, decimals)) in zip(axes, costs.items(), strict=True):
        least = 10 ** -decimals
        labels = [f"{value:.{decimals}f}" if value >= least else f"<{least:g}" for value in values]
        ax.bar_label(ax.bar(names, values, color=BLUE), labels, fontsize=12, padding=2)
        ax.set_title(what, fontsize=14)
        ax.tick_params(axis="x", labelsize=12)
        ax.set_ylim(0, 1.12 * max(values))
        ax.grid(axis="x", visible=False)
        words.append(f"{what}: " + ", ".join(map(" ".join, zip(names, labels, strict=True))))
    show(fig, f"Parameters and multiply-adds of each part\n{'; '.join(words)}.")


def basic_and_bottleneck():
    """The basic block beside the bottleneck, as wide as they have channels."""
    show(diagrams.draw_basic_and_bottleneck().figure(),
         "A basic block beside a bottleneck\n"
         "Left, two 3×3 convolutions, both as wide as 256 channels. Right, a waist: a 1×1 "
         "convolution narrows 256 channels to 64, a 3×3 convolution works on these, and another "
         "1×1 widens them to 256 again. In both a shortcut leads past all of it to a plus sign.")


def without_one_block(whole, without):
    """Test accuracy of networks that lack one block, beside that of the whole ones.

    Args:
        whole: {"plain": accuracy, "residual": accuracy}.
        without: {"plain": accuracies, "residual": accuracies}, the first without block 1.
    """
    fig, ax = subplots(figsize=(8.6, 3.8))
    words = []
    for name, accuracies in without.items():
        blocks = range(1, len(accuracies) + 1)
        ax.plot(blocks, accuracies, **KINDS[name], markersize=8, label=name)
        ax.plot([0], [whole[name]], **KINDS[name], markersize=11)
        words.append(f"{name}: {whole[name]:.2f} with all blocks; without one of them, from the "
                     f"first to the last, " + ", ".join(f"{a:.2f}" for a in accuracies))
    draw_guessing(ax, 0.1)
    ax.set(xlabel="which block is left out", ylabel="test accuracy", ylim=(0, 1),
           xticks=range(len(blocks) + 1), xticklabels=["none", *map(str, blocks)])
    ax.legend(fontsize=13, loc="center right")
    show(fig, f"Test accuracy without one block\n{'. '.join(words)}.")
