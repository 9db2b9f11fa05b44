"""Residual networks, from one block to ResNet-152: what notebooks 2 and 3 build.

Source: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition" (2016), figures 2 and
5, table 1.
"""

import contextlib
import copy
from numbers import Integral

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval


class Residual(nn.Module):
    """The basic residual block: relu(g(x) + x), where g is two 3x3 convolutions with batch norm.

    Shapes: (N, input_channels, H, W) -> (N, num_channels, ceil(H / strides), ceil(W / strides)).

    Args:
        input_channels: channels of the input, at least 1.
        num_channels: channels of both 3x3 convolutions and of the output, at least 1.
        use_1x1conv: put a 1x1 convolution on the shortcut. Needed when the shape changes, that is
            when `strides` is not 1 or `num_channels` differs from `input_channels`.
        strides: stride of the first 3x3 convolution and of the 1x1 convolution.

    Raises:
        ValueError: a size below 1; in `forward`, a shortcut whose shape is not the branch's.

    Source: paper, equations 1 and 2, figure 5 left. As in the article, the convolutions keep their
    biases and the shortcut has no batch norm; in the paper's implementation and torchvision it is
    the other way round.
    """

    def __init__(self, input_channels, num_channels, use_1x1conv=False, strides=1):
        expect_sizes(input_channels=input_channels, num_channels=num_channels, strides=strides)
        super().__init__()
        self.conv1 = nn.Conv2d(input_channels, num_channels, kernel_size=3, padding=1,
                               stride=strides)
        self.conv2 = nn.Conv2d(num_channels, num_channels, kernel_size=3, padding=1)
        if use_1x1conv:
            self.conv3 = nn.Conv2d(input_channels, num_channels, kernel_size=1, stride=strides)
        else:
            self.conv3 = None
        self.bn1 = nn.BatchNorm2d(num_channels)
        self.bn2 = nn.BatchNorm2d(num_channels)

    def forward(self, X):
        expect_input(self, X)
        Y = F.relu(self.bn1(self.conv1(X)))
        Y = self.bn2(self.conv2(Y))
        if self.conv3 is not None:
            X = self.conv3(X)
        expect_addition(Y, X)
        Y += X
        return F.relu(Y)


class Bottleneck(nn.Module):
    """The block of ResNet-50 and deeper: 1x1 to a quarter of the channels, 3x3, 1x1 back up.

    Arguments, shapes and errors are those of `Residual`; `num_channels` must also be divisible by
    4. The branch is conv1, conv2, conv3; the optional 1x1 convolution on the shortcut is conv4.

    Source: paper, figure 5 right. The stride sits on the 3x3 convolution, as in torchvision
    ("ResNet v1.5"); the paper has it on the first 1x1: the same parameters, fewer multiply-adds.
    """

    def __init__(self, input_channels, num_channels, use_1x1conv=False, strides=1):
        expect_sizes(input_channels=input_channels, num_channels=num_channels, strides=strides)
        expect_divisible_by_4(num_channels)
        super().__init__()
        width = num_channels // 4
        self.conv1 = nn.Conv2d(input_channels, width, kernel_size=1)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, padding=1, stride=strides)
        self.conv3 = nn.Conv2d(width, num_channels, kernel_size=1)
        if use_1x1conv:
            self.conv4 = nn.Conv2d(input_channels, num_channels, kernel_size=1, stride=strides)
        else:
            self.conv4 = None
        self.bn1 = nn.BatchNorm2d(width)
        self.bn2 = nn.BatchNorm2d(width)
        self.bn3 = nn.BatchNorm2d(num_channels)

    def forward(self, X):
        expect_input(self, X)
        Y = F.relu(self.bn1(self.conv1(X)))
        Y = F.relu(self.bn2(self.conv2(Y)))
        Y = self.bn3(self.conv3(Y))
        if self.conv4 is not None:
            X = self.conv4(X)
        expect_addition(Y, X)
        Y += X
        return F.relu(Y)


class PlainBlock(Residual):
    """A `Residual` block without its shortcut, relu(g(x)), as in the paper's plain networks.

    Arguments and shapes are those of `Residual`, so that it can take its place; `use_1x1conv` has
    no effect, since there is no shortcut to put a convolution on.

    Source: paper, figure 3 middle.
    """

    def __init__(self, input_channels, num_channels, use_1x1conv=False, strides=1):
        super().__init__(input_channels, num_channels, use_1x1conv=False, strides=strides)

    def forward(self, X):
        expect_input(self, X)
        Y = F.relu(self.bn1(self.conv1(X)))
        return F.relu(self.bn2(self.conv2(Y)))


class PlainBottleneck(Bottleneck):
    """A `Bottleneck` without its shortcut. Everything else as in `PlainBlock`."""

    def __init__(self, input_channels, num_channels, use_1x1conv=False, strides=1):
        super().__init__(input_channels, num_channels, use_1x1conv=False, strides=strides)

    def forward(self, X):
        expect_input(self, X)
        Y = F.relu(self.bn1(self.conv1(X)))
        Y = F.relu(self.bn2(self.conv2(Y)))
        return F.relu(self.bn3(self.conv3(Y)))


def resnet_block(input_channels, num_channels, num_residuals, first_block=False, block=Residual):
    """One module (stage) of a ResNet, as a list of `num_residuals` blocks.

    The first block halves height and width and changes the channels, unless `first_block`: after
    the stem, which has already reduced the image by four, the first module keeps the size.

    Args:
        input_channels, num_channels: channels into and out of the module.
        num_residuals: number of blocks, at least 1.
        first_block: this is the module right after the stem.
        block: `Residual` or `Bottleneck`, their plain variants, or a class with the same arguments.

    Source: paper, table 1.
    """
    expect_sizes(input_channels=input_channels, num_channels=num_channels,
                 num_residuals=num_residuals)
    blk = []
    for i in range(num_residuals):
        if i == 0 and not first_block:
            blk.append(block(input_channels, num_channels, use_1x1conv=True, strides=2))
        elif i == 0 and input_channels != num_channels:  # bottlenecks widen 64 to 256 at once
            blk.append(block(input_channels, num_channels, use_1x1conv=True))
        else:
            blk.append(block(num_channels, num_channels))
    return blk


STEMS = ("7x7", "3x3-pool", "3x3")
NUM_RESIDUALS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3),
                 152: (3, 8, 36, 3)}  # by depth, as in the paper


def block_of(depth, shortcuts=True):
    """The class of the blocks that ResNet-`depth`, or the plain network of its layers, is made of.

    Source: paper, table 1.
    """
    if depth < 50:
        return Residual if shortcuts else PlainBlock
    return Bottleneck if shortcuts else PlainBottleneck


def resnet(num_residuals, block=Residual, num_classes=10, in_channels=1, stem="7x7"):
    """A ResNet: the stem b1, four modules b2 to b5, global average pooling, one linear layer.

    Shapes: (N, in_channels, H, W) -> (N, num_classes) logits; any H, W of at least 1, 32 or more is
    sensible.

    Args:
        num_residuals: blocks in each of the four modules, for example (2, 2, 2, 2).
        block: `Residual` (64, 128, 256, 512 channels) or `Bottleneck` (256, 512, 1024, 2048), or
            `PlainBlock` or `PlainBottleneck` for the same layers without shortcuts.
        num_classes: length of the output.
        in_channels: 1 for grey images, 3 for colour.
        stem: what b1 does to height and width: "7x7" quarters them (a convolution and a pooling of
            stride 2), as the paper does for images of 224 pixels; "3x3-pool" halves them (only the
            pooling has a stride); "3x3" leaves them, as the paper does for images of 32 pixels.

    Returns:
        nn.Sequential of eight layers; `net[0]` to `net[4]` are b1 to b5.

    Raises:
        ValueError: a number below 1, not four numbers of blocks, or another stem.

    Source: paper, table 1; for the stem of small images section 4.2.
    """
    expect_sizes(num_classes=num_classes, in_channels=in_channels)
    if len(num_residuals) != 4:
        raise ValueError(f"num_residuals must have four numbers, one for each module, got "
                         f"{num_residuals!r}")
    if stem not in STEMS:
        raise ValueError(f"stem must be one of {', '.join(map(repr, STEMS))}, got {stem!r}")
    if stem == "7x7":
        conv = nn.Conv2d(in_channels, 64, kernel_size=7, stride=2, padding=3)
    else:
        conv = nn.Conv2d(in_channels, 64, kernel_size=3, padding=1)
    b1 = nn.Sequential(conv, nn.BatchNorm2d(64), nn.ReLU())
    if stem != "3x3":
        b1.append(nn.MaxPool2d(kernel_size=3, stride=2, padding=1))
    expansion = 4 if issubclass(block, Bottleneck) else 1
    channels = [64] + [expansion * c for c in (64, 128, 256, 512)]
    modules = [
        nn.Sequential(*resnet_block(c_in, c_out, n, first_block=i == 0, block=block))
        for i, (c_in, c_out, n) in enumerate(
            zip(channels[:-1], channels[1:], num_residuals, strict=True))]
    return nn.Sequential(b1, *modules, nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(),
                         nn.Linear(channels[-1], num_classes))


def resnet18(num_classes=10, in_channels=1, shortcuts=True, stem="7x7"):
    """ResNet-18 as in the article: two `Residual` blocks in each module.

    Shapes: (N, in_channels, H, W) -> (N, num_classes) logits.

    With `shortcuts=False` it is the paper's plain network of the same layers, built of
    `PlainBlock`. For `stem` see `resnet`.

    Parameters: 11,178,378 with the default arguments. torchvision's model has no biases in its
    convolutions (here there are, as in the article, though batch norm makes them redundant) and
    batch norm on the shortcuts; `copy_torchvision_weights` shows that both compute the same. The
    function of this name in the package d2l has the stem "3x3".

    Source: paper, table 1.
    """
    return resnet(NUM_RESIDUALS[18], block_of(18, shortcuts), num_classes, in_channels, stem)


def resnet34(num_classes=10, in_channels=1, shortcuts=True, stem="7x7"):
    """ResNet-34: (3, 4, 6, 3) `Residual` blocks. Everything else as in `resnet18`."""
    return resnet(NUM_RESIDUALS[34], block_of(34, shortcuts), num_classes, in_channels, stem)


def resnet50(num_classes=10, in_channels=1, shortcuts=True, stem="7x7"):
    """ResNet-50: (3, 4, 6, 3) `Bottleneck` blocks. Everything else as in `resnet18`."""
    return resnet(NUM_RESIDUALS[50], block_of(50, shortcuts), num_classes, in_channels, stem)


def resnet101(num_classes=10, in_channels=1, shortcuts=True, stem="7x7"):
    """ResNet-101: (3, 4, 23, 3) `Bottleneck` blocks. Everything else as in `resnet18`."""
    return resnet(NUM_RESIDUALS[101], block_of(101, shortcuts), num_classes, in_channels, stem)


def resnet152(num_classes=10, in_channels=1, shortcuts=True, stem="7x7"):
    """ResNet-152: (3, 8, 36, 3) `Bottleneck` blocks. Everything else as in `resnet18`."""
    return resnet(NUM_RESIDUALS[152], block_of(152, shortcuts), num_classes, in_channels, stem)


MODELS = {18: resnet18, 34: resnet34, 50: resnet50, 101: resnet101, 152: resnet152}


# --- torchvision's weights ---

@torch.no_grad()
def copy_torchvision_weights(net, source):
    """Copy a torchvision ResNet's weights and running statistics into the `net` of the same depth.

    In eval mode both then give the same logits. torchvision has batch norm on its shortcuts and
    ours has none, so that batch norm is folded into the 1x1 convolution before it: in eval mode it
    is the fixed map y = gamma * (z - mean) / sqrt(var + eps) + beta, and a linear map after a
    convolution is a convolution.

    Args:
        net: made by `resnet18` .. `resnet152` with the channels and classes of `source`, and the
            stem "7x7".
        source: torchvision.models.resnet18 .. resnet152, with any weights.

    Returns:
        net, changed in place.

    Raises:
        ValueError: the two differ in depth, blocks, stem, channels or classes, or `net` is a plain
            network; it is then unchanged.
    """
    pairs = [(net[0][0], source.conv1), (net[0][1], source.bn1), (net[-1], source.fc)]
    layers = source.layer1, source.layer2, source.layer3, source.layer4
    for module, layer in zip(net[1:5], layers, strict=True):
        if len(module) != len(layer):
            raise ValueError(f"net has a module of {len(module)} blocks where source has "
                             f"{len(layer)}: build both with the same depth")
        for ours, theirs in zip(module, layer, strict=True):
            pairs += _block_pairs(ours, theirs)
    for ours, theirs in pairs:
        if ours.weight.shape != theirs.weight.shape:
            raise ValueError(
                f"weights of shape {tuple(theirs.weight.shape)} do not fit a layer of shape "
                f"{tuple(ours.weight.shape)}: give net the channels, the classes and the stem "
                f"(7x7) of source")
    for ours, theirs in pairs:
        state = theirs.state_dict()
        if ours.bias is not None and "bias" not in state:
            state["bias"] = torch.zeros_like(ours.bias)  # torchvision's convolutions have none
        ours.load_state_dict(state)
    return net


def _block_pairs(ours, theirs):
    """(our layer, torchvision's) for the layers of a block.

    Raises:
        ValueError: blocks of different kinds.
    """
    if isinstance(ours, (PlainBlock, PlainBottleneck)):
        raise ValueError("net has no shortcuts, source has: build it with shortcuts=True")
    if hasattr(ours, "bn3") != hasattr(theirs, "bn3"):
        raise ValueError("net and source are built of different blocks (Residual and Bottleneck): "
                         "build both with the same depth")
    n = 3 if hasattr(ours, "bn3") else 2
    names = [f"{kind}{i}" for i in range(1, n + 1) for kind in ("conv", "bn")]
    pairs = [(getattr(ours, name), getattr(theirs, name)) for name in names]
    if theirs.downsample is not None:
        conv, bn = (copy.deepcopy(layer).eval() for layer in theirs.downsample)
        pairs.append((getattr(ours, f"conv{n + 1}"), fuse_conv_bn_eval(conv, bn)))
    return pairs


# --- sizes ---

def count_parameters(net):
    """Number of parameters of `net`, all entries of all tensors counted."""
    return sum(p.numel() for p in net.parameters())


def expect_sizes(**sizes):
    """Raise ValueError unless every named size is a whole number of at least 1."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, Integral) or size < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {size!r}")


def expect_divisible_by_4(num_channels):
    """Raise ValueError for a `Bottleneck` whose quarter is not whole."""
    if num_channels % 4:
        raise ValueError(f"num_channels must be divisible by 4, got {num_channels}: "
                         f"a bottleneck computes on a quarter of its output channels")


def expect_input(block, X):
    """Raise ValueError unless X is (N, C, H, W) with the C that `block` was made for."""
    shape, channels = tuple(X.shape), block.conv1.in_channels
    if len(shape) != 4:
        advice = "; X[None] adds the batch dimension" if len(shape) == 3 else ""
        raise ValueError(f"a residual block takes a batch of shape (N, {channels}, H, W), got "
                         f"{shape}{advice}")
    if shape[1] != channels:
        raise ValueError(f"the input has {shape[1]} channels, but the block was made with "
                         f"input_channels={channels}: pass input_channels={shape[1]}")


def expect_addition(Y, X):
    """Raise ValueError unless the branch Y and the shortcut X have one shape.

    Stricter than `Y += X`, which would broadcast a shortcut of one channel without a word.
    """
    if Y.shape != X.shape:
        raise ValueError(
            f"the branch gives {tuple(Y.shape)} but the shortcut carries {tuple(X.shape)}, which "
            f"is another shape: pass use_1x1conv=True, and the shortcut gets a 1x1 convolution "
            f"with the branch's channels and stride (or keep the shape: strides=1, "
            f"num_channels={X.shape[1]})")


@contextlib.contextmanager
def in_mode(net, training):
    """Put a net in train or eval mode for a moment; afterwards it is as it was.

    Each module gets its own mode back, since some may have been frozen before; after train mode
    buffers get their numbers back, too. What is no nn.Module is left alone.
    """
    is_module = isinstance(net, nn.Module)
    modes = {module: module.training for module in net.modules()} if is_module else {}
    buffers = [(buffer, buffer.clone()) for buffer in net.buffers()] if modes and training else []
    try:
        if modes:
            net.train(training)
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
