"""Training and evaluating a classifier: one loop, `fit`, and the article's names around it.

`fit` is a generator. It trains and yields a small `Progress` record a few times an epoch; whoever
iterates over it draws, prints or stores, and stops by leaving the loop. `train_ch6` does so.
"""

import contextlib
import itertools
import math
import warnings

import torch
from torch import nn

from resnet_helpers.data import ImageBatches
from resnet_helpers.engine.arithmetic import Arithmetic
from resnet_helpers.engine.cores import available_memory
from resnet_helpers.engine.cpu import respect_cores
from resnet_helpers.errors import (
    NonFiniteLossError,
    expect_labels,
    explained,
    look_ahead,
    unpack,
)
from resnet_helpers.history import Accumulator, History, Progress, Timer
from resnet_helpers.models import in_mode

# --- names of the article ---


def try_gpu(i=0):
    """Device number `i` if there is one, else the CPU: CUDA first, then (for i = 0) Apple's MPS.

    A GPU for which this PyTorch has no code, as it is too old or too new for it, is left out with
    a warning.
    """
    if torch.cuda.device_count() > i:
        device = torch.device(f"cuda:{i}")
        problem = device_problem(device)
        if not problem:
            return device
        warnings.warn(f"{device} is not used, as it cannot compute: {problem}", stacklevel=2)
    if i == 0 and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def try_all_gpus():
    """A list of all CUDA devices; of the CPU alone if there is none."""
    gpus = [torch.device(f"cuda:{i}") for i in range(torch.cuda.device_count())]
    return gpus or [torch.device("cpu")]


def device_problem(device):
    """What PyTorch says when a device is to add two numbers; "" if it can."""
    try:
        (torch.ones(1, device=device) + 1).item()
    except (RuntimeError, AssertionError) as error:  # the latter where PyTorch knows no such device
        return str(error).split("\n")[0]
    return ""


def accuracy(y_hat, y):
    """Number of correct predictions, a float.

    Args:
        y_hat: scores or logits (n, classes), the largest is the prediction; or predicted classes
            (n,).
        y: true classes (n,).

    Raises:
        ValueError: predictions and classes are not of one shape.
    """
    if y_hat.dim() > 1 and y_hat.shape[1] > 1:
        y_hat = y_hat.argmax(dim=1)
    if y_hat.shape != y.shape:  # PyTorch would compare each with each
        raise ValueError(f"there must be one class for each prediction, and these are classes "
                         f"{tuple(y.shape)} for predictions {tuple(y_hat.shape)}")
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
    expect_examples(metric[1])
    return metric[0] / metric[1]


def evaluate_accuracy(net, data_iter):
    """The same as `evaluate_accuracy_gpu` where the net's parameters are."""
    return evaluate_accuracy_gpu(net, data_iter)


def init_weights(module):
    """Xavier-uniform weights for a Linear or Conv2d layer: `net.apply(init_weights)`.

    Source: Glorot, Bengio, "Understanding the difficulty of training deep feedforward neural
    networks" (2010).
    """
    if type(module) in (nn.Linear, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)


# --- the loop ---

def fit(net, train_iter, test_iter=None, num_epochs=10, lr=0.05, device=None, *,
        optimizer=None, scheduler=None, loss=None, reports_per_epoch=5, history=None, timer=None,
        precision="auto", resume=False, all_reduce=None):
    """Train `net` by minibatch SGD: a generator of `Progress` records that returns a `History`.

        for p in fit(net, train_iter, test_iter, num_epochs=10, lr=0.05):
            print(p.epoch, p.train_loss, p.test_acc)

    The weights start as they are: call `net.apply(init_weights)` first for the article's. Leaving
    the loop, or interrupting it (the stop button), ends the training; weights and history stay as
    they are then.

    Args:
        net: any module that maps X to logits (n, classes). It is moved to `device`.
        train_iter: iterable of (X, y), gone through once an epoch: a DataLoader, a list, an
            `ImageBatches`. X is a tensor or a list of tensors, y holds classes (n,).
        test_iter: the same, for the test accuracy after each epoch; None leaves it out.
        num_epochs: passes over `train_iter`.
        lr: learning rate, if no optimizer is given.
        device: where to train; None means where the net's parameters are.
        optimizer: None means plain SGD with `lr`.
        scheduler: a learning-rate scheduler of that optimizer, advanced after every step; None
            keeps the rate.
        loss: function of (logits, y) that gives the mean over the batch; None means
            cross-entropy. Labels that it ignores (`ignore_index`) count as examples, and as wrong
            answers.
        reports_per_epoch: how many records an epoch gives, evenly spaced; with fewer batches, one
            a batch. If `train_iter` has no length, one an epoch.
        history: a `History` to fill in, for those who want to look at it while, or after, they
            iterate. What it held goes, unless the run is resumed.
        timer: the `Timer` to measure with, a fresh one. Who stops it while `train_iter` waits for
            something, and starts it again, leaves that time out of `Progress.seconds`.
        precision: "float32", the plain arithmetic of PyTorch; "bfloat16"; or "auto", what is
            faster on this machine, or float32 if the net does not compute in bfloat16. An
            `engine.arithmetic.Arithmetic` is taken as it is.
        resume: go on after the last whole epoch that `history` holds, instead of beginning at the
            first. Net, optimizer, scheduler and random states must be those of that moment, see
            `runs.checkpoints`.
        all_reduce: where several processes train together, the function that sums a tensor over
            them, see `runs.processes`; the records are then those of all of them.

    Raises:
        ValueError: an unknown precision; `num_epochs` or `reports_per_epoch` below 1; a
            `train_iter` that is empty or can only be gone through once; nothing to resume.
        NonFiniteLossError: the loss became infinite or NaN. The message says when, and what to
            try; its attribute `history` has what was recorded before.
        UnsuitableBatchError: a batch has the wrong type, shape or labels for the net; the message
            says what to change.
        MemoryFullError: there is not enough memory for a step.
    """
    _expect_epochs(num_epochs, reports_per_epoch, train_iter=train_iter, test_iter=test_iter)
    if device is None:
        device = next((p.device for p in net.parameters()), "cpu")
    device = torch.device(device)
    respect_cores()
    arithmetic = precision
    if not isinstance(precision, Arithmetic):
        arithmetic = Arithmetic(precision, device)
    train_iter = finish_lazy_layers(net.to(device), train_iter, device)
    train_iter, test_iter = (  # their bytes travel once, not each batch as floats
        batches.to(device) if isinstance(batches, ImageBatches) else batches
        for batches in (train_iter, test_iter))
    optimizer = optimizer or torch.optim.SGD(net.parameters(), lr=lr)
    loss = CheckedLoss(loss or nn.CrossEntropyLoss(), train_iter)
    history, timer = History() if history is None else history, timer or Timer()
    if resume:
        history.keep_whole_epochs()
        timer.times.append(history.records[-1].seconds)
    else:
        history.records = []
    history.describe(net, optimizer, scheduler, num_epochs, device, arithmetic.precision)
    is_alone = all_reduce is None  # several processes could come to different answers
    memory = available_memory() if is_alone and device.type == "cpu" else None
    ours = image_batches(train_iter)
    leaves_one = is_alone and ours is not None and len(ours.labels) % ours.batch_size == 1

    def train_step(X, y):
        optimizer.zero_grad()
        with arithmetic.autocast():
            y_hat = net(X)
        l = loss(y_hat, y)
        l.backward()
        optimizer.step()
        return l, y_hat, y

    def run():
        last = history.records[-1] if history.records else Progress(0, 0, 0.0, 0.0, None, 0, 0.0)
        step, examples = last.step, last.examples
        due = report_batches(train_iter, reports_per_epoch)
        # KeyboardInterrupt is the stop button: a normal way to end a run.
        with contextlib.suppress(KeyboardInterrupt), arithmetic.in_use(net, optimizer):
            for epoch in range(round(last.epoch), num_epochs):
                net.train()
                sums, seen = BatchSums(all_reduce), examples
                timer.start()  # one lap for each stretch of training between two records
                for i, batch in enumerate(train_iter, start=1):
                    X, y = unpack(batch)
                    with explained(X, y):
                        if step == last.step:  # the first of this call
                            look_ahead(net, X, arithmetic, memory, leaves_one)
                        l, y_hat, y = arithmetic.compute(train_step, X, y)
                    sums.add(l, y_hat, y)
                    step += 1
                    if scheduler is not None:
                        scheduler.step()
                    if i in due:
                        train_loss, train_acc, n = sums.read(step, history)
                        timer.stop()
                        history.config["precision"] = arithmetic.precision
                        yield history.add(epoch + i / len(train_iter), step, train_loss,
                                          train_acc, None, seen + n, timer.sum())
                        timer.start()
                train_loss, train_acc, n = sums.read(step, history)
                timer.stop()
                examples, test_acc = seen + n, None
                if test_iter is not None:
                    test_acc = _test_accuracy(net, test_iter, arithmetic, loss, all_reduce)
                history.config["precision"] = arithmetic.precision
                record = history.add(epoch + 1, step, train_loss, train_acc, test_acc, examples,
                                     timer.sum())
                history.completed = epoch + 1 == num_epochs
                yield record
        return history

    return run()

# --- what surrounds the step ---

def _expect_epochs(num_epochs, reports_per_epoch, **data):
    """Raise ValueError unless this many epochs can be run through these batches."""
    if num_epochs < 1 or reports_per_epoch < 1:
        raise ValueError(f"num_epochs and reports_per_epoch must be at least 1, got {num_epochs} "
                         f"and {reports_per_epoch}")
    for name, batches in data.items():
        if hasattr(batches, "__next__") and num_epochs > 1:
            raise ValueError(f"{name} can be gone through only once, but every epoch needs it: "
                             f"pass a list, a DataLoader or what load_data_fashion_mnist gives, "
                             f"not an iterator or generator")


def finish_lazy_layers(net, batches, device):
    """Let layers such as nn.LazyLinear find their sizes on the first batch.

    Args:
        net: a module on `device`; one without such layers is left alone.
        batches: iterable of (X, y). Its random order stays what it would have been.
        device: a `torch.device`.

    Returns:
        `batches`, or an iterator that still gives all of them if they come only once.
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
        X, y = unpack(batch)
        with in_mode(net, training=False), torch.no_grad(), explained(X, y):
            net(move_to(X, device))
    if iterator is not batches:
        return batches
    return itertools.chain([] if batch is None else [batch], iterator)


class CheckedLoss:
    """A loss that looks at the labels first; logits in bfloat16 become float32 for it.

    Labels on a GPU are looked at in the first batch only: to look at each, the CPU would have to
    wait for the GPU.

    Args:
        loss: function of logits (n, classes) and classes (n,).
        batches: those that it will see; the labels of an `ImageBatches` are looked at all at once.
        ignored: a number beside the classes that the loss allows.
    """

    def __init__(self, loss, batches, ignored=None):
        self.loss = loss
        self.ignored = getattr(loss, "ignore_index", ignored)
        ours = image_batches(batches)
        self.labels = None if ours is None else ours.labels
        self.is_first = True

    def __call__(self, y_hat, y):
        if self.is_first or (self.labels is None and y.device.type == "cpu"):
            expect_labels(y if self.labels is None else self.labels, y_hat, self.ignored)
        self.is_first = False
        return self.loss(y_hat.float() if y_hat.dtype == torch.bfloat16 else y_hat, y.long())


def image_batches(batches):
    """The `ImageBatches`, also behind what watches them (`WatchedBatches`); else None."""
    batches = getattr(batches, "batches", batches)
    return batches if isinstance(batches, ImageBatches) else None


@torch.no_grad()
def _test_accuracy(net, test_iter, arithmetic, train_loss, all_reduce):
    """Like `evaluate_accuracy_gpu`, as the run computes, over all processes."""
    net.eval()
    sums = BatchSums(all_reduce)
    no_loss = CheckedLoss(lambda y_hat, y: y_hat.new_zeros(()), test_iter, train_loss.ignored)

    def test_step(X, y):
        with arithmetic.autocast():
            y_hat = net(X)
        return no_loss(y_hat, y), y_hat, y

    for batch in test_iter:
        X, y = unpack(batch)
        with explained(X, y):
            sums.add(*arithmetic.compute(test_step, X, y))
    return sums.read()[1]


class BatchSums:
    """Loss and correct predictions of an epoch's batches so far.

    The numbers stay on the device until they are read: to copy them to the host after every
    batch, as `float` does, would make a GPU wait each time.

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
        l, n = l.detach().reshape(()), torch.full_like(correct, len(y))
        self.pending.append(torch.stack((l, correct, n)))

    def read(self, step=0, history=None):
        """Mean loss, accuracy and number of examples so far.

        Raises:
            NonFiniteLossError: a loss up to `step` was not finite.
        """
        if self.pending:
            batches = torch.stack(self.pending).cpu().double()
            batches[:, 0] *= batches[:, 2]  # sums of losses, which processes can add
            batches = self.all_reduce(batches).tolist()
            for number, (l, _, _) in enumerate(batches, start=step - len(batches) + 1):
                if not math.isfinite(l):
                    raise NonFiniteLossError(l, number, history)
            for batch in batches:
                self.sums.add(*batch)
            self.pending.clear()
        expect_examples(self.sums[2])
        return self.sums[0] / self.sums[2], self.sums[1] / self.sums[2], int(self.sums[2])


def expect_examples(number):
    """Raise ValueError if an iterable of batches turned out to have no example."""
    if not number:
        raise ValueError("the data gave no batch of examples: pass a list, loader or iterable "
                         "that is not empty (and not an iterator that has been used up)")


def report_batches(train_iter, reports_per_epoch):
    """After which batches (1, 2, ...) of an epoch to report, evenly spaced.

    Without the last, which always is. The article's rule, `(i + 1) % (num_batches // 5) == 0`,
    divides by zero when there are fewer than five.
    """
    try:
        n = len(train_iter)
    except TypeError:  # a stream: its length is known when it ends, and that is when to report
        return set()
    return {math.ceil(k * n / reports_per_epoch) for k in range(1, reports_per_epoch)} - {n}


def move_to(X, device):
    """Copy a tensor, or each of a list or tuple, to `device`; None leaves it where it is."""
    return [x.to(device) for x in X] if isinstance(X, (list, tuple)) else X.to(device)
