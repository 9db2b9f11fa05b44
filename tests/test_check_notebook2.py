"""The exercises of notebook 2: right answers in several forms, and each mistake by its name."""

import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import resnet_helpers as d2l
from resnet_helpers.check.notebook2 import (
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


def outcome(verdict):
    """The code of the mistake; "solved" or "open" if there is none."""
    return verdict.code if verdict.state == "wrong" else verdict.state


def expect_codes(check, answers):
    """Compare what a check makes of {code: answer}."""
    assert {code: outcome(check(answer)) for code, answer in answers.items()} == {
        code: code for code in answers}


def refused(check, answers):
    """The answers that are not right, and why; what is right leaves nothing."""
    return [(answer, verdict) for answer in answers if not (verdict := check(answer)).solved]


JUNK = {"None": None, "number": 3, "string": "text", "module": nn.Linear(2, 2), "class": nn.Linear,
        "failing function": lambda *args: 1 / 0, "empty dict": {}, "tensor": torch.zeros(3)}


@pytest.mark.parametrize("check, usual, others", [
    (block_shapes, "not_five_shapes", {}),
    (block_parameters, "no_number", {"number": "too_few"}),
    (residual_block, "no_class", {"module": "object_for_class", "class": "no_conv1"}),
    (preactivation_block, "no_class", {"module": "object_for_class", "class": "wrong_arguments"}),
    (bottleneck_block, "no_class", {"module": "object_for_class", "class": "wrong_arguments"}),
    (identity_initialization, "no_function", {"failing function": "raised"}),
    (block_questions, "no_dict", {"empty dict": "no_answer"}),
])
def test_junk_is_wrong(check, usual, others):
    found = {name: outcome(check(answer)) for name, answer in JUNK.items()}
    assert found == dict.fromkeys(JUNK, usual) | others


# --- shapes ---

RIGHT_SHAPES = [after for _, after in SHAPES.values()]


def test_right_shapes():
    for block, (before, after) in SHAPES.items():
        assert eval(block, {"Residual": d2l.Residual})(torch.rand(before)).shape == after
    answers = RIGHT_SHAPES, tuple(map(list, RIGHT_SHAPES)), list(map(torch.Size, RIGHT_SHAPES))
    assert not refused(block_shapes, answers)


@pytest.mark.parametrize("index, shape, code", [
    (1, (4, 6, 6, 8), "channels_last"),
    (1, (4, 3, 6, 6), "wrong_channels"),
    (2, (2, 6, 3, 3), "wrong_channels"),
    (2, (4, 6, 6, 6), "no_stride"),
    (4, (2, 8, 9, 6), "no_stride"),
    (3, (1, 16, 3, 3), "wrong_size"),
    (3, (1, 16, 2, 2), "wrong_size"),
    (0, (3, 6, 6), "no_tuple"),
    (0, "4, 3, 6, 6", "no_tuple"),
    (0, (4, 3, 6.0, 6), "no_tuple"),
    (2, ..., "no_tuple"),
])
def test_wrong_shapes(index, shape, code):
    verdict = block_shapes([*RIGHT_SHAPES[:index], shape, *RIGHT_SHAPES[index + 1:]])
    assert outcome(verdict) == code
    assert verdict.message.startswith(f"{list(SHAPES)[index]} on ")


# --- parameters ---

def test_numbers_of_parameters():
    answers = 230_272, 230_272.0, torch.tensor(230_272), np.int64(230_272), np.float32(230_272)
    assert not refused(block_parameters, answers)
    expect_codes(block_parameters, {
        "no_biases": 230_272 - 384,
        "no_norms": 230_272 - 512,
        "weights_alone": 230_272 - 384 - 512,
        "no_conv3": 230_272 - 8_320,
        "conv3_is_3x3": 230_272 + 65_536,
        "running_averages_counted": 230_272 + 512,
        "too_few": float("nan"),
        "too_many": 2_302_720,
        "no_number": True,
    })
    assert "2,302,720 is too many" in block_parameters(2_302_720).message


# --- the block ---

class Base(nn.Module):
    """The article's __init__; subclasses get things wrong."""

    def __init__(self, input_channels, num_channels, use_1x1conv=False, strides=1):
        super().__init__()
        self.conv1 = nn.Conv2d(input_channels, num_channels, 3, padding=1, stride=strides)
        self.conv2 = nn.Conv2d(num_channels, num_channels, kernel_size=3, padding="same")
        self.conv3 = None
        if use_1x1conv:
            self.conv3 = nn.Conv2d(input_channels, num_channels, 1, strides, padding="valid")
        self.bn1, self.bn2 = nn.BatchNorm2d(num_channels), nn.BatchNorm2d(num_channels)

    def shortcut(self, X):
        return X if self.conv3 is None else self.conv3(X)

    def first(self, X):
        return F.relu(self.bn1(self.conv1(X)))

    def branch(self, X):
        return self.bn2(self.conv2(self.first(X)))


class Modular(Base):
    """Right, with modules for the ReLUs, and the shortcut first."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.relu = nn.ReLU()

    def forward(self, X):
        S = self.shortcut(X)
        branch = nn.Sequential(self.conv1, self.bn1, self.relu, self.conv2, self.bn2)
        return self.relu(S + branch(X))


class Terse(Base):
    """Right, with clamp for ReLU and in-place operations on tensors of its own."""

    def forward(self, X):
        Y = self.bn1(self.conv1(X)).clamp(min=0)
        Y = self.bn2(self.conv2(Y))
        Y += self.shortcut(X)
        return Y.relu_()


class Keeping(Terse):
    """Keeps what it computed, for a look at it afterwards."""

    def forward(self, X):
        self.out = super().forward(X)
        return self.out


class Inheriting(Terse):
    """All of it is in the class that it is derived from."""


class Lazy(Terse):
    """Right, with layers that find the number of their input channels themselves."""

    def __init__(self, input_channels, num_channels, use_1x1conv=False, strides=1):
        nn.Module.__init__(self)
        self.conv1 = nn.LazyConv2d(num_channels, kernel_size=3, padding=1, stride=strides)
        self.conv2 = nn.LazyConv2d(num_channels, kernel_size=3, padding=1)
        self.conv3 = nn.LazyConv2d(num_channels, 1, stride=strides) if use_1x1conv else None
        self.bn1, self.bn2 = nn.LazyBatchNorm2d(), nn.LazyBatchNorm2d()


def with_forward(base, forward):
    """A class like `base` with this forward."""
    return type("Mine", (base,), {"forward": forward})


def with_layers(base, **layers):
    """A class like `base` of which some layers are made by functions of its arguments."""
    def init(self, *args, **kwargs):
        base.__init__(self, *args, **kwargs)
        for name, make in layers.items():
            setattr(self, name, make(*args, **kwargs))
    return type("Mine", (base,), {"__init__": init})


def test_right_blocks():
    assert not refused(residual_block, (d2l.Residual, Modular, Terse, Keeping, Inheriting, Lazy))


def test_right_blocks_on_a_device_that_the_reader_has_made_the_usual_one():
    torch.set_default_device("meta")
    try:
        verdict = residual_block(Modular)
        assert torch.empty(1).is_meta
    finally:
        torch.set_default_device(None)
    assert verdict.solved, verdict


def overwrites_its_input(s, X):
    X = s.first(X)
    return F.relu(s.bn2(s.conv2(X)) + s.shortcut(X))


def uses_conv3_only_where_it_must(s, X):
    Y = s.branch(X)
    return F.relu(Y + (X if X.shape == Y.shape else s.conv3(X)))


def never_trains_its_norms(s, X):
    s.bn1.eval(), s.bn2.eval()
    return Terse.forward(s, X)


@torch.no_grad()
def without_gradient(s, X):
    return Terse.forward(s, X)


WRONG_FORWARDS = {
    "no_relu_after_addition": lambda s, X: s.branch(X) + s.shortcut(X),
    "input_never_added": lambda s, X: F.relu(s.branch(X)),
    "norm_after_addition": lambda s, X: F.relu(s.bn2(s.conv2(s.first(X)) + s.shortcut(X))),
    "relu_before_addition": lambda s, X: F.relu(s.branch(X)) + s.shortcut(X),
    "one_relu_too_many": lambda s, X: F.relu(F.relu(s.branch(X)) + s.shortcut(X)),
    "no_first_relu": lambda s, X: F.relu(s.bn2(s.conv2(s.bn1(s.conv1(X)))) + s.shortcut(X)),
    "bn1_not_used": lambda s, X: F.relu(s.bn2(s.conv2(F.relu(s.conv1(X)))) + s.shortcut(X)),
    "bn2_not_used": lambda s, X: F.relu(s.conv2(s.first(X)) + s.shortcut(X)),
    "bn1_twice": lambda s, X: F.relu(s.bn1(s.conv2(s.first(X))) + s.shortcut(X)),
    "conv1_twice": lambda s, X: F.relu(s.bn2(s.conv1(s.first(X))) + s.shortcut(X)),
    "relu_before_norm":
        lambda s, X: F.relu(s.bn2(s.conv2(s.bn1(F.relu(s.conv1(X))))) + s.shortcut(X)),
    "input_overwritten": overwrites_its_input,
    "conv3_not_used": uses_conv3_only_where_it_must,
    "returns_none": lambda s, X: print(end=""),
    "returns_no_tensor": lambda s, X: (X, X),
    "no_gradient": without_gradient,
    "changes_input": lambda s, X: Terse.forward(s, X) + 0 * X.add_(1).sum(),
    "wrong_output": lambda s, X: F.relu(s.branch(X) - s.shortcut(X)),
}


def test_wrong_forwards():
    answers = {code: with_forward(Base, forward) for code, forward in WRONG_FORWARDS.items()}
    expect_codes(residual_block, answers)
    message = residual_block(answers["wrong_output"]).message
    assert "not that of the formula in section 2.1" in message
    verdict = residual_block(with_forward(Base, never_trains_its_norms))
    assert verdict.code == "wrong_output" and "your own layers in train mode" in verdict.message


def conv(i, o, kernel=3, padding=1, **options):
    return nn.Conv2d(i, o, kernel, padding=padding, **options)


def only_with_1x1(make):
    """`conv3`, made by a function of the two numbers of channels and the stride."""
    def conv3(i, o, use_1x1conv=False, strides=1):
        return make(i, o, strides) if use_1x1conv else None
    return conv3


WRONG_LAYERS = {
    "conv1_wrong_kernel_size": lambda i, o, strides=1, **_: conv(i, o, 5, 2, stride=strides),
    "conv1_wrong_padding": lambda i, o, strides=1, **_: conv(i, o, padding=0, stride=strides),
    "conv1_wrong_stride": lambda i, o, **_: conv(i, o),
    "conv1_wrong_in_channels": lambda i, o, strides=1, **_: conv(o, o, stride=strides),
    "conv2_wrong_stride": lambda i, o, strides=1, **_: conv(o, o, stride=strides),
    "conv2_wrong_in_channels": lambda i, o, **_: conv(i, o),
    "conv2_wrong_out_channels": lambda i, o, **_: conv(o, i),
    "conv3_wrong_kernel_size": only_with_1x1(lambda i, o, s: conv(i, o, stride=s)),
    "conv3_wrong_padding": only_with_1x1(lambda i, o, s: conv(i, o, 1, stride=s)),
    "conv3_wrong_stride": only_with_1x1(lambda i, o, s: conv(i, o, 1, 0)),
    "conv3_wrong_in_channels": only_with_1x1(lambda i, o, s: conv(o, o, 1, 0, stride=s)),
    "bn1_wrong_num_features": lambda i, o, **_: nn.BatchNorm2d(i),
}


def test_wrong_layers():
    answers = {code: with_layers(Terse, **{code.split("_")[0]: make})
               for code, make in WRONG_LAYERS.items()}
    expect_codes(residual_block, answers)
    for code, told in {
        "conv1_wrong_padding": "conv1 has padding=(0, 0), where (1, 1) was expected: without",
        "conv2_wrong_stride": "conv2 has stride=(2, 2), where (1, 1) was expected: only conv1",
        "bn1_wrong_num_features": "bn1 has num_features=3, where 6 was expected.",
    }.items():
        assert told in residual_block(answers[code]).message


def with_init(init):
    """A class like `Terse` with this __init__."""
    return type("Mine", (Terse,), {"__init__": init})


def no_super(s, input_channels, num_channels, use_1x1conv=False, strides=1):
    s.conv1 = nn.Conv2d(input_channels, num_channels, 3)


def no_kernel(s, input_channels, num_channels, use_1x1conv=False, strides=1):
    Terse.__init__(s, input_channels, num_channels)
    s.conv1 = nn.Conv2d(input_channels, num_channels)


def no_conv3(s, *args, **kwargs):
    Terse.__init__(s, *args, **kwargs)
    del s.conv3


def shared_norm(s, *args, **kwargs):
    Terse.__init__(s, *args, **kwargs)
    s.bn1 = s.bn2


def test_wrong_classes():
    no_defaults = with_init(lambda s, input_channels, num_channels, use_1x1conv, strides: s.x)
    expect_codes(residual_block, {
        "wrong_arguments": no_defaults,
        "no_super_init": with_init(no_super),
        "raised": with_init(no_kernel),
        "conv3_undefined": with_init(no_conv3),
        "shared_layer": with_init(shared_norm),
        "no_conv2": with_layers(Terse, conv2=lambda *_, **__: None),
        "no_bn2": with_layers(Terse, bn2=lambda *_, **__: nn.Identity()),
        "conv3_not_none": with_layers(Terse, conv3=lambda i, o, strides=1, **_: conv(i, o, 1, 0)),
        "object_for_class": Terse(3, 3),
    })
    other_names = with_init(lambda s, c_in, c_out, stride=1: Terse.__init__(s, c_in, c_out))
    assert "unexpected keyword argument 'use_1x1conv'" in residual_block(other_names).message
    assert "strides=1), but: missing a required" in residual_block(no_defaults).message
    assert re.search(r"Conv2d.*'kernel_size'\nin no_kernel, line .*nn.Conv2d",
                     residual_block(with_init(no_kernel)).message)


# --- the five broken blocks ---

def adds_in_place(s, X):
    Y = s.branch(X)
    if s.conv3 is not None:
        return F.relu(Y + s.conv3(X))
    X += Y
    return F.relu(X)


BROKEN = {letter: (with_forward(Base, forward), code) for letter, forward, code in (
    ("A", WRONG_FORWARDS["norm_after_addition"], "norm_after_addition"),
    ("B", WRONG_FORWARDS["bn1_twice"], "bn1_twice"),
    ("C", lambda s, X: F.relu(s.branch(X) + X), "raised"),
    ("D", overwrites_its_input, "input_overwritten"),
    ("E", adds_in_place, "changes_input"),
)}


def test_broken_blocks_are_open_until_one_is_mended():
    verdict = broken_blocks(**{letter: block for letter, (block, _) in BROKEN.items()})
    assert verdict.state == "open" and "all five are still broken" in verdict.message
    for mended in (Modular, Terse, Inheriting):
        assert broken_blocks(*[mended] * 5).solved


def test_the_broken_block_that_is_left_is_named_with_its_reason():
    for letter, (block, code) in BROKEN.items():
        verdict = broken_blocks(**dict.fromkeys("ABCDE", Inheriting) | {letter: block})
        assert outcome(verdict) == code
        assert f"4 of 5 mended. Block {letter} is not: " in verdict.message
        assert code != "raised" or "it fails with RuntimeError" in verdict.message
    assert outcome(broken_blocks(Terse, Terse, None, Terse, Terse)) == "no_class"


# --- pre-activation ---

class PreActivation(nn.Module):
    def __init__(self, num_channels):
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(num_channels), nn.BatchNorm2d(num_channels)
        self.conv1 = nn.Conv2d(num_channels, num_channels, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(num_channels, num_channels, 3, padding="same")

    def branch(self, X):
        return self.conv2(F.relu(self.bn2(self.conv1(F.relu(self.bn1(X))))))

    def forward(self, X):
        return self.branch(X) + X


def test_preactivation_blocks():
    def modular(s, X):
        return X + nn.Sequential(s.bn1, nn.ReLU(), s.conv1, s.bn2, nn.ReLU(), s.conv2)(X)

    right = PreActivation, with_forward(PreActivation, modular)
    assert not refused(preactivation_block, right)
    answers = {code: with_forward(PreActivation, forward) for code, forward in {
        "relu_after_addition": lambda s, X: F.relu(s.branch(X) + X),
        "input_never_added": lambda s, X: s.branch(X),
        "activation_on_shortcut": lambda s, X: s.branch(X) + F.relu(s.bn1(X)),
        "original_order": lambda s, X: F.relu(s.bn2(s.conv2(F.relu(s.bn1(s.conv1(X))))) + X),
        "relu_before_norm": lambda s, X: X + s.conv2(s.bn2(F.relu(s.conv1(s.bn1(F.relu(X)))))),
        "bn1_twice": lambda s, X: X + s.conv2(F.relu(s.bn1(s.conv1(F.relu(s.bn1(X)))))),
        "no_second_relu": lambda s, X: X + s.conv2(s.bn2(s.conv1(F.relu(s.bn1(X))))),
        "no_first_relu": lambda s, X: X + s.conv2(F.relu(s.bn2(s.conv1(s.bn1(X))))),
        "wrong_output": lambda s, X: -s.branch(X),
    }.items()}
    answers |= {
        "conv1_wrong_padding": with_layers(PreActivation, conv1=lambda c: conv(c, c, padding=0)),
        "conv2_wrong_kernel_size": with_layers(PreActivation, conv2=lambda c: conv(c, c, 1, 0)),
        "bn2_wrong_num_features": with_layers(PreActivation, bn2=lambda c: nn.BatchNorm2d(2 * c)),
        "wrong_arguments": d2l.Residual,
    }
    expect_codes(preactivation_block, answers)
    message = preactivation_block(answers["wrong_output"]).message
    assert "not that of the order that exercise 2.5" in message


# --- bottleneck ---

class Neck(nn.Module):
    divisor, kernels, padding = 4, (1, 3, 1), 1

    def __init__(self, num_channels):
        super().__init__()
        width, (k1, k2, k3) = num_channels // self.divisor, self.kernels
        self.conv1, self.bn1 = conv(num_channels, width, k1, k1 // 2), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv(width, width, k2, self.padding), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = conv(width, num_channels, k3, 0), nn.BatchNorm2d(num_channels)

    def inner(self, X):
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(X))))))

    def branch(self, X):
        return self.bn3(self.conv3(self.inner(X)))

    def forward(self, X):
        return F.relu(self.branch(X) + X)


def norm_last(s, X):
    return s.bn3(s.conv3(s.bn2(F.relu(s.conv2(s.bn1(F.relu(s.conv1(X))))))))


def test_bottlenecks():
    def modular(s, X):
        return nn.ReLU()(X + nn.Sequential(s.conv1, s.bn1, nn.ReLU(), s.conv2, s.bn2, nn.ReLU(),
                                           s.conv3, s.bn3)(X))

    assert not refused(bottleneck_block, (Neck, with_forward(Neck, modular)))
    assert "70,784" in bottleneck_block(Neck).message
    answers = {code: with_forward(Neck, forward) for code, forward in {
        "no_relu_after_addition": lambda s, X: s.branch(X) + X,
        "input_never_added": lambda s, X: F.relu(s.branch(X)),
        "relu_before_addition": lambda s, X: F.relu(s.branch(X)) + X,
        "one_relu_too_many": lambda s, X: F.relu(F.relu(s.branch(X)) + X),
        "relu_before_norm": lambda s, X: F.relu(norm_last(s, X) + X),
        "norm_after_addition": lambda s, X: F.relu(s.bn3(s.conv3(s.inner(X)) + X)),
        "no_first_relu": lambda s, X: F.relu(
            s.bn3(s.conv3(F.relu(s.bn2(s.conv2(s.bn1(s.conv1(X))))))) + X),
        "no_second_relu": lambda s, X: F.relu(
            s.bn3(s.conv3(s.bn2(s.conv2(F.relu(s.bn1(s.conv1(X))))))) + X),
        "wrong_output": lambda s, X: F.relu(s.branch(X) + 2 * X),
    }.items()}
    answers |= {code: type("Mine", (Neck,), settings) for code, settings in {
        "conv1_wrong_out_channels": dict(divisor=2),
        "conv1_wrong_kernel_size": dict(kernels=(3, 3, 3)),
        "conv2_wrong_padding": dict(padding=0),
    }.items()}
    expect_codes(bottleneck_block, answers)


# --- identity initialisation ---

def zero(*names):
    @torch.no_grad()
    def make_identity(block):
        for name in names:
            block.get_parameter(name).zero_()
    return make_identity


def zero_norm(block):
    nn.init.zeros_(block.bn2.weight)
    nn.init.zeros_(block.bn2.bias)
    return block


def identity_kernels(block):
    for layer in (block.conv1, block.conv2):
        nn.init.dirac_(layer.weight)
        nn.init.zeros_(layer.bias)
    block.bn1.reset_parameters()
    block.bn2.reset_parameters()


NORMS = ("bn1.weight", "bn1.bias", "bn2.weight", "bn2.bias")
CONVS = ("conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias")


@pytest.mark.parametrize("answer, expected", [
    (zero_norm, "solved"),
    (zero("bn2.weight", "bn2.bias"), "solved"),
    (zero("bn2.weight"), "bn2_shift_not_zero"),
    (zero("bn2.bias"), "bn2_scale_not_zero"),
    (zero("conv2.weight", "conv2.bias", "bn2.bias"), "identity_in_training_only"),
    (zero(*NORMS, *CONVS), "no_gradient_to_convolutions"),
    (zero(*NORMS), "no_gradient_to_convolutions"),
    (zero("conv1.weight", "conv1.bias"), "branch_not_zero"),
    (identity_kernels, "branch_passes_input"),
    (lambda block: block, "branch_not_zero"),
    (lambda block: nn.Identity(), "returns_another_module"),
    (lambda block: zero_norm(block).requires_grad_(False), "raised"),
])
def test_identity_initialisations(answer, expected):
    assert outcome(identity_initialization(answer)) == expected


# --- questions ---

RIGHT = {"1": "c", "2": "b", "3": "a", "4": "c"}


def test_block_questions():
    for question, right in RIGHT.items():
        for letter in "abc":
            verdict = block_questions(RIGHT | {question: letter})
            expected = "solved" if letter == right else f"question_{question}_{letter}"
            assert outcome(verdict) == expected
