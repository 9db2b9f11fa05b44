"""Inside a stack of blocks: the signal, its gradient, the size of each branch; and the stack without some of them."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from resnet_helpers.cpu import one_thread
from resnet_helpers.training import in_mode


@dataclass(frozen=True)
class BlockSizes:
    """Sizes at one place in a stack, as root mean squares.

    Attributes:
        signal: of the numbers that leave the block.
        gradient: of the derivatives of the loss with respect to them.
    """

    signal: float
    gradient: float


@one_thread()
def signal_and_gradient(net, X, y):
    """Send a batch through a `small_net` and back, and measure both after each block.

    Batch norm uses the statistics of this batch. The net is left as it was, and so are gradients that it holds.

    Args:
        net: a `small_net`.
        X, y: images (n, 1, 28, 28) and classes (n,).

    Returns:
        A list of `BlockSizes`: after the stem, and after each block.
    """
    with in_mode(net, training=True):
        outputs = [net[0](X)]
        for block in net[1]:
            outputs.append(block(outputs[-1]))
        loss = F.cross_entropy(net[2:](outputs[-1]), y)
        gradients = torch.autograd.grad(loss, outputs)
    return [BlockSizes(_rms(output.detach()), _rms(gradient))
            for output, gradient in zip(outputs, gradients, strict=True)]


@torch.no_grad()
@one_thread()
def branch_sizes(net, X):
    """How large the branch g(x) of each block is beside its input x: the ratio of their root mean squares.

    Batch norm uses the statistics of X. The net is left as it was.

    Args:
        net: a `small_net` with shortcuts.
        X: images (n, 1, 28, 28).

    Returns:
        A list of numbers, one per block.
    """
    ratios = []
    with in_mode(net, training=True):
        x = net[0](X)
        for block in net[1]:
            g = block.bn2(block.conv2(F.relu(block.bn1(block.conv1(x)))))
            ratios.append(_rms(g) / _rms(x))
            x = F.relu(g + x)
    return ratios


def with_blocks(net, order):
    """The same network with its blocks in another order, or without some of them; nothing is copied or trained.

    Args:
        net: a `small_net`.
        order: indices of blocks, for example [0, 2, 3] leaves out block 1.

    Source: Veit, Wilber, Belongie, "Residual Networks Behave Like Ensembles of Relatively Shallow Networks" (2016),
    section 4.
    """
    return nn.Sequential(net[0], nn.Sequential(*(net[1][i] for i in order)), *net[2:])


def _rms(tensor):
    return tensor.square().mean().sqrt().item()
