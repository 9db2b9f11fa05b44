"""What the channels of a trained network respond to.

Source: Zeiler, Fergus, "Visualizing and Understanding Convolutional Networks" (2014), section 4.
"""

from dataclasses import dataclass

import torch

from resnet_helpers.training import in_mode


@dataclass(frozen=True)
class Response:
    """The images that a channel responds to most.

    Attributes:
        channel: its number.
        indices: of the images, the strongest response first, (k,).
        strengths: mean of the channel's feature map for each of them, (k,).
    """

    channel: int
    indices: torch.Tensor
    strengths: torch.Tensor


@torch.no_grad()
def feature_maps(net, num_layers, X):
    """What leaves the first `num_layers` layers of a sequential network in eval mode, (n, channels, height, width)."""
    with in_mode(net, training=False):
        return net[:num_layers](X)


def most_activating(maps, channels, k=8):
    """For each of the channels the k images whose feature map is the brightest on average.

    Args:
        maps: feature maps of many images, (n, channels, height, width).
        channels: which ones.
        k: how many images, at most n.

    Returns:
        A list of `Response`, one per channel.
    """
    means = maps.mean(dim=(2, 3))
    return [Response(c, *reversed(means[:, c].topk(k))) for c in channels]
