"""The exercises of notebook 2: right answers in several forms, and wrong ones with the reason they must get."""

import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import resnet_helpers as d2l
from resnet_helpers.check.blocks import (
    QUESTIONS,
    SHAPES,
    block_parameters,
    block_questions,
    block_shapes,
    bottleneck_block,
    broken_blocks,
    identity_initialization,
    preactivation_block,
    residual_block,
)

JUNK = [None, 3, "text", nn.Linear(2, 2), nn.Linear, len, lambda *args: 1 / 0, [1, 2, 3], {}, torch.zeros(3)]


@pytest.mark.parametrize("check", [block_shapes, block_parameters, residual_block, preactivation_block,
                                   bottleneck_block, identity_initialization, block_questions])
@pytest.mark.parametrize("answer", JUNK, ids=[type(j).__name__ + str(i) for i, j in enumerate(JUNK)])
def test_junk_is_wrong_and_explained(check, answer):
    verdict = check(answer)
    assert verdict.state == "wrong" and len(verdict.message) > 20


# --- shapes ---

RIGHT_SHAPES = [after for _, after in SHAPES.values()]


def test_the_shapes_are_those_that_the_blocks_give():
    for block, (before, after) in SHAPES.items():
        assert eval(block, {"Residual": d2l.Residual})(torch.rand(before)).shape == after


@pytest.mark.parametrize("answer", [RIGHT_SHAPES, tuple(map(list, RIGHT_SHAPES)), list(map(torch.Size, RIGHT_SHAPES))])
def test_right_shapes(answer):
    assert block_shapes(answer).solved


@pytest.mark.parametrize(("index", "shape", "told"), [
    (0, (3, 6, 6), "number of examples in the batch is missing"),
    (1, (4, 6, 6, 8), "channels second, not last"),
    (1, (4, 3, 6, 6), "second argument is the number of channels that leave it: 8"),
    (2, (4, 6, 6, 6), "the stride is missing"),
    (2, (2, 6, 3, 3), "no layer changes it: it stays 4"),
    (3, (1, 16, 3, 3), "padding is missing, or the result was rounded down"),
    (3, (1, 16, 2, 2), "only the first of the two"),
    (2, (4, 6, 2, 2), "Or does your second 3x3 convolution have the stride, too?"),
    (4, (2, 8, 9, 6), "the stride is missing"),
    (4, (2, 8, 1, 9), "not right: work out"),
    (0, (4, 3), "a shape has four numbers"),
    (0, "4, 3, 6, 6", "write the shape as a tuple"),
    (0, (4, 3, 6.0, 6), "tuple of whole numbers"),
    (2, ..., "write the shape as a tuple"),
])
def test_wrong_shapes(index, shape, told):
    answer = list(RIGHT_SHAPES)
    answer[index] = shape
    verdict = block_shapes(answer)
    assert verdict.state == "wrong" and verdict.message.startswith(list(SHAPES)[index])
    assert told in verdict.message


def test_a_missing_shape_is_told():
    assert "list of 5 shapes" in block_shapes(RIGHT_SHAPES[:4]).message


# --- parameters ---

@pytest.mark.parametrize("answer", [230_272, 230_272.0, torch.tensor(230_272), np.int64(230_272), np.float32(230_272)])
def test_right_number_of_parameters(answer):
    assert block_parameters(answer).solved


@pytest.mark.parametrize(("answer", "told"), [
    (230_272 - 384, "biases are missing"),
    (230_272 - 512, "batch norms are missing"),
    (230_272 - 256, "two parameters per channel"),
    (230_272 - 384 - 512, "weights alone"),
    (230_272 - 8_320, "conv3 is missing"),
    (230_272 + 65_536, "1x1 kernel, not 3x3"),
    (230_272 + 512, "running averages"),
    (230_272 - 73_728, "conv2 has 128 channels at both ends"),
    (73_856, "conv1 alone"),
    (1, "too few"), (2_302_720, "2,302,720 is too many"),
    (True, "must be a number, got True"), (float("nan"), "too few"),
])
def test_wrong_number_of_parameters(answer, told):
    verdict = block_parameters(answer)
    assert verdict.state == "wrong" and told in verdict.message


# --- the block ---

class Base(nn.Module):
    """The article's __init__; subclasses get things wrong."""

    def __init__(self, input_channels, num_channels, use_1x1conv=False, strides=1):
        super().__init__()
        self.conv1 = nn.Conv2d(input_channels, num_channels, kernel_size=3, padding=1, stride=strides)
        self.conv2 = nn.Conv2d(num_channels, num_channels, kernel_size=3, padding=1)
        self.conv3 = nn.Conv2d(input_channels, num_channels, kernel_size=1, stride=strides) if use_1x1conv else None
        self.bn1, self.bn2 = nn.BatchNorm2d(num_channels), nn.BatchNorm2d(num_channels)

    def shortcut(self, X):
        return X if self.conv3 is None else self.conv3(X)


class Modular(Base):
    """Right, with modules for the ReLUs, and the shortcut first."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.relu = nn.ReLU()

    def forward(self, X):
        S = self.shortcut(X)
        return self.relu(S + nn.Sequential(self.conv1, self.bn1, self.relu, self.conv2, self.bn2)(X))


class Terse(Base):
    """Right, with clamp for ReLU and in-place operations on tensors of its own."""

    def forward(self, X):
        Y = self.bn1(self.conv1(X)).clamp(min=0)
        Y = self.bn2(self.conv2(Y))
        Y += self.shortcut(X)
        return Y.relu_()


def forward(name):
    """A class `Base` with this forward."""
    def decorate(function):
        return type(name, (Base,), {"forward": function})
    return decorate


def changed(**layers):
    """A right block of which some layers are made by functions of the arguments."""
    def init(self, input_channels, num_channels, use_1x1conv=False, strides=1):
        Base.__init__(self, input_channels, num_channels, use_1x1conv, strides)
        for name, make in layers.items():
            setattr(self, name, make(input_channels, num_channels, use_1x1conv, strides))
    return type("Changed", (Modular,), {"__init__": init, "relu": nn.ReLU()})


class Keeping(Terse):
    """Keeps what it computed, for a look at it afterwards."""

    def forward(self, X):
        self.out = super().forward(X)
        return self.out


class Lazy(Terse):
    """Right, with layers that find the number of their input channels themselves."""

    def __init__(self, input_channels, num_channels, use_1x1conv=False, strides=1):
        nn.Module.__init__(self)
        self.conv1 = nn.LazyConv2d(num_channels, kernel_size=3, padding=1, stride=strides)
        self.conv2 = nn.LazyConv2d(num_channels, kernel_size=3, padding=1)
        self.conv3 = nn.LazyConv2d(num_channels, kernel_size=1, stride=strides) if use_1x1conv else None
        self.bn1, self.bn2 = nn.LazyBatchNorm2d(), nn.LazyBatchNorm2d()


@pytest.mark.parametrize("answer", [d2l.Residual, Modular, Terse, Keeping, Lazy])
def test_right_blocks(answer):
    verdict = residual_block(answer)
    assert verdict.solved, verdict


def test_right_blocks_on_a_device_that_the_reader_has_made_the_usual_one():
    torch.set_default_device("meta")
    try:
        verdict = residual_block(Modular)
        assert torch.empty(1).is_meta
    finally:
        torch.set_default_device(None)
    assert verdict.solved, verdict


WRONG_FORWARDS = {
    "the ReLU after the addition is missing": lambda s, X: s.bn2(s.conv2(F.relu(s.bn1(s.conv1(X))))) + s.shortcut(X),
    "the input is never added": lambda s, X: F.relu(s.bn2(s.conv2(F.relu(s.bn1(s.conv1(X)))))),
    "your block adds before the second batch norm":
        lambda s, X: F.relu(s.bn2(s.conv2(F.relu(s.bn1(s.conv1(X)))) + s.shortcut(X))),
    "the second ReLU comes before the addition":
        lambda s, X: F.relu(s.bn2(s.conv2(F.relu(s.bn1(s.conv1(X)))))) + s.shortcut(X),
    "one ReLU too many": lambda s, X: F.relu(F.relu(s.bn2(s.conv2(F.relu(s.bn1(s.conv1(X)))))) + s.shortcut(X)),
    "the ReLU between the two convolutions is missing":
        lambda s, X: F.relu(s.bn2(s.conv2(s.bn1(s.conv1(X)))) + s.shortcut(X)),
    "bn1 is not used": lambda s, X: F.relu(s.bn2(s.conv2(F.relu(s.conv1(X)))) + s.shortcut(X)),
    "bn2 is not used": lambda s, X: F.relu(s.conv2(F.relu(s.bn1(s.conv1(X)))) + s.shortcut(X)),
    "neither batch norm": lambda s, X: F.relu(s.conv2(F.relu(s.conv1(X))) + s.shortcut(X)),
    "bn1 stands in both places": lambda s, X: F.relu(s.bn1(s.conv2(F.relu(s.bn1(s.conv1(X))))) + s.shortcut(X)),
    "the ReLU before the batch norm": lambda s, X: F.relu(s.bn2(s.conv2(s.bn1(F.relu(s.conv1(X))))) + s.shortcut(X)),
    "subtracted": lambda s, X: F.relu(s.bn2(s.conv2(F.relu(s.bn1(s.conv1(X))))) - s.shortcut(X)),
    "multiplied": lambda s, X: F.relu(s.bn2(s.conv2(F.relu(s.bn1(s.conv1(X))))) * s.shortcut(X)),
    "returns None": lambda s, X: print(end=""),
    "your block returns a tuple": lambda s, X: (X, X),
    "no gradient flows": lambda s, X: Modular.forward(s, X).detach(),
    "not all of the gradient": lambda s, X: F.relu(
        s.bn2(s.conv2(F.relu(s.bn1(s.conv1(X))))) + s.shortcut(X.detach().clone())),
    "changes its input": lambda s, X: Modular.forward(s, X) + 0 * X.add_(1).sum(),
    "not that of the formula in section 2.1": lambda s, X: 2 * Terse.forward(s, X),
}


@pytest.mark.parametrize("told", WRONG_FORWARDS)
def test_wrong_forwards(told):
    answer = type("Mine", (Base,), {"forward": WRONG_FORWARDS[told], "relu": nn.ReLU()})
    verdict = residual_block(answer)
    assert verdict.state == "wrong" and told in verdict.message


def test_an_input_that_was_overwritten():
    @forward("Mine")
    def mine(self, X):
        X = F.relu(self.bn1(self.conv1(X)))
        return F.relu(self.bn2(self.conv2(X)) + X)

    assert "was X overwritten on the way?" in residual_block(mine).message


def test_a_conv3_that_is_made_but_not_used():
    @forward("Mine")
    def mine(self, X):
        Y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(X)))))
        return F.relu(Y + (X if X.shape == Y.shape else self.conv3(X)))

    assert "conv3 exists but forward does not use it" in residual_block(mine).message


def test_a_conv3_on_the_branch():
    @forward("Mine")
    def mine(self, X):
        Y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(X)))))
        if self.conv3 is None:
            return F.relu(Y + X)
        return F.relu(self.conv3(Y) + X) if X.shape == Y.shape else F.relu(Y + self.conv3(X))

    assert "conv3 is applied to the branch" in residual_block(mine).message


def test_batch_norm_that_always_uses_running_averages():
    @forward("Mine")
    def mine(self, X):
        self.bn1.eval(), self.bn2.eval()
        return Terse.forward(self, X)

    assert "in train mode" in residual_block(mine).message


@pytest.mark.parametrize(("layers", "told"), [
    (dict(conv3=lambda i, o, use, s: nn.Conv2d(i, o, 3, stride=s, padding=1) if use else None), "article's listing"),
    (dict(conv3=lambda i, o, use, s: nn.Conv2d(i, o, 1, stride=s)), "conv3 must be None when"),
    (dict(conv3=lambda i, o, use, s: nn.Conv2d(i, o, 1) if use else None), "the shortcut must shrink"),
    (dict(conv3=lambda i, o, use, s: nn.Conv2d(o, o, 1, stride=s) if use else None), "turn the input's 3"),
    (dict(conv3=lambda i, o, use, s: nn.Conv2d(i, o, 1, stride=s, padding=1) if use else None), "needs none"),
    (dict(conv2=lambda i, o, use, s: nn.Conv2d(o, o, 3, padding=1, stride=s)), "halved twice"),
    (dict(conv2=lambda i, o, use, s: nn.Conv2d(i, o, 3, padding=1)), "conv2 takes 3 channels, but conv1 gives it 6"),
    (dict(conv1=lambda i, o, use, s: nn.Conv2d(i, o, 3, stride=s)), "without padding=1"),
    (dict(conv1=lambda i, o, use, s: nn.Conv2d(i, o, 3, padding=1)), "conv1 has stride (1, 1) for strides=2"),
    (dict(conv1=lambda i, o, use, s: nn.Conv2d(i, o, 5, padding=2, stride=s)), "are 3x3"),
    (dict(bn1=lambda i, o, use, s: nn.BatchNorm2d(i)), "bn1 is for 3 channels, but gets 6"),
    (dict(bn2=lambda i, o, use, s: nn.Identity()), "bn2 is a Identity"),
    (dict(conv2=lambda i, o, use, s: None), "there is no layer conv2"),
])
def test_wrong_layers(layers, told):
    verdict = residual_block(changed(**layers))
    assert verdict.state == "wrong" and told in verdict.message


def test_a_layer_with_two_names():
    class Shared(Terse):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.bn2 = self.bn1

    assert "bn1 and bn2 are one and the same layer" in residual_block(Shared).message
    assert "Block B is not: bn1 and bn2 are one" in broken_blocks(Terse, Shared, Terse, Terse, Terse).message


def test_wrong_signatures_and_a_missing_super():
    class OtherNames(Terse):
        def __init__(self, channels_in, channels_out):
            super().__init__(channels_in, channels_out)

    class NoSuper(nn.Module):
        def __init__(self, input_channels, num_channels, use_1x1conv=False, strides=1):
            self.conv1 = nn.Conv2d(input_channels, num_channels, 3)

        def forward(self, X):
            return self.conv1(X)

    class NoDefaults(nn.Module):
        def __init__(self, input_channels, num_channels, use_1x1conv, strides):
            super().__init__()

    class NoKernel(nn.Module):
        def __init__(self, input_channels, num_channels, use_1x1conv=False, strides=1):
            super().__init__()
            self.conv1 = nn.Conv2d(input_channels, num_channels)

    class NoInit(nn.Module):
        def forward(self, X):
            return X

    for name in (OtherNames, NoDefaults):
        assert "since the arguments of __init__ are" in residual_block(name).message
    assert "NoDefaults(3, 3) must be possible" in residual_block(NoDefaults).message
    assert re.search(r"Conv2d.*'kernel_size'\nin __init__, line .*nn.Conv2d", residual_block(NoKernel).message)
    assert "NoInit has no __init__" in residual_block(NoInit).message
    assert "super().__init__() is missing" in residual_block(NoSuper).message
    assert "the class itself, not an object of it: pass Terse" in residual_block(Terse(3, 3)).message


# --- the five broken blocks ---

@forward("A")
def A(self, X):
    Y = self.conv2(F.relu(self.bn1(self.conv1(X)))) + self.shortcut(X)
    return F.relu(self.bn2(Y))


@forward("B")
def B(self, X):
    return F.relu(self.bn1(self.conv2(F.relu(self.bn1(self.conv1(X))))) + self.shortcut(X))


@forward("C")
def C(self, X):
    return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(X))))) + X)


@forward("D")
def D(self, X):
    X = F.relu(self.bn1(self.conv1(X)))
    return F.relu(self.bn2(self.conv2(X)) + X)


@forward("E")
def E(self, X):
    Y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(X)))))
    if self.conv3 is not None:
        return F.relu(Y + self.conv3(X))
    X += Y
    return F.relu(X)


def test_untouched_they_are_open():
    verdict = broken_blocks(A, B, C, D, E)
    assert verdict.state == "open" and "all five are still broken" in verdict.message


class Inheriting(Terse):
    """All of it is in the class that it is derived from."""


@pytest.mark.parametrize("good", [Modular, Terse, Inheriting])
def test_mended_they_are_solved(good):
    assert broken_blocks(good, good, good, good, good).solved


@pytest.mark.parametrize(("letter", "told"), [
    ("A", "adds before the second batch norm"), ("B", "bn1 stands in both places"), ("C", "it fails with RuntimeError"),
    ("D", "was X overwritten"), ("E", "changes its input"),
])
def test_the_one_that_is_left_is_named_with_its_reason(letter, told):
    blocks = [dict(A=A, B=B, C=C, D=D, E=E)[x] if x == letter else Terse for x in "ABCDE"]
    verdict = broken_blocks(*blocks)
    assert verdict.state == "wrong" and f"4 of 5 mended. Block {letter} is not" in verdict.message
    assert told in verdict.message


def test_something_else_than_a_class_among_them():
    assert "must be a class" in broken_blocks(Terse, Terse, None, Terse, Terse).message
    assert "takes 5 answers" in broken_blocks(Terse).message


# --- pre-activation ---

class PreBase(nn.Module):
    def __init__(self, num_channels):
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(num_channels), nn.BatchNorm2d(num_channels)
        self.conv1 = nn.Conv2d(num_channels, num_channels, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(num_channels, num_channels, 3, padding="same")


RIGHT_PRE = [
    lambda s, X: s.conv2(F.relu(s.bn2(s.conv1(F.relu(s.bn1(X)))))) + X,
    lambda s, X: X + nn.Sequential(s.bn1, nn.ReLU(), s.conv1, s.bn2, nn.ReLU(), s.conv2)(X),
]
WRONG_PRE = {
    "a ReLU after the addition": lambda s, X: F.relu(RIGHT_PRE[0](s, X)),
    "the input is never added": lambda s, X: RIGHT_PRE[0](s, X) - X,
    "the shortcut carries the input as it came in":
        lambda s, X: s.conv2(F.relu(s.bn2(s.conv1(F.relu(s.bn1(X)))))) + F.relu(s.bn1(X)),
    "that is the original order": lambda s, X: F.relu(s.bn2(s.conv2(F.relu(s.bn1(s.conv1(X))))) + X),
    "convolution comes first in both halves": lambda s, X: F.relu(s.bn2(s.conv2(F.relu(s.bn1(s.conv1(X)))))) + X,
    "the ReLU comes before the batch norm": lambda s, X: X + s.conv2(s.bn2(F.relu(s.conv1(s.bn1(F.relu(X)))))),
    "the first batch norm and ReLU are missing": lambda s, X: X + s.conv2(F.relu(s.bn2(s.conv1(X)))),
    "the ReLUs are missing": lambda s, X: X + s.conv2(s.bn2(s.conv1(s.bn1(X)))),
    "the ReLU before the second": lambda s, X: X + s.conv2(s.bn2(s.conv1(F.relu(s.bn1(X))))),
    "the ReLU before the first": lambda s, X: X + s.conv2(F.relu(s.bn2(s.conv1(s.bn1(X))))),
    "not that of the order that exercise 2.5": lambda s, X: X - RIGHT_PRE[0](s, X),
    "not all of the gradient": lambda s, X: RIGHT_PRE[0](s, X) - X + X.detach(),
}


@pytest.mark.parametrize("function", RIGHT_PRE)
def test_right_preactivation_blocks(function):
    verdict = preactivation_block(type("Mine", (PreBase,), {"forward": function}))
    assert verdict.solved, verdict


@pytest.mark.parametrize("told", WRONG_PRE)
def test_wrong_preactivation_blocks(told):
    verdict = preactivation_block(type("Mine", (PreBase,), {"forward": WRONG_PRE[told]}))
    assert verdict.state == "wrong" and told in verdict.message


@pytest.mark.parametrize(("layers", "told"), [
    (dict(conv1=lambda c: nn.Conv2d(c, c, 3)), "conv1 needs padding=1"),
    (dict(conv2=lambda c: nn.Conv2d(c, c, 1)), "conv2 must be a 3x3 convolution"),
    (dict(bn2=lambda c: nn.BatchNorm2d(2 * c)), "bn2 is for 6 channels, but gets 3")])
def test_preactivation_blocks_of_wrong_layers(layers, told):
    def init(self, num_channels):
        PreBase.__init__(self, num_channels)
        for name, make in layers.items():
            setattr(self, name, make(num_channels))

    verdict = preactivation_block(type("Mine", (PreBase,), {"__init__": init, "forward": RIGHT_PRE[0]}))
    assert verdict.state == "wrong" and told in verdict.message


def test_a_preactivation_block_is_no_d2l_block():
    assert "must be possible" in preactivation_block(d2l.Residual).message


# --- bottleneck ---

class NeckBase(nn.Module):
    def __init__(self, num_channels, divisor=4, kernels=(1, 3, 1), padding=1):
        super().__init__()
        width = num_channels // divisor
        self.conv1 = nn.Conv2d(num_channels, width, kernels[0], padding=kernels[0] // 2)
        self.conv2 = nn.Conv2d(width, width, kernels[1], padding=padding)
        self.conv3 = nn.Conv2d(width, num_channels, kernels[2], padding=kernels[2] // 2)
        self.bn1, self.bn2, self.bn3 = (nn.BatchNorm2d(c) for c in (width, width, num_channels))


def branch(s, X):
    return s.bn3(s.conv3(F.relu(s.bn2(s.conv2(F.relu(s.bn1(s.conv1(X))))))))


RIGHT_NECK = [
    lambda s, X: F.relu(branch(s, X) + X),
    lambda s, X: nn.ReLU()(
        X + nn.Sequential(s.conv1, s.bn1, nn.ReLU(), s.conv2, s.bn2, nn.ReLU(), s.conv3, s.bn3)(X)),
]
WRONG_NECK = {
    "the ReLU after the addition is missing": lambda s, X: branch(s, X) + X,
    "the input is never added": lambda s, X: F.relu(branch(s, X)),
    "the last ReLU comes before the addition": lambda s, X: F.relu(branch(s, X)) + X,
    "there is one ReLU too many": lambda s, X: F.relu(F.relu(branch(s, X)) + X),
    "you have the ReLU before the batch norm":
        lambda s, X: F.relu(s.bn3(s.conv3(s.bn2(F.relu(s.conv2(s.bn1(F.relu(s.conv1(X)))))))) + X),
    "not that of the block in exercise 2.6": lambda s, X: F.relu(branch(s, X) + 2 * X),
    "adds before the third batch norm":
        lambda s, X: F.relu(s.bn3(s.conv3(F.relu(s.bn2(s.conv2(F.relu(s.bn1(s.conv1(X))))))) + X)),
    "ReLU after the first batch norm is missing":
        lambda s, X: F.relu(s.bn3(s.conv3(F.relu(s.bn2(s.conv2(s.bn1(s.conv1(X))))))) + X),
    "ReLU after the second batch norm is missing":
        lambda s, X: F.relu(s.bn3(s.conv3(s.bn2(s.conv2(F.relu(s.bn1(s.conv1(X))))))) + X),
    "bn3 is not used": lambda s, X: F.relu(s.conv3(F.relu(s.bn2(s.conv2(F.relu(s.bn1(s.conv1(X))))))) + X),
    "no batch norm is used": lambda s, X: F.relu(s.conv3(F.relu(s.conv2(F.relu(s.conv1(X))))) + X),
}


@pytest.mark.parametrize("function", RIGHT_NECK)
def test_right_bottlenecks(function):
    verdict = bottleneck_block(type("Mine", (NeckBase,), {"forward": function}))
    assert verdict.solved and "70,784" in verdict.message, verdict


@pytest.mark.parametrize("told", WRONG_NECK)
def test_wrong_bottlenecks(told):
    verdict = bottleneck_block(type("Mine", (NeckBase,), {"forward": WRONG_NECK[told]}))
    assert verdict.state == "wrong" and told in verdict.message


@pytest.mark.parametrize(("arguments", "told"), [
    (dict(divisor=2), "a quarter of the 8 channels"), (dict(kernels=(3, 3, 3)), "the order is 1x1, 3x3, 1x1"),
    (dict(kernels=(1, 1, 1), padding=0), "the order is 1x1, 3x3, 1x1"), (dict(padding=0), "conv2 needs padding=1"),
])
def test_bottlenecks_of_wrong_layers(arguments, told):
    def init(self, num_channels):
        NeckBase.__init__(self, num_channels, **arguments)

    verdict = bottleneck_block(type("Mine", (NeckBase,), {"__init__": init, "forward": RIGHT_NECK[0]}))
    assert verdict.state == "wrong" and told in verdict.message


def test_a_bottleneck_with_a_norm_for_other_channels():
    def init(self, num_channels):
        NeckBase.__init__(self, num_channels)
        self.bn1 = nn.BatchNorm2d(num_channels)

    verdict = bottleneck_block(type("Mine", (NeckBase,), {"__init__": init, "forward": RIGHT_NECK[0]}))
    assert "bn1 is for 8 channels, but gets 2" in verdict.message


# --- identity initialisation ---

def zero(*names):
    def make_identity(block):
        with torch.no_grad():
            for name in names:
                block.get_parameter(name).zero_()
    return make_identity


def with_init(block):
    nn.init.zeros_(block.bn2.weight)
    nn.init.zeros_(block.bn2.bias)
    return block


def identity_kernels(block):
    for conv in (block.conv1, block.conv2):
        nn.init.dirac_(conv.weight)
        nn.init.zeros_(conv.bias)
    for bn in (block.bn1, block.bn2):
        bn.reset_parameters()


def frozen(block):
    with_init(block)
    block.requires_grad_(False)


EVERYTHING = [f"{layer}.{kind}" for layer in ("conv1", "bn1", "conv2", "bn2") for kind in ("weight", "bias")]


@pytest.mark.parametrize("answer", [with_init, zero("bn2.weight", "bn2.bias"),
                                    lambda b: (b.bn2.weight.data.fill_(0), b.bn2.bias.data.fill_(0))])
def test_right_identity_initialisations(answer):
    verdict = identity_initialization(answer)
    assert verdict.solved, verdict


@pytest.mark.parametrize(("answer", "told"), [
    (zero("bn2.weight"), "its shift (bn2.bias) is not"),
    (zero("bn2.bias"), "brings whatever small numbers"),
    (zero("conv2.weight", "conv2.bias", "bn2.bias"), "in train mode but not in eval mode"),
    (zero(*EVERYTHING), "no gradient reaches the convolutions"),
    (zero("bn1.weight", "bn1.bias", "bn2.weight", "bn2.bias"), "no gradient reaches the convolutions"),
    (zero("conv1.weight", "conv1.bias"), "still changes its input"),
    (identity_kernels, "the output is 2x"),
    (frozen, "requires_grad=False"),
    (lambda block: block, "still changes its input"),
    (lambda block: nn.Identity(), "not return another kind of module"),
    (d2l.Residual(3, 3), "must be a function"),
    (lambda block: block.bn3, "AttributeError"),
])
def test_wrong_identity_initialisations(answer, told):
    verdict = identity_initialization(answer)
    assert verdict.state == "wrong" and told in verdict.message


# --- questions ---

RIGHT = {question: letter for question, (letter, _) in QUESTIONS.items()}


def test_right_answers_to_the_questions():
    assert block_questions(RIGHT).solved and block_questions({q: a.upper() for q, a in RIGHT.items()}).solved


@pytest.mark.parametrize(("question", "letter"), [
    (question, letter) for question, (right, why) in QUESTIONS.items() for letter in why if letter != right])
def test_every_wrong_letter_is_explained(question, letter):
    verdict = block_questions(RIGHT | {question: letter})
    assert verdict.state == "wrong" and QUESTIONS[question][1][letter] in verdict.message
