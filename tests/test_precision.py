"""bfloat16: when it is chosen, that it computes nearly the same, and that float32 stays plain."""

import copy
import time

import pytest
import torch
from torch import nn

import resnet_helpers as d2l
from resnet_helpers import precision
from resnet_helpers.precision import Arithmetic, Trial, bfloat16_gain

CPU = torch.device("cpu")


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), d2l.Residual(8, 8),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))


def batches(n=4):
    generator = torch.Generator().manual_seed(1)
    return [(torch.rand(16, 1, 12, 12, generator=generator), torch.randint(0, 3, (16,), generator=generator))
            for _ in range(n)]


def losses(precision, model=None, data=None):
    history = d2l.History()
    for _ in d2l.fit(model or net(), data or batches(), batches(1), 3, 0.1, history=history, precision=precision):
        pass
    return [record.train_loss for record in history.records], history.config["precision"]


@pytest.mark.parametrize("gain", [0.1, 1.0])
@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_auto_is_plain_float32_without_a_trial_on_gpus_where_products_are_not_faster(monkeypatch, gain, device):
    monkeypatch.setattr(precision, "bfloat16_gain", lambda device: gain)
    arithmetic = Arithmetic("auto", torch.device(device))
    assert arithmetic.is_plain and arithmetic.precision == "float32"


LAST, FIRST = torch.channels_last, torch.contiguous_format
WAYS = [("bfloat16", LAST), ("float32", LAST), ("float32", FIRST)]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_where_products_are_faster_in_bfloat16_each_way_has_its_turn(monkeypatch, device):
    monkeypatch.setattr(precision, "bfloat16_gain", lambda device: 3.0)
    arithmetic = Arithmetic("auto", torch.device(device))
    assert list(arithmetic.trial.tried) == WAYS and not arithmetic.is_plain and arithmetic.precision == "auto"


@pytest.mark.parametrize(("device", "is_plain", "fused"), [
    ("cuda", False, True), ("cuda", True, None), ("cpu", False, None), ("cpu", True, None), ("mps", False, None)])
def test_an_optimiser_is_fused_on_nvidias_gpus_unless_plain_arithmetic_is_asked_for(device, is_plain, fused):
    assert precision.can_fuse(torch.device(device), is_plain) is fused


@pytest.mark.parametrize(("gain", "tried", "fastest"), [
    (3.0, WAYS, 0), (3.0, WAYS, 1), (3.0, WAYS, 2), (1.0, WAYS[1:], 0), (1.0, WAYS[1:], 1)])
def test_auto_takes_what_was_fastest_in_the_first_steps(monkeypatch, gain, tried, fastest):
    monkeypatch.setattr(precision, "bfloat16_gain", lambda device: gain)
    model, seen, weight = net(), [], lambda: model[3].conv1.weight

    def wait(layer, inputs, output):
        is_last = weight().is_contiguous(memory_format=LAST)
        seen.append((str(output.dtype).removeprefix("torch."), LAST if is_last else FIRST))
        time.sleep(0 if seen[-1] == tried[fastest] else 0.05)

    model[0].register_forward_hook(wait)
    assert losses("auto", model, batches(10))[1] == tried[fastest][0]
    assert seen[:3 * len(tried)] == 3 * tried
    assert set(seen[3 * len(tried):]) == {tried[fastest]}  # the test images, too


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
def test_what_an_optimiser_remembers_lies_in_memory_as_the_weights_do_whatever_is_tried(monkeypatch, kind):
    monkeypatch.setattr(precision, "bfloat16_gain", lambda device: 3.0)
    model, orders = net(), set()
    momentum = {"momentum": 0.9} if kind is torch.optim.SGD else {}
    optimizer = kind(model.parameters(), lr=0.01, fused=True, **momentum)  # fused: it would compute nonsense

    def look(*_):
        orders.add(model[3].conv1.weight.stride())
        for weight, state in optimizer.state.items():
            kept = [value for value in state.values() if value.shape == weight.shape]
            assert kept and all(value.stride() == weight.stride() for value in kept)

    model.register_forward_hook(look)
    for _ in d2l.fit(model, batches(10), None, 1, optimizer=optimizer):
        pass
    assert len(orders) == 2 and optimizer.state


def test_what_an_optimiser_remembers_from_before_is_laid_out_and_keeps_its_values():
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=1.0)
    weight = model[3].conv1.weight
    weight.grad = torch.randn(weight.shape)
    optimizer.step()
    assert optimizer.state[weight]["momentum_buffer"].stride() == weight.stride()
    before = optimizer.state[weight]["momentum_buffer"].clone()
    arithmetic = Arithmetic("bfloat16", CPU)
    arithmetic.prepare(model)
    arithmetic.attach(optimizer)
    after = optimizer.state[weight]["momentum_buffer"]
    assert after.stride() == weight.stride() != before.stride() and torch.equal(after, before)


@pytest.mark.parametrize("precision", ["auto", "bfloat16", "float32"])
def test_convolutions_of_volumes_can_be_trained(precision):
    model = nn.Sequential(nn.Conv3d(1, 4, 3), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 3))
    data = [(torch.rand(6, 1, 5, 5, 5), torch.arange(6) % 3)] * 4
    for p in d2l.fit(model, data, data, 2, precision=precision):
        assert p.train_loss < 5


@pytest.mark.parametrize(("seconds", "winner"), [
    ({"a": [0.9, 0.1, 0.2], "b": [0.3, 0.3, 0.3]}, "a"),  # the first step does not count
    ({"a": [0.1, 0.5, 0.5], "b": [0.9, 0.4, 0.9]}, "b"),  # of the others the fastest does
    ({"a": [2.0], "b": [1.5]}, "b"),  # unless steps are long
    ({"a": [2.0], "b": [0.9, 0.1, 0.1]}, "b")])
def test_trial_takes_turns_and_ends_as_soon_as_it_can(seconds, winner):
    trial, left = Trial("ab"), {name: list(s) for name, s in seconds.items()}
    while trial.winner is None:
        trial.add(left[trial.next].pop(0), num_images=16)
    assert trial.winner == winner and not any(left.values())


def test_a_step_with_fewer_images_does_not_win_by_that():
    trial = Trial("ab")
    for _ in range(3):
        trial.add(0.5, num_images=100)  # a
        trial.add(0.4, num_images=10)  # b
    assert trial.winner == "a"


def test_the_first_step_on_a_gpu_may_take_long_without_being_counted(monkeypatch):
    monkeypatch.setattr(precision, "bfloat16_gain", lambda device: 3.0)
    trial = Arithmetic("auto", torch.device("cuda")).trial
    for seconds in (5.0, 0.3, 0.3, 0.1, 0.2, 0.2, 0.1, 0.2, 0.2):
        trial.add(seconds, num_images=16)
    assert trial.winner.precision == "bfloat16"
    assert Arithmetic("auto", CPU).trial.long == 1.0


def test_gain_is_measured_and_none_is_expected_where_nobody_has_tried():
    assert 0 < bfloat16_gain(CPU, side=64, repeats=2) < 100
    assert bfloat16_gain(torch.device("mps")) == 0


def test_no_gain_is_expected_of_a_device_that_cannot_multiply_bfloat16(monkeypatch):
    def multiply(dtype, device, side, repeats):
        if dtype == torch.bfloat16:
            raise RuntimeError("not implemented for 'BFloat16'")
        return 1.0
    monkeypatch.setattr(precision, "matmul_seconds", multiply)
    assert bfloat16_gain(CPU, side=63) == 0


def test_bfloat16_trains_nearly_as_float32_and_keeps_weights_and_statistics_in_float32():
    model = net()
    (plain, _), (fast, name) = losses("float32"), losses("bfloat16", model)
    assert name == "bfloat16" and fast != plain
    assert fast == pytest.approx(plain, abs=0.02)
    assert {t.dtype for t in model.state_dict().values() if t.is_floating_point()} == {torch.float32}
    assert model(batches()[0][0]).dtype == torch.float32  # and afterwards it computes as ever


def test_loss_sees_float32_logits_and_the_convolution_bfloat16():
    model, seen = net(), []
    model[0].register_forward_hook(lambda layer, inputs, output: seen.append(output.dtype))

    def loss(y_hat, y):
        seen.append(y_hat.dtype)
        return nn.functional.cross_entropy(y_hat, y)

    for _ in d2l.fit(model, batches(1), None, 1, loss=loss, precision="bfloat16"):
        pass
    assert seen == [torch.bfloat16, torch.float32]
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_lists_of_tensors_and_tensors_without_height_and_width():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(5, 3)

        def forward(self, X):
            return self.linear(X[0] + X[1])

    X, y = torch.rand(16, 5), torch.arange(16) % 3
    history = d2l.History()
    for _ in d2l.fit(Sum(), [([X, X], y)], [([X, X], y)], 5, 0.5, history=history, precision="bfloat16"):
        pass
    assert history.completed and history.records[-1].train_loss < history.records[0].train_loss


def test_float32_is_the_plain_arithmetic_bit_for_bit():
    model, data = net(), batches()
    plain = copy.deepcopy(model)
    for _ in d2l.fit(model, data, None, 2, 0.1, precision="float32"):
        pass
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1)
    for X, y in 2 * data:
        optimizer.zero_grad()
        nn.functional.cross_entropy(plain(X), y).backward()
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), plain.state_dict().values(), strict=True))


@pytest.mark.parametrize("call", [lambda: Arithmetic("float16", CPU),
                                  lambda: d2l.fit(net(), batches(), precision="fast")])
def test_unknown_precision_is_refused(call):
    with pytest.raises(ValueError, match="precision must be one of auto, float32, bfloat16"):
        call()


def test_test_images_are_seen_in_the_precision_of_the_run():
    model, seen = net(), []
    model[0].register_forward_hook(lambda layer, inputs, output: seen.append((layer.training, output.dtype)))
    for _ in d2l.fit(model, batches(1), batches(1), 1, precision="bfloat16"):
        pass
    assert seen == [(True, torch.bfloat16), (False, torch.bfloat16)]
