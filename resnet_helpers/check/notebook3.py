"""The exercises of notebook 3: shapes and parameters of ResNet-18, and networks to build."""

import functools
import itertools
from types import SimpleNamespace
from typing import NamedTuple

import torch
from torch import nn

from resnet_helpers import costs
from resnet_helpers.check.trace import first_difference, follow, layer_setting
from resnet_helpers.check.verdicts import (
    WHAT_CUTS_GRADIENTS,
    Open,
    Wrong,
    choose,
    close,
    exercise,
    expect_arguments,
    expect_number,
    initialize_lazy_layers,
    is_blank,
    kind_of,
    same_gradient,
)
from resnet_helpers.models import (
    NUM_RESIDUALS,
    Bottleneck,
    PlainBlock,
    PlainBottleneck,
    Residual,
    count_parameters,
    in_mode,
    resnet,
    resnet18,
)

PARTS = ("b1", "b2", "b3", "b4", "b5", "pooling", "flatten", "linear")  # of every ResNet

# --- predict the shapes ---


@functools.cache
def _shapes(size=96, without=None):
    """The shapes of one grey image behind the eight parts of ResNet-18, one thing left out."""
    with torch.device("meta"):
        net, X, shapes = resnet18(), torch.empty(1, 1, size, size), []
        if without == "stem":
            net[0][0].stride = (1, 1)
        if without in ("max pool", "stem"):
            net[0][3] = nn.Identity()
        if without == "padding":
            net[0][0].padding, net[0][3].padding = (0, 0), 0
        if without == "first_block":
            net[1][0] = Residual(64, 64, use_1x1conv=True, strides=2)
        for layer in net:
            X = layer(X)
            shapes.append(tuple(X.shape))
    return shapes


@exercise(3, "predict shapes", hints=(
    "The stem quarters height and width, b2 keeps them, and b3, b4 and b5 halve them. How often "
    "can 96 be halved?",
    "Channels: 64 leave b1 and b2, and each later module doubles them. The pooling leaves one "
    "pixel, the flattening two numbers in the shape.",
    "24 pixels leave b1 and b2.",
))
def model_shapes(shapes):
    """Eight shapes, as a list of tuples, for an input of shape (1, 1, 96, 96)."""
    if isinstance(shapes, dict):
        shapes = [shapes.get(name, ...) for name in PARTS]
    if not isinstance(shapes, (list, tuple)) or len(shapes) != len(PARTS):
        raise Wrong("no_list_of_shapes", f"the answer must be a list of {len(PARTS)} shapes, one "
                    f"for each of {', '.join(PARTS)}.")
    for name, shape in zip(PARTS, shapes, strict=True):
        if shape is ...:
            raise Wrong("no_answer", f"{name} has no answer yet.")
        if not isinstance(shape, (list, tuple)) or not all(type(n) is int for n in shape):
            raise Wrong("no_shape", f"{name}: write the shape as a tuple of whole numbers, such as "
                        f"(1, 2, 3, 4); got {shape!r}.")
    shapes, right = [tuple(shape) for shape in shapes], _shapes()
    for code, mistaken, message in (
        ("for_224_pixels", _shapes(224), "those are the shapes for 224 pixels. The image has 96."),
        ("stem_halves_once", _shapes(without="max pool"), "the stem halves twice: first the "
         "convolution with its stride of 2, then the maximum pooling. Yours halves once."),
        ("no_stem", _shapes(without="stem"), "the stem is missing from your shapes: its "
         "convolution and its maximum pooling both halve height and width."),
        ("b2_halves", _shapes(without="first_block"), "b2 does not halve (first_block=True): the "
         "maximum pooling before it has just done so."),
        ("no_padding", _shapes(without="padding"), "you left the padding out: it is 3 in the 7x7 "
         "convolution and 1 in the pooling, so that each gives exactly half."),
    ):
        if shapes[:5] == mistaken[:5]:
            raise Wrong(code, message)
    before = (1, 1, 96, 96)
    for name, shape, expected in zip(PARTS, shapes, right, strict=True):
        if shape != expected:
            code, message = _explain_shape(name, shape, expected, before)
            raise Wrong(code, f"{name}: {message}")
        before = expected
    sizes = [shape[2] for shape in right[:5]]
    return (f"all eight. From 96 pixels to {sizes[0]} in the stem, then "
            f"{', '.join(map(str, sizes[1:]))}; the pooling makes one pixel of the {sizes[-1]} x "
            f"{sizes[-1]} that are left, so the linear layer sees {right[6][1]} numbers for any "
            f"size.")


def _explain_shape(name, shape, expected, before):
    """Code and message for a wrong shape behind a part of ResNet-18; `before` is that before it."""
    if shape == expected[1:]:
        return "no_batch_size", "the number of examples is missing; it comes first, here it is 1."
    if len(shape) != len(expected):
        return "dimensions", f"the shape has {len(expected)} numbers here, not {len(shape)}."
    if shape == (1, *expected[2:], expected[1]):
        return "channels_last", "PyTorch puts the channels second: (examples, channels, ...)."
    if shape[:1] != expected[:1]:
        return "batch_size", f"no layer changes the number of examples, {expected[0]}."
    return f"shape_of_{name}", {
        "b1": "64 channels leave the stem. For the pixels use floor((n + 2p - k) / s) + 1 twice: k "
              "= 7, p = 3, s = 2 for the convolution and k = 3, p = 1, s = 2 for the pooling.",
        "b2": "it keeps the shape, since it was made with first_block=True.",
        "pooling": f"global average pooling makes one pixel of each of the {before[1]} maps.",
        "flatten": f"Flatten keeps the examples and makes one number of all others, and "
                   f"{before[1]} maps of one pixel go in.",
        "linear": f"the linear layer turns {before[1]} numbers into one score for each of the ten "
                  f"classes.",
    }.get(name, f"its first block, and only that, has a stride of 2, so the {before[-1]} pixels "
                f"become half as many; and it doubles the {before[1]} channels.")


# --- count the parameters of b3 ---

CONV1, CONV2, CONV3, NORM = 64 * 128 * 9, 128 * 128 * 9, 64 * 128, 2 * 128  # without biases

MISSTEPS = (  # (what about, change of the count, code, message); two of them may come together
    ("biases", -5 * 128, "no_biases",
     "the biases are missing: each of the five convolutions has one per output channel."),
    ("norms", -4 * NORM, "no_norms",
     "the batch norms are missing: each block has two, with a scale and a shift per channel."),
    ("norms", -2 * NORM, "half_the_norms",
     "only half of the batch norms' parameters are there: each block has two norms, each norm a "
     "scale and a shift for each channel."),
    ("norms", +4 * NORM, "running_averages",
     "running means and variances are no parameters: no gradient descent changes them."),
    ("norms", +NORM, "norm_on_shortcut",
     "there is no batch norm on the shortcut here (torchvision has one there)."),
    ("shortcut", -CONV3 - 128, "no_shortcut",
     "the 1x1 convolution on the shortcut of the first block is missing."),
    ("shortcut", +8 * CONV3, "shortcut_3x3",
     "the convolution on the shortcut is 1x1: it has a ninth of the weights that you counted."),
    ("shortcut", CONV3 + 128, "two_shortcuts",
     "only the first block has a 1x1 convolution on its shortcut."),
    ("shortcut", 128 * 128 + 128, "two_shortcuts",
     "only the first block has a 1x1 convolution on its shortcut."),
    ("channels", CONV2 - CONV1, "no_conv_gets_64",
     "the first convolution of the first block gets 64 channels, not 128."),
    ("channels", 3 * (CONV1 - CONV2), "four_convs_get_64",
     "only the first convolution gets 64 channels; the three others get 128."),
)


@exercise(3, "count parameters", hints=(
    "Two blocks. Only the first changes the channels, from 64 to 128, and so only it has a "
    "convolution on its shortcut.",
    "A k x k convolution from a to b channels has a*b*k*k weights and b biases, a batch norm 2 "
    "numbers per channel.",
    "First block: 3x3 from 64 to 128, 3x3 from 128 to 128, 1x1 from 64 to 128, two batch norms. "
    "Second: 3x3 from 128 to 128 twice, two batch norms.",
))
def model_parameters(count):
    """The number of parameters of b3 of ResNet-18."""
    answer = expect_number(count, "the number of parameters")
    with torch.device("meta"):
        net = resnet18()
    right, first, second = map(count_parameters, (net[2], *net[2]))
    if answer == right:
        return (f"{right:,}: {first:,} in the first block, of which {CONV3 + 128:,} on the "
                f"shortcut, and {second:,} in the second. The batch norms have {4 * NORM:,} of "
                f"them: next to nothing.")
    others = {count_parameters(part): ("another_module", f"that is {name}, not b3.")
              for name, part in zip(PARTS, net, strict=True)}
    others |= {
        count_parameters(net): ("network", "that is the whole network. Only b3 was asked for."),
        first: ("one_block", "that is the first block alone: the module has two."),
        second: ("one_block", "that is the second block alone: the module has two."),
        2 * first: ("first_block_twice", "the second block is not like the first: it gets 128 "
                    "channels, and its shortcut has no convolution."),
        2 * second: ("second_block_twice", "the first block is not like the second: it gets 64 "
                     "channels, and its shortcut has a 1x1 convolution."),
        right - 5 * 128 + NORM: ("torchvision", "that is torchvision's count: no biases, but a "
                                 "batch norm on the shortcut. Here it is the other way round."),
        right - 128: ("no_bias_on_shortcut", "the 1x1 convolution has biases, too."),
        right - 5 * 128 - CONV3: ("no_biases+no_shortcut", "two things: all biases are missing, "
                                  "and the 1x1 convolution on the shortcut of the first block."),
    }
    if answer in others:
        raise Wrong(*others[answer])
    for _, change, code, message in MISSTEPS:
        if answer == right + change:
            raise Wrong(code, message)
    for one, other in itertools.combinations(MISSTEPS, 2):
        if one[0] != other[0] and answer == right + one[1] + other[1]:
            raise Wrong(f"{one[2]}+{other[2]}", f"two things: {one[3]} And: {other[3]}")
    how_many = "many" if answer > right else "few"
    raise Wrong(f"too_{how_many}", f"{answer:,.10g} is too {how_many}. Write down the five layers "
                f"of the first block and the four of the second, one below the other, and count "
                f"each.")


# --- networks to build: what a batch meets in them is compared with the package's network ---

class Plan(NamedTuple):
    """What a network is to be, and a batch of images of a size that no answer is made for."""

    name: str
    depth: int
    block: type
    stem: str
    shape: tuple


RESNET34 = Plan("ResNet-34", 34, Residual, "7x7", (2, 1, 64, 96))
RESNET50 = Plan("ResNet-50", 50, Bottleneck, "7x7", (2, 1, 64, 96))
SMALL = Plan("ResNet-18", 18, Residual, "3x3", (2, 1, 28, 20))

ADVICE = {  # code of a difference -> why it should be otherwise; "block" stands for b2 to b5
    "b1_conv2d_in_channels": "The images are grey: one channel.",
    "b1_conv2d_kernel_size": "The stem is the network's first part, net[0].",
    "b1_conv2d_padding": "A k x k kernel needs a padding of (k - 1) / 2, or pixels get lost.",
    "b1_with_conv2d": "The stem has one convolution; a new one takes the place of the old.",
    "b1_with_maxpool2d": "A stem for small images has none, and in another it comes last.",
    "b1_without_maxpool2d": "In table 1 it is a maximum pooling, 3x3 with a stride of 2.",
    "block_conv2d_stride": "b2 keeps the size (first_block=True, for b2 alone); b3, b4 and b5 "
                           "halve it once, in their first block.",
    "block_conv2d_bias": "The convolutions of d2l.Residual and d2l.Bottleneck have biases.",
    "block_with_conv2d": "Where the shape stays, nothing stands on the shortcut.",
    "block_without_conv2d": "Where the shape changes, the shortcut needs a 1x1 convolution.",
    "block_with_batchnorm2d": "As in the article, none is on the shortcut (torchvision has one).",
    "head_without_adaptiveavgpool2d": "It makes one number of each map, whatever the size.",
    "head_without_flatten": "The linear layer takes a row of numbers for each image, no maps.",
    "head_linear_in_features": "As many channels leave b5.",
    "head_linear_out_features": "Fashion-MNIST has 10 classes, ImageNet 1000.",
    "head_with_softmax": "PyTorch's cross-entropy takes the softmax itself.",
    "head_with_logsoftmax": "PyTorch's cross-entropy takes the softmax itself.",
}


def _expect_plan(net, plan):
    """Wrong, with the first difference, unless a network is what is planned."""
    if isinstance(net, (list, tuple)):
        raise Wrong("network_is_list", f"your network is {kind_of(net)}: put its parts into one "
                    f"nn.Sequential(...), with a * before a list of blocks.")
    if not isinstance(net, nn.Module):
        hint = "Does the function end with a `return`?" if net is None else "Is a call missing?"
        raise Wrong("no_network", f"a network was expected, got {kind_of(net)}. {hint}")
    initialize_lazy_layers(net, plan.shape)
    X = torch.rand(plan.shape).to(next(net.parameters(), torch.empty(0)))
    calls, Y, error = follow(net, X)
    blocks = [call for call in calls if call.kind == "ResidualBlock"]
    if blocks:
        _expect_modules(blocks, plan)
    elif error is None:
        raise Wrong("no_blocks", f"no residual block was called when {plan.name} ran. Four modules "
                    f"made by resnet_block follow the stem; modules in a plain Python list do not "
                    f"count.")
    if error is None and not isinstance(Y, torch.Tensor):
        raise Wrong("returns_no_tensor", f"the network returns {kind_of(Y)}, where a tensor was "
                    f"expected. Is the last line of forward a `return`?")
    if "input_channels" in str(error):  # a block says so
        error = Wrong("channels_do_not_meet", f"{error}. The input_channels of a module are the "
                      f"num_channels of the one before it, and 64 leave the stem.")
    with torch.device("meta"):
        reference = resnet(NUM_RESIDUALS[plan.depth], plan.block, stem=plan.stem)
        if calls and getattr(calls[0].module, "bias", None) is None:
            reference[0][0].bias = None  # the batch norm behind it makes it redundant
        planned, *_ = follow(reference, torch.empty(plan.shape))
    for mine, expected in itertools.zip_longest(_cut(calls), _cut(planned), fillvalue=[]):
        X = _expect_stage(mine, expected, X, Y, error)
    if not all(parameter.requires_grad for parameter in net.parameters()):
        raise Wrong("frozen_parameters", "some parameters are frozen, with requires_grad=False: "
                    "they would never learn.")
    if not Y.requires_grad:
        raise Wrong("no_gradient", f"no gradient flows through the network: {WHAT_CUTS_GRADIENTS}")


def _expect_modules(blocks, plan):
    """Wrong unless the blocks that ran are of the right kind, number and channels."""
    if len({call.module for call in blocks}) < len(blocks):
        raise Wrong("shared_block", "the same block is called more than once, so these layers "
                    "share their weights. `[block] * 3` repeats one object; make a new block in "
                    "each round of a loop.")
    convs = [[part for part in call.module.modules() if isinstance(part, nn.Conv2d)]
             for call in blocks]
    has_bottlenecks = [conv.kernel_size for conv in convs[0]].count((3, 3)) == 1
    if has_bottlenecks != (plan.block is Bottleneck):
        raise Wrong("bottlenecks" if has_bottlenecks else "basic_blocks",
                    f"{plan.name} is built of d2l.{plan.block.__name__}, yours of "
                    + ("bottlenecks, 1x1, 3x3, 1x1." if has_bottlenecks else "basic blocks, two "
                       "convolutions of 3x3: pass block=d2l.Bottleneck to resnet_block."))
    if blocks[-1].Y is None:
        return  # why it failed says more than how far it came
    widths = [max(conv.out_channels for conv in group) for group in convs]
    modules = [(channels, len([*group])) for channels, group in itertools.groupby(widths)]
    channels, counts = zip(*modules, strict=True)
    planned = (256, 512, 1024, 2048) if plan.block is Bottleneck else (64, 128, 256, 512)
    if channels != planned:
        raise Wrong("module_channels", f"{channels} channels leave the modules, and {planned} were "
                    f"expected. num_channels is what leaves a block; in a bottleneck that is four "
                    f"times the width of its 3x3 convolution.")
    if counts != NUM_RESIDUALS[plan.depth]:
        known = [f"ResNet-{depth}" for depth, numbers in NUM_RESIDUALS.items() if numbers == counts]
        raise Wrong("number_of_blocks", f"the modules have {counts} blocks, and "
                    f"{NUM_RESIDUALS[plan.depth]} were expected."
                    + f" Yours are those of {' and '.join(known)}." * bool(known))


def _cut(calls):
    """The calls cut behind each that learns, which is the last of each list but the last list."""
    stages = [[]]
    for call in calls:
        stages[-1].append(call)
        if call.has_weights:
            stages.append([])
    return stages


def _expect_stage(mine, expected, X, Y, error):
    """Wrong unless the next layer that learns is as expected, and gets what it should.

    What comes before it may be layers or functions: the numbers count, and if they are wrong the
    layers tell why. `mine` and `expected` are the calls up to that layer, X what the layer before
    gave, Y and `error` how the network ended. Returns what the layer gave.
    """
    for call in expected:
        X = X if call.has_weights else call.module(X)
    layers, planned = ([call for call in calls if call.has_weights] for calls in (mine, expected))
    arrives = layers[0].X if layers else Y
    is_same_kind = [call.kind for call in layers] == [call.kind for call in planned]
    if not is_same_kind or arrives is None or not close(arrives, X, 1e-3):
        _expect_same(mine, expected[:len(mine)] if error else expected)
        if error:
            raise error
        part, words = _part(expected)
        raise Wrong(f"{part}_computes_otherwise", f"{words}: these layers are right, but what "
                    f"comes out, of shape {tuple(arrives.shape)}, is not what they should give. Is "
                    f"there more in forward, such as a softmax?")
    if not layers:
        return Y
    _expect_same(layers, planned)
    if layers[0].Y is None:
        raise error
    if layers[0].kind == "ResidualBlock":
        _expect_block(layers[0], planned[0])
    return layers[0].Y


def _part(calls):
    """The part of a reference network where some calls begin: for codes, and in words."""
    part, block = (calls[0].name.split(".") + ["0"])[:2] if calls else ("7", "0")
    name = PARTS[int(part)]
    if name == "b1":
        return name, "the stem, b1"
    return (name, f"{name}, block {int(block) + 1}") if name[0] == "b" else ("head", "after b5")


def _expect_same(mine, expected):
    """Wrong, with the first difference, unless two lists of calls are of the same layers."""
    difference = first_difference(mine, expected)
    if difference is None:
        return
    what, have, want = difference
    part, words = _part(expected)
    if what == "without":
        code = f"without_{want.kind}"
        text = f"{want.kind} is missing" + (f"; {have.kind} comes in its place" if have else "")
    elif what == "with":
        code = f"with_{have.kind}"
        text = f"{have.kind} comes where {want.kind if want else 'nothing'} was expected"
    else:
        code = f"{want.kind}_{what}"
        label = want.name.rpartition(".")[2]
        text = (f"{want.kind if label.isdigit() else label} has {what} "
                f"{layer_setting(have.module, what)}, and {layer_setting(want.module, what)} was "
                f"expected")
    group = part if part in ("b1", "head") else "block"
    advice = ADVICE.get(f"{group}_{code}".lower(), "")
    raise Wrong(f"{part}_{code}".lower(), f"{words}: {text}. {advice}".strip())


def _expect_block(mine, expected):
    """Wrong unless a block has the layers of the expected one and computes what that computes."""
    _expect_same(mine.layers, expected.layers)
    layers = SimpleNamespace(conv3=None, conv4=None)
    for have, want in zip(mine.layers, expected.layers, strict=True):
        setattr(layers, want.name.rpartition(".")[2], have.module)
    model = type(expected.module)
    plain = PlainBlock if model is Residual else PlainBottleneck
    formula = functools.partial(model.forward, layers)
    _, words = _part([expected])
    block = f"{words}: your {type(mine.module).__name__}"
    with in_mode(mine.module, training=True):
        if close(mine.Y, plain.forward(layers, mine.X), 1e-3):
            raise Wrong("block_without_shortcut", f"{block} adds no shortcut to its branch. A "
                        f"ResNet is built of d2l.{model.__name__}.")
        if not close(mine.Y, formula(mine.X), 1e-3):
            raise Wrong("block_computes_otherwise", f"{block} has the layers of "
                        f"d2l.{model.__name__}, but does not compute relu(branch + shortcut) as "
                        f"that does. The exercises of notebook 2 say more about blocks.")
        if type(mine.module) is not model and not same_gradient(mine.module, formula, mine.X):
            raise Wrong("block_cuts_gradient", f"{block} gives the right numbers, but no gradient "
                        f"flows through it as it should: {WHAT_CUTS_GRADIENTS}")


# --- the exercises with these ---

@exercise(3, "build ResNet-34 and ResNet-50", hints=(
    "Table 1 gives the number of blocks in each of the four modules; it is the same for both "
    "networks: 3, 4, 6, 3.",
    "ResNet-34 is ResNet-18 with these numbers. In ResNet-50 each resnet_block gets "
    "block=d2l.Bottleneck, and its channels are four times as many: 256, 512, 1024, 2048.",
    "b2 of ResNet-50: resnet_block(64, 256, 3, first_block=True, block=d2l.Bottleneck). b3: "
    "resnet_block(256, 512, 4, block=d2l.Bottleneck). The linear layer takes 2048 numbers.",
), seconds=60)
def resnet34_and_50(my_resnet34, my_resnet50):
    """Two functions without arguments that return the networks; or the networks themselves."""
    sizes, missing = {}, []
    for build, plan in ((my_resnet34, RESNET34), (my_resnet50, RESNET50)):
        if is_blank(build):
            missing.append(plan.name)
            continue
        try:
            net = build if isinstance(build, nn.Module) else _build(build)
            _expect_plan(net, plan)
        except Wrong as wrong:
            raise Wrong(wrong.code, f"{plan.name}: {wrong}") from None
        sizes[plan.name] = f"{count_parameters(net):,}"
        del net  # each takes a hundred megabytes
    if missing:
        raise Open(f"{next(iter(sizes))} is right. Now write {missing[0]}.")
    return (f"both are right, with {' and '.join(sizes.values())} parameters. Both have "
            f"{sum(NUM_RESIDUALS[34])} blocks, and those of ResNet-50 have three layers each "
            f"instead of two: the bottleneck makes them cheap.")


def _build(function):
    if not callable(function):
        raise Wrong("no_function", f"the answer must be a function without arguments that returns "
                    f"the network, got {kind_of(function)}.")
    expect_arguments(function, "it must be possible to call the function without arguments")
    try:
        return function()
    except TypeError as error:
        if "list is not a Module subclass" not in str(error):
            raise
        raise Wrong("list_without_star", "nn.Sequential got a list, but takes the layers one by "
                    "one: put a * before the list, as in nn.Sequential(*resnet_block(...)).") \
            from None


@exercise(3, "a stem for small images", hints=(
    "Only net[0] of a ResNet-18 changes: its convolution becomes 3x3 with a stride of 1, and the "
    "pooling goes.",
    "A 3x3 convolution with stride 1 keeps height and width if its padding is 1. Batch norm and "
    "ReLU stay.",
    "my_small_resnet = d2l.resnet18(), then my_small_resnet[0] = nn.Sequential(a convolution, a "
    "batch norm, a ReLU).",
))
def small_stem(net):
    """A ResNet-18 whose stem keeps the size of the image."""
    _expect_plan(net, SMALL)
    pixels, millions = [], []
    for stem in ("3x3", "7x7"):
        stages = costs.model_costs(18, 28, stem=stem)
        pixels.append(" x ".join(map(str, stages[4].shape[1:])))
        millions.append(f"{sum(stage.multiply_adds for stage in stages) / 1e6:.0f}")
    return (f"right: b5 gives {pixels[0]} pixels instead of {pixels[1]}. The price: all blocks "
            f"have more pixels to work on, and one image takes {millions[0]} million multiply-adds "
            f"instead of {millions[1]}.")


# --- questions ---

@functools.cache
def _questions():
    """Right letters and explanations, as for `choose`, with numbers that are computed."""
    with torch.device("meta"):
        net = resnet18()
    blocks = [part for part in net.modules() if isinstance(part, Residual)]
    num_convs, num_norms = (sum(isinstance(part, kind) for part in net.modules())
                            for kind in (nn.Conv2d, nn.BatchNorm2d))
    on_shortcuts = sum(block.conv3 is not None for block in blocks)
    stages = {stage.name: stage for stage in costs.model_costs(18, size=224)}

    def share(what, *names):
        total = sum(getattr(stage, what) for stage in stages.values())
        return f"{sum(getattr(stages[name], what) for name in names) / total:.0%}"

    return {
        "1": ("c", {
            "a": f"There are {len(blocks)} residual blocks, with two 3x3 convolutions each.",
            "b": f"With parameters there are {num_convs + num_norms + 1} layers: batch norms have "
                 f"some too.",
            "c": f"{num_convs - on_shortcuts} convolutions and 1 linear layer. The {on_shortcuts} "
                 f"on the shortcuts are left out, as are the batch norms.",
            "d": f"Those on the shortcuts are not counted: with them it would be {num_convs + 1}.",
        }),
        "2": ("b", {
            "a": f"The parameters, yes ({share('parameters', 'b5')} of them), but b5 works on the "
                 f"smallest maps: it keeps {share('activation_bytes', 'b5')} of the activations.",
            "b": f"Parameters grow with the channels, activations with the pixels: "
                 f"{share('parameters', 'b5')} of the parameters are in b5, "
                 f"{share('activation_bytes', 'b1', 'b2')} of the activations in b1 and b2.",
            "c": f"The linear layer has {share('parameters', 'linear')} of the parameters, "
                 f"rounded: the pooling before it leaves it few inputs. In VGG it would be "
                 f"otherwise.",
            "d": "It is the multiply-adds of b2 to b5 that are nearly the same, since four times "
                 "the weights meet a quarter of the pixels.",
        }),
        "3": ("a", {
            "a": f"A convolution slides over whatever is there, and the mean of a map is one "
                 f"number however large the map. So the linear layer gets its "
                 f"{net[-1].in_features} numbers from every image.",
            "b": "The stem quarters every image: 96 pixels become 24, and 224 become 56.",
            "c": "A convolution has the same weights for every size; only the number of places "
                 "where they are applied changes.",
            "d": "Flatten drops nothing: without the pooling it would give 512 numbers for each "
                 "pixel that is left.",
        }),
        "4": ("d", {
            "a": "In train mode the norm computes mean and variance from the batch at hand: no "
                 "fixed weights can do that.",
            "b": "In eval mode mean and variance are fixed numbers, so the norm is y = a z + b "
                 "for each channel: a linear map behind a linear map.",
            "c": "A bias is no obstacle: it is scaled and shifted like the rest.",
            "d": "There the norm scales and shifts each channel by fixed numbers, which the "
                 "convolution's weights and bias can take over. That is how section 3.8 turned "
                 "torchvision's network into ours.",
        }),
    }


@exercise(3, "four questions about the model", hints=(
    "Section 3.4 for question 1, 3.5 and 3.7 for 2, 3.3 for 3 and 3.8 for 4.",
    "2: the table of the explorer in section 3.7 has both columns. 4: which numbers does a batch "
    "norm use in train mode, and which in eval mode?",
))
def model_questions(answers):
    """Letters for questions 1 to 4."""
    return choose(answers, _questions())
