"""The experiments on small networks measure what they say, and what they show holds for several
seeds.
"""

import copy
import functools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import resnet_helpers as d2l
from resnet_helpers.experiments import (
    gradient_sizes,
    loss_surface,
    random_direction,
    small_net,
    train_small_net,
    with_blocks,
)
from resnet_helpers.models import PlainBlock, Residual

SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def images():
    """200 training images and their classes."""
    data = d2l.load_fashion_mnist_subset()
    return data.train_images[:200].unsqueeze(1) / 255, data.train_labels[:200]


@pytest.fixture(scope="module")
def test_iter():
    return d2l.load_data_fashion_mnist(100, subset=True)[1]


@functools.cache
def trained(seed, shortcuts):
    """A net of 20 layers after two epochs."""
    return train_small_net(20, shortcuts, num_epochs=2, seed=seed)[0]


def state_of(net):
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def assert_unchanged(net, before):
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


# --- the networks ---

@pytest.mark.parametrize("depth", [4, 6, 20, 56])
@pytest.mark.parametrize(("shortcuts", "block"), [(True, Residual), (False, PlainBlock)])
def test_depth_counts_the_layers_with_weights(depth, shortcuts, block):
    net = small_net(depth, shortcuts)
    assert sum(isinstance(m, (nn.Conv2d, nn.Linear)) for m in net.modules()) == depth
    assert all(type(b) is block for b in net[1])
    assert net(torch.rand(2, 1, 28, 28)).shape == (2, 10)


def test_without_batch_norm_there_is_none():
    net = small_net(8, batch_norm=False)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in net.modules())
    assert net(torch.rand(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize("depth", [0, 2, 7, -6, 6.0, True])
def test_a_depth_that_makes_no_sense_is_refused(depth):
    with pytest.raises(ValueError, match="depth must be"):
        small_net(depth)


def test_training_repeats_itself_and_leaves_the_global_random_state_alone():
    state = torch.get_rng_state()
    (first, loss), (second, again) = (train_small_net(4, num_epochs=1, seed=3) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert loss == again
    assert_unchanged(first, second.state_dict())


# --- deeper is worse without shortcuts, better with them ---

@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_deep_plain_nets_end_with_a_higher_training_loss_and_deep_residual_ones_do_not(seed):
    plain, residual = ({depth: train_small_net(depth, shortcuts, seed=seed)[1]
                        for depth in (6, 20, 56)} for shortcuts in (False, True))
    assert plain[56] > max(plain[6], plain[20]) + 0.3
    assert max(residual[20], residual[56]) < residual[6] - 0.1


# --- the gradient on its way back ---

@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("shortcuts", [True, False])
def test_sizes_are_those_that_autograd_gives(images, shortcuts, batch_norm):
    X, y = images
    net = small_net(8, shortcuts, batch_norm=batch_norm)
    sizes = gradient_sizes(net, X, y)
    assert all(p.grad is None for p in net.parameters())

    kept = []
    for layer in (net[0], *net[1]):
        layer.register_forward_hook(lambda *args: (args[-1].retain_grad(), kept.append(args[-1]))
                                    and None)
    F.cross_entropy(net(X), y).backward()
    assert len(kept) == 4
    expected = [output.grad.double().square().mean().sqrt().item() for output in kept]
    assert sizes == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_depth_does_to_the_gradient(images, seed):
    X, y = images
    growth = {}  # from the last block to the stem
    for shortcuts in (False, True):
        for batch_norm in (False, True):
            torch.manual_seed(seed)
            sizes = gradient_sizes(small_net(56, shortcuts, batch_norm=batch_norm), X, y)
            growth[shortcuts, batch_norm] = sizes[0] / sizes[-1]
    assert growth[False, False] < 1e-6  # the gradient of a plain net vanishes,
    assert growth[False, True] > 1e3  # with batch norm it explodes,
    assert growth[True, False] < 1e3 and growth[True, True] < 1e3  # with shortcuts it does neither
    assert growth[True, False] > 0.1 and growth[True, True] > 0.1


# --- nets without some of their blocks ---

def test_leaving_blocks_out_changes_their_order_and_nothing_else(images):
    X, _ = images
    net = small_net(10).eval()
    assert torch.equal(with_blocks(net, range(4))(X), net(X))
    fewer = with_blocks(net, [0, 3])
    assert list(fewer[1]) == [net[1][0], net[1][3]] and len(net[1]) == 4
    assert torch.equal(with_blocks(net, [])(X), net[2:](net[0](X)))


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_a_residual_net_does_without_most_blocks_and_a_plain_one_without_none(test_iter, seed):
    without_one = [[j for j in range(9) if j != i] for i in range(9)]
    two_swapped = [[*range(i), i + 1, i, *range(i + 2, 9)] for i in range(8)]
    dropped, swapped = {}, {}
    for shortcuts in (False, True):
        net = trained(seed, shortcuts)
        whole = d2l.evaluate_accuracy(net, test_iter)
        dropped[shortcuts], swapped[shortcuts] = (
            [d2l.evaluate_accuracy(with_blocks(net, order), test_iter) / whole for order in orders]
            for orders in (without_one, two_swapped))
    assert sorted(dropped[False])[4] < 0.6 and sorted(swapped[False])[4] < 0.6  # the median
    assert sorted(dropped[True])[4] > 0.8 and sorted(swapped[True])[4] > 0.8


# --- the loss surface ---

def test_directions_are_as_long_as_the_filters():
    net = small_net(6)
    direction = random_direction(net, torch.Generator().manual_seed(0))
    assert set(direction) == {name for name,
                              p in net.named_parameters() if name.endswith("weight")
                              and p.dim() > 1}
    for name, d in direction.items():
        lengths = net.get_parameter(name).detach().flatten(1).norm(dim=1)
        torch.testing.assert_close(d.flatten(1).norm(dim=1), lengths)


def test_the_surface_is_the_loss_at_moved_weights(images):
    X, y = images
    net = small_net(6).eval()
    before = state_of(net)
    positions, losses = loss_surface(net, X, y, span=0.5, steps=3, seed=4)
    assert positions.tolist() == [-0.5, 0, 0.5] and losses.shape == (3, 3) and not net.training
    assert_unchanged(net, before)

    generator = torch.Generator().manual_seed(4)
    right, up = random_direction(net, generator), random_direction(net, generator)
    for row, v in enumerate(positions):
        for column, u in enumerate(positions):
            moved = copy.deepcopy(net).train()
            with torch.no_grad():
                for name in right:
                    moved.get_parameter(name).add_(u * right[name] + v * up[name])
                assert losses[row,
                              column].item() == pytest.approx(F.cross_entropy(moved(X), y).item(),
                                                              rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_the_residual_nets_surface_is_a_bowl_and_the_plain_ones_a_hole_in_a_plateau(images, seed):
    X, y = images
    centre, rim = {}, {}
    for shortcuts in (False, True):
        _, losses = loss_surface(trained(seed, shortcuts), X, y, steps=5)
        centre[shortcuts] = losses[2, 2].item()
        rim[shortcuts] = torch.stack([losses[0, 2], losses[4, 2], losses[2, 0], losses[2, 4]])
        assert losses.argmin() == 12  # the middle: training has found a minimum in this plane
    assert centre[True] < centre[False]
    assert (rim[False] - 2.3).abs().max() < 0.8  # at the rim no better, and no worse, than guessing
    assert rim[True].mean() > rim[False].mean()
