"""Evaluation, the training loop against a plain one, its history, and train_ch6."""

import json
import re
import warnings
import weakref

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import resnet_helpers as d2l
from resnet_helpers import training
from resnet_helpers.data import ImageBatches
from resnet_helpers.history import describe_hardware, name_hardware
from resnet_helpers.training import report_batches


def small_net():
    return nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
                         nn.Linear(36, 3))


def examples(n=40):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(n, 1, 8, 8, generator=generator), torch.randint(0, 3, (n,),
                                                                      generator=generator)


def batches(n=40, batch_size=10):
    X, y = examples(n)
    return list(zip(X.split(batch_size), y.split(batch_size), strict=True))


# --- the small tools ---

def test_accumulator_sums_numbers_and_tensors():
    metric = d2l.Accumulator(2)
    metric.add(1, torch.tensor(2.0, requires_grad=True) * 2)
    metric.add(0.5, 1)
    assert (metric[0], metric[1]) == (1.5, 5.0)
    metric.reset()
    assert metric[0] == 0
    with pytest.raises(ValueError):
        metric.add(1)


def test_timer_keeps_laps():
    timer = d2l.Timer()
    laps = [timer.stop()]
    timer.start()
    laps.append(timer.stop())
    assert timer.times == laps and timer.sum() == sum(laps) and timer.avg() == sum(laps) / 2
    assert timer.cumsum() == pytest.approx([laps[0], sum(laps)])


def test_accuracy_counts_right_answers():
    y = torch.tensor([0, 2, 1])
    assert d2l.accuracy(torch.tensor([[0.9, 0.1, 0], [0.1, 0.8, 0.1], [0, 1, 0]]), y) == 2.0
    assert d2l.accuracy(torch.tensor([0, 2, 2]), y) == 2.0


@pytest.mark.parametrize(("y_hat", "y"),
                         [((3, 4), (3, 1)), ((3, 4), (3, 4)), ((3, 1), (3,)), ((3,), (3, 1))])
def test_accuracy_refuses_what_it_would_compare_each_with_each(y_hat, y):
    with pytest.raises(ValueError, match="one class for each prediction"):
        d2l.accuracy(torch.zeros(y_hat), torch.zeros(y, dtype=torch.int64))


@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(),
                    reason="that device is there")
def test_device_number_0_is_not_the_cpu():
    with pytest.raises((RuntimeError, AssertionError)):
        d2l.fit(nn.Linear(2, 2), [], device=0)


def test_hardware_says_how_many_cores_may_be_used_and_none_for_other_devices(monkeypatch):
    monkeypatch.setenv("CPU_LIMIT", "1")
    assert describe_hardware(torch.device("cpu"))["cores"] == 1
    gpu = describe_hardware(torch.device("mps"))
    assert gpu["name"].startswith("MPS") and name_hardware(gpu) == gpu["name"]


@pytest.mark.parametrize(("cuda", "mps", "i", "device"), [
    (2, True, 0, "cuda:0"), (2, True, 1, "cuda:1"), (2, False, 2, "cpu"), (0, True, 0, "mps"),
    (0, True, 1, "cpu"), (0, False, 0, "cpu")])
def test_try_gpu_prefers_cuda_then_mps_then_cpu(monkeypatch, cuda, mps, i, device):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(training, "device_problem", lambda device: "")
    assert str(d2l.try_gpu(i)) == device


def test_try_gpu_leaves_out_a_gpu_that_cannot_compute(monkeypatch):
    def ones(*_, device):
        raise RuntimeError("CUDA error: no kernel image is available for execution on the "
                           "device\nmore")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch, "ones", ones)
    with pytest.warns(UserWarning,
                      match="cuda:2 is not used.*no kernel image is available for execution on the "
                            "devi"):
        assert d2l.try_gpu(2) == torch.device("cpu")


def test_history_describes_the_net_inside_a_wrapper_but_not_the_part_of_a_net():
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    net.module = nn.Linear(2, 2)  # what a reader may call a layer
    for given in (net, nn.DataParallel(net)):
        history = d2l.History()
        history.describe(given, torch.optim.SGD(net.parameters()), None, 1, torch.device("cpu"),
                         "float32")
        assert history.config["model"] == "Sequential" and history.config["parameters"] == 9 + 8 + 6


# --- evaluation ---

class SumOfInputs(nn.Module):
    """Takes a list of two tensors; notes how it was called."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, X):
        self.seen = (self.training, torch.is_grad_enabled())
        return X[0] + X[1]


def test_evaluation_is_in_eval_mode_without_gradients_and_takes_lists():
    net = SumOfInputs()
    zeros, eye = torch.zeros(2, 2), torch.eye(2)
    data = [([eye, zeros], torch.tensor([0, 1])), ([eye, eye], torch.tensor([0, 0]))]
    assert d2l.evaluate_accuracy_gpu(net, data) == 0.75
    assert net.seen == (False, False) and not net.training


def test_evaluation_takes_a_function_and_a_module_without_parameters():
    data = [(torch.eye(3), torch.arange(3))]
    assert d2l.evaluate_accuracy_gpu(lambda X: X, data) == 1.0
    assert d2l.evaluate_accuracy(nn.Identity(), data) == 1.0


def test_evaluation_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no batch"):
        d2l.evaluate_accuracy_gpu(small_net(), [])


# --- the loop ---

def plain_loop(net, data_iter, num_epochs, lr):
    """Running means of loss and accuracy after every step, written out."""
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)
    means = []
    for _ in range(num_epochs):
        net.train()
        loss_sum = correct = n = 0
        for X, y in data_iter:
            optimizer.zero_grad()
            y_hat = net(X)
            l = nn.functional.cross_entropy(y_hat, y)
            l.backward()
            optimizer.step()
            loss_sum += l.item() * len(y)
            correct += (y_hat.argmax(1) == y).sum().item()
            n += len(y)
            means.append((loss_sum / n, correct / n))
    return means


@pytest.mark.parametrize("make_loader", [
    lambda: batches(), lambda: DataLoader(TensorDataset(*examples()), 7, shuffle=True)])
def test_float32_losses_equal_a_plain_loop_step_for_step(make_loader):
    results = []
    for run in ("plain", "fit"):
        torch.manual_seed(3)
        net, loader = small_net(), make_loader()
        if run == "plain":
            results.append(plain_loop(net, loader, 3, 0.1))
        else:
            results.append([(p.train_loss, p.train_acc)
                            for p in d2l.fit(net, loader, num_epochs=3, lr=0.1,
                                             reports_per_epoch=len(loader),
                                                 precision="float32")])
    assert results[0] == results[1]


class Reads(TorchDispatchMode):
    """Counts how often a number is read from a tensor: each time a GPU would have to be waited for.
    """

    def __init__(self):
        super().__init__()
        self.number = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.number += func in (torch.ops.aten._local_scalar_dense.default,
                                torch.ops.aten.equal.default)
        return func(*args, **(kwargs or {}))


def test_more_steps_do_not_read_more_numbers_from_the_device():
    images, labels = torch.randint(256, (80, 8, 8), dtype=torch.uint8), torch.randint(3, (80,))
    numbers = []
    for batch_size in (10, 4):
        train_iter = ImageBatches(images, labels, batch_size, shuffle=True, flip=True, shift=1)
        with Reads() as reads:
            assert len(list(d2l.fit(small_net(), train_iter, None, 1, precision="float32",
                                    reports_per_epoch=2))) == 2
        numbers.append(reads.number)
    assert numbers[0] == numbers[1]


class Sizes(TorchDispatchMode):
    """The bytes of the largest tensor that is computed, and those of all that are still there."""

    def __init__(self):
        super().__init__()
        self.largest, self.tensors = 0, weakref.WeakValueDictionary()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (list, tuple)) else [out]:
            if torch.is_tensor(tensor) and tensor.is_floating_point():
                self.largest = max(self.largest, tensor.nbytes)
                self.tensors[id(tensor)] = tensor
        return out

    @property
    def kept(self):
        return sum(tensor.nbytes for tensor in self.tensors.values())


def test_more_images_need_no_more_memory_than_their_bytes():
    memory = []
    for number in (100, 400):
        images = torch.randint(256, (number, 28, 28), dtype=torch.uint8)
        labels = torch.randint(3, (number,))
        data = ImageBatches(images, labels, 50, shuffle=True, resize=96, flip=True, shift=1)
        net = nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.Linear(36, 3))
        with Sizes() as sizes:
            largest_kept = max(sizes.kept for _ in d2l.fit(net, data, data, 2, precision="float32"))
        memory.append((sizes.largest, largest_kept < sizes.largest * 4))
    assert memory == [(50 * 96 * 96 * 4, True)] * 2


def test_images_move_to_the_device_as_bytes_before_the_first_step(monkeypatch):
    devices, to = [], ImageBatches.to
    monkeypatch.setattr(ImageBatches, "to",
                        lambda batches, device: devices.append(device) or to(batches, device))
    images, labels = torch.randint(256, (20, 8, 8), dtype=torch.uint8), torch.randint(3, (20,))
    data = ImageBatches(images, labels, 10)
    next(d2l.fit(small_net(), data, data, 1, device="cpu"))
    assert devices == [torch.device("cpu")] * 2


def test_test_accuracy_is_measured_after_each_epoch():
    net, data = small_net(), batches()
    for p in d2l.fit(net, data, data, num_epochs=2, lr=0.1, reports_per_epoch=2):
        if p.epoch == int(p.epoch):
            assert p.test_acc == d2l.evaluate_accuracy_gpu(net, data)
        else:
            assert p.test_acc is None


@pytest.mark.parametrize(("n", "expected"), [
    (235, {47, 94, 141, 188}), (5, {1, 2, 3, 4}), (3, {1, 2}), (1, set())])
def test_five_reports_an_epoch_the_last_at_its_end(n, expected):
    assert report_batches([None] * n, 5) == expected


def test_records_say_where_the_run_stands():
    records = list(d2l.fit(small_net(), batches(45), num_epochs=2, lr=0.1, reports_per_epoch=1))
    assert [(p.epoch, p.step, p.examples) for p in records] == [(1, 5, 45), (2, 10, 90)]
    assert 0 < records[0].seconds < records[1].seconds


def test_one_batch_an_epoch():
    assert [p.epoch for p in d2l.fit(small_net(), batches(10), num_epochs=3, lr=0.1)] == [1, 2, 3]


class Stream(IterableDataset):
    def __iter__(self):
        yield from zip(*examples(), strict=True)


def test_loader_of_unknown_length():
    loader = DataLoader(Stream(), batch_size=10)
    records = list(d2l.fit(small_net(), loader, num_epochs=2, lr=0.1))
    assert [(p.epoch, p.examples) for p in records] == [(1, 40), (2, 80)]


def test_list_of_tensors_as_input():
    data = [([torch.rand(4, 2), torch.rand(4, 2)], torch.randint(0, 2, (4,)))]

    class Net(SumOfInputs):
        def forward(self, X):
            return self.linear(X[0] + X[1])
    assert len(list(d2l.fit(Net(), data, data, num_epochs=2, lr=0.1))) == 2


def test_optimizer_scheduler_and_loss_can_be_given():
    net, history = small_net(), d2l.History()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=8)
    list(d2l.fit(net, batches(), num_epochs=2, optimizer=optimizer, scheduler=scheduler,
                 loss=nn.CrossEntropyLoss(label_smoothing=0.1), history=history))
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0)
    assert history.config["momentum"] == 0.9 and history.config["scheduler"] == "LinearLR"


def test_leaving_the_loop_stops_the_training():
    net, history = small_net(), d2l.History()
    for _ in d2l.fit(net, batches(), num_epochs=100, lr=0.1, history=history):
        break
    assert len(history.records) == 1 and not history.completed
    assert "1" in repr(history) and "of 100 epochs" in repr(history)


def test_return_value_is_the_history():
    def consume():
        return (yield from d2l.fit(small_net(), batches(), num_epochs=1, lr=0.1))
    run = consume()
    records = []
    with pytest.raises(StopIteration) as stop:
        while True:
            records.append(next(run))
    assert stop.value.value.records == records and stop.value.value.completed


@pytest.mark.parametrize(("kwargs", "data", "message"), [
    ({"num_epochs": 0}, batches(), "at least 1"),
    ({"reports_per_epoch": 0}, batches(), "at least 1"),
    ({"num_epochs": 2}, iter(batches()), "gone through only once"), ({}, [], "no batch")])
def test_impossible_runs_are_refused(kwargs, data, message):
    with pytest.raises(ValueError, match=message):
        list(d2l.fit(small_net(), data, lr=0.1, **{"num_epochs": 1, **kwargs}))


class Interrupted(nn.Sequential):
    """A net in which the stop button is pressed during the forward pass number `at`."""

    def __init__(self, at):
        super().__init__(*small_net())
        self.left = at

    def forward(self, X):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return super().forward(X)


@pytest.mark.parametrize("at", [1, 2, 5, 8])  # 4 training batches and 4 test batches an epoch
def test_interrupt_ends_the_run_cleanly_and_keeps_the_records(at):
    history = d2l.History()
    records = list(d2l.fit(Interrupted(at), batches(), batches(), num_epochs=3, lr=0.1,
                           history=history))
    assert records == history.records and not history.completed
    assert len(records) == min(at - 1, 3)


# --- a loss that is not finite ---

def test_loss_that_is_not_finite_stops_with_when_and_what_to_try():
    data = batches()
    data[2] = (torch.full((10, 1, 8, 8), float("nan")), data[2][1])
    history = d2l.History()
    with pytest.raises(d2l.NonFiniteLossError) as error:
        list(d2l.fit(small_net(), data, num_epochs=1, lr=0.25, history=history,
                     reports_per_epoch=2))
    assert "nan at step 3" in str(error.value) and "smaller than 0.25" in str(error.value)
    assert "after epoch 0.5" in str(error.value)
    assert error.value.history is history and len(history.records) == 1
    assert len(error.value._render_traceback_()) == 1


def test_a_diverging_run_says_that_its_weights_are_lost_and_where_others_are_kept():
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.Linear(64, 3))
    with pytest.raises(d2l.NonFiniteLossError, match="start again from fresh ones .*--checkpoint"):
        list(d2l.fit(net, batches(), num_epochs=50, lr=1e30))


@pytest.mark.parametrize(("momentum", "is_advised"), [(0.9, True), (0.0, False)])
def test_a_new_optimizer_is_advised_where_the_old_one_remembers_what_diverged(momentum, is_advised):
    net = small_net()
    optimizer = torch.optim.SGD(net.parameters(), lr=1e30, momentum=momentum)
    with pytest.raises(d2l.NonFiniteLossError) as error:
        list(d2l.fit(net, batches(), num_epochs=50, optimizer=optimizer))
    assert ("with a new optimizer" in str(error.value)) == is_advised


# --- history ---

def trained_history():
    history = d2l.History()
    list(d2l.fit(small_net(), batches(), batches(), num_epochs=2, lr=0.1, history=history))
    return history


def test_history_describes_the_run():
    history = trained_history()
    assert history.completed and history.config["num_epochs"] == 2 and history.config["lr"] == 0.1
    assert history.config["parameters"] == d2l.count_parameters(small_net())
    assert history.hardware["device"] == "cpu" and history.versions["torch"] == torch.__version__
    last = history.records[-1]
    assert history.train_loss == last.train_loss and history.test_acc == last.test_acc
    assert history.examples_per_second == last.examples / last.seconds


def test_history_survives_the_way_to_a_file_and_back(tmp_path):
    history = trained_history()
    history.save(tmp_path / "run.json")
    assert d2l.History.load(tmp_path / "run.json") == history
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.parametrize("content", [
    "", "[]", "{}", "\x00", '{"format": "resnet_helpers history, version 2"}',
    '{"format": "resnet_helpers history, version 1", "records": [1]}',
    '{"format": "resnet_helpers history, version 1", "records": [], "more": 1}'])
def test_other_files_are_no_histories(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(ValueError, match=r"run\.json is not a training history"):
        d2l.History.load(tmp_path / "run.json")


def test_history_that_cannot_be_saved_leaves_the_old_file(tmp_path):
    path = tmp_path / "run.json"
    trained_history().save(path)
    before = path.read_text()
    broken = trained_history()
    broken.config["net"] = object()
    with pytest.raises(TypeError):
        broken.save(path)
    assert path.read_text() == before and [p.name for p in tmp_path.iterdir()] == ["run.json"]


def test_history_is_plain_json_with_all_numbers(tmp_path):
    history = trained_history()
    history.save(tmp_path / "run.json")
    content = json.loads((tmp_path / "run.json").read_text())
    assert [record["train_loss"] for record in content["records"]] == [p.train_loss
                                                                       for p in history.records]


# --- train_ch6 ---

def test_train_ch6_prints_as_the_article_does_and_returns_the_history(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        history = d2l.train_ch6(small_net(), batches(), batches(), 1, 0.1, torch.device("cpu"))
    first, results, speed = capsys.readouterr().out.splitlines()
    assert first == "training on cpu"
    numbers = re.fullmatch(r"loss (\d\.\d{3}), train acc (\d\.\d{3}), test acc (\d\.\d{3})",
                           results)
    assert [float(number) for number in numbers.groups()] == pytest.approx(
        [history.train_loss, history.train_acc, history.test_acc], abs=5e-4)
    assert re.fullmatch(r"\d+\.\d examples/sec on cpu", speed)


def test_train_ch6_starts_from_xavier_weights():
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    nn.init.constant_(net[1].weight, 7.0)
    d2l.train_ch6(net, batches(), batches(), 1, 1e-9, "cpu")
    bound = (6 / (64 + 3)) ** 0.5
    assert net[1].weight.abs().max() <= bound < 2 * net[1].weight.abs().max()


@pytest.mark.parametrize("at", [1, 7])
def test_train_ch6_survives_the_stop_button(capsys, at):
    history = d2l.train_ch6(Interrupted(at), batches(), batches(), 2, 0.1, "cpu")
    assert "stopped early" in capsys.readouterr().out
    assert not history.completed and len(history.records) == min(at - 1, 3)


def test_train_ch6_survives_the_stop_button_while_drawing(capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt
    monkeypatch.setattr(d2l.Animator, "add", interrupt)
    assert len(d2l.train_ch6(small_net(), batches(), batches(), 2, 0.1, "cpu").records) == 1
    assert "stopped early" in capsys.readouterr().out


def test_loop_written_with_the_article_s_tools():
    net, data = small_net(), batches()
    animator = d2l.Animator(xlabel="epoch", xlim=[1, 2], legend=["a", "b", "c"])
    optimizer, loss = torch.optim.SGD(net.parameters(), lr=0.1), nn.CrossEntropyLoss()
    timer = d2l.Timer()
    for epoch in range(2):
        metric = d2l.Accumulator(3)
        for i, (X, y) in enumerate(data):
            timer.start()
            optimizer.zero_grad()
            y_hat = net(X)
            l = loss(y_hat, y)
            l.backward()
            optimizer.step()
            with torch.no_grad():
                metric.add(l * X.shape[0], d2l.accuracy(y_hat, y), X.shape[0])
            timer.stop()
            animator.add(epoch + (i + 1) / 4, (metric[0] / metric[2], metric[1] / metric[2], None))
        animator.add(epoch + 1, (None, None, d2l.evaluate_accuracy_gpu(net, data)))
    assert metric[2] == 40 and len(timer.times) == 8
    assert [len(X) for X in animator.X] == [8, 8, 2]


# --- going on ---

def test_resumed_fit_goes_on_after_the_last_whole_epoch():
    torch.manual_seed(0)
    net, data, history = small_net(), batches(), d2l.History()
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    for p in d2l.fit(net, data, num_epochs=3, optimizer=optimizer, history=history,
                     precision="float32"):
        if p.epoch > 1:
            break  # within the second epoch
    records = [p for p in history.records if p.epoch <= 1]
    list(d2l.fit(net, data, num_epochs=3, optimizer=optimizer, history=history, precision="float32",
                 resume=True))
    assert history.records[:len(records)] == records and history.completed
    assert [p.epoch for p in history.records if p.epoch == int(p.epoch)] == [1, 2, 3]
    assert history.records[-1].step == 3 * len(data)
    assert history.records[-1].examples == 3 * records[-1].examples
    assert history.records[-1].seconds > records[-1].seconds


def test_nothing_to_resume_is_refused():
    with pytest.raises(ValueError, match="the history holds no whole epoch"):
        d2l.fit(small_net(), batches(), resume=True)
