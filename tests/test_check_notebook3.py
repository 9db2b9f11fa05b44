"""The exercises of notebook 3: right answers of several kinds are accepted, each mistake is named as what it is.

A mistake is told by its code. Beside it stand what its message says about this very answer: the layer, the numbers.
"""

import copy
import functools
import inspect
import itertools

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

import resnet_helpers as d2l
from resnet_helpers import costs
from resnet_helpers.check import notebook3 as checks
from resnet_helpers.check.verdicts import EXERCISES
from resnet_helpers.models import Bottleneck, PlainBlock, Residual, resnet_block


def expect(verdict, state, *parts):
    assert verdict.state == state and all(part in verdict.message for part in parts), verdict


def failure(verdict, code, *parts):
    """What is not as expected if a wrong answer should get this code and a message with these parts; "" if all is."""
    as_expected = (verdict.state, verdict.code) == ("wrong", code) and all(part in verdict.message for part in parts)
    return "" if as_expected else f"expected {code!r} {parts}, got {verdict.code!r} {verdict}"


def expect_none(failures):
    """All of {name: what is not as expected, or ""} are shown at once."""
    lines = [f"{name}: {text}" for name, text in failures.items() if text]
    assert not lines, "\n".join(lines)


def raises(*_):
    raise LookupError("nothing here")


CHECKS = (checks.model_shapes, checks.model_parameters, checks.resnet34_and_50, checks.small_stem,
          checks.model_questions)
JUNK = {  # what is no answer at all, and the codes that the five checks have for it
    "None": (None, "no_list_of_shapes", "no_number", "no_function", "network_is_none", "no_dict"),
    "a string": ("all of them", "no_list_of_shapes", "no_number", "no_function", "no_network", "no_dict"),
    "a class": (nn.Linear, "no_list_of_shapes", "no_number", "takes_arguments", "network_is_class", "no_dict"),
    "a list": ([None], "no_list_of_shapes", "no_number", "no_function", "network_is_list", "no_dict"),
    "an object": (object(), "no_list_of_shapes", "no_number", "no_function", "no_network", "no_dict"),
    "nan": (float("nan"), "no_list_of_shapes", "too_few", "no_function", "no_network", "no_dict"),
    "a function that raises": (raises, "no_list_of_shapes", "no_number", "raised", "function_for_network", "no_dict"),
}


def test_junk_is_wrong():
    expect_none({f"{check.__name__}, {name}": failure(check(*[junk] * len(inspect.signature(check).parameters)), code)
                 for name, (junk, *codes) in JUNK.items() for check, code in zip(CHECKS, codes, strict=True)})


def test_there_are_hints():
    hints = {check.__name__: EXERCISES[check.__name__].hints for check in CHECKS}
    assert {name: texts for name, texts in hints.items() if not (2 <= len(texts) <= 3 and all(texts))} == {}


# --- model_shapes ---

SHAPES = [(1, 64, 24, 24), (1, 64, 24, 24), (1, 128, 12, 12), (1, 256, 6, 6), (1, 512, 3, 3), (1, 512, 1, 1), (1, 512),
          (1, 10)]


def test_the_shapes_are_those_of_a_run():
    net, X, shapes = d2l.resnet18(), torch.rand(1, 1, 96, 96), []
    net.eval()
    for layer in net:
        X = layer(X)
        shapes.append(X.shape)
    assert [tuple(shape) for shape in shapes] == SHAPES
    expect(checks.model_shapes(shapes), "solved")  # torch.Size


def test_model_shapes_accepts():
    answers = {"list of tuples": SHAPES, "tuple of lists": tuple(map(list, SHAPES)),
               "dict": dict(reversed([*zip(checks.LAYERS, SHAPES, strict=True)]))}
    verdicts = {name: checks.model_shapes(answer) for name, answer in answers.items()}
    assert {name: verdict for name, verdict in verdicts.items() if not verdict.solved} == {}
    assert "24, 12, 6, 3" in verdicts["dict"].message


def changed(i, shape):
    return [*SHAPES[:i], shape, *SHAPES[i + 1:]]


def with_sizes(*sizes):
    return [(*shape[:2], n, n) for shape, n in zip(SHAPES, sizes, strict=False)] + SHAPES[5:]


WRONG_SHAPES = {
    "for 224 pixels": (with_sizes(56, 56, 28, 14, 7), "for_224_pixels"),
    "no pooling in the stem": (with_sizes(48, 48, 24, 12, 6), "stem_halves_once"),
    "no stem": (with_sizes(96, 96, 48, 24, 12), "no_stem"),
    "b2 halves": (with_sizes(24, 12, 6, 3, 2), "b2_halves"),
    "no padding": (with_sizes(22, 22, 11, 6, 3), "no_padding"),
    "stem wrong": (with_sizes(32, 32, 16, 8, 4), "stem_size", "b1: 32 x 32"),
    "b2 halves alone": (changed(1, (1, 64, 12, 12)), "b2_changes_size", "b2:"),
    "b3 keeps the size": (with_sizes(24, 24, 24, 12, 6), "module_keeps_size", "b3:", "24", "12"),
    "b5 keeps the size": (changed(4, (1, 512, 6, 6)), "module_keeps_size", "b5:"),
    "b3 halves twice": (changed(2, (1, 128, 6, 6)), "module_halves_twice", "b3:"),
    "b4 rounded": (changed(3, (1, 256, 5, 5)), "module_size", "b4: 5 x 5", "12 x 12"),
    "channels last": ([(1, 24, 24, 64), *SHAPES[1:]], "channels_last", "b1:"),
    "channels last in b4": (changed(3, (1, 6, 6, 256)), "channels_last", "b4:"),
    "no batch": ([shape[1:] for shape in SHAPES], "no_batch_size", "b1:"),
    "no batch at the end": (changed(7, (10,)), "no_batch_size", "linear:"),
    "another batch": (changed(0, (256, 64, 24, 24)), "changed_batch_size", "b1:"),
    "two numbers": (changed(2, (12, 12)), "no_four_numbers", "b3:"),
    "not doubled": (changed(2, (1, 64, 12, 12)), "channels_not_doubled", "b3:"),
    "doubled in b2": (changed(1, (1, 128, 24, 24)), "module_channels", "b2: 128"),
    "one channel in b1": (changed(0, (1, 1, 24, 24)), "stem_channels", "b1:", "64", "not 1;"),
    "not pooled": (changed(5, (1, 512, 3, 3)), "not_pooled", "pooling:"),
    "pooled and flattened": (changed(5, (1, 512)), "pooled_and_flattened", "pooling:"),
    "pooled to one number": (changed(5, (1, 1, 1, 1)), "pooled_channels", "pooling:"),
    "pooled in part": (changed(5, (1, 512, 2, 2)), "pooled_in_part", "pooling:"),
    "not flattened": (changed(6, (1, 512, 1, 1)), "not_flattened", "flatten:"),
    "flattened before the pooling": (changed(6, (1, 4608)), "flattened_without_pooling", "flatten:", "512"),
    "flattened otherwise": (changed(6, (1, 256)), "flattened_to_other_number", "flatten:"),
    "no linear layer": (changed(7, (1, 512)), "number_of_scores", "linear:", "512"),
    "ImageNet's classes": (changed(7, (1, 1000)), "number_of_scores", "linear:", "512"),
    "maps of scores": (changed(7, (1, 10, 1, 1)), "no_row_of_scores", "linear:"),
    "seven": (SHAPES[1:], "no_list_of_shapes", "8"),
    "one": ((1, 64, 24, 24), "no_list_of_shapes", "8"),
    "a number": (changed(7, 10), "no_shape", "linear:"),
    "floats": (changed(1, (1, 64, 24.0, 24.0)), "no_shape", "b2:"),
    "text": (changed(0, "(1, 64, 24, 24)"), "no_shape", "b1:"),
    "a dict of fewer": ({"b1": SHAPES[0]}, "no_answer", "b2"),
    "one left blank": (changed(4, ...), "no_answer", "b5"),
    "blank within": (changed(4, (1, ..., 3, 3)), "no_shape", "b5:"),
}


def test_model_shapes_names_the_mistake():
    expect_none({name: failure(checks.model_shapes(answer), *expected)
                 for name, (answer, *expected) in WRONG_SHAPES.items()})


def test_model_shapes_says_what_becomes_of_the_pixels():
    message = checks.model_shapes(WRONG_SHAPES["b3 keeps the size"][0]).message
    assert message == "b3: its first block has a stride of 2, so the 24 pixels become 12."


def test_model_shapes_open():
    expect(checks.model_shapes([...] * 8), "open")
    expect(checks.model_shapes(...), "open")


# --- model_parameters ---

B3 = 525_952


def test_b3_by_hand():
    first = (64 * 128 * 9 + 128) + (128 * 128 * 9 + 128) + (64 * 128 + 128) + 2 * 256
    second = 2 * (128 * 128 * 9 + 128) + 2 * 256
    assert first + second == B3 == d2l.count_parameters(d2l.resnet18()[2])


def test_model_parameters_accepts():
    answers = [B3, float(B3), torch.tensor(B3), 230_272 + 295_680]
    verdicts = {repr(answer): checks.model_parameters(answer) for answer in answers}
    assert {name: verdict for name, verdict in verdicts.items() if not verdict.solved} == {}
    expect(verdicts[str(B3)], "solved", "230,272", "8,320", "295,680")


with torch.device("meta"):  # without numbers, which are not counted
    NET18, LAYER2 = d2l.resnet18(), torchvision.models.resnet18().layer2
WRONG_COUNTS = {
    "no biases": (B3 - 640, "no_biases"),
    "no bias on the shortcut": (B3 - 128, "no_bias_on_shortcut"),
    "no norms": (B3 - 1024, "no_norms"),
    "one norm a block": (B3 - 512, "half_the_norms"),
    "running averages": (sum(t.numel() for n, t in NET18[2].state_dict().items() if "num" not in n),
                         "running_averages"),
    "state_dict": (sum(t.numel() for t in NET18[2].state_dict().values()), "state_dict"),
    "norm on the shortcut": (B3 + 256, "norm_on_shortcut"),
    "no shortcut": (B3 - 8320, "no_shortcut"),
    "3x3 on the shortcut": (B3 + 8 * 8192, "shortcut_3x3"),
    "both with 1x1": (B3 + 8320, "two_shortcuts"),
    "both with 1x1, 128": (B3 + 128 * 128 + 128, "two_shortcuts"),
    "128 at the start": (B3 + 64 * 128 * 9, "no_conv_gets_64"),
    "64 in the second": (B3 - 64 * 128 * 9, "two_convs_get_64"),
    "64 in three": (B3 - 2 * 64 * 128 * 9, "three_convs_get_64"),
    "64 everywhere": (B3 - 3 * 64 * 128 * 9, "four_convs_get_64"),
    "one block": (230_272, "first_block_alone"),
    "the other block": (295_680, "second_block_alone"),
    "twice the first": (2 * 230_272, "first_block_twice"),
    "twice the second": (2 * 295_680, "second_block_twice"),
    "b2": (d2l.count_parameters(NET18[1]), "count_of_b2"),
    "b4": (d2l.count_parameters(NET18[3]), "count_of_b4"),
    "b5": (d2l.count_parameters(NET18[4]), "count_of_b5"),
    "all": (11_178_378, "count_of_network"),
    "torchvision": (d2l.count_parameters(LAYER2), "torchvision"),
    "weights": (B3 - 640 - 1024, "weights_alone"),
    "3x3 weights": (64 * 128 * 9 + 3 * 128 * 128 * 9, "branch_weights_alone"),
    "3 for 3x3": (B3 - (64 * 128 + 3 * 128 * 128) * 6, "kernels_of_3_weights"),
    "1 for 3x3": (B3 - (64 * 128 + 3 * 128 * 128) * 8, "kernels_1x1"),
    "no biases, no shortcut": (B3 - 8192 - 640, "no_biases+no_shortcut"),
    "two at once": (B3 - 8320 - 1024, "no_norms+no_shortcut"),
    "another two": (B3 - 512 + 8 * 8192, "half_the_norms+shortcut_3x3"),
    "too few": (1000, "too_few", "1,000"),
    "too many": (99_999_999, "too_many", "99,999,999"),
    "negative": (-B3, "too_few"),
    "true": (True, "no_number"),
    "text": ("525,952", "no_number"),
    "a shape": ((128, 64, 3, 3), "no_number"),
    "two numbers": (torch.tensor([230_272, 295_680]), "no_number"),
}


def test_model_parameters_names_the_mistake():
    expect_none({name: failure(checks.model_parameters(answer), *expected)
                 for name, (answer, *expected) in WRONG_COUNTS.items()})


def test_model_parameters_tells_of_two_mistakes_at_once():
    message = checks.model_parameters(B3 - 8320 - 1024).message
    assert message == ("two things: the batch norms are missing: each block has two, with a scale and a shift per "
                       "channel. And: the 1x1 convolution on the shortcut of the first block is missing.")


def test_each_misstep_has_a_count_of_its_own():
    """Otherwise a reader would be told about a mistake that is another's."""
    changes = [change for _, change, *_ in checks.MISSTEPS]
    assert len(set(changes)) == len(changes) and 0 not in changes
    pairs = [a[1] + b[1] for a, b in itertools.combinations(checks.MISSTEPS, 2) if a[0] != b[0]]
    assert 0 not in pairs and not set(pairs) & set(changes)
    assert len(set(pairs)) == len(pairs)


def test_model_parameters_open():
    expect(checks.model_parameters(...), "open")


# --- resnet34_and_50 ---

def stem(in_channels=1, kernel_size=7, stride=2, padding=3, channels=64, pool=None):
    return nn.Sequential(nn.Conv2d(in_channels, channels, kernel_size, stride, padding), nn.BatchNorm2d(channels),
                         nn.ReLU(), nn.MaxPool2d(3, 2, 1) if pool is None else pool)


def head(channels, classes=10):
    return nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.Linear(channels, classes)


def modules(block=Residual, counts=(3, 4, 6, 3), channels=None, firsts=(True, False, False, False)):
    channels = channels or ((64, 256, 512, 1024, 2048) if block is Bottleneck else (64, 64, 128, 256, 512))
    return [nn.Sequential(*resnet_block(a, b, n, first_block=first, block=block))
            for a, b, n, first in zip(channels, channels[1:], counts, firsts, strict=False)]


shared_modules = functools.cache(modules)  # they take time to build, and a check leaves them as they are


def net34(b1=None, end=None, **of_modules):
    """A ResNet-34, by default with the shared modules: not to be changed."""
    return nn.Sequential(b1 or stem(), *(modules(**of_modules) if of_modules else shared_modules()),
                         *(end or head(512)))


def net50(b1=None, end=None, **of_modules):
    """A ResNet-50, by default with the shared modules: not to be changed."""
    body = modules(**{"block": Bottleneck} | of_modules) if of_modules else shared_modules(Bottleneck)
    return nn.Sequential(b1 or stem(), *body, *(end or head(2048)))


class Lambda(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, X):
        return self.function(X)


class ReadersBlock(nn.Module):
    """A block as in notebook 2, of the reader's own class."""

    def __init__(self, input_channels, num_channels, use_1x1conv=False, strides=1):
        super().__init__()
        self.conv1 = nn.Conv2d(input_channels, num_channels, kernel_size=3, padding=1, stride=strides)
        self.conv2 = nn.Conv2d(num_channels, num_channels, kernel_size=3, padding=1)
        self.conv3 = nn.Conv2d(input_channels, num_channels, kernel_size=1, stride=strides) if use_1x1conv else None
        self.bn1, self.bn2 = nn.BatchNorm2d(num_channels), nn.BatchNorm2d(num_channels)

    def forward(self, X):
        Y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(X)))))
        return F.relu(Y + (X if self.conv3 is None else self.conv3(X)))


class NoReLU(ReadersBlock):
    def forward(self, X):
        return self.bn2(self.conv2(F.relu(self.bn1(self.conv1(X))))) + (X if self.conv3 is None else self.conv3(X))


class InPlace(ReadersBlock):
    """Right, but for writing into what it gets."""

    def forward(self, X):
        Y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(X)))))
        X = X if self.conv3 is None else self.conv3(X)
        return F.relu(Y.add_(X))


class NoBias(ReadersBlock):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.conv1.bias = self.conv2.bias = None


class Articles(ReadersBlock):
    def __init__(self, input_channels, num_channels, use_1x1conv=False, strides=1):
        super().__init__(input_channels, num_channels, use_1x1conv, strides)
        if use_1x1conv:
            self.conv3 = nn.Conv2d(input_channels, num_channels, kernel_size=3, padding=1, stride=strides)


class NormOnShortcut(ReadersBlock):
    def __init__(self, input_channels, num_channels, use_1x1conv=False, strides=1):
        super().__init__(input_channels, num_channels, use_1x1conv, strides)
        if use_1x1conv:
            self.conv3 = nn.Sequential(self.conv3, nn.BatchNorm2d(num_channels))


class NoSecondNorm(ReadersBlock):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.bn2 = nn.Identity()


class Always1x1(ReadersBlock):
    def __init__(self, input_channels, num_channels, use_1x1conv=False, strides=1):
        super().__init__(input_channels, num_channels, True, strides)


class Branch(nn.Module):
    """A right block of other names: the layers of the branch in a Sequential, the shortcut first."""

    def __init__(self, input_channels, num_channels, use_1x1conv=False, strides=1):
        super().__init__()
        self.shortcut = nn.Conv2d(input_channels, num_channels, 1, strides) if use_1x1conv else nn.Identity()
        self.branch = nn.Sequential(
            nn.Conv2d(input_channels, num_channels, 3, strides, 1), nn.BatchNorm2d(num_channels), nn.ReLU(),
            nn.Conv2d(num_channels, num_channels, 3, 1, 1), nn.BatchNorm2d(num_channels))

    def forward(self, X):
        return F.relu(self.branch(X) + self.shortcut(X))


class OwnBranch(nn.Module):
    """A right block whose branch is a module of its own class."""

    def __init__(self, input_channels, num_channels, use_1x1conv=False, strides=1):
        super().__init__()
        self.branch = ConvNormTwice(input_channels, num_channels, strides)
        self.shortcut = nn.Conv2d(input_channels, num_channels, 1, strides) if use_1x1conv else nn.Identity()

    def forward(self, X):
        return F.relu(self.branch(X) + self.shortcut(X))


class ConvNormTwice(nn.Module):
    def __init__(self, input_channels, num_channels, strides):
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(input_channels, num_channels, 3, strides, 1),
                                    nn.Conv2d(num_channels, num_channels, 3, padding="same")])
        self.norms = nn.ModuleList([nn.BatchNorm2d(num_channels) for _ in range(2)])

    def forward(self, X):
        return self.norms[1](self.convs[1](F.relu(self.norms[0](self.convs[0](X)))))


class Stage(nn.Module):
    """A module of blocks that is of a class of its own, with an attribute for each block."""

    def __init__(self, blocks):
        super().__init__()
        for i, block in enumerate(blocks):
            setattr(self, f"block{i}", block)

    def forward(self, X):
        for block in self.children():
            X = block(X)
        return X


class LateStride(ReadersBlock):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.conv1.stride, self.conv2.stride = self.conv2.stride, self.conv1.stride


class Dilated(ReadersBlock):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.conv2.padding = self.conv2.dilation = (2, 2)


class CutShortcut(ReadersBlock):
    def forward(self, X):
        S = X.detach() if self.conv3 is None else self.conv3(X)
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(X))))) + S)


class NoAddition(Branch):
    def forward(self, X):
        return F.relu(self.branch(X))


class ReadersBottleneck(nn.Module):
    """A right bottleneck of other names in another order, all of its 1x1 convolutions in one list."""

    def __init__(self, input_channels, num_channels, use_1x1conv=False, strides=1):
        super().__init__()
        width = num_channels // 4
        self.last, self.middle, self.first = (nn.BatchNorm2d(n) for n in (num_channels, width, width))
        shortcut = [nn.Conv2d(input_channels, num_channels, 1, strides)] if use_1x1conv else []
        self.ones = nn.ModuleList([*shortcut, nn.Conv2d(width, num_channels, 1), nn.Conv2d(input_channels, width, 1)])
        self.conv3x3 = nn.Conv2d(width, width, 3, strides, 1)

    def forward(self, X):
        Y = F.relu(self.first(self.ones[-1](X)))
        Y = self.last(self.ones[-2](F.relu(self.middle(self.conv3x3(Y)))))
        return F.relu(Y + (self.ones[0](X) if len(self.ones) == 3 else X))


class EarlyStride(ReadersBottleneck):
    """With the stride in the first convolution, as in the paper."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.ones[-1].stride, self.conv3x3.stride = self.conv3x3.stride, self.ones[-1].stride


class NoMiddleReLU(ReadersBottleneck):
    def forward(self, X):
        Y = F.relu(self.first(self.ones[-1](X)))
        Y = self.last(self.ones[-2](self.middle(self.conv3x3(Y))))
        return F.relu(Y + (self.ones[0](X) if len(self.ones) == 3 else X))


WIDE = (64, 256, 512, 1024, 2048)


class ResNetClass(nn.Module):
    """Parts in a ModuleList, pooling and flattening by hand."""

    def __init__(self, block=Residual):
        super().__init__()
        self.fc = nn.Linear(2048 if block is Bottleneck else 512, 10)
        self.modules_ = nn.ModuleList(shared_modules(block))
        self.conv, self.bn = nn.Conv2d(1, 64, (7, 7), stride=2, padding=3), nn.BatchNorm2d(64)

    def forward(self, X):
        X = F.max_pool2d(F.relu(self.bn(self.conv(X))), 3, stride=2, padding=1)
        for module in self.modules_:
            X = module(X)
        return self.fc(X.mean((2, 3)))


class Bottleneck50(ResNetClass):
    def __init__(self):
        super().__init__(Bottleneck)


class Subclassed(nn.Sequential):
    def __init__(self):
        super().__init__(*net34())


def flat34():
    return nn.Sequential(*stem(), *itertools.chain(*shared_modules()), *head(512))


def lambdas34():
    b1 = stem()
    b1[2], b1[3] = nn.ReLU(inplace=True), Lambda(lambda X: F.max_pool2d(X, 3, 2, 1))
    return net34(b1, (Lambda(lambda X: X.mean(dim=[-1, -2])), nn.Linear(512, 10)))


def without_stem_bias34():
    net = net34()
    net[0][0].bias = None
    return net


def other_end34():
    flatten = Lambda(lambda X: X.flatten(1))
    return net34(end=(nn.AdaptiveAvgPool2d(1), flatten, nn.Linear(in_features=512, out_features=10)))


def lazy34():
    b1 = nn.Sequential(nn.LazyConv2d(64, kernel_size=7, stride=2, padding=3), nn.LazyBatchNorm2d(), nn.ReLU(),
                       nn.MaxPool2d(kernel_size=3, stride=2, padding=1))
    return net34(b1, (nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.LazyLinear(10)))


@pytest.fixture(scope="module")
def right34():
    return net34()


@pytest.fixture(scope="module")
def right50():
    return net50()


RIGHT34 = {
    "Sequential": net34,
    "the package's": d2l.resnet34,
    "a class": ResNetClass,
    "a subclass of Sequential": Subclassed,
    "flat": flat34,
    "with functions": lambdas34,
    "stem without bias": without_stem_bias34,
    "another end": other_end34,
    "own block": lambda: net34(block=ReadersBlock),
    "in place": lambda: net34(block=InPlace),
    "own block of other names": lambda: net34(block=Branch),
    "own branch": lambda: net34(block=OwnBranch),
    "own modules": lambda: nn.Sequential(stem(), *map(Stage, shared_modules()), *head(512)),
    "eval mode": lambda: copy.deepcopy(net34()).eval(),
    "float64": lambda: copy.deepcopy(net34()).double(),
    "lazy layers": lazy34,
}
RIGHT50 = {
    "Sequential": net50,
    "own block": lambda: net50(block=ReadersBottleneck, channels=WIDE),
    "stride in the first convolution": lambda: net50(block=EarlyStride, channels=WIDE),
    "the package's": lambda: d2l.resnet50(num_classes=10),
    "a class": Bottleneck50,
    "in two parts": lambda: nn.Sequential(nn.Sequential(stem(), *shared_modules(Bottleneck)),
                                          nn.Sequential(*head(2048))),
}


@pytest.mark.parametrize("name", RIGHT34)
def test_resnet34_accepts(name):
    verdict = checks.resnet34_and_50(RIGHT34[name], ...)
    expect(verdict, "open", "write ResNet-50")
    assert verdict.message.startswith("ResNet-34 is right")


@pytest.mark.parametrize("name", RIGHT50)
def test_resnet50_accepts(name):
    verdict = checks.resnet34_and_50(..., RIGHT50[name])
    expect(verdict, "open", "write ResNet-34")
    assert verdict.message.startswith("ResNet-50 is right")


def test_both_are_right(right34, right50):
    with torch.device("meta"):
        counts = [d2l.count_parameters(net) for net in (d2l.resnet34(), d2l.resnet50())]
    for answers in ((right34, right50), (lambda: right34, lambda: right50)):
        verdict = checks.resnet34_and_50(*answers)
        expect(verdict, "solved", f"{counts[0]:,} and {counts[1]:,} parameters", " 16 blocks")


def test_the_networks_of_the_reader_stay_as_they_are(right34, right50):
    in_eval_mode, before = copy.deepcopy(right34).eval(), copy.deepcopy(right50.state_dict())
    checks.resnet34_and_50(in_eval_mode, right50)
    assert all(torch.equal(tensor, before[name]) for name, tensor in right50.state_dict().items())
    assert right50.training and not any(module.training for module in in_eval_mode.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in right50.modules())


def shares_blocks():
    def repeated(a, b, n, **kwargs):
        first, *_ = resnet_block(a, b, 1, **kwargs)
        return nn.Sequential(first, *[Residual(b, b)] * (n - 1))
    return nn.Sequential(stem(), repeated(64, 64, 3, first_block=True), repeated(64, 128, 4), repeated(128, 256, 6),
                         repeated(256, 512, 3), *head(512))


class HiddenList(nn.Module):
    """The modules are in a Python list."""

    def __init__(self):
        super().__init__()
        self.b1, self.parts, self.fc = stem(), shared_modules(), nn.Linear(512, 10)

    def forward(self, X):
        X = self.b1(X)
        for part in self.parts:
            X = part(X)
        return self.fc(X.mean((2, 3)))


class ForgetsReturn(ResNetClass):
    def forward(self, X):
        super().forward(X)


class Raises(ResNetClass):
    def forward(self, X):
        return self.fc(self.not_there(X))


class Detaches(ResNetClass):
    def forward(self, X):
        return super().forward(X).detach()


class ChangesInput(ResNetClass):
    def forward(self, X):
        X -= X.mean()
        return super().forward(X)


class BatchSize(ResNetClass):
    """Right for batches of two only."""

    def forward(self, X):
        return super().forward(X).reshape(2, 10)


class ReversedRows(ResNetClass):
    def forward(self, X):
        return super().forward(X).flip(1)


class Unused(ResNetClass):
    def __init__(self):
        super().__init__()
        self.b6 = nn.Linear(3, 3)


def with_pool_between():
    net = net34()
    net[2] = nn.Sequential(*net[2], nn.Dropout(0.5))
    return net


def halves_late():
    """b3 keeps the size in its first block and halves in the second."""
    parts = modules()
    parts[1][0], parts[1][1] = Residual(64, 128, True), Residual(128, 128, True, 2)
    return nn.Sequential(stem(), *parts, *head(512))


def halves_twice():
    """b3 halves in its first block and in the second."""
    parts = modules()
    parts[1][1] = Residual(128, 128, True, 2)
    return nn.Sequential(stem(), *parts, *head(512))


def list_without_star():
    return nn.Sequential(stem(), resnet_block(64, 64, 3, first_block=True))


def under_meta():
    with torch.device("meta"):
        return d2l.resnet34()


def two_blocks_in_one_module():
    return net34(counts=(3, 4, 5, 3))


def stem_with(i, layer):
    def build():
        b1 = stem()
        b1[i] = layer()
        return net34(b1)
    return build


def reordered_stem(*order):
    return lambda: net34(nn.Sequential(*[stem()[i] for i in order]))


WRONG34 = {
    "ResNet-18": (d2l.resnet18, "blocks_of_other_depth", "ResNet-18", "ResNet-34 has 3, 4, 6 and 3"),
    "ResNet-50": (net50, "bottlenecks"),
    "numbers of 101": (lambda: net34(counts=(3, 4, 23, 3)), "blocks_of_other_depth", "ResNet-101"),
    "other numbers": (two_blocks_in_one_module, "number_of_blocks", "b4", "6 in ResNet-34", "not 5"),
    "plain": (lambda: net34(block=PlainBlock), "blocks_without_shortcut"),
    "mixed": (lambda: net34(b1=nn.Sequential(stem(), Bottleneck(64, 64))), "several_kinds_of_blocks"),
    "b2 halves": (lambda: net34(firsts=(False,) * 4), "b2_halves", "8 pixels of 16"),
    "no module halves": (lambda: net34(firsts=(True,) * 4), "module_keeps_size", "b3", "16 pixels"),
    "b5 keeps": (lambda: net34(firsts=(True, False, False, True)), "module_keeps_size", "b5", "4 pixels"),
    "halves late": (halves_late, "module_halves_late", "b3"),
    "halves twice": (halves_twice, "module_halves_twice", "b3", "4 pixels of 16"),
    "three modules": (lambda: net34(counts=(3, 4, 6), end=head(256)), "number_of_modules", "are 3 modules"),
    "three modules, linear 512": (lambda: net34(counts=(3, 4, 6)), "number_of_modules", "are 3 modules"),
    "same channels": (lambda: net34(channels=(64, 32, 64, 128, 256), end=head(256)), "module_channels",
                      "32, 64, 128 and 256", "64, 128, 256 and 512"),
    "one module too wide": (lambda: net34(channels=(64, 64, 128, 256, 640), end=head(640)), "module_channels",
                            "64, 128, 256 and 640"),
    "channels do not meet": (lambda: nn.Sequential(stem(), *shared_modules()[:2], *shared_modules()[3:], *head(512)),
                             "channels_do_not_meet", "256 channels", "128"),
    "shared": (shares_blocks, "shared_block"),
    "colour": (lambda: net34(stem(3)), "stem_for_colour", "3 channels"),
    "torchvision": (torchvision.models.resnet34, "stem_for_colour", "3 channels"),
    "no stem": (lambda: nn.Sequential(*modules(channels=(1, 64, 128, 256, 512)), *head(512)), "no_stem"),
    "stem 3x3": (lambda: net34(stem(1, 3, 1, 1)), "stem_kernel", "3x3, not 7x7"),
    "stem stride": (lambda: net34(stem(stride=1)), "stem_stride", "1, not 2"),
    "stem padding": (lambda: net34(stem(padding=0)), "stem_padding"),
    "stem channels": (lambda: net34(stem(channels=32)), "stem_channels", "32 channels, not 64"),
    "stem without pooling": (lambda: net34(stem(pool=nn.Identity())), "stem_without_pooling"),
    "stem pools 2x2": (lambda: net34(stem(pool=nn.MaxPool2d(2))), "stem_pooling_2x2"),
    "stem pools without padding": (lambda: net34(stem(pool=nn.MaxPool2d(3, 2))), "stem_pooling_padding"),
    "stem pools with stride 1": (lambda: net34(stem(pool=nn.MaxPool2d(3, 1, 1))), "stem_pooling_stride"),
    "stem pools the mean": (lambda: net34(stem(pool=nn.AvgPool2d(3, 2, 1))), "stem_pooling_mean"),
    "stem without norm": (stem_with(1, nn.Identity), "stem_without_norm"),
    "stem without ReLU": (stem_with(2, nn.Identity), "stem_without_relu"),
    "stem with another function": (stem_with(2, nn.Tanh), "stem_computes_otherwise"),
    "ReLU before norm": (reordered_stem(0, 2, 1, 3), "stem_norm_after_relu"),
    "pooling before norm": (reordered_stem(0, 3, 1, 2), "stem_pooling_before_norm"),
    "two convolutions": (lambda: net34(nn.Sequential(stem(), nn.Conv2d(64, 64, 1))), "stem_of_several_convs", "2"),
    "norm for another number": (lambda: net34(nn.Sequential(stem()[0], nn.BatchNorm2d(32))), "fails_in_layer",
                                "BatchNorm2d"),
    "no blocks": (lambda: nn.Sequential(stem(), *head(64)), "no_blocks"),
    "no convolution": (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(10)), "no_convolution"),
    "hidden in a list": (HiddenList, "no_blocks"),
    "a single block": (lambda: Residual(1, 1), "stem_kernel", "3x3, not 7x7"),
    "no pooling": (lambda: net34(end=(nn.Flatten(), nn.Linear(512, 10))), "no_pooling", "512"),
    "no pooling, for 224": (lambda: net34(end=(nn.Flatten(), nn.Linear(512 * 49, 10))), "no_pooling", "25,088"),
    "no pooling, for 64": (lambda: net34(end=(nn.Flatten(), nn.Linear(2048, 10))), "head_computes_otherwise"),
    "no flatten": (lambda: net34(end=(nn.AdaptiveAvgPool2d(1), nn.Linear(512, 10))), "no_flatten"),
    "neither": (lambda: net34(end=(nn.Linear(512, 10),)), "no_pooling+no_flatten"),
    "pooling for 224": (lambda: net34(end=(nn.AvgPool2d(7), nn.Flatten(), nn.Linear(512, 10))),
                        "pooling_of_fixed_size"),
    "pooling for 64": (lambda: net34(end=(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(512, 10))), "fails_on_other_size",
                       "(1, 1, 32, 96)"),
    "maximum at the end": (lambda: net34(end=(nn.AdaptiveMaxPool2d(1), *head(512)[1:])), "maximum_at_the_end"),
    "sum at the end": (lambda: net34(end=(Lambda(lambda X: X.sum((2, 3))), nn.Linear(512, 10))), "sum_at_the_end"),
    "linear of 50": (lambda: net34(end=head(2048)), "linear_inputs", "512 numbers, not 2048"),
    "ImageNet": (lambda: net34(end=head(512, 1000)), "classes_of_imagenet", "1,000"),
    "two classes": (lambda: net34(end=head(512, 2)), "number_of_classes", "2 numbers"),
    "softmax": (lambda: net34(end=(*head(512), nn.Softmax(1))), "softmax"),
    "log-softmax": (lambda: net34(end=(*head(512), nn.LogSoftmax(1))), "log_softmax", "a log-softmax"),
    "softmax of the batch": (lambda: net34(end=(*head(512), nn.Softmax(0))), "softmax_over_examples"),
    "ReLU at the end": (lambda: net34(end=(*head(512), nn.ReLU())), "relu_after_linear"),
    "sigmoid": (lambda: net34(end=(*head(512), nn.Sigmoid())), "sigmoid_after_linear"),
    "two linear layers": (lambda: net34(end=(*head(512, 100), nn.Linear(100, 10))), "several_linear_layers", "2"),
    "no linear layer": (lambda: net34(end=head(512)[:2]), "no_linear_layer", "(2, 512)"),
    "dropout at the end": (lambda: net34(end=(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(512, 10))),
                           "head_computes_otherwise"),
    "dropout between": (with_pool_between, "changed_between_blocks"),
    "argmax": (lambda: net34(end=(*head(512), Lambda(lambda X: X.argmax(1)))), "head_computes_otherwise"),
    "reversed": (ReversedRows, "head_computes_otherwise"),
    "block without ReLU": (lambda: net34(block=NoReLU), "block_computes_otherwise", "NoReLU", "Residual"),
    "block without addition": (lambda: net34(block=NoAddition), "block_computes_otherwise", "NoAddition", "Residual"),
    "stride in the second convolution": (lambda: net34(block=LateStride), "block_conv_stride",
                                         "kernel of (3, 3) has stride (1, 1)", "(2, 2)"),
    "dilated convolutions": (lambda: net34(block=Dilated), "block_conv_dilation", "dilation (2, 2)", "(1, 1)"),
    "shortcut without gradient": (lambda: net34(block=CutShortcut), "block_cuts_gradient", "CutShortcut"),
    "squeezed": (lambda: net34(end=(nn.AdaptiveAvgPool2d(1), Lambda(torch.squeeze), nn.Linear(512, 10))),
                 "other_size_wrong_shape", "(1, 1, 32, 96)", "(10,)"),
    "lazy, no flatten": (lambda: net34(end=(nn.AdaptiveAvgPool2d(1), nn.LazyLinear(10))), "head_computes_otherwise",
                         "(2, 512, 1, 10)"),
    "lazy, no channels": (lambda: net34(nn.LazyConv2d(32, 7)), "does_not_run", "(2, 1, 64, 64)"),
    "block without biases": (lambda: net34(block=NoBias), "block_without_biases"),
    "block without a norm": (lambda: net34(block=NoSecondNorm), "block_without_norm"),
    "the article's shortcut": (lambda: net34(block=Articles), "block_kernels"),
    "norm on the shortcut": (lambda: net34(block=NormOnShortcut), "block_with_needless_norm",
                             "block 1 of b3", "230,528", "230,272"),
    "1x1 everywhere": (lambda: net34(block=Always1x1), "block_with_needless_1x1", "block 1 of b2", "78,272", "74,112"),
    "returns nothing": (ForgetsReturn, "returns_no_tensor", "NoneType"),
    "raises in forward": (Raises, "raised", "AttributeError"),
    "detached": (Detaches, "no_gradient"),
    "changes its input": (ChangesInput, "changes_input"),
    "one batch size": (BatchSize, "fails_on_other_size", "(1, 1, 32, 96)"),
    "linear without bias": (lambda: net34(end=(*head(512)[:2], nn.Linear(512, 10, bias=False))), "linear_without_bias"),
    "norm without scale": (stem_with(1, lambda: nn.BatchNorm2d(64, affine=False)), "stem_parameters"),
    "unused layers": (Unused, "unused_layers", "12 parameters"),
    "star missing": (list_without_star, "list_without_star"),
    "a list": (lambda: [stem(), *shared_modules(), *head(512)], "network_is_list"),
    "None": (lambda: [].append(net34), "network_is_none"),
    "a class": (lambda: ResNetClass, "network_is_class", "ResNetClass"),
    "logits": (lambda: torch.zeros(2, 10), "no_network"),
    "under meta": (under_meta, "network_on_meta"),
    "an argument": (lambda depth: net34(), "takes_arguments"),
    "text": ("net34", "no_function"),
    "empty": (nn.Sequential, "no_convolution"),
}


@pytest.mark.parametrize("name", WRONG34)
def test_resnet34_names_the_mistake(name):
    build, *expected = WRONG34[name]
    verdict = checks.resnet34_and_50(build, ...)
    assert not failure(verdict, *expected)
    assert name == "raises in forward" or verdict.message.startswith("ResNet-34: ")


def test_the_message_says_what_the_padding_is_for():
    message = checks.resnet34_and_50(WRONG34["stem padding"][0], ...).message
    assert message == ("ResNet-34: the stem's convolution has padding (0, 0), but a 7x7 kernel needs 3: without it 64 "
                       "pixels become 29.")


WRONG50 = {
    "basic blocks": (net34, "basic_blocks"),
    "numbers of 18": (lambda: net50(counts=(2, 2, 2, 2)), "blocks_of_other_depth", "ResNet-18"),
    "numbers of 101": (lambda: net50(counts=(3, 4, 23, 3)), "blocks_of_other_depth", "ResNet-101",
                       "ResNet-50 has 3, 4, 6 and 3"),
    "channels of 34": (lambda: net50(channels=(64, 64, 128, 256, 512), end=head(512)), "num_channels_is_width"),
    "channels of 34, linear 2048": (lambda: net50(channels=(64, 64, 128, 256, 512)), "num_channels_is_width"),
    "inputs of the module": (lambda: nn.Sequential(
        stem(), *[nn.Sequential(*resnet_block(c, 4 * c, n, first_block=c == 64, block=Bottleneck))
                  for c, n in zip((64, 128, 256, 512), (3, 4, 6, 3), strict=True)], *head(2048)),
        "channels_do_not_meet", "128 channels", "gets 256", "b2 of ResNet-50 has 256"),
    "b2 as if after b2": (lambda: nn.Sequential(
        stem(), nn.Sequential(*resnet_block(256, 256, 3, first_block=True, block=Bottleneck)), *head(256)),
        "first_block_channels", "256 channels", "gets 64"),
    "b2 halves": (lambda: net50(firsts=(False,) * 4), "b2_halves"),
    "all keep the size": (lambda: net50(firsts=(True,) * 4), "module_keeps_size", "b3", "16 pixels"),
    "linear of 34": (lambda: net50(end=head(512)), "linear_inputs", "2048 numbers, not 512"),
    "softmax": (lambda: net50(end=(*head(2048), nn.Softmax(dim=1))), "softmax"),
    "no pooling": (lambda: net50(end=head(2048)[1:]), "no_pooling"),
    "no flatten": (lambda: net50(end=head(2048)[::2]), "no_flatten"),
    "one module basic": (lambda: nn.Sequential(
        stem(), *shared_modules()[:1], *modules(Bottleneck, (4, 6, 3), (64, 512, 1024, 2048), (False,) * 3),
        *head(2048)), "several_kinds_of_blocks", "basic, bottleneck"),
    "None": (lambda: [].append(1), "network_is_none"),
    "own block without a ReLU": (lambda: net50(block=NoMiddleReLU, channels=WIDE), "block_computes_otherwise",
                                 "NoMiddleReLU", "Bottleneck"),
}


@pytest.mark.parametrize("name", WRONG50)
def test_resnet50_names_the_mistake(name):
    build, *expected = WRONG50[name]
    verdict = checks.resnet34_and_50(..., build)
    assert not failure(verdict, *expected)
    assert verdict.message.startswith("ResNet-50: ")


def test_one_is_right_and_the_other_wrong(right34, right50):
    for answers, start, code in (((right34, net34), "ResNet-50: ", "basic_blocks"),
                                 ((net50, right50), "ResNet-34: ", "bottlenecks"),
                                 ((net50, net34), "ResNet-34: ", "bottlenecks")):
        verdict = checks.resnet34_and_50(*answers)
        assert not failure(verdict, code)
        assert verdict.message.startswith(start)


def test_resnet34_and_50_open(right34):
    def blank():
        ...
    expect(checks.resnet34_and_50(blank, blank), "open", "not attempted yet")
    expect(checks.resnet34_and_50(right34, blank), "open", "ResNet-34 is right", "write ResNet-50")
    assert not failure(checks.resnet34_and_50(d2l.resnet18, blank), "blocks_of_other_depth", "ResNet-18")


def test_resnet34_and_50_takes_two(right34):
    assert not failure(checks.resnet34_and_50(right34), "wrong_number_of_answers", "2 answers")


# --- small_stem ---

shared18 = functools.cache(d2l.resnet18)


def small(b1=None, net=None):
    """A ResNet-18 with another stem, by default the right one; the rest is shared and not to be changed."""
    b1 = b1 or nn.Sequential(nn.Conv2d(1, 64, kernel_size=3, padding=1), nn.BatchNorm2d(64), nn.ReLU())
    return nn.Sequential(b1, *(net or shared18())[1:])


def replaced():
    net = d2l.resnet18()
    net[0] = nn.Sequential(nn.Conv2d(1, 64, kernel_size=3, padding=1), nn.BatchNorm2d(64), nn.ReLU())
    return net


def changed_in_place():
    net = d2l.resnet18()
    net[0][0] = nn.Conv2d(1, 64, kernel_size=3, stride=1, padding="same", bias=False)
    net[0][3] = nn.Identity()
    return net


def deleted():
    net = d2l.resnet18()
    net[0][0] = nn.Conv2d(1, 64, 3, 1, 1)
    del net[0][3]
    return net


def rebuilt():
    conv = nn.Conv2d(1, 64, (3, 3), padding=(1, 1))
    return nn.Sequential(conv, nn.BatchNorm2d(64), nn.ReLU(inplace=True), *modules(counts=(2, 2, 2, 2)),
                         Lambda(lambda X: X.mean((2, 3))), nn.Linear(512, 10))


RIGHT_STEMS = {"replaced": replaced, "changed in place": changed_in_place, "deleted": deleted, "rebuilt": rebuilt,
               "the package's": lambda: d2l.resnet18(stem="3x3"), "eval mode": lambda: replaced().eval()}


@pytest.mark.parametrize("name", RIGHT_STEMS)
def test_small_stem_accepts(name):
    expect(checks.small_stem(RIGHT_STEMS[name]()), "solved", "4 x 4", "1 x 1")


def test_small_stem_counts_as_costs_does():
    usual, new = (sum(stage.multiply_adds for stage in costs.model_costs(18, 28, stem=stem)) for stem in ("7x7", "3x3"))
    assert new > 5 * usual
    expect(checks.small_stem(small()), "solved", f"{new / 1e6:.0f} million", f"instead of {usual / 1e6:.0f}")


def small_stem_of(*layers, **conv):
    conv = dict(in_channels=1, out_channels=64, kernel_size=3, padding=1) | conv
    return small(nn.Sequential(nn.Conv2d(**conv), *layers))


WRONG_STEMS = {
    "the stem as it was": (shared18, "stem_kernel", "7x7, not 3x3", "net[0]"),
    "7x7 without stride": (lambda: small(stem(stride=1, pool=nn.Identity())), "stem_kernel", "7x7, not 3x3"),
    "stride 2": (lambda: small_stem_of(nn.BatchNorm2d(64), nn.ReLU(), stride=2), "stem_stride", "2, not 1, so"),
    "no padding": (lambda: small_stem_of(nn.BatchNorm2d(64), nn.ReLU(), padding=0), "stem_padding",
                   "28 pixels become 26"),
    "padding 3": (lambda: small_stem_of(nn.BatchNorm2d(64), nn.ReLU(), padding=3), "stem_padding", "(3, 3)"),
    "pooling left": (lambda: d2l.resnet18(stem="3x3-pool"), "stem_pooling_left"),
    "pooling of stride 1": (lambda: small_stem_of(nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 1, 1)),
                            "stem_pooling_left_unstrided"),
    "pooling 2x2": (lambda: small_stem_of(nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)), "stem_pooling_left_2x2"),
    "no norm": (lambda: small_stem_of(nn.ReLU()), "stem_without_norm"),
    "no ReLU": (lambda: small_stem_of(nn.BatchNorm2d(64)), "stem_without_relu"),
    "convolution alone": (small_stem_of, "stem_without_norm"),
    "ReLU before norm": (lambda: small_stem_of(nn.ReLU(), nn.BatchNorm2d(64)), "stem_norm_after_relu"),
    "dilation": (lambda: small_stem_of(nn.BatchNorm2d(64), nn.ReLU(), padding=1, dilation=2),
                 "stem_groups_or_dilation"),
    "colour": (lambda: small_stem_of(nn.BatchNorm2d(64), nn.ReLU(), in_channels=3), "stem_for_colour", "3 channels"),
    "32 channels": (lambda: small_stem_of(nn.BatchNorm2d(32), nn.ReLU(), out_channels=32), "stem_channels",
                    "32 channels, not 64"),
    "the stem alone": (lambda: small()[0], "stem_alone"),
    "put before the old one": (lambda: nn.Sequential(small()[0], *shared18()), "stem_of_several_convs", "2"),
    "added to the old one": (lambda: small(nn.Sequential(small()[0], d2l.resnet18(in_channels=64)[0])),
                             "stem_of_several_convs", "2"),
    "34": (lambda: small(net=d2l.resnet34()), "blocks_of_other_depth", "ResNet-34 and ResNet-50",
           "ResNet-18 has 2, 2, 2 and 2"),
    "plain": (lambda: small(net=d2l.resnet18(shortcuts=False)), "blocks_without_shortcut"),
    "50": (lambda: small(net=d2l.resnet50()), "bottlenecks"),
    "1000 classes": (lambda: small(net=d2l.resnet18(num_classes=1000)), "classes_of_imagenet"),
    "b2 halves": (lambda: nn.Sequential(small()[0], *modules(counts=(2,) * 4, firsts=(False,) * 4), *head(512)),
                  "b2_halves", "14 pixels of 28"),
    "pooling for 28": (lambda: nn.Sequential(*small()[:5], nn.AvgPool2d(4), *small()[6:]), "fails_on_other_size",
                       "(1, 1, 32, 20)"),
    "up to b5": (lambda: small()[:5], "no_linear_layer"),
    "a function": (lambda: small, "function_for_network"),
    "a class": (lambda: ResNetClass, "network_is_class", "ResNetClass"),
    "None": (lambda: None, "network_is_none"),
    "a list": (lambda: [*small()], "network_is_list"),
    "a shape": (lambda: torch.zeros(1, 512, 4, 4), "no_network"),
}


@pytest.mark.parametrize("name", WRONG_STEMS)
def test_small_stem_names_the_mistake(name):
    build, *expected = WRONG_STEMS[name]
    assert not failure(checks.small_stem(build()), *expected)


def test_small_stem_open():
    expect(checks.small_stem(...), "open")


# --- model_questions ---

RIGHT = {question: letter for question, (letter, _) in checks._questions().items()}


def test_model_questions_accepts():
    assert RIGHT == {"1": "c", "2": "b", "3": "a", "4": "d"}
    expect(checks.model_questions(RIGHT), "solved", "17 convolutions", "1 linear layer", "3 on the shortcuts")
    expect(checks.model_questions({question: letter.upper() for question, letter in RIGHT.items()}), "solved")


def test_model_questions_name_the_mistake():
    letters = {f"{question} {letter}": (RIGHT | {question: letter}, f"question_{question}_{letter}", explanation)
               for question, (right, why) in checks._questions().items()
               for letter, explanation in why.items() if letter != right}
    assert len(letters) == 12
    cases = letters | {
        "left blank": (RIGHT | {"2": ...}, "no_answer", "question 2"),
        "no letter of these": (RIGHT | {"4": "e"}, "no_letter", "question 4", "a, b, c, d"),
        "a number": (RIGHT | {"1": 18}, "no_letter", "question 1", "18"),
        "text": ("cbad", "no_dict"),
    }
    expect_none({name: failure(checks.model_questions(answers), *expected)
                 for name, (answers, *expected) in cases.items()})


def test_the_numbers_in_the_explanations():
    parts = " ".join(text for _, why in checks._questions().values() for text in why.values())
    for number in ("8 residual blocks", "38 layers", "would be 21", "75% of the parameters are in b5", "75% of them"):
        assert number in parts, number


def test_model_questions_open():
    expect(checks.model_questions(dict.fromkeys("1234", ...)), "open")
