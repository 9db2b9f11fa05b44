"""What a residual block makes of a real image: the feature map after each of its steps."""

import functools
import math

import torch
from torch import nn
from torch.nn import functional as F

from resnet_helpers.costs import residual_block
from resnet_helpers.cpu import one_thread
from resnet_helpers.data import load_fashion_mnist_subset
from resnet_helpers.models import check_sizes

BATCH = 4  # images at once, for the statistics of batch norm: the chosen one and three of other classes


@torch.no_grad()
@one_thread()
def block_feature_maps(label, input_channels, num_channels, use_1x1conv=False, strides=1, size=28,
                       shortcut_kernel_size=1):
    """Send an image of Fashion-MNIST through a `Residual` block and keep one channel after each step.

    The block has random weights, the same for the same channels. Where it takes more than one channel, a convolution
    with batch norm and ReLU before it makes them of the grey image, as in notebook 2.

    Args:
        label: class of the image, 0 to 9.
        size: height and width in pixels that the image is resized to before it goes in.
        The others are those of `costs.block_costs`.

    Returns:
        Dict of tensors (height, width): "x", "conv1", "bn1", "relu", "conv2", "bn2", "shortcut", and, if branch and
        shortcut have the same shape, "sum" and "y". The channel is the one in which the branch varies most; of "x" and
        "shortcut", where they have another number of channels, the one in which they do.

    Raises:
        ValueError: as `costs.block_costs`; or a label that is no class.
    """
    check_sizes(size=size)
    if label not in range(10):
        raise ValueError(f"label must be a class from 0 to 9, got {label!r}")
    block = _with_fixed_weights(lambda: residual_block(input_channels, num_channels, use_1x1conv, strides,
                                                       shortcut_kernel_size))
    x = _block_input(label, input_channels, size)
    maps = {"x": x, "conv1": block.conv1(x)}
    maps["bn1"] = block.bn1(maps["conv1"])
    maps["relu"] = F.relu(maps["bn1"])
    maps["conv2"] = block.conv2(maps["relu"])
    maps["bn2"] = block.bn2(maps["conv2"])
    maps["shortcut"] = x if block.conv3 is None else block.conv3(x)
    if maps["bn2"].shape == maps["shortcut"].shape:
        maps["sum"] = maps["bn2"] + maps["shortcut"]
        maps["y"] = F.relu(maps["sum"])
    channel = _most_varied_channel(maps["conv2"])  # the branch decides: another shortcut must not move the view
    channels_of = {name: channel if Z.shape[1] == num_channels else _most_varied_channel(Z)
                   for name, Z in maps.items()}
    return {name: Z[0, channels_of[name]] for name, Z in maps.items()}


def _block_input(label, input_channels, size):
    X = F.interpolate(_images()[[(label + i) % 10 for i in range(BATCH)]], size=(size, size), mode="bilinear",
                      antialias=True)
    if input_channels == 1:
        return X
    conv0 = _with_fixed_weights(lambda: nn.Conv2d(1, input_channels, kernel_size=3, padding=1))
    conv0.weight.abs_()  # so that bright stays bright, and the image can be recognised
    return F.relu(F.batch_norm(conv0(X), None, None, training=True))


@functools.lru_cache(maxsize=1)
def _images():
    """The first bundled test image of each class, (10, 1, 28, 28), from 0 to 1."""
    data = load_fashion_mnist_subset()
    first = [(data.test_labels == label).nonzero()[0, 0] for label in range(10)]
    return data.test_images[torch.stack(first)].unsqueeze(1) / 255


def _with_fixed_weights(make):
    """The module that `make()` gives, with PyTorch's usual weights drawn from a generator of its own.

    The global one is left alone: a training that runs at the same time must not notice.
    """
    generator = torch.Generator().manual_seed(5)
    with torch.device("meta"):
        module = make()
    module.to_empty(device="cpu")
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
    return module


def _most_varied_channel(Z):
    return int(Z[0].flatten(1).std(dim=1, correction=0).argmax())
