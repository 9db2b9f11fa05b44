"""Experiments that show why residual connections matter, on a laptop and in seconds.

Small networks with and without shortcuts, the gradient inside them, networks without one block,
the loss around the weights, and what one block makes of a real image.
"""

import functools
import math

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from resnet_helpers.costs import make_block
from resnet_helpers.data import load_data_fashion_mnist, load_fashion_mnist_subset
from resnet_helpers.engine.cpu import kept_memory, one_thread
from resnet_helpers.models import PlainBlock, Residual, expect_sizes, in_mode
from resnet_helpers.training import init_weights

# --- small networks ---

def small_net(depth, shortcuts=True, num_channels=16, batch_norm=True):
    """A network of equal blocks: a stem to 7 x 7 pixels, the blocks, pooling, a linear layer.

    Shapes: (N, 1, 28, 28) -> (N, 10) logits. Since all blocks have one shape, they can be left out
    or change places.

    Args:
        depth: layers with weights, even and at least 4: the stem's convolution, two in each block,
            the linear layer.
        shortcuts: `Residual` blocks, or `PlainBlock`.
        num_channels: of all feature maps.
        batch_norm: False leaves it out everywhere.

    Returns:
        nn.Sequential; `net[1]` holds the blocks. Its weights are those of `init_weights`.

    Raises:
        ValueError: another depth, or no channels.
    """
    expect_sizes(depth=depth, num_channels=num_channels)
    if depth % 2 or depth < 4:
        raise ValueError(f"depth must be an even number of at least 4, got {depth}")
    stem = nn.Sequential(nn.Conv2d(1, num_channels, kernel_size=7, stride=4, padding=3),
                         nn.BatchNorm2d(num_channels), nn.ReLU())
    block = Residual if shortcuts else PlainBlock
    blocks = [block(num_channels, num_channels) for _ in range((depth - 2) // 2)]
    if not batch_norm:
        stem[1] = nn.Identity()
        for b in blocks:
            b.bn1, b.bn2 = nn.Identity(), nn.Identity()
    net = nn.Sequential(stem, nn.Sequential(*blocks), nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(),
                        nn.Linear(num_channels, 10))
    return net.apply(init_weights)


def train_net(net, train_iter, num_epochs=2, lr=0.1):
    """Train a net by minibatch SGD, in the fewest lines; `training.fit` does it with all comfort.

    The learning rate falls linearly to zero.

    Args:
        net: any module that maps X to logits (n, classes), in train mode.
        train_iter: batches (X, y).
        num_epochs: passes over the batches.
        lr: learning rate of the first step.

    Returns:
        The mean training loss of the last epoch.
    """
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)
    steps = num_epochs * len(train_iter)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)
    for _ in range(num_epochs):
        losses = []
        for X, y in train_iter:
            loss = F.cross_entropy(net(X), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
    return sum(losses) / len(losses)


def train_small_net(depth, shortcuts=True, num_epochs=2, lr=0.1, seed=0):
    """Make a `small_net` and train it by `train_net` on the bundled images, in batches of 64.

    Nets of the same seed see the same batches. The global random state is left as it was.

    Returns:
        (net, loss): the trained net, and the mean training loss of its last epoch.
    """
    with one_thread(), kept_memory(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        net = small_net(depth, shortcuts)
        torch.default_generator.manual_seed(seed)
        train_iter, _ = load_data_fashion_mnist(64, subset=True)
        return net, train_net(net, train_iter, num_epochs, lr)


# --- inside a stack of blocks ---

def gradient_sizes(net, X, y):
    """Send a batch through a `small_net` and back: how large is the gradient after each block?

    The size of a tensor is the root of the mean of its squares. In train mode batch norm uses the
    statistics of this batch, and notes them in its running averages.

    Args:
        net: a `small_net`; gradients that it holds are left as they are.
        X, y: images (n, 1, 28, 28) and classes (n,).

    Returns:
        A list of numbers: the size of the derivatives of the loss with respect to what leaves the
        stem, and what leaves each block.
    """
    outputs = [net[0](X)]
    for block in net[1]:
        outputs.append(block(outputs[-1]))
    loss = F.cross_entropy(net[2:](outputs[-1]), y)
    gradients = torch.autograd.grad(loss, outputs)
    return [gradient.square().mean().sqrt().item() for gradient in gradients]


def with_blocks(net, order):
    """The same network with its blocks in another order, or without some of them.

    Nothing is copied or trained.

    Args:
        net: a `small_net`.
        order: indices of blocks, for example [0, 2, 3] leaves out block 1.

    Source: Veit, Wilber, Belongie, "Residual Networks Behave Like Ensembles of Relatively Shallow
    Networks" (2016), section 4.
    """
    return nn.Sequential(net[0], nn.Sequential(*(net[1][i] for i in order)), *net[2:])


# --- the loss around the weights ---

def random_direction(net, generator):
    """A random direction in the space of the weights, {name: tensor}, its filters as long as
    theirs.

    So that a step of length 1 means the same for every layer, whatever the scale of its weights:
    batch norm makes that scale arbitrary. Biases and batch norm's scales and shifts stay as they
    are.
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
    """The cross-entropy on a grid of the plane that two random directions span around a net.

    Batch norm uses the statistics of X, as in training.

    Args:
        net: a network with trained weights; left as it is.
        X, y: images and classes, one batch.
        span: how far the grid goes to each side, in units of the weights' own length.
        steps: points along each side; an odd number has one at the weights themselves.
        seed: of the directions.

    Returns:
        (positions, losses): (steps,) and (steps, steps); the first direction runs along the
        columns.
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
    """The length of each filter (output channel) of a weight, in a shape to multiply with it."""
    return weight.flatten(1).norm(dim=1).view(-1, *[1] * (weight.dim() - 1))


# --- what a block makes of an image ---

NUM_IMAGES = 4  # at once, for batch norm: the chosen one and three of other classes


@torch.no_grad()
@one_thread()
def block_feature_maps(label, input_channels, num_channels, use_1x1conv=False, strides=1, size=28,
                       shortcut_kernel_size=1):
    """Send an image through a `Residual` block and keep one channel after each step.

    The block has random weights, the same for the same channels. Where it takes more than one
    channel, a convolution with batch norm and ReLU before it makes them of the grey image, as in
    notebook 2.

    Args:
        label: class of the image, 0 to 9.
        size: height and width in pixels that the image is resized to before it goes in.
        The others are those of `costs.block_costs`.

    Returns:
        Dict of tensors (height, width): "x", "conv1", "bn1", "relu", "conv2", "bn2", "shortcut",
        and, if branch and shortcut have the same shape, "sum" and "y". The channel is the one in
        which the branch varies most; of "x" and "shortcut", where they have another number of
        channels, the one in which they do.

    Raises:
        ValueError: as `costs.block_costs`; or an invalid label.
    """
    expect_sizes(size=size)
    if label not in range(10):
        raise ValueError(f"label must be a class from 0 to 9, got {label!r}")
    block = _fixed_block(input_channels, num_channels, use_1x1conv, strides, shortcut_kernel_size)
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
    # the branch decides: another shortcut must not move the view
    channel = _most_varied_channel(maps["conv2"])
    channels_of = {name: channel if Z.shape[1] == num_channels else _most_varied_channel(Z)
                   for name, Z in maps.items()}
    return {name: Z[0, channels_of[name]] for name, Z in maps.items()}


@functools.lru_cache(maxsize=16)
def _fixed_block(*arguments):
    return _with_fixed_weights(lambda: make_block(*arguments))


@functools.lru_cache(maxsize=16)
def _block_input(label, input_channels, size):
    labels = [(label + i) % 10 for i in range(NUM_IMAGES)]
    X = F.interpolate(_first_images()[labels], size=(size, size), mode="bilinear", antialias=True)
    if input_channels == 1:
        return X
    conv0 = _with_fixed_weights(lambda: nn.Conv2d(1, input_channels, kernel_size=3, padding=1))
    conv0.weight.abs_()  # so that bright stays bright, and the image can be recognised
    return F.relu(F.batch_norm(conv0(X), None, None, training=True))


@functools.lru_cache(maxsize=1)
def _first_images():
    """The first bundled test image of each class, (10, 1, 28, 28), from 0 to 1."""
    data = load_fashion_mnist_subset()
    first = [(data.test_labels == label).nonzero()[0, 0] for label in range(10)]
    return data.test_images[torch.stack(first)].unsqueeze(1) / 255


def _with_fixed_weights(make):
    """The module that `make()` gives, its usual weights drawn from a generator of its own.

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
