"""The exercises of notebook 3: shapes and parameters of ResNet-18, and networks that the reader builds."""

import functools
import itertools
from dataclasses import dataclass, field
from types import SimpleNamespace

import torch
from torch import nn
from torch.nn import functional as F

from resnet_helpers import costs
from resnet_helpers.check.verdicts import (
    WHAT_CUTS_GRADIENTS,
    Open,
    Wrong,
    call,
    choose,
    close,
    diagnose,
    exercise,
    expect_number,
    finish_lazy_layers,
    is_blank,
    same_gradient,
)
from resnet_helpers.models import (
    NUM_RESIDUALS,
    Bottleneck,
    PlainBlock,
    PlainBottleneck,
    Residual,
    count_parameters,
    resnet,
    resnet18,
)
from resnet_helpers.training import in_mode

# --- predictions ---

LAYERS = ("b1", "b2", "b3", "b4", "b5", "pooling", "flatten", "linear")


@functools.cache
def _shapes(size, drop=()):
    """The eight shapes that ResNet-18 gives for one grey image.

    Args:
        size: of the image in pixels.
        drop: what is left out: "conv stride", "max pool", "padding", "first_block".
    """
    with torch.device("meta"):
        net, X, shapes = resnet18(), torch.empty(1, 1, size, size), []
        if "conv stride" in drop:
            net[0][0].stride = (1, 1)
        if "max pool" in drop:
            net[0][3] = nn.Identity()
        if "padding" in drop:
            net[0][0].padding, net[0][3].padding = (0, 0), 0
        if "first_block" in drop:
            net[1][0] = Residual(64, 64, use_1x1conv=True, strides=2)
        for layer in net:
            X = layer(X)
            shapes.append(tuple(X.shape))
    return shapes


@exercise(3, "predict shapes", hints=(
    "The stem quarters height and width, b2 keeps them, and b3, b4 and b5 halve them. How often can 96 be halved?",
    "Channels: 64 leave b1 and b2, and each later module doubles them. The pooling leaves one pixel, the flattening "
    "two numbers in the shape.",
    "24 pixels leave b1 and b2.",
))
def model_shapes(shapes):
    """Eight shapes, as a list of tuples, for an input of shape (1, 1, 96, 96)."""
    if isinstance(shapes, dict):
        shapes = [shapes.get(name, ...) for name in LAYERS]
    if not isinstance(shapes, (list, tuple)) or len(shapes) != len(LAYERS):
        raise Wrong("no_list_of_shapes",
                    f"the answer must be a list of {len(LAYERS)} shapes, one for each of {', '.join(LAYERS)}.")
    for name, shape in zip(LAYERS, shapes, strict=True):
        if shape is ...:
            raise Wrong("no_answer", f"{name} has no answer yet.")
        if not isinstance(shape, (list, tuple)) or not all(type(n) is int for n in shape):  # torch.Size is a tuple
            raise Wrong("no_shape", f"{name}: write the shape as a tuple of whole numbers, such as (1, 2, 3, 4); got "
                        f"{shape!r}.")
    shapes, right = [tuple(shape) for shape in shapes], _shapes(96)
    if shapes != right:
        _explain_shapes(shapes, right)
    sizes = [shape[2] for shape in right[:5]]
    return (f"all eight. From 96 pixels to {sizes[0]} in the stem, then {', '.join(map(str, sizes[1:]))}; the pooling "
            f"makes one pixel of the {sizes[-1]} x {sizes[-1]} that are left, so the linear layer sees {right[6][1]} "
            f"numbers for any size.")


def _explain_shapes(shapes, right):
    whole = (
        ("for_224_pixels", _shapes(224), "those are the shapes for 224 pixels. Here the image has 96."),
        ("stem_halves_once", _shapes(96, ("max pool",)),
         "the stem halves twice: first the convolution with its stride of 2, then the maximum pooling. Yours halves "
         "once."),
        ("no_stem", _shapes(96, ("conv stride", "max pool")),
         "the stem is missing from your shapes: its convolution and its maximum pooling both halve height and width."),
        ("b2_halves", _shapes(96, ("first_block",)),
         "b2 does not halve (first_block=True): the maximum pooling before it has just done so."),
        ("no_padding", _shapes(96, ("padding",)),
         "you left the padding out: it is 3 in the 7x7 convolution and 1 in the pooling, so that each gives exactly "
         "half."),
    )
    for code, mistaken, message in whole:
        if shapes == mistaken or shapes[:5] == mistaken[:5] != right[:5]:
            raise Wrong(code, message)
    for i, (name, shape, expected) in enumerate(zip(LAYERS, shapes, right, strict=True)):
        if shape != expected:
            code, message = _wrong_shape(i, shape, expected, right)
            raise Wrong(code, f"{name}: {message}")


def _wrong_shape(i, shape, expected, right):
    """(code, message) for the shape that layer i gives; so do the functions below."""
    if shape == expected[1:]:
        return "no_batch_size", "the number of examples is missing; it comes first, here it is 1, and it never changes."
    if i == 5:
        return _wrong_pooling(shape, expected, right)
    if i == 6:
        return _wrong_flattening(shape, expected, right)
    if i == 7:
        if len(shape) != 2:
            return ("no_row_of_scores",
                    f"a row of ten scores for each example: two numbers in the shape, yours has {len(shape)}.")
        return ("number_of_scores",
                f"the linear layer turns {right[6][1]} numbers into one score for each of the ten classes.")
    if len(shape) != 4:
        return ("no_four_numbers",
                f"a shape has four numbers here, (examples, channels, height, width); yours has {len(shape)}.")
    if shape == (expected[0], *expected[2:], expected[1]):
        return "channels_last", "PyTorch puts the channels second, not last: (examples, channels, height, width)."
    if shape[0] != expected[0]:
        return ("changed_batch_size",
                f"the first number counts the examples, and no layer changes it: it stays {expected[0]}.")
    if shape[1] != expected[1]:
        return _wrong_channels(i, shape, expected, right)
    return _wrong_size(i, shape, expected, right)


def _wrong_pooling(shape, expected, right):
    if len(shape) == 2:
        return ("pooled_and_flattened",
                "the pooling leaves four numbers in the shape: each map becomes a map of one pixel. Flattening comes "
                "next.")
    if shape == right[4]:
        return "not_pooled", "global average pooling turns each map into its mean, so height and width become 1."
    if len(shape) == 4 and shape[1] != expected[1]:
        return "pooled_channels", f"pooling does not touch the channels: {expected[1]} go in and come out."
    return ("pooled_in_part",
            "AdaptiveAvgPool2d((1, 1)) leaves one pixel of each map, whatever its size, and keeps examples and "
            "channels.")


def _wrong_flattening(shape, expected, right):
    if len(shape) != 2:
        return ("not_flattened",
                f"Flatten keeps the first number, the examples, and makes one of all others: {expected}.")
    if shape[1] == right[4][1] * right[4][2] * right[4][3]:
        return ("flattened_without_pooling",
                f"what is flattened are {expected[1]} maps of one pixel each, not of {right[4][2]} x {right[4][3]}.")
    return "flattened_to_other_number", f"as many numbers come out as go in, and {expected[1]} maps of one pixel go in."


def _wrong_channels(i, shape, expected, right):
    before = right[i - 1][1]
    if i == 0:
        return ("stem_channels",
                f"the 7x7 convolution has {expected[1]} output channels, not {shape[1]}; pooling keeps them.")
    if shape[1] == before:
        return ("channels_not_doubled",
                f"the module doubles the channels, in its first block: {before} go in, {expected[1]} come out.")
    return ("module_channels",
            f"{shape[1]} channels are not right: the modules have 64, 128, 256 and 512 output channels.")


def _wrong_size(i, shape, expected, right):
    before = (96, 96) if i == 0 else right[i - 1][2:]
    if i == 0:
        return ("stem_size",
                f"{shape[2]} x {shape[3]} pixels: apply floor((n + 2p - k) / s) + 1 twice, with k = 7, p = 3, s = 2 "
                f"for the convolution and k = 3, p = 1, s = 2 for the pooling.")
    if i == 1:
        return ("b2_changes_size",
                f"b2 keeps the size, since it was made with first_block=True: {before[0]} x {before[1]} go in and come "
                f"out.")
    if shape[2:] == before:
        return ("module_keeps_size",
                f"its first block has a stride of 2, so the {before[0]} pixels become {expected[2]}.")
    if shape[2] == -(-before[0] // 4):
        return ("module_halves_twice",
                "only the first block of a module has a stride of 2, and in it only one of the two 3x3 convolutions.")
    return ("module_size",
            f"{shape[2]} x {shape[3]} pixels: its first block halves the {before[0]} x {before[1]} of the module "
            f"before it, once.")


# --- count the parameters of b3 ---

CONV1, CONV2, CONV3, NORM = 64 * 128 * 9, 128 * 128 * 9, 64 * 128, 2 * 128  # without biases

MISSTEPS = (  # (what it is about, how much it changes the count, code, message); two of them may come together
    ("biases", -5 * 128, "no_biases",
     "the biases are missing: each of the five convolutions has one per output channel."),
    ("norms", -4 * NORM, "no_norms",
     "the batch norms are missing: each block has two, with a scale and a shift per channel."),
    ("norms", -2 * NORM, "half_the_norms",
     "only half of the batch norms' parameters are there: each block has two norms, each norm a scale and a shift for "
     "each channel."),
    ("norms", +4 * NORM, "running_averages",
     "running means and variances are no parameters: no gradient descent changes them."),
    ("norms", +4 * NORM + 4, "state_dict",
     "that is the size of the state_dict: running means, variances and counters are no parameters."),
    ("norms", +NORM, "norm_on_shortcut", "there is no batch norm on the shortcut here (torchvision has one there)."),
    ("shortcut", -CONV3 - 128, "no_shortcut", "the 1x1 convolution on the shortcut of the first block is missing."),
    ("shortcut", +8 * CONV3, "shortcut_3x3",
     "the convolution on the shortcut is 1x1, not 3x3: it has a ninth of the weights that you counted."),
    ("shortcut", CONV3 + 128, "two_shortcuts",
     "only the first block has a 1x1 convolution on its shortcut; the second adds its input as it is."),
    ("shortcut", 128 * 128 + 128, "two_shortcuts",
     "only the first block has a 1x1 convolution on its shortcut; the second adds its input as it is."),
    ("channels", CONV2 - CONV1, "no_conv_gets_64",
     "the first convolution of the first block gets 64 channels, not 128."),
    ("channels", CONV1 - CONV2, "two_convs_get_64",
     "only the first convolution gets 64 channels; the three others get 128."),
    ("channels", 2 * (CONV1 - CONV2), "three_convs_get_64",
     "only the first convolution of the module gets 64 channels; the three others get 128."),
    ("channels", 3 * (CONV1 - CONV2), "four_convs_get_64",
     "only the first convolution of the module gets 64 channels; the three others get 128."),
    ("kernels", -(CONV1 + 3 * CONV2) * 2 // 3, "kernels_of_3_weights",
     "a 3x3 kernel has 9 weights for each pair of channels, not 3."),
    ("kernels", -(CONV1 + 3 * CONV2) * 8 // 9, "kernels_1x1",
     "the kernels of the branch are 3x3: 9 weights for each pair of channels."),
)


@functools.cache
def _counts():
    """Numbers of parameters of the parts of ResNet-18, by name, and of the two blocks of b3."""
    with torch.device("meta"):
        net = resnet18()
    counts = {name: count_parameters(part) for name, part in zip(LAYERS, net, strict=True)}
    return counts | {"first": count_parameters(net[2][0]), "second": count_parameters(net[2][1]),
                     "net": count_parameters(net)}


@exercise(3, "count parameters", hints=(
    "Two blocks. Only the first changes the channels, from 64 to 128, and so only it has a convolution on its "
    "shortcut.",
    "A k x k convolution from a to b channels has a*b*k*k weights and b biases, a batch norm 2 numbers per channel.",
    "First block: 3x3 from 64 to 128, 3x3 from 128 to 128, 1x1 from 64 to 128, two batch norms. Second: 3x3 from 128 "
    "to 128 twice, two batch norms.",
))
def model_parameters(count):
    """The number of parameters of b3 of ResNet-18."""
    answer, counts = expect_number(count, "the number of parameters"), _counts()
    right, first, second = counts["b3"], counts["first"], counts["second"]
    if answer == right:
        return (f"{right:,}: {first:,} in the first block, of which {CONV3 + 128:,} on the shortcut, and {second:,} in "
                f"the second. The batch norms have {4 * NORM:,} of them: next to nothing.")
    others = {
        first: ("first_block_alone", "that is the first block alone: the module has two."),
        second: ("second_block_alone", "that is the second block alone: the module has two."),
        2 * first: ("first_block_twice", "the second block is not like the first: it gets 128 channels, and its "
                                         "shortcut has no convolution."),
        2 * second: ("second_block_twice", "the first block is not like the second: it gets 64 channels, and its "
                                           "shortcut has a 1x1 convolution."),
        counts["b2"]: ("count_of_b2", "that is b2, the module before it. Its blocks have 64 channels."),
        counts["b4"]: ("count_of_b4", "that is b4, the module behind it. Its blocks have 256 channels."),
        counts["b5"]: ("count_of_b5", "that is b5. b3 is the second of the four modules, the one with 128 channels."),
        counts["net"]: ("count_of_network", "that is the whole network. Only b3 was asked for."),
        right - 5 * 128 + NORM: ("torchvision", "that is torchvision's count: no biases, but a batch norm on the "
                                                "shortcut. Here it is the other way round."),
        right - 5 * 128 - 4 * NORM: ("weights_alone", "those are the weights of the convolutions. They have biases "
                                                      "too, and batch norms have parameters."),
        right - 128: ("no_bias_on_shortcut", "the 1x1 convolution on the shortcut has biases too."),
        right - CONV3 - 5 * 128: ("no_biases+no_shortcut", "two things: the 1x1 convolution on the shortcut of the "
                                                           "first block is missing, and so are the biases of the "
                                                           "others."),
        CONV1 + 3 * CONV2: ("branch_weights_alone", "those are the weights of the four 3x3 convolutions alone. What "
                                                    "else has numbers that are learnt?"),
    }
    if answer in others:
        raise Wrong(*others[answer])
    for _, change, code, message in MISSTEPS:
        if answer == right + change:
            raise Wrong(code, message)
    for one, other in itertools.combinations(MISSTEPS, 2):
        (kind, change, code, message), (other_kind, other_change, other_code, other_message) = one, other
        if kind != other_kind and answer == right + change + other_change:
            raise Wrong(f"{code}+{other_code}", f"two things: {message} And: {other_message}")
    how_many = "many" if answer > right else "few"
    raise Wrong(f"too_{how_many}",
                f"{answer:,.10g} is too {how_many}. Write down the five layers of the first block and the four of the "
                f"second, one below the other, and count each.")


# --- networks that the reader builds: watch one run, then compare ---

MODULES = ("b2", "b3", "b4", "b5")
PLAIN = "nn.Sequential(b1, b2, b3, b4, b5, nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.Linear(..., 10))"


@dataclass
class Call:
    """One call of a layer or block: the module, what went in and what came out, None if it failed."""

    module: nn.Module
    is_block: bool
    X: torch.Tensor
    Y: torch.Tensor = None


@dataclass
class Run:
    """What happened when the network ran on X.

    Attributes:
        X, Y: input and output; Y is None if it failed.
        calls: of its layers and residual blocks, in the order of the calls; layers inside blocks are left out.
        error: with which it failed.
    """

    X: torch.Tensor
    Y: torch.Tensor = None
    calls: list = field(default_factory=list)
    error: Exception = None

    @property
    def blocks(self):
        """The calls of residual blocks."""
        return [c for c in self.calls if c.is_block]

    def layers(self, kind, behind=False):
        """The calls of layers of this kind before the first block, or behind the last."""
        positions = [i for i, c in enumerate(self.calls) if c.is_block] or [len(self.calls)]
        calls = self.calls[positions[-1] + 1:] if behind else self.calls[:positions[0]]
        return [c for c in calls if isinstance(c.module, kind)]


def _blocks_of(net):
    """The residual blocks of a network, whatever their class: modules that hold two convolutions, and not two blocks.

    Where one such module is a part of another, as a branch that is a module of its own, the outer one is the block,
    unless it has more convolutions than the largest block (four).
    """
    parts = {m: set(m.modules()) for m in net.modules() if m is not net
             and type(m) not in (nn.Sequential, nn.ModuleList, nn.ModuleDict)}
    num_convs = {m: sum(isinstance(part, nn.Conv2d) for part in parts[m]) for m in parts}
    smallest = {m for m in parts if num_convs[m] >= 2
                and not any(num_convs.get(part, 0) >= 2 for part in parts[m] - {m})}
    blocks = {m for m in parts if m in smallest or num_convs[m] <= 4 and len(parts[m] & smallest) == 1}
    return {m for m in blocks if not any(m in parts[other] for other in blocks - {m})}


def _kind(block):
    """"basic", "bottleneck", "plain" for a block without shortcut, or "other"."""
    if isinstance(block, (PlainBlock, PlainBottleneck)):
        return "plain"
    kernels = [part.kernel_size for part in block.modules() if isinstance(part, nn.Conv2d)]
    if kernels.count((3, 3)) >= 2:
        return "basic"
    return "bottleneck" if kernels.count((3, 3)) == 1 and kernels.count((1, 1)) >= 2 else "other"


def _run(net, shape):
    """Run the network in train mode on a batch of random images, and take down what its layers do: a `Run`."""
    parameter = next(net.parameters(), torch.empty(0))
    X = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(parameter.device, parameter.dtype)
    run, handles, open_calls, blocks = Run(X), [], [], _blocks_of(net)

    def enter(module, inputs):
        tensor = inputs[0] if inputs and isinstance(inputs[0], torch.Tensor) else torch.empty(0)
        is_outside = not any(c.is_block for c in open_calls)
        open_calls.append(Call(module, module in blocks, tensor.detach().clone()))  # later layers may work in place
        if is_outside:
            run.calls.append(open_calls[-1])

    def leave(module, inputs, output):
        open_calls.pop().Y = output.detach().clone() if isinstance(output, torch.Tensor) else None

    for module in net.modules():
        if module in blocks or not any(True for _ in module.children()):
            handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        with in_mode(net, training=True), torch.enable_grad():
            run.Y = call(net, X, what="your network")
    except (RuntimeError, ValueError, TypeError) as error:
        run.error = error
    finally:
        for handle in handles:
            handle.remove()
    return run


def _expect_network(net):
    """Wrong unless it is a network that holds numbers."""
    if net is None:
        raise Wrong("network_is_none", "your network is None: does the function end with a `return`?")
    if isinstance(net, (list, tuple)):
        raise Wrong("network_is_list",
                    f"your network is a {type(net).__name__}: put its parts into one nn.Sequential(...), with a * "
                    f"before a list of blocks.")
    if isinstance(net, type):
        raise Wrong("network_is_class",
                    f"the answer must be a network, got the class {net.__name__}: make an object of it.")
    if not isinstance(net, nn.Module):
        raise Wrong("no_network", f"the answer must be a network, an nn.Module, got {str(net)[:60]!r}.")
    if any(p.is_meta for p in net.parameters()):
        raise Wrong("network_on_meta",
                    'your network holds no numbers, since it was built under torch.device("meta"). Build it without.')


@dataclass(frozen=True)
class Plan:
    """What a network is to be.

    Attributes:
        name: for messages.
        kind: of its blocks, as `_kind` says it.
        counts: blocks in each module.
        channels: that leave each module.
        stem: (kernel, stride, padding) of the first convolution, and whether a 3x3 maximum pooling of stride 2 follows.
        shape: of the batch to run it on.
        other_shape: of a second batch: one image of another size.
    """

    name: str
    kind: str
    counts: tuple
    channels: tuple
    stem: tuple
    shape: tuple
    other_shape: tuple

    @functools.cached_property
    def reference(self):
        """The package's network, without numbers."""
        with torch.device("meta"):
            return resnet(self.counts, Bottleneck if self.kind == "bottleneck" else Residual,
                          stem="7x7" if self.stem[3] else "3x3")


SIZES = dict(shape=(2, 1, 64, 64), other_shape=(1, 1, 32, 96))  # small, and b5 still gives more than one pixel
RESNET34 = Plan("ResNet-34", "basic", NUM_RESIDUALS[34], (64, 128, 256, 512), (7, 2, 3, True), **SIZES)
RESNET50 = Plan("ResNet-50", "bottleneck", NUM_RESIDUALS[50], (256, 512, 1024, 2048), (7, 2, 3, True), **SIZES)
SMALL = Plan("ResNet-18", "basic", NUM_RESIDUALS[18], (64, 128, 256, 512), (3, 1, 1, False),
             shape=(2, 1, 28, 28), other_shape=(1, 1, 32, 20))


def _expect_plan(net, plan):
    """Wrong unless the network is what the plan says, however it was put together."""
    finish_lazy_layers(net, plan.shape)
    run = _run(net, plan.shape)
    _expect_stem(run, plan)
    if run.blocks:
        _expect_modules(run, plan)
    if run.error is not None:
        _explain_failure(run, plan)
    if not run.blocks:
        raise Wrong("no_blocks", f"no residual block was called when {plan.name} ran. It is {PLAIN}.")
    _expect_counts(run, plan)
    _expect_flow(run, plan)
    _expect_head(run)
    _expect_total(net, run, plan)
    other = _run(net, plan.other_shape)
    if other.error is not None:
        raise Wrong("fails_on_other_size",
                    f"it runs on images of {_size(run.X)}, but fails on a batch of another size, "
                    f"{tuple(other.X.shape)}: {other.error}. Is a size written down where AdaptiveAvgPool2d((1, 1)) "
                    f"and Flatten() need none?")
    if tuple(other.Y.shape) != (plan.other_shape[0], 10):
        raise Wrong("other_size_wrong_shape",
                    f"for images of shape {tuple(other.X.shape)} it gives {tuple(other.Y.shape)}, not ten scores for "
                    f"each image.")


def _size(X):
    return f"{X.shape[2]} x {X.shape[3]} pixels"


# --- the stem ---

def _expect_stem(run, plan):
    """Wrong unless convolution, batch norm, ReLU and, if it is planned, a pooling come before the first block."""
    kernel, stride, padding, has_pool = plan.stem
    convs, norms = run.layers(nn.Conv2d), run.layers(nn.BatchNorm2d)
    if not run.blocks and not convs:
        raise Wrong("no_convolution",
                    f"no convolution was called when {plan.name} ran. It is {PLAIN}; modules in a plain Python list do "
                    f"not count.")
    if not convs:
        raise Wrong("no_stem",
                    "the stem is missing: before the first block come a convolution, batch norm, ReLU"
                    + (" and maximum pooling." if has_pool else "."))
    conv = convs[0].module
    if conv.in_channels != 1:
        raise Wrong("stem_for_colour",
                    f"the first convolution takes {conv.in_channels} channels, but the images are grey: 1 channel.")
    if len(convs) > 1 and (run.blocks or run.error):
        raise Wrong("stem_of_several_convs", f"the stem has {len(convs)} convolutions, where one was expected.")
    if conv.kernel_size != (kernel, kernel):
        raise Wrong("stem_kernel",
                    f"the stem's convolution is {conv.kernel_size[0]}x{conv.kernel_size[1]}, not {kernel}x{kernel}."
                    + (" Is the new stem in the network? It goes to net[0]." if not has_pool else ""))
    if conv.out_channels != 64:
        raise Wrong("stem_channels", f"the stem's convolution gives {conv.out_channels} channels, not 64.")
    if conv.stride != (stride, stride):
        raise Wrong("stem_stride",
                    f"the stem's convolution has stride {conv.stride[0]}, not {stride}"
                    + (", so it halves an image that is small already." if stride == 1 else "."))
    if conv.padding not in ((padding, padding), "same"):
        raise Wrong("stem_padding",
                    f"the stem's convolution has padding {conv.padding}, but a {kernel}x{kernel} kernel needs "
                    f"{padding}: without it {run.X.shape[2]} pixels become {convs[0].Y.shape[2]}.")
    if conv.groups != 1 or conv.dilation != (1, 1):
        raise Wrong("stem_groups_or_dilation",
                    "the stem's convolution has groups or a dilation; it is an ordinary one.")
    if not run.blocks:
        return
    if not norms:
        raise Wrong("stem_without_norm", "the stem has no batch norm: it comes between the convolution and the ReLU.")
    h = run.blocks[0].X
    if not _fits(_stem_output(run, conv, norms[0].module, has_pool), h):
        with torch.no_grad(), in_mode(norms[0].module, training=True):
            diagnose(h, _stem_mistakes(run.X, conv, norms[0].module, has_pool), otherwise=(
                "stem_computes_otherwise",
                f"what the stem gives, {tuple(h.shape)}, is not what convolution, batch norm, ReLU"
                f"{' and maximum pooling' if has_pool else ' alone'} give, one after the other."))


def _fits(a, b):
    return close(a, b, 1e-3)


@torch.no_grad()
def _stem_output(run, conv, norm, has_pool):
    with in_mode(norm, training=True):
        h = F.relu(norm(conv(run.X)))
    return F.max_pool2d(h, 3, 2, 1) if has_pool else h


def _stem_mistakes(X, conv, norm, has_pool):
    def pool(h):
        return F.max_pool2d(h, 3, 2, 1) if has_pool else h

    z = conv(X)
    h = norm(z)
    mistakes = [
        ("stem_without_relu", "the ReLU of the stem is missing.", lambda: pool(h)),
        ("stem_norm_after_relu", "the stem's batch norm comes after the ReLU; it belongs before it.",
         lambda: pool(norm(F.relu(z)))),
        ("stem_without_norm_relu", "batch norm and ReLU are missing in the stem.", lambda: pool(z)),
        ("stem_norm_unused", "the stem's batch norm is not used.", lambda: pool(F.relu(z))),
    ]
    a = F.relu(h)
    if has_pool:
        return [*mistakes,
                ("stem_without_pooling", "the maximum pooling of the stem is missing: 3x3, stride 2, padding 1.",
                 lambda: a),
                ("stem_pooling_stride", "the stem's pooling has stride 1; it halves height and width.",
                 lambda: F.max_pool2d(a, 3, 1, 1)),
                ("stem_pooling_2x2",
                 "the stem's pooling is 2x2; in table 1 it is 3x3, with stride 2, and it needs padding 1.",
                 lambda: F.max_pool2d(a, 2, 2)),
                ("stem_pooling_padding", "the stem's pooling has no padding: it is 3x3, with stride 2 and padding 1.",
                 lambda: F.max_pool2d(a, 3, 2)),
                ("stem_pooling_mean", "the stem's pooling takes the mean; in table 1 it is the maximum.",
                 lambda: F.avg_pool2d(a, 3, 2, 1)),
                ("stem_pooling_before_norm",
                 "the stem's pooling comes before the batch norm: the order is convolution, batch norm, ReLU, pooling.",
                 lambda: F.relu(norm(F.max_pool2d(z, 3, 2, 1))))]
    return [*mistakes,
            ("stem_pooling_left",
             "there is still a maximum pooling in the stem, which halves an image that is small already.",
             lambda: F.max_pool2d(a, 3, 2, 1)),
            ("stem_pooling_left_unstrided",
             "there is still a maximum pooling in the stem. With its stride of 1 it halves nothing, but it coarsens.",
             lambda: F.max_pool2d(a, 3, 1, 1)),
            ("stem_pooling_left_2x2", "there is still a maximum pooling in the stem.",
             lambda: F.max_pool2d(a, 2, 2))]


# --- the modules ---

def _group(blocks):
    """Consecutive blocks of the same number of output channels: the modules."""
    return [list(group) for _, group in itertools.groupby(blocks, key=lambda c: _channels(c.module)[1])]


def _channels(block):
    """(channels in, channels out), read off the layers: also for a block that failed."""
    convs = [part for part in block.modules() if isinstance(part, nn.Conv2d)]
    return convs[0].in_channels, max(conv.out_channels for conv in convs)


def _expect_modules(run, plan):
    """Wrong unless the blocks are of the right kind, number, channels and sizes, as far as the network ran."""
    blocks = run.blocks
    kinds = {_kind(c.module) for c in blocks}
    if "plain" in kinds:
        raise Wrong("blocks_without_shortcut",
                    "these are blocks without a shortcut (Plain...): a ResNet is built of d2l.Residual or "
                    "d2l.Bottleneck.")
    if kinds == {"basic"} and plan.kind == "bottleneck":
        raise Wrong("basic_blocks",
                    f"all blocks are basic ones, with two 3x3 convolutions. From 50 layers on table 1 has bottlenecks: "
                    f"pass block=d2l.Bottleneck{' to resnet_block' if plan.name == 'ResNet-50' else ''}.")
    if kinds == {"bottleneck"} and plan.kind == "basic":
        raise Wrong("bottlenecks",
                    f"the blocks are bottlenecks (1x1, 3x3, 1x1); {plan.name} has blocks of two 3x3 convolutions, "
                    f"d2l.Residual.")
    if kinds != {plan.kind}:
        raise Wrong("several_kinds_of_blocks",
                    f"the blocks are of several kinds ({', '.join(sorted(kinds))}); all blocks of {plan.name} are of "
                    f"the same kind.")
    if len({id(c.module) for c in blocks}) < len(blocks):
        raise Wrong("shared_block",
                    "the same block is called more than once, so these layers share their weights. `[block] * 3` "
                    "repeats one object; make a new block in each round of a loop.")
    groups = _group(blocks)
    channels, counts = tuple(_channels(group[0].module)[1] for group in groups), tuple(map(len, groups))
    if any(c.Y is None for c in blocks):
        return  # it failed half-way, and that says more than what was seen until then
    if plan.kind == "bottleneck" and channels == RESNET34.channels:
        raise Wrong("num_channels_is_width",
                    f"the modules have {_and(channels)} channels, but in a bottleneck num_channels is what leaves it, "
                    f"four times the width of its 3x3 convolution: {_and(plan.channels)}.")
    if len(groups) != 4:
        raise Wrong("number_of_modules",
                    f"there are {len(groups)} modules ({_and(counts)} blocks with {_and(channels)} channels), but "
                    f"table 1 has four with {_and(plan.channels)}.")
    if channels != plan.channels:
        raise Wrong("module_channels",
                    f"the modules have {_and(channels)} channels, where {plan.name} has {_and(plan.channels)}.")
    if counts != plan.counts:
        known = [f"ResNet-{depth}" for depth, numbers in NUM_RESIDUALS.items() if numbers == counts]
        i = next(i for i in range(4) if counts[i] != plan.counts[i])
        have = f"the modules have {_and(counts)} blocks:"
        if known:
            raise Wrong("blocks_of_other_depth",
                        f"{have} those are the numbers of {_and(known)}. {plan.name} has {_and(plan.counts)}.")
        raise Wrong("number_of_blocks",
                    f"{have} {MODULES[i]} must have {plan.counts[i]} in {plan.name}, not {counts[i]}.")
    _expect_sizes(groups)


def _and(numbers):
    return ", ".join(map(str, numbers[:-1])) + f" and {numbers[-1]}" if len(numbers) > 1 else str(*numbers)


def _expect_sizes(groups):
    for i, (name, group) in enumerate(zip(MODULES, groups, strict=True)):
        before, after = group[0].X.shape[2], group[-1].Y.shape[2]
        if i == 0 and after != before:
            raise Wrong("b2_halves",
                        f"b2 makes {after} pixels of {before}, but it must keep the size: first_block=True is missing.")
        if i > 0 and after == before:
            raise Wrong("module_keeps_size",
                        f"{name} keeps the {before} pixels: its first block must halve them. first_block=True is for "
                        f"b2 alone.")
        if i > 0 and after != -(-before // 2):
            raise Wrong("module_halves_twice",
                        f"{name} makes {after} pixels of {before}: only its first block halves, once.")
        if i > 0 and group[0].Y.shape[2] == before:
            raise Wrong("module_halves_late", f"{name} halves the image in a later block; the first one does that.")


def _expect_counts(run, plan):
    """Wrong unless each block has as many parameters as the reference's."""
    for name, module, group in zip(MODULES, plan.reference[1:5], _group(run.blocks), strict=True):
        for i, (mine, reference) in enumerate(zip(group, module, strict=True), start=1):
            count, expected = count_parameters(mine.module), count_parameters(reference)
            if count != expected:
                code, message = _wrong_count(mine.module, reference)
                raise Wrong(code, f"block {i} of {name} has {count:,} parameters, where {expected:,} were expected: "
                            + message)


def _expect_total(net, run, plan):
    """Wrong if parameters are missing elsewhere, or lie unused. The stem's convolution may do without its 64 biases."""
    total, expected = count_parameters(net), count_parameters(plan.reference)
    unused = total - sum(count_parameters(module) for module in {c.module for c in run.calls})
    if unused:
        raise Wrong("unused_layers",
                    f"{unused:,} parameters belong to layers that the network never uses. Take them out.")
    if run.layers(nn.Linear, behind=True)[0].module.bias is None:
        raise Wrong("linear_without_bias", "the linear layer has no bias: leave out bias=False.")
    if run.layers(nn.Conv2d)[0].module.bias is None:
        expected -= 64
    if total != expected:
        raise Wrong("stem_parameters",
                    f"it has {total:,} parameters, where {expected:,} were expected. The blocks and the linear layer "
                    f"are right: look at the stem.")


def _wrong_count(mine, reference):
    """(code, message)."""
    convs, expected = ([part for part in block.modules() if isinstance(part, nn.Conv2d)] for block in (mine, reference))
    norms, expected_norms = (sum(isinstance(part, nn.BatchNorm2d) for part in block.modules())
                             for block in (mine, reference))
    if len(convs) > len(expected):
        return ("block_with_needless_1x1",
                "it has a 1x1 convolution on its shortcut, though its input and its output have the same shape.")
    if len(convs) < len(expected):
        return ("block_without_1x1",
                "it has no 1x1 convolution on its shortcut, though its output has another shape than its input.")
    if norms > expected_norms:
        return ("block_with_needless_norm",
                "it has a batch norm too many. As in the article, none stands on the shortcut (torchvision's has one).")
    if norms < expected_norms:
        return "block_without_norm", "a batch norm is missing."
    if any(conv.bias is None for conv in convs):
        return "block_without_biases", "its convolutions have no biases. d2l.Residual and d2l.Bottleneck have them."
    if sorted(conv.kernel_size for conv in convs) != sorted(conv.kernel_size for conv in expected):
        return ("block_kernels",
                "its kernels have other sizes; is the one on the shortcut 3x3, as in the article's listing?")
    return "block_channels", "its convolutions have other channels."


# --- what flows through, and the end ---

def _expect_flow(run, plan):
    """Wrong unless each block computes what it should and hands it to the next."""
    for before, after in itertools.pairwise(run.blocks):
        if before.Y is None or not _fits(before.Y, after.X):
            raise Wrong("changed_between_blocks",
                        "between two blocks something changes what the first one gives: the blocks follow each other "
                        "directly.")
    references = itertools.chain.from_iterable(plan.reference[1:5])
    for c, reference in zip(run.blocks, references, strict=True):
        if type(c.module) not in (Residual, Bottleneck):
            _expect_block(c, reference)


def _expect_block(c, reference):
    """Wrong unless a block of the reader's own has the reference's convolutions and computes what it does."""
    name, model = f"your {type(c.module).__name__}", type(reference)
    layers = _layers_of(c, model.forward)
    if layers is None:
        raise Wrong("block_computes_otherwise",
                    f"{name} does not compute what {model.__name__} computes with the same layers. The exercises of "
                    f"notebook 2 say more about a block of your own.")
    keys = [key for key, layer in sorted(vars(layers).items()) if key.startswith("conv") and layer is not None]
    mine, expected = ([_geometry(getattr(block, key)) for key in keys] for block in (layers, reference))
    first, second = expected[:2]
    if model is Bottleneck and mine[0]["stride"] == second["stride"]:  # there in the paper
        first["stride"], second["stride"] = second["stride"], first["stride"]
    for have, want in zip(mine, expected, strict=True):
        for what, value in want.items():
            if have[what] != value:
                raise Wrong(f"block_conv_{what}",
                            f"in {name} a convolution with a kernel of {want['kernel']} has {what} {have[what]}, "
                            f"where {value} was expected.")
    with in_mode(c.module, training=True):
        if not same_gradient(c.module, functools.partial(model.forward, layers), c.X):
            raise Wrong("block_cuts_gradient",
                        f"{name} computes the right numbers, but no gradient flows through it as it should: "
                        f"{WHAT_CUTS_GRADIENTS}")


def _geometry(conv):
    """How a convolution moves over an image."""
    around = tuple(d * (k - 1) // 2 for d, k in zip(conv.dilation, conv.kernel_size, strict=True))
    padding = {"same": around, "valid": (0, 0)}.get(conv.padding, conv.padding)
    return {"kernel": conv.kernel_size, "stride": conv.stride, "dilation": conv.dilation, "padding": padding,
            "groups": conv.groups}


@torch.no_grad()
def _layers_of(c, formula):
    """The layers of a reader's block under the names that the formula has for them, or None if it computes another.

    What the reader calls them is unknown, so every order is tried.
    """
    convs, norms = ([part for part in c.module.modules() if isinstance(part, kind)]
                    for kind in (nn.Conv2d, nn.BatchNorm2d))
    names = [f"conv{i}" for i in range(1, len(norms) + 2)]
    for some_convs, some_norms in itertools.product(itertools.permutations(convs), itertools.permutations(norms)):
        layers = dict(itertools.zip_longest(names, some_convs))  # None for the shortcut that has no convolution
        layers = SimpleNamespace(**layers, **{f"bn{i}": norm for i, norm in enumerate(some_norms, start=1)})
        try:
            with in_mode(c.module, training=True):
                expected = formula(layers, c.X)
        except (RuntimeError, ValueError):
            continue  # in this order they do not fit together
        if _fits(c.Y, expected):
            return layers
    return None


def _expect_head(run):
    """Wrong unless mean and one linear layer follow the last block."""
    N = len(run.X)
    if not isinstance(run.Y, torch.Tensor):
        raise Wrong("returns_no_tensor",
                    f"the network returns a {type(run.Y).__name__}, where a tensor was expected. Is the last line of "
                    f"forward a `return`?")
    linears, h = run.layers(nn.Linear, behind=True), run.blocks[-1].Y
    if not linears:
        raise Wrong("no_linear_layer",
                    f"no linear layer follows the last block: the output has the shape {tuple(run.Y.shape)}, where ten "
                    f"scores for each of the {N} images were expected.")
    if len(linears) > 1:
        raise Wrong("several_linear_layers", f"{len(linears)} linear layers follow the last block; a ResNet has one.")
    linear = linears[0].module
    if linear.out_features != 10:
        raise Wrong("classes_of_imagenet" if linear.out_features == 1000 else "number_of_classes",
                    f"the linear layer gives {linear.out_features:,} numbers"
                    + (": that is for ImageNet's classes, and Fashion-MNIST has 10." if linear.out_features == 1000 else
                       ", but there are 10 classes."))
    with torch.no_grad():
        logits = linear(h.mean((2, 3))) if linear.in_features == h.shape[1] else None
        if logits is None or not _fits(run.Y, logits):
            diagnose(run.Y, _head_mistakes(linear, h, logits), otherwise=(
                "head_computes_otherwise",
                f"what follows the last block is not the mean of each map and then the linear layer: the output, "
                f"{tuple(run.Y.shape)}, is something else. The end is AdaptiveAvgPool2d((1, 1)), Flatten(), Linear."))
    if not run.Y.requires_grad:
        raise Wrong("no_gradient", f"no gradient flows through the network: {WHAT_CUTS_GRADIENTS}")


def _head_mistakes(linear, h, logits):
    softmax = ("there is a softmax at the end, as table 1 has it. Here the network gives logits: the cross-entropy "
               "loss of PyTorch takes the softmax itself.")
    return (
        ("softmax", softmax, lambda: logits.softmax(1)),
        ("log_softmax", softmax.replace("a softmax", "a log-softmax", 1), lambda: logits.log_softmax(1)),
        ("softmax_over_examples", "there is a softmax at the end, and over the examples at that; leave it out.",
         lambda: logits.softmax(0)),
        ("relu_after_linear", "there is a ReLU after the linear layer: logits may be negative.",
         lambda: F.relu(logits)),
        ("sigmoid_after_linear", "there is a sigmoid after the linear layer: logits have no bounds.",
         lambda: logits.sigmoid()),
        ("maximum_at_the_end", "the pooling at the end takes the maximum; it is the mean.",
         lambda: linear(h.amax((2, 3)))),
        ("sum_at_the_end", "the pooling at the end takes the sum; it is the mean.", lambda: linear(h.sum((2, 3)))),
    )


# --- when it does not run ---

def _explain_failure(run, plan):
    """Raise Wrong with the reason for which the network does not run, or the error itself."""
    failed = next((c for c in reversed(run.calls) if c.Y is None), None)
    if failed is None:
        raise run.error  # between the layers, in the reader's own forward
    module, X = failed.module, failed.X
    if isinstance(module, nn.Linear):
        raise Wrong(*_wrong_input_of_linear(module, X, run))
    if isinstance(module, nn.AvgPool2d) and run.blocks:
        raise Wrong("pooling_of_fixed_size",
                    f"the pooling at the end has a window of fixed size, which does not fit images of {_size(run.X)}: "
                    f"b5 makes {_size(X)} of them. AdaptiveAvgPool2d((1, 1)) fits any size.")
    if failed.is_block and X.dim() == 4 and _channels(module)[0] != X.shape[1]:
        made = f"a block was made for {_channels(module)[0]} channels, but gets {X.shape[1]}"
        if failed is run.blocks[0]:
            raise Wrong("first_block_channels",
                        f"{made}: no module comes before it, only the stem, and that is what leaves the stem.")
        hint = " What leaves b2 of ResNet-50 has 256." if plan.kind == "bottleneck" and X.shape[1] == 256 else ""
        raise Wrong("channels_do_not_meet",
                    f"{made}: the input_channels of a module are the num_channels of the one before it.{hint}")
    if failed.is_block and type(module) not in (Residual, Bottleneck):
        raise run.error  # in the reader's own block
    raise Wrong("fails_in_layer",
                f"it fails on {len(run.X)} images of {_size(run.X)}, in a {type(module).__name__} that gets a tensor "
                f"of shape {tuple(X.shape)}: {run.error}")


def _wrong_input_of_linear(linear, X, run):
    """(code, message)."""
    shape, n = tuple(X.shape), linear.in_features
    maps = run.blocks[-1].Y if run.blocks else None
    C = maps.shape[1] if maps is not None else None
    gets = f"the linear layer gets a tensor of shape {shape}"
    if X.dim() == 4 and shape[2:] == (1, 1) and n == shape[1]:
        return "no_flatten", f"{gets}: nn.Flatten() is missing between the pooling and it."
    if X.dim() == 4 and n == shape[1]:
        return "no_pooling+no_flatten", f"{gets}: pooling and nn.Flatten() are missing before it."
    if maps is not None and X.dim() == 2 and shape[1] == maps[0].numel() > C:
        return ("no_pooling",
                f"no pooling to one pixel comes before nn.Flatten(): the linear layer gets all {C} maps of "
                f"{_size(maps)}, {shape[1]:,} numbers, and was made for {n:,}.")
    if C is not None and X.dim() == 2 and shape[1] == C:
        return "linear_inputs", f"{C} channels leave b5, so the linear layer must take {C} numbers, not {n}."
    return "shape_before_linear", f"the linear layer was made for {n:,} inputs, but gets a tensor of shape {shape}."


# --- exercises with these ---

@exercise(3, "build ResNet-34 and ResNet-50", hints=(
    "Table 1 gives the number of blocks in each of the four modules; it is the same for both networks: 3, 4, 6, 3.",
    "ResNet-34 is ResNet-18 with these numbers. In ResNet-50 each resnet_block gets block=d2l.Bottleneck, and its "
    "channels are four times as many: 256, 512, 1024, 2048.",
    "b2 of ResNet-50: resnet_block(64, 256, 3, first_block=True, block=d2l.Bottleneck). b3: resnet_block(256, 512, 4, "
    "block=d2l.Bottleneck). The linear layer takes 2048 numbers.",
), seconds=60)
def resnet34_and_50(my_resnet34, my_resnet50):
    """Two functions without arguments that return the networks; the networks themselves are accepted too."""
    sizes, missing = {}, []
    for build, plan in ((my_resnet34, RESNET34), (my_resnet50, RESNET50)):
        if is_blank(build):
            missing.append(plan.name)
            continue
        try:
            net = _build(build, plan)
            _expect_plan(net, plan)
        except Wrong as wrong:
            raise Wrong(wrong.code, f"{plan.name}: {wrong}") from None
        sizes[plan.name] = f"{count_parameters(net):,}"
        del net  # each takes a hundred megabytes
    if missing:
        raise Open(f"{next(iter(sizes))} is right. Now write {missing[0]}.")
    return (f"both are right, with {' and '.join(sizes.values())} parameters. Both have {sum(RESNET34.counts)} blocks, "
            f"and those of ResNet-50 have three layers each instead of two: the bottleneck makes them cheap.")


def _build(build, plan):
    if isinstance(build, nn.Module):
        _expect_network(build)
        return build
    if not callable(build):
        raise Wrong("no_function",
                    f"the answer must be a function without arguments that returns the network, got "
                    f"{str(build)[:60]!r}.")
    try:
        net = build()
    except TypeError as error:
        if "list is not a Module subclass" in str(error):
            raise Wrong("list_without_star",
                        "nn.Sequential got a list, but takes the layers one by one: put a * before the list, as in "
                        "nn.Sequential(*resnet_block(...)).") from None
        if "positional argument" in str(error) and getattr(build, "__name__", "?") in str(error):
            raise Wrong("takes_arguments",
                        f"it must be possible to call the function without arguments, but: {error}.") from None
        raise
    _expect_network(net)
    return net


@exercise(3, "a stem for small images", hints=(
    "Only net[0] of a ResNet-18 changes: its convolution becomes 3x3 with a stride of 1, and the pooling goes.",
    "A 3x3 convolution with stride 1 keeps height and width if its padding is 1. Batch norm and ReLU stay.",
    "my_small_resnet = d2l.resnet18(), then my_small_resnet[0] = nn.Sequential(a convolution, a batch norm, a ReLU).",
))
def small_stem(net):
    """A ResNet-18 whose stem keeps the size of the image."""
    if callable(net) and not isinstance(net, (nn.Module, type)):
        raise Wrong("function_for_network", "the answer must be the network itself, not a function: call it.")
    _expect_network(net)
    if not _blocks_of(net) and not any(isinstance(layer, nn.Linear) for layer in net.modules()):
        raise Wrong("stem_alone",
                    "that is not the whole network, rather its stem: pass the network with the new stem as its first "
                    "part.")
    _expect_plan(net, SMALL)
    small, usual = (costs.model_costs(18, 28, stem=stem) for stem in ("3x3", "7x7"))
    (small_b5, small_cost), (usual_b5, usual_cost) = (
        (" x ".join(map(str, stages[4].shape[1:])), sum(stage.multiply_adds for stage in stages))
        for stages in (small, usual))
    return (f"right: b5 gives {small_b5} pixels instead of {usual_b5}. The price: all blocks have more pixels to work "
            f"on, and one image takes {small_cost / 1e6:.0f} million multiply-adds instead of {usual_cost / 1e6:.0f}.")


# --- questions ---

@functools.cache
def _questions():
    """Right letters and explanations, as for `choose`, with numbers that are computed."""
    with torch.device("meta"):
        net = resnet18()
    num_blocks = sum(isinstance(m, Residual) for m in net.modules())
    num_layers = {kind: sum(isinstance(m, kind) for m in net.modules())
                  for kind in (nn.Conv2d, nn.BatchNorm2d, nn.Linear)}
    on_shortcuts = sum(m.conv3 is not None for m in net.modules() if isinstance(m, Residual))
    stages = {stage.name: stage for stage in costs.model_costs(18, size=224)}

    def share(what, *names):
        return f"{sum(getattr(stages[n], what) for n in names) / sum(getattr(s, what) for s in stages.values()):.0%}"

    return {
        "1": ("c", {
            "a": f"There are {num_blocks} residual blocks, with two 3x3 convolutions each.",
            "b": f"With parameters there are {sum(num_layers.values())} layers: batch norms have some too.",
            "c": f"{num_layers[nn.Conv2d] - on_shortcuts} convolutions and {num_layers[nn.Linear]} linear layer. The "
                 f"{on_shortcuts} on the shortcuts are left out, as are the batch norms.",
            "d": f"Those on the shortcuts are not counted: with them it would be "
                 f"{num_layers[nn.Conv2d] + num_layers[nn.Linear]}.",
        }),
        "2": ("b", {
            "a": f"The parameters, yes ({share('parameters', 'b5')} of them), but b5 works on the smallest maps: it "
                 f"keeps {share('activation_bytes', 'b5')} of the activations.",
            "b": f"Parameters grow with the channels, activations with the pixels: {share('parameters', 'b5')} of the "
                 f"parameters are in b5, {share('activation_bytes', 'b1', 'b2')} of the activations in b1 and b2.",
            "c": f"The linear layer has {share('parameters', 'linear')} of the parameters, rounded: the pooling before "
                 f"it leaves it few inputs. In VGG it would be otherwise.",
            "d": "It is the multiply-adds of b2 to b5 that are nearly the same, since four times the weights meet a "
                 "quarter of the pixels.",
        }),
        "3": ("a", {
            "a": f"A convolution slides over whatever is there, and the mean of a map is one number however large the "
                 f"map. So the linear layer gets its {net[-1].in_features} numbers from every image.",
            "b": "The stem quarters every image: 96 pixels become 24, and 224 become 56.",
            "c": "A convolution has the same weights for every size; only the number of places where they are applied "
                 "changes.",
            "d": "Flatten drops nothing: without the pooling it would give 512 numbers for each pixel that is left.",
        }),
        "4": ("d", {
            "a": "In train mode the norm computes mean and variance from the batch at hand: no fixed weights can do "
                 "that.",
            "b": "In eval mode mean and variance are fixed numbers, so the norm is y = a z + b for each channel: a "
                 "linear map behind a linear map.",
            "c": "A bias is no obstacle: it is scaled and shifted like the rest.",
            "d": "There the norm scales and shifts each channel by fixed numbers, which the convolution's weights and "
                 "bias can take over. That is how section 3.7 turned torchvision's network into ours.",
        }),
    }


@exercise(3, "four questions about the model", hints=(
    "Section 3.4 for question 1, 3.5 and 3.6 for 2, 3.3 for 3 and 3.7 for 4.",
    "2: the table of the explorer in section 3.6 has both columns. 4: which numbers does a batch norm use in train "
    "mode, and which in eval mode?",
))
def model_questions(answers):
    """Letters for questions 1 to 4."""
    return choose(answers, _questions())
