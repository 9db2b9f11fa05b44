"""Costs of blocks and models against modules that torch runs; the feature maps of a block."""

import functools
import math

import pytest
import torch
import torchvision
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import resnet_helpers as d2l
from resnet_helpers import Residual
from resnet_helpers.costs import block_costs, block_remedies, layer_step, model_costs
from resnet_helpers.engine.cpu import one_thread
from resnet_helpers.experiments import block_feature_maps
from resnet_helpers.models import STEMS

DEPTHS = (18, 34, 50, 101, 152)
FLOAT32_BYTES = 4


@pytest.fixture(scope="module", autouse=True)
def in_one_thread():
    """Thousands of tiny blocks: threads would wait for each other longer than they compute."""
    with one_thread():
        yield


def examples(n):
    return settings(max_examples=n, deadline=None, derandomize=True)


def blocks(max_channels=64, max_size=64, **more):
    """Arguments of blocks; equal channels, and one channel on the shortcut, come up often."""
    return st.integers(1, max_channels).flatmap(lambda c: st.fixed_dictionaries({
        "input_channels": st.sampled_from((c, 1)),
        "num_channels": st.just(c) | st.integers(1, max_channels),
        "use_1x1conv": st.booleans(), "strides": st.sampled_from((1, 2, 3)),
        "size": st.integers(1, max_size),
        **more}))


KERNEL_SIZES = st.sampled_from((1, 3))


# --- a block that torch runs ---

class Unchecked(Residual):
    """The article's block: it adds without a look at the shapes, and leaves the rest to torch."""

    def forward(self, X):
        Y = F.relu(self.bn1(self.conv1(X)))
        Y = self.bn2(self.conv2(Y))
        if self.conv3 is not None:
            X = self.conv3(X)
        self.shapes_differ = Y.shape != X.shape
        Y += X
        return F.relu(Y)


def real_block(input_channels, num_channels, use_1x1conv, strides, shortcut_kernel_size=1):
    block = Unchecked(input_channels, num_channels, use_1x1conv, strides)
    if use_1x1conv and shortcut_kernel_size == 3:
        block.conv3 = nn.Conv2d(input_channels, num_channels, kernel_size=3, padding=1,
                                stride=strides)
    return block


def torchs_verdict(size, **block):
    """torch's message about the addition; "" if it stretches in silence; None if all is well."""
    block = real_block(**block)
    try:
        with torch.no_grad():
            block(torch.rand(4, block.conv1.in_channels, size, size))
    except RuntimeError as error:
        return str(error)
    return "" if block.shapes_differ else None


def measured_steps(size, **block):
    """{name: (shape, parameters, multiply-adds)} of a block's steps, as it runs on "meta"."""
    with torch.device("meta"):
        block, shapes = real_block(**block), {}
        X = torch.empty(4, block.conv1.in_channels, size, size)

    def note(name, tensor):
        shapes[name] = tuple(tensor.shape[1:])

    block.conv2.register_forward_pre_hook(lambda _, args: note("relu", args[0]))
    for name, layer in block.named_children():
        layer.register_forward_hook(lambda _, args, out, name=name: note(name, out))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        try:
            block.eval()(X)
        except RuntimeError:  # branch and shortcut cannot be added, but both have been computed
            pass
    flops = counter.get_flop_counts()
    return {name: (shape, d2l.count_parameters(getattr(block, name, nn.ReLU())),
                   sum(flops.get(f"Unchecked.{name}", {}).values()) / (2 * 4))
            for name, shape in shapes.items()}


@examples(100)
@given(blocks(shortcut_kernel_size=KERNEL_SIZES))
def test_every_step_of_a_block_has_the_shape_parameters_and_multiply_adds_of_the_real_one(block):
    costs, measured = block_costs(**block), measured_steps(**block)
    steps = {step.name: (step.shape, step.parameters, step.multiply_adds)
             for step in (*costs.branch, *costs.shortcut)}
    assert steps == measured
    assert [step.name for step in costs.branch] == ["conv1", "bn1", "relu", "conv2", "bn2"]
    assert costs.branch_shape == measured["bn2"][0]
    shortcut = measured["conv3"][0] if block["use_1x1conv"] else costs.input_shape
    assert costs.shortcut_shape == shortcut
    assert costs.input_shape == (block["input_channels"], block["size"], block["size"])


@examples(100)
@given(blocks(max_size=24, shortcut_kernel_size=KERNEL_SIZES))
@example({"input_channels": 1, "num_channels": 5, "use_1x1conv": False, "strides": 1, "size": 6,
          "shortcut_kernel_size": 1})  # torch adds these without a word
def test_error_is_torchs_own(block):
    costs = block_costs(**block)
    assert costs.error == torchs_verdict(**block)
    assert costs.output_shape == (costs.branch_shape if costs.error is None else None)


def saved_bytes(net, X):
    """Bytes that autograd keeps, but for the input, the weights and a batch norm's statistics."""
    not_counted = {t.untyped_storage().data_ptr() for t in (*net.parameters(), *net.buffers(), X)}
    kept = {}

    def keep(t):
        storage = t.untyped_storage()
        if t.dim() > 1 and storage.data_ptr() not in not_counted:
            kept[storage.data_ptr()] = storage
        # Nothing for a backward pass, which does not come: an output that its own graph keeps would
        # never be freed.

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda nothing: nothing):
        net.train()(X)
    return sum(storage.nbytes() for storage in kept.values())


@examples(100)
@given(blocks(max_channels=16, max_size=16, shortcut_kernel_size=KERNEL_SIZES))
def test_block_keeps_for_the_backward_pass_what_autograd_saves(block):
    costs = block_costs(**block)
    if costs.error is None:
        size = block.pop("size")
        X = torch.rand(3, block["input_channels"], size, size)
        last_relu = math.prod(costs.output_shape) * FLOAT32_BYTES
        kept = sum(step.kept_bytes for step in (*costs.branch, *costs.shortcut)) + last_relu
        assert 3 * kept == saved_bytes(real_block(**block), X)


@examples(100)
@given(blocks(max_channels=16, max_size=12))
def test_remedies_mend_a_real_block_and_do_no_more_than_needed(block):
    remedies = block_remedies(**block)
    if torchs_verdict(**block) is None:
        assert remedies == []
        return
    for remedy in remedies:
        assert torchs_verdict(**{**block, **remedy}) is None
        assert all(block[name] != value for name, value in remedy.items())
        for name in remedy:
            rest = {other: value for other, value in remedy.items() if other != name}
            assert torchs_verdict(**{**block, **rest}) is not None
    for change in ({"use_1x1conv": True}, {"strides": 1},
                   {"num_channels": block["input_channels"]}):
        assert (change in remedies) == (torchs_verdict(**{**block, **change}) is None)


def test_impossible_blocks_are_refused_by_name():
    for name, value in (("size", 0), ("size", 2.5), ("size", True), ("strides", 0),
                        ("input_channels", 0), ("num_channels", -1), ("shortcut_kernel_size", 2)):
        arguments = {"input_channels": 3, "num_channels": 3, name: value}
        for count in (block_costs, functools.partial(block_feature_maps, 0)):
            with pytest.raises(ValueError, match=f"{name} must be .*, got {value}"):
                count(**arguments)
                pytest.fail(f"{name}={value} was taken")
@pytest.mark.parametrize("label", [-1, 10, 2.5])
def test_image_of_no_class_is_refused(label):
    with pytest.raises(ValueError, match=f"label must be .*, got {label}"):
        block_feature_maps(label, 3, 3)


# --- models that torch runs ---

def meta_model(depth, *args):
    with torch.device("meta"):
        return getattr(d2l, f"resnet{depth}")(*args)


def measured_stages(net, X):
    """(shape, parameters, multiply-adds) of b1 to b5 and of the layers after them."""
    shapes = {}
    for i, part in enumerate(net):
        part.register_forward_hook(
            lambda _, args, out, i=i: shapes.update({i: tuple(out.shape[1:])}))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.eval()(X)
    flops = counter.get_flop_counts()
    parts = [[0], [1], [2], [3], [4], [5, 6, 7]]
    return [(shapes[part[-1]], sum(d2l.count_parameters(net[i]) for i in part),
             sum(sum(flops.get(f"Sequential.{i}", {}).values()) for i in part) / (2 * len(X)))
            for part in parts]


def check_model(depth, **arguments):
    size, in_channels = arguments["size"], arguments["in_channels"]
    net = meta_model(depth, arguments["num_classes"], in_channels, arguments["shortcuts"],
                     arguments["stem"])
    costs = model_costs(depth, **arguments)
    assert [stage.name for stage in costs] == ["b1", "b2", "b3", "b4", "b5", "linear"]
    found = [(stage.shape, stage.parameters, stage.multiply_adds) for stage in costs]
    assert found == measured_stages(
        net, torch.empty(2, in_channels, size, size, device="meta"))
    for stage, module in zip(costs[1:5], net[1:5], strict=True):
        counted = [sum(step.parameters for step in (*branch, *shortcut))
                   for branch, shortcut in stage.blocks]
        assert counted == [d2l.count_parameters(block) for block in module]
    assert costs[0].blocks == costs[5].blocks == ()


def test_how_many_images_fit_into_8_gib_as_notebook_3_says():
    assert 8 * 2**30 // sum(stage.activation_bytes for stage in model_costs(50, 224)) == 108


MODELS = {"size": st.integers(1, 256), "num_classes": st.integers(1, 1000),
          "in_channels": st.integers(1, 4),
          "shortcuts": st.booleans(), "stem": st.sampled_from(STEMS)}


@examples(8)
@given(**MODELS)
def test_stages_of_resnet18_and_34_have_the_shapes_and_costs_of_the_real_ones(**arguments):
    check_model(18, **arguments)
    check_model(34, **arguments)


@examples(2)
@given(**MODELS)
def test_stages_of_deeper_models_have_the_shapes_and_costs_of_the_real_ones(**arguments):
    for depth in (50, 101, 152):
        check_model(depth, **arguments)


@pytest.mark.parametrize("shortcuts", [True, False])
@pytest.mark.parametrize(("depth", "runs", "max_size"), [
    (18, 4, 128), (34, 2, 96), (50, 2, 80), (101, 1, 64), (152, 1, 48)])
def test_activations_are_what_autograd_saves(depth, runs, max_size, shortcuts):
    @examples(runs)
    @given(size=st.integers(1, max_size), in_channels=st.integers(1, 4))
    def check(size, in_channels):
        net = meta_model(depth, 10, in_channels, shortcuts).to_empty(device="cpu")
        for t in (*net.parameters(), *net.buffers()):
            t.data.zero_()
        costs = model_costs(depth, size, 10, in_channels, shortcuts)
        kept = sum(stage.activation_bytes for stage in costs)
        assert 2 * kept == saved_bytes(net, torch.zeros(2, in_channels, size, size))
    check()


def multiply_adds(depth):
    return sum(stage.multiply_adds for stage in model_costs(depth, 224, 1000, 3))


@pytest.mark.parametrize(("depth", "paper"), [
    (18, 1.8), (34, 3.6), (50, 3.8), (101, 7.6), (152, 11.3)])
def test_multiply_adds_are_those_of_table_1(depth, paper):
    # The paper's bottlenecks halve the image in their first convolution, ours in the second. So at
    # the entrance of three modules the first one computes four times as many places here: 3/4 of
    # them are not in the paper's count.
    entrances = (56, 256, 128), (28, 512, 256), (14, 1024, 512)
    at_entrances = sum(size ** 2 * c_in * width for size, c_in, width in entrances)
    ours = multiply_adds(depth) - (0.75 * at_entrances if depth >= 50 else 0)
    assert ours / 1e9 == pytest.approx(paper, rel=0.02)


@pytest.mark.parametrize("depth", DEPTHS)
def test_multiply_adds_are_those_that_torchvision_states(depth):
    weights = getattr(torchvision.models, f"ResNet{depth}_Weights").IMAGENET1K_V1
    assert round(multiply_adds(depth) / 1e9, 3) == weights.meta["_ops"]


@pytest.mark.parametrize(("arguments", "message"), [
    ({"depth": 20}, "depth must be one of 18, 34, 50, 101, 152, got 20"),
    ({"size": 0}, "size must be .* got 0"), ({"num_classes": 0}, "num_classes must be .* got 0"),
    ({"in_channels": 1.5}, "in_channels must be .* got 1.5"),
    ({"stem": "5x5"}, "stem must be one of .* got '5x5'")])
def test_impossible_models_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        model_costs(**{"depth": 18, **arguments})


def test_layer_that_resnets_do_not_have_is_refused():
    with pytest.raises(TypeError, match="costs of a LSTM are not known"):
        layer_step("lstm", nn.LSTM(2, 2), (2, 3, 3))


def test_counting_draws_no_random_numbers():
    before = torch.get_rng_state()
    block_costs(3, 6, False, 2)
    model_costs(18, num_classes=11)
    assert torch.equal(torch.get_rng_state(), before)


# --- feature maps ---

def standardised(Z):
    return (Z - Z.mean()) / Z.std(correction=0)


@examples(60)
@given(st.integers(0, 9), blocks(max_channels=24, max_size=40, shortcut_kernel_size=KERNEL_SIZES))
def test_feature_maps_have_the_counted_shapes_and_are_what_a_block_computes(label, block):
    before = torch.get_rng_state()
    maps, costs = block_feature_maps(label, **block), block_costs(**block)
    assert torch.equal(torch.get_rng_state(), before)
    shapes = {"x": costs.input_shape, **{step.name: step.shape for step in costs.branch},
              "shortcut": costs.shortcut_shape}
    if costs.error is None:
        shapes |= {"sum": costs.output_shape, "y": costs.output_shape}
        assert torch.equal(maps["sum"], maps["bn2"] + maps["shortcut"])
        assert torch.equal(maps["y"], maps["sum"].clamp(min=0))
    assert {name: tuple(Z.shape) for name, Z in maps.items()} == {
        name: shape[1:] for name, shape in shapes.items()}
    assert all(Z.isfinite().all() for Z in maps.values())
    assert torch.equal(maps["relu"], maps["bn1"].clamp(min=0))
    if not block["use_1x1conv"]:
        assert torch.equal(maps["shortcut"], maps["x"])
    for i in (1, 2):
        if maps[f"conv{i}"].std(correction=0) > 1e-3:
            torch.testing.assert_close(standardised(maps[f"bn{i}"]),
                                       standardised(maps[f"conv{i}"]), rtol=0, atol=0.01)


@pytest.mark.parametrize("label", range(10))
def test_grey_block_gets_a_bundled_image_of_the_class(label):
    data = d2l.load_fashion_mnist_subset()
    images = data.test_images[data.test_labels == label] / 255
    x = block_feature_maps(label, 1, 4)["x"]
    assert any(torch.allclose(x, image, atol=1e-6) for image in images)


@examples(20)
@given(st.integers(0, 9), blocks(max_channels=8, max_size=20))
def test_same_block_gives_the_same_maps_whatever_was_drawn_before(label, block):
    maps = block_feature_maps(label, **block)
    torch.rand(7)
    again = block_feature_maps(label, **block)
    assert all(torch.equal(Z, again[name]) for name, Z in maps.items())


def test_maps_of_another_image_differ():
    maps = [block_feature_maps(label, 3, 3)["y"] for label in range(10)]
    assert len({tuple(Z.flatten().tolist()) for Z in maps}) == 10
