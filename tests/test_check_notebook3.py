"""The exercises of notebook 3: right answers are accepted, each mistake is named as what it is.

A mistake is told by its code; with it stand what its message says about this very answer.
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
from resnet_helpers.check import trace
from resnet_helpers.check.verdicts import EXERCISES
from resnet_helpers.models import Bottleneck, PlainBlock, Residual, resnet_block


def expect(verdict, state, *parts):
    assert verdict.state == state and all(part in verdict.message for part in parts), verdict


def failure(verdict, code, *parts):
    """What is not as it should be with the verdict on a wrong answer; "" if all is."""
    is_right = (verdict.state, verdict.code) == ("wrong", code)
    if is_right and all(part in verdict.message for part in parts):
        return ""
    return f"expected {code!r} {parts}, got {verdict.code!r} {verdict}"


def expect_none(failures):
    """All that is not as it should be is shown at once."""
    failures = [text for text in failures if text]
    assert not failures, "\n".join(failures)


def raises(*_):
    raise LookupError("nothing here")


CHECKS = (checks.model_shapes, checks.model_parameters, checks.resnet34_and_50, checks.small_stem,
          checks.model_questions)
JUNK = [  # what is no answer at all, and the codes of the third and fourth check for it
    (None, "no_function", "no_network"),
    (nn.Linear, "wrong_arguments", "no_network"),
    ([None], "no_function", "network_is_list"),
    (raises, "raised", "no_network"),
]


@pytest.mark.parametrize(("junk", "third", "fourth"), JUNK)
def test_junk_is_wrong(junk, third, fourth):
    codes = ("no_list_of_shapes", "no_number", third, fourth, "no_dict")
    for check, code in zip(CHECKS, codes, strict=True):
        answers = [junk] * len(inspect.signature(check).parameters)
        assert not failure(check(*answers), code)


def test_there_are_hints():
    assert all(2 <= len(EXERCISES[check.__name__].hints) <= 3 for check in CHECKS)


@pytest.mark.parametrize(("check", "blank"), [
    (checks.model_shapes, [...] * 8),
    (checks.model_parameters, ...),
    (checks.small_stem, ...),
    (checks.model_questions, dict.fromkeys("1234", ...)),
])
def test_a_blank_answer_is_open(check, blank):
    expect(check(blank), "open", "not attempted yet")


# --- model_shapes ---

SHAPES = [(1, 64, 24, 24), (1, 64, 24, 24), (1, 128, 12, 12), (1, 256, 6, 6), (1, 512, 3, 3),
          (1, 512, 1, 1), (1, 512), (1, 10)]


def test_the_shapes_are_those_of_a_run():
    net, X, shapes = d2l.resnet18().eval(), torch.rand(1, 1, 96, 96), []
    for layer in net:
        X = layer(X)
        shapes.append(X.shape)
    assert [tuple(shape) for shape in shapes] == SHAPES
    expect(checks.model_shapes(shapes), "solved")  # torch.Size


def test_model_shapes_accepts():
    by_name = dict(reversed([*zip(checks.PARTS, SHAPES, strict=True)]))
    for answer in (SHAPES, tuple(map(list, SHAPES)), by_name):
        expect(checks.model_shapes(answer), "solved", "24, 12, 6, 3")


def changed(i, shape):
    return [*SHAPES[:i], shape, *SHAPES[i + 1:]]


def with_sizes(*sizes):
    return [(*shape[:2], n, n) for shape, n in zip(SHAPES, sizes, strict=False)] + SHAPES[5:]


WRONG_SHAPES = [
    ("for_224_pixels", with_sizes(56, 56, 28, 14, 7)),
    ("stem_halves_once", with_sizes(48, 48, 24, 12, 6)),
    ("no_stem", with_sizes(96, 96, 48, 24, 12)),
    ("b2_halves", with_sizes(24, 12, 6, 3, 2)),
    ("no_padding", with_sizes(22, 22, 11, 6, 3)),
    ("shape_of_b1", with_sizes(32, 32, 16, 8, 4), "b1: ", "k = 7, p = 3"),
    ("shape_of_b1", changed(0, (1, 1, 24, 24)), "64 channels"),
    ("shape_of_b2", changed(1, (1, 64, 12, 12)), "b2: ", "first_block"),
    ("shape_of_b3", with_sizes(24, 24, 24, 12, 6), "b3: ", "24 pixels"),
    ("shape_of_b5", changed(4, (1, 512, 6, 6)), "b5: ", "6 pixels"),
    ("channels_last", [(1, 24, 24, 64), *SHAPES[1:]], "b1: "),
    ("no_batch_size", [shape[1:] for shape in SHAPES], "b1: "),
    ("batch_size", changed(0, (256, 64, 24, 24)), "b1: "),
    ("dimensions", changed(2, (12, 12)), "b3: ", "4", "2"),
    ("shape_of_pooling", changed(5, (1, 512, 3, 3)), "512"),
    ("shape_of_flatten", changed(6, (1, 4608)), "512 maps"),
    ("shape_of_linear", changed(7, (1, 1000)), "512", "ten"),
    ("no_list_of_shapes", SHAPES[1:], "8"),
    ("no_shape", changed(7, 10), "linear: "),
    ("no_shape", changed(4, (1, ..., 3, 3)), "b5: "),
]


def test_model_shapes_names_the_mistake():
    expect_none(failure(checks.model_shapes(answer), code, *parts)
                for code, answer, *parts in WRONG_SHAPES)


# --- model_parameters ---

B3 = 525_952


def test_b3_by_hand():
    first = (64 * 128 * 9 + 128) + (128 * 128 * 9 + 128) + (64 * 128 + 128) + 2 * 256
    second = 2 * (128 * 128 * 9 + 128) + 2 * 256
    assert first + second == B3 == d2l.count_parameters(d2l.resnet18()[2])


def test_model_parameters_accepts():
    for answer in (B3, float(B3), torch.tensor(B3), 230_272 + 295_680):
        expect(checks.model_parameters(answer), "solved", "230,272", "8,320", "295,680")


with torch.device("meta"):  # without numbers, which are not counted
    NET18, LAYER2 = d2l.resnet18(), torchvision.models.resnet18().layer2
WRONG_COUNTS = [
    ("no_biases", B3 - 640),
    ("no_bias_on_shortcut", B3 - 128),
    ("no_norms", B3 - 1024),
    ("half_the_norms", B3 - 512),
    ("running_averages",
     sum(t.numel() for n, t in NET18[2].state_dict().items() if "num" not in n)),
    ("norm_on_shortcut", B3 + 256),
    ("no_shortcut", B3 - 8320),
    ("shortcut_3x3", B3 + 8 * 8192),
    ("two_shortcuts", B3 + 8320),
    ("no_conv_gets_64", B3 + 64 * 128 * 9),
    ("four_convs_get_64", B3 - 3 * 64 * 128 * 9),
    ("one_block", 230_272, "first"),
    ("first_block_twice", 2 * 230_272),
    ("second_block_twice", 2 * 295_680),
    ("another_module", d2l.count_parameters(NET18[1]), "b2"),
    ("network", 11_178_378),
    ("torchvision", d2l.count_parameters(LAYER2)),
    ("no_biases+no_norms", B3 - 640 - 1024),
    ("no_biases+no_shortcut", B3 - 8192 - 640),
    ("no_norms+no_shortcut", B3 - 8320 - 1024, "two things", "And: the 1x1"),
    ("too_few", 1000, "1,000"),
    ("too_many", 99_999_999, "99,999,999"),
    ("no_number", True),
]


def test_model_parameters_names_the_mistake():
    expect_none(failure(checks.model_parameters(answer), code, *parts)
                for code, answer, *parts in WRONG_COUNTS)


def test_each_misstep_has_a_count_of_its_own():
    """Otherwise a reader would be told about a mistake that is another's."""
    changes = [change for _, change, *_ in checks.MISSTEPS]
    pairs = [a[1] + b[1] for a, b in itertools.combinations(checks.MISSTEPS, 2) if a[0] != b[0]]
    assert 0 not in changes + pairs
    assert len({*changes, *pairs}) == len(changes) + len(pairs)


# --- resnet34_and_50 ---

def stem(in_channels=1, kernel_size=7, stride=2, padding=3, channels=64, pool=None):
    conv = nn.Conv2d(in_channels, channels, kernel_size, stride, padding)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU(), pool or nn.MaxPool2d(3, 2, 1))


def head(channels, classes=10):
    return nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.Linear(channels, classes)


WIDE = (64, 256, 512, 1024, 2048)
NARROW = (64, 64, 128, 256, 512)


def modules(block=Residual, counts=(3, 4, 6, 3), channels=None,
            firsts=(True, False, False, False)):
    channels = channels or (WIDE if block is Bottleneck else NARROW)
    return [nn.Sequential(*resnet_block(a, b, n, first_block=first, block=block))
            for a, b, n, first in zip(channels, channels[1:], counts, firsts, strict=False)]


shared_modules = functools.cache(modules)  # not to be changed: they take time to build


def net34(b1=None, end=None, **of_modules):
    body = modules(**of_modules) if of_modules else shared_modules()
    return nn.Sequential(b1 or stem(), *body, *(end or head(512)))


def net50(b1=None, end=None, **of_modules):
    body = modules(Bottleneck, **of_modules) if of_modules else shared_modules(Bottleneck)
    return nn.Sequential(b1 or stem(), *body, *(end or head(2048)))


class OwnBlock(nn.Module):
    """The notebook's block, copied by a reader."""

    def __init__(self, input_channels, num_channels, use_1x1conv=False, strides=1):
        super().__init__()
        self.conv1 = nn.Conv2d(input_channels, num_channels, 3, padding=1, stride=strides)
        self.conv2 = nn.Conv2d(num_channels, num_channels, kernel_size=3, padding="same")
        self.conv3 = None
        if use_1x1conv:
            self.conv3 = nn.Conv2d(input_channels, num_channels, kernel_size=1, stride=strides)
        self.bn1, self.bn2 = nn.BatchNorm2d(num_channels), nn.BatchNorm2d(num_channels)

    def branch(self, X):
        return self.bn2(self.conv2(F.relu(self.bn1(self.conv1(X)))))

    def shortcut(self, X):
        return X if self.conv3 is None else self.conv3(X)

    def forward(self, X):
        return F.relu(self.branch(X).add_(self.shortcut(X)))


class ShortcutFirst(OwnBlock):
    def forward(self, X):
        return F.relu(self.shortcut(X) + self.branch(X))


class NoReLU(OwnBlock):
    def forward(self, X):
        return self.branch(X) + self.shortcut(X)


class NoAddition(OwnBlock):
    def forward(self, X):
        return F.relu(self.branch(X))


class CutShortcut(OwnBlock):
    def forward(self, X):
        return F.relu(self.branch(X) + self.shortcut(X).detach())


def changed_block(change):
    """A class of blocks that differ from `OwnBlock` by what `change` does to a block."""
    class Changed(OwnBlock):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            change(self)
    return Changed


def without_biases(block):
    block.conv1.bias = block.conv2.bias = None


def with_3x3_on_the_shortcut(block):
    if block.conv3 is not None:
        a, b, stride = block.conv3.in_channels, block.conv3.out_channels, block.conv3.stride
        block.conv3 = nn.Conv2d(a, b, 3, stride, 1)


def with_norm_on_the_shortcut(block):
    if block.conv3 is not None:
        block.conv3 = nn.Sequential(block.conv3, nn.BatchNorm2d(block.conv3.out_channels))


def with_1x1_everywhere(block):
    if block.conv3 is None:
        block.conv3 = nn.Conv2d(block.conv1.in_channels, block.conv1.out_channels, 1)


class OwnNet(nn.Module):
    """Parts in a ModuleList, functions for what learns nothing."""

    def __init__(self, block=Residual):
        super().__init__()
        self.fc = nn.Linear(2048 if block is Bottleneck else 512, 10)
        self.modules_ = nn.ModuleList(shared_modules(block))
        self.conv, self.bn = nn.Conv2d(1, 64, 7, stride=2, padding=3), nn.BatchNorm2d(64)

    def forward(self, X):
        X = F.max_pool2d(F.relu(self.bn(self.conv(X))), 3, stride=2, padding=1)
        for module in self.modules_:
            X = module(X)
        return self.fc(X.mean((2, 3)))


def changed_net(change):
    """A class of networks that give what `change` makes of what `OwnNet` gives."""
    class Changed(OwnNet):
        def forward(self, X):
            return change(super().forward(X))
    return Changed


class HiddenList(OwnNet):
    """The modules are in a Python list."""

    def __init__(self):
        super().__init__()
        modules_ = list(self.modules_)
        del self.modules_
        self.modules_ = modules_


def flat34():
    return nn.Sequential(*stem(), *itertools.chain(*shared_modules()), *head(512))


def without_stem_bias34():
    net = net34()
    net[0][0].bias = None
    return net


def lazy34():
    conv = nn.LazyConv2d(64, kernel_size=7, stride=2, padding=3)
    return net34(nn.Sequential(conv, nn.LazyBatchNorm2d(), nn.ReLU(), nn.MaxPool2d(3, 2, 1)),
                 (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(10)))


RIGHT = {
    "Sequential": (34, net34),
    "the package's": (34, d2l.resnet34),
    "flat": (34, flat34),
    "a class": (34, OwnNet),
    "stem without bias": (34, without_stem_bias34),
    "own block, in place": (34, lambda: net34(block=OwnBlock)),
    "shortcut first": (34, lambda: net34(block=ShortcutFirst)),
    "eval mode": (34, lambda: copy.deepcopy(net34()).eval()),
    "float64": (34, lambda: copy.deepcopy(net34()).double()),
    "lazy layers": (34, lazy34),
    "bottlenecks": (50, net50),
    "the package's 50": (50, d2l.resnet50),
    "a class of bottlenecks": (50, lambda: OwnNet(Bottleneck)),
    "two parts": (50, lambda: nn.Sequential(net50()[:3], net50()[3:])),
}


def verdict_on(depth, build):
    return checks.resnet34_and_50(*((build, ...) if depth == 34 else (..., build)))


@pytest.mark.parametrize("name", RIGHT)
def test_a_network_is_right(name):
    depth, build = RIGHT[name]
    verdict = verdict_on(depth, build)
    expect(verdict, "open", f"write ResNet-{84 - depth}")
    assert verdict.message.startswith(f"ResNet-{depth} is right")


def test_both_are_right_and_stay_as_they_are():
    nets = [copy.deepcopy(net34()).eval(), net50()]
    before = [copy.deepcopy(net.state_dict()) for net in nets]
    parameters = [f"{d2l.count_parameters(net):,}" for net in nets]
    for answers in (nets, [lambda: nets[0], lambda: nets[1]]):
        expect(checks.resnet34_and_50(*answers), "solved", " and ".join(parameters), " 16 blocks")
    for net, state in zip(nets, before, strict=True):
        assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())
        assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())
    assert nets[1].training and not any(part.training for part in nets[0].modules())


def shares_blocks():
    body = [nn.Sequential(module[0], *[module[1]] * (len(module) - 1)) for module in modules()]
    return nn.Sequential(stem(), *body, *head(512))


def halves_twice():
    parts = modules()
    parts[1][1] = Residual(128, 128, True, 2)
    return nn.Sequential(stem(), *parts, *head(512))


def frozen():
    net = copy.deepcopy(net34())
    net[3][0].conv2.weight.requires_grad_(False)
    return net


def between(layer):
    net = net34()
    net[2] = nn.Sequential(*net[2], layer)
    return net


def stem_of(*order, **replaced):
    """Parts 0 to 3 of the stem in this order, some of them replaced."""
    parts = stem()
    return nn.Sequential(*[replaced.get(f"part{i}", parts[i]) for i in order])


def end34(*layers):
    return net34(end=layers)


def blocks34(change):
    return net34(block=changed_block(change))


POOL, FLATTEN, LINEAR = head(512)
WRONG34 = [
    ("number_of_blocks", d2l.resnet18, "(2, 2, 2, 2)", "ResNet-18"),
    ("number_of_blocks", lambda: net34(counts=(3, 4, 5, 3)), "(3, 4, 5, 3)"),
    ("bottlenecks", net50, "d2l.Residual"),
    ("block_without_shortcut", lambda: net34(block=PlainBlock), "b2, block 1", "Plain"),
    ("block_without_shortcut", lambda: net34(block=NoAddition), "NoAddition"),
    ("block_computes_otherwise", lambda: net34(block=NoReLU), "NoReLU"),
    ("b2_conv2d_stride", lambda: net34(firsts=(False,) * 4), "block 1: conv1",
     "stride 2, and 1 was expected", "first_block=True"),
    ("b3_conv2d_stride", lambda: net34(firsts=(True,) * 4), "b3, block 1",
     "stride 1, and 2 was expected"),
    ("b3_conv2d_stride", halves_twice, "b3, block 2: conv1"),
    ("module_channels", lambda: net34(counts=(3, 4, 6), end=head(256))),
    ("channels_do_not_meet",
     lambda: nn.Sequential(stem(), *shared_modules()[:2], *shared_modules()[3:], *head(512)),
     "128 channels", "input_channels=256"),
    ("shared_block", shares_blocks),
    ("b1_conv2d_in_channels", lambda: net34(stem(3)), "grey"),
    ("b1_without_conv2d", lambda: nn.Sequential(*modules(channels=(1, *NARROW[1:])), *head(512))),
    ("b1_conv2d_kernel_size", lambda: net34(stem(1, 3, 1, 1)), "3, and 7 was"),
    ("b1_conv2d_padding", lambda: net34(stem(padding=0)), "0, and 3 was"),
    ("b1_without_maxpool2d", lambda: net34(stem_of(0, 1, 2))),
    ("b1_maxpool2d_kernel_size", lambda: net34(stem(pool=nn.MaxPool2d(2)))),
    ("b1_without_maxpool2d", lambda: net34(stem(pool=nn.AvgPool2d(3, 2, 1))),
     "AvgPool2d comes in its place"),
    ("b1_without_batchnorm2d", lambda: net34(stem_of(0, 2, 3))),
    ("b1_without_relu", lambda: net34(stem_of(0, 1, 3))),
    ("b1_with_relu", lambda: net34(stem_of(0, 2, 1, 3))),
    ("b1_with_conv2d", lambda: net34(nn.Sequential(stem(), nn.Conv2d(64, 64, 1)))),
    ("b1_batchnorm2d_num_features", lambda: net34(stem_of(0, 1, part1=nn.BatchNorm2d(32))),
     "32, and 64 was"),
    ("no_blocks", lambda: nn.Sequential(stem(), *head(64))),
    ("no_blocks", HiddenList, "Python list"),
    ("head_without_adaptiveavgpool2d", lambda: end34(FLATTEN, LINEAR)),
    ("head_without_adaptiveavgpool2d", lambda: end34(nn.AvgPool2d(2), FLATTEN, LINEAR),
     "AvgPool2d comes in its place"),
    ("head_without_flatten", lambda: end34(POOL, LINEAR)),
    ("head_without_linear", lambda: end34(POOL, FLATTEN)),
    ("head_linear_out_features", lambda: net34(end=head(512, 1000)), "ImageNet"),
    ("head_linear_bias", lambda: end34(POOL, FLATTEN, nn.Linear(512, 10, bias=False))),
    ("head_with_softmax", lambda: net34(end=(*head(512), nn.Softmax(1)))),
    ("head_with_logsoftmax", lambda: net34(end=(*head(512), nn.LogSoftmax(1)))),
    ("head_computes_otherwise", changed_net(lambda Y: Y.softmax(1)), "softmax"),
    ("head_with_dropout", lambda: end34(POOL, FLATTEN, nn.Dropout(), LINEAR)),
    ("b4_with_dropout", lambda: between(nn.Dropout())),
    ("b2_conv2d_bias", lambda: blocks34(without_biases), "False, and True was"),
    ("b2_without_batchnorm2d",
     lambda: blocks34(lambda block: setattr(block, "bn2", nn.Identity()))),
    ("b3_conv2d_kernel_size", lambda: blocks34(with_3x3_on_the_shortcut)),
    ("b3_with_batchnorm2d", lambda: blocks34(with_norm_on_the_shortcut)),
    ("b2_with_conv2d", lambda: blocks34(with_1x1_everywhere)),
    ("block_cuts_gradient", lambda: net34(block=CutShortcut), "CutShortcut"),
    ("no_gradient", changed_net(torch.Tensor.detach)),
    ("frozen_parameters", frozen),
    ("returns_no_tensor", changed_net(lambda Y: None), "None"),
    ("list_without_star", lambda: nn.Sequential(stem(), resnet_block(64, 64, 3, first_block=True))),
    ("network_is_list", lambda: [stem(), *shared_modules(), *head(512)]),
    ("no_network", lambda: [].append(net34), "`return`"),
    ("no_network", lambda: OwnNet, "class OwnNet"),
    ("wrong_arguments", lambda depth: net34(), "depth"),
]
WRONG50 = [
    ("basic_blocks", net34, "block=d2l.Bottleneck"),
    ("module_channels", lambda: net50(channels=NARROW), "four times"),
    ("channels_do_not_meet",
     lambda: nn.Sequential(stem(), *resnet_block(256, 256, 3, True, Bottleneck), *head(256)),
     "64 leave the stem"),
    ("b2_conv2d_stride", lambda: net50(firsts=(False,) * 4), "conv2"),
    ("basic_blocks",
     lambda: nn.Sequential(stem(), modules(channels=WIDE)[0], *shared_modules(Bottleneck)[1:],
                           *head(2048))),
]


@pytest.mark.parametrize(("depth", "row"), [
    *[(34, row) for row in WRONG34], *[(50, row) for row in WRONG50]],
    ids=lambda value: value[0] if isinstance(value, tuple) else str(value))
def test_a_network_is_wrong(depth, row):
    code, build, *parts = row
    verdict = verdict_on(depth, build)
    assert not failure(verdict, code, *parts)
    assert verdict.message.startswith(f"ResNet-{depth}: ")


def test_an_error_in_forward_is_told_with_its_line():
    verdict = verdict_on(34, changed_net(lambda Y: Y.not_there))
    assert not failure(verdict, "raised", "AttributeError", "Y.not_there")


def test_one_is_right_and_the_other_wrong():
    verdict = checks.resnet34_and_50(net34, net34)
    assert not failure(verdict, "basic_blocks") and verdict.message.startswith("ResNet-50: ")


def test_resnet34_and_50_open():
    def blank():
        ...
    expect(checks.resnet34_and_50(blank, blank), "open", "not attempted yet")
    assert not failure(checks.resnet34_and_50(d2l.resnet18, blank), "number_of_blocks")
    assert not failure(checks.resnet34_and_50(net34), "wrong_number_of_answers",
                       "missing a required")


def test_a_trace_has_the_layers_in_the_order_in_which_the_batch_meets_them():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Identity(), ShortcutFirst(2, 4, True))
    (conv, block), Y, error = trace.follow(net, torch.rand(2, 1, 8, 8))
    assert error is None and torch.equal(Y, block.Y) and torch.equal(conv.Y, block.X)
    assert [conv.name, block.name, conv.kind, block.kind] == ["0", "2", "Conv2d", "ResidualBlock"]
    names = [call.name.removeprefix("2.") for call in block.layers]
    assert names == ["conv1", "bn1", "conv2", "bn2", "conv3"]


# --- small_stem ---

shared18 = functools.cache(d2l.resnet18)


def small(*b1, net=None):
    """A ResNet-18 with another stem; the rest is shared and not to be changed."""
    return nn.Sequential(nn.Sequential(*b1), *(net or shared18())[1:])


def conv3x3(in_channels=1, out_channels=64, **settings):
    return nn.Conv2d(in_channels, out_channels, **dict(kernel_size=3, padding=1) | settings)


def right_stem():
    return conv3x3(), nn.BatchNorm2d(64), nn.ReLU()


def changed_in_place():
    net = d2l.resnet18()
    net[0][0] = nn.Conv2d(1, 64, kernel_size=3, stride=1, padding="same", bias=False)
    net[0][3] = nn.Identity()
    return net


RIGHT_STEMS = {
    "replaced": lambda: small(*right_stem()), "changed in place": changed_in_place,
    "the package's": lambda: d2l.resnet18(stem="3x3"),
    "flat, in place": lambda: nn.Sequential(*right_stem()[:2], nn.ReLU(inplace=True),
                                            *shared18()[1:]),
}


@pytest.mark.parametrize("name", RIGHT_STEMS)
def test_small_stem_accepts(name):
    usual, new = (sum(stage.multiply_adds for stage in costs.model_costs(18, 28, stem=stem)) / 1e6
                  for stem in ("7x7", "3x3"))
    assert new > 5 * usual
    expect(checks.small_stem(RIGHT_STEMS[name]()), "solved", "4 x 4", "1 x 1",
           f"{new:.0f} million", f"instead of {usual:.0f}")


WRONG_STEMS = [
    ("b1_conv2d_kernel_size", shared18, "7, and 3 was expected", "net[0]"),
    ("b1_conv2d_stride", lambda: small(conv3x3(stride=2), *right_stem()[1:])),
    ("b1_conv2d_padding", lambda: small(conv3x3(padding=0), *right_stem()[1:])),
    ("b1_with_maxpool2d", lambda: d2l.resnet18(stem="3x3-pool")),
    ("b1_with_relu", lambda: small(conv3x3(), nn.ReLU(), nn.BatchNorm2d(64))),
    ("no_blocks", lambda: nn.Sequential(*right_stem())),
    ("b1_with_conv2d", lambda: nn.Sequential(*right_stem(), *shared18())),
    ("head_linear_out_features", lambda: small(*right_stem(), net=d2l.resnet18(num_classes=1000))),
    ("head_without_adaptiveavgpool2d",
     lambda: nn.Sequential(*small(*right_stem())[:5], nn.AvgPool2d(4), *head(512)[1:])),
    ("no_network", lambda: small, "a function"),
]


def test_small_stem_names_the_mistake():
    expect_none(failure(checks.small_stem(build()), code, *parts)
                for code, build, *parts in WRONG_STEMS)


# --- model_questions ---

LETTERS = {question: letter for question, (letter, _) in checks._questions().items()}


def test_model_questions_accepts():
    assert LETTERS == {"1": "c", "2": "b", "3": "a", "4": "d"}
    for answers in (LETTERS, {question: letter.upper() for question, letter in LETTERS.items()}):
        expect(checks.model_questions(answers), "solved", "17 convolutions", "3 on the shortcuts")


def test_model_questions_name_the_mistake():
    expect_none(failure(checks.model_questions(LETTERS | {question: letter}),
                        f"question_{question}_{letter}", explanation)
                for question, (right, why) in checks._questions().items()
                for letter, explanation in why.items() if letter != right)


def test_the_numbers_in_the_explanations():
    parts = " ".join(text for _, why in checks._questions().values() for text in why.values())
    for number in ("8 residual blocks", "38 layers", "would be 21", "1 linear layer",
                   "75% of the parameters are in b5", "75% of them"):
        assert number in parts, number
