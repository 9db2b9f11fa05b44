"""Training and evaluating a classifier: one loop, `fit`, and the article's names around it.

`fit` is a generator. It trains and yields a small `Progress` record a few times an epoch; whoever iterates over
it draws, prints or stores, and stops by leaving the loop. `train_ch6` is such a consumer.
"""

import contextlib
import functools
import itertools
import json
import math
import platform
import reprlib
import time
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import nn

from resnet_helpers import diagnosis
from resnet_helpers.cpu import respect_cores
from resnet_helpers.data import ImageBatches
from resnet_helpers.errors import NonFiniteLossError
from resnet_helpers.files import refuse_special, written_whole
from resnet_helpers.limits import available_memory, usable_cores
from resnet_helpers.precision import Arithmetic


def try_gpu(i=0):
    """Device number `i` if there is one, else the CPU: CUDA first, then (for i = 0) Apple's MPS.

    A GPU for which this PyTorch has no code, as it is too old or too new for it, is left out with a warning.
    """
    if torch.cuda.device_count() > i:
        device = torch.device(f"cuda:{i}")
        problem = why_unusable(device)
        if not problem:
            return device
        warnings.warn(f"{device} is not used, as it cannot compute: {problem}", stacklevel=2)
    if i == 0 and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def try_all_gpus():
    """A list of all CUDA devices; of the CPU alone if there is none."""
    return [torch.device(f"cuda:{i}") for i in range(torch.cuda.device_count())] or [torch.device("cpu")]


@functools.cache
def why_unusable(device):
    """What PyTorch says when a device is to add two numbers; "" if it can."""
    try:
        (torch.ones(1, device=device) + 1).item()
    except (RuntimeError, AssertionError) as error:  # the latter where PyTorch was built without such devices
        return str(error).split("\n")[0]
    return ""


class Accumulator:
    """Sums over `n` quantities: `metric = Accumulator(2); metric.add(correct, total); metric[0] / metric[1]`."""

    def __init__(self, n):
        self.data = [0.0] * n

    def add(self, *args):
        """Add one number to each of the n sums."""
        self.data = [a + (b.item() if isinstance(b, torch.Tensor) else float(b))
                     for a, b in zip(self.data, args, strict=True)]

    def reset(self):
        """Set all sums to zero."""
        self.data = [0.0] * len(self.data)

    def __getitem__(self, i):
        return self.data[i]


class Timer:
    """A stopwatch that keeps every lap, in seconds of wall-clock time. It starts when it is made."""

    def __init__(self):
        self.times = []
        self.start()

    def start(self):
        """Begin a lap."""
        self.tik = time.perf_counter()

    def stop(self):
        """End the lap and return its length."""
        self.times.append(time.perf_counter() - self.tik)
        return self.times[-1]

    def avg(self):
        """Mean of the laps."""
        return sum(self.times) / len(self.times)

    def sum(self):
        """Sum of the laps."""
        return sum(self.times)

    def cumsum(self):
        """Running sums of the laps, as a list."""
        return torch.tensor(self.times, dtype=torch.float64).cumsum(0).tolist()


@contextlib.contextmanager
def in_mode(net, training):
    """Put a net in train or eval mode for a moment; afterwards it is as it was.

    Each module gets its own mode back, since some may have been frozen before, and batch norm its running averages.
    What is no nn.Module is left alone.
    """
    modes = {module: module.training for module in net.modules()} if isinstance(net, nn.Module) else {}
    written = [(buffer, buffer.clone()) for buffer in net.buffers()] if modes and training else []
    try:
        if modes:
            net.train(training)
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        with torch.no_grad():
            for buffer, before in written:
                buffer.copy_(before)


def accuracy(y_hat, y):
    """Number of correct predictions, a float.

    Args:
        y_hat: scores or logits (n, classes), the largest is the prediction; or predicted classes (n,).
        y: true classes (n,).

    Raises:
        ValueError: predictions and classes are not of one shape.
    """
    if y_hat.dim() > 1 and y_hat.shape[1] > 1:
        y_hat = y_hat.argmax(dim=1)
    if y_hat.shape != y.shape:  # PyTorch would compare each with each, and count more than there are
        raise ValueError(f"there must be one class for each prediction, and these are classes {tuple(y.shape)} for "
                         f"predictions {tuple(y_hat.shape)}")
    return float((y_hat.type(y.dtype) == y).sum())


def evaluate_accuracy_gpu(net, data_iter, device=None):
    """Share of correct predictions of `net` on all batches of `data_iter`, between 0 and 1.

    A module is put into eval mode and left there. No gradients are computed.

    Args:
        net: a module, or any function from X to logits (n, classes).
        data_iter: iterable of (X, y); X is a tensor or a list of tensors.
        device: where to compute; None means where the net's parameters are.

    Raises:
        ValueError: `data_iter` gave no batch, or labels that are not one class for each image.
    """
    if isinstance(net, nn.Module):
        net.eval()
        if device is None:
            device = next((p.device for p in net.parameters()), None)
    metric = Accumulator(2)  # correct predictions, predictions
    with torch.no_grad():
        for X, y in data_iter:
            X, y = move_to(X, device), y.to(device)
            metric.add(accuracy(net(X), y), y.numel())
    check_not_empty(metric[1])
    return metric[0] / metric[1]


def check_not_empty(num_examples):
    """Raise ValueError if an iterable of batches turned out to have no example."""
    if not num_examples:
        raise ValueError("the data gave no batch of examples: pass a list, loader or iterable that is not empty "
                         "(and not an iterator that has been used up)")


def evaluate_accuracy(net, data_iter):
    """The same as `evaluate_accuracy_gpu` where the net's parameters are."""
    return evaluate_accuracy_gpu(net, data_iter)


def move_to(X, device):
    """Copy a tensor, or each tensor of a list or tuple, to `device`; None leaves it where it is."""
    return [x.to(device) for x in X] if isinstance(X, (list, tuple)) else X.to(device)


def init_weights(module):
    """Xavier-uniform weights for a Linear or Conv2d layer, as in the article: `net.apply(init_weights)`.

    Source: Glorot, Bengio, "Understanding the difficulty of training deep feedforward neural networks" (2010).
    """
    if type(module) in (nn.Linear, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)


def finish_lazy_layers(net, batches, device):
    """Let layers such as nn.LazyLinear find their sizes on the first batch, before anything asks for their weights.

    Args:
        net: a module on `device`; one without such layers is left alone.
        batches: iterable of (X, y). Its random order stays what it would have been.
        device: a `torch.device`.

    Returns:
        `batches`, or an iterator that still gives all of them if they can be gone through only once.
    """
    if not any(map(nn.parameter.is_lazy, (*net.parameters(), *net.buffers()))):
        return batches
    generator = getattr(batches, "generator", None)
    state = None if generator is None else generator.get_state()
    with torch.random.fork_rng(devices=[]):
        iterator = iter(batches)
        batch = next(iterator, None)
    if state is not None:
        generator.set_state(state)
    if batch is not None:
        X, y = diagnosis.unpack(batch)
        with in_mode(net, training=False), torch.no_grad(), diagnosis.explained(net, X, y):
            net(move_to(X, device))
    return itertools.chain([] if batch is None else [batch], iterator) if iterator is batches else batches


@dataclass(frozen=True)
class Progress:
    """Where a training run stands.

    Attributes:
        epoch: epochs done, with the part of the current one: 1.4 is two fifths into the second.
        step: optimiser steps done.
        train_loss, train_acc: mean over the examples of the current epoch so far.
        test_acc: accuracy on the test batches at the end of an epoch, else None.
        examples: training examples seen so far, all epochs together.
        seconds: wall-clock time spent training so far: fetching batches and computing steps, but neither
            evaluating nor what the consumer of the records does.
    """

    epoch: float
    step: int
    train_loss: float
    train_acc: float
    test_acc: float | None
    examples: int
    seconds: float


@dataclass
class History:
    """All that is known about a training run; `fit` fills it in as it goes.

    Attributes:
        config: the settings of the run.
        records: the `Progress` records, in order.
        hardware, versions: what it ran on.
        completed: it reached its last epoch.
    """

    config: dict = field(default_factory=dict)
    records: list = field(default_factory=list)
    hardware: dict = field(default_factory=dict)
    versions: dict = field(default_factory=dict)
    completed: bool = False

    FORMAT = "resnet_helpers history, version 1"
    MAX_BYTES = 2**25  # of a file: over 100,000 records

    def describe(self, net, optimizer, scheduler, num_epochs, device, precision):
        """Note what is about to be trained, and on what, at the first epoch or after the last of the records."""
        if isinstance(net, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            net = net.module
        net = getattr(net, "_orig_mod", net)  # in what torch.compile gives
        self.completed = bool(self.records) and self.records[-1].epoch >= num_epochs
        settings = {k: v for k, v in optimizer.defaults.items() if isinstance(v, (int, float, str, bool))}
        self.config = {"model": type(net).__name__, "parameters": sum(p.numel() for p in net.parameters()),
                       "num_epochs": num_epochs, "optimizer": type(optimizer).__name__, **settings,
                       "scheduler": type(scheduler).__name__ if scheduler else None,
                       "precision": precision, "seed": torch.initial_seed()}
        self.hardware, self.versions = describe_hardware(device), describe_versions()

    def drop_part_of_an_epoch(self):
        """Keep the records up to the last whole epoch; ValueError if there is none."""
        while self.records and self.records[-1].epoch != int(self.records[-1].epoch):
            self.records.pop()
        if not self.records:
            raise ValueError("there is nothing to resume: the history holds no whole epoch")

    def add(self, *values):
        """Append and return `Progress(*values)`."""
        self.records.append(Progress(*values))
        return self.records[-1]

    def _check(self):
        """Raise ValueError unless everything can be computed with, shown and saved."""
        if not isinstance(self.completed, bool):
            raise ValueError(f"completed is {reprlib.repr(self.completed)}, not true or false")
        for name in ("config", "hardware", "versions"):
            if not isinstance(getattr(self, name), dict):
                raise ValueError(f"{name} is not a mapping")
            self._check_values(getattr(self, name))
        for record in self.records:
            for name, value in vars(record).items():
                if not (self._is_number(value) or (name == "test_acc" and value is None)):
                    raise ValueError(f"a record has {name}={reprlib.repr(value)}, which is not a number")

    @classmethod
    def _check_values(cls, values, most=1000, deepest=5):
        """Raise ValueError unless a dict has text, numbers, and few lists and dicts of such; they may hold each other.

        Source of the limits: `fit` writes 30 values, none of them in another.
        """
        waiting = [(values, 0)]
        for number in range(most):
            if not waiting:
                return
            value, depth = waiting.pop()
            if isinstance(value, (dict, list)) and depth < deepest and len(value) <= most - number:
                keys = list(value) if isinstance(value, dict) else []
                if not all(isinstance(key, str) for key in keys):
                    raise ValueError("it has a name that is not a string")
                inner = value.values() if isinstance(value, dict) else value
                waiting += [(v, depth + 1) for v in (*keys, *inner)]
            elif isinstance(value, str):
                value.encode()  # half of a surrogate pair, for example, could not be sent to a page
            elif not (value is None or cls._is_number(value)):
                raise ValueError(f"it has {reprlib.repr(value)} where numbers and words should be")
        raise ValueError("it has too many settings")

    @staticmethod
    def _is_number(value):
        """Is it one that float32 arithmetic can give, 3.4e38 at most?"""
        return isinstance(value, (int, float)) and abs(value) < 2**128  # NaN is not

    @property
    def train_loss(self):
        """Training loss of the last record; None before the first."""
        return self.records[-1].train_loss if self.records else None

    @property
    def train_acc(self):
        """Training accuracy of the last record; None before the first."""
        return self.records[-1].train_acc if self.records else None

    @property
    def test_acc(self):
        """Test accuracy of the last epoch that ended; None before that."""
        return next((r.test_acc for r in reversed(self.records) if r.test_acc is not None), None)

    @property
    def tested_on(self):
        """The images that `test_acc` was measured on: "test", or "held-out" ones of the training images."""
        return "held-out" if self.config.get("held_out") else "test"

    @property
    def examples_per_second(self):
        """Training examples by wall-clock seconds, loading included (see `Progress.seconds`)."""
        last = self.records[-1] if self.records else None
        return last.examples / last.seconds if last and last.seconds else None

    @property
    def machine(self):
        """What it ran on, in a line, as in "AMD EPYC, 2 cores, torch 2.14.1"; "" if that is not known (yet)."""
        if not (isinstance(self.hardware.get("name"), str) and isinstance(self.versions.get("torch"), str)):
            return ""
        processes = self.config.get("processes", 1)
        several = f", {processes} processes" if isinstance(processes, int) and processes > 1 else ""
        return f"{name_hardware(self.hardware)}{several}, torch {self.versions['torch'].partition('+')[0]}"

    def __repr__(self):
        if not self.records:
            return "History: nothing recorded yet"
        return f"History: {self.records[-1].epoch:.3g} of {self.config.get('num_epochs', '?')} epochs, {results(self)}"

    def to_dict(self):
        """All of it as dicts, lists, numbers and strings."""
        return {"format": self.FORMAT, **asdict(self)}

    @classmethod
    def from_dict(cls, content):
        """The history of which `to_dict` gave this.

        Raises:
            ValueError: none did, or that of a newer version.
        """
        found = content.get("format") if isinstance(content, dict) else None
        if found != cls.FORMAT:
            raise ValueError(f"its format is {reprlib.repr(found)}, not {cls.FORMAT!r}")
        try:
            parts = {name: part for name, part in content.items() if name != "format"}
            history = cls(**{**parts, "records": [Progress(**record) for record in parts["records"]]})
        except (TypeError, KeyError):
            raise ValueError("it has more, less or other parts than a history") from None
        history._check()
        return history

    def save(self, path):
        """Write the run to a JSON file; the file is replaced only once the new one is complete."""
        text = json.dumps(self.to_dict(), indent=1)
        with written_whole(path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path):
        """Read a run that `save` wrote.

        Raises:
            ValueError: the file is no such run, is damaged, or of a newer version.
            OSError: it could not be read.
        """
        try:
            refuse_special(path)
            with open(path, "rb") as file:
                content = file.read(cls.MAX_BYTES + 1)
            if len(content) > cls.MAX_BYTES:
                raise ValueError(f"it has more than {cls.MAX_BYTES:,} bytes")
            return cls.from_dict(json.loads(content.decode("utf-8-sig")))  # Windows' editor begins files with a mark
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is not a training history that this version can read ({error}); "
                             f"histories are written by History.save") from None


def fit(net, train_iter, test_iter=None, num_epochs=10, lr=0.05, device=None, *, optimizer=None,
        scheduler=None, loss=None, reports_per_epoch=5, history=None, timer=None, precision="auto", resume=False,
        all_reduce=None):
    """Train `net` by minibatch SGD, yielding `Progress` records; a generator whose return value is a `History`.

        for p in fit(net, train_iter, test_iter, num_epochs=10, lr=0.05):
            print(p.epoch, p.train_loss, p.test_acc)

    The weights start as they are: call `net.apply(init_weights)` first for the article's. Leaving the loop, or
    interrupting it (the stop button), ends the training; weights and history stay as they are then.

    Args:
        net: any module that maps X to logits (n, classes). It is moved to `device`.
        train_iter: iterable of (X, y), gone through once an epoch: a DataLoader, a list, an `ImageBatches`.
            X is a tensor or a list of tensors, y holds classes (n,).
        test_iter: the same, for the test accuracy after each epoch; None leaves it out.
        num_epochs: passes over `train_iter`.
        lr: learning rate, if no optimizer is given.
        device: where to train; None means where the net's parameters are.
        optimizer: None means plain SGD with `lr`.
        scheduler: a learning-rate scheduler of that optimizer, advanced after every step; None keeps the rate.
        loss: function of (logits, y) that gives the mean over the batch; None means cross-entropy. Labels that it
            ignores (`ignore_index`) count as examples, and as wrong answers.
        reports_per_epoch: how many records an epoch gives, evenly spaced; with fewer batches, one a batch. If
            `train_iter` has no length, one an epoch.
        history: a `History` to fill in, for those who want to look at it while, or after, they iterate. What it held
            goes, unless the run is resumed.
        timer: the `Timer` to measure with, a fresh one. Who stops it while `train_iter` waits for something, and
            starts it again, leaves that time out of `Progress.seconds`.
        precision: "float32", the plain arithmetic of PyTorch; "bfloat16"; or "auto", what is faster on this machine,
            or float32 if the net does not compute in bfloat16. See `precision.Arithmetic`. On a CPU "auto" also
            computes with fewer threads while other programs use the cores, see `cpu.SharedCores`.
        resume: go on after the last whole epoch that `history` holds, instead of beginning at the first. Net,
            optimizer, scheduler and random states must be those of that moment, see `checkpoints`.
        all_reduce: where several processes train together, the function that sums a tensor over them, see
            `distributed`; the records are then those of all of them.

    Raises:
        ValueError: an unknown precision; `num_epochs` or `reports_per_epoch` below 1; a `train_iter` that is empty
            or can only be gone through once; nothing to resume.
        NonFiniteLossError: the loss became infinite or NaN. The message says when, and what to try; its
            attribute `history` has what was recorded before.
        UnsuitableBatchError: a batch has the wrong type, shape or labels for the net; the message says what to change.
        MemoryFullError: there is not enough memory for a step; the message proposes a batch size that fits.
    """
    if num_epochs < 1 or reports_per_epoch < 1:
        raise ValueError(f"num_epochs and reports_per_epoch must be at least 1, got {num_epochs} and "
                         f"{reports_per_epoch}")
    for name, batches in (("train_iter", train_iter), ("test_iter", test_iter)):
        if hasattr(batches, "__next__") and num_epochs > 1:
            raise ValueError(f"{name} can be gone through only once, but every epoch needs it: pass a list, a "
                             f"DataLoader or what load_data_fashion_mnist gives, not an iterator or generator")
    device = torch.device(next((p.device for p in net.parameters()), "cpu") if device is None else device)
    respect_cores()
    arithmetic = Arithmetic(precision, device)
    train_iter = finish_lazy_layers(net.to(device), train_iter, device)
    optimizer = optimizer or arithmetic.sgd(net.parameters(), lr)
    loss = loss or nn.CrossEntropyLoss()
    train_iter, test_iter = (batches.to(device) if isinstance(batches, ImageBatches) else batches
                             for batches in (train_iter, test_iter))  # bytes travel once, not each batch as floats
    history, timer = History() if history is None else history, timer or Timer()
    if resume:
        history.drop_part_of_an_epoch()
        timer.times.append(history.records[-1].seconds)
    else:
        history.records = []
    history.describe(net, optimizer, scheduler, num_epochs, device, arithmetic.precision)
    labels = labels_of(train_iter)
    step = TrainingStep(net, arithmetic, optimizer, loss, labels, is_alone=all_reduce is None,
                        leaves_one=labels is not None and all_reduce is None
                        and len(labels) % train_iter.batch_size == 1)
    return _fit(step, train_iter, test_iter, num_epochs, scheduler, reports_per_epoch, history, timer, all_reduce)


def _fit(train_step, train_iter, test_iter, num_epochs, scheduler, reports_per_epoch, history, timer, all_reduce):
    """The loop of `fit`, its arguments checked."""
    net, arithmetic = train_step.net, train_step.arithmetic
    # KeyboardInterrupt is the stop button: a normal way to end a run.
    with contextlib.suppress(KeyboardInterrupt), arithmetic.run(net, train_step.optimizer):
        last = history.records[-1] if history.records else Progress(0, 0, 0.0, 0.0, None, 0, 0.0)
        step, examples = last.step, last.examples
        due = report_batches(train_iter, reports_per_epoch)
        for epoch in range(round(last.epoch), num_epochs):
            net.train()
            sums, seen = BatchSums(all_reduce), examples
            timer.start()  # one lap for each stretch of training between two records
            for i, batch in enumerate(train_iter, start=1):
                l, y_hat, y = train_step(batch)
                if scheduler is not None:
                    scheduler.step()
                sums.add(l, y_hat, y)
                step += 1
                if i in due:
                    train_loss, train_acc, n = sums.read(step, history)
                    timer.stop()
                    history.config["precision"] = arithmetic.precision
                    yield history.add(epoch + i / len(train_iter), step, train_loss, train_acc, None, seen + n,
                                      timer.sum())
                    timer.start()
            train_loss, train_acc, n = sums.read(step, history)
            examples = seen + n
            timer.stop()
            history.config["precision"] = arithmetic.precision
            test_acc = None if test_iter is None else train_step.test_accuracy(test_iter, all_reduce)
            record = history.add(epoch + 1, step, train_loss, train_acc, test_acc, examples, timer.sum())
            history.completed = epoch + 1 == num_epochs
            yield record
    return history


class TrainingStep:
    """What `fit` does with a batch.

    Args:
        net, arithmetic, optimizer, loss: as in `fit`.
        labels: those of all batches, if they are known; they are checked once, at the first step.
        is_alone: no other process has to take part.
        leaves_one: the last batch of an epoch is known to have one image; whether the net takes it is tried at once.
    """

    def __init__(self, net, arithmetic, optimizer, loss, labels=None, is_alone=True, leaves_one=False):
        self.net, self.arithmetic, self.optimizer, self.loss = net, arithmetic, optimizer, loss
        self.labels, self.is_alone, self.leaves_one, self.is_first = labels, is_alone, leaves_one, True

    def __call__(self, batch):
        """Train on (X, y); returns its loss, logits and classes, on the device.

        Raises:
            UnsuitableBatchError, MemoryFullError: with what is wrong and what to do; the parameters are unchanged.
        """
        X, y = diagnosis.unpack(batch)
        if self.is_first:
            diagnosis.check_images(X, self.net)
            with diagnosis.explained(self.net, X, y):
                self.arithmetic.attempt(lambda: self._check_memory(X))
            if self.leaves_one:
                with diagnosis.explained(self.net, X[:1], y[:1]), in_mode(self.net, True), \
                        torch.random.fork_rng(devices=[]):
                    self.arithmetic.attempt(lambda: self._logits(X[:1]))
        try:
            with diagnosis.explained(self.net, X, y):
                return self.arithmetic.attempt(lambda: self._train(X, y), self.is_first)
        except Exception as error:
            if not diagnosis.is_full(error):
                raise
            diagnosis.forget(error)
        raise diagnosis.memory_full(X, self._largest_that_fits(X, y))

    def _train(self, X, y):
        self.optimizer.zero_grad()
        l, y_hat, y = self._forward(X, y)
        l.backward()
        self.optimizer.step()
        self.arithmetic.share_cores()
        self.is_first = False
        return l, y_hat, y

    def _forward(self, X, y):
        classes = self.arithmetic.labels(y)
        y_hat = self._logits(X)
        self._check_labels(y, y_hat, self.labels, self.is_first)
        return self.loss(y_hat.float(), classes), y_hat, classes

    def _check_labels(self, y, y_hat, labels, is_first):
        """Raise `UnsuitableBatchError` if labels of a batch, or `labels` of all, are no classes.

        Those on a GPU are not looked at after the first step of a run, or the first batch of an evaluation: it would
        have to be waited for.
        """
        if is_first or (labels is None and y.device.type == "cpu"):
            diagnosis.check_labels(y if labels is None else labels, y_hat, getattr(self.loss, "ignore_index", None))

    def _logits(self, X):
        X = self.arithmetic.batch(X)
        with self.arithmetic.autocast():
            return self.net(X)

    @torch.no_grad()
    def test_accuracy(self, test_iter, all_reduce):
        """Like `evaluate_accuracy_gpu`, in the precision of the run, over all processes, read from the device once."""
        self.net.eval()
        sums, labels = BatchSums(all_reduce), labels_of(test_iter)
        for i, (X, y) in enumerate(map(diagnosis.unpack, test_iter)):
            with diagnosis.explained(self.net, X, y):
                classes = self.arithmetic.labels(y)
                y_hat = self.arithmetic.attempt(lambda X=X: self._logits(X))
                self._check_labels(y, y_hat, labels, is_first=i == 0)
                sums.add(torch.zeros((), device=classes.device), y_hat, classes)
        return sums.read()[1]

    def _check_memory(self, X):
        """Raise `MemoryFullError` if a step would surely need more than there is.

        Linux promises memory that it does not have, and kills the process that comes to use it, with all it has
        learnt. What a small part of the batch keeps for the backward pass tells in time.
        """
        available = available_memory() if self.is_alone and self.arithmetic.device.type == "cpu" else None
        if available is None or not torch.is_tensor(X) or len(X) <= 4 or 4 * X.numel() * MOST_KEPT < available:
            return
        with in_mode(self.net, True), torch.random.fork_rng(devices=[]):
            of_two, of_four = (diagnosis.kept_bytes(functools.partial(self._logits, X[:n]), self.net) for n in (2, 4))
        bytes_each = (of_four - of_two) / 2  # without what does not grow, such as weights cast to bfloat16
        if len(X) * bytes_each > available:
            fitting = available / (PEAK * bytes_each)
            raise diagnosis.memory_full(X, 2 ** int(math.log2(fitting)) if fitting >= 2 else 0)

    def _largest_that_fits(self, X, y):
        """The largest power of two of these images that forward and backward pass can be done with; 0 if none.

        None where it cannot be tried.
        """
        if not self.is_alone or not torch.is_tensor(X):
            return None
        n = len(X)
        while n > 2:
            n = 2 ** ((n - 1).bit_length() - 1)
            try:
                with in_mode(self.net, True), torch.random.fork_rng(devices=[]):
                    self._forward(X[:n], y[:n])[0].backward()
                return n
            except Exception as error:
                if not diagnosis.is_full(error):
                    raise
                diagnosis.forget(error)
            finally:
                self.optimizer.zero_grad()
        return 0


MOST_KEPT = 5000  # times the bytes of its images, or less, is what a net keeps of them for the backward pass
PEAK = 2.0  # times as much, or less, is what a step needs at its peak


def labels_of(batches):
    """The labels of all batches if they are known beforehand, else None."""
    return batches.labels if isinstance(batches, ImageBatches) else None


def report_batches(train_iter, reports_per_epoch):
    """After which batches (1, 2, ...) of an epoch to report: evenly spaced, without the last, which always is.

    The article's rule, `(i + 1) % (num_batches // 5) == 0`, divides by zero when there are fewer than five.
    """
    try:
        n = len(train_iter)
    except TypeError:  # a stream: its length is known when it ends, and that is when to report
        return set()
    return {math.ceil(k * n / reports_per_epoch) for k in range(1, reports_per_epoch)} - {n}


class BatchSums:
    """Loss and correct predictions of an epoch's batches so far.

    The numbers stay on the device until they are read: copying them to the host after every batch, as `float`
    does, would make a GPU wait each time.

    Args:
        all_reduce: as for `fit`.
    """

    def __init__(self, all_reduce=None):
        self.all_reduce = all_reduce or (lambda tensor: tensor)
        self.sums = Accumulator(3)  # loss times examples, correct predictions, examples
        self.pending = []  # (mean loss, correct, examples) of the batches since the last read

    def add(self, l, y_hat, y):
        """Take in one batch: its mean loss, logits (n, classes) and classes (n,)."""
        correct = (y_hat.detach().argmax(dim=1) == y).sum()
        self.pending.append(torch.stack((l.detach(), correct, torch.full_like(correct, len(y)))))

    def read(self, step=0, history=None):
        """Mean loss, accuracy and number of examples so far; raises if a loss up to `step` was not finite."""
        if self.pending:
            batches = torch.stack(self.pending).cpu().double()
            batches[:, 0] *= batches[:, 2]  # the sum of the losses, which can be added to that of other processes
            batches = self.all_reduce(batches).tolist()
            for bad, (l, _, _) in enumerate(batches, start=step - len(batches) + 1):
                if not math.isfinite(l):
                    raise NonFiniteLossError(l, bad, history)
            for batch in batches:
                self.sums.add(*batch)
            self.pending.clear()
        check_not_empty(self.sums[2])
        return self.sums[0] / self.sums[2], self.sums[1] / self.sums[2], int(self.sums[2])


def results(history):
    """The article's line of results: `loss 0.012, train acc 0.997, test acc 0.893`."""
    test_acc = "not measured" if history.test_acc is None else f"{history.test_acc:.3f}"
    return f"loss {history.train_loss:.3f}, train acc {history.train_acc:.3f}, {history.tested_on} acc {test_acc}"


def describe_hardware(device):
    """Name and size of what computes: `{"device": "cpu", "name": ..., "cores": ..., "threads": ...}`."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return {"device": str(device), "name": properties.name, "memory_bytes": properties.total_memory}
    if device.type != "cpu":
        return {"device": str(device), "name": f"{device.type.upper()}, {_cpu_name()}"}
    return {"device": str(device), "name": _cpu_name(), "cores": usable_cores(), "threads": torch.get_num_threads()}


def name_hardware(hardware):
    """What `describe_hardware` gave, in a few words: its name, and the number of cores if it is a CPU."""
    return hardware["name"] + (f", {hardware['cores']} cores" if "cores" in hardware else "")


def _cpu_name():
    with contextlib.suppress(OSError):  # Linux; platform.processor() is empty there
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def describe_versions():
    """Versions that a result depends on."""
    return {"python": platform.python_version(), "torch": str(torch.__version__), "cuda": torch.version.cuda,
            "system": platform.system()}
