"""The models: shapes, counts, torchvision as the reference, and refusals."""

import copy

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

import resnet_helpers as d2l
from resnet_helpers import Bottleneck, PlainBlock, PlainBottleneck, Residual, resnet_block

DEPTHS = (18, 34, 50, 101, 152)


def on_meta(make, *args):
    with torch.device("meta"):
        return make(*args)


def test_both_calls_of_the_article():
    X = torch.rand(4, 3, 6, 6)
    assert Residual(3, 3)(X).shape == (4, 3, 6, 6)
    assert Residual(3, 6, use_1x1conv=True, strides=2)(X).shape == (4, 6, 3, 3)


@pytest.mark.parametrize("block", [Residual, Bottleneck])
def test_odd_sizes_are_rounded_up(block):
    assert block(8, 16, use_1x1conv=True, strides=2)(torch.rand(2, 8, 7, 5)).shape == (2, 16, 4, 3)


def test_conv3_is_a_true_1x1_convolution_or_nothing():
    conv3 = Residual(3, 6, use_1x1conv=True, strides=2).conv3
    assert (conv3.kernel_size, conv3.padding, conv3.stride) == ((1, 1), (0, 0), (2, 2))
    assert Residual(3, 3).conv3 is None


def test_output_is_relu_of_branch_plus_shortcut():
    blk, X = Residual(3, 6, use_1x1conv=True, strides=2), torch.randn(4, 3, 6, 6)
    branch = blk.bn2(blk.conv2(F.relu(blk.bn1(blk.conv1(X)))))
    torch.testing.assert_close(blk(X), F.relu(branch + blk.conv3(X)))


def test_zeroed_branch_gives_relu_of_the_input():
    blk, X = Residual(3, 3), torch.randn(4, 3, 6, 6)
    nn.init.zeros_(blk.bn2.weight)
    assert torch.equal(blk(X), F.relu(X))


def test_input_is_not_changed():
    X = torch.randn(4, 3, 6, 6)
    before = X.clone()
    Residual(3, 3)(X)
    assert torch.equal(X, before)


def test_shape_walk_of_the_article():
    X, shapes = torch.rand(1, 1, 224, 224), []
    for layer in d2l.resnet18():
        X = layer(X)
        shapes.append(tuple(X.shape[1:]))
    assert shapes == [(64, 56, 56), (64, 56, 56), (128, 28, 28), (256, 14, 14), (512, 7, 7),
                      (512, 1, 1), (512,), (10,)]


def test_parameters_of_the_article():
    assert d2l.count_parameters(d2l.resnet18()) == 11_178_378


@pytest.mark.parametrize("depth", DEPTHS)
def test_depth_in_the_name_counts_convolutions_and_the_linear_layer(depth):
    net = on_meta(getattr(d2l, f"resnet{depth}"))
    shortcuts = sum(blk.conv3 is not None if isinstance(blk, Residual) else blk.conv4 is not None
                    for blk in net.modules() if isinstance(blk, (Residual, Bottleneck)))
    assert sum(isinstance(m, (nn.Conv2d, nn.Linear)) for m in net.modules()) - shortcuts == depth


@pytest.mark.parametrize("depth", DEPTHS)
def test_parameters_are_torchvisions_but_for_biases_and_shortcut_norms(depth):
    ours = on_meta(getattr(d2l, f"resnet{depth}"), 1000, 3)
    theirs = on_meta(getattr(torchvision.models, f"resnet{depth}"))
    biases = sum(m.out_channels for m in theirs.modules() if isinstance(m, nn.Conv2d))
    norms = sum(d2l.count_parameters(m.downsample[1]) for m in theirs.modules()
                if getattr(m, "downsample", None) is not None)
    assert d2l.count_parameters(ours) == d2l.count_parameters(theirs) + biases - norms


def random_torchvision(depth, num_classes=10):
    """A torchvision ResNet with random weights and random running statistics."""
    torch.manual_seed(depth)
    net = getattr(torchvision.models, f"resnet{depth}")(num_classes=num_classes)
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.normal_(m.running_mean, std=0.2)
            nn.init.uniform_(m.running_var, 0.5, 2.0)
            nn.init.uniform_(m.weight, 0.5, 1.5)
            nn.init.normal_(m.bias, std=0.2)
    return net


@pytest.mark.parametrize("depth", [18, 50])
def test_same_logits_as_torchvision(depth):
    theirs = random_torchvision(depth)
    before = copy.deepcopy(theirs.state_dict())
    ours = d2l.copy_torchvision_weights(getattr(d2l, f"resnet{depth}")(10, in_channels=3), theirs)
    X = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        a, b = ours.eval()(X), theirs.eval()(X)
    assert (a - b).abs().max() <= 1e-4 * b.abs().max()
    assert a.std() > 0
    assert all(torch.equal(value, before[name]) for name, value in theirs.state_dict().items())


@pytest.mark.parametrize(("net", "depth", "message"), [
    (lambda: d2l.resnet18(10, 3), 34, "blocks"),
    (lambda: d2l.resnet34(10, 3), 50, "different blocks"),
    (lambda: d2l.resnet18(7, 3), 18, "classes"), (lambda: d2l.resnet18(10, 1), 18, "channels")])
def test_weights_of_another_model_are_refused_and_nothing_is_changed(net, depth, message):
    net = net()
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(ValueError, match=message):
        d2l.copy_torchvision_weights(net, random_torchvision(depth))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("block", [Residual, Bottleneck])
@pytest.mark.parametrize(("arguments", "named"), [
    ({"input_channels": 0}, "input_channels"), ({"num_channels": -4}, "num_channels"),
    ({"strides": 0}, "strides"),
    ({"strides": 1.5}, "strides"), ({"num_channels": True}, "num_channels")])
def test_impossible_sizes_are_refused_by_name(block, arguments, named):
    message = rf"{named} must be a whole number of at least 1, got {arguments[named]}"
    with pytest.raises(ValueError, match=message):
        block(**{"input_channels": 4, "num_channels": 4, **arguments})


@pytest.mark.parametrize(("make", "named"), [
    (lambda: resnet_block(4, 4, 0), "num_residuals"),
    (lambda: d2l.resnet18(num_classes=0), "num_classes"),
    (lambda: d2l.resnet50(in_channels=0), "in_channels")])
def test_impossible_models_are_refused_by_name(make, named):
    with pytest.raises(ValueError, match=f"{named} must be"):
        make()


def test_bottleneck_needs_a_multiple_of_four():
    with pytest.raises(ValueError, match="divisible by 4, got 6"):
        Bottleneck(4, 6)


@pytest.mark.parametrize(("blk", "shape", "branch", "shortcut"), [
    (lambda: Residual(3, 6), (4, 3, 6, 6), (4, 6, 6, 6), (4, 3, 6, 6)),
    (lambda: Residual(3, 3, strides=2), (4, 3, 6, 6), (4, 3, 3, 3), (4, 3, 6, 6)),
    (lambda: Bottleneck(4, 8), (2, 4, 5, 5), (2, 8, 5, 5), (2, 4, 5, 5)),
    # += would broadcast this one
    (lambda: Residual(1, 6), (4, 1, 6, 6), (4, 6, 6, 6), (4, 1, 6, 6))])
def test_shortcut_that_cannot_be_added_is_explained(blk, shape, branch, shortcut):
    with pytest.raises(ValueError) as error:
        blk()(torch.rand(shape))
    for part in (str(branch), str(shortcut), "use_1x1conv=True"):
        assert part in str(error.value)


def test_wrong_input_is_explained():
    with pytest.raises(ValueError, match=r"\(3, 6, 6\); X\[None\] adds"):
        Residual(3, 3)(torch.rand(3, 6, 6))
    with pytest.raises(ValueError, match="has 4 channels.*input_channels=3"):
        Residual(3, 3)(torch.rand(2, 4, 6, 6))


def test_resnet_block_halves_and_doubles_only_at_its_entrance():
    first, later = resnet_block(64, 64, 2, first_block=True), resnet_block(64, 128, 3)
    assert [blk.conv3 is not None for blk in first] == [False, False]
    assert [blk.conv3 is not None for blk in later] == [True, False, False]
    assert [blk.conv1.stride[0] for blk in later] == [2, 1, 1]


def test_first_block_of_bottlenecks_widens_without_halving():
    blk = resnet_block(64, 256, 1, first_block=True, block=Bottleneck)[0]
    assert blk(torch.rand(2, 64, 8, 8)).shape == (2, 256, 8, 8)


# --- plain networks ---

PLAIN = pytest.mark.parametrize("block", [PlainBlock, PlainBottleneck])


def branch(blk, X):
    """g(x), from the layers of the block."""
    Y = F.relu(blk.bn1(blk.conv1(X)))
    Y = blk.bn2(blk.conv2(Y))
    return blk.bn3(blk.conv3(F.relu(Y))) if isinstance(blk, Bottleneck) else Y


@PLAIN
@pytest.mark.parametrize(("channels", "strides"), [
    ((4, 4), 1), ((4, 8), 1), ((8, 4), 2), ((1, 8), 2)])
def test_output_of_a_plain_block_is_relu_of_the_branch_alone(block, channels, strides):
    blk, X = block(*channels, strides=strides), torch.randn(4, channels[0], 7, 6)
    before = X.clone()
    Y = blk(X)
    torch.testing.assert_close(Y, F.relu(branch(blk, X)))
    assert Y.shape == (4, channels[1], *(-(-n // strides) for n in (7, 6)))
    assert torch.equal(X, before)


@PLAIN
def test_plain_block_has_the_layers_of_its_parent_but_for_the_shortcut(block):
    parent = block.__base__
    plain, residual = block(8, 16, use_1x1conv=True, strides=2), parent(8, 16, strides=2)
    assert [(name, p.shape) for name, p in plain.named_parameters()] == [
        (name, p.shape) for name, p in residual.named_parameters()]
    assert (plain.conv4 if block is PlainBottleneck else plain.conv3) is None


@PLAIN
def test_plain_block_forgets_its_input_when_its_branch_is_zero(block):
    blk = block(8, 8)
    last = blk.bn3 if block is PlainBottleneck else blk.bn2
    nn.init.zeros_(last.weight)
    assert not blk(torch.randn(4, 8, 6, 6)).any()


@PLAIN
def test_plain_block_explains_wrong_input(block):
    with pytest.raises(ValueError, match="has 4 channels.*input_channels=8"):
        block(8, 8)(torch.rand(2, 4, 6, 6))
    with pytest.raises(ValueError, match=r"X\[None\] adds"):
        block(8, 8)(torch.rand(8, 6, 6))
    with pytest.raises(ValueError, match="num_channels must be"):
        block(8, 0)


@pytest.mark.parametrize("depth", DEPTHS)
def test_plain_net_has_torchvisions_layers_without_those_on_shortcuts(depth):
    plain = on_meta(getattr(d2l, f"resnet{depth}"), 1000, 3, False)
    theirs = on_meta(getattr(torchvision.models, f"resnet{depth}"))
    kinds = (nn.Conv2d, nn.BatchNorm2d, nn.Linear)
    shapes = [m.weight.shape for name, m in theirs.named_modules()
              if isinstance(m, kinds) and "downsample" not in name]
    assert sorted(m.weight.shape for m in plain.modules() if isinstance(m, kinds)) == sorted(shapes)
    assert sum(isinstance(m, (nn.Conv2d, nn.Linear)) for m in plain.modules()) == depth


@pytest.mark.parametrize("depth", DEPTHS)
def test_plain_net_computes_the_same_shapes(depth):
    nets = [on_meta(getattr(d2l, f"resnet{depth}"), 7, 2, shortcuts) for shortcuts in (True, False)]
    X = [torch.empty(2, 2, 65, 65, device="meta")] * 2
    for layers in zip(*nets, strict=True):
        X = [layer(x) for layer, x in zip(layers, X, strict=True)]
        assert X[0].shape == X[1].shape
    assert X[1].shape == (2, 7)


@pytest.mark.parametrize("depth", [18, 50])
def test_input_gets_past_a_zero_branch_only_on_a_shortcut(depth):
    X = torch.randn(2, 1, 32, 32)
    for shortcuts in (True, False):
        net = getattr(d2l, f"resnet{depth}")(shortcuts=shortcuts).eval()
        last = net[2][1]
        nn.init.zeros_((last.bn3 if depth == 50 else last.bn2).weight)
        with torch.no_grad():
            a, b = net(X)
        assert torch.equal(a, b) == (not shortcuts)


@pytest.mark.parametrize("depth", [18, 50])
def test_weights_for_shortcuts_that_a_plain_net_lacks_are_refused(depth):
    net = getattr(d2l, f"resnet{depth}")(10, 3, shortcuts=False)
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(ValueError, match="shortcut"):
        d2l.copy_torchvision_weights(net, random_torchvision(depth))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("numbers", [(2, 2, 2), (2, 2, 2, 2, 2), ()])
def test_blocks_of_four_modules_are_needed(numbers):
    with pytest.raises(ValueError, match="four numbers, one for each module"):
        d2l.resnet(numbers)
