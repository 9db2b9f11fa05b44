"""The exercises of notebook 4: what guessing gives, a training loop to mend, and runs of the reader's own."""

import contextlib
import copy
import inspect
import math
import time
from dataclasses import asdict, dataclass
from itertools import permutations
from types import GeneratorType
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector
from torch.optim.optimizer import register_optimizer_step_pre_hook

from resnet_helpers.check.verdicts import (
    Open,
    Wrong,
    choose,
    close,
    diagnose,
    exercise,
    expect_arguments,
    expect_function,
    expect_number,
    kind_of,
)
from resnet_helpers.data import (
    FASHION_MNIST_CLASSES,
    load_data_fashion_mnist,
    load_fashion_mnist_subset,
)
from resnet_helpers.errors import NonFiniteLossError
from resnet_helpers.history import History, Progress
from resnet_helpers.models import count_parameters, resnet18
from resnet_helpers.runs.recipes import RECIPES
from resnet_helpers.training import accuracy, evaluate_accuracy_gpu, fit, report_batches

QUICK = RECIPES["quick"]
FULL_SET = 60_000  # training images of the whole Fashion-MNIST, which is not on every machine

# --- what guessing gives ---


class Number(NamedTuple):
    """A number to predict.

    Attributes:
        right: the answer.
        tolerance: relative.
        mistakes: triples of a number, the code of the mistake, and what the number is instead.
        otherwise: what to say about any other number.
    """

    right: float
    tolerance: float
    mistakes: tuple
    otherwise: str


@exercise(4, "what guessing gives", hints=(
    "accuracy and loss: each class gets the probability 1/10, the right one too, and the loss is minus the natural "
    "logarithm of what the right one gets.",
    "steps: one per batch, and the last batch may be smaller: it is a batch all the same. Section 4.1 prints the "
    "number of batches of 64.",
    "row_sum: a row of the confusion matrix holds all test images of one class. The subset has 1,000 test images, the "
    "same number of each of the ten classes.",
))
def chance_level(numbers):
    """A dict with the numbers accuracy, loss, steps_64, steps_256 and row_sum."""
    expected = _numbers()
    if not isinstance(numbers, dict):
        raise Wrong("no_dict", f"the answer must be a dict with the keys {', '.join(expected)}.")
    for name, number in expected.items():
        if name not in numbers:
            raise Wrong("missing_key", f"the key {name!r} is missing: the dict needs {', '.join(expected)}.")
        if numbers[name] is ...:
            raise Wrong("no_answer", f"{name!r} has no answer yet.")
        answer = expect_number(numbers[name], f"{name!r}")
        if math.isclose(answer, number.right, rel_tol=number.tolerance):
            continue
        fitting = [(code, text) for value, code, text in number.mistakes
                   if math.isclose(answer, value, rel_tol=number.tolerance, abs_tol=1e-9)]
        if name.startswith("steps") and not answer.is_integer():
            fitting = [("part_of_step", "there is no part of a step: after the full batches comes a smaller one, and "
                        "it is a step too.")]
        code, text = fitting[0] if fitting else (f"wrong_{name}", number.otherwise)
        raise Wrong(code, f"{name}: {text}")
    loss, steps = expected["loss"].right, {size: expected[f"steps_{size}"].right for size in (64, 256)}
    return (f"right. A uniform guess has an accuracy of {expected['accuracy'].right:g} and a loss of "
            f"{loss:.3f}: compare each run with that. An epoch is {steps[64]} steps with batches of 64, but only "
            f"{steps[256]} with 256; and a number in the confusion matrix is one of {expected['row_sum'].right} "
            "images.")


def _numbers():
    """{name: Number}, from the data and the formulas."""
    n, data = len(FASHION_MNIST_CLASSES), load_fashion_mnist_subset()
    p, num_train, num_test = 1 / n, len(data.train_labels), len(data.test_labels)
    steps = {f"steps_{size}": _steps(size, other, num_train, num_test) for size, other in ((64, 256), (256, 64))}
    return {"accuracy": _guessed_accuracy(n, p), "loss": _guessed_loss(n, p), **steps,
            "row_sum": _row_sum(n, data)}


def _guessed_accuracy(n, p):
    return Number(p, 5e-3, (
        (100 * p, "in_percent", "that is in percent. An accuracy is a share, between 0 and 1."),
        (1 - p, "error_rate", "that is how often a guess is wrong."),
        (1 / 2, "two_outcomes",
         f"right and wrong are two outcomes, but not equally likely ones: there are {n} classes to guess from."),
        (p * p, "one_certain_class",
         "that is the chance of one certain class with one certain guess. Any class may come, as long as the guess is "
         "the same."),
        (0, "never_right", "a guess is right now and then. How often?"),
        (1, "always_right", "that would be right every time."),
    ), f"there are {n} classes, and each is as likely as any other: in how many of {n} cases is a guess right?")


def _guessed_loss(n, p):
    return Number(-math.log(p), 5e-3, (
        (math.log10(n), "base_10", "that is the logarithm to base 10. Cross-entropy takes the natural one, math.log."),
        (math.log2(n), "base_2", "that is the logarithm to base 2. Cross-entropy takes the natural one, math.log."),
        (math.log(p), "sign_missing",
         "the sign is missing: the logarithm of a number below 1 is negative, and the loss is minus that."),
        (math.log10(p), "base_10_sign_missing",
         "that is the logarithm to base 10, and its sign is missing. Take math.log, and minus that."),
        (math.log2(p), "base_2_sign_missing",
         "that is the logarithm to base 2, and its sign is missing. Take math.log, and minus that."),
        (p, "no_logarithm", "that is the probability of the right class. The loss is minus its logarithm."),
        (1 - p, "error_rate",
         "that is the share of wrong answers. The loss is minus the logarithm of what the right class gets."),
        (-math.log(1 - p), "log_of_error_rate",
         "that is minus the logarithm of the probability to be wrong; take the right class's."),
        (n, "number_of_classes", "that is the number of classes, or 1/p. Take its natural logarithm."),
        (-n * math.log(p), "sum_over_classes", "that adds up over all classes. Only what the right class gets counts."),
        (-p * math.log(p), "weighted",
         "that is weighted with the probability. The loss of an image is -log p of its right class, as it is."),
        (0, "zero_loss", "a loss of zero needs a network that gives the right class the probability 1."),
    ), "the loss is -log p(right class), the natural logarithm. Which probability does the right class get?")


def _steps(size, other, num_train, num_test):
    steps = math.ceil(num_train / size)
    full, rest = divmod(num_train, size)
    return Number(steps, 0, (
        (full, "rounded_down",
         f"the {full} full batches leave {rest} images over. They are a batch, too: round up, not down."),
        (math.ceil(num_train / other), "other_batch_size",
         f"that is for batches of {other}. Have the two got mixed up?"),
        (math.ceil(FULL_SET / size), "full_set",
         f"that is for all {FULL_SET:,} images. The subset has {num_train:,} to train on."),
        (FULL_SET // size, "full_set_rounded_down",
         f"that is for all {FULL_SET:,} images, rounded down. The subset has {num_train:,} to train on."),
        (math.ceil((num_train + num_test) / size), "test_images_too",
         "the test images are no part of an epoch: nothing is trained on them."),
        (math.ceil(num_test / size), "test_batches", "those are the batches of the test images."),
        (steps * QUICK.num_epochs, "all_epochs",
         f"that is for all {QUICK.num_epochs} epochs of the quick run. One epoch was asked for."),
        (size, "batch_size", "that is how many images a batch has. How many such batches make up an epoch?"),
        (num_train, "step_per_image", "that would be a step for each image. A step takes a whole batch."),
        (1, "step_per_epoch", "an epoch is not a step: it goes through all batches, and each is a step."),
    ), f"an epoch goes through {num_train:,} images, {size} at a time. How many times is that?")


def _row_sum(n, data):
    counts = torch.bincount(data.test_labels, minlength=n)
    num_train, num_test = len(data.train_labels), len(data.test_labels)
    return Number(counts[0].item(), 0, (
        (num_test, "whole_matrix", "that is the whole matrix: all test images. A row holds those of one class."),
        (num_train // n, "training_images", "those are training images. The matrix counts test images."),
        (num_train, "all_training_images",
         "those are all training images. The matrix counts test images, and a row those of one class."),
        ((num_train + num_test) // n, "training_and_test",
         "training and test images together. The matrix counts test images only."),
        (n, "number_of_columns", "that is how many numbers stand in a row. What do they add up to?"),
        (1, "shares", "the matrix counts images; only shares would add up to 1."),
    ), "a row holds every test image of one true class, wherever it was put. How many images of a class are there?")


# --- functions of the reader's own, on a net that notes what is done with it ---

class Forward(NamedTuple):
    """A batch went through the net.

    Attributes:
        data: "train" or "test"; "other" if neither of the two gave it.
        batch: its number there.
        in_train_mode: was batch norm in train mode?
        has_graph: was it recorded for a backward pass?
    """

    data: str
    batch: int
    in_train_mode: bool
    has_graph: bool


class Step(NamedTuple):
    """An optimiser was about to make a step: its name and settings, and whether there was any gradient to go by."""

    optimizer: str
    settings: dict
    has_gradient: bool


BACKWARD = "backward"  # stands in the log for a backward pass


class _Batches(list):
    """Batches of which everyone who goes through them gets copies."""

    def __iter__(self):
        return iter([(X.clone(), y.clone()) for X, y in super().__iter__()])


class _Probe(nn.Module):
    """A tiny net with batch norm that notes what is done with it.

    Shapes: (N, 4) -> (N, num_classes).

    Attributes:
        log: `Forward` and `Step` records and `BACKWARD`, in order.
        first: the parameters as a vector when the first batch came; None before that.
    """

    def __init__(self, num_classes, seed, **data):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.hidden, self.norm, self.out = nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, num_classes)
        self.float()
        self.data, self.log, self.first = data, [], None

    def forward(self, X):
        if self.first is None:
            self.first = _vector(self)
        Y = self.out(F.relu(self.norm(self.hidden(X))))
        self.log.append(Forward(*self._find(X), self.norm.training, Y.requires_grad))
        return Y

    def _find(self, X):
        for name, batches in self.data.items():
            for i in range(len(batches)):
                if X.shape == batches[i][0].shape and torch.equal(X.detach().cpu(), batches[i][0]):
                    return name, i
        return "other", 0

    @property
    def forwards(self):
        """The `Forward` records alone."""
        return [event for event in self.log if isinstance(event, Forward)]

    @property
    def steps(self):
        """The `Step` records alone."""
        return [event for event in self.log if isinstance(event, Step)]

    @contextlib.contextmanager
    def watched(self):
        """Note backward passes and steps of optimisers, too."""
        def note_step(optimizer, args, kwargs):
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            if any(p is self.out.bias for p in parameters):  # not those of a run in the background
                settings = {name: value for name, value in optimizer.param_groups[0].items() if name != "params"}
                has_gradient = any(p.grad is not None and p.grad.any() for p in parameters)
                self.log.append(Step(type(optimizer).__name__, settings, has_gradient))

        hooks = (register_optimizer_step_pre_hook(note_step),
                 self.out.bias.register_post_accumulate_grad_hook(lambda _: self.log.append(BACKWARD)))
        try:
            with torch.enable_grad():
                yield
        finally:
            for hook in hooks:
                hook.remove()


def _vector(net):
    return parameters_to_vector(net.parameters()).detach().cpu().clone()


STAYS_OFF = ("gradients_stay_off",
             "gradients stay switched off after your function has returned, and nothing could be trained any more. "
             "`with torch.no_grad():` switches them on again at its end.")
# Wrong ways to average, for `diagnose`: from sums over the examples of each batch, and the sizes of the batches.
AVERAGES = (
    ("mean_of_means",
     "is the mean of the batches' means: a smaller last batch then weighs as much as a full one. Add up over the "
     "examples, and divide by the number of examples.", lambda sums, sizes: (sums / sizes).mean()),
    ("not_divided",
     "is a sum over the examples that was not divided by their number.", lambda sums, sizes: sums.sum()),
    ("sum_of_means",
     "is a sum of the batches' means that was not divided.", lambda sums, sizes: (sums / sizes).sum()),
    ("divided_by_batches",
     "adds up over the examples but divides by the number of batches. Divide by the number of examples.",
     lambda sums, sizes: sums.sum() / len(sizes)),
    ("means_by_examples",
     "adds up the batches' means but divides by the number of examples. Multiply each mean by the size of its batch "
     "first.",
     lambda sums, sizes: (sums / sizes).sum() / sizes.sum()),
    ("last_batch_as_full",
     "counts the last batch as a full one in the number of examples. It is smaller: add up len(y).",
     lambda sums, sizes: sums.sum() / (len(sizes) * sizes[0])),
    ("first_batch_alone",
     "is that of the first batch alone. Is the `return` inside the loop?", lambda sums, sizes: sums[0] / sizes[0]),
    ("last_batch_alone",
     "is that of the last batch alone: each batch overwrites what was counted before. Use `+=`.",
     lambda sums, sizes: sums[-1] / sizes[-1]),
    ("last_by_all",
     "counts the last batch alone, but divides by all examples. Use `+=` in both places.",
     lambda sums, sizes: sums[-1] / sizes.sum()),
    ("all_by_last",
     "is divided by the size of the last batch alone. Add up the sizes of all batches.",
     lambda sums, sizes: sums.sum() / sizes[-1]),
)


# --- mend the training loop ---

LOOP_SETTINGS = ((2, 0.1, True), (3, 0.2, False))  # epochs, learning rate, is the net in train mode when it is passed
TRAIN_SIZES, TEST_SIZES, LOOP_CLASSES = (8, 8, 3), (7, 7, 4), 3


@dataclass
class _Run:
    """What a training function did.

    Attributes:
        net: the `_Probe`, trained.
        start: its state before.
        result: what the function returned.
        num_epochs, lr: its arguments.
    """

    net: _Probe
    start: dict
    result: object
    num_epochs: int
    lr: float

    def of(self, data):
        """The `Forward` records of "train" or "test" batches."""
        return [event for event in self.net.forwards if event.data == data]

    def epoch(self, event):
        """In which epoch, from 1, a `Forward` took place."""
        per_epoch = sum(map(len, self.net.data.values()))
        return 1 + next(i for i, e in enumerate(self.net.forwards) if e is event) // per_epoch


@exercise(4, "mend the training loop", hints=(
    "Compare it with the five lines of a step and with the evaluation function (sections 4.2 and 4.3). Three things "
    "are missing, and none of them raises an error.",
    "One of them belongs to the five lines. The other two are what evaluate_accuracy_gpu does before its loop; and one "
    "of those has to be undone before the next epoch trains.",
    "optimizer.zero_grad() before backward; net.eval() and torch.no_grad() around the evaluation; net.train() at the "
    "start of each epoch, inside the loop.",
))
def mend_training_loop(train):
    """A function that trains and returns a list of (train loss, train accuracy, test accuracy), one per epoch."""
    expect_function(train, "net", "train_iter", "test_iter", "num_epochs", "lr")
    for seed, (num_epochs, lr, in_train_mode) in enumerate(LOOP_SETTINGS):
        run = _watch(train, seed, num_epochs, lr, in_train_mode)
        _expect_order(run)
        bugs = _bugs_left(run)
        if len(bugs) == 3:
            raise Open("all three bugs are still there. Mend them where they stand, run that cell again, and then this "
                       "one.")
        _expect_steps(run)
        if bugs:
            code, text = bugs[0]
            raise Wrong(code, f"{3 - len(bugs)} of 3 mended. {text}")
        _expect_modes(run)
        weights, epochs = _replay(run)
        _expect_weights(run, weights)
        _expect_results(run, epochs)
    return ("all three mended. The weights move exactly as with fresh gradients in every step, the test batches are "
            "answered in eval mode and without a graph, and each epoch trains in train mode again.")


def _watch(train, seed, num_epochs, lr, in_train_mode):
    """Let the reader's function train a `_Probe`."""
    generator = torch.Generator().manual_seed(seed)
    data = {"train": _make_batches(TRAIN_SIZES, generator), "test": _make_batches(TEST_SIZES, generator)}
    net = _Probe(LOOP_CLASSES, seed, **data).train(in_train_mode)
    start = copy.deepcopy(net.state_dict())
    try:
        with net.watched():
            result = train(net, data["train"], data["test"], num_epochs, lr)
            is_enabled = torch.is_grad_enabled()
    except RuntimeError as error:
        if "does not require grad" in str(error):
            raise Wrong("no_grad_while_training",
                        "the backward pass finds nothing recorded: gradients are switched off while the net trains. "
                        "`with torch.no_grad():` must hold the evaluation alone, and end with it.") from None
        raise
    if isinstance(result, GeneratorType):
        raise Wrong("generator",
                    "your function is a generator (there is a `yield` in it). Here it must return a list: append a "
                    "tuple per epoch, and return the list at the end.")
    if not is_enabled:
        raise Wrong(*STAYS_OFF)
    return _Run(net, start, result, num_epochs, lr)


def _make_batches(sizes, generator):
    """Batches whose classes can be learnt, but not all of them at once."""
    batches = _Batches()
    for size in sizes:
        X = torch.randn(size, 4, generator=generator, dtype=torch.float32)
        noise = torch.randn(size, LOOP_CLASSES, generator=generator, dtype=torch.float32)
        batches.append((3 * X + 2, (X[:, :LOOP_CLASSES] + 0.5 * noise).argmax(dim=1)))
    return batches


def _expect_order(run):
    """Wrong unless each epoch puts all training batches, then all test batches through the net, once."""
    seen, n = [(event.data, event.batch) for event in run.net.forwards], run.num_epochs
    train, test = ([(name, i) for i in range(len(run.net.data[name]))] for name in ("train", "test"))
    if seen == n * (train + test):
        return
    if not seen:
        raise Wrong("net_not_called",
                    "your function never calls the net that it gets. Does it use another one, from outside?")
    if any(name == "other" for name, _ in seen):
        raise Wrong("foreign_batch",
                    "the net got a batch that neither train_iter nor test_iter gave. Does the function use its "
                    "arguments, and pass X on as it comes?")
    patterns = (
        ("no_evaluation",
         "the test batches never go through the net: where is the evaluation?", n * train),
        ("no_training",
         "the training batches never go through the net.", n * test),
        ("evaluation_after_epochs",
         "the test accuracy is measured once, at the very end. It belongs to each epoch: indent it into the loop over "
         "epochs.", n * train + test),
        ("evaluation_before_training",
         "the test accuracy is measured before the epoch trains. It comes after the loop over the training batches.",
         n * (test + train)),
        ("evaluation_per_batch",
         "the evaluation stands inside the loop over the training batches, and runs after each of them. Once per epoch "
         "is enough: take one level of indentation away.", n * [batch for one in train for batch in (one, *test)]),
        ("training_batch_twice",
         "each training batch goes through the net twice. Call net(X) once, and keep the logits for loss and accuracy.",
         n * ([batch for one in train for batch in (one, one)] + test)),
        ("test_batch_twice",
         "each test batch goes through the net twice. Call net(X) once, and keep the logits.",
         n * (train + [batch for one in test for batch in (one, one)])),
        ("training_pass_again",
         "the training batches go through the net once more for the accuracy. Count the right answers while it trains, "
         "from the same logits.", n * (train + train + test)),
        ("training_pass_after_evaluation",
         "the training batches go through the net once more after the evaluation. Count the right answers while it "
         "trains.", n * (train + test + train)),
        ("evaluation_on_train_iter",
         "the evaluation goes through train_iter: it must measure on test_iter.", n * (train + train)),
        ("training_on_test_iter",
         "the training goes through test_iter: it must learn from train_iter.", n * (test + test)),
        ("evaluation_ends_early",
         "the evaluation ends after the first test batch. Is something indented too far?", n * (train + test[:1])),
        ("return_in_evaluation",
         "the evaluation ends after the first test batch, and the function with it. Is the `return` inside the loop?",
         train + test[:1]),
        ("training_ends_early",
         "training ends after the first batch. Is something indented too far?", n * (train[:1] + test)),
        ("return_in_training",
         "the function ends after the first training batch. Is the `return` inside the loop?", train[:1]),
        ("return_before_evaluation",
         "the function ends after the training batches of the first epoch. Is the `return` inside the loop?", train),
        ("one_epoch",
         f"it trains for one epoch, with num_epochs={n}. Is the `return` inside the loop over epochs?", train + test),
    )
    for code, message, pattern in patterns:
        if seen == pattern:
            raise Wrong(code, message)
    epochs = len(seen) // len(train + test)
    if seen == epochs * (train + test):
        raise Wrong("wrong_number_of_epochs",
                    f"it trains for {epochs} epochs, with num_epochs={n}. What does the outer loop go over?")
    raise Wrong("wrong_batch_order",
                "the batches do not go through the net as they should: in each epoch all of train_iter, once, and then "
                "all of test_iter, once. Check where each line is indented to.")


def _bugs_left(run):
    """(code, message) of those of the notebook's three bugs that are still there as they were."""
    bugs, test = [], run.of("test")
    if close(_vector(run.net), _replay(run, zero="never")[0]):
        bugs.append(("no_zero_grad",
                     "optimizer.zero_grad() is still missing: backward adds to the gradients that are there, so each "
                     "step goes along the sum of all gradients so far."))
    if all(event.in_train_mode for event in test):
        bugs.append(("eval_mode_missing",
                     "the test batches are still answered in train mode: net.eval() is missing before the loop over "
                     "test_iter. Batch norm takes the statistics of the test batch, and moves its running averages by "
                     "it."))
    if all(event.has_graph for event in test):
        bugs.append(("no_grad_missing",
                     "the evaluation still records everything for a backward pass that never comes: put it into "
                     "`with torch.no_grad():`."))
    return bugs


def _expect_steps(run):
    """Wrong unless the weights move, by steps of plain SGD on training batches."""
    net, start, last = run.net, _Probe(LOOP_CLASSES, 0), None
    start.load_state_dict(run.start)
    if not torch.equal(net.first, _vector(start)):
        raise Wrong("changed_before_training",
                    "the net's weights were changed before the first batch. Train the net as it comes: its weights are "
                    "the business of whoever calls the function.")
    for event in net.log:
        last = event if isinstance(event, Forward) else last
        if event is not last and last and last.data == "test":
            raise Wrong("trains_in_evaluation",
                        "the net is trained on the test batches: there is a backward or step in the evaluation. "
                        "Accuracy on images that it was trained on says nothing about new ones.")
    if torch.equal(_vector(net), net.first):
        if BACKWARD not in net.log:
            raise Wrong("no_backward",
                        "the weights do not move: there is no backward pass. After the loss comes l.backward().")
        if not net.steps:
            raise Wrong("no_step", "the weights do not move: optimizer.step() is missing after backward.")
        if not any(step.has_gradient for step in net.steps):
            raise Wrong("zero_grad_before_step",
                        "the weights do not move: optimizer.zero_grad() stands between backward and step, and wipes "
                        "out the gradient that step needs. It belongs before backward, or after step.")
        raise Wrong("weights_do_not_move", "the weights do not move. Is the learning rate passed on to the optimiser?")
    _expect_sgd(run)


def _expect_sgd(run):
    steps, batches = run.net.steps, len(run.of("train"))
    backwards = run.net.log.count(BACKWARD)
    for code, what, count in (("wrong_number_of_steps", "optimizer.step()", len(steps)),
                              ("wrong_number_of_backwards", "backward", backwards)):
        if count and count != batches:  # none at all: whoever moves the weights by hand
            raise Wrong(code,
                        f"{what} runs {count} times for {batches} training batches: it must run once for each, inside "
                        "the loop over train_iter.")
    for step in steps:
        if step.optimizer != "SGD":
            raise Wrong("other_optimizer",
                        f"the optimiser is {step.optimizer}; the loop was written with plain torch.optim.SGD. Leave "
                        "that.")
        if not math.isclose(step.settings["lr"], run.lr):
            raise Wrong("other_lr",
                        f"the optimiser's learning rate is {float(step.settings['lr']):g} where lr={run.lr:g} was "
                        "passed.")
        if any(step.settings.get(name) for name in ("momentum", "weight_decay", "nesterov", "maximize")):
            raise Wrong("optimizer_settings",
                        "the optimiser has more settings than lr (momentum, weight decay?). Leave it plain SGD.")


def _expect_modes(run):
    """Wrong unless all training is done in train mode and all evaluation in eval mode, without a graph."""
    train, test = run.of("train"), run.of("test")
    for event in test:
        if event.in_train_mode:
            raise Wrong("eval_mode_in_part",
                        f"test batch {event.batch + 1} of epoch {run.epoch(event)} is still answered in train mode. "
                        "net.eval() must stand before the loop over test_iter, in each epoch.")
        if event.has_graph:
            raise Wrong("no_grad_in_part",
                        f"test batch {event.batch + 1} of epoch {run.epoch(event)} is still recorded for a backward "
                        "pass. `with torch.no_grad():` must hold the whole loop over test_iter.")
    in_eval = [event for event in train if not event.in_train_mode]
    if not in_eval:
        return
    first = run.epoch(in_eval[0])
    if len(in_eval) == len(train):
        raise Wrong("train_mode_missing",
                    "all training batches come in eval mode, also in the first epoch: batch norm then keeps using "
                    "running averages that never move. net.train() must stand at the start of each epoch.")
    if first == 1 and in_eval[0].batch == 0:
        raise Wrong("train_mode_assumed",
                    "the training batches of the first epoch come in eval mode when the net that is passed is in eval "
                    "mode. Do not rely on how it comes: net.train() must stand before the loop over train_iter, in "
                    "each epoch.")
    if in_eval[0].batch == 0:
        raise Wrong("train_mode_not_restored",
                    f"the training batches of epoch {first} come in eval mode: net.eval() of the evaluation before "
                    "holds until somebody calls net.train(). That must stand before the loop over train_iter, inside "
                    "the loop over epochs.")
    raise Wrong("train_mode_in_part",
                f"training batch {in_eval[0].batch + 1} of epoch {first} comes in eval mode. net.train() must hold for "
                "the whole loop over train_iter.")


def _replay(run, zero="batch", loss=F.cross_entropy):
    """Train on what the reader's function trained on, in the modes in which it did.

    Args:
        run: a `_Run`.
        zero: when gradients are set to zero: before each "batch", at the start of each "epoch", or "never".
        loss: function of (logits, y).

    Returns:
        (weights as a vector, epochs); `epochs` has for each epoch {"train" or "test": tensor (batches, 3)} with mean
        loss, correct predictions and examples.
    """
    net = _Probe(LOOP_CLASSES, 0)
    net.load_state_dict(run.start)
    optimizer = torch.optim.SGD(net.parameters(), lr=run.lr)
    rows = {"train": [], "test": []}
    for event in run.net.forwards:
        X, y = run.net.data[event.data][event.batch]
        net.train(event.in_train_mode)
        with torch.set_grad_enabled(event.data == "train"):
            Y = net(X)
            l = loss(Y, y)
        if event.data == "train":
            if zero == "batch" or (zero == "epoch" and event.batch == 0):
                optimizer.zero_grad()
            l.backward()
            optimizer.step()
        rows[event.data].append((l.item(), accuracy(Y, y), len(y)))
    split = {name: torch.tensor(row, dtype=torch.float64).split(len(run.net.data[name])) for name, row in rows.items()}
    return _vector(net), [dict(zip(split, parts, strict=True)) for parts in zip(*split.values(), strict=True)]


def _expect_weights(run, weights):
    """Wrong unless the weights are those that plain SGD with fresh gradients gives."""
    output = _vector(run.net)
    if not output.isfinite().all():
        raise Wrong("weights_not_finite",
                    "the weights are no longer finite numbers. What else is done to loss or gradients?")
    if close(output, weights, 1e-3):
        return
    diagnose(output, (
        ("zero_grad_per_epoch",
         "optimizer.zero_grad() stands in the loop over epochs: it runs once per epoch, and within an epoch the "
         "gradients still add up. It belongs into the loop over train_iter.", lambda: _replay(run, zero="epoch")[0]),
        ("softmax_before_loss",
         "there is a softmax before the loss. nn.CrossEntropyLoss takes logits and has the softmax in it.",
         lambda: _replay(run, loss=lambda Y, y: F.cross_entropy(Y.softmax(dim=1), y))[0]),
        ("loss_summed",
         "the loss of a batch is a sum over its images. It must be their mean, which is nn.CrossEntropyLoss's default.",
         lambda: _replay(run, loss=lambda Y, y: F.cross_entropy(Y, y, reduction="sum"))[0]),
        ("loss_divided_again",
         "the loss of a batch is divided by its size, but it is a mean already.",
         lambda: _replay(run, loss=lambda Y, y: F.cross_entropy(Y, y) / len(y))[0]),
    ), ("other_weights",
        "after training, the weights are not those of SGD with fresh gradients. Go through the five lines of section "
        "4.3: zero_grad, net(X), loss, backward, step, each once per batch and in this order."))


COLUMNS = ("train loss", "train accuracy", "test accuracy")


def _expect_results(run, epochs):
    """Wrong unless the result has the right numbers for each epoch."""
    columns = _columns(run)
    parts = [[(part["train"][:, 0] * part["train"][:, 2], part["train"][:, 2]) for part in epochs],
             *([(part[name][:, 1], part[name][:, 2]) for part in epochs] for name in ("train", "test"))]
    right = [_per_epoch(column, lambda sums, sizes: sums.sum() / sizes.sum()) for column in parts]
    for order in list(permutations(range(3)))[1:]:
        if all(close(columns[i], right[k], 1e-3) for i, k in enumerate(order)):
            raise Wrong("columns_in_other_order",
                        f"the numbers are right but in another order: each tuple must be ({', '.join(COLUMNS)}); yours "
                        f"is ({', '.join(COLUMNS[k] for k in order)}).")
    for i, (name, column) in enumerate(zip(COLUMNS, columns, strict=True)):
        if close(column, right[i], 1e-3):
            continue
        mistakes = [(code, f"the {name} {text}", lambda average=average, part=parts[i]: _per_epoch(part, average))
                    for code, text, average in AVERAGES]
        mistakes.append(("sum_over_epochs",
                         f"the {name} adds up over all epochs: the sums must start at zero in each epoch.",
                         lambda part=parts[i]: _running(part)))
        if i > 0:
            mistakes += [
                ("in_percent", f"the {name} is in percent. It must be a share, between 0 and 1.",
                 lambda i=i: 100 * right[i]),
                ("error_rate", f"the {name} is the share of wrong answers.", lambda i=i: 1 - right[i]),
                ("column_repeated", f"in place of the {name} stands the {COLUMNS[3 - i]} once more.",
                 lambda i=i: right[3 - i]),
            ]
        outside = i > 0 and not ((0 <= column) & (column <= 1)).all()
        diagnose(column, mistakes, (
            "outside_0_to_1" if outside else "other_numbers",
            f"the {name} is not right: {column.tolist()} for the epochs of a trial run, where "
            f"{[round(x, 4) for x in right[i].tolist()]} was expected."
            + (" An accuracy lies between 0 and 1." if outside else "")))


def _columns(run):
    """The three columns of the result as tensors; Wrong if it is not a list of tuples of three numbers."""
    rows, n = run.result, run.num_epochs
    if rows is None:
        raise Wrong("returns_none", "your function returns None: is the last line a `return`?")
    if not isinstance(rows, (list, tuple)):
        raise Wrong("no_list",
                    f"your function returns {kind_of(rows)}; it must return a list with a tuple "
                    f"({', '.join(COLUMNS)}) for each epoch.")
    if len(rows) == 3 and not any(isinstance(row, (list, tuple)) for row in rows):
        raise Wrong("one_epoch_returned",
                    "your function returns the numbers of one epoch alone. Return the list that holds a tuple for each "
                    "epoch.")
    if len(rows) != n:
        raise Wrong("wrong_number_of_entries",
                    f"the list has {len(rows)} entries after {n} epochs: append one tuple per epoch"
                    + (", not one per batch." if len(rows) > n else "."))
    for row in rows:
        if not isinstance(row, (list, tuple)) or len(row) != 3:
            raise Wrong("no_tuple", f"each entry of the list must be a tuple ({', '.join(COLUMNS)}); got {row!r:.80}.")
    return [torch.tensor([expect_number(row[i], f"the {name}") for row in rows], dtype=torch.float64)
            for i, name in enumerate(COLUMNS)]


def _per_epoch(parts, average):
    return torch.stack([average(*part) for part in parts])


def _running(parts):
    """The mean over all epochs so far, after each."""
    sums, sizes = (torch.stack(values).sum(dim=1).cumsum(0) for values in zip(*parts, strict=True))
    return sums / sizes


# --- write the evaluation ---

CORRECT = (((2, 9), (9, 10), (3, 4)), ((7, 9), (1, 5)))  # right answers and size of each batch
CLASSES = len(FASHION_MNIST_CLASSES)


@exercise(4, "write the evaluation", hints=(
    "Before the loop: eval mode. Around the loop: no gradients. In the loop: count right answers and images, with "
    "`+=`. After it: one division.",
    "net(X).argmax(dim=1) are the predicted classes of a batch; (predicted == y).sum().item() is how many are right; "
    "len(y) is how many there are.",
))
def evaluate_accuracy(my_accuracy):
    """A function of (net, data_iter) that gives the share of right answers."""
    expect_function(my_accuracy, "net", "data_iter")
    for seed, counts in enumerate(CORRECT):
        net, batches = _net_to_evaluate(seed, counts)
        state = copy.deepcopy(net.state_dict())
        net.train()
        answer = _evaluate(my_accuracy, net, batches)
        _expect_evaluation(net, state)
        if answer is None:
            raise Wrong("returns_none", "your function returns None: is the last line a `return`?")
        answer = expect_number(answer, "what your function returns")
        _expect_share(answer, net, batches)
    return ("right, with batches of any size: eval mode, no graph, and correct / total over all images. A mean of the "
            "batches' accuracies would have weighed the images of a small last batch too much.")


def _net_to_evaluate(seed, counts):
    """A `_Probe` with running averages of its own, and batches of which it gets so many right in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    batches = _Batches((torch.randn(size, 4, generator=generator, dtype=torch.float32), None) for _, size in counts)
    net = _Probe(CLASSES, seed, test=batches)
    with torch.no_grad():
        net.norm.running_mean.copy_(torch.randn(8, generator=generator))
        net.norm.running_var.copy_(torch.rand(8, generator=generator) + 0.5)
        for i, (correct, size) in enumerate(counts):
            X, number = batches[i][0], torch.arange(size)
            Y = net.eval()(X)
            predicted = Y.argmax(dim=1)
            others = torch.where(number % 2 == 0, Y.argmin(dim=1), (predicted + 1) % CLASSES)
            batches[i] = X, torch.where(number < correct, predicted, others)
    net.log.clear()
    return net, batches


def _evaluate(function, net, batches):
    try:
        with net.watched():
            answer = function(net, batches)
            is_enabled = torch.is_grad_enabled()
    except RuntimeError as error:
        if "size of tensor a" in str(error):
            raise Wrong("shapes_differ",
                        "predictions and labels of a batch differ in shape: the logits are (images, classes), so the "
                        "class with the largest logit of each image is argmax(dim=1).") from None
        raise
    if not is_enabled:
        raise Wrong(*STAYS_OFF)
    return answer


def _expect_evaluation(net, state):
    """Wrong unless the batches went through the net in eval mode, without a graph, and left it as it was."""
    seen = net.forwards
    if not seen:
        raise Wrong("net_not_called",
                    "your function never calls the net that it gets. Does it use another one, from outside?")
    if any(event.data == "other" for event in seen):
        raise Wrong("foreign_batch",
                    "the net got a batch that data_iter did not give. Does the function use its argument data_iter, "
                    "and pass X on as it comes?")
    if len(net.log) > len(seen):
        raise Wrong("trains_in_evaluation",
                    "there is a backward pass or a step in it: an evaluation only looks, it does not train.")
    if all(event.in_train_mode for event in seen):
        raise Wrong("eval_mode_missing",
                    "the net answers in train mode: net.eval() is missing. Batch norm then takes the statistics of "
                    "each batch, and an answer depends on which other images are in it.")
    if any(event.in_train_mode for event in seen):
        raise Wrong("eval_mode_in_part",
                    "the net is in train mode for a part of the batches. net.eval() must stand before the loop.")
    if all(event.has_graph for event in seen):
        raise Wrong("no_grad_missing",
                    "everything is recorded for a backward pass that never comes, which costs time and memory: put the "
                    "loop into `with torch.no_grad():`.")
    if any(event.has_graph for event in seen):
        raise Wrong("no_grad_in_part",
                    "a part of the batches is recorded for a backward pass. `with torch.no_grad():` must hold the "
                    "whole loop.")
    if not all(torch.equal(tensor.cpu(), state[name]) for name, tensor in net.state_dict().items()):
        raise Wrong("changes_net",
                    "the net has other weights or running averages after your function than before: an evaluation "
                    "changes nothing.")


def _expect_share(answer, net, batches):
    """Wrong, with the reason, unless the answer is the share of right answers."""
    right = evaluate_accuracy_gpu(net, batches)
    if math.isclose(answer, right, rel_tol=1e-5):
        return
    with torch.no_grad():
        net.cpu()  # the reader's function may have moved it
        pairs = [(net(X), y) for X, y in batches]
    sizes = torch.tensor([len(y) for _, y in pairs], dtype=torch.float64)

    def share(count):
        return torch.tensor(sum(count(Y, y).sum().item() for Y, y in pairs), dtype=torch.float64) / sizes.sum()

    correct = torch.tensor([accuracy(Y, y) for Y, y in pairs], dtype=torch.float64)
    mistakes = [
        ("in_percent", "that is in percent. It must be a share, between 0 and 1.", lambda: torch.tensor(100 * right)),
        ("error_rate", "that is the share of wrong answers.", lambda: torch.tensor(1 - right)),
        ("none_right",
         "no answer counts as right. Are class numbers compared with y: argmax(dim=1), not max, and not argmax without "
         "a dim? And is it divided with `/`, not `//`?", lambda: torch.tensor(0.0)),
        ("keepdim",
         "every prediction is compared with every label: predictions of shape (n, 1) and labels of shape (n,) make a "
         "table of n x n. Leave keepdim out.", lambda: share(lambda Y, y: Y.argmax(dim=1, keepdim=True) == y)),
        ("argmin",
         "the answer of the net is its largest logit, not its smallest: argmax.",
         lambda: share(lambda Y, y: Y.argmin(dim=1) == y)),
        *(("total_from_elsewhere",
           "the right answers are divided by a number of images from elsewhere. Count those that come: len(y).",
           lambda number=number: correct.sum() / number) for number in (1000, 6000, 10_000, FULL_SET)),
        *((code, f"the accuracy {text}", lambda average=average: average(correct, sizes))
          for code, text, average in AVERAGES),
    ]
    mistakes = [(code, text, lambda compute=compute: compute().double()) for code, text, compute in mistakes]
    if abs(answer - right) < 0.006:
        otherwise = "rounded", "the number is rounded. Return it as it is; whoever prints it rounds."
    else:
        otherwise = ("other_share", f"your function gives {answer:.4g} where {right:.4g} of the images are answered "
                     "rightly. Count right answers and images over all batches, then divide.")
    diagnose(torch.tensor(answer, dtype=torch.float64), mistakes, otherwise)


# --- a quick run of the reader's own ---

MIN_TEST_ACC = 0.80  # the quick run ends near 0.88; the notebook asserts the same
USES_FULL_SET = ("full_set",
                 f"that run trained on all {FULL_SET:,} images. The quick run takes the images that come with the "
                 f"package: subset=True.")
LINEAR = ("LinearLR", "PolynomialLR", "LambdaLR")  # schedulers that can fall in a straight line


@exercise(4, "a quick run of your own", hints=(
    "Take the two cells of section 4.5 as a pattern; you need no Animator: `for p in d2l.fit(...): pass` trains.",
    "d2l.fit(net, train_iter, test_iter, num_epochs, optimizer=optimizer, scheduler=scheduler, history=my_history), "
    "with my_history = d2l.History() made before, and total_iters = num_epochs * len(train_iter) for the scheduler.",
))
def quick_run(history):
    """The `History` of a run with the settings of section 4.5."""
    _expect_history(history)
    _expect_settings(history.config)
    if not history.completed:
        raise Wrong("stopped_early",
                    f"the run was stopped after {history.records[-1].epoch:.3g} of {history.config['num_epochs']} "
                    "epochs. Run it again, and let it come to its end.")
    _expect_batches(history)
    _expect_curve(history)
    gap = history.train_acc - history.test_acc
    return (f"the curve of the quick run: test accuracy {history.test_acc:.3f} after {QUICK.num_epochs} epochs, "
            f"training loss {history.train_loss:.3f}. Train accuracy is {gap:.3f} above test accuracy: the "
            "network does better on images it has trained on.")


def _expect_history(history):
    how = "make my_history = d2l.History(), pass history=my_history to d2l.fit, and hand in my_history."
    if isinstance(history, GeneratorType):
        raise Wrong("generator",
                    f"that is the generator that d2l.fit returns: it trains only while somebody goes through it, as in "
                    f"`for p in d2l.fit(...): pass`. Then {how}")
    if isinstance(history, Progress) or (isinstance(history, (list, tuple)) and history
                                         and all(isinstance(record, Progress) for record in history)):
        raise Wrong("records_alone", f"those are records without the settings of the run: {how}")
    if not isinstance(history, History):
        raise Wrong("no_history", f"the answer must be a d2l.History, got {kind_of(history)}: {how}")
    if not history.records:
        raise Wrong("nothing_recorded",
                    "nothing is recorded in this history. d2l.fit trains only while somebody goes through what it "
                    "returns: `for p in d2l.fit(..., history=my_history): pass`.")
    if not history.config:
        raise Wrong("settings_missing",
                    f"this history does not know the settings of its run: d2l.fit notes them. So {how}")


def _expect_settings(config):
    """Wrong unless the settings that `fit` noted are those of the quick run."""
    with torch.device("meta"):  # counts without making the weights
        expected = count_parameters(resnet18())
    if config.get("parameters", expected) != expected:
        raise Wrong("other_net",
                    f"that was another network: it has {config['parameters']:,} parameters, and d2l.resnet18() "
                    f"{expected:,}.")
    if config.get("num_epochs") != QUICK.num_epochs:
        raise Wrong("other_num_epochs",
                    f"the run was set to {config.get('num_epochs')} epochs; section 4.5 has {QUICK.num_epochs}. Left "
                    f"out, num_epochs is {inspect.signature(fit).parameters['num_epochs'].default}.")
    optimizer, lr = config.get("optimizer", QUICK.optimizer), config.get("lr", QUICK.lr)
    if not str(optimizer).startswith("SGD"):
        raise Wrong("other_optimizer", f"the optimiser was {optimizer}; the quick run takes torch.optim.SGD.")
    if not math.isclose(lr, QUICK.lr):
        raise Wrong("other_lr", f"the learning rate began at {lr:g}; section 4.5 begins at {QUICK.lr:g}.")
    for name in ("momentum", "weight_decay"):
        if config.get(name):
            raise Wrong(name,
                        f"the optimiser had {name}={config[name]:g}; the quick run is SGD without "
                        f"{name.replace('_', ' ')}.")
    if config.get("scheduler") is None:
        raise Wrong("no_scheduler",
                    f"there was no scheduler, so the learning rate stayed at {lr:g} to the end and the weights never "
                    "came to rest. Pass scheduler= to d2l.fit, together with optimizer=.")
    if config["scheduler"] not in LINEAR:
        raise Wrong("other_scheduler",
                    f"the scheduler was {config['scheduler']}; the rate has to fall in a straight line, as LinearLR "
                    "does.")
    if config.get("data") == "full":
        raise Wrong(*USES_FULL_SET)
    for name, value in asdict(QUICK).items():  # a run that was made from settings notes them all
        if name not in ("seed", "precision", "lr", "optimizer") and config.get(name, value) != value:
            raise Wrong(f"other_{name}",
                        f"the run had {name}={config[name]!r}; the quick run has {name}={value!r}.")


def _expect_batches(history):
    """Wrong unless it trained on the subset, in batches of the right size, tested, and kept all records."""
    train_iter, _ = load_data_fashion_mnist(QUICK.batch_size, subset=True)
    num_images, num_steps, n = len(train_iter.images), len(train_iter), QUICK.num_epochs
    first, last = history.records[0], history.records[-1]
    images, steps = last.examples / n, last.step / n
    if images == FULL_SET:
        raise Wrong(*USES_FULL_SET)
    if images != num_images:
        raise Wrong("other_num_images",
                    f"an epoch had {images:,g} images; the subset has {num_images:,} to train on. Use all batches of "
                    f"d2l.load_data_fashion_mnist({QUICK.batch_size}, subset=True).")
    if steps != num_steps:
        why = " With so few steps batch norm's running averages lag behind (section 4.4)." if steps < num_steps else ""
        raise Wrong("other_batch_size",
                    f"an epoch had {steps:g} steps, with about {first.examples / first.step:.0f} images each; the "
                    f"quick run has {num_steps}, with {QUICK.batch_size} each.{why}")
    tested = sum(record.test_acc is not None for record in history.records)
    if tested == 0:
        raise Wrong("no_test_accuracy", "there is no test accuracy: pass test_iter to d2l.fit, after train_iter.")
    if tested != n:
        raise Wrong("other_number_of_tests",
                    f"the test accuracy was measured {tested} times in {n} epochs: hand in the history as d2l.fit "
                    "filled it.")
    reports = inspect.signature(fit).parameters["reports_per_epoch"].default
    expected = n * (len(report_batches(train_iter, reports)) + 1)
    if len(history.records) != expected:
        raise Wrong("other_reports_per_epoch",
                    f"there are {len(history.records)} records, {len(history.records) / n:g} per epoch; the curve of "
                    f"section 4.5 has {reports} per epoch. Leave reports_per_epoch as it is.")


def _expect_curve(history):
    """Wrong unless the loss has fallen and the test accuracy risen as they should."""
    after_one = history.records[len(history.records) // QUICK.num_epochs - 1]
    loss, test_acc = history.train_loss, history.test_acc
    steps = history.records[-1].step
    if not loss < 0.5 * after_one.train_loss:
        raise Wrong("loss_does_not_fall",
                    f"the training loss was {after_one.train_loss:.3f} after epoch 1 and {loss:.3f} at the end: it "
                    "should fall to less than half. Did the learning rate reach zero too early? total_iters of the "
                    f"scheduler counts steps ({steps} here), not epochs.")
    if test_acc > history.train_acc:
        raise Wrong("tested_on_training_images",
                    f"the test accuracy {test_acc:.3f} is above the train accuracy {history.train_acc:.3f}. Were the "
                    "training images passed in both places? The second iterable of d2l.fit is test_iter.")
    if not test_acc >= MIN_TEST_ACC:
        raise Wrong("low_test_accuracy",
                    f"the training loss falls as it should, but the test accuracy is {test_acc:.3f}, where at least "
                    f"{MIN_TEST_ACC:.2f} was expected. Did the learning rate really fall to zero? (LinearLR needs 1.0, "
                    f"0.0 and total_iters={steps}, and the optimizer that is passed to d2l.fit.) Are the test images "
                    "those of load_data_fashion_mnist, prepared as the training images are?")


# --- a small net ---

MAX_PARAMETERS, GOAL, SECONDS = 300_000, 0.85, 120


@exercise(4, "a small net", seconds=SECONDS, hints=(
    "Most parameters of ResNet-18 are in its last modules: a 3x3 convolution from 512 to 512 channels alone has more "
    "than two million. Half the channels are a quarter of the parameters.",
    "Keep what makes it learn fast: batch norm after each convolution, shortcuts, global average pooling before the "
    "one linear layer. And do not shrink images of 28 pixels as fast as the 7x7 stem does.",
    "A 3x3 stem with 16 channels and pooling, then modules of 16, 32 and 64 channels: d2l.resnet_block(16, 16, 2, "
    "first_block=True), d2l.resnet_block(16, 32, 2), d2l.resnet_block(32, 64, 2).",
))
def small_net(make_net):
    """A class or function that makes a net; it is trained with the settings of the quick run."""
    start = time.monotonic()
    train_iter, test_iter = load_data_fashion_mnist(QUICK.batch_size, subset=True)
    net = _make_net(make_net)
    _try_out(net, train_iter)
    num_parameters = _expect_few_parameters(net)
    untrained = evaluate_accuracy_gpu(net, test_iter)
    if untrained > 0.5:
        raise Wrong("trained_before",
                    f"before the first step the net already has a test accuracy of {untrained:.3f}: it was trained "
                    "before. It must be made anew, with random weights, at each call.")
    history = _train(net, train_iter, test_iter, start)
    text = f"test accuracy {history.test_acc:.3f} with {num_parameters:,} parameters"
    if not history.test_acc >= GOAL:
        code, advice = _advice(net, history)
        raise Wrong(code, f"{text}: {GOAL - history.test_acc:.3f} short of {GOAL:.2f}. {advice}")
    with torch.device("meta"):
        resnet = count_parameters(resnet18())
    return (f"{text}, after {QUICK.num_epochs} epochs. ResNet-18 has {resnet / num_parameters:.0f} times as many "
            "parameters: for images this small and this few, most of them are not needed.")


def _make_net(make_net):
    """A net of the reader's, with fresh weights."""
    if isinstance(make_net, nn.Module):
        raise Wrong("object_for_class",
                    "pass the class or the function that makes the net, not a net: without brackets behind its name.")
    if not callable(make_net):
        raise Wrong("no_class_or_function",
                    f"the answer must be a class derived from nn.Module, or a function that returns a net; got "
                    f"{kind_of(make_net)}.")
    expect_arguments(make_net, "it must be possible to make the net without arguments", advice=" Give them default "
                     "values.")
    nets = []
    for _ in range(2):
        torch.default_generator.manual_seed(QUICK.seed)
        net = make_net()
        if net is None:
            raise Wrong("returns_none", "your function returns None: is the last line a `return`?")
        if not isinstance(net, nn.Module):
            raise Wrong("class_for_object" if isinstance(net, type) else "no_module",
                        f"what is made must be an nn.Module, got {kind_of(net)}"
                        + (": put brackets behind its name." if isinstance(net, type) else "."))
        nets.append(net.to("cpu"))
    if {id(module) for module in nets[0].modules()} & {id(module) for module in nets[1].modules()}:
        raise Wrong("shared_layers",
                    "two calls give nets with the same layers in them. All layers must be made inside, so that each "
                    "net begins with weights of its own.")
    return nets[1]


def _try_out(net, train_iter):
    """Wrong unless the net turns batches of images of any number into logits."""
    images = next(iter(train_iter))[0]
    last = len(train_iter.images) % QUICK.batch_size or 1
    net.eval()
    for X in (images, images[:last]):
        shape = tuple(X.shape)
        try:
            with torch.no_grad():
                Y = net(X)
        except RuntimeError as error:
            raise Wrong("does_not_run",
                        f"your net cannot take a batch of shape {shape}: {error}. Print the shape after each layer, as "
                        "in notebook 3.") from None
        if not isinstance(Y, torch.Tensor):
            raise Wrong("forward_returns_none" if Y is None else "returns_no_tensor",
                        f"your net returns {kind_of(Y)}, where logits of shape {(len(X), CLASSES)} were "
                        "expected."
                        + (" Is the last line of forward a `return`?" if Y is None else ""))
        if tuple(Y.shape) != (len(X), CLASSES):
            code, advice = _shape_advice(Y, X)
            raise Wrong(code,
                        f"on a batch of shape {shape} your net gives {tuple(Y.shape)}, where logits of shape "
                        f"{(len(X), CLASSES)} were expected.{advice}")
        if not Y.isfinite().all():
            raise Wrong("not_finite", "the logits of your untrained net are infinite or not a number.")
    with torch.no_grad():
        _expect_logits(net(images), net(1000 * images))


def _shape_advice(Y, X):
    """(code, message): what may be wrong with a net that gives Y for a batch X."""
    if Y.dim() == 4:
        return "feature_maps", (" nn.AdaptiveAvgPool2d((1, 1)) and nn.Flatten() turn feature maps into what a linear "
                                "layer takes.")
    if Y.dim() and len(Y) != len(X):
        return "fixed_batch_size", " Is the size of the batch written into forward? Take it from X."
    if Y.dim() == 2:
        return "wrong_number_of_outputs", f" The last layer has one output per class: nn.Linear(..., {CLASSES})."
    return "wrong_shape", ""


def _expect_logits(Y, from_bright):
    """Wrong if these outputs, and those for images a thousand times as bright, are no logits."""
    if all((y >= 0).all() and close(y.sum(dim=1), torch.ones(len(y))) for y in (Y, from_bright)):
        raise Wrong("softmax_at_end",
                    "your net gives probabilities: each row adds up to 1, so there is a softmax at its end. Leave it "
                    "out: cross-entropy takes logits, and a softmax before it makes learning slow.")
    if all(((y >= 0) & (y <= 1)).all() and (y > 0).any() for y in (Y, from_bright)):
        raise Wrong("sigmoid_at_end",
                    "all outputs lie between 0 and 1: there is a sigmoid at the end. Leave it out: cross-entropy takes "
                    "logits of any size.")
    if all((y >= 0).all() and (y == 0).any() and (y > 0).any() for y in (Y, from_bright)):
        raise Wrong("relu_at_end",
                    "no output is negative: there is a ReLU after the last layer. Leave it out: logits may be of "
                    "either sign.")


def _expect_few_parameters(net):
    """Their number; Wrong if there are too many, or some that the net does not know of."""
    known, own = {id(p) for p in net.parameters()}, vars(nn.Module())  # modules keep lists of layers of their own, too
    for module in net.modules():
        for name, value in vars(module).items():
            inside = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
            layers = [layer for layer in inside if isinstance(layer, nn.Module)] if name not in own else []
            if any(id(p) not in known for layer in layers for p in layer.parameters()):
                raise Wrong("plain_container",
                            f"{name} holds layers in a plain {type(value).__name__}: nn.Module does not see their "
                            "parameters, and they would not be trained. Use nn.Sequential or nn.ModuleList.")
    num_parameters = count_parameters(net)
    if not any(p.requires_grad for p in net.parameters()):
        raise Wrong("no_parameters", "the net has no parameters that can be trained.")
    if num_parameters >= MAX_PARAMETERS:
        name, largest = max(net.named_parameters(), key=lambda pair: pair[1].numel())
        raise Wrong("too_many_parameters",
                    f"your net has {num_parameters:,} parameters; fewer than {MAX_PARAMETERS:,} are allowed. Most of "
                    f"them at one place are in {name}, {tuple(largest.shape)}: {largest.numel():,}.")
    return num_parameters


def _train(net, train_iter, test_iter, start):
    """The `History` of the quick run with this net."""
    torch.default_generator.manual_seed(QUICK.seed)
    optimizer = torch.optim.SGD((p for p in net.parameters() if p.requires_grad), lr=QUICK.lr)
    steps = QUICK.num_epochs * len(train_iter)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)
    history = History()
    try:
        for _ in fit(net, train_iter, test_iter, QUICK.num_epochs, optimizer=optimizer, scheduler=scheduler,
                     history=history, precision="float32"):
            pass
    except NonFiniteLossError:
        raise Wrong("loss_not_finite",
                    f"the loss became infinite or not a number: at a learning rate of {QUICK.lr:g} the training of "
                    "your net does not stay stable. Batch norm after each convolution keeps the activations in "
                    "bounds.") from None
    except KeyboardInterrupt:  # from outside of fit, which ends quietly on one; the history says how far it came
        pass
    if not history.completed:
        epoch = history.records[-1].epoch if history.records else 0
        if time.monotonic() - start < SECONDS - 1:
            raise Wrong("interrupted",
                        f"interrupted after {epoch:.1f} of {QUICK.num_epochs} epochs. Run the cell again.")
        raise Wrong("too_slow",
                    f"after {SECONDS} seconds it had come to epoch {epoch:.1f} of {QUICK.num_epochs} and was stopped. "
                    "Few parameters do not mean little work: halve height and width early, by pooling or a stride of "
                    "2, and all that follows takes a quarter of the time. (Or does another program use the processor?)")
    return history


def _advice(net, history):
    """(code, message): why the test accuracy may be too low, and what to try."""
    def has(*kinds):
        return any(isinstance(module, kinds) for module in net.modules())

    if not has(nn.Conv2d):
        return "no_convolution", ("There is no convolution in it, so it cannot use that neighbouring pixels belong "
                                  "together.")
    if not has(nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm):
        return "no_batch_norm", ("There is no batch norm in it: after each convolution, it lets the net learn much "
                                 "faster in so few epochs.")
    if history.train_acc < GOAL + 0.02:
        return "underfits", (f"On the training images it reaches only {history.train_acc:.3f}: it can do too little, "
                             "or learns too slowly. More channels, or less shrinking at the start?")
    return "overfits", (f"On the training images it reaches {history.train_acc:.3f}, so it fits those better than new "
                        "ones. Fewer parameters in linear layers (global average pooling before the last one) help "
                        "against that.")


# --- five questions ---

QUESTIONS = {
    "1": ("b", {
        "a": "Whoever has learnt images by heart still does better than chance on new ones of the same kind. And with "
             "the statistics of the batch, the same weights recognised most test images (section 4.4).",
        "b": "In eval mode batch norm uses running averages, which follow the weights slowly: after few steps they "
             "describe a network that no longer exists.",
        "c": "Test and training images are of the same kind. Section 4.4 changed only one thing about the evaluation, "
             "and the accuracy rose.",
    }),
    "2": ("c", {
        "a": "It runs without any error, which is what makes this mistake hard to find.",
        "b": "backward does not overwrite: it adds to the gradients that are there.",
        "c": "backward adds to what is there, so old gradients, of weights that have changed since, count in every "
             "step.",
    }),
    "3": ("a", {
        "a": "Among many settings, some do well on just these images by luck. Choosing by them picks the luck as well, "
             "and the number no longer says how the network does on new images. Images held out of the training set "
             "are for choosing.",
        "b": "A small test set makes the number noisy, but a large one would not make the choice right: it would still "
             "be made on the images that are meant for the last exam.",
        "c": "Eval mode is right for measuring, whatever the number is used for.",
    }),
    "4": ("b", {
        "a": "The loss has no upper end: a network that is sure, and wrong, has a larger one.",
        "b": "It is the loss of a uniform guess: on average over the logarithms, the right class gets a probability of "
             "a tenth. A network with random weights does no better: mostly worse, since it is sure of something.",
        "c": "The loss does not count wrong answers: it measures the probability that the right class gets.",
    }),
    "5": ("a", {
        "a": "The gradient of a mean is the mean of the gradients, and with parts of equal size each image has the "
             "same weight in it as in the whole batch. It is exact, as long as the answer for an image does not depend "
             "on the others.",
        "b": "The gradients of the parts do differ, and it would be no use to compute them all if they did not.",
        "c": "Batch norm is the detail that does not fit: it takes its statistics from a part instead of the whole "
             "batch.",
    }),
}


@exercise(4, "five questions about training", hints=(
    "Section 4.4 for question 1, 4.3 for 2, 4.2 for 4, and the section about more than one machine for 5.",
    "Question 3: what is the test set for, and what is left of that once it has been used to choose?",
))
def training_questions(answers):
    """Letters for questions 1 to 5."""
    return choose(answers, QUESTIONS)
