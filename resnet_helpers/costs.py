"""What a network costs: the shape, parameters, multiply-adds and memory of each step, read off its layers.

Nothing is computed with numbers: the layers say their sizes, and the shapes follow. So even ResNet-152 is counted
in a few milliseconds, while the models themselves stay on torch's "meta" device, which holds no weights.
"""

import functools
import math
from dataclasses import dataclass

import torch
from torch import nn

from resnet_helpers.models import MODELS, Bottleneck, Residual, count_parameters, expect_sizes

FLOAT32_BYTES, INDEX_BYTES = 4, 8


@dataclass(frozen=True)
class Step:
    """One operation on its way through a network, for one example.

    Attributes:
        name: what it is called, for example "conv1".
        operation: what it does, for example "3×3 conv".
        stride: of a convolution or pooling, else None.
        parameters: numbers that training changes.
        multiply_adds: of convolutions and linear layers. By convention those of other layers are not counted (they
            are few), nor are biases.
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

    What autograd keeps: a convolution's output, because the batch norm behind it needs its input; a ReLU's output,
    which the next layer needs too; the position of each maximum. What comes out of a batch norm is not kept.

    Raises:
        TypeError: a layer of a kind that ResNets do not have.
    """
    size, stride, multiply_adds, kept = shape[1:], None, 0, 0
    match layer:
        case nn.Conv2d():
            k, stride, padding = layer.kernel_size[0], layer.stride[0], layer.padding[0]
            out = (layer.out_channels, *(window_positions(n, k, stride, padding) for n in size))
            multiply_adds = math.prod(out) * layer.in_channels * k * k
            kept, operation = math.prod(out) * FLOAT32_BYTES, f"{k}×{k} conv"
        case nn.MaxPool2d():
            k, stride, padding = layer.kernel_size, layer.stride, layer.padding
            out = (shape[0], *(window_positions(n, k, stride, padding) for n in size))
            kept, operation = math.prod(out) * (FLOAT32_BYTES + INDEX_BYTES), f"{k}×{k} max pool"
        case nn.BatchNorm2d():
            out, operation = shape, "batch norm"
        case nn.ReLU():
            out, kept, operation = shape, math.prod(shape) * FLOAT32_BYTES, "ReLU"
        case nn.AdaptiveAvgPool2d():
            out, kept, operation = (shape[0], 1, 1), shape[0] * FLOAT32_BYTES, "average pool"
        case nn.Flatten():
            out, operation = (math.prod(shape),), "flatten"
        case nn.Linear():
            out, operation = (layer.out_features,), "linear"
            multiply_adds = layer.in_features * layer.out_features
        case _:
            raise TypeError(f"the costs of a {type(layer).__name__} are not known here, only those of the layers "
                            f"that ResNets are built of")
    return Step(name, operation, stride, count_parameters(layer), multiply_adds, out, kept)


def window_positions(n, kernel_size, stride, padding):
    """At how many places a window fits along `n` pixels: floor((n + 2p - k) / s) + 1."""
    return (n + 2 * padding - kernel_size) // stride + 1


def block_steps(block, shape):
    """The steps of a residual or plain block for an input of `shape` (C, H, W), on each of its two paths.

    Returns:
        (branch, shortcut): two tuples of `Step`. The shortcut is empty if it passes its input on unchanged or if
        the block has none. The ReLU after the addition belongs to neither.
    """
    num_convs = 3 if isinstance(block, Bottleneck) else 2
    branch = []
    for i in range(1, num_convs + 1):
        for name in (f"conv{i}", f"bn{i}"):
            branch.append(layer_step(name, getattr(block, name), branch[-1].shape if branch else shape))
        if i < num_convs:
            branch.append(layer_step("relu", nn.ReLU(), branch[-1].shape))
    name = f"conv{num_convs + 1}"
    shortcut = getattr(block, name)
    if shortcut is None:
        return tuple(branch), ()
    step = layer_step(name, shortcut, shape)
    return tuple(branch), (Step(**{**vars(step), "kept_bytes": 0}),)  # no batch norm follows


@dataclass(frozen=True)
class BlockCosts:
    """What happens on the two paths of a `Residual` block, and whether they can be added.

    Attributes:
        input_shape: (C, H, W).
        branch, shortcut: tuples of `Step`; the shortcut has none without its convolution.
        output_shape: (C, H, W); None if branch and shortcut cannot be added.
        error: torch's own message in that case, or "" if torch would stretch the shortcut without a word; None if
            the shapes are the same.
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


def block_costs(input_channels, num_channels, use_1x1conv=False, strides=1, size=6, shortcut_kernel_size=1):
    """Shapes and costs of a `Residual` block for an image of `size` x `size` pixels.

    Args:
        input_channels, num_channels, use_1x1conv, strides: as for `Residual`.
        size: height and width of the input in pixels.
        shortcut_kernel_size: 1, or 3 for the convolution that the article's listing has on the shortcut.

    Raises:
        ValueError: a size below 1, or a shortcut that is neither 1x1 nor 3x3.
    """
    expect_sizes(size=size)
    with torch.device("meta"):
        block = make_block(input_channels, num_channels, use_1x1conv, strides, shortcut_kernel_size)
    shape = (input_channels, size, size)
    branch, shortcut = block_steps(block, shape)
    X_shape, Y_shape = shortcut[-1].shape if shortcut else shape, branch[-1].shape
    error = None if X_shape == Y_shape else addition_error(Y_shape, X_shape)
    return BlockCosts(shape, branch, shortcut, Y_shape if error is None else None, error)


def make_block(input_channels, num_channels, use_1x1conv, strides, shortcut_kernel_size=1):
    """A `Residual` block; with `shortcut_kernel_size=3` its conv3 is that of the article's listing.

    Raises:
        ValueError: as `Residual`; or a shortcut that is neither 1x1 nor 3x3.
    """
    if shortcut_kernel_size not in (1, 3):
        raise ValueError(f"shortcut_kernel_size must be 1 or 3, got {shortcut_kernel_size!r}")
    block = Residual(input_channels, num_channels, use_1x1conv, strides)
    if use_1x1conv and shortcut_kernel_size == 3:
        block.conv3 = nn.Conv2d(input_channels, num_channels, kernel_size=3, padding=1, stride=strides)
    return block


def addition_error(branch_shape, shortcut_shape):
    """What torch says to `Y += X` for examples of these shapes; "" if it says nothing and stretches X.

    The batch has four examples, as in notebook 2. (On the "meta" device torch would put it in other words.)
    """
    Y, X = torch.empty(4, *branch_shape), torch.empty(4, *shortcut_shape)
    try:
        Y += X
    except RuntimeError as error:
        return str(error)
    return ""


def block_remedies(input_channels, num_channels, use_1x1conv=False, strides=1, size=6):
    """The changes of one argument, or of two if one is not enough, that let branch and shortcut be added.

    Returns:
        List of dicts {argument: value}; empty if nothing needs to change.
    """
    now = {"use_1x1conv": use_1x1conv, "strides": strides, "num_channels": num_channels}
    if block_costs(input_channels, size=size, **now).error is None:
        return []
    changes = [{"use_1x1conv": True}, {"strides": 1}, {"num_channels": input_channels},
               {"strides": 1, "num_channels": input_channels}]
    remedies = []
    for change in changes:
        sufficient = any(remedy.items() <= change.items() for remedy in remedies)
        if not sufficient and block_costs(input_channels, size=size, **{**now, **change}).error is None:
            remedies.append(change)
    return remedies


@dataclass(frozen=True)
class StageCosts:
    """One part of a ResNet for one example: the stem, a module of blocks, or the classifier at the end.

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


def model_costs(depth, size=224, num_classes=10, in_channels=1, shortcuts=True, stem="7x7"):
    """Shapes and costs of ResNet-`depth`, stage by stage, for one image of `size` x `size` pixels.

    Args:
        depth: 18, 34, 50, 101 or 152.
        size: height and width of the image in pixels, at least 1.
        num_classes, in_channels, shortcuts, stem: as for `resnet18`.

    Returns:
        Tuple of `StageCosts`: b1 to b5, then the pooling and linear layer at the end.

    Raises:
        ValueError: a size below 1, a depth that is not in table 1 of the paper, or a stem that there is not.
    """
    expect_sizes(size=size, num_classes=num_classes, in_channels=in_channels)
    net = _meta_model(depth, num_classes, in_channels, shortcuts, stem)
    shape, stages = (in_channels, size, size), []
    for name, part in zip(("b1", "b2", "b3", "b4", "b5", "linear"), (*net[:5], net[5:]), strict=True):
        steps, blocks = [], []
        for layer_name, layer in part.named_children():
            if isinstance(layer, (Residual, Bottleneck)):
                branch, shortcut = block_steps(layer, shape)
                blocks.append((branch, shortcut))
                steps += [*branch, *shortcut, layer_step("relu", nn.ReLU(), branch[-1].shape)]
            else:
                steps.append(layer_step(layer_name, layer, shape))
            shape = steps[-1].shape
        totals = (sum(getattr(step, what) for step in steps)
                  for what in ("parameters", "multiply_adds", "kept_bytes"))
        stages.append(StageCosts(name, tuple(blocks), shape, *totals))
    return tuple(stages)


@functools.lru_cache(maxsize=32)
def _meta_model(depth, num_classes, in_channels, shortcuts, stem):
    if depth not in MODELS:
        raise ValueError(f"depth must be one of {', '.join(map(str, MODELS))}, got {depth!r}")
    with torch.device("meta"):
        return MODELS[depth](num_classes, in_channels, shortcuts, stem)
