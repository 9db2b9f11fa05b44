"""The exercises of notebook 3: right answers of several kinds are accepted, each mistake gets the message that fits."""

import copy
import inspect
import itertools

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

import resnet_helpers as d2l
from resnet_helpers import costs
from resnet_helpers.check import models as checks
from resnet_helpers.check.engine import EXERCISES
from resnet_helpers.models import Bottleneck, PlainBlock, Residual, resnet_block


def expect(verdict, state, part=""):
    assert verdict.state == state, verdict
    assert part in verdict.message, verdict


JUNK = {"None": None, "a string": "all of them", "a class": nn.Linear, "a list": [None], "an object": object(),
        "nan": float("nan")}
ALL_CHECKS = (checks.model_shapes, checks.model_parameters, checks.resnet34_and_50, checks.small_stem,
              checks.model_questions)


def raises(*_):
    raise LookupError("nothing here")


@pytest.mark.parametrize("check", ALL_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("junk", [*JUNK.values(), raises], ids=[*JUNK, "a function that raises"])
def test_junk_is_wrong(check, junk):
    expect(check(*[junk] * len(inspect.signature(check).parameters)), "wrong")


@pytest.mark.parametrize("check", ALL_CHECKS, ids=lambda check: check.__name__)
def test_there_are_hints(check):
    hints = EXERCISES[check.__name__].hints
    assert 2 <= len(hints) <= 3 and all(hints)


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


@pytest.mark.parametrize("answer", [
    SHAPES,
    tuple(map(list, SHAPES)),
    dict(reversed([*zip(checks.LAYERS, SHAPES, strict=True)])),
], ids=["list of tuples", "tuple of lists", "dict"])
def test_model_shapes_accepts(answer):
    expect(checks.model_shapes(answer), "solved", "24 in the stem, then 24, 12, 6, 3")


def changed(i, shape):
    return [*SHAPES[:i], shape, *SHAPES[i + 1:]]


def with_sizes(*sizes):
    return [(*shape[:2], n, n) for shape, n in zip(SHAPES, sizes, strict=False)] + SHAPES[5:]


WRONG_SHAPES = {
    "for 224 pixels": (with_sizes(56, 56, 28, 14, 7), "those are the shapes for 224 pixels"),
    "no pooling in the stem": (with_sizes(48, 48, 24, 12, 6), "Yours halves once"),
    "no stem": (with_sizes(96, 96, 48, 24, 12), "the stem is missing from your shapes"),
    "b2 halves": (with_sizes(24, 12, 6, 3, 2), "b2 does not halve"),
    "no padding": (with_sizes(22, 22, 11, 6, 3), "you left the padding out"),
    "stem wrong": (with_sizes(32, 32, 16, 8, 4), "b1: 32 x 32 pixels: apply floor"),
    "b2 halves alone": (changed(1, (1, 64, 12, 12)), "b2: b2 keeps the size"),
    "b3 keeps the size": (with_sizes(24, 24, 24, 12, 6), "b3: its first block has a stride of 2, so the 24 pixels "
                                                         "become 12"),
    "b5 keeps the size": (changed(4, (1, 512, 6, 6)), "b5: its first block has a stride of 2"),
    "b3 halves twice": (changed(2, (1, 128, 6, 6)), "b3: only the first block of a module has a stride of 2"),
    "b4 rounded": (changed(3, (1, 256, 5, 5)), "b4: 5 x 5 pixels: its first block halves the 12 x 12"),
    "channels last": ([(1, 24, 24, 64), *SHAPES[1:]], "b1: PyTorch puts the channels second"),
    "channels last in b4": (changed(3, (1, 6, 6, 256)), "b4: PyTorch puts the channels second"),
    "no batch": ([shape[1:] for shape in SHAPES], "b1: the number of examples is missing"),
    "no batch at the end": (changed(7, (10,)), "linear: the number of examples is missing"),
    "another batch": (changed(0, (256, 64, 24, 24)), "b1: the first number counts the examples"),
    "two numbers": (changed(2, (12, 12)), "b3: a shape has four numbers"),
    "not doubled": (changed(2, (1, 64, 12, 12)), "b3: the module doubles the channels"),
    "doubled in b2": (changed(1, (1, 128, 24, 24)), "b2: 128 channels are not right"),
    "one channel in b1": (changed(0, (1, 1, 24, 24)), "b1: the 7x7 convolution has 64 output channels, not 1"),
    "not pooled": (changed(5, (1, 512, 3, 3)), "pooling: global average pooling turns each map into its mean"),
    "pooled and flattened": (changed(5, (1, 512)), "pooling: the pooling leaves four numbers"),
    "pooled to one number": (changed(5, (1, 1, 1, 1)), "pooling: pooling does not touch the channels"),
    "pooled in part": (changed(5, (1, 512, 2, 2)), "pooling: AdaptiveAvgPool2d((1, 1)) leaves one pixel"),
    "not flattened": (changed(6, (1, 512, 1, 1)), "flatten: Flatten keeps the first number"),
    "flattened before the pooling": (changed(6, (1, 4608)), "flatten: what is flattened are 512 maps of one pixel "
                                                            "each"),
    "flattened otherwise": (changed(6, (1, 256)), "flatten: as many numbers come out as go in"),
    "no linear layer": (changed(7, (1, 512)), "linear: the linear layer turns 512 numbers into one score"),
    "ImageNet's classes": (changed(7, (1, 1000)), "linear: the linear layer turns 512 numbers"),
    "maps of scores": (changed(7, (1, 10, 1, 1)), "linear: a row of ten scores"),
    "seven": (SHAPES[1:], "a list of 8 shapes"),
    "one": ((1, 64, 24, 24), "a list of 8 shapes"),
    "a number": (changed(7, 10), "linear: write the shape as a tuple"),
    "floats": (changed(1, (1, 64, 24.0, 24.0)), "b2: write the shape as a tuple of whole numbers"),
    "text": (changed(0, "(1, 64, 24, 24)"), "b1: write the shape as a tuple"),
    "a dict of fewer": ({"b1": SHAPES[0]}, "b2 has no answer yet"),
    "one left blank": (changed(4, ...), "b5 has no answer yet"),
    "blank within": (changed(4, (1, ..., 3, 3)), "b5: write the shape"),
}


@pytest.mark.parametrize("name", WRONG_SHAPES)
def test_model_shapes_explains(name):
    answer, part = WRONG_SHAPES[name]
    expect(checks.model_shapes(answer), "wrong", part)


def test_model_shapes_open():
    expect(checks.model_shapes([...] * 8), "open")
    expect(checks.model_shapes(...), "open")


# --- model_parameters ---

B3 = 525_952


def test_b3_by_hand():
    first = (64 * 128 * 9 + 128) + (128 * 128 * 9 + 128) + (64 * 128 + 128) + 2 * 256
    second = 2 * (128 * 128 * 9 + 128) + 2 * 256
    assert first + second == B3 == d2l.count_parameters(d2l.resnet18()[2])


@pytest.mark.parametrize("answer", [B3, float(B3), torch.tensor(B3), 230_272 + 295_680])
def test_model_parameters_accepts(answer):
    expect(checks.model_parameters(answer), "solved", "230,272 in the first block, of which 8,320 on the shortcut, and "
                                                      "295,680")


WRONG_COUNTS = {
    "no biases": (B3 - 640, "the biases are missing"),
    "no bias on the shortcut": (B3 - 128, "the 1x1 convolution on the shortcut has biases too"),
    "no norms": (B3 - 1024, "the batch norms are missing"),
    "one norm a block": (B3 - 512, "only half of the batch norms"),
    "running averages": (sum(t.numel() for n, t in d2l.resnet18()[2].state_dict().items() if "num" not in n),
                         "running means and variances are no parameters"),
    "state_dict": (sum(t.numel() for t in d2l.resnet18()[2].state_dict().values()), "the size of the state_dict"),
    "norm on the shortcut": (B3 + 256, "no batch norm on the shortcut here"),
    "no shortcut": (B3 - 8320, "1x1 convolution on the shortcut of the first block is missing"),
    "3x3 on the shortcut": (B3 + 8 * 8192, "1x1, not 3x3"),
    "both with 1x1": (B3 + 8320, "only the first block has a 1x1"),
    "both with 1x1, 128": (B3 + 128 * 128 + 128, "only the first block has a 1x1"),
    "128 at the start": (B3 + 64 * 128 * 9, "the first convolution of the first block gets 64 channels, not 128"),
    "64 in the second": (B3 - 64 * 128 * 9, "only the first convolution gets 64 channels"),
    "64 everywhere": (B3 - 3 * 64 * 128 * 9, "only the first convolution of the module"),
    "one block": (230_272, "the first block alone"),
    "the other block": (295_680, "the second block alone"),
    "twice the first": (2 * 230_272, "the second block is not like the first"),
    "twice the second": (2 * 295_680, "the first block is not like the second"),
    "b2": (d2l.count_parameters(d2l.resnet18()[1]), "that is b2"),
    "b4": (d2l.count_parameters(d2l.resnet18()[3]), "that is b4"),
    "b5": (d2l.count_parameters(d2l.resnet18()[4]), "that is b5"),
    "all": (11_178_378, "the whole network"),
    "torchvision": (d2l.count_parameters(torchvision.models.resnet18().layer2), "torchvision's count"),
    "weights": (B3 - 640 - 1024, "the weights of the convolutions. They have biases too"),
    "3x3 weights": (64 * 128 * 9 + 3 * 128 * 128 * 9, "the four 3x3 convolutions alone"),
    "3 for 3x3": (B3 - (64 * 128 + 3 * 128 * 128) * 6, "9 weights for each pair of channels, not 3"),
    "no biases, no shortcut": (B3 - 8192 - 640, "is missing, and so are the biases of the others"),
    "two at once": (B3 - 8320 - 1024, "two things: the batch norms are missing"),
    "another two": (B3 - 512 + 8 * 8192, "1x1, not 3x3"),
    "too few": (1000, "1,000 is too few"),
    "too many": (99_999_999, "99,999,999 is too many"),
    "negative": (-B3, "too few"),
    "true": (True, "must be a number"),
    "text": ("525,952", "must be a number"),
    "a shape": ((128, 64, 3, 3), "must be a number"),
    "two numbers": (torch.tensor([230_272, 295_680]), "must be a number"),
}


@pytest.mark.parametrize("name", WRONG_COUNTS)
def test_model_parameters_explains(name):
    answer, part = WRONG_COUNTS[name]
    expect(checks.model_parameters(answer), "wrong", part)


def test_each_misstep_has_a_count_of_its_own():
    """Otherwise a reader would be told about a mistake that is another's."""
    changes = [change for _, change, _ in checks.MISSTEPS]
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


def net34(b1=None, end=None, **of_modules):
    return nn.Sequential(b1 or stem(), *modules(**of_modules), *(end or head(512)))


def net50(b1=None, end=None, **of_modules):
    return nn.Sequential(b1 or stem(), *modules(**{"block": Bottleneck} | of_modules), *(end or head(2048)))


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
        self.modules_ = nn.ModuleList(modules(block))
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
    return nn.Sequential(*stem(), *itertools.chain(*modules()), *head(512))


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


RIGHT34 = [net34, d2l.resnet34, ResNetClass, Subclassed, flat34, lambdas34, without_stem_bias34, other_end34,
           lambda: net34(block=ReadersBlock), lambda: net34(block=InPlace), lambda: net34(block=Branch),
           lambda: net34(block=OwnBranch), lambda: nn.Sequential(stem(), *map(Stage, modules()), *head(512)),
           lambda: net34().eval(), lambda: net34().double(), lazy34]
RIGHT50 = [net50, lambda: net50(block=ReadersBottleneck, channels=WIDE),
           lambda: net50(block=EarlyStride, channels=WIDE),
           lambda: d2l.resnet50(num_classes=10), Bottleneck50,
           lambda: nn.Sequential(nn.Sequential(stem(), *modules(Bottleneck)), nn.Sequential(*head(2048)))]


@pytest.mark.parametrize("build", RIGHT34)
def test_resnet34_accepts(build, right50):
    expect(checks.resnet34_and_50(build, right50), "solved", "Both have 16 blocks")


def test_the_message_counts_parameters(right34, right50):
    counts = [d2l.count_parameters(net) for net in (d2l.resnet34(), d2l.resnet50())]
    expect(checks.resnet34_and_50(right34, right50), "solved", f"with {counts[0]:,} and {counts[1]:,} parameters")


@pytest.mark.parametrize("build", RIGHT50)
def test_resnet50_accepts(build, right34):
    expect(checks.resnet34_and_50(right34, build), "solved", "both are right, with 21,")


def test_the_networks_of_the_reader_stay_as_they_are(right34, right50):
    before = copy.deepcopy(right50.state_dict())
    right34.eval()
    checks.resnet34_and_50(right34, right50)
    assert all(torch.equal(tensor, before[name]) for name, tensor in right50.state_dict().items())
    assert right50.training and not any(module.training for module in right34.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in right50.modules())
    right34.train()


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
        self.b1, self.parts, self.fc = stem(), modules(), nn.Linear(512, 10)

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
    net = net34()
    net[2][0], net[2][1] = Residual(64, 128, True), Residual(128, 128, True, 2)
    return net


def list_without_star():
    return nn.Sequential(stem(), resnet_block(64, 64, 3, first_block=True))


def under_meta():
    with torch.device("meta"):
        return net34()


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
    "ResNet-18": (d2l.resnet18, "those are the numbers of ResNet-18. ResNet-34 has 3, 4, 6 and 3"),
    "ResNet-50": (net50, "the blocks are bottlenecks"),
    "numbers of 101": (lambda: net34(counts=(3, 4, 23, 3)), "those are the numbers of ResNet-101"),
    "other numbers": (two_blocks_in_one_module, "b4 must have 6 in ResNet-34, not 5"),
    "plain": (lambda: net34(block=PlainBlock), "blocks without a shortcut"),
    "mixed": (lambda: net34(b1=nn.Sequential(stem(), Bottleneck(64, 64))), "blocks are of several kinds"),
    "b2 halves": (lambda: net34(firsts=(False,) * 4), "b2 makes 8 pixels of 16, but it must keep the size: "
                                                      "first_block=True"),
    "no module halves": (lambda: net34(firsts=(True,) * 4), "b3 keeps the 16 pixels"),
    "b5 keeps": (lambda: net34(firsts=(True, False, False, True)), "b5 keeps the 4 pixels"),
    "halves late": (halves_late, "b3 halves the image in a later block"),
    "three modules": (lambda: net34(counts=(3, 4, 6), end=head(256)), "there are 3 modules"),
    "three modules, linear 512": (lambda: net34(counts=(3, 4, 6)), "there are 3 modules"),
    "same channels": (lambda: net34(channels=(64, 32, 64, 128, 256), end=head(256)), "has 64, 128, 256 and 512"),
    "one block too wide": (lambda: net34(channels=(64, 64, 128, 256, 1024), end=head(1024)), "64, 128, 256 and 1024 "
                                                                                             "channels"),
    "channels do not meet": (lambda: nn.Sequential(stem(), *modules()[:2], *modules()[3:], *head(512)),
                             "a block was made for 256 channels, but gets 128"),
    "shared": (shares_blocks, "the same block is called more than once"),
    "colour": (lambda: net34(stem(3)), "the first convolution takes 3 channels"),
    "torchvision": (torchvision.models.resnet34, "the first convolution takes 3 channels"),
    "no stem": (lambda: nn.Sequential(*modules(channels=(1, 64, 128, 256, 512)), *head(512)), "the stem is missing"),
    "stem 3x3": (lambda: net34(stem(1, 3, 1, 1)), "convolution is 3x3, not 7x7"),
    "stem stride": (lambda: net34(stem(stride=1)), "has stride 1, not 2"),
    "stem padding": (lambda: net34(stem(padding=0)), "has padding (0, 0), but a 7x7 kernel needs 3: without it 64 "
                                                     "pixels become 29"),
    "stem channels": (lambda: net34(stem(channels=32)), "gives 32 channels, not 64"),
    "stem without pooling": (lambda: net34(stem(pool=nn.Identity())), "the maximum pooling of the stem is missing"),
    "stem pools 2x2": (lambda: net34(stem(pool=nn.MaxPool2d(2))), "pooling is 2x2"),
    "stem pools without padding": (lambda: net34(stem(pool=nn.MaxPool2d(3, 2))), "pooling has no padding"),
    "stem pools with stride 1": (lambda: net34(stem(pool=nn.MaxPool2d(3, 1, 1))), "pooling has stride 1"),
    "stem pools the mean": (lambda: net34(stem(pool=nn.AvgPool2d(3, 2, 1))), "takes the mean"),
    "stem without norm": (stem_with(1, nn.Identity), "the stem has no batch norm"),
    "stem without ReLU": (stem_with(2, nn.Identity), "the ReLU of the stem is missing"),
    "stem with another function": (stem_with(2, nn.Tanh), "is not what convolution, batch norm, ReLU"),
    "ReLU before norm": (reordered_stem(0, 2, 1, 3), "batch norm comes after the ReLU"),
    "two convolutions": (lambda: net34(nn.Sequential(stem(), nn.Conv2d(64, 64, 1))), "the stem has 2 convolutions"),
    "norm for another number": (lambda: net34(nn.Sequential(stem()[0], nn.BatchNorm2d(32))), "in a BatchNorm2d that "
                                                                                             "gets"),
    "no blocks": (lambda: nn.Sequential(stem(), *head(64)), "no residual block was called"),
    "no convolution": (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(10)), "no convolution was called"),
    "hidden in a list": (HiddenList, "no residual block was called"),
    "a single block": (lambda: Residual(1, 1), "the stem's convolution is 3x3"),
    "no pooling": (lambda: net34(end=(nn.Flatten(), nn.Linear(512, 10))), "no pooling to one pixel comes before "
                                                                          "nn.Flatten()"),
    "no pooling, for 224": (lambda: net34(end=(nn.Flatten(), nn.Linear(512 * 49, 10))), "was made for 25,088"),
    "no pooling, for 64": (lambda: net34(end=(nn.Flatten(), nn.Linear(2048, 10))), "is not the mean of each map"),
    "no flatten": (lambda: net34(end=(nn.AdaptiveAvgPool2d(1), nn.Linear(512, 10))), "nn.Flatten() is missing"),
    "neither": (lambda: net34(end=(nn.Linear(512, 10),)), "pooling and nn.Flatten() are missing"),
    "pooling for 224": (lambda: net34(end=(nn.AvgPool2d(7), nn.Flatten(), nn.Linear(512, 10))), "a window of fixed "
                                                                                                "size"),
    "pooling for 64": (lambda: net34(end=(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(512, 10))), "fails on a batch of "
                                                                                               "another size"),
    "maximum at the end": (lambda: net34(end=(nn.AdaptiveMaxPool2d(1), *head(512)[1:])), "takes the maximum"),
    "sum at the end": (lambda: net34(end=(Lambda(lambda X: X.sum((2, 3))), nn.Linear(512, 10))), "takes the sum"),
    "linear of 50": (lambda: net34(end=head(2048)), "512 channels leave b5, so the linear layer must take 512 numbers, "
                                                    "not 2048"),
    "ImageNet": (lambda: net34(end=head(512, 1000)), "1,000 numbers: that is for ImageNet's classes"),
    "two classes": (lambda: net34(end=head(512, 2)), "gives 2 numbers, but there are 10 classes"),
    "softmax": (lambda: net34(end=(*head(512), nn.Softmax(1))), "there is a softmax at the end, as table 1 has it"),
    "log-softmax": (lambda: net34(end=(*head(512), nn.LogSoftmax(1))), "there is a log-softmax"),
    "softmax of the batch": (lambda: net34(end=(*head(512), nn.Softmax(0))), "over the examples"),
    "ReLU at the end": (lambda: net34(end=(*head(512), nn.ReLU())), "a ReLU after the linear layer"),
    "sigmoid": (lambda: net34(end=(*head(512), nn.Sigmoid())), "a sigmoid after the linear layer"),
    "two linear layers": (lambda: net34(end=(*head(512, 100), nn.Linear(100, 10))), "2 linear layers follow"),
    "no linear layer": (lambda: net34(end=head(512)[:2]), "no linear layer follows"),
    "dropout at the end": (lambda: net34(end=(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(512, 10))),
                           "is not the mean of each map"),
    "dropout between": (with_pool_between, "between two blocks something changes"),
    "argmax": (lambda: net34(end=(*head(512), Lambda(lambda X: X.argmax(1)))), "is not the mean of each map"),
    "reversed": (ReversedRows, "is not the mean of each map"),
    "block without ReLU": (lambda: net34(block=NoReLU), "your NoReLU does not compute what Residual computes"),
    "stride in the second convolution": (lambda: net34(block=LateStride), "kernel of (3, 3) has stride (1, 1), where "
                                                                          "(2, 2) was"),
    "dilated convolutions": (lambda: net34(block=Dilated), "has dilation (2, 2), where (1, 1) was"),
    "shortcut without gradient": (lambda: net34(block=CutShortcut), "your CutShortcut computes the right numbers, but"),
    "squeezed": (lambda: net34(end=(nn.AdaptiveAvgPool2d(1), Lambda(torch.squeeze), nn.Linear(512, 10))),
                 "for images of shape (1, 1, 32, 96) it gives (10,)"),
    "block without addition": (lambda: net34(block=NoAddition), "your NoAddition does not compute what Residual"),
    "lazy, no flatten": (lambda: net34(end=(nn.AdaptiveAvgPool2d(1), nn.LazyLinear(10))), "(2, 512, 1, 10), is "
                                                                                          "something"),
    "lazy, no channels": (lambda: net34(nn.LazyConv2d(32, 7)), "it does not run on a batch of shape (2, 1, 64, 64)"),
    "block without biases": (lambda: net34(block=NoBias), "convolutions have no biases"),
    "the article's shortcut": (lambda: net34(block=Articles), "is the one on the shortcut 3x3"),
    "norm on the shortcut": (lambda: net34(block=NormOnShortcut), "block 1 of b3 has 230,528 parameters, where 230,272 "
                                                                  "were"),
    "1x1 everywhere": (lambda: net34(block=Always1x1), "block 1 of b2 has 78,272 parameters, where 74,112 were "
                                                       "expected: it has a 1x1"),
    "returns nothing": (ForgetsReturn, "returns a NoneType"),
    "raises in forward": (Raises, "your code raised AttributeError"),
    "detached": (Detaches, "no gradient flows"),
    "changes its input": (ChangesInput, "changes its input"),
    "one batch size": (BatchSize, "fails on a batch of another size"),
    "linear without bias": (lambda: net34(end=(*head(512)[:2], nn.Linear(512, 10, bias=False))), "has no bias"),
    "norm without scale": (stem_with(1, lambda: nn.BatchNorm2d(64, affine=False)), "look at the stem"),
    "unused layers": (Unused, "12 parameters belong to layers that the network never uses"),
    "star missing": (list_without_star, "put a * before the list"),
    "a list": (lambda: [stem(), *modules(), *head(512)], "your network is a list"),
    "None": (lambda: [].append(net34), "your network is None"),
    "a class": (lambda: ResNetClass, "got the class ResNetClass"),
    "logits": (lambda: torch.zeros(2, 10), "must be a network, an nn.Module"),
    "under meta": (under_meta, "holds no numbers"),
    "an argument": (lambda depth: net34(), "without arguments, but"),
    "text": ("net34", "must be a function without arguments"),
    "empty": (nn.Sequential, "no convolution was called"),
}


@pytest.mark.parametrize("name", WRONG34)
def test_resnet34_explains(name, right50):
    build, part = WRONG34[name]
    verdict = checks.resnet34_and_50(build, right50)
    expect(verdict, "wrong", part)
    assert name == "raises in forward" or verdict.message.startswith("ResNet-34: ")


WRONG50 = {
    "basic blocks": (net34, "all blocks are basic ones"),
    "numbers of 18": (lambda: net50(counts=(2, 2, 2, 2)), "those are the numbers of ResNet-18"),
    "numbers of 101": (lambda: net50(counts=(3, 4, 23, 3)), "those are the numbers of ResNet-101. ResNet-50 has 3, 4, "
                                                            "6 and 3"),
    "channels of 34": (lambda: net50(channels=(64, 64, 128, 256, 512), end=head(512)), "num_channels is what leaves "
                                                                                       "it"),
    "channels of 34, linear 2048": (lambda: net50(channels=(64, 64, 128, 256, 512)), "num_channels is what leaves it"),
    "inputs of the module": (lambda: nn.Sequential(
        stem(), *[nn.Sequential(*resnet_block(c, 4 * c, n, first_block=c == 64, block=Bottleneck))
                  for c, n in zip((64, 128, 256, 512), (3, 4, 6, 3), strict=True)], *head(2048)),
        "a block was made for 128 channels, but gets 256"),
    "b2 as if after b2": (lambda: nn.Sequential(
        stem(), nn.Sequential(*resnet_block(256, 256, 3, first_block=True, block=Bottleneck)), *head(256)),
        "made for 256 channels, but gets 64: no module comes before it, only the stem"),
    "b2 halves": (lambda: net50(firsts=(False,) * 4), "first_block=True is missing"),
    "all keep the size": (lambda: net50(firsts=(True,) * 4), "b3 keeps the 16 pixels"),
    "linear of 34": (lambda: net50(end=head(512)), "2048 channels leave b5, so the linear layer must take 2048 "
                                                   "numbers, not 512"),
    "softmax": (lambda: net50(end=(*head(2048), nn.Softmax(dim=1))), "there is a softmax at the end"),
    "no pooling": (lambda: net50(end=head(2048)[1:]), "no pooling to one pixel"),
    "no flatten": (lambda: net50(end=head(2048)[::2]), "nn.Flatten() is missing"),
    "one module "
    "basic": (lambda: nn.Sequential(stem(), *modules()[:1], *modules(Bottleneck, (4, 6, 3), (64, 512, 1024, 2048), (
        False,) * 3), *head(2048)), "blocks are of several kinds (basic, bottleneck)"),
    "None": (lambda: [].append(1), "your network is None"),
    "own block without a ReLU": (lambda: net50(block=NoMiddleReLU, channels=WIDE), "does not compute what Bottleneck"),
}


@pytest.mark.parametrize("name", WRONG50)
def test_resnet50_explains(name, right34):
    build, part = WRONG50[name]
    verdict = checks.resnet34_and_50(right34, build)
    expect(verdict, "wrong", part)
    assert verdict.message.startswith("ResNet-50: ")


def test_resnet34_and_50_open(right34, right50):
    def blank():
        ...
    expect(checks.resnet34_and_50(blank, blank), "open", "not attempted yet")
    expect(checks.resnet34_and_50(right34, blank), "open", "ResNet-34 is right. Now write ResNet-50")
    expect(checks.resnet34_and_50(..., right50), "open", "ResNet-50 is right. Now write ResNet-34")
    expect(checks.resnet34_and_50(d2l.resnet18, blank), "wrong", "ResNet-18")


def test_resnet34_and_50_takes_two(right34):
    expect(checks.resnet34_and_50(right34), "wrong", "takes 2 answers")


# --- small_stem ---

def small(b1=None, net=None):
    net = net or d2l.resnet18()
    net[0] = b1 or nn.Sequential(nn.Conv2d(1, 64, kernel_size=3, padding=1), nn.BatchNorm2d(64), nn.ReLU())
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


@pytest.mark.parametrize("build", [small, changed_in_place, deleted, rebuilt, lambda: d2l.resnet18(stem="3x3"),
                                   lambda: small().eval()])
def test_small_stem_accepts(build):
    expect(checks.small_stem(build()), "solved", "b5 gives 4 x 4 pixels instead of 1 x 1")


def test_small_stem_counts_as_costs_does():
    usual, new = (sum(stage.multiply_adds for stage in costs.model_costs(18, 28, stem=stem)) for stem in ("7x7", "3x3"))
    assert new > 5 * usual
    expect(checks.small_stem(small()), "solved",
           f"{new / 1e6:.0f} million multiply-adds instead of {usual / 1e6:.0f}")


def small_stem_of(*layers, **conv):
    conv = dict(in_channels=1, out_channels=64, kernel_size=3, padding=1) | conv
    return small(nn.Sequential(nn.Conv2d(**conv), *layers))


WRONG_STEMS = {
    "the stem as it was": (d2l.resnet18, "convolution is 7x7, not 3x3. Is the new stem in the network?"),
    "7x7 without stride": (lambda: small(stem(stride=1, pool=nn.Identity())), "convolution is 7x7, not 3x3"),
    "stride 2": (lambda: small_stem_of(nn.BatchNorm2d(64), nn.ReLU(), stride=2), "has stride 2, not 1, so it halves"),
    "no padding": (lambda: small_stem_of(nn.BatchNorm2d(64), nn.ReLU(), padding=0), "without it 28 pixels become 26"),
    "padding 3": (lambda: small_stem_of(nn.BatchNorm2d(64), nn.ReLU(), padding=3), "has padding (3, 3)"),
    "pooling left": (lambda: d2l.resnet18(stem="3x3-pool"), "still a maximum pooling in the stem, which halves"),
    "pooling of stride 1": (lambda: small_stem_of(nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 1, 1)), "it halves "
                                                                                                         "nothing"),
    "pooling 2x2": (lambda: small_stem_of(nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)), "still a maximum pooling"),
    "no norm": (lambda: small_stem_of(nn.ReLU()), "the stem has no batch norm"),
    "no ReLU": (lambda: small_stem_of(nn.BatchNorm2d(64)), "the ReLU of the stem is missing"),
    "convolution alone": (small_stem_of, "the stem has no batch norm"),
    "ReLU before norm": (lambda: small_stem_of(nn.ReLU(), nn.BatchNorm2d(64)), "comes after the ReLU"),
    "dilation": (lambda: small_stem_of(nn.BatchNorm2d(64), nn.ReLU(), padding=1, dilation=2), "groups or a dilation"),
    "colour": (lambda: small_stem_of(nn.BatchNorm2d(64), nn.ReLU(), in_channels=3), "takes 3 channels"),
    "32 channels": (lambda: small_stem_of(nn.BatchNorm2d(32), nn.ReLU(), out_channels=32), "gives 32 channels, not 64"),
    "the stem alone": (lambda: small()[0], "rather its stem"),
    "put before the old one": (lambda: nn.Sequential(small()[0], *d2l.resnet18()), "the stem has 2 convolutions"),
    "added to the old one": (lambda: small(nn.Sequential(small()[0], d2l.resnet18(in_channels=64)[0])), "has 2 "
                                                                                                        "convolutions"),
    "34": (lambda: small(net=d2l.resnet34()), "the numbers of ResNet-34 and ResNet-50. ResNet-18 has 2, 2, 2 and 2"),
    "plain": (lambda: small(net=d2l.resnet18(shortcuts=False)), "blocks without a shortcut"),
    "50": (lambda: small(net=d2l.resnet50()), "the blocks are bottlenecks"),
    "1000 classes": (lambda: small(net=d2l.resnet18(num_classes=1000)), "ImageNet's classes"),
    "b2 halves": (lambda: nn.Sequential(small()[0], *modules(counts=(2,) * 4, firsts=(False,) * 4), *head(512)),
                  "b2 makes 14 pixels of 28"),
    "pooling for 28": (lambda: nn.Sequential(*small()[:5], nn.AvgPool2d(4), *small()[6:]), "fails on a batch of "
                                                                                           "another size"),
    "up to b5": (lambda: small()[:5], "no linear layer follows"),
    "a function": (lambda: small, "not a function: call it"),
    "a class": (lambda: ResNetClass, "got the class ResNetClass"),
    "None": (lambda: None, "your network is None"),
    "a list": (lambda: [*small()], "your network is a list"),
    "a shape": (lambda: torch.zeros(1, 512, 4, 4), "must be a network"),
}


@pytest.mark.parametrize("name", WRONG_STEMS)
def test_small_stem_explains(name):
    build, part = WRONG_STEMS[name]
    expect(checks.small_stem(build()), "wrong", part)


def test_small_stem_open():
    expect(checks.small_stem(...), "open")


# --- model_questions ---

RIGHT = {question: letter for question, (letter, _) in checks._questions().items()}


def test_model_questions_accepts():
    assert RIGHT == {"1": "c", "2": "b", "3": "a", "4": "d"}
    expect(checks.model_questions(RIGHT), "solved", "17 convolutions and 1 linear layer. The 3 on the shortcuts")
    expect(checks.model_questions({question: letter.upper() for question, letter in RIGHT.items()}), "solved")


@pytest.mark.parametrize(("question", "letter"), [
    (question, letter) for question, (right, why) in checks._questions().items() for letter in why if letter != right])
def test_model_questions_explain_each_wrong_letter(question, letter):
    expect(checks.model_questions(RIGHT | {question: letter}), "wrong",
           f"question {question}: not {letter}. {checks._questions()[question][1][letter]}")


@pytest.mark.parametrize(("answers", "part"), [
    (RIGHT | {"2": ...}, "question 2 has no answer yet"),
    (RIGHT | {"4": "e"}, "answer with one of the letters a, b, c, d"),
    (RIGHT | {"1": 18}, "answer with one of the letters"),
    ("cbad", "must be a dict"),
])
def test_model_questions_ask_for_what_they_need(answers, part):
    expect(checks.model_questions(answers), "wrong", part)


def test_the_numbers_in_the_explanations():
    parts = " ".join(text for _, why in checks._questions().values() for text in why.values())
    for number in ("8 residual blocks", "38 layers", "would be 21", "75% of the parameters are in b5", "75% of them"):
        assert number in parts, number


def test_model_questions_open():
    expect(checks.model_questions(dict.fromkeys("1234", ...)), "open")
