"""The checks of notebook 4: each right answer is accepted, and each plausible mistake is named."""

import math
import re
import textwrap
import time
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import resnet_helpers as d2l
from resnet_helpers.check import training
from resnet_helpers.check.engine import EXERCISES, exercise
from resnet_helpers.data import ImageBatches
from resnet_helpers.recipes import RECIPES, prepare_run
from resnet_helpers.training import report_batches

NAMES = ("chance_level", "mend_training_loop", "evaluate_accuracy", "quick_run", "small_net", "training_questions")


def define(source, *changes):
    """The last function or class that a text defines, after replacements of (old, new) in it."""
    for old, new in changes:
        assert old in source, old
        source = source.replace(old, new)
    names = {"torch": torch, "nn": nn, "F": F, "d2l": d2l}
    exec(textwrap.dedent(source), names)
    return list(names.values())[-1]


def assert_wrong(verdict, *parts):
    assert verdict.state == "wrong", verdict
    for part in parts:
        assert part in verdict.message, verdict.message


class Empty(nn.Module):
    def __init__(self): ...

    def forward(self, X): ...


def blank_function(net, data_iter):
    """Not written yet."""
    ...


def raises(*arguments):
    raise ZeroDivisionError("of the reader's")


class SomeClass:
    def method(self):
        return 1


JUNK = [None, "a string", 3, SomeClass, SomeClass(), [], {"accuracy": None}, nn.Linear(2, 2), raises,
        lambda a, b, c, d: 1, (x for x in "abc"), torch.zeros(3), float("nan"), d2l.History, d2l.Residual]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: getattr(junk, "__name__", type(junk).__name__))
def test_junk_is_wrong_without_raising(name, junk):
    verdict = getattr(training, name)(junk)
    assert verdict.state == "wrong" and len(verdict.message) > 20, verdict


@pytest.mark.parametrize("name", NAMES)
def test_what_the_notebook_comes_with_is_open(name):
    blank = {"chance_level": {"accuracy": ..., "loss": ..., "steps_64": ..., "steps_256": ..., "row_sum": ...},
             "mend_training_loop": define(BROKEN), "evaluate_accuracy": blank_function, "quick_run": ...,
             "small_net": blank_function, "training_questions": {str(i): ... for i in range(1, 6)}}[name]
    verdict = getattr(training, name)(blank)
    assert verdict.state == "open", verdict
    assert getattr(training, name)(...).state == "open"


def test_blank_class_is_open():
    assert training.small_net(Empty).state == "open"


@pytest.mark.parametrize("name", NAMES)
def test_every_exercise_has_a_title_and_hints(name):
    exercise = EXERCISES[name]
    assert exercise.notebook == 4 and exercise.title
    assert 2 <= len(exercise.hints) <= 3


# --- what guessing gives ---

NUMBERS = {"accuracy": 0.1, "loss": math.log(10), "steps_64": 94, "steps_256": 24, "row_sum": 100}


@pytest.mark.parametrize("changes", [
    {}, {"loss": 2.303}, {"loss": 2.3}, {"loss": torch.tensor(10.0).log()}, {"loss": -math.log(0.1)},
    {"accuracy": 1 / 10}, {"steps_64": 94.0, "steps_256": torch.tensor(24)}, {"extra": "ignored"},
])
def test_chance_level_is_accepted(changes):
    verdict = training.chance_level(NUMBERS | changes)
    assert verdict.solved, verdict
    assert "2.303" in verdict.message


@pytest.mark.parametrize(("changes", "part"), [
    ({"accuracy": 10}, "percent"),
    ({"accuracy": 0.9}, "how often a guess is wrong"),
    ({"accuracy": 0.5}, "not equally likely"),
    ({"accuracy": 0}, "now and then"),
    ({"accuracy": 0.01}, "one certain class"),
    ({"accuracy": 0.2}, "10 classes"),
    ({"accuracy": "0.1"}, "must be a number"),
    ({"accuracy": True}, "must be a number"),
    ({"loss": 1.0}, "base 10"),
    ({"loss": 3.322}, "base 2"),
    ({"loss": -2.303}, "sign is missing"),
    ({"loss": -1}, "base 10, and its sign"),
    ({"loss": -3.32}, "base 2, and its sign"),
    ({"loss": 0.1}, "minus its logarithm"),
    ({"loss": 0.9}, "share of wrong answers"),
    ({"loss": 0.105}, "probability to be wrong"),
    ({"loss": 10}, "number of classes"),
    ({"loss": 23.03}, "adds up over all classes"),
    ({"loss": 0.2303}, "weighted"),
    ({"loss": 0}, "a loss of zero"),
    ({"loss": 2.2}, "natural logarithm"),
    ({"loss": float("nan")}, "natural logarithm"),
    ({"steps_64": 93}, "round up"),
    ({"steps_64": 93.75}, "no part of a step"),
    ({"steps_64": 24}, "batches of 256"),
    ({"steps_64": 938}, "all 60,000"),
    ({"steps_64": 937}, "rounded down"),
    ({"steps_64": 110}, "test images are no part"),
    ({"steps_64": 16}, "batches of the test images"),
    ({"steps_64": 564}, "6 epochs"),
    ({"steps_64": 64}, "how many images a batch has"),
    ({"steps_64": 6000}, "a step for each image"),
    ({"steps_64": 95}, "How many times"),
    ({"steps_256": 23}, "round up"),
    ({"steps_256": 23.4375}, "no part of a step"),
    ({"steps_256": 94}, "batches of 64"),
    ({"steps_256": 235}, "all 60,000"),
    ({"steps_256": 28}, "test images are no part"),
    ({"row_sum": 1000}, "whole matrix"),
    ({"row_sum": 600}, "training images"),
    ({"row_sum": 700}, "training and test"),
    ({"row_sum": 10}, "how many numbers stand in a row"),
    ({"row_sum": 1}, "counts images"),
    ({"row_sum": 99}, "every test image"),
    ({"row_sum": ...}, "no answer yet"),
])
def test_chance_level_names_the_mistake(changes, part):
    assert_wrong(training.chance_level(NUMBERS | changes), next(iter(changes)), part)


def test_chance_level_names_a_missing_key():
    assert_wrong(training.chance_level({"accuracy": 0.1}), "'loss' is missing")


# --- mend the training loop ---

MENDED = """
def train(net, train_iter, test_iter, num_epochs, lr):
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)
    loss, results = nn.CrossEntropyLoss(), []
    for epoch in range(num_epochs):
        metric = d2l.Accumulator(3)
        net.train()
        for X, y in train_iter:
            optimizer.zero_grad()
            y_hat = net(X)
            l = loss(y_hat, y)
            l.backward()
            optimizer.step()
            metric.add(l.item() * len(y), d2l.accuracy(y_hat, y), len(y))
        test = d2l.Accumulator(2)
        net.eval()
        with torch.no_grad():
            for X, y in test_iter:
                test.add(d2l.accuracy(net(X), y), len(y))
        results.append((metric[0] / metric[2], metric[1] / metric[2], test[0] / test[1]))
    return results
"""
NO_ZERO = ("            optimizer.zero_grad()\n", "")
NO_EVAL = ("        net.eval()\n", "")
WITH_GRADIENT = ("torch.no_grad()", "torch.enable_grad()")
STEP = "            optimizer.step()\n"
EVALUATE = "                test.add(d2l.accuracy(net(X), y), len(y))\n"
FOR_TEST = "            for X, y in test_iter:\n"
TRAIN_ONCE = (("        net.train()\n", ""), ("    for epoch", "    net.train()\n    for epoch"))
BROKEN = """
def broken_train(net, train_iter, test_iter, num_epochs, lr):
    optimizer, loss, results = torch.optim.SGD(net.parameters(), lr=lr), nn.CrossEntropyLoss(), []
    net.train()
    for epoch in range(num_epochs):
        metric, test = d2l.Accumulator(3), d2l.Accumulator(2)
        for X, y in train_iter:
            y_hat = net(X)
            l = loss(y_hat, y)
            l.backward()
            optimizer.step()
            metric.add(l.item() * len(y), d2l.accuracy(y_hat, y), len(y))
        for X, y in test_iter:
            test.add(d2l.accuracy(net(X), y), len(y))
        results.append((metric[0] / metric[2], metric[1] / metric[2], test[0] / test[1]))
    return results
"""
BY_HAND = """
def train(net, train_iter, test_iter, num_epochs, lr):
    results = []
    for epoch in range(num_epochs):
        losses = correct = n = 0
        net.train()
        for X, y in train_iter:
            logits = net(X)
            loss = F.cross_entropy(logits, y)
            gradients = torch.autograd.grad(loss, list(net.parameters()))
            with torch.no_grad():
                for p, gradient in zip(net.parameters(), gradients):
                    p -= lr * gradient
            losses, n = losses + loss.detach() * len(y), n + len(y)
            correct = correct + (logits.argmax(1) == y).sum()
        results.append([losses / n, correct / n, torch.tensor(d2l.evaluate_accuracy(net, test_iter))])
    return tuple(results)
"""
WITH_FIT = """
def train(net, train_iter, test_iter, num_epochs, lr):
    return [(p.train_loss, p.train_acc, p.test_acc) for p in d2l.fit(
        net, train_iter, test_iter, num_epochs, lr, precision="float32", reports_per_epoch=1)]
"""


@pytest.mark.parametrize(("source", "changes"), [
    (MENDED, ()),
    (BY_HAND, ()),
    (WITH_FIT, ()),
    (MENDED, (NO_ZERO, (STEP, STEP + "            optimizer.zero_grad()\n"))),
    (MENDED, (("optimizer.zero_grad()", "net.zero_grad()"),)),
    (MENDED, (("optimizer.zero_grad()", "optimizer.zero_grad(set_to_none=False)"),)),
    (MENDED, (NO_ZERO, ("y_hat = net(X)\n", "y_hat = net(X)\n            optimizer.zero_grad()\n"))),
    (MENDED, (("torch.no_grad()", "torch.inference_mode()"),)),
    (MENDED, (NO_EVAL, (FOR_TEST, "            net.eval()\n" + FOR_TEST))),
    (MENDED, (("        results.append", "        net.train()\n        results.append"),)),
    (MENDED, (("l.item() * len(y)", "l.detach() * y.numel()"),)),
    (MENDED, (("    optimizer = ", "    net.to('cpu')\n    optimizer = "), ("net(X)", "net(X.to('cpu'))"))),
    (BROKEN, (("y_hat = net(X)", "net.train(); optimizer.zero_grad(); y_hat = net(X)"),
              ("for X, y in test_iter", "net.eval(); torch.set_grad_enabled(False)\n        for X, y in test_iter"),
              ("        results.append", "        torch.set_grad_enabled(True)\n        results.append"))),
])
def test_mended_loop_is_accepted(source, changes):
    verdict = training.mend_training_loop(define(source, *changes))
    assert verdict.solved, verdict


@pytest.mark.parametrize("changes", [(), (("SGD(net.parameters(), lr=lr)", "SGD(net.parameters(), lr)"),)])
def test_loop_with_all_three_bugs_is_open(changes):
    for source, more in ((BROKEN, ()), (MENDED, (NO_ZERO, NO_EVAL, WITH_GRADIENT))):
        verdict = training.mend_training_loop(define(source, *changes, *more))
        assert verdict.state == "open" and "all three" in verdict.message


@pytest.mark.parametrize(("changes", "parts"), [
    # one or two of the notebook's bugs left
    ((NO_ZERO,), ("2 of 3 mended", "zero_grad() is still missing")),
    ((NO_EVAL,), ("2 of 3 mended", "net.eval() is missing")),
    ((WITH_GRADIENT,), ("2 of 3 mended", "torch.no_grad()")),
    ((NO_ZERO, NO_EVAL), ("1 of 3 mended", "zero_grad() is still missing")),
    ((NO_ZERO, WITH_GRADIENT), ("1 of 3 mended", "zero_grad() is still missing")),
    ((NO_EVAL, WITH_GRADIENT), ("1 of 3 mended", "net.eval() is missing")),
    ((NO_ZERO, *TRAIN_ONCE), ("2 of 3 mended", "zero_grad() is still missing")),
    # half mended
    (TRAIN_ONCE, ("training batches of epoch 2", "net.train()")),
    ((("        net.train()\n", ""),), ("training batches of epoch 2", "net.train()")),
    ((("        net.train()\n", ""), ("        results.append", "        net.train()\n        results.append")),
     ("first epoch", "Do not rely on how it comes")),
    ((NO_EVAL, ("    for epoch", "    net.eval()\n    for epoch"), ("        net.train()\n", "")),
     ("also in the first epoch",)),
    ((("        net.train()\n", ""), ("            metric.add", "            net.train()\n            metric.add")),
     ("epoch 2", "eval mode")),
    ((NO_EVAL, (EVALUATE, EVALUATE + "                net.eval()\n")),
     ("test batch 1 of epoch 1", "before the loop over test_iter")),
    ((("        net.eval()\n", "        net.train(epoch > 0)\n"),), ("test batch 1 of epoch 2", "train mode")),
    ((WITH_GRADIENT, (FOR_TEST, FOR_TEST + "                torch.set_grad_enabled(len(y) == 7)\n")),
     ("test batch 1 of epoch 1", "whole loop")),
    ((("        with torch.no_grad():\n", "        torch.set_grad_enabled(False)\n        if True:\n"),),
     ("switched off while the net trains",)),
    ((("        with torch.no_grad():\n", "        torch.set_grad_enabled(False)\n        if True:\n"),
      ("        net.train()\n", "        net.train(); torch.set_grad_enabled(True)\n")), ("stay switched off",)),
    ((("        for X, y in train_iter:\n            optimizer.zero_grad()\n",
       "        optimizer.zero_grad()\n        for X, y in train_iter:\n"),), ("once per epoch",)),
    # wrong steps
    ((NO_ZERO, ("l.backward()", "l.backward(); optimizer.zero_grad()")), ("do not move", "between backward and step")),
    ((NO_ZERO, NO_EVAL, WITH_GRADIENT, ("l.backward()", "l.backward(); optimizer.zero_grad()")),
     ("between backward and step",)),
    (((STEP, ""),), ("optimizer.step() is missing",)),
    ((("            l.backward()\n", ""),), ("no backward pass",)),
    ((("            l.backward()\n", ""), (STEP, "")), ("no backward pass",)),
    ((("lr=lr", "lr=0.01"),), ("0.01 where lr=0.1",)),
    ((("lr=lr", "lr=0.0"),), ("do not move", "learning rate")),
    ((("torch.optim.SGD", "torch.optim.Adam"),), ("Adam", "plain torch.optim.SGD")),
    ((("lr=lr", "lr=lr, momentum=0.9"),), ("momentum",)),
    ((("lr=lr", "lr=lr, weight_decay=0.1"),), ("weight decay",)),
    (((STEP, 2 * STEP),),
     ("step() runs 12 times for 6",)),
    (((STEP, ""), ("        test = ", STEP[4:] + "        test = ")),
     ("step() runs 2 times for 6",)),
    ((("loss(y_hat, y)", "loss(y_hat.softmax(1), y)"),), ("softmax before the loss",)),
    ((("nn.CrossEntropyLoss()", "nn.CrossEntropyLoss(reduction='sum')"),), ("sum over its images",)),
    ((("l = loss(y_hat, y)", "l = loss(y_hat, y) / len(y)"),), ("divided by its size",)),
    ((("l = loss(y_hat, y)", "l = loss(y_hat, y) * 1.1"),), ("not those of SGD with fresh gradients",)),
    ((("    optimizer = ", "    net.apply(d2l.init_weights)\n    optimizer = "),), ("changed before the first batch",)),
    ((WITH_GRADIENT, NO_EVAL, (EVALUATE, "                y_hat = net(X)\n                loss(y_hat, y).backward()\n"
                                         "                optimizer.step()\n" + EVALUATE.replace("net(X)", "y_hat"))),
     ("trained on the test batches",)),
    # wrong batches
    ((("in test_iter", "in train_iter"),), ("must measure on test_iter",)),
    ((("in train_iter", "in test_iter"),), ("must learn from train_iter",)),
    ((("for X, y in train_iter", "for X, y in []"), ("metric[0] / metric[2], metric[1] / metric[2]", "0, 0")),
     ("training batches never go through",)),
    ((("y_hat = net(X)", "y_hat = net(X); net(X)"),), ("each training batch goes through the net twice",)),
    ((("test.add(d2l.accuracy(net(X), y), len(y))", "test.add(d2l.accuracy(net(X), y), len(net(X)))"),),
     ("each test batch", "twice")),
    ((("net(X)", "net(X / 255)"),), ("neither train_iter nor test_iter",)),
    ((("range(num_epochs)", "range(1)"),), ("one epoch",)),
    ((("range(num_epochs)", "range(num_epochs + 1)"),), ("3 epochs, with num_epochs=2",)),
    ((("range(num_epochs)", "range(1, num_epochs)"),), ("one epoch, with num_epochs=2",)),
    ((("    return results", "        return results"),), ("`return` inside the loop over epochs",)),
    ((("len(y))\n        test", "len(y))\n            break\n        test"),), ("after the first batch",)),
    (((STEP, STEP + "            return results\n"),),
     ("first training batch", "`return`")),
    ((("len(y))\n        test", "len(y))\n        return results\n        test"),),
     ("training batches of the first epoch",)),
    ((("test.add(d2l.accuracy(net(X), y), len(y))", "test.add(d2l.accuracy(net(X), y), len(y)); break"),),
     ("ends after the first test batch",)),
    ((("        with torch.no_grad():\n" + FOR_TEST + EVALUATE, ""),
      ("test[0] / test[1]", "0.5")), ("never go through", "evaluation")),
    ((("for X, y in train_iter", "for X, y in reversed(train_iter)"),), ("Check where each line is indented",)),
    ((("net(X)", "nn.Linear(4, 3)(X)"),), ("never calls the net",)),
    # wrong results
    ((("l.item() * len(y), d2l.accuracy(y_hat, y), len(y))", "l.item(), d2l.accuracy(y_hat, y), len(y))"),
      ("metric[0] / metric[2]", "metric[0] / len(train_iter)")), ("train loss", "mean of the batches' means")),
    ((("metric[0] / metric[2]", "metric[0]"),), ("train loss", "not divided")),
    ((("l.item() * len(y)", "l.item()"),), ("train loss", "Multiply each mean")),
    ((("metric[0] / metric[2]", "metric[0] / len(train_iter)"),), ("train loss", "divides by the number of batches")),
    ((("metric[0] / metric[2]", "l.item()"),), ("train loss", "last batch alone")),
    ((("        metric = d2l.Accumulator(3)\n", ""),
     ("    for epoch", "    metric = d2l.Accumulator(3)\n    for epoch")),
     ("train loss", "adds up over all epochs")),
    ((("metric[1] / metric[2]", "100 * metric[1] / metric[2]"),), ("train accuracy", "percent")),
    ((("metric[1] / metric[2]", "metric[1]"),), ("train accuracy", "not divided")),
    ((("metric[1] / metric[2]", "1 - metric[1] / metric[2]"),), ("train accuracy", "share of wrong")),
    ((("metric[1] / metric[2]", "test[0] / test[1]"),), ("in place of the train accuracy stands the test accuracy",)),
    ((("test[0] / test[1]", "100 * test[0] / test[1]"),), ("test accuracy", "percent")),
    ((("test[0] / test[1]", "metric[1] / metric[2]"),), ("in place of the test accuracy stands the train accuracy",)),
    ((("        test = d2l.Accumulator(2)\n", ""), ("    for epoch", "    test = d2l.Accumulator(2)\n    for epoch")),
     ("test accuracy", "adds up over all epochs")),
    ((("y), len(y))\n        results", "y) / len(y), 1)\n        results"),),
     ("test accuracy", "mean of the batches' means")),
    ((("test[0] / test[1]", "-0.5"),), ("test accuracy", "between 0 and 1")),
    ((("test[0] / test[1]", "'high'"),), ("must be a number",)),
    ((("metric[0] / metric[2], metric[1] / metric[2]", "metric[1] / metric[2], metric[0] / metric[2]"),),
     ("another order",)),
    ((("    return results", ""),), ("returns None",)),
    ((("    return results", "    return results[-1]"),), ("one epoch alone",)),
    ((("    return results", "    return dict(enumerate(results))"),), ("list with a tuple",)),
    ((("    return results", "    return results[:1]"),), ("1 entries after 2 epochs",)),
    ((("    return results", "    return [row[:2] for row in results]"),), ("must be a tuple",)),
    ((("results.append(", "yield ("),), ("generator",)),
    # it does not run
    ((("loss(y_hat, y)", "los(y_hat, y)"),), ("NameError",)),
    ((("num_epochs, lr)", "num_epochs)"), ("lr=lr", "lr=0.1")),
     ("arguments (net, train_iter, test_iter, num_epochs, lr)",)),
])
def test_loop_with_a_mistake_is_told_which(changes, parts):
    assert_wrong(training.mend_training_loop(define(MENDED, *changes)), *parts)


def test_training_in_the_background_is_not_taken_for_the_readers():
    other = nn.Linear(2, 1)
    optimizer = torch.optim.Adam(other.parameters())

    def train(net, *arguments):
        other(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        return define(MENDED)(net, *arguments)

    assert training.mend_training_loop(train).solved


def test_hooks_are_removed_again():
    from torch.optim import optimizer
    training.mend_training_loop(raises)
    training.evaluate_accuracy(raises)
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
ONE_LOOP = """
@torch.no_grad()
def my_accuracy(net, data_iter):
    net.eval()
    hits = torch.cat([net(X).softmax(1).max(1).indices == y for X, y in data_iter])
    return hits.float().mean()
"""


@pytest.mark.parametrize(("source", "changes"), [
    (ACCURACY, ()),
    (ONE_LOOP, ()),
    ("def my_accuracy(net, data_iter): return d2l.evaluate_accuracy(net, data_iter)", ()),
    (ACCURACY, (("torch.no_grad()", "torch.inference_mode()"),)),
    (ACCURACY, (("    return", "    net.train()\n    return"),)),  # as it came: no mistake
    (ACCURACY, ((".item()", ""),)),
    (ACCURACY, (("    net.eval()\n", ""), ("            predicted", "            net.eval()\n            predicted"))),
    (ACCURACY, (("predicted = net(X).argmax(dim=1)", "predicted = net(X.clone()).sort(dim=1).indices[:, -1]"),)),
])
def test_evaluation_is_accepted(source, changes):
    verdict = training.evaluate_accuracy(define(source, *changes))
    assert verdict.solved, verdict


@pytest.mark.parametrize(("changes", "parts"), [
    ((("    net.eval()\n", ""),), ("train mode", "net.eval()")),
    ((("    net.eval()\n", "    net.train()\n"),), ("train mode", "net.eval()")),
    ((("    net.eval()\n", ""), ("            total", "            net.eval()\n            total")),
     ("a part of the batches", "before the loop")),
    ((("torch.no_grad()", "torch.enable_grad()"),), ("no_grad",)),
    ((("            predicted", "            torch.set_grad_enabled(len(y) != 10)\n            predicted"),),
     ("no_grad",)),
    ((("    with torch.no_grad():\n", "    torch.set_grad_enabled(False)\n    if True:\n"),), ("stay switched off",)),
    ((("dim=1", "dim=0"),), ("differ in shape", "argmax(dim=1)")),
    (((".argmax(dim=1)", ""),), ("differ in shape", "argmax(dim=1)")),
    ((("dim=1", ""),), ("argmax without a dim",)),
    ((("dim=1", "dim=1, keepdim=True"),), ("keepdim",)),
    ((("argmax", "argmin"),), ("not its smallest",)),
    (((".argmax(dim=1)", ".max(dim=1).values"),), ("class numbers", "not max")),
    ((("correct / total", "correct // total"),), ("`//`",)),
    ((("correct / total", "100 * correct / total"),), ("percent",)),
    ((("correct / total", "1 - correct / total"),), ("share of wrong answers",)),
    ((("correct / total", "correct"),), ("not divided",)),
    ((("sum().item()", "float().mean().item()"), ("total += len(y)", "total += 1")), ("mean of the batches' means",)),
    ((("sum().item()", "float().mean().item()"),), ("Multiply each mean",)),
    ((("sum().item()", "float().mean().item()"), ("correct / total", "correct")), ("sum of the batches' means",)),
    ((("correct / total", "correct / len(data_iter)"),), ("divides by the number of batches",)),
    ((("total += len(y)", "total += 10"),), ("rightly",)),
    ((("            total += len(y)\n", "            total = total or len(data_iter) * len(y)\n"),),
     ("last batch as a full one",)),
    ((("correct +=", "correct ="),), ("last batch alone, but divides by all",)),
    ((("correct +=", "correct ="), ("total +=", "total =")), ("last batch alone: each batch overwrites",)),
    ((("total +=", "total ="),), ("size of the last batch alone",)),
    ((("    return", "            return"),), ("first batch alone", "`return`")),
    ((("correct / total", "round(correct / total, 2)"),), ("rounded",)),
    ((("correct / total", "correct / 1000"),), ("from elsewhere",)),
    ((("correct / total", "0.3"),), ("of the images are answered rightly",)),
    ((("    return correct / total", ""),), ("returns None",)),
    ((("correct / total", "(correct, total)"),), ("must be a number", "tuple")),
    ((("correct / total", "f'{correct / total:.1%}'"),), ("must be a number", "string")),
    ((("            total += len(y)\n", "            total += len(y)\n            yield correct / total\n"),),
     ("never calls the net",)),
    ((("net(X)", "nn.Linear(4, 10)(X)"),), ("never calls the net",)),
    ((("net(X)", "net(X * 2)"),), ("data_iter did not give",)),
    ((("    return", "    net.norm.reset_running_stats()\n    return"),), ("other weights or running averages",)),
    ((("    return", "    net.load_state_dict({k: 0 * v for k, v in net.state_dict().items()})\n    return"),),
     ("other weights",)),
    ((("torch.no_grad()", "torch.enable_grad()"), ("net(X)", "(lambda Y: (Y.sum().backward(), Y)[1])(net(X))")),
     ("only looks",)),
    ((("correct += ", "correct += undefined + "),), ("NameError",)),
    ((("(net, data_iter)", "(net)"),), ("arguments (net, data_iter)",)),
])
def test_evaluation_with_a_mistake_is_told_which(changes, parts):
    assert_wrong(training.evaluate_accuracy(define(ACCURACY, *changes)), *parts)


def test_result_in_place_of_function_is_named():
    assert_wrong(training.evaluate_accuracy(0.8), "without brackets")
    assert_wrong(training.mend_training_loop([(1.0, 0.5, 0.5)]), "without brackets")


# --- a quick run ---

QUICK = RECIPES["quick"]
RESNET18 = d2l.count_parameters(d2l.resnet18())
TEST_ACC = (0.3, 0.7, 0.8, 0.84, 0.87, 0.88)


def make_history(images=6000, batch_size=64, reports=5, test_acc=TEST_ACC, final_loss=0.2, train_acc=0.92, **config):
    """A history as `fit` leaves it after a quick run, or after one with other settings."""
    config = {"model": "Sequential", "parameters": RESNET18, "num_epochs": 6, "optimizer": "SGD",
              "lr": 0.05, "momentum": 0, "dampening": 0, "weight_decay": 0, "nesterov": False, "maximize": False,
              "scheduler": "LinearLR", "precision": "bfloat16", "seed": 0} | config
    history = d2l.History(config=config, completed=True)
    steps = math.ceil(images / batch_size)
    for epoch in range(config["num_epochs"]):
        for i in sorted(report_batches(range(steps), reports) | {steps}):
            at = epoch + i / steps
            loss = final_loss + (1.2 - final_loss) * max(0, 1 - (at - 1) / 5)
            acc = test_acc[min(epoch, 5)] if i == steps and test_acc else None
            history.add(epoch + 1 if i == steps else at, epoch * steps + i, loss, train_acc * at / 6, acc,
                        epoch * images + min(i * batch_size, images), 5.0 * at)
    last = history.records[-1]
    history.records[-1] = replace(last, train_acc=train_acc)
    return history


def stopped_early():
    history = make_history()
    history.completed, history.records = False, history.records[:12]
    return history


def with_config(settings):
    """A history as `PreparedRun.fit` and the training panel leave it."""
    history = make_history()
    history.config |= {**asdict(settings), "model": settings.model, "precision": "float32"}
    return history


@pytest.mark.parametrize("history", [
    make_history(), make_history(seed=7, precision="float32"), make_history(test_acc=(0.1, 0.2, 0.6, 0.7, 0.8, 0.81)),
    make_history(scheduler="LambdaLR"), with_config(QUICK), with_config(replace(QUICK, seed=3)),
], ids=str)
def test_quick_run_is_accepted(history):
    verdict = training.quick_run(history)
    assert verdict.solved, verdict
    assert f"{history.test_acc:.3f}" in verdict.message


def test_quick_run_is_accepted_after_saving_and_loading(tmp_path):
    make_history().save(tmp_path / "run.json")
    assert training.quick_run(d2l.History.load(tmp_path / "run.json")).solved


@pytest.mark.parametrize(("history", "parts"), [
    (stopped_early(), ("stopped after 2.4 of 6 epochs",)),
    (make_history(lr=0.5), ("learning rate began at 0.5", "0.05")),
    (make_history(lr=0.005), ("learning rate began at 0.005",)),
    (make_history(scheduler=None), ("no scheduler",)),
    (make_history(scheduler="OneCycleLR"), ("OneCycleLR", "straight line")),
    (make_history(optimizer="Adam", lr=0.001), ("Adam",)),
    (make_history(momentum=0.9), ("momentum=0.9",)),
    (make_history(weight_decay=5e-4), ("weight_decay=0.0005",)),
    (make_history(num_epochs=10), ("10 epochs", "6")),
    (make_history(num_epochs=3), ("3 epochs",)),
    (make_history(parameters=44_426), ("another network", "44,426")),
    (make_history(batch_size=256), ("24 steps", "256 images", "running averages lag")),
    (make_history(batch_size=32), ("188 steps", "32 images")),
    (make_history(images=60_000), ("60,000", "subset=True")),
    (make_history(images=60_000, batch_size=256), ("60,000", "subset=True")),
    (make_history(images=5952), ("5,952 images", "6,000")),
    (make_history(images=640), ("640 images",)),
    (make_history(test_acc=None), ("no test accuracy", "test_iter")),
    (make_history(reports=1), ("6 records", "reports_per_epoch")),
    (make_history(reports=10), ("60 records", "10 per epoch")),
    (make_history(test_acc=(0.1,) * 6), ("test accuracy is 0.100", "at least 0.80")),
    (make_history(test_acc=(*TEST_ACC[:5], 0.79)), ("test accuracy is 0.790",)),
    (make_history(test_acc=(*TEST_ACC[:5], 0.95)), ("above the train accuracy", "test_iter")),
    (make_history(final_loss=0.9), ("less than half", "total_iters", "564")),
    (make_history(final_loss=float("nan")), ("less than half",)),
    (with_config(replace(QUICK, data="full")), ("60,000", "subset=True")),
    (with_config(replace(QUICK, image_size=96)), ("image_size=96",)),
    (with_config(replace(QUICK, flip=True)), ("flip=True",)),
    (with_config(replace(QUICK, held_out=True)), ("held_out=True",)),
    (with_config(replace(QUICK, schedule="constant")), ("schedule='constant'",)),
    (d2l.History(), ("nothing is recorded", "for p in")),
    (d2l.History(records=make_history().records), ("settings", "history=my_history")),
    (make_history().records, ("records without the settings", "history=my_history")),
    (make_history().records[-1], ("records without the settings",)),
    ("run.json", ("must be a d2l.History",)),
    (make_history().config, ("must be a d2l.History",)),
    (d2l.fit(nn.Linear(2, 2), [(torch.ones(1, 2), torch.zeros(1).long())]), ("generator", "for p in")),
], ids=lambda value: value[0] if isinstance(value, tuple) else "")
def test_run_with_other_settings_is_told_which(history, parts):
    assert_wrong(training.quick_run(history), *parts)


def test_history_of_a_real_run_is_understood():
    """The notebook's code on one batch of 2 images: everything but their number is right."""
    X, y = torch.rand(2, 1, 28, 28), torch.tensor([0, 0])
    net = d2l.resnet18()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=6)
    history = d2l.History()
    for p in d2l.fit(net, [(X, y)], [(X, y)], 6, optimizer=optimizer, scheduler=scheduler, history=history):
        if p.epoch == 1:
            assert_wrong(training.quick_run(history), "stopped after 1 of 6 epochs")
    assert_wrong(training.quick_run(history), "2 images", "6,000")


def test_history_of_a_run_from_settings_is_understood(few_images):
    run, history = prepare_run(replace(QUICK, num_epochs=1), device="cpu"), d2l.History()
    for _ in run.fit(history=history, net=nn.Sequential(nn.Flatten(), nn.Linear(784, 10))):
        pass
    assert_wrong(training.quick_run(history), "another network", "7,850")


def test_history_of_a_run_without_scheduler_and_optimizer_is_understood(few_images):
    batches = prepare_run(QUICK, device="cpu").train_iter
    history = d2l.History()
    next(d2l.fit(d2l.resnet18(), batches, batches, 6, 0.05, history=history, precision="float32"))
    assert_wrong(training.quick_run(history), "no scheduler")


# --- a small net ---

class Small(nn.Module):
    def __init__(self, channels=4):
        super().__init__()
        self.conv = nn.Conv2d(1, channels, kernel_size=3, stride=4)
        self.norm = nn.BatchNorm2d(channels)
        self.head = nn.Linear(channels, 10)

    def forward(self, X):
        return self.head(F.relu(self.norm(self.conv(X))).mean(dim=(2, 3)))


def layers(*more, outputs=10):
    return nn.Sequential(nn.Conv2d(1, 4, 3, stride=4), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                         nn.Flatten(), nn.Linear(4, outputs), *more)


def with_forward(line):
    """A class of nets without layers of which `forward` has this line."""
    return define(f"class Net(nn.Module):\n    def forward(self, X):\n        {line}\n")


class HiddenLayers(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.parts = kind
        self.head = nn.Linear(784, 10)

    def forward(self, X):
        return self.head(X.flatten(1))


class Remembers(nn.Module):
    """Knows the labels of all images by heart."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(784, 10)
        data = d2l.load_fashion_mnist_subset()
        self.images, self.labels = data.train_images.flatten(1)[:70].float() / 255, data.train_labels[:70]

    def forward(self, X):
        nearest = torch.cdist(X.flatten(1), self.images).argmin(dim=1)
        return 20 * F.one_hot(self.labels[nearest], 10) - 10.0 + 0 * self.layer(X.flatten(1))


SHARED = layers()


@pytest.fixture
def tiny_data(monkeypatch):
    """Two steps an epoch on 70 images, tested on the same, and no accuracy too low."""
    data = d2l.load_fashion_mnist_subset()
    images, labels = data.train_images[:70], data.train_labels[:70]
    monkeypatch.setattr(training, "load_data_fashion_mnist", lambda batch_size, subset: (
        ImageBatches(images, labels, batch_size, True), ImageBatches(images, labels, batch_size)))
    monkeypatch.setattr(training, "GOAL", 0.0)


@pytest.mark.parametrize("make", [
    Small, layers, lambda: Small(8), lambda: nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(10)),
    lambda: layers(nn.LogSoftmax(dim=1)),  # the logarithm of a softmax is its own: no mistake in front of cross-entropy
    lambda: HiddenLayers(nn.ModuleList([nn.Linear(2, 2)])), lambda: HiddenLayers([1, 2, 3]),
])
def test_small_net_is_accepted(tiny_data, make):
    verdict = training.small_net(make)
    assert verdict.solved, verdict
    assert "parameters" in verdict.message and "ResNet-18" in verdict.message


def test_small_net_with_zeros_in_its_last_layer_is_accepted(tiny_data):
    def make():
        net = layers()
        nn.init.zeros_(net[-1].weight)
        nn.init.zeros_(net[-1].bias)
        return net
    assert training.small_net(make).solved


@pytest.mark.parametrize(("make", "parts"), [
    (Small(), ("not a net", "without brackets")),
    (d2l.resnet18, ("11,178,378 parameters", "300,000")),
    (lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 384), nn.ReLU(), nn.Linear(384, 10)),
     ("parameters", "1.weight", "(384, 784)")),
    (lambda: layers(nn.Softmax(dim=1)), ("probabilities", "softmax")),
    (lambda: layers(nn.Sigmoid()), ("sigmoid",)),
    (lambda: layers(nn.ReLU()), ("ReLU after the last layer",)),
    (lambda: layers(outputs=9), ("(64, 9)", "(64, 10)", "one output per class")),
    (lambda: nn.Sequential(nn.Conv2d(1, 10, 3)), ("(64, 10, 26, 26)", "AdaptiveAvgPool2d")),
    (lambda: nn.Sequential(nn.Linear(784, 10)),
     ("cannot take a batch of shape (64, 1, 28, 28)", "shape after each layer")),
    (lambda: nn.Sequential(nn.Conv2d(3, 10, 3)), ("cannot take a batch", "3 channels")),
    (lambda: nn.Sequential(nn.Unflatten(0, (64, 1)), nn.Flatten(), nn.Linear(784, 10)),
     ("cannot take a batch of shape (6, 1, 28, 28)",)),
    (d2l.Residual, ("without arguments", "input_channels")),
    (with_forward("X.sum()"), ("returns None", "`return`")),
    (with_forward("return X.flatten(1)[:, :10] - 0.5"), ("no parameters",)),
    (lambda: nn.Sequential(layers(), nn.Threshold(1e9, float("inf"))), ("infinite or not a number",)),
    (lambda: HiddenLayers([nn.Linear(2, 2)]), ("parts", "plain list", "nn.ModuleList")),
    (lambda: HiddenLayers({"a": nn.Linear(2, 2)}), ("parts", "plain dict")),
    (lambda: Small, ("class Small", "brackets behind its name")),
    (lambda: print(end=""), ("returns None",)),
    (lambda: 3, ("must be an nn.Module",)),
    (lambda channels: Small(channels), ("without arguments",)),
    (lambda: SHARED, ("same layers",)),
    (lambda: nn.Sequential(*layers()[:-1], SHARED[-1]), ("same layers",)),
    (Remembers, ("1.000", "trained before")),
    (raises, ("ZeroDivisionError",)),
    (lambda: layers(nn.Linear(10, 10), nn.Flatten()).requires_grad_(False), ("no parameters that can be trained",)),
])
def test_net_that_cannot_do_is_told_why(tiny_data, make, parts):
    assert_wrong(training.small_net(make), *parts)


def test_training_that_diverges_is_named(tiny_data):
    def make():
        net = nn.Sequential(nn.Flatten(), nn.Linear(784, 50), nn.Linear(50, 50), nn.Linear(50, 10))
        for p in net.parameters():
            p.data *= 30
        return net
    assert_wrong(training.small_net(make), "infinite or not a number", "Batch norm")


@pytest.mark.parametrize(("make", "train_acc", "parts"), [
    (layers, 0.7, ("0.150 short of 0.85", "only 0.700")),
    (layers, 0.97, ("0.150 short of 0.85", "0.970", "better than new ones")),
    (lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(2704, 10)), 0.7, ("short of", "no batch norm")),
    (lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), 0.7, ("short of", "no convolution")),
])
def test_too_low_an_accuracy_comes_with_advice(tiny_data, monkeypatch, make, train_acc, parts):
    def fit(net, train_iter, test_iter, num_epochs, history, **settings):
        history.completed = True
        yield history.add(num_epochs, 1, 0.5, train_acc, 0.7, 70, 1.0)

    monkeypatch.setattr(training, "GOAL", 0.85)
    monkeypatch.setattr(training, "fit", fit)
    assert_wrong(training.small_net(make), *parts)


@pytest.mark.parametrize(("seconds", "raised", "part"), [
    (0, False, "after 0 seconds it had come to epoch 1.5 of 6"), (0, True, "halve height and width"),
    (120, False, "interrupted after 1.5 of 6"), (120, True, "interrupted after 1.5 of 6"),
])
def test_training_that_is_cut_says_how_far_it_came(tiny_data, monkeypatch, seconds, raised, part):
    def fit(*arguments, history, **settings):
        yield history.add(1.5, 1, 0.5, 0.5, None, 70, 1.0)
        if raised:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "SECONDS", seconds)
    monkeypatch.setattr(training, "fit", fit)
    assert_wrong(training.small_net(layers), part)


def test_time_limit_ends_a_training_that_is_too_slow(tiny_data, monkeypatch):
    """Half a second: `fit` takes the interrupt of the limit for the stop button, and the check for what it is."""
    class Slow(Small):
        def forward(self, X):
            time.sleep(0.05)
            return super().forward(X)

    monkeypatch.setattr(training, "SECONDS", 0.5)
    monkeypatch.setitem(EXERCISES, "small_net", EXERCISES["small_net"])
    check = exercise(4, "a small net", seconds=0.5)(training.small_net.__wrapped__)
    assert_wrong(check(Slow), "after 0.5 seconds it had come to epoch", "halve height and width")


def test_training_is_that_of_the_quick_run(tiny_data, monkeypatch):
    seen = SimpleNamespace()

    def fit(net, train_iter, test_iter, num_epochs, *, optimizer, scheduler, precision, history):
        seen.settings = (train_iter.batch_size, num_epochs, type(optimizer), optimizer.defaults["lr"], precision)
        yield from d2l.fit(net, train_iter, test_iter, num_epochs, optimizer=optimizer, scheduler=scheduler,
                           history=history, precision=precision)
        seen.last_lr = optimizer.param_groups[0]["lr"]

    monkeypatch.setattr(training, "fit", fit)
    assert training.small_net(layers).solved
    assert seen.settings == (QUICK.batch_size, QUICK.num_epochs, torch.optim.SGD, QUICK.lr, "float32")
    assert seen.last_lr == pytest.approx(0, abs=1e-9)


def test_same_net_gets_the_same_verdict(tiny_data):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = training.small_net(layers)
    assert torch.equal(state, torch.get_rng_state())
    torch.rand(3)
    assert training.small_net(layers).message == first.message


def test_a_linear_net_is_really_trained_and_falls_short():
    """Six epochs on the 6,000 images, about a second. A linear classifier stays below 0.85 even on the full set."""
    verdict = training.small_net(lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10)))
    assert_wrong(verdict, "with 7,850 parameters", "short of 0.85", "no convolution")
    assert 0.7 < float(re.search(r"test accuracy (\d\.\d+)", verdict.message)[1]) < 0.85


# --- five questions ---

RIGHT = {question: letter for question, (letter, _) in training.QUESTIONS.items()}


@pytest.mark.parametrize("answers", [RIGHT, {q: f" {letter.upper()} " for q, letter in RIGHT.items()}])
def test_right_letters_are_accepted(answers):
    assert training.training_questions(answers).solved


@pytest.mark.parametrize(("question", "letter", "part"), [
    ("1", "a", "learnt images by heart"), ("1", "c", "same kind"),
    ("2", "a", "without any error"), ("2", "b", "does not overwrite"),
    ("3", "b", "noisy"), ("3", "c", "Eval mode"),
    ("4", "a", "no upper end"), ("4", "c", "does not count wrong answers"),
    ("5", "b", "do differ"), ("5", "c", "does not fit"),
    ("2", "d", "one of the letters"), ("4", 2, "one of the letters"), ("3", ..., "no answer yet"),
])
def test_wrong_letters_get_their_explanation(question, letter, part):
    assert_wrong(training.training_questions(RIGHT | {question: letter}), f"question {question}", part)


def test_every_option_has_an_explanation():
    for letter, why in training.QUESTIONS.values():
        assert list(why) == ["a", "b", "c"] and letter in why and all(len(text) > 30 for text in why.values())
