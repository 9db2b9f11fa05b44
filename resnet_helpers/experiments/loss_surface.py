"""The loss in a plane through the weights of a trained network.

Source: Li, Xu, Taylor, Studer, Goldstein, "Visualizing the Loss Landscape of Neural Nets" (2018), section 4.
"""

import torch
from torch.func import functional_call
from torch.nn import functional as F

from resnet_helpers.cpu import one_thread
from resnet_helpers.training import in_mode


def random_direction(net, generator):
    """A random direction in the space of the weights, {name: tensor}, whose filters are as long as those of `net`.

    So that a step of length 1 means the same for every layer, whatever the scale of its weights: batch norm makes that
    scale arbitrary. Biases and batch norm's scales and shifts stay as they are.
    """
    direction = {}
    for name, p in net.named_parameters():
        if p.dim() > 1:
            d = torch.randn(p.shape, generator=generator).to(p.device)
            direction[name] = d * _filter_norms(p.detach()) / _filter_norms(d)
    return direction


@torch.no_grad()
@one_thread()
def loss_surface(net, X, y, span=1.0, steps=15, seed=0):
    """The cross-entropy on a grid of the plane that two random directions span around the weights of `net`.

    Batch norm uses the statistics of X, as in training.

    Args:
        net: a network with trained weights; left as it is.
        X, y: images and classes, one batch.
        span: how far the grid goes to each side, in units of the weights' own length.
        steps: points along each side; an odd number has one at the weights themselves.
        seed: of the directions.

    Returns:
        (positions, losses): (steps,) and (steps, steps); the first direction runs along the columns.
    """
    generator = torch.Generator().manual_seed(seed)
    right, up = random_direction(net, generator), random_direction(net, generator)
    weights = dict(net.named_parameters())
    positions = torch.linspace(-span, span, steps)
    losses = torch.empty(steps, steps)
    with in_mode(net, training=True):
        for i, v in enumerate(positions):
            for j, u in enumerate(positions):
                moved = {name: weights[name] + u * right[name] + v * up[name] for name in right}
                losses[i, j] = F.cross_entropy(functional_call(net, moved, (X,)), y)
    return positions, losses


def _filter_norms(weight):
    """The length of each filter (output channel) of a weight, shaped so that it can be multiplied with it."""
    return weight.flatten(1).norm(dim=1).view(-1, *[1] * (weight.dim() - 1))
