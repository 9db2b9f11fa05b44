"""The exercises of notebook 2: shapes and parameters of a block, and blocks of the reader's own."""

import copy
import functools
import re

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
    expect,
    expect_arguments,
    expect_class,
    expect_function,
    expect_number,
    expect_tensor,
    initialize_lazy_layers,
    kind_of,
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
    "Only two arguments can change the shape: num_channels sets the second number, strides divides "
    "the third and fourth.",
    "A 3x3 convolution with padding 1 and stride s turns n pixels into floor((n + 2 - 3) / s) + 1. "
    "Try n = 7, s = 2.",
))
def block_shapes(shapes):
    """Five shapes, as a list of tuples in the order of the task."""
    expect(isinstance(shapes, (list, tuple)) and len(shapes) == len(SHAPES), "not_five_shapes",
           f"the answer must be a list of {len(SHAPES)} shapes, one for each block of the task.")
    for (block, (before, after)), shape in zip(SHAPES.items(), shapes, strict=True):
        start = f"{block} on {before}: "
        is_tuple = isinstance(shape, (list, tuple)) and len(shape) == 4
        expect(is_tuple and all(type(n) is int for n in shape), "no_tuple",
               f"{start}write the shape as a tuple of four whole numbers, (examples, channels, "
               f"height, width); got {shape!r}.")
        shape = tuple(shape)
        expect(shape == after or shape != (after[0], *after[2:], after[1]), "channels_last",
               f"{start}PyTorch puts the channels second, not last.")
        expect(shape[:2] == after[:2], "wrong_channels", f"{start}the first number stays "
               f"{after[0]}, as no layer changes the number of examples; the second is the block's "
               f"second argument, {after[1]}.")
        expect(shape == after or shape[2:] != before[2:], "no_stride", f"{start}the stride is "
               f"missing: the first convolution and the 1x1 convolution both skip pixels.")
        expect(shape == after, "wrong_size",
               f"{start}height and width {shape[2:]} are not right: work out floor((n + 2 - 3) / "
               f"s) + 1 for each, with one pixel of padding on each side. Only the first of the "
               f"two 3x3 convolutions has the stride; the second keeps the size.")
    return ("all five. With padding 1 a stride of s leaves every s-th pixel: n pixels become n / "
            "s, rounded up.")


@exercise(2, "count parameters", hints=(
    "A k x k convolution from a to b channels has a*b*k*k weights and b biases. A batch norm has "
    "two numbers per channel.",
    "Five layers: conv1 from 64 to 128, conv2 from 128 to 128, conv3 (1x1!) from 64 to 128, and "
    "two batch norms of 128.",
))
def block_parameters(count):
    """The number of parameters of Residual(64, 128, use_1x1conv=True, strides=2)."""
    answer = expect_number(count)
    right = count_parameters(Residual(64, 128, use_1x1conv=True, strides=2))
    conv1, conv2, conv3, norms, biases = 64 * 128 * 9, 128 * 128 * 9, 64 * 128, 2 * 2 * 128, 3 * 128
    for code, wrong, message in (
        ("no_biases", right - biases,
         "the biases are missing: each output channel of a convolution has one (by default)."),
        ("no_norms", right - norms,
         "the batch norms are missing: each has a scale and a shift per channel."),
        ("weights_alone", right - biases - norms,
         "those are the weights alone: convolutions have biases too, and batch norms parameters."),
        ("no_conv3", right - conv3 - 128,
         "conv3 is missing: use_1x1conv=True puts a 1x1 convolution on the shortcut."),
        ("conv3_is_3x3", right + 8 * conv3,
         "conv3 has a 1x1 kernel, not 3x3: a ninth of the weights that you counted for it."),
        ("running_averages_counted", right + norms,
         "running averages of a batch norm are no parameters: gradients do not change them."),
    ):
        expect(answer != wrong, code, message)
    many = "many" if answer > right else "few"
    expect(answer == right, f"too_{many}", f"{answer:,.10g} is too {many}. Write down the five "
           f"layers one below the other and count each.")
    return (f"{right:,}: {conv1 + 128:,} in conv1, {conv2 + 128:,} in conv2, {conv3 + 128:,} in "
            f"conv3, {norms} in the norms.")


# --- what every block must be like ---

RESIDUAL = "conv1 bn1 relu conv2 bn2 add relu"  # the steps of each block, see `_compute`
PREACTIVATION = "bn1 relu conv1 bn2 relu conv2 add"
BOTTLENECK = "conv1 bn1 relu conv2 bn2 relu conv3 bn3 add relu"
NAMES = "Name the layers as the task does: the check puts numbers into them."
REASONS = {  # code of a layer that is not as it should be -> why
    "conv1_wrong_in_channels": "conv1 gets the input",
    "conv1_wrong_padding": "without padding a 3x3 convolution makes the image smaller",
    "conv2_wrong_padding": "without padding a 3x3 convolution makes the image smaller",
    "conv2_wrong_in_channels": "conv2 gets what conv1 gives",
    "conv2_wrong_stride": "only conv1 has the stride, or the image would be halved twice",
    "conv3_wrong_stride": "the shortcut must shrink as the branch does",
    "conv3_wrong_kernel_size": "conv3 is a 1x1 convolution, without padding (section 2.6)",
}
MISTAKES = (  # code, what stands where in the right steps, what the reader has there, message
    ("no_relu_after_addition", "add relu", "add",
     "the ReLU after the addition is missing: the output must be relu(Y + X)."),
    ("relu_after_addition", "add$", "add relu",
     "there is a ReLU after the addition. This block has none: that is what lets it be the "
     "identity for every input."),
    ("input_never_added", " add", "",
     "the input is never added: that is a plain block, without its shortcut."),
    ("norm_after_addition", r"(bn\d) add", r"add \1",
     "your block adds before the last batch norm. The shortcut joins after it: the norm belongs "
     "to the branch."),
    ("relu_before_addition", "add relu", "relu add",
     "the last ReLU comes before the addition. It belongs after it; before it the branch can only "
     "raise values (section 2.2)."),
    ("one_relu_too_many", "add relu", "relu add relu",
     "there is one ReLU too many: before the addition, and again after it. Only the one after it "
     "belongs there."),
    ("no_first_relu", r"^(.*?) relu", r"\1",
     "the first ReLU is missing. Two convolutions without a ReLU between them amount to a single "
     "linear map."),
    ("no_second_relu", r"relu (.*?) relu", r"relu \1", "the second ReLU is missing."),
    ("bn1_not_used", "bn1 ", "", "bn1 is not used."),
    ("bn2_not_used", "bn2 ", "", "bn2 is not used."),
    ("bn1_twice", "bn2", "bn1",
     "bn1 stands in both places. The second batch norm is bn2, with numbers of its own."),
    ("conv1_twice", "conv2", "conv1",
     "conv1 stands in both places: the second convolution is conv2."),
    ("relu_before_norm", r"(bn\d) relu", r"relu \1",
     "the order is batch norm, then ReLU; you have the ReLU before the batch norm."),
    ("input_overwritten", "relu conv2", "relu overwrite conv2",
     "what is added is not the block's input but what came out of the first ReLU: was X "
     "overwritten on the way? Keep the input under its own name until the addition."),
    ("conv3_not_used", "add", "add_input",
     "conv3 exists but forward does not use it: the shortcut must be conv3(X)."),
    ("activation_on_shortcut", "^bn1 relu", "bn1 relu overwrite",
     "what is added is relu(bn1(X)): the shortcut carries the input as it came in."),
    ("original_order", "^bn1.*", RESIDUAL,
     "that is the original order, convolution first. Pre-activation means: batch norm, ReLU, then "
     "convolution."),
)


def _make_block(block_class, signature, *args, **options):
    """An object of the reader's class; Wrong, with the right signature, if it cannot be made."""
    expect_arguments(block_class, f"__init__ must take the arguments (self, {signature})", *args,
                     **options)
    try:
        block = block_class(*args, **options)
        initialize_lazy_layers(block, (2, args[0], 8, 8))
    except AttributeError as error:
        expect("before Module.__init__" not in str(error), "no_super_init",
               "super().__init__() is missing as the first line of __init__: it prepares nn.Module "
               "to hold layers.")
        raise
    return block


def _expect_layers(block, **layers):
    """Wrong unless the block has layers like these."""
    numbers = ("kernel_size", "padding", "stride", "in_channels", "out_channels", "num_features")
    for name, right in layers.items():
        mine, kind = getattr(block, name, None), type(right)
        expect(isinstance(mine, kind), f"no_{name}", f"the block needs a {kind.__name__} {name}, "
               f"it is {kind_of(mine)}. {NAMES}")
        others = [other for other in layers if other != name and getattr(block, other, 0) is mine]
        expect(not others, "shared_layer", f"{name} and {', '.join(others)} are one and the same "
               f"layer, so they share their numbers: make a layer of its own for each.")
        for number in numbers:
            given, expected = getattr(mine, number, None), getattr(right, number, None)
            code = f"{name}_wrong_{number}"
            reason = f": {REASONS[code]}" if code in REASONS else ""
            expect(given in (expected, "same", "valid"), code, f"{name} has {number}={given}, "
                   f"where {expected} was expected{reason}.")


def _expect_output(block, num_channels, steps, where):
    """Wrong unless `forward` computes these steps with the block's own layers, in both modes.

    Args:
        num_channels: of its input.
        steps: see `_compute`.
        where: they are written, in words.
    """
    _randomize(block)
    X = torch.randn(4, num_channels, 8, 8)
    for mode in ("", " in train mode"):
        block.train(bool(mode))
        Y = call(copy.deepcopy(block), X, what="your block")  # a forward may keep what it computes
        compute = functools.partial(_compute, copy.deepcopy(block), X)
        expect_tensor(Y, compute(steps).shape, "your block")
        if not close(Y, compute(steps)):
            diagnose(Y, [(code, message, functools.partial(compute, re.sub(right, wrong, steps)))
                         for code, right, wrong, message in MISTAKES],
                     ("wrong_output",
                      f"the output is not that of {where}, computed with your own layers{mode}. "
                      f"Go through your forward line by line beside it."))
        expect(Y.requires_grad, "no_gradient",
               f"no gradient flows through the block: {WHAT_CUTS_GRADIENTS}")


@torch.no_grad()
def _compute(block, X, steps):
    """What a block's layers give for X.

    Args:
        steps: names of layers and "relu"; "add" (the input, or conv3 of it if conv3 is no step);
            "add_input" (as it is); "overwrite" (what is computed so far is now the input).
    """
    conv3 = None if "conv3" in steps else getattr(block, "conv3", None)
    Y = X
    for step in steps.split():
        if step == "relu":
            Y = F.relu(Y)
        elif step == "add" and conv3 is not None:
            Y = Y + conv3(X)
        elif step in ("add", "add_input"):
            Y = Y + X
        elif step == "overwrite":
            X = Y
        else:
            Y = getattr(block, step)(Y)
    return Y


@torch.no_grad()
def _randomize(block):
    """Give all parameters and running averages other values: none can be left out unnoticed."""
    torch.default_generator.manual_seed(0)
    for name, tensor in block.state_dict().items():
        if tensor.is_floating_point():
            tensor.normal_()
        if name.endswith("running_var"):
            tensor.abs_().add_(0.5)


# --- blocks of the reader's own ---

SIGNATURE = "input_channels, num_channels, use_1x1conv=False, strides=1"
SETTINGS = (
    ((3, 3), {}),
    ((3, 6), {"use_1x1conv": True, "strides": 2}),
    ((4, 4), {"use_1x1conv": True}),
)


@exercise(2, "write the block", hints=(
    "Two methods: __init__ makes the layers, forward says how X goes through them. The first line "
    "of __init__ is super().__init__().",
    "conv1 has padding=1 and the stride; conv2 has padding=1 and stride 1; conv3 is None or a 1x1 "
    "convolution with the stride; two batch norms of num_channels.",
    "forward: Y = relu(bn1(conv1(X))), then Y = bn2(conv2(Y)), then X = conv3(X) if there is one, "
    "then relu(Y + X).",
))
def residual_block(block_class):
    """A class like `d2l.Residual`, with its arguments and attributes."""
    expect_class(block_class)
    for channels, options in SETTINGS:
        block = _make_block(block_class, SIGNATURE, *channels, **options)
        right = Residual(*channels, **options)
        _expect_layers(block, conv1=right.conv1, conv2=right.conv2, bn1=right.bn1, bn2=right.bn2)
        expect(hasattr(block, "conv3"), "conv3_undefined",
               "there is no conv3: with use_1x1conv=True it is a 1x1 convolution, else it is None.")
        if right.conv3 is not None:
            _expect_layers(block, conv3=right.conv3)
        expect(right.conv3 is not None or block.conv3 is None, "conv3_not_none",
               "conv3 must be None when use_1x1conv is False: then the input is added as it is.")
        _expect_output(block, channels[0], RESIDUAL, "the formula in section 2.1")
    return ("it computes what d2l.Residual computes, with and without the 1x1 convolution, in "
            "train and in eval mode.")


@exercise(2, "find the bugs", hints=(
    "Compare each forward with the formula of section 2.1, layer by layer: four of the five have "
    "one line that is wrong or stands in the wrong place.",
    "A: where does the shortcut join? B: which batch norm? C: when is conv3 needed? D: what does X "
    "hold when it is added? E: what does += do to a tensor that somebody else still uses?",
))
def broken_blocks(A, B, C, D, E):
    """The five broken blocks of the task, mended."""
    mistakes = {}  # letter -> code, message
    for letter, block_class in zip("ABCDE", (A, B, C, D, E), strict=True):
        expect_class(block_class, what=letter)
        try:
            for channels, options in SETTINGS:
                block = _make_block(block_class, SIGNATURE, *channels, **options)
                _expect_output(block, channels[0], RESIDUAL, "the formula in section 2.1")
        except Wrong as wrong:
            mistakes[letter] = wrong.code, str(wrong)
        except Exception as error:
            mistakes[letter] = "raised", f"it fails with {type(error).__name__}: {error}"
    if len(mistakes) == 5:
        raise Open("all five are still broken. Mend them where they stand, run that cell again, "
                   "and then this one.")
    for letter, (code, message) in mistakes.items():
        raise Wrong(code, f"{5 - len(mistakes)} of 5 mended. Block {letter} is not: {message}")
    return ("all five mended. A added before bn2, B used bn1 twice, C left conv3 out, D had lost "
            "its input when it was to be added, and E wrote its result into the caller's tensor.")


@exercise(2, "pre-activation block", hints=(
    "Order: batch norm, ReLU, convolution; once more; then add the input as it came in. Nothing "
    "after the addition.",
    "forward: Y = conv1(relu(bn1(X))), then Y = conv2(relu(bn2(Y))), then Y + X.",
))
def preactivation_block(block_class):
    """A class with the argument num_channels and the layers bn1, conv1, bn2, conv2."""
    expect_class(block_class)
    for channels in (3, 6):
        block = _make_block(block_class, "num_channels", channels)
        conv, norm = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)
        _expect_layers(block, conv1=conv, conv2=conv, bn1=norm, bn2=norm)
        _expect_output(block, channels, PREACTIVATION, "the order that exercise 2.5 asks for")
    return ("right. When conv2 is zero the block is the identity for every input, negative ones "
            "too: nothing stands between the addition and the next block.")


@exercise(2, "bottleneck", hints=(
    "Three convolutions: 1x1 from num_channels to num_channels // 4, 3x3 at that width, 1x1 back. "
    "Each has a batch norm.",
    "ReLU after the first and after the second batch norm; the third batch norm is followed by the "
    "addition, then ReLU.",
))
def bottleneck_block(block_class):
    """A class with the argument num_channels and the layers conv1, bn1, conv2, bn2, conv3, bn3."""
    expect_class(block_class)
    for channels in (8, 16):
        block, width = _make_block(block_class, "num_channels", channels), channels // 4
        _expect_layers(block, conv1=nn.Conv2d(channels, width, 1), bn1=nn.BatchNorm2d(width),
                       conv2=nn.Conv2d(width, width, 3, padding=1), bn2=nn.BatchNorm2d(width),
                       conv3=nn.Conv2d(width, channels, 1), bn3=nn.BatchNorm2d(channels))
        _expect_output(block, channels, BOTTLENECK, "the block in exercise 2.6")
    mine, basic = count_parameters(Bottleneck(256, 256)), count_parameters(Residual(256, 256))
    return (f"right. With 256 channels it has {mine:,} parameters, where Residual(256, 256) has "
            f"{basic:,}.")


@exercise(2, "identity initialisation", hints=(
    "The last thing the branch does is y = gamma * normalised + beta, in bn2: gamma is bn2.weight, "
    "beta is bn2.bias.",
    "Which two of the block's tensors have to be zero? Not more than those, or no gradient gets "
    "through any more.",
))
def identity_initialization(make_identity):
    """A function that makes a `d2l.Residual` block pass on every input that is not negative."""
    expect_function(make_identity, "blk")
    block, X = Residual(8, 8), torch.rand(4, 8, 6, 6)
    _randomize(block)
    returned = make_identity(block)
    expect(returned is block or not isinstance(returned, nn.Module), "returns_another_module",
           "make_identity must change the weights of the block it gets, not return another module.")
    with torch.no_grad():
        in_train = copy.deepcopy(block).train()(X)
        in_eval = copy.deepcopy(block).eval()(X)
    if not close(in_train, X):
        _explain_branch(block, close(in_eval, 2 * X, 1e-2))
    expect(close(in_eval, X), "identity_in_training_only",
           "it is the identity in train mode but not in eval mode: there batch norm subtracts a "
           "running mean, which a convolution of zeros does not bring along. Zero what comes after "
           "the normalising.")
    expect(_can_learn(block, X), "no_gradient_to_convolutions",
           "it is the identity, but it can never become anything else: no gradient reaches the "
           "convolutions, because too much is zero. Zero only the last step of the branch.")
    return ("right. The block begins as the identity, and the gradient still reaches the weights "
            "that are zero, so that training can move them. Goyal et al. (2017, section 5.1) begin "
            "their ResNets like this.")


def _explain_branch(block, doubles):
    """Wrong, since the branch is not zero."""
    expect(not doubles, "branch_passes_input", "the output is 2x: the branch passes its input on, "
           "and the shortcut adds it once more. The branch has to be zero.")
    expect(block.bn2.weight.any(), "bn2_shift_not_zero", "the scale of bn2 is zero, but its shift "
           "(bn2.bias) is not: the branch adds a constant.")
    expect(block.bn2.bias.any(), "bn2_scale_not_zero",
           "the shift of bn2 is zero, but its scale (bn2.weight) is not: batch norm brings "
           "whatever small numbers it gets back to standard deviation 1, however small the weights "
           "before it are.")
    raise Wrong("branch_not_zero", "the block still changes its input: the branch is not zero. "
                "What is the last step of the branch?")


def _can_learn(block, X):
    """Does the second step of training move conv2? In the first, zeros may move alone."""
    target = torch.rand_like(X)
    for _ in range(2):
        block.train().zero_grad()
        F.mse_loss(block(X), target).backward()
        with torch.no_grad():  # by hand: the first optimizer of a process imports for two seconds
            for p in block.parameters():
                p -= 0.1 * p.grad
    return block.conv2.weight.grad.any()


# --- questions ---

QUESTIONS = {
    "1": ("c", {
        "a": "A block without shortcut can represent the identity too; it is only hard to find.",
        "b": "The shortcut has no weights, but the branch has as many as before: nothing is saved.",
        "c": "With the input added back, the identity is g = 0. Scale and shift of the last batch "
             "norm at zero give it (section 2.7), and a network can begin there.",
    }),
    "2": ("b", {
        "a": "A ReLU at the end of the branch makes g(x) >= 0, whatever the weights: then the "
             "block can never lower a value.",
        "b": "After the addition the sum may be negative, and the ReLU there is the block's second "
             "nonlinearity; before it, the branch could only raise values.",
        "c": "It does matter: section 2.2 counted the negative values of the branch in each case.",
    }),
    "3": ("a", {
        "a": "Two tensors of different shapes have no sum, so the input must get the branch's "
             "channels and resolution; a 1x1 convolution with the same stride does that, with a "
             "ninth of the weights of a 3x3 one.",
        "b": "A block without conv3 trains well; most blocks of a ResNet have none.",
        "c": "It is there for the shapes. On all shortcuts it gained the paper 0.3 points only "
             "(table 3, B and C), for more weights.",
    }),
    "4": ("c", {
        "a": "Not for inputs with negative numbers: the ReLU after the addition cuts them off.",
        "b": "It is the identity for every input without negative numbers, and inside a ResNet the "
             "inputs of blocks have none.",
        "c": "relu(0 + x) is x where x >= 0, and the inputs of the blocks come out of ReLUs.",
    }),
}


@exercise(2, "four questions about the block", hints=(
    "Section 2.1 for question 1, 2.2 for 2, 2.4 for 3 and 2.7 for 4.",
))
def block_questions(answers):
    """Letters for questions 1 to 4."""
    return choose(answers, QUESTIONS)
