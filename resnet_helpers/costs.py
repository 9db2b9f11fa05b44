"""What a network costs: shape, parameters, multiply-adds and memory of each step, from its layers.

For notebook 3 and the explorers. Nothing is computed with numbers: the layers say their sizes, and
the shapes follow. So even ResNet-152 is counted in a few milliseconds, while the models themselves
stay on torch's "meta" device, which holds no weights.
"""

import functools
import math
from dataclasses import dataclass, replace

import torch
from torch import nn

from resnet_helpers.models import (
    NUM_RESIDUALS,
    Bottleneck,
    Residual,
    block_of,
    count_parameters,
    expect_sizes,
    resnet,
)

FLOAT32_BYTES, INDEX_BYTES = 4, 8


@dataclass(frozen=True)
class Step:
    """One operation on its way through a network, for one example.

    Attributes:
        name: what it is called, for example "conv1".
        operation: what it does, for example "3×3 conv".
        stride: of a convolution or pooling, else None.
        parameters: numbers that training changes.
        multiply_adds: of convolutions and linear layers. By convention those of other layers are
            not counted (they are few), nor are biases.
        shape: of what comes out: (C, H, W), or (C,) after flattening.
        kept_bytes: what training keeps of it in float32 until the backward pass.
    """

    name: str
    operation: str
    stride: int | None
    parameters: int
    multiply_adds: int
    shape: tuple
    kept_bytes: int


def layer_step(name, layer, shape):
    """The `Step` of one layer for an input of `shape`, without the batch dimension.

    What autograd keeps: a convolution's output, because the batch norm behind it needs its input;
    a ReLU's output, which the next layer needs too; the position of each maximum. What comes out
    of a batch norm is not kept.

    Raises:
        TypeError: a layer of a kind that ResNets do not have.
    """
    stride, multiply_adds, kept, out = None, 0, 0, shape
    match layer:
        case nn.Conv2d():
            k, stride = layer.kernel_size[0], layer.stride[0]
            sides = (window_positions(n, k, stride, layer.padding[0]) for n in shape[1:])
            operation, out = f"{k}×{k} conv", (layer.out_channels, *sides)
            multiply_adds = math.prod(out) * layer.in_channels * k * k
            kept = math.prod(out) * FLOAT32_BYTES
        case nn.MaxPool2d():
            k, stride = layer.kernel_size, layer.stride
            sides = (window_positions(n, k, stride, layer.padding) for n in shape[1:])
            operation, out = f"{k}×{k} max pool", (shape[0], *sides)
            kept = math.prod(out) * (FLOAT32_BYTES + INDEX_BYTES)
        case nn.BatchNorm2d():
            operation = "batch norm"
        case nn.ReLU():
            operation, kept = "ReLU", math.prod(shape) * FLOAT32_BYTES
        case nn.AdaptiveAvgPool2d():
            operation, out, kept = "average pool", (shape[0], 1, 1), shape[0] * FLOAT32_BYTES
        case nn.Flatten():
            operation, out = "flatten", (math.prod(shape),)
        case nn.Linear():
            operation, out = "linear", (layer.out_features,)
            multiply_adds = layer.in_features * layer.out_features
        case _:
            raise TypeError(f"the costs of a {type(layer).__name__} are not known here, only those "
                            f"of the layers that ResNets are built of")
    return Step(name, operation, stride, count_parameters(layer), multiply_adds, out, kept)


def window_positions(n, kernel_size, stride, padding):
    """At how many places a window fits along `n` pixels: floor((n + 2p - k) / s) + 1."""
    return (n + 2 * padding - kernel_size) // stride + 1


# --- a block ---

def block_steps(block, shape):
    """The steps of a residual or plain block on each of its two paths.

    Args:
        shape: (C, H, W) of the input.

    Returns:
        (branch, shortcut): two tuples of `Step`. The shortcut is empty if it passes its input on
        unchanged or if the block has none. The ReLU after the addition belongs to neither.
    """
    num_convs = 3 if isinstance(block, Bottleneck) else 2
    branch, out = [], shape
    for i in range(1, num_convs + 1):
        layers = {f"conv{i}": getattr(block, f"conv{i}"), f"bn{i}": getattr(block, f"bn{i}")}
        if i < num_convs:
            layers["relu"] = nn.ReLU()
        for name, layer in layers.items():
            branch.append(layer_step(name, layer, out))
            out = branch[-1].shape
    name = f"conv{num_convs + 1}"
    layer = getattr(block, name)
    if layer is None:
        return tuple(branch), ()
    return tuple(branch), (replace(layer_step(name, layer, shape), kept_bytes=0),)  # no batch norm


@dataclass(frozen=True)
class BlockCosts:
    """What happens on the two paths of a `Residual` block, and whether they can be added.

    Attributes:
        input_shape: (C, H, W).
        branch, shortcut: tuples of `Step`; the shortcut has none without its convolution.
        output_shape: (C, H, W); None if branch and shortcut cannot be added.
        error: torch's own message in that case, or "" if torch would stretch the shortcut without
            a word; None if the shapes are the same.
    """

    input_shape: tuple
    branch: tuple
    shortcut: tuple
    output_shape: tuple | None
    error: str | None

    @property
    def branch_shape(self):
        """Shape (C, H, W) that the branch brings to the addition."""
        return self.branch[-1].shape

    @property
    def shortcut_shape(self):
        """Shape (C, H, W) that the shortcut brings to the addition."""
        return self.shortcut[-1].shape if self.shortcut else self.input_shape


@functools.lru_cache(maxsize=64)  # what mends a block is asked for again and again
def block_costs(input_channels, num_channels, use_1x1conv=False, strides=1, size=6,
                shortcut_kernel_size=1):
    """Shapes and costs of a `Residual` block for an image of `size` x `size` pixels.

    Args:
        input_channels, num_channels, use_1x1conv, strides: as for `Residual`.
        size: height and width of the input in pixels.
        shortcut_kernel_size: 1, or 3 for the convolution on the shortcut in the article's listing.

    Raises:
        ValueError: a size below 1, or a shortcut that is neither 1x1 nor 3x3.
    """
    expect_sizes(size=size)
    block = _meta_block(input_channels, num_channels, use_1x1conv, strides, shortcut_kernel_size)
    shape = (input_channels, size, size)
    branch, shortcut = block_steps(block, shape)
    X_shape, Y_shape = shortcut[-1].shape if shortcut else shape, branch[-1].shape
    error = None if X_shape == Y_shape else addition_error(Y_shape, X_shape)
    return BlockCosts(shape, branch, shortcut, Y_shape if error is None else None, error)


@functools.lru_cache(maxsize=64)  # images of any size go through one block
def _meta_block(*arguments):
    with torch.device("meta"):
        return make_block(*arguments)


def make_block(input_channels, num_channels, use_1x1conv, strides, shortcut_kernel_size=1):
    """A `Residual` block; with `shortcut_kernel_size=3` its conv3 is that of the article's listing.

    Raises:
        ValueError: as `Residual`; or a shortcut that is neither 1x1 nor 3x3.
    """
    if shortcut_kernel_size not in (1, 3):
        raise ValueError(f"shortcut_kernel_size must be 1 or 3, got {shortcut_kernel_size!r}")
    block = Residual(input_channels, num_channels, use_1x1conv, strides)
    if use_1x1conv and shortcut_kernel_size == 3:
        block.conv3 = nn.Conv2d(input_channels, num_channels, kernel_size=3, padding=1,
                                stride=strides)
    return block


def addition_error(branch_shape, shortcut_shape):
    """What torch says to `Y += X` for examples of these shapes; "" if it stretches X in silence.

    The batch has four examples, as in notebook 2. (On the "meta" device torch would put it in
    other words.)
    """
    Y, X = torch.empty(4, *branch_shape), torch.empty(4, *shortcut_shape)
    try:
        Y += X
    except RuntimeError as error:
        return str(error)
    return ""


def block_remedies(input_channels, num_channels, use_1x1conv=False, strides=1, size=6):
    """The changes of one argument, or if need be of two, that let branch and shortcut be added.

    Returns:
        List of dicts {argument: value}; empty if nothing needs to change.
    """
    now = {"use_1x1conv": use_1x1conv, "strides": strides, "num_channels": num_channels}
    if block_costs(input_channels, size=size, **now).error is None:
        return []
    remedies = []
    for change in ({"use_1x1conv": True}, {"strides": 1}, {"num_channels": input_channels},
                   {"strides": 1, "num_channels": input_channels}):
        less_will_do = any(remedy.items() <= change.items() for remedy in remedies)
        if not less_will_do:
            costs = block_costs(input_channels, size=size, **{**now, **change})
            remedies += [change] if costs.error is None else []
    return remedies


# --- a model ---

@dataclass(frozen=True)
class StageCosts:
    """One part of a ResNet for one example: the stem, a module of blocks, or the classifier.

    Attributes:
        name: "b1" .. "b5" or "linear".
        blocks: its blocks, one (branch, shortcut) pair per block; stem and classifier have none.
        shape: of what comes out.
        parameters, multiply_adds: sums over its steps.
        activation_bytes: what training keeps in float32 until the backward pass.
    """

    name: str
    blocks: tuple
    shape: tuple
    parameters: int
    multiply_adds: int
    activation_bytes: int


@functools.lru_cache(maxsize=1)  # an explorer asks twice, for its picture and its table
def model_costs(depth, size=224, num_classes=10, in_channels=1, shortcuts=True, stem="7x7"):
    """Shapes and costs of ResNet-`depth`, stage by stage, for one image of `size` x `size` pixels.

    Args:
        depth: 18, 34, 50, 101 or 152.
        size: height and width of the image in pixels, at least 1.
        num_classes, in_channels, shortcuts, stem: as for `resnet18`.

    Returns:
        Tuple of `StageCosts`: b1 to b5, then the pooling and linear layer at the end.

    Raises:
        ValueError: a size below 1, a depth that is not in table 1 of the paper, or another stem.
    """
    expect_sizes(size=size, num_classes=num_classes, in_channels=in_channels)
    if depth not in NUM_RESIDUALS:
        raise ValueError(f"depth must be one of {', '.join(map(str, NUM_RESIDUALS))}, got "
                         f"{depth!r}")
    net = _meta_model(block_of(depth, shortcuts), num_classes, in_channels, stem)
    stages = [_layer_costs("b1", net[0], (in_channels, size, size))]
    for i, num_residuals in enumerate(NUM_RESIDUALS[depth], start=1):
        stages.append(_module_costs(f"b{i + 1}", net[i], num_residuals, stages[-1].shape))
    return (*stages, _layer_costs("linear", net[5:], stages[-1].shape))


def _layer_costs(name, layers, shape):
    """`StageCosts` of single layers, one after the other."""
    steps = []
    for layer_name, layer in layers.named_children():
        steps.append(layer_step(layer_name, layer, shape))
        shape = steps[-1].shape
    return _sum_up(name, steps)


def _module_costs(name, blocks, num_residuals, shape):
    """`StageCosts` of a module of `num_residuals` blocks: a first, and a second repeated."""
    pairs, steps = [], []
    for block, times in zip(blocks, (1, num_residuals - 1), strict=True):
        branch, shortcut = block_steps(block, shape)
        shape = branch[-1].shape
        pairs += times * [(branch, shortcut)]
        steps += times * [*branch, *shortcut, layer_step("relu", nn.ReLU(), shape)]
    return _sum_up(name, steps, pairs)


def _sum_up(name, steps, blocks=()):
    return StageCosts(name, tuple(blocks), steps[-1].shape, sum(step.parameters for step in steps),
                      sum(step.multiply_adds for step in steps),
                      sum(step.kept_bytes for step in steps))


def _meta_model(block, num_classes, in_channels, stem):
    """A ResNet of two blocks a module on the meta device: in deeper ones the second is repeated.

    Only its first and last layer are made anew.
    """
    net = _meta_body(block, stem)
    conv, linear = net[0][0], net[-1]
    with torch.device("meta"):
        first = nn.Conv2d(in_channels, conv.out_channels, conv.kernel_size, conv.stride,
                          conv.padding)
        last = nn.Linear(linear.in_features, num_classes)
    return nn.Sequential(nn.Sequential(first, *net[0][1:]), *net[1:-1], last)


@functools.cache  # it takes longer to make than to count
def _meta_body(block, stem):
    with torch.device("meta"):
        return resnet((2, 2, 2, 2), block, stem=stem)
