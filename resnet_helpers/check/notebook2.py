"""The exercises of notebook 2: shapes and parameters of a block, and blocks of the reader's own."""

import copy
import functools

import torch
from torch import nn
from torch.nn import functional as F

from resnet_helpers.check.verdicts import (
    WHAT_CUTS_GRADIENTS,
    Open,
    Wrong,
    call,
    choose,
    close,
    diagnose,
    exercise,
    expect_arguments,
    expect_class,
    expect_number,
    expect_tensor,
    finish_lazy_layers,
    same_gradient,
)
from resnet_helpers.models import Bottleneck, Residual, count_parameters

# --- predictions ---

SHAPES = {  # call on a batch of this shape -> shape
    "Residual(3, 3)": ((4, 3, 6, 6), (4, 3, 6, 6)),
    "Residual(3, 8, use_1x1conv=True)": ((4, 3, 6, 6), (4, 8, 6, 6)),
    "Residual(3, 6, use_1x1conv=True, strides=2)": ((4, 3, 6, 6), (4, 6, 3, 3)),
    "Residual(8, 16, use_1x1conv=True, strides=2)": ((1, 8, 7, 7), (1, 16, 4, 4)),
    "Residual(8, 8, use_1x1conv=True, strides=3)": ((2, 8, 9, 6), (2, 8, 3, 2)),
}


@exercise(2, "predict shapes", hints=(
    "Only two arguments can change the shape: num_channels sets the second number, strides divides the third and "
    "fourth.",
    "A 3x3 convolution with padding 1 and stride s turns n pixels into floor((n + 2 - 3) / s) + 1. Try n = 7, s = 2.",
))
def block_shapes(shapes):
    """Five shapes, as a list of tuples in the order of the task."""
    if not isinstance(shapes, (list, tuple)) or len(shapes) != len(SHAPES):
        raise Wrong("not_five_shapes",
                    f"the answer must be a list of {len(SHAPES)} shapes, one for each block of the task.")
    for (block, (before, after)), shape in zip(SHAPES.items(), shapes, strict=True):
        start = f"{block} on {before}: "
        if not isinstance(shape, (list, tuple, torch.Size)) or not all(type(n) is int for n in shape):
            raise Wrong("no_tuple",
                        f"{start}write the shape as a tuple of whole numbers, such as (1, 2, 3, 4); got {shape!r}.")
        shape = tuple(shape)
        if shape == after:
            continue
        code, message = _wrong_shape(shape, before, after)
        raise Wrong(code, start + message)
    return "all five. With padding 1 a stride of s leaves every s-th pixel: n pixels become n / s, rounded up."


def _wrong_shape(shape, before, after):
    """Code and message."""
    if len(shape) == 3 and shape == after[1:]:
        return "no_batch_size", "the number of examples in the batch is missing; it comes first and never changes."
    if len(shape) != 4:
        return ("not_four_numbers",
                f"a shape has four numbers here, (examples, channels, height, width); yours has {len(shape)}.")
    if shape == (after[0], *after[2:], after[1]):
        return "channels_last", "PyTorch puts the channels second, not last: (examples, channels, height, width)."
    if shape[0] != after[0]:
        return ("wrong_batch_size",
                f"the first number counts the examples, and no layer changes it: it stays {before[0]}.")
    if shape[1] != after[1]:
        return ("wrong_channels",
                f"the block's second argument is the number of channels that leave it: {after[1]}, not {shape[1]}.")
    if shape[2:] == before[2:]:
        return "no_stride", "the stride is missing: the first convolution and the 1x1 convolution both skip pixels."
    has_stride_twice = shape[2:] == tuple(-(-n // 4) for n in before[2:])
    if all(right - 1 <= n <= right for n, right in zip(shape[2:], after[2:], strict=True)):
        twice = (" Or does your second 3x3 convolution have the stride, too? Only the first has it." if has_stride_twice
                 else "")
        return ("rounded_or_stride_twice" if has_stride_twice else "rounded_down",
                "the padding is missing, or the result was rounded down: floor((n + 2 - 3) / s) + 1, with one pixel of "
                f"padding on each side.{twice}")
    if has_stride_twice:
        return "stride_twice", "only the first of the two 3x3 convolutions has the stride; the second keeps the size."
    return "wrong_size", f"height and width {shape[2:]} are not right: work out floor((n + 2 - 3) / s) + 1 for each."


@exercise(2, "count parameters", hints=(
    "A k x k convolution from a to b channels has a*b*k*k weights and b biases. A batch norm has two numbers per "
    "channel.",
    "Five layers: conv1 from 64 to 128, conv2 from 128 to 128, conv3 (1x1!) from 64 to 128, and two batch norms of "
    "128.",
))
def block_parameters(count):
    """The number of parameters of Residual(64, 128, use_1x1conv=True, strides=2)."""
    answer = expect_number(count)
    right = count_parameters(Residual(64, 128, use_1x1conv=True, strides=2))
    conv1, conv2, conv3, norms, biases = 64 * 128 * 9, 128 * 128 * 9, 64 * 128, 2 * 2 * 128, 3 * 128
    mistakes = {
        right - biases: ("no_biases", "the biases are missing: each output channel of a convolution has one "
                                      "(PyTorch's default)."),
        right - norms: ("no_norms", "the batch norms are missing: each has a scale and a shift per channel."),
        right - norms // 2: ("half_the_norms", "a batch norm has two parameters per channel, scale and shift, and "
                                               "there are two batch norms."),
        right - biases - norms: ("weights_alone", "those are the weights alone: convolutions have biases too, and "
                                                  "batch norms parameters."),
        right - conv3 - 128: ("no_conv3", "conv3 is missing: use_1x1conv=True puts a 1x1 convolution on the "
                                          "shortcut."),
        right + 8 * conv3: ("conv3_is_3x3", "conv3 has a 1x1 kernel, not 3x3: it has a ninth of the weights that you "
                                            "counted for it."),
        right + norms: ("running_averages_counted", "running averages of a batch norm are no parameters: they are "
                                                    "not learnt by gradient descent."),
        right - conv2 + conv1: ("conv2_from_64_channels", "conv2 has 128 channels at both ends: it gets what conv1 "
                                                          "gives."),
        right - conv1 + conv2: ("conv1_from_128_channels", "conv1 gets 64 channels, not 128."),
        conv1 + 128: ("conv1_alone", "that is conv1 alone."),
    }
    if answer != right:
        many = "many" if answer > right else "few"
        raise Wrong(*mistakes.get(answer, (f"too_{many}", f"{answer:,.10g} is too {many}. Write down the five layers "
                                                          f"one below the other and count each.")))
    return (f"{right:,}: {conv1 + 128:,} in conv1, {conv2 + 128:,} in conv2, {conv3 + 128:,} in conv3, {norms} in the "
            f"norms.")


# --- a block of the reader's own ---

SETTINGS = ((3, 3, False, 1), (3, 6, True, 2), (4, 4, True, 1), (3, 5, True, 1))
NAMES = "Name the layers conv1, bn1, conv2, bn2 and conv3, as the article does: the check puts weights into them."


@exercise(2, "write the block", hints=(
    "Two methods: __init__ makes the layers, forward says how X goes through them. The first line of __init__ is "
    "super().__init__().",
    "conv1 has padding=1 and the stride; conv2 has padding=1 and stride 1; conv3 is None or a 1x1 convolution with the "
    "stride; two batch norms of num_channels.",
    "forward: Y = relu(bn1(conv1(X))), then Y = bn2(conv2(Y)), then X = conv3(X) if there is one, then relu(Y + X).",
))
def residual_block(block_class):
    """A class like `d2l.Residual`, with its arguments and attributes."""
    expect_class(block_class)
    for setting in SETTINGS:
        block = _build(block_class, *setting)
        _expect_layers(block, *setting)
        _expect_same_output(block, setting[0])
    return "it computes what d2l.Residual computes, with and without the 1x1 convolution, in train and in eval mode."


def _build(block_class, c_in, c_out, use_1x1conv, strides):
    text = f"{block_class.__name__}({c_in}, {c_out}, use_1x1conv={use_1x1conv}, strides={strides})"
    _expect_init(block_class)
    options = {"use_1x1conv": use_1x1conv, "strides": strides}
    for written, given in ((f"{block_class.__name__}({c_in}, {c_out})", {}), (text, options)):
        expect_arguments(block_class, f"{written} must be possible, since the arguments of __init__ are (self, "
                                      f"input_channels, num_channels, use_1x1conv=False, strides=1)",
                         c_in, c_out, **given)
    try:
        block = block_class(c_in, c_out, **options)
        finish_lazy_layers(block, (2, c_in, 8, 8))
        return block
    except AttributeError as error:
        if "before Module.__init__" in str(error):
            raise Wrong("no_super_init",
                        "super().__init__() is missing as the first line of __init__: it prepares nn.Module to hold "
                        "layers.") from None
        raise


def _expect_init(block_class):
    if block_class.__init__ is nn.Module.__init__:
        raise Wrong("no_init", f"{block_class.__name__} has no __init__: it makes the layers.")


def _expect_layers(block, c_in, c_out, use_1x1conv, strides):
    for name in ("conv1", "conv2"):
        conv = _layer(block, name, nn.Conv2d)
        if conv.kernel_size != (3, 3):
            raise Wrong(f"{name}_is_not_3x3",
                        f"{name} has a kernel of {conv.kernel_size}: the two convolutions of the branch are 3x3.")
        if conv.padding not in ((1, 1), "same"):
            raise Wrong(f"{name}_without_padding",
                        f"{name} has padding {conv.padding}: without padding=1 a 3x3 convolution makes the image "
                        f"smaller.")
        if conv.out_channels != c_out:
            raise Wrong(f"{name}_wrong_out_channels",
                        f"{name} gives {conv.out_channels} channels for num_channels={c_out}.")
    if block.conv1.in_channels != c_in:
        raise Wrong("conv1_wrong_in_channels",
                    f"conv1 takes {block.conv1.in_channels} channels for input_channels={c_in}.")
    if block.conv2.in_channels != c_out:
        raise Wrong("conv2_wrong_in_channels",
                    f"conv2 takes {block.conv2.in_channels} channels, but conv1 gives it {c_out} (num_channels).")
    if block.conv2.stride != (1, 1):
        raise Wrong("conv2_has_stride",
                    f"conv2 has stride {block.conv2.stride}: only conv1 has the stride, or the image is halved twice.")
    if block.conv1.stride != (strides, strides):
        raise Wrong("conv1_wrong_stride", f"conv1 has stride {block.conv1.stride} for strides={strides}.")
    for name in ("bn1", "bn2"):
        _expect_norm(block, name, c_out, "num_channels")
    _expect_shortcut(block, c_in, c_out, use_1x1conv, strides)


def _expect_shortcut(block, c_in, c_out, use_1x1conv, strides):
    if not hasattr(block, "conv3"):
        raise Wrong("conv3_undefined",
                    "there is no conv3: with use_1x1conv=True it is a 1x1 convolution, else it is None.")
    if not use_1x1conv:
        if block.conv3 is not None:
            raise Wrong("conv3_not_none",
                        "conv3 must be None when use_1x1conv is False: then the input is added as it is.")
        return
    conv = _layer(block, "conv3", nn.Conv2d)
    if conv.kernel_size != (1, 1):
        raise Wrong("conv3_is_not_1x1",
                    f"conv3 has a kernel of {conv.kernel_size}, as in the article's listing; a 1x1 convolution has "
                    f"kernel_size=1 and no padding (section 2.6).")
    if (conv.in_channels, conv.out_channels) != (c_in, c_out):
        raise Wrong("conv3_wrong_channels",
                    f"conv3 goes from {conv.in_channels} to {conv.out_channels} channels: it must turn the input's "
                    f"{c_in} into the branch's {c_out}.")
    if conv.stride != (strides, strides):
        raise Wrong("conv3_wrong_stride",
                    f"conv3 has stride {conv.stride} for strides={strides}: the shortcut must shrink as the branch "
                    f"does.")
    if conv.padding not in ((0, 0), "same", "valid"):
        raise Wrong("conv3_has_padding",
                    f"conv3 has padding {conv.padding}: a 1x1 convolution needs none, and with it the image grows.")


def _layer(block, name, kind):
    layer = getattr(block, name, None)
    if layer is None:
        raise Wrong(f"no_{name}", f"there is no layer {name}. {NAMES}")
    if not isinstance(layer, kind):
        raise Wrong(f"{name}_of_wrong_type",
                    f"{name} is a {type(layer).__name__}, where a {kind.__name__} was expected. {NAMES}")
    return layer


def _expect_norm(block, name, channels, meaning=""):
    """Wrong unless there is a batch norm of this name for so many channels; `meaning` is what their number is."""
    norm = _layer(block, name, nn.BatchNorm2d)
    if norm.num_features != channels:
        raise Wrong(f"{name}_wrong_channels", f"{name} is for {norm.num_features} channels, but gets {channels}"
                    f"{f' ({meaning})' if meaning else ''}.")


def _expect_padding(block, name):
    """Wrong unless a 3x3 convolution keeps the size of the image."""
    if getattr(block, name).padding not in ((1, 1), "same"):
        raise Wrong(f"{name}_without_padding", f"{name} needs padding=1, or the image gets smaller.")


def _expect_same_output(block, c_in, formula=Residual.forward, mistakes=None,
                        what="that of the formula in section 2.1"):
    """Wrong unless `forward` computes `formula` with the block's own layers, in eval and in train mode."""
    _expect_layers_of_their_own(block)
    generator = torch.Generator().manual_seed(0)
    _randomize(block, generator)
    X = torch.randn(4, c_in, 8, 8, generator=generator)
    for is_training in (False, True):
        block.train(is_training)
        as_formula, called = copy.deepcopy(block), copy.deepcopy(block)  # a forward may keep what it computes
        Y = call(called, X, what="your block")  # first: if it fails, the reader's line is told
        expected = formula(as_formula, X.clone()).detach()
        expect_tensor(Y, expected.shape, "your block")
        if not close(Y.detach(), expected):
            with torch.no_grad():
                diagnose(Y, (mistakes or _residual_mistakes)(copy.deepcopy(block), X),
                         (f"wrong_output{'_in_training' if is_training else ''}",
                          f"the output is not {what}, computed with your own layers"
                          f"{' in train mode' if is_training else ''}. Go through your forward line by line beside "
                          f"it."))
        if not Y.requires_grad:
            raise Wrong("no_gradient", f"no gradient flows through the block: {WHAT_CUTS_GRADIENTS}")
    block.eval()
    if not same_gradient(copy.deepcopy(block), functools.partial(formula, copy.deepcopy(block)), X):
        raise Wrong("gradient_incomplete",
                    f"the block computes the right numbers, but not all of the gradient reaches its input: "
                    f"{WHAT_CUTS_GRADIENTS} That the shortcut passes the gradient on is its purpose.")


def _expect_layers_of_their_own(block):
    """Wrong if one layer has two names."""
    names = {}
    for name in ("conv1", "conv2", "conv3", "bn1", "bn2", "bn3"):
        layer = getattr(block, name, None)
        if layer is not None and names.setdefault(id(layer), name) != name:
            raise Wrong("shared_layer",
                        f"{names[id(layer)]} and {name} are one and the same layer, so they share their numbers: make "
                        f"a layer of its own for each.")


@torch.no_grad()
def _randomize(block, generator):
    """Give all weights, scales, shifts and running averages different values: nothing can be left out unnoticed."""
    for name, tensor in (*block.named_parameters(), *block.named_buffers()):
        if tensor.is_floating_point():
            tensor.copy_(torch.randn(tensor.shape, generator=generator))
            if name.endswith("running_var"):
                tensor.abs_().add_(0.5)


def _residual_mistakes(b, X):
    """Code, message and what a block with this mistake computes, for `diagnose`."""
    def shortcut(X):
        return X if b.conv3 is None else b.conv3(X)

    h = F.relu(b.bn1(b.conv1(X)))
    g = b.bn2(b.conv2(h))
    S = shortcut(X)
    return (
        ("no_relu_after_addition", "the ReLU after the addition is missing: the output must be relu(Y + X).",
         lambda: g + S),
        ("input_never_added", "the input is never added: that is a plain block, without its shortcut.",
         lambda: F.relu(g)),
        ("bn2_after_addition",
         "your block adds before the second batch norm. The shortcut joins after it: bn2 belongs to the branch.",
         lambda: F.relu(b.bn2(b.conv2(h) + S))),
        ("bn2_last", "your block adds before the second batch norm, and has no ReLU after it.",
         lambda: b.bn2(b.conv2(h) + S)),
        ("relu_before_addition",
         "the second ReLU comes before the addition. It belongs after it; before it the branch can only raise values "
         "(section 2.2).", lambda: F.relu(g) + S),
        ("one_relu_too_many",
         "there is one ReLU too many: relu before the addition, and again after it. Only the one after it belongs "
         "there.",
         lambda: F.relu(F.relu(g) + S)),
        ("no_relu_between_convolutions",
         "the ReLU between the two convolutions is missing. Without it they amount to a single linear map.",
         lambda: F.relu(b.bn2(b.conv2(b.bn1(b.conv1(X)))) + S)),
        ("bn1_not_used", "bn1 is not used: after conv1 comes bn1, then the ReLU.",
         lambda: F.relu(b.bn2(b.conv2(F.relu(b.conv1(X)))) + S)),
        ("bn2_not_used", "bn2 is not used: after conv2 comes bn2.", lambda: F.relu(b.conv2(h) + S)),
        ("no_norm_used", "neither batch norm is used in forward.", lambda: F.relu(b.conv2(F.relu(b.conv1(X))) + S)),
        ("bn1_twice", "bn1 stands in both places. The second batch norm is bn2, with numbers of its own.",
         lambda: F.relu(b.bn1(b.conv2(h)) + S)),
        ("conv1_twice", "conv1 stands in both places: the second convolution is conv2.",
         lambda: F.relu(b.bn2(b.conv1(h)) + S)),
        ("relu_before_norm",
         "the order after conv1 is convolution, batch norm, ReLU; you have the ReLU before the batch norm.",
         lambda: F.relu(b.bn2(b.conv2(b.bn1(F.relu(b.conv1(X))))) + S)),
        ("input_overwritten",
         "what is added is not the block's input but what came out of the first ReLU: was X overwritten on the way? "
         "Keep the input under its own name until the addition.", lambda: F.relu(g + h)),
        ("conv3_not_used", "conv3 exists but forward does not use it: the shortcut must be conv3(X).",
         lambda: F.relu(g + X)),
        ("conv3_on_branch",
         "conv3 is applied to the branch. It belongs on the shortcut: it is the input that needs another shape.",
         lambda: F.relu(b.conv3(g) + X)),
        ("input_subtracted", "the input is subtracted: the block gives g(x) + x.", lambda: F.relu(g - S)),
        ("paths_multiplied", "branch and shortcut are multiplied: they must be added.", lambda: F.relu(g * S)),
    )


@exercise(2, "find the bugs", hints=(
    "Compare each forward with the formula of section 2.1, layer by layer: four of the five have one line that is "
    "wrong or stands in the wrong place.",
    "A: where does the shortcut join? B: which batch norm? C: when is conv3 needed? D: what does X hold when it is "
    "added? E: what does += do to a tensor that somebody else still uses?",
))
def broken_blocks(A, B, C, D, E):
    """The five broken blocks of the task, mended."""
    mistakes = {}  # letter -> code, message
    for letter, block_class in zip("ABCDE", (A, B, C, D, E), strict=True):
        expect_class(block_class, what=letter)
        try:
            for setting in SETTINGS:
                _expect_same_output(_build(block_class, *setting), setting[0])
        except Wrong as wrong:
            mistakes[letter] = wrong.code, str(wrong)
        except Exception as error:
            mistakes[letter] = "raised", f"it fails with {type(error).__name__}: {error}"
    if len(mistakes) == 5:
        raise Open("all five are still broken. Mend them where they stand, run that cell again, and then this one.")
    if mistakes:
        letter, (code, message) = next(iter(mistakes.items()))
        raise Wrong(code, f"{5 - len(mistakes)} of 5 mended. Block {letter} is not: {message}")
    return ("all five mended. A added before bn2, B used bn1 twice, C left conv3 out, D had lost its input when it "
            "was to be added, and E wrote its result into the caller's tensor.")


@exercise(2, "pre-activation block", hints=(
    "Order: batch norm, ReLU, convolution; once more; then add the input as it came in. Nothing after the addition.",
    "forward: Y = conv1(relu(bn1(X))), then Y = conv2(relu(bn2(Y))), then Y + X.",
))
def preactivation_block(block_class):
    """A class with the argument num_channels and the layers bn1, conv1, bn2, conv2."""
    expect_class(block_class)
    for num_channels in (3, 6):
        block = _build_with_channels(block_class, num_channels)
        for name in ("conv1", "conv2"):
            conv = _layer(block, name, nn.Conv2d)
            if (conv.kernel_size, conv.in_channels, conv.out_channels) != ((3, 3), num_channels, num_channels):
                raise Wrong(f"wrong_{name}",
                            f"{name} must be a 3x3 convolution from {num_channels} to {num_channels} channels.")
            _expect_padding(block, name)
        for name in ("bn1", "bn2"):
            _expect_norm(block, name, num_channels)
        _expect_same_output(block, num_channels, _preactivation, _preactivation_mistakes,
                            what="that of the order that exercise 2.5 asks for")
    return ("right. When conv2 is zero the block is the identity for every input, negative ones too: nothing stands "
            "between the addition and the next block.")


def _build_with_channels(block_class, num_channels):
    _expect_init(block_class)
    expect_arguments(block_class, f"{block_class.__name__}({num_channels}) must be possible", num_channels)
    block = block_class(num_channels)
    finish_lazy_layers(block, (2, num_channels, 8, 8))
    return block


def _preactivation(b, X):
    return X + b.conv2(F.relu(b.bn2(b.conv1(F.relu(b.bn1(X))))))


def _preactivation_mistakes(b, X):
    a = F.relu(b.bn1(X))
    g = b.conv2(F.relu(b.bn2(b.conv1(a))))
    return (
        ("relu_after_addition",
         "there is a ReLU after the addition. This block has none: that is what lets it be the identity for every "
         "input.",
         lambda: F.relu(g + X)),
        ("input_never_added", "the input is never added.", lambda: g),
        ("activation_on_shortcut", "what is added is relu(bn1(X)): the shortcut carries the input as it came in.",
         lambda: g + a),
        ("original_order",
         "that is the original order, convolution first. Pre-activation means: batch norm, ReLU, then convolution.",
         lambda: F.relu(b.bn2(b.conv2(F.relu(b.bn1(b.conv1(X))))) + X)),
        ("convolution_first",
         "convolution comes first in both halves; it must come last: batch norm, ReLU, convolution.",
         lambda: F.relu(b.bn2(b.conv2(F.relu(b.bn1(b.conv1(X)))))) + X),
        ("relu_before_norm", "the ReLU comes before the batch norm; the order is batch norm, ReLU, convolution.",
         lambda: X + b.conv2(b.bn2(F.relu(b.conv1(b.bn1(F.relu(X))))))),
        ("no_bn1_and_relu", "the first batch norm and ReLU are missing: they stand before the first convolution.",
         lambda: X + b.conv2(F.relu(b.bn2(b.conv1(X))))),
        ("bn1_twice", "bn1 stands in both places. The second batch norm is bn2, with numbers of its own.",
         lambda: X + b.conv2(F.relu(b.bn1(b.conv1(a))))),
        ("no_relus", "the ReLUs are missing.", lambda: X + b.conv2(b.bn2(b.conv1(b.bn1(X))))),
        ("no_second_relu", "the ReLU before the second convolution is missing.",
         lambda: X + b.conv2(b.bn2(b.conv1(a)))),
        ("no_first_relu", "the ReLU before the first convolution is missing.",
         lambda: X + b.conv2(F.relu(b.bn2(b.conv1(b.bn1(X)))))),
    )


@exercise(2, "bottleneck", hints=(
    "Three convolutions: 1x1 from num_channels to num_channels // 4, 3x3 at that width, 1x1 back. Each has a batch "
    "norm.",
    "ReLU after the first and after the second batch norm; the third batch norm is followed by the addition, then "
    "ReLU.",
))
def bottleneck_block(block_class):
    """A class with the argument num_channels and the layers conv1, bn1, conv2, bn2, conv3, bn3."""
    expect_class(block_class)
    for num_channels in (8, 16):
        block, width = _build_with_channels(block_class, num_channels), num_channels // 4
        expected = {"conv1": (1, num_channels, width), "conv2": (3, width, width), "conv3": (1, width, num_channels)}
        for name, (kernel, c_in, c_out) in expected.items():
            conv = _layer(block, name, nn.Conv2d)
            if conv.kernel_size != (kernel, kernel):
                raise Wrong(f"{name}_wrong_kernel",
                            f"{name} has a kernel of {conv.kernel_size}: the order is 1x1, 3x3, 1x1.")
            if (conv.in_channels, conv.out_channels) != (c_in, c_out):
                raise Wrong(f"{name}_wrong_channels",
                            f"{name} goes from {conv.in_channels} to {conv.out_channels} channels where {c_in} to "
                            f"{c_out} was expected: a quarter of the {num_channels} channels in the middle.")
        _expect_padding(block, "conv2")
        for name, channels in (("bn1", width), ("bn2", width), ("bn3", num_channels)):
            _expect_norm(block, name, channels)
        _expect_same_output(block, num_channels, _bottleneck, _bottleneck_mistakes,
                            what="that of the block in exercise 2.6")
    mine, basic = count_parameters(Bottleneck(256, 256)), count_parameters(Residual(256, 256))
    return f"right. With 256 channels it has {mine:,} parameters, where Residual(256, 256) has {basic:,}."


def _bottleneck(b, X):
    Y = F.relu(b.bn1(b.conv1(X)))
    Y = F.relu(b.bn2(b.conv2(Y)))
    return F.relu(b.bn3(b.conv3(Y)) + X)


def _bottleneck_mistakes(b, X):
    h1 = F.relu(b.bn1(b.conv1(X)))
    h2 = F.relu(b.bn2(b.conv2(h1)))
    g = b.bn3(b.conv3(h2))
    return (
        ("no_relu_after_addition", "the ReLU after the addition is missing.", lambda: g + X),
        ("input_never_added", "the input is never added.", lambda: F.relu(g)),
        ("one_relu_too_many",
         "there is one ReLU too many: relu before the addition, and again after it. Only the one after it belongs "
         "there.",
         lambda: F.relu(F.relu(g) + X)),
        ("relu_before_norm", "the order is convolution, batch norm, ReLU; you have the ReLU before the batch norm.",
         lambda: F.relu(b.bn3(b.conv3(b.bn2(F.relu(b.conv2(b.bn1(F.relu(b.conv1(X)))))))) + X)),
        ("relu_before_addition", "the last ReLU comes before the addition; it belongs after it.",
         lambda: F.relu(g) + X),
        ("bn3_after_addition", "your block adds before the third batch norm. The shortcut joins after it.",
         lambda: F.relu(b.bn3(b.conv3(h2) + X))),
        ("no_relu_after_bn1", "the ReLU after the first batch norm is missing.",
         lambda: F.relu(b.bn3(b.conv3(F.relu(b.bn2(b.conv2(b.bn1(b.conv1(X))))))) + X)),
        ("no_relu_after_bn2", "the ReLU after the second batch norm is missing.",
         lambda: F.relu(b.bn3(b.conv3(b.bn2(b.conv2(h1)))) + X)),
        ("bn3_not_used", "bn3 is not used.", lambda: F.relu(b.conv3(h2) + X)),
        ("no_norm_used", "no batch norm is used in forward.",
         lambda: F.relu(b.conv3(F.relu(b.conv2(F.relu(b.conv1(X))))) + X)),
        ("no_inner_relus", "the ReLU between the convolutions is missing twice.",
         lambda: F.relu(b.bn3(b.conv3(b.bn2(b.conv2(b.bn1(b.conv1(X)))))) + X)),
    )


@exercise(2, "identity initialisation", hints=(
    "The last thing the branch does is y = gamma * normalised + beta, in bn2: gamma is bn2.weight, beta is bn2.bias.",
    "Which two of the block's tensors have to be zero? Not more than those, or no gradient gets through any more.",
))
def identity_initialization(make_identity):
    """A function that changes a `d2l.Residual` block so that it passes on every input that is not negative."""
    if isinstance(make_identity, nn.Module) or not callable(make_identity):
        raise Wrong("no_function", "the answer must be a function that takes a block and changes its weights.")
    generator = torch.Generator().manual_seed(0)
    for num_channels in (3, 8):
        block = Residual(num_channels, num_channels)
        _randomize(block, generator)
        result = make_identity(block)
        block = result if isinstance(result, nn.Module) else block
        if not isinstance(block, Residual):
            raise Wrong("returns_another_module",
                        "make_identity must change the weights of the block it gets, not return another kind of "
                        "module.")
        X = torch.rand(4, num_channels, 6, 6, generator=generator)
        _expect_identity(block, X)
        _expect_gradient(block, X)
    return ("right. The block begins as the identity, and the gradient still reaches the weights that are zero, so "
            "that training can move them. Goyal et al. (2017, section 5.1) begin their ResNets like this.")


def _expect_identity(block, X):
    with torch.no_grad():
        in_train, in_eval = copy.deepcopy(block).train()(X), copy.deepcopy(block).eval()(X)
    if close(in_train, X) and not close(in_eval, X):
        raise Wrong("identity_in_training_only",
                    "it is the identity in train mode but not in eval mode: there batch norm subtracts a running mean, "
                    "which a convolution of zeros does not bring along. Zero what comes after the normalising.")
    if close(in_eval, X) and not close(in_train, X):
        raise Wrong("identity_in_eval_only", "it is the identity in eval mode but not in train mode.")
    if close(in_train, X):
        return
    if close(in_train, torch.zeros_like(X)):
        raise Wrong("shortcut_vanishes", "the output is zero: something makes the shortcut vanish too.")
    if close(in_train, 2 * X, 1e-2) or close(in_eval, 2 * X, 1e-2):
        raise Wrong("branch_passes_input",
                    "the output is 2x: the branch passes its input on, and the shortcut adds it once more. The branch "
                    "has to be zero.")
    if block.bn2.weight.abs().max() == 0 and block.bn2.bias.abs().max() > 0:
        raise Wrong("bn2_shift_not_zero",
                    "the scale of bn2 is zero, but its shift (bn2.bias) is not: the branch adds a constant.")
    if block.bn2.bias.abs().max() == 0 and block.bn2.weight.abs().max() > 0:
        raise Wrong("bn2_scale_not_zero",
                    "the shift of bn2 is zero, but its scale (bn2.weight) is not: batch norm brings whatever small "
                    "numbers it gets back to standard deviation 1, however small the weights before it are.")
    raise Wrong("branch_not_zero",
                "the block still changes its input: the branch is not zero. What is the last step of the branch?")


def _expect_gradient(block, X):
    for p in block.parameters():
        if not p.requires_grad:
            raise Wrong("parameters_frozen",
                        "some parameters have requires_grad=False now, and could never be trained again.")
    torch.default_generator.manual_seed(0)
    target = torch.rand_like(X)
    block.train()
    parameters = dict(block.named_parameters())
    before = copy.deepcopy(parameters)
    for _ in range(2):  # after the first step the zeros have moved, and the rest follows
        loss = F.mse_loss(block(X), target)
        gradients = torch.autograd.grad(loss, parameters.values(), allow_unused=True, materialize_grads=True)
        with torch.no_grad():  # by hand: the first optimizer of a process imports for two seconds
            for p, gradient in zip(parameters.values(), gradients, strict=True):
                p -= 0.1 * gradient
    if all(torch.equal(p, before[name]) for name, p in parameters.items() if name.startswith("conv")):
        raise Wrong("no_gradient_to_convolutions",
                    "it is the identity, but it can never become anything else: no gradient reaches the convolutions, "
                    "because too much is zero. Zero only the last step of the branch.")


QUESTIONS = {
    "1": ("c", {
        "a": "A block without shortcut can represent the identity too; it is only hard to find.",
        "b": "The shortcut has no weights, but the branch has as many as before: nothing is saved.",
        "c": "With the input added back, the identity is g = 0. Scale and shift of the last batch norm at zero give it "
             "(section 2.7), and a network can begin there.",
    }),
    "2": ("b", {
        "a": "A ReLU at the end of the branch makes g(x) >= 0, whatever the weights: then the block can never lower a "
             "value.",
        "b": "After the addition the sum may be negative, and the ReLU there is the block's second nonlinearity; "
             "before it, the branch could only raise values.",
        "c": "It does matter: section 2.2 counted how many values a block can lower in each case.",
    }),
    "3": ("a", {
        "a": "Two tensors of different shapes have no sum, so the input must get the branch's channels and "
             "resolution; a 1x1 convolution with the same stride does that, with a ninth of the weights of a 3x3 one.",
        "b": "A block without conv3 trains well; most blocks of a ResNet have none.",
        "c": "It is there for the shapes. On all shortcuts it gained the paper 0.3 points only (table 3, B and C), for "
             "more weights.",
    }),
    "4": ("c", {
        "a": "Not for inputs with negative numbers: the ReLU after the addition cuts them off.",
        "b": "It is the identity for every input without negative numbers, and inside a ResNet the inputs of blocks "
             "have none.",
        "c": "relu(0 + x) is x where x >= 0, and the inputs of the blocks come out of ReLUs.",
    }),
}


@exercise(2, "four questions about the block", hints=("Section 2.1 for question 1, 2.2 for 2, 2.4 for 3 and 2.7 for "
                                                      "4.",))
def block_questions(answers):
    """Letters for questions 1 to 4."""
    return choose(answers, QUESTIONS)
