"""Networks that are narrow and small enough to be trained by the dozen on a laptop."""

import torch
from torch import nn

from resnet_helpers.cpu import one_thread
from resnet_helpers.data import load_data_fashion_mnist
from resnet_helpers.models import PlainBlock, Residual, check_sizes
from resnet_helpers.training import fit, init_weights


def small_net(depth, shortcuts=True, num_channels=16, batch_norm=True):
    """A network of equal blocks: a stem to 7 x 7 pixels, (depth - 2) / 2 blocks that keep the shape, pooling, linear.

    Shapes: (N, 1, 28, 28) -> (N, 10) logits. Since all blocks have one shape, they can be left out or change places.

    Args:
        depth: layers with weights, even and at least 4: the stem's convolution, two in each block, the linear layer.
        shortcuts: `Residual` blocks, or `PlainBlock`.
        num_channels: of all feature maps.
        batch_norm: False leaves it out everywhere.

    Returns:
        nn.Sequential; `net[1]` holds the blocks. Its weights are those of `init_weights`.

    Raises:
        ValueError: another depth, or no channels.
    """
    check_sizes(depth=depth, num_channels=num_channels)
    if depth % 2 or depth < 4:
        raise ValueError(f"depth must be an even number of at least 4, got {depth}")
    block = Residual if shortcuts else PlainBlock
    blocks = [block(num_channels, num_channels) for _ in range((depth - 2) // 2)]
    stem = nn.Sequential(nn.Conv2d(1, num_channels, kernel_size=7, stride=4, padding=3),
                         nn.BatchNorm2d(num_channels), nn.ReLU())
    if not batch_norm:
        stem[1] = nn.Identity()
        for b in blocks:
            b.bn1, b.bn2 = nn.Identity(), nn.Identity()
    net = nn.Sequential(stem, nn.Sequential(*blocks), nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(),
                        nn.Linear(num_channels, 10))
    return net.apply(init_weights)


@one_thread()
def train_small_net(depth, shortcuts=True, num_epochs=2, lr=0.05, seed=0):
    """Make a `small_net` and train it on the bundled images, in batches of 64, at a rate that falls linearly to zero.

    Nets of the same seed see the same batches. The global random state is left as it was.

    Returns:
        (net, loss): the trained net, and the mean training loss of its last epoch.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        net = small_net(depth, shortcuts)
        torch.default_generator.manual_seed(seed)
        train_iter, _ = load_data_fashion_mnist(64, subset=True)
        optimizer = torch.optim.SGD(net.parameters(), lr=lr)
        steps = num_epochs * len(train_iter)
        scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)
        *_, last = fit(net, train_iter, num_epochs=num_epochs, optimizer=optimizer, scheduler=scheduler,
                       precision="float32", reports_per_epoch=1)
    return net, last.train_loss
