"""The exercises of notebook 2: right answers in several forms, and wrong ones with the mistake that must be found."""

import re

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import resnet_helpers as d2l
from resnet_helpers.check.notebook2 import (
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


def outcome(verdict):
    """The code of the mistake; "solved" or "open" if there is none."""
    return verdict.code if verdict.state == "wrong" else verdict.state


def outcomes(check, answers):
    return {name: outcome(check(answer)) for name, answer in answers.items()}


def refused(check, answers):
    """The answers that are not right, and why; what is right leaves nothing."""
    return [(answer, verdict) for answer in answers if not (verdict := check(answer)).solved]


def by_code(codes):
    """What `outcomes` must be for answers that stand under their codes."""
    return {code: code for code in codes}


JUNK = {"None": None, "number": 3, "string": "text", "module": nn.Linear(2, 2), "class": nn.Linear, "builtin": len,
        "failing function": lambda *args: 1 / 0, "list": [1, 2, 3], "empty dict": {}, "tensor": torch.zeros(3)}
JUNK_CODES = {  # check -> its code for junk, {junk: another code}
    block_shapes: ("not_five_shapes", {}),
    block_parameters: ("no_number", {"number": "too_few"}),
    residual_block: ("no_class", {"module": "object_for_class", "class": "wrong_arguments"}),
    preactivation_block: ("no_class", {"module": "object_for_class", "class": "wrong_arguments"}),
    bottleneck_block: ("no_class", {"module": "object_for_class", "class": "wrong_arguments"}),
    identity_initialization: ("no_function", dict.fromkeys(("class", "builtin", "failing function"), "raised")),
    block_questions: ("no_dict", {"empty dict": "no_answer"}),
}


def test_junk_is_wrong_and_explained():
    verdicts = {(check.__name__, name): check(answer) for check in JUNK_CODES for name, answer in JUNK.items()}
    assert {case: outcome(verdict) for case, verdict in verdicts.items()} == {
        (check.__name__, name): others.get(name, usual)
        for check, (usual, others) in JUNK_CODES.items() for name in JUNK}
    assert all(len(verdict.message) > 20 for verdict in verdicts.values())


# --- shapes ---

RIGHT_SHAPES = [after for _, after in SHAPES.values()]


def test_the_shapes_are_those_that_the_blocks_give():
    for block, (before, after) in SHAPES.items():
        assert eval(block, {"Residual": d2l.Residual})(torch.rand(before)).shape == after


def test_right_shapes():
    answers = RIGHT_SHAPES, tuple(map(list, RIGHT_SHAPES)), list(map(torch.Size, RIGHT_SHAPES))
    assert not refused(block_shapes, answers)


WRONG_SHAPES = [  # which shape, what was answered, code
    (0, (3, 6, 6), "no_batch_size"),
    (1, (4, 6, 6, 8), "channels_last"),
    (1, (4, 3, 6, 6), "wrong_channels"),
    (2, (4, 6, 6, 6), "no_stride"),
    (2, (2, 6, 3, 3), "wrong_batch_size"),
    (3, (1, 16, 3, 3), "rounded_down"),
    (3, (1, 16, 2, 2), "stride_twice"),
    (2, (4, 6, 2, 2), "rounded_or_stride_twice"),
    (4, (2, 8, 9, 6), "no_stride"),
    (4, (2, 8, 1, 9), "wrong_size"),
    (0, (4, 3), "not_four_numbers"),
    (0, "4, 3, 6, 6", "no_tuple"),
    (0, (4, 3, 6.0, 6), "no_tuple"),
    (2, ..., "no_tuple"),
]


def with_shape(index, shape):
    return [shape if i == index else right for i, right in enumerate(RIGHT_SHAPES)]


def test_wrong_shapes():
    assert [(index, shape, outcome(block_shapes(with_shape(index, shape)))) for index, shape, _ in WRONG_SHAPES] == \
        WRONG_SHAPES
    assert outcome(block_shapes(RIGHT_SHAPES[:4])) == "not_five_shapes"


def test_a_message_about_a_shape_begins_with_its_block_and_tells_the_right_numbers():
    for index, shape, _ in WRONG_SHAPES:
        assert block_shapes(with_shape(index, shape)).message.startswith(list(SHAPES)[index])
    assert "leave it: 8, not 3" in block_shapes(with_shape(1, (4, 3, 6, 6))).message
    assert "it stays 4" in block_shapes(with_shape(2, (2, 6, 3, 3))).message


# --- parameters ---

def test_right_number_of_parameters():
    answers = 230_272, 230_272.0, torch.tensor(230_272), np.int64(230_272), np.float32(230_272)
    assert not refused(block_parameters, answers)


def test_wrong_numbers_of_parameters():
    expected = {
        230_272 - 384: "no_biases",
        230_272 - 512: "no_norms",
        230_272 - 256: "half_the_norms",
        230_272 - 384 - 512: "weights_alone",
        230_272 - 8_320: "no_conv3",
        230_272 + 65_536: "conv3_is_3x3",
        230_272 + 512: "running_averages_counted",
        230_272 - 73_728: "conv2_from_64_channels",
        230_272 + 73_728: "conv1_from_128_channels",
        73_856: "conv1_alone",
        2: "too_few",  # 1 is the same key as True
        2_302_720: "too_many",
        True: "no_number", float("nan"): "too_few",
    }
    assert {answer: outcome(block_parameters(answer)) for answer in expected} == expected
    assert "2,302,720 is too many" in block_parameters(2_302_720).message
    assert "must be a number, got True" in block_parameters(True).message


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

    def branch(self, X):
        return self.bn2(self.conv2(F.relu(self.bn1(self.conv1(X)))))


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
        self.conv3 = nn.LazyConv2d(num_channels, kernel_size=1, stride=strides) if use_1x1conv else None
        self.bn1, self.bn2 = nn.LazyBatchNorm2d(), nn.LazyBatchNorm2d()


def with_forward(base, forward):
    """A class like `base` with this forward."""
    return type("Mine", (base,), {"forward": forward})


def with_layers(base, **layers):
    """A class like `base` of which some layers are made by functions of its arguments."""
    def init(self, *args, **kwargs):
        base.__init__(self, *args, **kwargs)
        for name, make in layers.items():
            setattr(self, name, make(*args, *kwargs.values()))
    return type("Mine", (base,), {"__init__": init})


def test_right_blocks():
    assert not refused(residual_block, (d2l.Residual, Modular, Terse, Keeping, Lazy))


def test_right_blocks_on_a_device_that_the_reader_has_made_the_usual_one():
    torch.set_default_device("meta")
    try:
        verdict = residual_block(Modular)
        assert torch.empty(1).is_meta
    finally:
        torch.set_default_device(None)
    assert verdict.solved, verdict


def overwrites_its_input(s, X):
    X = F.relu(s.bn1(s.conv1(X)))
    return F.relu(s.bn2(s.conv2(X)) + X)


def uses_conv3_only_where_it_must(s, X):
    Y = s.branch(X)
    return F.relu(Y + (X if X.shape == Y.shape else s.conv3(X)))


def has_conv3_on_the_branch_where_it_can(s, X):
    Y = s.branch(X)
    return F.relu(s.conv3(Y) + X) if s.conv3 is not None and X.shape == Y.shape else F.relu(Y + s.shortcut(X))


def never_trains_its_norms(s, X):
    s.bn1.eval(), s.bn2.eval()
    return Terse.forward(s, X)


WRONG_FORWARDS = {
    "no_relu_after_addition": lambda s, X: s.branch(X) + s.shortcut(X),
    "input_never_added": lambda s, X: F.relu(s.branch(X)),
    "bn2_after_addition": lambda s, X: F.relu(s.bn2(s.conv2(F.relu(s.bn1(s.conv1(X)))) + s.shortcut(X))),
    "bn2_last": lambda s, X: s.bn2(s.conv2(F.relu(s.bn1(s.conv1(X)))) + s.shortcut(X)),
    "relu_before_addition": lambda s, X: F.relu(s.branch(X)) + s.shortcut(X),
    "one_relu_too_many": lambda s, X: F.relu(F.relu(s.branch(X)) + s.shortcut(X)),
    "no_relu_between_convolutions": lambda s, X: F.relu(s.bn2(s.conv2(s.bn1(s.conv1(X)))) + s.shortcut(X)),
    "bn1_not_used": lambda s, X: F.relu(s.bn2(s.conv2(F.relu(s.conv1(X)))) + s.shortcut(X)),
    "bn2_not_used": lambda s, X: F.relu(s.conv2(F.relu(s.bn1(s.conv1(X)))) + s.shortcut(X)),
    "no_norm_used": lambda s, X: F.relu(s.conv2(F.relu(s.conv1(X))) + s.shortcut(X)),
    "bn1_twice": lambda s, X: F.relu(s.bn1(s.conv2(F.relu(s.bn1(s.conv1(X))))) + s.shortcut(X)),
    "conv1_twice": lambda s, X: F.relu(s.bn2(s.conv1(F.relu(s.bn1(s.conv1(X))))) + s.shortcut(X)),
    "relu_before_norm": lambda s, X: F.relu(s.bn2(s.conv2(s.bn1(F.relu(s.conv1(X))))) + s.shortcut(X)),
    "input_overwritten": overwrites_its_input,
    "conv3_not_used": uses_conv3_only_where_it_must,
    "conv3_on_branch": has_conv3_on_the_branch_where_it_can,
    "input_subtracted": lambda s, X: F.relu(s.branch(X) - s.shortcut(X)),
    "paths_multiplied": lambda s, X: F.relu(s.branch(X) * s.shortcut(X)),
    "returns_none": lambda s, X: print(end=""),
    "returns_no_tensor": lambda s, X: (X, X),
    "no_gradient": lambda s, X: Terse.forward(s, X).detach(),
    "gradient_incomplete": lambda s, X: F.relu(s.branch(X) + s.shortcut(X.detach().clone())),
    "changes_input": lambda s, X: Terse.forward(s, X) + 0 * X.add_(1).sum(),
    "wrong_output": lambda s, X: 2 * Terse.forward(s, X),
    "wrong_output_in_training": never_trains_its_norms,
}


def test_wrong_forwards():
    answers = {code: with_forward(Base, forward) for code, forward in WRONG_FORWARDS.items()}
    assert outcomes(residual_block, answers) == by_code(answers)
    assert "not that of the formula in section 2.1" in residual_block(answers["wrong_output"]).message


WRONG_LAYERS = {
    "conv3_is_not_1x1": dict(conv3=lambda i, o, use, s: nn.Conv2d(i, o, 3, stride=s, padding=1) if use else None),
    "conv3_not_none": dict(conv3=lambda i, o, use, s: nn.Conv2d(i, o, 1, stride=s)),
    "conv3_wrong_stride": dict(conv3=lambda i, o, use, s: nn.Conv2d(i, o, 1) if use else None),
    "conv3_wrong_channels": dict(conv3=lambda i, o, use, s: nn.Conv2d(o, o, 1, stride=s) if use else None),
    "conv3_has_padding": dict(conv3=lambda i, o, use, s: nn.Conv2d(i, o, 1, stride=s, padding=1) if use else None),
    "conv2_has_stride": dict(conv2=lambda i, o, use, s: nn.Conv2d(o, o, 3, padding=1, stride=s)),
    "conv2_wrong_in_channels": dict(conv2=lambda i, o, use, s: nn.Conv2d(i, o, 3, padding=1)),
    "conv2_wrong_out_channels": dict(conv2=lambda i, o, use, s: nn.Conv2d(o, i, 3, padding=1)),
    "conv1_wrong_in_channels": dict(conv1=lambda i, o, use, s: nn.Conv2d(o, o, 3, padding=1, stride=s)),
    "conv1_without_padding": dict(conv1=lambda i, o, use, s: nn.Conv2d(i, o, 3, stride=s)),
    "conv1_wrong_stride": dict(conv1=lambda i, o, use, s: nn.Conv2d(i, o, 3, padding=1)),
    "conv1_is_not_3x3": dict(conv1=lambda i, o, use, s: nn.Conv2d(i, o, 5, padding=2, stride=s)),
    "bn1_wrong_channels": dict(bn1=lambda i, o, use, s: nn.BatchNorm2d(i)),
    "bn2_of_wrong_type": dict(bn2=lambda i, o, use, s: nn.Identity()),
    "no_conv2": dict(conv2=lambda i, o, use, s: None),
    "no_conv3": dict(conv3=lambda i, o, use, s: None),
}


def test_wrong_layers():
    answers = {code: with_layers(Terse, **layers) for code, layers in WRONG_LAYERS.items()}
    assert outcomes(residual_block, answers) == by_code(answers)


def test_a_message_about_a_layer_tells_its_numbers_and_those_it_needs():
    def told(code):
        return residual_block(with_layers(Terse, **WRONG_LAYERS[code])).message

    assert "conv2 takes 3 channels, but conv1 gives it 6" in told("conv2_wrong_in_channels")
    assert "conv1 has stride (1, 1) for strides=2" in told("conv1_wrong_stride")
    assert "bn1 is for 3 channels, but gets 6" in told("bn1_wrong_channels")
    assert "bn2 is a Identity, where a BatchNorm2d was expected" in told("bn2_of_wrong_type")
    assert "must turn the input's 3 into the branch's 6" in told("conv3_wrong_channels")


class SharedNorm(Terse):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.bn2 = self.bn1


def test_a_layer_with_two_names():
    verdicts = residual_block(SharedNorm), broken_blocks(Terse, SharedNorm, Terse, Terse, Terse)
    assert [outcome(verdict) for verdict in verdicts] == ["shared_layer"] * 2
    assert "bn1 and bn2 are one and the same layer" in verdicts[0].message
    assert "Block B is not: bn1 and bn2 are one" in verdicts[1].message


class OtherNames(Terse):
    def __init__(self, channels_in, channels_out):
        super().__init__(channels_in, channels_out)


class NoSuper(Terse):
    def __init__(self, input_channels, num_channels, use_1x1conv=False, strides=1):
        self.conv1 = nn.Conv2d(input_channels, num_channels, 3)


class NoDefaults(Terse):
    def __init__(self, input_channels, num_channels, use_1x1conv, strides):
        super().__init__(input_channels, num_channels, use_1x1conv, strides)


class NoKernel(Terse):
    def __init__(self, input_channels, num_channels, use_1x1conv=False, strides=1):
        super().__init__(input_channels, num_channels, use_1x1conv, strides)
        self.conv1 = nn.Conv2d(input_channels, num_channels)


class NoInit(nn.Module):
    def forward(self, X):
        return X


class NoAttribute(Terse):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        del self.conv3


def test_wrong_classes():
    expected = {OtherNames: "wrong_arguments", NoDefaults: "wrong_arguments", NoKernel: "raised", NoInit: "no_init",
                NoSuper: "no_super_init", NoAttribute: "conv3_undefined", Terse(3, 3): "object_for_class"}
    assert {answer: outcome(residual_block(answer)) for answer in expected} == expected


def test_a_message_about_a_class_tells_how_it_is_called_and_the_line_that_fails():
    for answer in (OtherNames, NoDefaults):
        assert "since the arguments of __init__ are" in residual_block(answer).message
    assert "NoDefaults(3, 3) must be possible" in residual_block(NoDefaults).message
    assert re.search(r"Conv2d.*'kernel_size'\nin __init__, line .*nn.Conv2d", residual_block(NoKernel).message)
    assert "the class itself, not an object of it: pass Terse" in residual_block(Terse(3, 3)).message


# --- the five broken blocks ---

def adds_in_place(s, X):
    Y = s.branch(X)
    if s.conv3 is not None:
        return F.relu(Y + s.conv3(X))
    X += Y
    return F.relu(X)


BROKEN = {letter: with_forward(Base, forward) for letter, forward in {
    "A": WRONG_FORWARDS["bn2_after_addition"],
    "B": WRONG_FORWARDS["bn1_twice"],
    "C": lambda s, X: F.relu(s.branch(X) + X),
    "D": overwrites_its_input,
    "E": adds_in_place,
}.items()}


def test_untouched_they_are_open():
    verdict = broken_blocks(**BROKEN)
    assert verdict.state == "open" and "all five are still broken" in verdict.message


def test_mended_they_are_solved():
    assert not refused(lambda good: broken_blocks(good, good, good, good, good), (Modular, Terse, Inheriting))


def test_the_one_that_is_left_is_named_with_its_reason():
    mended = dict.fromkeys("ABCDE", Inheriting)
    verdicts = {letter: broken_blocks(**mended | {letter: block}) for letter, block in BROKEN.items()}
    assert {letter: outcome(verdict) for letter, verdict in verdicts.items()} == {
        "A": "bn2_after_addition", "B": "bn1_twice", "C": "raised", "D": "input_overwritten", "E": "changes_input"}
    for letter, verdict in verdicts.items():
        assert f"4 of 5 mended. Block {letter} is not: " in verdict.message
    assert "it fails with RuntimeError" in verdicts["C"].message


def test_something_else_than_a_class_among_them():
    assert outcome(broken_blocks(Terse, Terse, None, Terse, Terse)) == "no_class"
    assert outcome(broken_blocks(Terse)) == "wrong_number_of_answers"


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


WRONG_PREACTIVATION = {
    "relu_after_addition": lambda s, X: F.relu(s.branch(X) + X),
    "input_never_added": lambda s, X: s.branch(X),
    "activation_on_shortcut": lambda s, X: s.branch(X) + F.relu(s.bn1(X)),
    "original_order": lambda s, X: F.relu(s.bn2(s.conv2(F.relu(s.bn1(s.conv1(X))))) + X),
    "convolution_first": lambda s, X: F.relu(s.bn2(s.conv2(F.relu(s.bn1(s.conv1(X)))))) + X,
    "relu_before_norm": lambda s, X: X + s.conv2(s.bn2(F.relu(s.conv1(s.bn1(F.relu(X)))))),
    "no_bn1_and_relu": lambda s, X: X + s.conv2(F.relu(s.bn2(s.conv1(X)))),
    "bn1_twice": lambda s, X: X + s.conv2(F.relu(s.bn1(s.conv1(F.relu(s.bn1(X)))))),
    "no_relus": lambda s, X: X + s.conv2(s.bn2(s.conv1(s.bn1(X)))),
    "no_second_relu": lambda s, X: X + s.conv2(s.bn2(s.conv1(F.relu(s.bn1(X))))),
    "no_first_relu": lambda s, X: X + s.conv2(F.relu(s.bn2(s.conv1(s.bn1(X))))),
    "wrong_output": lambda s, X: -s.branch(X),
    "gradient_incomplete": lambda s, X: s.branch(X) + X.detach(),
}


def test_right_preactivation_blocks():
    def modular(s, X):
        return X + nn.Sequential(s.bn1, nn.ReLU(), s.conv1, s.bn2, nn.ReLU(), s.conv2)(X)

    assert not refused(preactivation_block, (PreActivation, with_forward(PreActivation, modular)))


def test_wrong_preactivation_blocks():
    answers = {code: with_forward(PreActivation, forward) for code, forward in WRONG_PREACTIVATION.items()}
    answers |= {
        "conv1_without_padding": with_layers(PreActivation, conv1=lambda c: nn.Conv2d(c, c, 3)),
        "wrong_conv2": with_layers(PreActivation, conv2=lambda c: nn.Conv2d(c, c, 1)),
        "bn2_wrong_channels": with_layers(PreActivation, bn2=lambda c: nn.BatchNorm2d(2 * c)),
        "wrong_arguments": d2l.Residual,
    }
    assert outcomes(preactivation_block, answers) == by_code(answers)
    assert "not that of the order that exercise 2.5" in preactivation_block(answers["wrong_output"]).message
    assert "bn2 is for 6 channels, but gets 3." in preactivation_block(answers["bn2_wrong_channels"]).message
    assert "Residual(3) must be possible" in preactivation_block(d2l.Residual).message


# --- bottleneck ---

class Neck(nn.Module):
    divisor, kernels, padding = 4, (1, 3, 1), 1

    def __init__(self, num_channels):
        super().__init__()
        width = num_channels // self.divisor
        self.conv1 = nn.Conv2d(num_channels, width, self.kernels[0], padding=self.kernels[0] // 2)
        self.conv2 = nn.Conv2d(width, width, self.kernels[1], padding=self.padding)
        self.conv3 = nn.Conv2d(width, num_channels, self.kernels[2], padding=self.kernels[2] // 2)
        self.bn1, self.bn2, self.bn3 = (nn.BatchNorm2d(c) for c in (width, width, num_channels))

    def branch(self, X):
        return self.bn3(self.conv3(F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(X))))))))

    def forward(self, X):
        return F.relu(self.branch(X) + X)


WRONG_NECKS = {
    "no_relu_after_addition": lambda s, X: s.branch(X) + X,
    "input_never_added": lambda s, X: F.relu(s.branch(X)),
    "relu_before_addition": lambda s, X: F.relu(s.branch(X)) + X,
    "one_relu_too_many": lambda s, X: F.relu(F.relu(s.branch(X)) + X),
    "relu_before_norm": lambda s, X: F.relu(s.bn3(s.conv3(s.bn2(F.relu(s.conv2(s.bn1(F.relu(s.conv1(X)))))))) + X),
    "wrong_output": lambda s, X: F.relu(s.branch(X) + 2 * X),
    "bn3_after_addition":
        lambda s, X: F.relu(s.bn3(s.conv3(F.relu(s.bn2(s.conv2(F.relu(s.bn1(s.conv1(X))))))) + X)),
    "no_relu_after_bn1": lambda s, X: F.relu(s.bn3(s.conv3(F.relu(s.bn2(s.conv2(s.bn1(s.conv1(X))))))) + X),
    "no_relu_after_bn2": lambda s, X: F.relu(s.bn3(s.conv3(s.bn2(s.conv2(F.relu(s.bn1(s.conv1(X))))))) + X),
    "no_inner_relus": lambda s, X: F.relu(s.bn3(s.conv3(s.bn2(s.conv2(s.bn1(s.conv1(X)))))) + X),
    "bn3_not_used": lambda s, X: F.relu(s.conv3(F.relu(s.bn2(s.conv2(F.relu(s.bn1(s.conv1(X))))))) + X),
    "no_norm_used": lambda s, X: F.relu(s.conv3(F.relu(s.conv2(F.relu(s.conv1(X))))) + X),
}


def test_right_bottlenecks():
    def modular(s, X):
        return nn.ReLU()(
            X + nn.Sequential(s.conv1, s.bn1, nn.ReLU(), s.conv2, s.bn2, nn.ReLU(), s.conv3, s.bn3)(X))

    assert not refused(bottleneck_block, (Neck, with_forward(Neck, modular)))
    assert "70,784" in bottleneck_block(Neck).message


def test_wrong_bottlenecks():
    answers = {code: with_forward(Neck, forward) for code, forward in WRONG_NECKS.items()}
    answers |= {code: type("Mine", (Neck,), settings) for code, settings in {
        "conv1_wrong_channels": dict(divisor=2),
        "conv1_wrong_kernel": dict(kernels=(3, 3, 3)),
        "conv2_wrong_kernel": dict(kernels=(1, 1, 1), padding=0),
        "conv2_without_padding": dict(padding=0),
    }.items()}
    answers["bn1_wrong_channels"] = with_layers(Neck, bn1=nn.BatchNorm2d)
    assert outcomes(bottleneck_block, answers) == by_code(answers)
    assert "not that of the block in exercise 2.6" in bottleneck_block(answers["wrong_output"]).message
    assert "a quarter of the 8 channels in the middle" in bottleneck_block(answers["conv1_wrong_channels"]).message
    assert "bn1 is for 8 channels, but gets 2." in bottleneck_block(answers["bn1_wrong_channels"]).message


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


def huge_running_variance(block):
    nn.init.zeros_(block.bn2.bias)
    block.bn2.running_var.fill_(1e30)


def large_negative_shift(block):
    nn.init.constant_(block.bn2.bias, -1e6)


EVERYTHING = [f"{layer}.{kind}" for layer in ("conv1", "bn1", "conv2", "bn2") for kind in ("weight", "bias")]


def test_right_identity_initialisations():
    def with_data(block):
        return block.bn2.weight.data.fill_(0), block.bn2.bias.data.fill_(0)

    assert not refused(identity_initialization, (with_init, zero("bn2.weight", "bn2.bias"), with_data))


WRONG_INITIALISATIONS = {
    "scale alone": (zero("bn2.weight"), "bn2_shift_not_zero"),
    "shift alone": (zero("bn2.bias"), "bn2_scale_not_zero"),
    "last convolution": (zero("conv2.weight", "conv2.bias", "bn2.bias"), "identity_in_training_only"),
    "huge running variance": (huge_running_variance, "identity_in_eval_only"),
    "everything": (zero(*EVERYTHING), "no_gradient_to_convolutions"),
    "both norms": (zero("bn1.weight", "bn1.bias", "bn2.weight", "bn2.bias"), "no_gradient_to_convolutions"),
    "first convolution": (zero("conv1.weight", "conv1.bias"), "branch_not_zero"),
    "identity kernels": (identity_kernels, "branch_passes_input"),
    "large negative shift": (large_negative_shift, "shortcut_vanishes"),
    "frozen": (frozen, "parameters_frozen"),
    "nothing": (lambda block: block, "branch_not_zero"),
    "another module": (lambda block: nn.Identity(), "returns_another_module"),
    "a block": (d2l.Residual(3, 3), "no_function"),
    "a layer that is not there": (lambda block: block.bn3, "raised"),
}


def test_wrong_identity_initialisations():
    answers = {name: answer for name, (answer, _) in WRONG_INITIALISATIONS.items()}
    assert outcomes(identity_initialization, answers) == {name: c for name, (_, c) in WRONG_INITIALISATIONS.items()}
    assert "AttributeError" in identity_initialization(answers["a layer that is not there"]).message


# --- questions ---

RIGHT = {question: letter for question, (letter, _) in QUESTIONS.items()}


def test_right_answers_to_the_questions():
    assert block_questions(RIGHT).solved and block_questions({q: a.upper() for q, a in RIGHT.items()}).solved


def test_every_wrong_letter_is_explained():
    wrong = {f"question_{question}_{letter}": RIGHT | {question: letter}
             for question, (right, why) in QUESTIONS.items() for letter in why if letter != right}
    assert outcomes(block_questions, wrong) == by_code(wrong)
