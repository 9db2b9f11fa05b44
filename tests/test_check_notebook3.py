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
    """All of {name: what is not as it should be, or ""} are shown at once."""
    lines = [f"{name}: {text}" for name, text in failures.items() if text]
    assert not lines, "\n".join(lines)


def raises(*_):
    raise LookupError("nothing here")


CHECKS = (checks.model_shapes, checks.model_parameters, checks.resnet34_and_50, checks.small_stem,
          checks.model_questions)
JUNK = {  # what is no answer at all, and the codes of the third and fourth check for it
    "None": (None, "no_function", "no_network"),
    "a string": ("all of them", "no_function", "no_network"),
    "a class": (nn.Linear, "wrong_arguments", "no_network"),
    "a list": ([None], "no_function", "network_is_list"),
    "an object": (object(), "no_function", "no_network"),
    "a function that raises": (raises, "raised", "no_network"),
}


def test_junk_is_wrong():
    expect_none({
        f"{check.__name__}, {name}": failure(
            check(*[junk] * len(inspect.signature(check).parameters)), code)
        for name, (junk, *codes) in JUNK.items()
        for check, code in zip(CHECKS, ["no_list_of_shapes", "no_number", *codes, "no_dict"],
                               strict=True)})


def test_there_are_hints():
    hints = {check.__name__: EXERCISES[check.__name__].hints for check in CHECKS}
    wrong = {name for name, texts in hints.items() if not (2 <= len(texts) <= 3 and all(texts))}
    assert not wrong


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


WRONG_SHAPES = {
    "for 224 pixels": (with_sizes(56, 56, 28, 14, 7), "for_224_pixels"),
    "no pooling in the stem": (with_sizes(48, 48, 24, 12, 6), "stem_halves_once"),
    "no stem": (with_sizes(96, 96, 48, 24, 12), "no_stem"),
    "b2 halves": (with_sizes(24, 12, 6, 3, 2), "b2_halves"),
    "no padding": (with_sizes(22, 22, 11, 6, 3), "no_padding"),
    "stem wrong": (with_sizes(32, 32, 16, 8, 4), "shape_of_b1", "b1: ", "k = 7, p = 3"),
    "one channel in b1": (changed(0, (1, 1, 24, 24)), "shape_of_b1", "64 channels"),
    "b2 halves alone": (changed(1, (1, 64, 12, 12)), "shape_of_b2", "b2: ", "first_block"),
    "b3 keeps the size": (with_sizes(24, 24, 24, 12, 6), "shape_of_b3", "b3: ", "24 pixels"),
    "b3 halves twice": (changed(2, (1, 128, 6, 6)), "shape_of_b3", "only that"),
    "not doubled": (changed(2, (1, 64, 12, 12)), "shape_of_b3", "64 channels"),
    "b5 keeps the size": (changed(4, (1, 512, 6, 6)), "shape_of_b5", "b5: ", "6 pixels"),
    "channels last": ([(1, 24, 24, 64), *SHAPES[1:]], "channels_last", "b1: "),
    "channels last in b4": (changed(3, (1, 6, 6, 256)), "channels_last", "b4: "),
    "no batch": ([shape[1:] for shape in SHAPES], "no_batch_size", "b1: "),
    "no batch at the end": (changed(7, (10,)), "no_batch_size", "linear: "),
    "another batch": (changed(0, (256, 64, 24, 24)), "batch_size", "b1: "),
    "two numbers": (changed(2, (12, 12)), "dimensions", "b3: ", "4", "2"),
    "not pooled": (changed(5, (1, 512, 3, 3)), "shape_of_pooling", "512"),
    "pooled and flattened": (changed(5, (1, 512)), "dimensions", "pooling: "),
    "not flattened": (changed(6, (1, 512, 1, 1)), "dimensions", "flatten: "),
    "flattened before the pooling": (changed(6, (1, 4608)), "shape_of_flatten", "512 maps"),
    "ImageNet's classes": (changed(7, (1, 1000)), "shape_of_linear", "512", "ten"),
    "seven": (SHAPES[1:], "no_list_of_shapes", "8"),
    "a number": (changed(7, 10), "no_shape", "linear: "),
    "floats": (changed(1, (1, 64, 24.0, 24.0)), "no_shape", "b2: "),
    "a dict of fewer": ({"b1": SHAPES[0]}, "no_answer", "b2"),
    "blank within": (changed(4, (1, ..., 3, 3)), "no_shape", "b5: "),
}


def test_model_shapes_names_the_mistake():
    expect_none({name: failure(checks.model_shapes(answer), *expected)
                 for name, (answer, *expected) in WRONG_SHAPES.items()})


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
WRONG_COUNTS = {
    "no biases": (B3 - 640, "no_biases"),
    "no bias on the shortcut": (B3 - 128, "no_bias_on_shortcut"),
    "no norms": (B3 - 1024, "no_norms"),
    "one norm a block": (B3 - 512, "half_the_norms"),
    "running averages": (
        sum(t.numel() for n, t in NET18[2].state_dict().items() if "num" not in n),
        "running_averages"),
    "norm on the shortcut": (B3 + 256, "norm_on_shortcut"),
    "no shortcut": (B3 - 8320, "no_shortcut"),
    "3x3 on the shortcut": (B3 + 8 * 8192, "shortcut_3x3"),
    "both with 1x1": (B3 + 8320, "two_shortcuts"),
    "both with 1x1, 128": (B3 + 128 * 128 + 128, "two_shortcuts"),
    "128 at the start": (B3 + 64 * 128 * 9, "no_conv_gets_64"),
    "64 everywhere": (B3 - 3 * 64 * 128 * 9, "four_convs_get_64"),
    "one block": (230_272, "one_block", "first"),
    "the other block": (295_680, "one_block", "second"),
    "twice the first": (2 * 230_272, "first_block_twice"),
    "twice the second": (2 * 295_680, "second_block_twice"),
    "b2": (d2l.count_parameters(NET18[1]), "another_module", "b2"),
    "b5": (d2l.count_parameters(NET18[4]), "another_module", "b5"),
    "all": (11_178_378, "network"),
    "torchvision": (d2l.count_parameters(LAYER2), "torchvision"),
    "weights": (B3 - 640 - 1024, "no_biases+no_norms"),
    "no biases, no shortcut": (B3 - 8192 - 640, "no_biases+no_shortcut"),
    "two at once": (B3 - 8320 - 1024, "no_norms+no_shortcut", "two things", "And: the 1x1"),
    "another two": (B3 - 512 + 8 * 8192, "half_the_norms+shortcut_3x3"),
    "too few": (1000, "too_few", "1,000"),
    "too many": (99_999_999, "too_many", "99,999,999"),
    "true": (True, "no_number"),
    "text": ("525,952", "no_number"),
}


def test_model_parameters_names_the_mistake():
    expect_none({name: failure(checks.model_parameters(answer), *expected)
                 for name, (answer, *expected) in WRONG_COUNTS.items()})


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


class Lambda(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, X):
        return self.function(X)


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


def with_stride_in_the_second(block):
    block.conv1.stride, block.conv2.stride, block.conv2.padding = (1, 1), block.conv1.stride, 1


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


def with_unused_layer():
    net = OwnNet()
    net.b6 = nn.Linear(3, 3)
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
WRONG34 = {
    "ResNet-18": (d2l.resnet18, "number_of_blocks", "(2, 2, 2, 2)", "ResNet-18"),
    "other numbers": (lambda: net34(counts=(3, 4, 5, 3)), "number_of_blocks", "(3, 4, 5, 3)"),
    "ResNet-50": (net50, "bottlenecks", "d2l.Residual"),
    "plain": (lambda: net34(block=PlainBlock), "block_without_shortcut", "b2, block 1", "Plain"),
    "no addition": (lambda: net34(block=NoAddition), "block_without_shortcut", "NoAddition"),
    "no ReLU at its end": (lambda: net34(block=NoReLU), "block_computes_otherwise", "NoReLU"),
    "b2 halves": (lambda: net34(firsts=(False,) * 4), "b2_conv2d_stride", "block 1: conv1",
                  "stride 2, and 1 was expected", "first_block=True"),
    "no module halves": (lambda: net34(firsts=(True,) * 4), "b3_conv2d_stride", "b3, block 1",
                         "stride 1, and 2 was expected"),
    "b5 keeps": (lambda: net34(firsts=(True, False, False, True)), "b5_conv2d_stride"),
    "halves twice": (halves_twice, "b3_conv2d_stride", "b3, block 2: conv1"),
    "three modules": (lambda: net34(counts=(3, 4, 6), end=head(256)), "module_channels"),
    "too wide": (lambda: net34(channels=(64, 64, 128, 256, 640), end=head(640)),
                 "module_channels", "(64, 128, 256, 640)"),
    "channels do not meet": (
        lambda: nn.Sequential(stem(), *shared_modules()[:2], *shared_modules()[3:], *head(512)),
        "channels_do_not_meet", "128 channels", "input_channels=256"),
    "shared": (shares_blocks, "shared_block"),
    "colour": (lambda: net34(stem(3)), "b1_conv2d_in_channels", "grey"),
    "torchvision": (torchvision.models.resnet34, "b1_conv2d_in_channels"),
    "no stem": (lambda: nn.Sequential(*modules(channels=(1, *NARROW[1:])), *head(512)),
                "b1_without_conv2d"),
    "stem 3x3": (lambda: net34(stem(1, 3, 1, 1)), "b1_conv2d_kernel_size", "3, and 7 was"),
    "stem stride": (lambda: net34(stem(stride=1)), "b1_conv2d_stride", "1, and 2 was"),
    "stem padding": (lambda: net34(stem(padding=0)), "b1_conv2d_padding", "0, and 3 was"),
    "stem channels": (lambda: net34(stem(channels=32)), "b1_conv2d_out_channels"),
    "no pooling": (lambda: net34(stem_of(0, 1, 2)), "b1_without_maxpool2d"),
    "pools 2x2": (lambda: net34(stem(pool=nn.MaxPool2d(2))), "b1_maxpool2d_kernel_size"),
    "pools unpadded": (lambda: net34(stem(pool=nn.MaxPool2d(3, 2))), "b1_maxpool2d_padding"),
    "pools the mean": (lambda: net34(stem(pool=nn.AvgPool2d(3, 2, 1))), "b1_without_maxpool2d",
                       "AvgPool2d comes in its place"),
    "no norm": (lambda: net34(stem_of(0, 2, 3)), "b1_without_batchnorm2d"),
    "no ReLU": (lambda: net34(stem_of(0, 1, 3)), "b1_without_relu"),
    "another function": (lambda: net34(stem_of(0, 1, 2, 3, part2=nn.Tanh())), "b1_without_relu"),
    "ReLU before norm": (lambda: net34(stem_of(0, 2, 1, 3)), "b1_with_relu"),
    "pooling before norm": (lambda: net34(stem_of(0, 3, 1, 2)), "b1_with_maxpool2d"),
    "two convolutions": (lambda: net34(nn.Sequential(stem(), nn.Conv2d(64, 64, 1))),
                         "b1_with_conv2d"),
    "norm of 32": (lambda: net34(stem_of(0, 1, part1=nn.BatchNorm2d(32))),
                   "b1_batchnorm2d_num_features", "32, and 64 was"),
    "no blocks": (lambda: nn.Sequential(stem(), *head(64)), "no_blocks"),
    "hidden in a list": (HiddenList, "no_blocks", "Python list"),
    "nothing": (nn.Sequential, "no_blocks"),
    "not pooled": (lambda: end34(FLATTEN, LINEAR), "head_without_adaptiveavgpool2d"),
    "pooled for one size": (lambda: end34(nn.AvgPool2d(2), FLATTEN, LINEAR),
                            "head_without_adaptiveavgpool2d", "AvgPool2d comes in its place"),
    "maximum": (lambda: end34(nn.AdaptiveMaxPool2d(1), FLATTEN, LINEAR),
                "head_without_adaptiveavgpool2d"),
    "not flattened": (lambda: end34(POOL, LINEAR), "head_without_flatten"),
    "no linear layer": (lambda: end34(POOL, FLATTEN), "head_without_linear"),
    "linear of 50": (lambda: net34(end=head(2048)), "head_linear_in_features", "2048, and 512"),
    "ImageNet": (lambda: net34(end=head(512, 1000)), "head_linear_out_features", "ImageNet"),
    "linear without bias": (lambda: end34(POOL, FLATTEN, nn.Linear(512, 10, bias=False)),
                            "head_linear_bias"),
    "softmax": (lambda: net34(end=(*head(512), nn.Softmax(1))), "head_with_softmax"),
    "log-softmax": (lambda: net34(end=(*head(512), nn.LogSoftmax(1))), "head_with_logsoftmax"),
    "softmax by function": (changed_net(lambda Y: Y.softmax(1)), "head_computes_otherwise",
                            "softmax"),
    "a second linear layer": (lambda: net34(end=(*head(512), nn.Linear(10, 10))),
                              "head_with_linear"),
    "dropout": (lambda: end34(POOL, FLATTEN, nn.Dropout(), LINEAR), "head_with_dropout"),
    "dropout between": (lambda: between(nn.Dropout()), "b4_with_dropout"),
    "function between": (lambda: between(Lambda(lambda X: 2 * X)), "b4_with_lambda"),
    "late stride": (lambda: blocks34(with_stride_in_the_second), "b3_conv2d_stride"),
    "no biases": (lambda: blocks34(without_biases), "b2_conv2d_bias", "False, and True was"),
    "no second norm": (lambda: blocks34(lambda block: setattr(block, "bn2", nn.Identity())),
                       "b2_without_batchnorm2d"),
    "3x3 shortcut": (lambda: blocks34(with_3x3_on_the_shortcut), "b3_conv2d_kernel_size"),
    "norm on the shortcut": (lambda: blocks34(with_norm_on_the_shortcut), "b3_with_batchnorm2d"),
    "1x1 everywhere": (lambda: blocks34(with_1x1_everywhere), "b2_with_conv2d"),
    "cut shortcut": (lambda: net34(block=CutShortcut), "block_cuts_gradient", "CutShortcut"),
    "detached": (changed_net(torch.Tensor.detach), "no_gradient"),
    "frozen": (frozen, "frozen_parameters"),
    "unused layers": (with_unused_layer, "unused_layers", "12 parameters"),
    "returns nothing": (changed_net(lambda Y: None), "returns_no_tensor", "None"),
    "star missing": (lambda: nn.Sequential(stem(), resnet_block(64, 64, 3, first_block=True)),
                     "list_without_star"),
    "a list": (lambda: [stem(), *shared_modules(), *head(512)], "network_is_list"),
    "None": (lambda: [].append(net34), "no_network", "`return`"),
    "a class": (lambda: OwnNet, "no_network", "class OwnNet"),
    "an argument": (lambda depth: net34(), "wrong_arguments", "depth"),
}
WRONG50 = {
    "basic blocks": (net34, "basic_blocks", "block=d2l.Bottleneck"),
    "numbers of 101": (lambda: net50(counts=(3, 4, 23, 3)), "number_of_blocks", "ResNet-101"),
    "channels of 34": (lambda: net50(channels=NARROW), "module_channels", "four times"),
    "b2 as if after b2": (
        lambda: nn.Sequential(stem(), *resnet_block(256, 256, 3, True, Bottleneck), *head(256)),
        "channels_do_not_meet", "64 leave the stem"),
    "b2 halves": (lambda: net50(firsts=(False,) * 4), "b2_conv2d_stride", "conv2"),
    "one module basic": (
        lambda: nn.Sequential(stem(), *modules(Residual, channels=WIDE)[:1],
                              *shared_modules(Bottleneck)[1:], *head(2048)),
        "basic_blocks"),
    "linear of 34": (lambda: net50(end=head(512)), "head_linear_in_features", "512, and 2048"),
}


@pytest.mark.parametrize(("depth", "name"), [
    *[(34, name) for name in WRONG34], *[(50, name) for name in WRONG50]])
def test_a_network_is_wrong(depth, name):
    build, *expected = (WRONG34 if depth == 34 else WRONG50)[name]
    verdict = verdict_on(depth, build)
    assert not failure(verdict, *expected)
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
    assert not failure(checks.resnet34_and_50(net34), "wrong_number_of_answers", "2 answer")


def test_a_trace_has_the_layers_in_the_order_in_which_the_batch_meets_them():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Identity(), ShortcutFirst(2, 4, True))
    (conv, block), Y, error = trace.follow(net, torch.rand(2, 1, 8, 8))
    assert error is None and torch.equal(Y, block.Y) and torch.equal(conv.Y, block.X)
    assert [conv.name, block.name, conv.kind, block.kind] == ["0", "2", "Conv2d", "block"]
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


WRONG_STEMS = {
    "as it was": (shared18, "b1_conv2d_kernel_size", "7, and 3 was expected", "net[0]"),
    "stride 2": (lambda: small(conv3x3(stride=2), *right_stem()[1:]), "b1_conv2d_stride"),
    "no padding": (lambda: small(conv3x3(padding=0), *right_stem()[1:]), "b1_conv2d_padding"),
    "dilation": (lambda: small(conv3x3(dilation=2), *right_stem()[1:]), "b1_conv2d_dilation"),
    "colour": (lambda: small(conv3x3(3), *right_stem()[1:]), "b1_conv2d_in_channels"),
    "pooling left": (lambda: d2l.resnet18(stem="3x3-pool"), "b1_with_maxpool2d"),
    "pooling of stride 1": (lambda: small(*right_stem(), nn.MaxPool2d(3, 1, 1)),
                            "b1_with_maxpool2d"),
    "no norm": (lambda: small(*right_stem()[::2]), "b1_without_batchnorm2d"),
    "no ReLU": (lambda: small(*right_stem()[:2]), "b1_without_relu"),
    "ReLU before norm": (lambda: small(conv3x3(), nn.ReLU(), nn.BatchNorm2d(64)), "b1_with_relu"),
    "the stem alone": (lambda: nn.Sequential(*right_stem()), "no_blocks"),
    "before the old one": (lambda: nn.Sequential(*right_stem(), *shared18()), "b1_with_conv2d"),
    "34": (lambda: small(*right_stem(), net=d2l.resnet34()), "number_of_blocks", "ResNet-34"),
    "1000 classes": (lambda: small(*right_stem(), net=d2l.resnet18(num_classes=1000)),
                     "head_linear_out_features"),
    "pooling for 28": (lambda: nn.Sequential(*small(*right_stem())[:5], nn.AvgPool2d(4),
                                             *head(512)[1:]), "head_without_adaptiveavgpool2d"),
    "a function": (lambda: small, "no_network", "a function"),
    "a class": (lambda: OwnNet, "no_network", "class OwnNet"),
    "a shape": (lambda: torch.zeros(1, 512, 4, 4), "no_network"),
}


@pytest.mark.parametrize("name", WRONG_STEMS)
def test_small_stem_names_the_mistake(name):
    build, *expected = WRONG_STEMS[name]
    assert not failure(checks.small_stem(build()), *expected)


# --- model_questions ---

LETTERS = {question: letter for question, (letter, _) in checks._questions().items()}


def test_model_questions_accepts():
    assert LETTERS == {"1": "c", "2": "b", "3": "a", "4": "d"}
    for answers in (LETTERS, {question: letter.upper() for question, letter in LETTERS.items()}):
        expect(checks.model_questions(answers), "solved", "17 convolutions", "3 on the shortcuts")


def test_model_questions_name_the_mistake():
    wrong = {f"{question} {letter}": failure(checks.model_questions(LETTERS | {question: letter}),
                                             f"question_{question}_{letter}", explanation)
             for question, (right, why) in checks._questions().items()
             for letter, explanation in why.items() if letter != right}
    assert len(wrong) == 12
    expect_none(wrong)


def test_the_numbers_in_the_explanations():
    parts = " ".join(text for _, why in checks._questions().values() for text in why.values())
    for number in ("8 residual blocks", "38 layers", "would be 21", "1 linear layer",
                   "75% of the parameters are in b5", "75% of them"):
        assert number in parts, number
