"""bfloat16: when it is chosen and given up, that it computes nearly the same, and that float32
stays plain.
"""

import copy
import random

import numpy
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector
from torch.utils.data import DataLoader, TensorDataset

import resnet_helpers as d2l
from resnet_helpers.engine import arithmetic
from resnet_helpers.engine.arithmetic import Arithmetic, bfloat16_gain

CPU = torch.device("cpu")


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
                         d2l.Residual(8, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))


def batches(n=4):
    generator = torch.Generator().manual_seed(1)
    return [(torch.rand(16, 1, 12, 12, generator=generator),
             torch.randint(0, 3, (16,), generator=generator))
            for _ in range(n)]


def losses(precision, model=None, data=None):
    history = d2l.History()
    for _ in d2l.fit(model or net(), data or batches(), batches(1), 3, 0.1, history=history,
                     precision=precision):
        pass
    return [record.train_loss for record in history.records], history.config["precision"]


@pytest.mark.parametrize(("gain", "expected"),
                         [(0.1, "float32"), (1.2, "float32"), (1.4, "bfloat16"), (5, "bfloat16")])
@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
def test_auto_is_bfloat16_where_products_are_much_faster_in_it(monkeypatch, gain, expected, device):
    monkeypatch.setattr(arithmetic, "bfloat16_gain", lambda device: gain)
    assert Arithmetic("auto", torch.device(device)).precision == expected
    assert Arithmetic("float32", torch.device(device)).precision == "float32"


@pytest.fixture
def fast_bfloat16(monkeypatch):
    """The finding that this machine multiplies bfloat16 matrices three times as fast."""
    monkeypatch.setattr(arithmetic, "bfloat16_gain", lambda device: 3.0)


# --- how weights lie in memory ---

def order(tensor):
    """How the numbers of a tensor lie in memory; the stride of a dimension of one says nothing."""
    return [stride for stride, n in zip(tensor.stride(), tensor.shape, strict=True) if n > 1]


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
def test_what_an_optimiser_remembers_lies_in_memory_as_the_weights_do(fast_bfloat16, kind):
    model, orders = net(), set()
    momentum = {"momentum": 0.9} if kind is torch.optim.SGD else {}
    # fused: it would compute nonsense
    optimizer = kind(model.parameters(), lr=0.01, fused=True, **momentum)

    def look(*_):
        orders.add(model[3].conv1.weight.stride())
        for weight, state in optimizer.state.items():
            kept = [value for value in state.values() if value.shape == weight.shape]
            assert kept and all(order(value) == order(weight) for value in kept)

    model.register_forward_hook(look)
    before = model[3].conv1.weight.stride()
    for _ in d2l.fit(model, batches(5), None, 2, optimizer=optimizer):
        pass
    assert len(orders) == 1 and before not in orders
    look()
    assert model[3].conv1.weight.stride() == before and optimizer.state


def test_what_an_optimiser_remembers_from_before_is_laid_out_and_keeps_its_values():
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=1.0)
    weight = model[3].conv1.weight
    weight.grad = torch.randn(weight.shape)
    optimizer.step()
    before = optimizer.state[weight]["momentum_buffer"].clone()
    with Arithmetic("bfloat16", CPU).in_use(model, optimizer):
        within = optimizer.state[weight]["momentum_buffer"]
        assert within.stride() == weight.stride() != before.stride() and torch.equal(within, before)
    after = optimizer.state[weight]["momentum_buffer"]
    assert after.stride() == weight.stride() == before.stride() and torch.equal(after, before)


def end_by_itself(records):
    list(records)


def leave(records):
    next(records)
    records.close()


def raise_in_the_middle(records):
    with pytest.raises(ZeroDivisionError):
        for _ in records:
            records.throw(ZeroDivisionError)


@pytest.mark.parametrize("end", [end_by_itself, leave, raise_in_the_middle])
@pytest.mark.parametrize("name", ["auto", "bfloat16"])
def test_weights_lie_as_they_did_however_a_run_ends(fast_bfloat16, name, end):
    model = net()
    storages = [p.data_ptr() for p in model.parameters()]
    orders = [order(p) for p in model.parameters()]
    start = [p.detach().clone() for p in model.parameters()]
    flat = model[3].conv1.weight.data.view(-1)
    end(d2l.fit(model, batches(), batches(1), 2, precision=name))
    assert [order(p) for p in model.parameters()] == orders == [order(p.grad)
                                                                for p in model.parameters()]
    assert [p.data_ptr() for p in model.parameters()] == storages
    assert not any(torch.equal(p, q) for p, q in zip(model.parameters(), start, strict=True))
    assert torch.equal(flat, model[3].conv1.weight.data.view(-1))
    parameters_to_vector(model.parameters())
    list(d2l.fit(model, batches(), None, 1, precision=name))  # and can be trained again


# --- nets that PyTorch trains, and that fail in bfloat16 or with the channels last ---

class Views(nn.Module):
    """Flattens with `view`, which wants the channels first."""

    def __init__(self):
        super().__init__()
        self.conv, self.linear = nn.Conv2d(1, 4, 3), nn.Linear(400, 3)

    def forward(self, X):
        X = self.conv(X)
        return self.linear(X.view(len(X), -1))


class Asks(Views):
    """Asks NumPy for a mean, which knows no bfloat16."""

    def forward(self, X):
        X = self.conv(X)
        return self.linear(X.flatten(1)) + float(X.detach().numpy().mean())


class OwnLinear(torch.autograd.Function):
    """A linear layer, as tutorials write one."""

    @staticmethod
    def forward(ctx, X, weight):
        ctx.save_for_backward(X, weight)
        return X @ weight.t()

    @staticmethod
    def backward(ctx, gradient):
        X, weight = ctx.saved_tensors
        return gradient @ weight, gradient.t() @ X


class Custom(Views):
    """Has its own autograd function."""

    def forward(self, X):
        return OwnLinear.apply(self.conv(X).flatten(1), self.linear.weight)


class SumsUp(Views):
    """Writes into a float32 tensor of its own, and draws random numbers, some of them Python's and
    NumPy's.
    """

    def forward(self, X):
        X = F.dropout(self.conv(X), 0.1,
                      self.training) * (1 + 0.01 * random.random() + 0.01 * numpy.random.rand())
        Y = torch.zeros(len(X), 3)
        Y.index_add_(0, torch.arange(len(X)), self.linear(X.flatten(1)))
        return Y


class Normalised(Views):
    """Batch norm has counted a batch before it fails."""

    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm2d(4)

    def forward(self, X):
        X = self.bn(self.conv(X))
        return self.linear(X.view(len(X), -1))


class ViewsInEvalMode(Views):
    """Fails only when the test images come."""

    def forward(self, X):
        X = self.conv(X)
        return self.linear(X.flatten(1) if self.training else X.view(len(X), -1))


class ViewsLater(Views):
    """Fails after some steps."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, X):
        self.calls += self.training
        X = self.conv(X)
        return self.linear(X.flatten(1) if self.calls < 4 else X.view(len(X), -1))


def plain_loop(model, data, num_epochs):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for X, y in num_epochs * data:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(X), y).backward()
        optimizer.step()


def seed_all():
    torch.manual_seed(3), random.seed(3), numpy.random.seed(3)


@pytest.mark.parametrize("kind", [Views, Asks, Custom, SumsUp, Normalised])
def test_a_net_that_fails_in_its_first_step_is_trained_as_by_a_plain_loop(fast_bfloat16, kind):
    seed_all()
    model = kind()
    plain, data = copy.deepcopy(model), batches()
    seed_all()
    plain_loop(plain, data, 2)
    seed_all()
    history = d2l.History()
    with pytest.warns(UserWarning,
                      match=r"plain float32, since this net fails in bfloat16 \(\w+Error: "):
        list(d2l.fit(model, data, None, 2, history=history))
    assert history.config["precision"] == "float32" and history.completed
    assert_equal(model, plain)


def test_logits_of_float64_stay_so():
    class Double(Views):
        def forward(self, X):
            return super().forward(X).double()

    model, data = Double(), batches()
    plain = copy.deepcopy(model)
    plain_loop(plain, data, 2)
    list(d2l.fit(model, data, None, 2, precision="float32"))
    assert_equal(model, plain)


@pytest.mark.parametrize("kind", [ViewsInEvalMode, ViewsLater])
def test_a_net_that_fails_later_goes_on_in_float32(fast_bfloat16, kind):
    history = d2l.History()
    with pytest.warns(UserWarning, match="plain float32"):
        list(d2l.fit(kind(), batches(), batches(1), 2, history=history))
    assert history.config["precision"] == "float32" and history.completed
    assert history.test_acc is not None


def test_a_net_that_fails_in_any_arithmetic_raises_its_own_error_without_a_warning(fast_bfloat16,
                                                                                   recwarn):
    class Wrong(Views):
        def forward(self, X):
            raise KeyError("mine")

    model = Wrong()
    before = copy.deepcopy(model)
    with pytest.raises(KeyError, match="mine"):
        list(d2l.fit(model, batches(), None, 1))
    assert not recwarn.list
    assert_equal(model, before)


def test_bfloat16_that_was_asked_for_is_not_given_up():
    with pytest.raises(RuntimeError, match="view"):
        list(d2l.fit(Views(), batches(), None, 1, precision="bfloat16"))


def assert_equal(model, other):
    for (name, a), b in zip(model.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


# --- lazy layers ---

@pytest.mark.parametrize("name", ["auto", "bfloat16", "float32"])
@pytest.mark.parametrize("data",
                         [batches, lambda: iter(batches()),
                          lambda: DataLoader(pairs(), 8, shuffle=True)],
                         ids=["list", "iterator", "loader"])
def test_lazy_layers_are_trained(fast_bfloat16, name, data):
    model = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(3))
    history = d2l.History()
    list(d2l.fit(model, data(), None, 1, history=history, precision=name))
    assert history.records[-1].examples == 64
    assert history.config["parameters"] == 40 + 8 + 400 * 3 + 3
    # none was counted that was not trained on
    assert int(model[1].num_batches_tracked) == history.records[-1].step


def test_lazy_layers_leave_the_order_of_the_batches_alone():
    orders = []
    for layer in (nn.LazyLinear(3), nn.Linear(144, 3)):
        seen = []
        model = nn.Sequential(nn.Flatten(), layer)
        model.register_forward_hook(lambda net, args, output, seen=seen: seen.append(args[0])
                                    if net.training else None)
        generator = torch.Generator().manual_seed(5)
        list(d2l.fit(model, DataLoader(pairs(), 8, shuffle=True, generator=generator), None, 2))
        orders.append(torch.stack(seen))
    assert torch.equal(*orders)


def test_train_ch6_gives_lazy_layers_the_articles_weights(capsys):
    model = nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
    d2l.train_ch6(model, batches(), batches(1), 1, lr=1e-9)
    bound = (6 / (144 + 3)) ** 0.5
    assert 0.9 * bound < model[1].weight.abs().max() <= bound + 1e-6


def pairs():
    return TensorDataset(*map(torch.cat, zip(*batches(), strict=True)))


@pytest.mark.parametrize("precision", ["auto", "bfloat16", "float32"])
def test_convolutions_of_volumes_can_be_trained(precision):
    model = nn.Sequential(nn.Conv3d(1, 4, 3), nn.AdaptiveAvgPool3d(1), nn.Flatten(),
                          nn.Linear(4, 3))
    data = [(torch.rand(6, 1, 5, 5, 5), torch.arange(6) % 3)] * 4
    for p in d2l.fit(model, data, data, 2, precision=precision):
        assert p.train_loss < 5


def test_gain_is_measured_and_none_is_expected_where_nobody_has_tried():
    assert 0 < bfloat16_gain(CPU, side=64, repeats=2) < 100
    assert bfloat16_gain(torch.device("mps")) == 0


def test_no_gain_is_expected_of_a_device_that_cannot_multiply_bfloat16(monkeypatch):
    def multiply(dtype, device, side, repeats):
        if dtype == torch.bfloat16:
            raise RuntimeError("not implemented for 'BFloat16'")
        return 1.0
    monkeypatch.setattr(arithmetic, "matmul_seconds", multiply)
    assert bfloat16_gain(CPU, side=63) == 0


def test_bfloat16_trains_nearly_as_float32_and_keeps_weights_and_statistics_in_float32():
    model = net()
    (plain, _), (fast, name) = losses("float32"), losses("bfloat16", model)
    assert name == "bfloat16" and fast != plain
    assert fast == pytest.approx(plain, abs=0.02)
    assert {t.dtype for t in model.state_dict().values()
            if t.is_floating_point()} == {torch.float32}
    assert model(batches()[0][0]).dtype == torch.float32  # and afterwards it computes as ever


def test_loss_sees_float32_logits_and_the_convolution_bfloat16():
    model, seen = net(), []
    model[0].register_forward_hook(lambda layer, inputs, output: seen.append(output.dtype))

    def loss(y_hat, y):
        seen.append(y_hat.dtype)
        seen.append(model[0].weight.is_contiguous(memory_format=torch.channels_last))
        return nn.functional.cross_entropy(y_hat, y)

    for _ in d2l.fit(model, batches(1), None, 1, loss=loss, precision="bfloat16"):
        pass
    assert seen == [torch.bfloat16, torch.float32, True]


def test_lists_of_tensors_and_tensors_without_height_and_width():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(5, 3)

        def forward(self, X):
            return self.linear(X[0] + X[1])

    X, y = torch.rand(16, 5), torch.arange(16) % 3
    history = d2l.History()
    for _ in d2l.fit(Sum(), [([X, X], y)], [([X, X], y)], 5, 0.5, history=history,
                     precision="bfloat16"):
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
    assert all(torch.equal(a, b) for a,
               b in zip(model.state_dict().values(), plain.state_dict().values(), strict=True))


@pytest.mark.parametrize("call", [lambda: Arithmetic("float16", CPU),
                                  lambda: d2l.fit(net(), batches(), precision="fast")])
def test_unknown_precision_is_refused(call):
    with pytest.raises(ValueError, match="precision must be one of auto, float32, bfloat16"):
        call()


def test_test_images_are_seen_in_the_precision_of_the_run():
    model, seen = net(), []
    model[0].register_forward_hook(lambda layer, inputs, output: seen.append((layer.training,
                                                                              output.dtype)))
    for _ in d2l.fit(model, batches(1), batches(1), 1, precision="bfloat16"):
        pass
    assert seen == [(True, torch.bfloat16), (False, torch.bfloat16)]
