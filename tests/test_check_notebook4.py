"""The checks of notebook 4: each right answer is accepted, and each plausible mistake is named.

A mistake is known by its code. Parts of a sentence are tested where they come from the answer.
"""

import functools
import math
import re
import time
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import resnet_helpers as d2l
from resnet_helpers.check import notebook4
from resnet_helpers.check.verdicts import EXERCISES, exercise
from resnet_helpers.data import ImageBatches, load_fashion_mnist_subset
from resnet_helpers.runs.recipes import RECIPES, prepare_run
from resnet_helpers.training import report_batches


def define(source, changes=None):
    """The last function or class that a text defines, after {old: new} replacements in it."""
    for old, new in (changes or {}).items():
        assert old in source, old
        source = source.replace(old, new)
    names = {"torch": torch, "nn": nn, "d2l": d2l}
    exec(source, names)
    return list(names.values())[-1]


def assert_verdicts(check, cases):
    """For cases (answer, code, *parts): wrong with this code, right if it is "".

    The parts are in the message.
    """
    failures = []
    for i, (answer, code, *parts) in enumerate(cases):
        verdict = check(answer)
        state = "wrong" if code else "solved"
        lacking = [part for part in parts if part not in verdict.message]
        if (verdict.state, verdict.code) != (state, code) or lacking or len(verdict.message) < 20:
            failures.append(f"case {i}: expected {code!r} {parts}, got {verdict.code!r} {verdict}")
    assert not failures, "\n".join(failures)


@pytest.fixture
def loaded_once(monkeypatch):
    """Data are read and ResNet-18 is counted once, not for each answer anew."""
    for name in ("load_data_fashion_mnist", "resnet18"):
        monkeypatch.setattr(notebook4, name, functools.cache(getattr(notebook4, name)))


def raises(*arguments):
    raise ZeroDivisionError("of the reader's")


JUNK = (None, "a string", 3, [], (x for x in "abc"), torch.zeros(3), float("nan"))


@pytest.mark.parametrize("name, code, others", [
    ("chance_level", "no_dict", [({"accuracy": None}, "no_number")]),
    ("mend_training_loop", "no_function", [(raises, "raised"), (print, "returns_none")]),
    ("evaluate_accuracy", "no_function", [(raises, "raised"), (lambda net: 1, "wrong_arguments")]),
    ("quick_run", "no_history", [({}, "no_history"), (d2l.History, "no_history")]),
    ("small_net", "no_class_or_function", [(nn.Linear(2, 2), "no_class_or_function")]),
    ("training_questions", "no_dict", [({"accuracy": None}, "no_answer")]),
])
def test_junk_is_wrong_without_raising(name, code, others):
    assert_verdicts(getattr(notebook4, name), [*((junk, code) for junk in JUNK), *others])


def test_what_the_notebook_comes_with_is_open():
    blank = define("def f(net, data_iter):\n    ...")
    for name, answer in {
        "chance_level": dict.fromkeys(NUMBERS, ...), "evaluate_accuracy": blank,
        "mend_training_loop": define(LOOP, ALL_FAULTS), "quick_run": ..., "small_net": blank,
        "training_questions": dict.fromkeys("12345", ...),
    }.items():
        assert getattr(notebook4, name)(answer).state == "open", name
        assert EXERCISES[name].notebook == 4 and 2 <= len(EXERCISES[name].hints) <= 3


# --- what guessing gives ---

NUMBERS = {"accuracy": 0.1, "loss": math.log(10), "steps_64": 94, "steps_256": 24, "row_sum": 100}
WRONG_NUMBERS = {
    "accuracy": {10: "in_percent", 0.9: "error_rate", 0.5: "two_outcomes", 0.2: "wrong_accuracy",
                 0: "wrong_accuracy", "0.1": "no_number"},
    "loss": {1.0: "base_10", 3.322: "base_2", -2.303: "sign_missing", 0.1: "no_logarithm",
             2.2: "wrong_loss", float("nan"): "wrong_loss"},
    "steps_64": {93: "rounded_down", 93.75: "part_of_step", 24: "other_batch_size",
                 938: "full_set", 95: "wrong_steps_64"},
    "steps_256": {23: "rounded_down", 23.4375: "part_of_step", 94: "other_batch_size",
                  235: "full_set", 25: "wrong_steps_256"},
    "row_sum": {1000: "whole_matrix", 600: "training_images", 99: "wrong_row_sum",
                ...: "no_answer"},
}


def test_chance_level_is_accepted_or_told_its_mistake():
    right = ({}, {"loss": 2.303}, {"loss": 2.3}, {"loss": torch.tensor(10.0).log()},
             {"steps_64": 94.0, "steps_256": torch.tensor(24)}, {"extra": "ignored"})
    assert_verdicts(notebook4.chance_level, [
        *((NUMBERS | changes, "", "2.303") for changes in right),
        ({"accuracy": 0.1}, "no_answer", "'loss'"),
        (NUMBERS | {"steps_64": 93}, "rounded_down", "leave 48 images"),
        (NUMBERS | {"steps_256": 23}, "rounded_down", "leave 112 images"),
        *((NUMBERS | {key: value}, code, key)
          for key, mistakes in WRONG_NUMBERS.items() for value, code in mistakes.items())])


def test_numbers_of_chance_level_are_those_of_the_subset():
    data = load_fashion_mnist_subset()
    steps = {f"steps_{size}": len(ImageBatches(data.train_images, data.train_labels, size))
             for size in (64, 256)}
    assert torch.bincount(data.test_labels).tolist() == [NUMBERS["row_sum"]] * 10
    assert NUMBERS | steps == NUMBERS


# --- mend the training loop ---

LOOP = """
def train(net, train_iter, test_iter, num_epochs, lr):
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)
    loss, results = nn.CrossEntropyLoss(), []
    for epoch in range(num_epochs):
        metric, test = d2l.Accumulator(3), d2l.Accumulator(2)
        net.train()
        for X, y in train_iter:
            optimizer.zero_grad()
            y_hat = net(X)
            l = loss(y_hat, y)
            l.backward()
            optimizer.step()
            metric.add(l.item() * len(y), d2l.accuracy(y_hat, y), len(y))
        net.eval()
        with torch.no_grad():
            for X, y in test_iter:
                test.add(d2l.accuracy(net(X), y), len(y))
        results.append((metric[0] / metric[2], metric[1] / metric[2], test[0] / test[1]))
    return results
"""
WITH_FIT = """
def train(net, train_iter, test_iter, num_epochs, lr):
    return [(p.train_loss, p.train_acc, p.test_acc) for p in d2l.fit(
        net, train_iter, test_iter, num_epochs, lr, precision="float32", reports_per_epoch=1)]
"""
ZERO, STEP = "            optimizer.zero_grad()\n", "            optimizer.step()\n"
TRAIN, EVAL, NO_GRAD = "        net.train()\n", "        net.eval()\n", "with torch.no_grad():"
COUNT = "                test.add(d2l.accuracy(net(X), y), len(y))\n"
TEST_LOOP = f"        {NO_GRAD}\n            for X, y in test_iter:\n{COUNT}"
EPOCHS, RETURN, TEST_ACC = "    for epoch", "    return results", "test[0] / test[1]"
RECORDED = {NO_GRAD: "if True:"}
ALL_FAULTS = {ZERO: "", EVAL: "", TRAIN: "", EPOCHS: f"    net.train()\n{EPOCHS}", **RECORDED}
OFF = {NO_GRAD: "torch.set_grad_enabled(False)\n        if True:"}
RIGHT_LOOPS = [  # source, and what replaces what in it
    (LOOP, {}),
    (WITH_FIT, {}),
    (LOOP, {ZERO: "", STEP: STEP + ZERO}),
    (LOOP, {"optimizer.zero_grad()": "net.zero_grad()"}),
    (LOOP, {"zero_grad()": "zero_grad(set_to_none=False)"}),
    (LOOP, {ZERO: "", "l.backward()": "optimizer.zero_grad(); l.backward()"}),
    (LOOP, {"no_grad": "inference_mode"}),
    (LOOP, {STEP: STEP + "            X.zero_()\n"}),  # it gets copies
    (LOOP, {TRAIN: "", "y_hat =": "net.train(); y_hat ="}),
    (LOOP, {EVAL: "", COUNT: "                net.eval()\n" + COUNT}),
    (LOOP, {"        results": "        net.train()\n        results"}),
    (LOOP, {ZERO: "", "l.backward()": "G = torch.autograd.grad(l, [*net.parameters()])",
            STEP: "            for p, g in zip(net.parameters(), G): p.data -= lr * g\n"}),
    (LOOP, {**OFF, "        results": "        torch.set_grad_enabled(True)\n        results"}),
]
WRONG_LOOPS = [  # code, what replaces what in LOOP, and what else the message says
    # one or two of the notebook's faults left, or mended by half
    ("no_zero_grad", {ZERO: ""}, "2 of 3 mended"),
    ("no_zero_grad", {ZERO: "", EVAL: ""}, "1 of 3 mended"),
    ("zero_grad_per_epoch", {ZERO: "", TRAIN: TRAIN + ZERO[4:]}, "2 of 3 mended"),
    ("zero_grad_before_step", {ZERO: "", STEP: ZERO + STEP, EVAL: "", **RECORDED}, "0 of 3 mended"),
    ("eval_mode_missing", {EVAL: ""}, "2 of 3 mended", "test batch 1 "),
    ("no_grad_missing", RECORDED, "2 of 3 mended", "test batch 1 "),
    ("no_grad_missing", {NO_GRAD: "with torch.set_grad_enabled(epoch > 0):"}, "2 of 3 mended"),
    ("gradients_off", OFF),
    ("train_mode_missing", {TRAIN: ""}, "training batch 1 of epoch 2"),
    ("train_mode_missing", {TRAIN: "", "        results": f"{TRAIN}        results"}, "epoch 1"),
    ("train_mode_missing", {STEP: STEP + "            net.eval()\n"}, "batch 2 of epoch 1"),
    # other steps
    ("other_weights", {STEP: ""}, "6 training batches", "6 backward passes and 0 steps"),
    ("other_weights", {"            l.backward()\n": ""}, "0 backward passes and 6 steps"),
    ("other_weights", {"lr=lr": "lr=0.01"}),
    ("other_weights", {"loss(y_hat, y)": "loss(y_hat, y) * float('inf')"}),
    # other batches
    ("wrong_batch_order", {"in test_iter": "in train_iter"},
     "in epoch 1 of 2 comes training batch 1 where test batch 1 was expected"),
    ("wrong_batch_order", {STEP: STEP + "            [net(X) for X, _ in test_iter]\n"},
     "comes test batch 1 where training batch 2 was"),
    ("wrong_batch_order", {"(num_epochs)": "(num_epochs + 1)"}, "in epoch 3 of 2", "end was"),
    ("wrong_batch_order", {RETURN: "    " + RETURN}, "in epoch 2 of 2 comes the end where"),
    ("wrong_batch_order", {STEP: f"{STEP}        {RETURN}\n"}, "the end where training batch 2"),
    ("wrong_batch_order", {TEST_LOOP: "", TEST_ACC: "0.5"}, "training batch 1 where test batch 1"),
    ("foreign_batch", {"net(X)": "net(X / 255)"}),
    ("net_not_called", {"net(X)": "nn.Linear(4, 3)(X)"}),
    ("net_not_called", {"results.append(": "yield ("}),
    # other results
    ("mean_of_means", {COUNT: COUNT.replace("y), len(y)", "y) / len(y), 1")}, "test accuracy of"),
    ("not_divided", {"metric[0] / metric[2]": "metric[0]"}, "the train loss of epoch 1"),
    ("in_percent", {"metric[1] / ": "100 * metric[1] / "}, "the train accuracy of epoch 1"),
    ("other_average", {TEST_ACC: f"{TEST_ACC} - epoch"}, "the test accuracy of epoch 2 is -"),
    ("no_number", {TEST_ACC: "'high'"}, "the test accuracy of epoch 1"),
    ("returns_none", {RETURN: ""}),
    ("no_tuple_per_epoch", {RETURN: f"{RETURN}[-1]"}, "2 epochs"),
    ("no_tuple_per_epoch", {RETURN: "    return [row[:2] for row in results]"}),
]


def test_loop_is_accepted_or_told_its_mistake():
    assert_verdicts(notebook4.mend_training_loop, [
        *((define(source, changes), "") for source, changes in RIGHT_LOOPS),
        *((define(LOOP, changes), code, *parts) for code, changes, *parts in WRONG_LOOPS)])


def test_training_in_the_background_is_not_taken_for_the_readers():
    other = nn.Linear(2, 1)
    optimizer = torch.optim.Adam(other.parameters())

    def train(net, *arguments):
        other(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        return define(LOOP, {STEP: ""})(net, *arguments)

    assert_verdicts(notebook4.mend_training_loop, [(train, "other_weights", "0 steps")])


def test_hooks_are_removed_again():
    from torch.optim import optimizer
    notebook4.mend_training_loop(raises)
    assert not optimizer._global_optimizer_pre_hooks


# --- write the evaluation ---

ACCURACY = """
def my_accuracy(net, data_iter):
    net.eval()
    correct, total = 0, 0
    with torch.no_grad():
        for X, y in data_iter:
            predicted = net(X).argmax(dim=1)
            correct += (predicted == y).sum().item()
            total += len(y)
    return correct / total
"""
RESULT, TOTAL = "correct / total", "            total += len(y)\n"
EVALUATIONS = [  # code or "", what replaces what in ACCURACY, and what else the message says
    ("", {}),
    ("", {"no_grad": "inference_mode"}),
    ("", {"    return": "    net.train()\n    return"}),  # as it came: no mistake
    ("", {".item()": "", RESULT: "torch.as_tensor(correct / total)"}),
    ("", {"    net.eval()\n": "", "predicted = ": "net.eval(); predicted = "}),
    ("", {"net(X).argmax(dim=1)": "net(X.clone()).sort(dim=1).indices[:, -1]"}),
    ("eval_mode_missing", {"    net.eval()\n": ""}),
    ("eval_mode_missing", {"    net.eval()\n": "", TOTAL: f"{TOTAL}            net.eval()\n"}),
    ("no_grad_missing", {"no_grad": "enable_grad"}),
    ("no_grad_missing", {"predicted = ": "torch.set_grad_enabled(len(y) != 9); predicted = "},
     "test batch 2 "),
    ("gradients_off", {NO_GRAD: "torch.set_grad_enabled(False)\n    if True:"}),
    ("shapes_differ", {"dim=1": "dim=0"}),
    ("none_right", {"dim=1": ""}),
    ("none_right", {RESULT: "correct // total"}),
    ("in_percent", {RESULT: "100 * correct / total"}),
    ("not_divided", {RESULT: "correct"}),
    ("mean_of_means", {"sum().item()": "float().mean()", "total += len(y)": "total += 1"}),
    ("divided_by_batches", {RESULT: "correct / len(data_iter)"}),
    ("last_batch_alone", {"correct +=": "correct ="}),
    ("first_batch_alone", {"    return": "            return"}),
    ("other_average", {"total += len(y)": "total += 10"}, "0.466667, where 0.608696 was"),
    ("other_average", {RESULT: "round(correct / total, 2)"}, "0.61, where"),
    ("other_average", {"dim=1": "dim=1, keepdim=True"}),
    ("returns_none", {f"    return {RESULT}": ""}),
    ("no_number", {RESULT: "f'{correct / total:.1%}'"}, "string"),
    ("foreign_batch", {"net(X)": "net(X * 2)"}),
]


def test_evaluation_is_accepted_or_told_its_mistake():
    assert_verdicts(notebook4.evaluate_accuracy, [
        (d2l.evaluate_accuracy, ""), (0.8, "no_function"),
        *((define(ACCURACY, changes), code, *parts) for code, changes, *parts in EVALUATIONS)])


# --- a quick run ---

QUICK = RECIPES["quick"]


def make_history(images=6000, batch_size=64, last_acc=0.88, final_loss=0.2, records=None, **config):
    """A history as `fit` leaves it after a quick run, or after one with other settings."""
    config = {"parameters": 11_178_378, "num_epochs": 6, "optimizer": "SGD", "lr": 0.05,
              "momentum": 0, "weight_decay": 0, "scheduler": "LinearLR", "precision": "bfloat16",
              "seed": 0} | config
    history = d2l.History(config=config, completed=records is None)
    steps = math.ceil(images / batch_size)
    for epoch in range(config["num_epochs"]):
        for i in sorted(report_batches(range(steps), 5) | {steps}):
            at = epoch + i / steps
            loss = final_loss + (1.2 - final_loss) * max(0, 1 - (at - 1) / 5)
            history.add(epoch + 1 if i == steps else at, epoch * steps + i, loss, 0.92 * at / 6,
                        last_acc if i == steps else None,
                        epoch * images + min(i * batch_size, images), 5.0 * at)
    history.records = history.records[:records]
    return history


def with_config(**changes):
    """A history as `PreparedRun.fit` and the training panel leave it."""
    settings = replace(QUICK, **changes)
    return make_history(**asdict(settings) | {"model": settings.model, "batch_size": 64})


RUNS = [  # history, code or "", and what the message says
    (make_history(), "", "test accuracy 0.880"),
    (make_history(last_acc=0.81), "", "test accuracy 0.810"),
    (make_history(seed=7, precision="float32"), ""),
    (make_history(scheduler="LambdaLR"), ""),
    (with_config(seed=3), ""),
    (make_history(lr=0.5), "other_lr", "lr=0.5;", "lr=0.05."),
    (make_history(scheduler=None), "other_scheduler", "was None"),
    (make_history(momentum=0.9), "other_momentum", "momentum=0.9"),
    (make_history(weight_decay=5e-4), "other_weight_decay", "weight_decay=0.0005"),
    (make_history(num_epochs=10), "other_num_epochs", "num_epochs=10", "num_epochs=6"),
    (make_history(parameters=44_426), "other_parameters", "44426", "11178378"),
    (with_config(data="full"), "other_data", "'full'"),
    (with_config(schedule="constant"), "other_schedule", "schedule='constant'"),
    (make_history(batch_size=256), "other_batch_size", "24 steps", "has 94"),
    (make_history(images=60_000), "other_num_images", "60,000 images", "6,000", "subset=True"),
    (make_history(last_acc=None), "no_test_accuracy"),
    (make_history(last_acc=0.79), "low_test_accuracy", "0.790", "0.80"),
    (make_history(last_acc=0.95), "tested_on_training_images", "0.950", "0.920"),
    (make_history(final_loss=0.9), "loss_does_not_fall", "0.900", "564"),
    (make_history(final_loss=float("nan")), "loss_does_not_fall"),
    (make_history(records=12), "stopped_early", "2.4 of 6 epochs"),
    (d2l.History(), "nothing_recorded"),
    (make_history().records, "no_history", "a list"),
    ("run.json", "no_history", "run.json"),
    (d2l.fit(nn.Linear(2, 2), []), "no_history", "a generator", "goes through it"),
]


def test_run_is_accepted_or_told_what_differs(loaded_once, tmp_path):
    make_history().save(tmp_path / "run.json")
    saved = d2l.History.load(tmp_path / "run.json")
    assert_verdicts(notebook4.quick_run, [(saved, ""), *RUNS])


def test_history_of_a_real_run_is_understood(monkeypatch):
    """The notebook's code with a small net, on a batch of 2 images: only their number is wrong."""
    monkeypatch.setattr(notebook4, "resnet18", layers)
    batches = [(torch.rand(2, 1, 28, 28), torch.tensor([0, 0]))]
    net, history = layers(), d2l.History()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=6)
    for p in d2l.fit(net, batches, batches, 6, optimizer=optimizer, scheduler=scheduler,
                     history=history):
        if p.epoch == 1:
            assert_verdicts(notebook4.quick_run, [(history, "stopped_early", "after 1 of 6")])
    assert_verdicts(notebook4.quick_run, [(history, "other_num_images", "2 images")])


def test_history_of_a_run_from_settings_is_understood(few_images):
    run, history = prepare_run(replace(QUICK, num_epochs=1), device="cpu"), d2l.History()
    next(run.fit(history=history))
    assert_verdicts(notebook4.quick_run, [(history, "other_num_epochs", "num_epochs=1")])


# --- a small net ---

def layers(outputs=10):
    return nn.Sequential(nn.Conv2d(1, 4, 3, stride=4), nn.BatchNorm2d(4), nn.ReLU(),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, outputs))


def linear():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))


class Net(nn.Module):
    def __init__(self, change=lambda Y: Y, parts=None):
        super().__init__()
        self.change, self.parts, self.layers = change, parts, layers()

    def forward(self, X):
        return self.change(self.layers(X))


NETS = [  # class or function, code or "", and what the message says
    (Net, "", "parameters", "ResNet-18"),
    (layers, ""),
    (lambda: nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(10)), ""),
    (lambda: Net(lambda Y: Y.log_softmax(dim=1)), ""),  # cross-entropy does the same
    (lambda: Net(lambda Y: 0 * Y), ""),
    (lambda: Net(parts=nn.ModuleList([nn.Linear(2, 2)])), ""),
    (lambda: Net(parts=[1, 2, 3]), ""),
    (lambda: Net(parts=[nn.Linear(2, 2)]), "plain_container", "parts", "list"),
    (lambda: Net(lambda Y: Y.softmax(dim=1)), "softmax_at_end"),
    (lambda: Net(lambda Y: Y[:1].expand(64, 10)), "wrong_shape", "(64, 10)", "(32, 10)"),
    (lambda: Net(lambda Y: [Y]), "returns_no_tensor", "list"),
    (lambda: Net(lambda Y: None), "returns_none"),
    (lambda: Net(lambda Y: Y / 0), "not_finite"),
    (lambda: Net(lambda Y: 1e30 * Y), "loss_not_finite"),
    (d2l.resnet18, "too_many_parameters", "11,178,378 parameters", "300,000", "(512, 512, 3, 3)"),
    (lambda: layers(outputs=9), "wrong_shape", "(64, 9)", "(64, 10)"),
    (lambda: nn.Conv2d(1, 10, 3), "wrong_shape", "(64, 10, 26, 26)"),
    (lambda: nn.Linear(784, 10), "does_not_run", "shape (64, 1, 28, 28)"),
    (lambda: Net, "no_module", "class Net"),
    (lambda channels: layers(channels), "wrong_arguments", "channels"),
]


@pytest.fixture
def tiny_data(monkeypatch):
    """Two steps an epoch on 70 images, tested on the same, and no accuracy too low."""
    data = load_fashion_mnist_subset()
    images, labels = data.train_images[:70], data.train_labels[:70]
    monkeypatch.setattr(notebook4, "load_data_fashion_mnist", lambda batch_size, subset: (
        ImageBatches(images, labels, batch_size, True), ImageBatches(images, labels, batch_size)))
    monkeypatch.setattr(notebook4, "GOAL", 0.0)


def test_net_is_accepted_or_told_what_it_cannot_do(tiny_data):
    assert_verdicts(notebook4.small_net, NETS)


def test_too_low_an_accuracy_comes_with_advice(tiny_data, monkeypatch):
    def fit(net, train_iter, test_iter, num_epochs, history, **settings):
        history.completed = True
        train_acc = 0.97 if isinstance(net, Net) else 0.7
        yield history.add(num_epochs, 1, 0.5, train_acc, 0.7, 70, 1.0)

    monkeypatch.setattr(notebook4, "GOAL", 0.85)
    monkeypatch.setattr(notebook4, "fit", fit)
    assert_verdicts(notebook4.small_net, [
        (Net, "overfits", "0.150 short of 0.85", "0.970"),
        (layers, "underfits", "0.150 short of 0.85", "only 0.700"),
        (lambda: nn.Sequential(nn.Conv2d(1, 1, 1), linear()), "no_batch_norm"),
        (linear, "no_convolution", "7,850 parameters"),
    ])
    monkeypatch.setattr(notebook4, "evaluate_accuracy_gpu", lambda net, data_iter: 0.6)
    assert_verdicts(notebook4.small_net, [(layers, "trained_before", "0.600")])


@pytest.mark.parametrize("raised", [False, True])
def test_training_that_is_cut_says_how_far_it_came(tiny_data, monkeypatch, raised):
    def fit(*arguments, history, **settings):
        yield history.add(1.5, 1, 0.5, 0.5, None, 70, 1.0)
        if raised:
            raise KeyboardInterrupt

    monkeypatch.setattr(notebook4, "fit", fit)
    assert_verdicts(notebook4.small_net, [(layers, "interrupted", "Run the cell again")])
    monkeypatch.setattr(notebook4, "SECONDS", 0)
    assert_verdicts(notebook4.small_net, [(layers, "too_slow", "0 seconds", "epoch 1.5 of 6")])


def test_time_limit_ends_a_training_that_is_too_slow(tiny_data, monkeypatch):
    """`fit` takes the interrupt of the limit for the stop button, and the check for what it is."""
    class Slow(Net):
        def forward(self, X):
            time.sleep(0.1 if self.training else 0)  # the limit falls into the training
            return super().forward(X)

    monkeypatch.setattr(notebook4, "SECONDS", 0.5)
    monkeypatch.setitem(EXERCISES, "small_net", EXERCISES["small_net"])
    check = exercise(4, "a small net", seconds=0.5)(notebook4.small_net.__wrapped__)
    assert_verdicts(check, [(Slow, "too_slow", "after 0.5 seconds")])


def test_training_is_that_of_the_quick_run(tiny_data, monkeypatch):
    seen = SimpleNamespace()

    def fit(net, train_iter, test_iter, num_epochs, *, optimizer, scheduler, **settings):
        seen.settings = (train_iter.batch_size, num_epochs, type(optimizer),
                         optimizer.defaults["lr"], settings["precision"])
        yield from d2l.fit(net, train_iter, test_iter, num_epochs, optimizer=optimizer,
                           scheduler=scheduler, **settings)
        seen.last_lr = optimizer.param_groups[0]["lr"]

    monkeypatch.setattr(notebook4, "fit", fit)
    assert notebook4.small_net(layers).solved
    assert seen.settings == (64, 6, torch.optim.SGD, 0.05, "float32")
    assert seen.last_lr == pytest.approx(0, abs=1e-9)


def test_same_net_gets_the_same_verdict(tiny_data):
    state = torch.get_rng_state()
    first = notebook4.small_net(layers)
    assert torch.equal(state, torch.get_rng_state())
    torch.rand(3)
    assert notebook4.small_net(layers).message == first.message


def test_a_linear_net_is_really_trained_and_falls_short():
    """About a second. A linear classifier stays below 0.85 even on the full set."""
    verdict = notebook4.small_net(linear)
    assert verdict.code == "no_convolution", verdict
    assert 0.7 < float(re.search(r"test accuracy (\d\.\d+)", verdict.message)[1]) < 0.85


# --- five questions ---

RIGHT = {"1": "b", "2": "c", "3": "a", "4": "b", "5": "a"}


def test_letters_get_their_explanation():
    assert_verdicts(notebook4.training_questions, [
        (RIGHT | {question: letter}, "" if letter == RIGHT[question] else
         f"question_{question}_{letter}", text)
        for question, (_, texts) in notebook4.QUESTIONS.items() for letter, text in texts.items()])
    assert [list(texts) for _, texts in notebook4.QUESTIONS.values()] == 5 * [["a", "b", "c"]]
