"""The checks of notebook 4: each right answer is accepted, and each plausible mistake is named.

A mistake is known by its code. A sentence is tested where its numbers come from the answer, or its words matter most.
"""

import functools
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
from resnet_helpers.check import notebook4 as training
from resnet_helpers.check.verdicts import EXERCISES, exercise
from resnet_helpers.data import ImageBatches
from resnet_helpers.runs.recipes import RECIPES, prepare_run
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


def assert_accepted(check, cases, *parts):
    """Each answer of the cases (name, answer) is right, and the parts are in what is said about it."""
    failures = []
    for name, answer in cases:
        print(name)  # seen if the check itself raises
        verdict = check(answer)
        if not verdict.solved or any(part not in verdict.message for part in parts):
            failures.append(f"{name}: expected {parts}, got {verdict.code}, {verdict}")
    assert not failures, "\n".join(failures)


def assert_refused(check, cases):
    """Each answer of the cases (name, answer, code, *parts) is wrong with this code, and the parts are in its message.

    The parts are what the code does not say: mostly numbers and names that come from the answer.
    """
    failures = []
    for name, answer, code, *parts in cases:
        print(name)  # seen if the check itself raises
        verdict = check(answer)
        lacking = [part for part in parts if part not in verdict.message]
        if verdict.state != "wrong" or verdict.code != code or lacking or len(verdict.message) <= 20:
            failures.append(f"{name}: expected {code} {parts}, got {verdict.code}, {verdict}")
    assert not failures, "\n".join(failures)


@pytest.fixture
def loaded_once(monkeypatch):
    """Data are read and ResNet-18 is counted once, not for each answer anew."""
    for name in ("load_fashion_mnist_subset", "load_data_fashion_mnist", "resnet18"):
        monkeypatch.setattr(training, name, functools.cache(getattr(training, name)))


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


JUNK = {"None": None, "string": "a string", "number": 3, "class": SomeClass, "object": SomeClass(), "empty list": [],
        "dict": {"accuracy": None}, "module": nn.Linear(2, 2), "raises": raises,
        "four arguments": lambda a, b, c, d: 1, "generator": (x for x in "abc"), "tensor": torch.zeros(3),
        "nan": float("nan"), "History": d2l.History, "Residual": d2l.Residual}
FUNCTIONS = {"raises": "raised", "four arguments": "wrong_arguments"}
JUNK_CODES = {  # check -> (what most of it is, what some of it is)
    "chance_level": ("no_dict", {"dict": "no_number"}),
    "mend_training_loop": ("no_function", FUNCTIONS),
    "evaluate_accuracy": ("no_function", FUNCTIONS),
    "quick_run": ("no_history", {"generator": "generator"}),
    "small_net": ("no_class_or_function", FUNCTIONS | {
        "class": "no_module", "module": "object_for_class", "History": "no_module", "Residual": "wrong_arguments"}),
    "training_questions": ("no_dict", {"dict": "no_answer"}),
}


def test_junk_is_wrong_without_raising(loaded_once):
    assert_refused(lambda pair: getattr(training, pair[0])(pair[1]), [
        (f"{junk} for {name}", (name, answer), JUNK_CODES[name][1].get(junk, JUNK_CODES[name][0]))
        for name in NAMES for junk, answer in JUNK.items()])


def test_what_the_notebook_comes_with_is_open():
    blank = {"chance_level": {"accuracy": ..., "loss": ..., "steps_64": ..., "steps_256": ..., "row_sum": ...},
             "mend_training_loop": define(BROKEN), "evaluate_accuracy": blank_function, "quick_run": ...,
             "small_net": blank_function, "training_questions": {str(i): ... for i in range(1, 6)}}
    states = {name: [getattr(training, name)(answer).state for answer in (blank[name], ...)] for name in NAMES}
    assert states == dict.fromkeys(NAMES, ["open", "open"])


def test_blank_class_is_open():
    assert training.small_net(Empty).state == "open"


def test_every_exercise_has_a_title_and_hints():
    exercises = [EXERCISES[name] for name in NAMES]
    lacking = [e.name for e in exercises if e.notebook != 4 or not e.title or not 2 <= len(e.hints) <= 3]
    assert lacking == []


# --- what guessing gives ---

NUMBERS = {"accuracy": 0.1, "loss": math.log(10), "steps_64": 94, "steps_256": 24, "row_sum": 100}


def test_chance_level_is_accepted(loaded_once):
    assert_accepted(training.chance_level, [(str(changes), NUMBERS | changes) for changes in (
        {}, {"loss": 2.303}, {"loss": 2.3}, {"loss": torch.tensor(10.0).log()}, {"loss": -math.log(0.1)},
        {"accuracy": 1 / 10}, {"steps_64": 94.0, "steps_256": torch.tensor(24)}, {"extra": "ignored"},
    )], "2.303")


WRONG_NUMBERS = {
    "accuracy": [(10, "in_percent"), (0.9, "error_rate"), (0.5, "two_outcomes"), (0, "never_right"),
                 (1, "always_right"), (0.01, "one_certain_class"), (0.2, "wrong_accuracy"), ("0.1", "no_number"),
                 (True, "no_number")],
    "loss": [(1.0, "base_10"), (3.322, "base_2"), (-2.303, "sign_missing"), (-1, "base_10_sign_missing"),
             (-3.32, "base_2_sign_missing"), (0.1, "no_logarithm"), (0.9, "error_rate"), (0.105, "log_of_error_rate"),
             (10, "number_of_classes"), (23.03, "sum_over_classes"), (0.2303, "weighted"), (0, "zero_loss"),
             (2.2, "wrong_loss"), (float("nan"), "wrong_loss")],
    "steps_64": [(93, "rounded_down"), (93.75, "part_of_step"), (24, "other_batch_size"), (938, "full_set"),
                 (937, "full_set_rounded_down"), (110, "test_images_too"), (16, "test_batches"), (564, "all_epochs"),
                 (64, "batch_size"), (6000, "step_per_image"), (1, "step_per_epoch"), (95, "wrong_steps_64")],
    "steps_256": [(23, "rounded_down"), (23.4375, "part_of_step"), (94, "other_batch_size"), (235, "full_set"),
                  (28, "test_images_too"), (25, "wrong_steps_256")],
    "row_sum": [(1000, "whole_matrix"), (600, "training_images"), (6000, "all_training_images"),
                (700, "training_and_test"), (10, "number_of_columns"), (1, "shares"), (99, "wrong_row_sum"),
                (..., "no_answer")],
}


def test_chance_level_names_the_mistake(loaded_once):
    assert_refused(training.chance_level, [
        (f"{key} {value}", NUMBERS | {key: value}, code, key)
        for key, mistakes in WRONG_NUMBERS.items() for value, code in mistakes])


def test_chance_level_names_a_missing_key():
    assert_refused(training.chance_level, [("accuracy alone", {"accuracy": 0.1}, "missing_key", "'loss' is missing")])


def test_chance_level_says_how_many_images_are_left_over():
    assert training.chance_level(NUMBERS | {"steps_64": 93}).message == (
        "steps_64: the 93 full batches leave 48 images over. They are a batch, too: round up, not down.")


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


RIGHT_LOOPS = [
    (MENDED,),
    (BY_HAND,),
    (WITH_FIT,),
    (MENDED, NO_ZERO, (STEP, STEP + "            optimizer.zero_grad()\n")),
    (MENDED, ("optimizer.zero_grad()", "net.zero_grad()")),
    (MENDED, ("optimizer.zero_grad()", "optimizer.zero_grad(set_to_none=False)")),
    (MENDED, NO_ZERO, ("y_hat = net(X)\n", "y_hat = net(X)\n            optimizer.zero_grad()\n")),
    (MENDED, ("torch.no_grad()", "torch.inference_mode()")),
    (MENDED, NO_EVAL, (FOR_TEST, "            net.eval()\n" + FOR_TEST)),
    (MENDED, ("        results.append", "        net.train()\n        results.append")),
    (MENDED, ("l.item() * len(y)", "l.detach() * y.numel()")),
    (MENDED, ("    optimizer = ", "    net.to('cpu')\n    optimizer = "), ("net(X)", "net(X.to('cpu'))")),
    (BROKEN, ("y_hat = net(X)", "net.train(); optimizer.zero_grad(); y_hat = net(X)"),
     ("for X, y in test_iter", "net.eval(); torch.set_grad_enabled(False)\n        for X, y in test_iter"),
     ("        results.append", "        torch.set_grad_enabled(True)\n        results.append")),
]


def test_mended_loop_is_accepted():
    assert_accepted(training.mend_training_loop, [(str(loop), define(*loop)) for loop in RIGHT_LOOPS])


def test_loop_with_all_three_bugs_is_open():
    loops = ((BROKEN,), (MENDED, NO_ZERO, NO_EVAL, WITH_GRADIENT))
    for loop in (*loops, *((*loop, ("SGD(net.parameters(), lr=lr)", "SGD(net.parameters(), lr)")) for loop in loops)):
        verdict = training.mend_training_loop(define(*loop))
        assert verdict.state == "open" and "all three" in verdict.message, loop


TEST_LOOP = "        with torch.no_grad():\n" + FOR_TEST + EVALUATE
TRAIN_PASS = "        [net(X) for X, _ in train_iter]\n"
WRONG_LOOPS = [  # code, what replaces what in MENDED, and what else the message says
    # one or two of the notebook's bugs left
    ("no_zero_grad", (NO_ZERO,), "2 of 3 mended"),
    ("eval_mode_missing", (NO_EVAL,), "2 of 3 mended"),
    ("no_grad_missing", (WITH_GRADIENT,), "2 of 3 mended"),
    ("no_zero_grad", (NO_ZERO, NO_EVAL), "1 of 3 mended"),
    ("no_zero_grad", (NO_ZERO, WITH_GRADIENT), "1 of 3 mended"),
    ("eval_mode_missing", (NO_EVAL, WITH_GRADIENT), "1 of 3 mended"),
    ("no_zero_grad", (NO_ZERO, *TRAIN_ONCE), "2 of 3 mended"),
    # half mended
    ("train_mode_not_restored", TRAIN_ONCE, "epoch 2"),
    ("train_mode_not_restored", (("        net.train()\n", ""),), "epoch 2"),
    ("train_mode_assumed", (("        net.train()\n", ""),
                            ("        results.append", "        net.train()\n        results.append"))),
    ("train_mode_missing",
     (NO_EVAL, ("    for epoch", "    net.eval()\n    for epoch"), ("        net.train()\n", ""))),
    ("train_mode_not_restored", (("        net.train()\n", ""),
                                 ("            metric.add", "            net.train()\n            metric.add")),
     "epoch 2"),
    ("train_mode_in_part", ((STEP, STEP + "            net.eval()\n"),), "training batch 2 of epoch 1"),
    ("eval_mode_in_part", (NO_EVAL, (EVALUATE, EVALUATE + "                net.eval()\n")), "test batch 1 of epoch 1"),
    ("eval_mode_in_part", (("        net.eval()\n", "        net.train(epoch > 0)\n"),), "test batch 1 of epoch 2"),
    ("no_grad_in_part", (WITH_GRADIENT, (FOR_TEST, FOR_TEST + "                torch.set_grad_enabled(len(y) == 7)\n")),
     "test batch 1 of epoch 1"),
    ("no_grad_while_training",
     (("        with torch.no_grad():\n", "        torch.set_grad_enabled(False)\n        if True:\n"),)),
    ("gradients_stay_off",
     (("        with torch.no_grad():\n", "        torch.set_grad_enabled(False)\n        if True:\n"),
      ("        net.train()\n", "        net.train(); torch.set_grad_enabled(True)\n"))),
    ("zero_grad_per_epoch", (("        for X, y in train_iter:\n            optimizer.zero_grad()\n",
                              "        optimizer.zero_grad()\n        for X, y in train_iter:\n"),)),
    # wrong steps
    ("zero_grad_before_step", (NO_ZERO, ("l.backward()", "l.backward(); optimizer.zero_grad()"))),
    ("zero_grad_before_step",
     (NO_ZERO, NO_EVAL, WITH_GRADIENT, ("l.backward()", "l.backward(); optimizer.zero_grad()"))),
    ("no_step", ((STEP, ""),)),
    ("no_backward", (("            l.backward()\n", ""),)),
    ("no_backward", (("            l.backward()\n", ""), (STEP, ""))),
    ("other_lr", (("lr=lr", "lr=0.01"),), "0.01 where lr=0.1"),
    ("weights_do_not_move", (("lr=lr", "lr=0.0"),)),
    ("other_optimizer", (("torch.optim.SGD", "torch.optim.Adam"),), "Adam"),
    ("optimizer_settings", (("lr=lr", "lr=lr, momentum=0.9"),)),
    ("optimizer_settings", (("lr=lr", "lr=lr, weight_decay=0.1"),)),
    ("wrong_number_of_steps", ((STEP, 2 * STEP),), "12 times for 6"),
    ("wrong_number_of_steps", ((STEP, ""), ("        test = ", STEP[4:] + "        test = ")), "2 times for 6"),
    ("wrong_number_of_backwards", (("l.backward()", "l.backward(retain_graph=True); l.backward()"),), "12 times for 6"),
    ("softmax_before_loss", (("loss(y_hat, y)", "loss(y_hat.softmax(1), y)"),)),
    ("loss_summed", (("nn.CrossEntropyLoss()", "nn.CrossEntropyLoss(reduction='sum')"),)),
    ("loss_divided_again", (("l = loss(y_hat, y)", "l = loss(y_hat, y) / len(y)"),)),
    ("other_weights", (("l = loss(y_hat, y)", "l = loss(y_hat, y) * 1.1"),)),
    ("weights_not_finite", (("l = loss(y_hat, y)", "l = loss(y_hat, y) * float('inf')"),)),
    ("changed_before_training", (("    optimizer = ", "    net.apply(d2l.init_weights)\n    optimizer = "),)),
    ("trains_in_evaluation",
     (WITH_GRADIENT, NO_EVAL, (EVALUATE, "                y_hat = net(X)\n                loss(y_hat, y).backward()\n"
                                         "                optimizer.step()\n" + EVALUATE.replace("net(X)", "y_hat")))),
    # wrong batches
    ("evaluation_on_train_iter", (("in test_iter", "in train_iter"),)),
    ("training_on_test_iter", (("in train_iter", "in test_iter"),)),
    ("no_training", (("for X, y in train_iter", "for X, y in []"),
                     ("metric[0] / metric[2], metric[1] / metric[2]", "0, 0"))),
    ("training_batch_twice", (("y_hat = net(X)", "y_hat = net(X); net(X)"),)),
    ("test_batch_twice",
     (("test.add(d2l.accuracy(net(X), y), len(y))", "test.add(d2l.accuracy(net(X), y), len(net(X)))"),)),
    ("training_pass_again", (("        test = ", TRAIN_PASS + "        test = "),)),
    ("training_pass_after_evaluation", (("        results.append", TRAIN_PASS + "        results.append"),)),
    ("foreign_batch", (("net(X)", "net(X / 255)"),)),
    ("one_epoch", (("range(num_epochs)", "range(1)"),), "num_epochs=2"),
    ("wrong_number_of_epochs", (("range(num_epochs)", "range(num_epochs + 1)"),), "3 epochs, with num_epochs=2"),
    ("one_epoch", (("range(num_epochs)", "range(1, num_epochs)"),), "num_epochs=2"),
    ("one_epoch", (("    return results", "        return results"),), "num_epochs=2"),
    ("training_ends_early", (("len(y))\n        test", "len(y))\n            break\n        test"),)),
    ("return_in_training", ((STEP, STEP + "            return results\n"),)),
    ("return_before_evaluation", (("len(y))\n        test", "len(y))\n        return results\n        test"),)),
    ("evaluation_ends_early",
     (("test.add(d2l.accuracy(net(X), y), len(y))", "test.add(d2l.accuracy(net(X), y), len(y)); break"),)),
    ("return_in_evaluation", ((EVALUATE, EVALUATE + "                return results\n"),)),
    ("no_evaluation", ((TEST_LOOP, ""), ("test[0] / test[1]", "0.5"))),
    ("evaluation_after_epochs", (("in test_iter", "in test_iter if epoch + 1 == num_epochs else []"),
                                 ("test[0] / test[1]", "0.5"))),
    ("evaluation_before_training", ((TEST_LOOP, ""), ("test[0] / test[1]", "0.5"),
                                    ("        net.train()\n", "        [net(X) for X, _ in test_iter]\n"))),
    ("evaluation_per_batch", ((TEST_LOOP, ""), ("test[0] / test[1]", "0.5"),
                              (STEP, STEP + "            [net(X) for X, _ in test_iter]\n"))),
    ("wrong_batch_order", (("for X, y in train_iter", "for X, y in reversed(train_iter)"),)),
    ("net_not_called", (("net(X)", "nn.Linear(4, 3)(X)"),)),
    # wrong results
    ("mean_of_means",
     (("l.item() * len(y), d2l.accuracy(y_hat, y), len(y))", "l.item(), d2l.accuracy(y_hat, y), len(y))"),
      ("metric[0] / metric[2]", "metric[0] / len(train_iter)")), "train loss"),
    ("not_divided", (("metric[0] / metric[2]", "metric[0]"),), "train loss"),
    ("means_by_examples", (("l.item() * len(y)", "l.item()"),), "train loss"),
    ("divided_by_batches", (("metric[0] / metric[2]", "metric[0] / len(train_iter)"),), "train loss"),
    ("last_batch_alone", (("metric[0] / metric[2]", "l.item()"),), "train loss"),
    ("sum_over_epochs", (("        metric = d2l.Accumulator(3)\n", ""),
                         ("    for epoch", "    metric = d2l.Accumulator(3)\n    for epoch")), "train loss"),
    ("other_numbers", (("metric[0] / metric[2]", "-1.5"),), "train loss", "[-1.5, -1.5]"),
    ("in_percent", (("metric[1] / metric[2]", "100 * metric[1] / metric[2]"),), "train accuracy"),
    ("not_divided", (("metric[1] / metric[2]", "metric[1]"),), "train accuracy"),
    ("error_rate", (("metric[1] / metric[2]", "1 - metric[1] / metric[2]"),), "train accuracy"),
    ("column_repeated", (("metric[1] / metric[2]", "test[0] / test[1]"),),
     "in place of the train accuracy stands the test accuracy"),
    ("in_percent", (("test[0] / test[1]", "100 * test[0] / test[1]"),), "test accuracy"),
    ("column_repeated", (("test[0] / test[1]", "metric[1] / metric[2]"),),
     "in place of the test accuracy stands the train accuracy"),
    ("sum_over_epochs", (("        test = d2l.Accumulator(2)\n", ""),
                         ("    for epoch", "    test = d2l.Accumulator(2)\n    for epoch")), "test accuracy"),
    ("mean_of_means", (("y), len(y))\n        results", "y) / len(y), 1)\n        results"),), "test accuracy"),
    ("outside_0_to_1", (("test[0] / test[1]", "-0.5"),), "test accuracy"),
    ("no_number", (("test[0] / test[1]", "'high'"),), "test accuracy"),
    ("columns_in_other_order",
     (("metric[0] / metric[2], metric[1] / metric[2]", "metric[1] / metric[2], metric[0] / metric[2]"),),
     "yours is (train accuracy, train loss, test accuracy)"),
    ("returns_none", (("    return results", ""),)),
    ("one_epoch_returned", (("    return results", "    return results[-1]"),)),
    ("no_list", (("    return results", "    return dict(enumerate(results))"),), "dict"),
    ("wrong_number_of_entries", (("    return results", "    return results[:1]"),), "1 entries after 2 epochs"),
    ("wrong_number_of_entries", (("    return results", "    return 2 * results"),), "4 entries", "not one per batch"),
    ("no_tuple", (("    return results", "    return [row[:2] for row in results]"),)),
    ("generator", (("results.append(", "yield ("),)),
    # it does not run
    ("raised", (("loss(y_hat, y)", "los(y_hat, y)"),), "NameError"),
    ("wrong_arguments", (("num_epochs, lr)", "num_epochs)"), ("lr=lr", "lr=0.1")),
     "(net, train_iter, test_iter, num_epochs, lr)"),
]


def test_loop_with_a_mistake_is_told_which():
    assert_refused(training.mend_training_loop, [
        (str(changes), define(MENDED, *changes), code, *parts) for code, changes, *parts in WRONG_LOOPS])


def test_loop_with_a_bug_left_is_told_how_many_are_mended():
    assert training.mend_training_loop(define(MENDED, NO_ZERO, NO_EVAL)).message == (
        "1 of 3 mended. optimizer.zero_grad() is still missing: backward adds to the gradients that are there, so each "
        "step goes along the sum of all gradients so far.")


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
RIGHT_EVALUATIONS = [
    (ACCURACY,),
    (ONE_LOOP,),
    ("def my_accuracy(net, data_iter): return d2l.evaluate_accuracy(net, data_iter)",),
    (ACCURACY, ("torch.no_grad()", "torch.inference_mode()")),
    (ACCURACY, ("    return", "    net.train()\n    return")),  # as it came: no mistake
    (ACCURACY, (".item()", "")),
    (ACCURACY, ("    net.eval()\n", ""), ("            predicted", "            net.eval()\n            predicted")),
    (ACCURACY, ("predicted = net(X).argmax(dim=1)", "predicted = net(X.clone()).sort(dim=1).indices[:, -1]")),
]


def test_evaluation_is_accepted():
    assert_accepted(training.evaluate_accuracy, [(str(source), define(*source)) for source in RIGHT_EVALUATIONS])


WRONG_EVALUATIONS = [  # code, what replaces what in ACCURACY, and what else the message says
    ("eval_mode_missing", (("    net.eval()\n", ""),)),
    ("eval_mode_missing", (("    net.eval()\n", "    net.train()\n"),)),
    ("eval_mode_in_part",
     (("    net.eval()\n", ""), ("            total", "            net.eval()\n            total"))),
    ("no_grad_missing", (("torch.no_grad()", "torch.enable_grad()"),)),
    ("no_grad_in_part",
     (("            predicted", "            torch.set_grad_enabled(len(y) != 10)\n            predicted"),)),
    ("gradients_stay_off", (("    with torch.no_grad():\n", "    torch.set_grad_enabled(False)\n    if True:\n"),)),
    ("shapes_differ", (("dim=1", "dim=0"),)),
    ("shapes_differ", ((".argmax(dim=1)", ""),)),
    ("none_right", (("dim=1", ""),)),
    ("keepdim", (("dim=1", "dim=1, keepdim=True"),)),
    ("argmin", (("argmax", "argmin"),)),
    ("none_right", ((".argmax(dim=1)", ".max(dim=1).values"),)),
    ("none_right", (("correct / total", "correct // total"),)),
    ("in_percent", (("correct / total", "100 * correct / total"),)),
    ("error_rate", (("correct / total", "1 - correct / total"),)),
    ("not_divided", (("correct / total", "correct"),)),
    ("mean_of_means", (("sum().item()", "float().mean().item()"), ("total += len(y)", "total += 1"))),
    ("means_by_examples", (("sum().item()", "float().mean().item()"),)),
    ("sum_of_means", (("sum().item()", "float().mean().item()"), ("correct / total", "correct"))),
    ("divided_by_batches", (("correct / total", "correct / len(data_iter)"),)),
    ("other_share", (("total += len(y)", "total += 10"),), "gives 0.4667 where 0.6087"),
    ("last_batch_as_full",
     (("            total += len(y)\n", "            total = total or len(data_iter) * len(y)\n"),)),
    ("last_by_all", (("correct +=", "correct ="),)),
    ("last_batch_alone", (("correct +=", "correct ="), ("total +=", "total ="))),
    ("all_by_last", (("total +=", "total ="),)),
    ("first_batch_alone", (("    return", "            return"),)),
    ("rounded", (("correct / total", "round(correct / total, 2)"),)),
    ("total_from_elsewhere", (("correct / total", "correct / 1000"),)),
    ("other_share", (("correct / total", "0.3"),), "gives 0.3 where"),
    ("returns_none", (("    return correct / total", ""),)),
    ("no_number", (("correct / total", "(correct, total)"),), "tuple"),
    ("no_number", (("correct / total", "f'{correct / total:.1%}'"),), "string"),
    ("net_not_called",
     (("            total += len(y)\n", "            total += len(y)\n            yield correct / total\n"),)),
    ("net_not_called", (("net(X)", "nn.Linear(4, 10)(X)"),)),
    ("foreign_batch", (("net(X)", "net(X * 2)"),)),
    ("changes_net", (("    return", "    net.norm.reset_running_stats()\n    return"),)),
    ("changes_net",
     (("    return", "    net.load_state_dict({k: 0 * v for k, v in net.state_dict().items()})\n    return"),)),
    ("trains_in_evaluation",
     (("torch.no_grad()", "torch.enable_grad()"), ("net(X)", "(lambda Y: (Y.sum().backward(), Y)[1])(net(X))"))),
    ("raised", (("correct += ", "correct += undefined + "),), "NameError"),
    ("wrong_arguments", (("(net, data_iter)", "(net)"),), "(net, data_iter)"),
]


def test_evaluation_with_a_mistake_is_told_which():
    assert_refused(training.evaluate_accuracy, [
        (str(changes), define(ACCURACY, *changes), code, *parts) for code, changes, *parts in WRONG_EVALUATIONS])


def test_result_in_place_of_function_is_named():
    assert_refused(training.evaluate_accuracy, [("a share", 0.8, "no_function")])
    assert_refused(training.mend_training_loop, [("a list", [(1.0, 0.5, 0.5)], "no_function")])


# --- a quick run ---

QUICK = RECIPES["quick"]
with torch.device("meta"):  # counts without making the weights
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


def test_quick_run_is_accepted(loaded_once):
    assert_accepted(training.quick_run, [
        ("as it should be", make_history()),
        ("other seed and precision", make_history(seed=7, precision="float32")),
        ("other scheduler that falls in a line", make_history(scheduler="LambdaLR")),
        ("from settings", with_config(QUICK)),
        ("from settings with another seed", with_config(replace(QUICK, seed=3))),
    ], "test accuracy 0.880")
    assert_accepted(training.quick_run, [
        ("barely good enough", make_history(test_acc=(0.1, 0.2, 0.6, 0.7, 0.8, 0.81)))], "test accuracy 0.810")


def test_quick_run_is_accepted_after_saving_and_loading(tmp_path):
    make_history().save(tmp_path / "run.json")
    assert training.quick_run(d2l.History.load(tmp_path / "run.json")).solved


WRONG_RUNS = [  # code, how the run differs, and what else the message says
    ("other_lr", {"lr": 0.5}, "0.5;", "0.05."),
    ("other_lr", {"lr": 0.005}, "0.005;"),
    ("no_scheduler", {"scheduler": None}),
    ("other_scheduler", {"scheduler": "OneCycleLR"}, "OneCycleLR"),
    ("other_optimizer", {"optimizer": "Adam", "lr": 0.001}, "Adam"),
    ("momentum", {"momentum": 0.9}, "momentum=0.9"),
    ("weight_decay", {"weight_decay": 5e-4}, "weight_decay=0.0005"),
    ("other_num_epochs", {"num_epochs": 10}, "10 epochs", "has 6"),
    ("other_num_epochs", {"num_epochs": 3}, "3 epochs"),
    ("other_net", {"parameters": 44_426}, "44,426"),
    ("other_batch_size", {"batch_size": 256}, "24 steps", "256 images", "running averages lag"),
    ("other_batch_size", {"batch_size": 32}, "188 steps", "32 images"),
    ("full_set", {"images": 60_000}),
    ("full_set", {"images": 60_000, "batch_size": 256}),
    ("other_num_images", {"images": 5952}, "5,952 images", "6,000"),
    ("other_num_images", {"images": 640}, "640 images"),
    ("no_test_accuracy", {"test_acc": None}),
    ("other_number_of_tests", {"test_acc": (None, *TEST_ACC[1:])}, "5 times in 6 epochs"),
    ("other_reports_per_epoch", {"reports": 1}, "6 records", "1 per epoch"),
    ("other_reports_per_epoch", {"reports": 10}, "60 records", "10 per epoch"),
    ("low_test_accuracy", {"test_acc": (0.1,) * 6}, "0.100", "at least 0.80"),
    ("low_test_accuracy", {"test_acc": (*TEST_ACC[:5], 0.79)}, "0.790"),
    ("tested_on_training_images", {"test_acc": (*TEST_ACC[:5], 0.95)}, "0.950", "0.920"),
    ("loss_does_not_fall", {"final_loss": 0.9}, "0.900", "564"),
    ("loss_does_not_fall", {"final_loss": float("nan")}),
]
WRONG_SETTINGS = [
    ("full_set", {"data": "full"}),
    ("other_image_size", {"image_size": 96}, "image_size=96"),
    ("other_flip", {"flip": True}, "flip=True"),
    ("other_held_out", {"held_out": True}, "held_out=True"),
    ("other_schedule", {"schedule": "constant"}, "schedule='constant'"),
]


def test_run_with_other_settings_is_told_which(loaded_once):
    assert_refused(training.quick_run, [
        *((str(changes), make_history(**changes), code, *parts) for code, changes, *parts in WRONG_RUNS),
        *((f"from settings, {changes}", with_config(replace(QUICK, **changes)), code, *parts)
          for code, changes, *parts in WRONG_SETTINGS),
    ])


def test_what_is_no_history_of_a_whole_run_is_named(loaded_once):
    whole, generator = make_history(), d2l.fit(nn.Linear(2, 2), [(torch.ones(1, 2), torch.zeros(1).long())])
    assert_refused(training.quick_run, [
        ("stopped", stopped_early(), "stopped_early", "2.4 of 6 epochs"),
        ("empty", d2l.History(), "nothing_recorded"),
        ("no settings", d2l.History(records=whole.records), "settings_missing"),
        ("list of records", whole.records, "records_alone"),
        ("one record", whole.records[-1], "records_alone"),
        ("name of a file", "run.json", "no_history", "run.json"),
        ("settings alone", whole.config, "no_history", "dict"),
        ("what fit returns", generator, "generator"),
    ])


def test_run_with_large_batches_is_told_how_large():
    assert training.quick_run(make_history(batch_size=256)).message == (
        "an epoch had 24 steps, with about 256 images each; the quick run has 94, with 64 each. With so few steps "
        "batch norm's running averages lag behind (section 4.4).")


def test_history_of_a_real_run_is_understood(monkeypatch):
    """The notebook's code with a small net, on one batch of 2 images: everything but their number is right."""
    monkeypatch.setattr(training, "resnet18", layers)
    X, y = torch.rand(2, 1, 28, 28), torch.tensor([0, 0])
    net = layers()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=6)
    history = d2l.History()
    for p in d2l.fit(net, [(X, y)], [(X, y)], 6, optimizer=optimizer, scheduler=scheduler, history=history):
        if p.epoch == 1:
            assert_refused(training.quick_run, [("epoch 1", history, "stopped_early", "after 1 of 6 epochs")])
    assert_refused(training.quick_run, [("epoch 6", history, "other_num_images", "2 images", "6,000")])


def test_history_of_a_run_from_settings_is_understood(few_images):
    run, history = prepare_run(replace(QUICK, num_epochs=1), device="cpu"), d2l.History()
    for _ in run.fit(history=history, net=nn.Sequential(nn.Flatten(), nn.Linear(784, 10))):
        pass
    assert_refused(training.quick_run, [("linear net", history, "other_net", "7,850")])


def test_history_of_a_run_without_scheduler_and_optimizer_is_understood():
    """With the real ResNet-18, of which `fit` notes the parameters."""
    batches, history = [(torch.rand(2, 1, 28, 28), torch.tensor([0, 0]))], d2l.History()
    next(d2l.fit(d2l.resnet18(), batches, batches, 6, 0.05, history=history, precision="float32"))
    assert_refused(training.quick_run, [("a step", history, "no_scheduler")])


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


def test_small_net_is_accepted(tiny_data):
    def with_zeros():
        net = layers()
        nn.init.zeros_(net[-1].weight)
        nn.init.zeros_(net[-1].bias)
        return net

    assert_accepted(training.small_net, [
        ("class", Small), ("function", layers), ("lambda", lambda: Small(8)),
        ("lazy layers", lambda: nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(10))),
        # the logarithm of a softmax is its own: no mistake in front of cross-entropy
        ("log-softmax", lambda: layers(nn.LogSoftmax(dim=1))),
        ("ModuleList", lambda: HiddenLayers(nn.ModuleList([nn.Linear(2, 2)]))),
        ("list of numbers", lambda: HiddenLayers([1, 2, 3])),
        ("zeros in its last layer", with_zeros),
    ], "parameters", "ResNet-18")


WRONG_NETS = [
    ("net itself", Small(), "object_for_class"),
    ("ResNet-18", d2l.resnet18, "too_many_parameters", "11,178,378 parameters", "300,000"),
    ("wide layer", lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 384), nn.ReLU(), nn.Linear(384, 10)),
     "too_many_parameters", "1.weight", "(384, 784)"),
    ("softmax", lambda: layers(nn.Softmax(dim=1)), "softmax_at_end"),
    ("sigmoid", lambda: layers(nn.Sigmoid()), "sigmoid_at_end"),
    ("ReLU", lambda: layers(nn.ReLU()), "relu_at_end"),
    ("9 outputs", lambda: layers(outputs=9), "wrong_number_of_outputs", "(64, 9)", "(64, 10)"),
    ("no pooling", lambda: nn.Sequential(nn.Conv2d(1, 10, 3)), "feature_maps", "(64, 10, 26, 26)"),
    ("no flatten", lambda: nn.Sequential(nn.Linear(784, 10)), "does_not_run", "batch of shape (64, 1, 28, 28)"),
    ("colours", lambda: nn.Sequential(nn.Conv2d(3, 10, 3)), "does_not_run", "3 channels"),
    ("64 images only", lambda: nn.Sequential(nn.Unflatten(0, (64, 1)), nn.Flatten(), nn.Linear(784, 10)),
     "does_not_run", "batch of shape (6, 1, 28, 28)"),
    ("64 answers always", with_forward("return X.flatten()[:640].reshape(64, 10)"), "fixed_batch_size", "(6, 10)"),
    ("one answer in all", with_forward("return X.mean()"), "wrong_shape", "gives ()"),
    ("one answer per image", with_forward("return X.flatten(1).mean(1)"), "wrong_shape", "gives (64,)"),
    ("list of logits", with_forward("return [X]"), "returns_no_tensor", "list"),
    ("needs arguments", d2l.Residual, "wrong_arguments", "input_channels"),
    ("forward without return", with_forward("X.sum()"), "forward_returns_none", "(64, 10)"),
    ("nothing to train", with_forward("return X.flatten(1)[:, :10] - 0.5"), "no_parameters"),
    ("infinite", lambda: nn.Sequential(layers(), nn.Threshold(1e9, float("inf"))), "not_finite"),
    ("list of layers", lambda: HiddenLayers([nn.Linear(2, 2)]), "plain_container", "parts", "list"),
    ("dict of layers", lambda: HiddenLayers({"a": nn.Linear(2, 2)}), "plain_container", "parts", "dict"),
    ("class from a function", lambda: Small, "class_for_object", "class Small"),
    ("function without return", lambda: print(end=""), "returns_none"),
    ("number", lambda: 3, "no_module", "got 3"),
    ("function of an argument", lambda channels: Small(channels), "wrong_arguments", "channels"),
    ("same net", lambda: SHARED, "shared_layers"),
    ("same last layer", lambda: nn.Sequential(*layers()[:-1], SHARED[-1]), "shared_layers"),
    ("knows the labels", Remembers, "trained_before", "1.000"),
    ("error", raises, "raised", "ZeroDivisionError"),
    ("frozen", lambda: layers(nn.Linear(10, 10), nn.Flatten()).requires_grad_(False), "no_parameters"),
]


def test_net_that_cannot_do_is_told_why(tiny_data):
    assert_refused(training.small_net, WRONG_NETS)


def test_training_that_diverges_is_named(tiny_data):
    def make():
        net = nn.Sequential(nn.Flatten(), nn.Linear(784, 50), nn.Linear(50, 50), nn.Linear(50, 10))
        for p in net.parameters():
            p.data *= 30
        return net
    assert_refused(training.small_net, [("large weights", make, "loss_not_finite")])


@pytest.fixture
def trained_to(monkeypatch):
    """A function that sets the train accuracy with which a training ends at once; its test accuracy is 0.7."""
    def set_to(train_acc):
        def fit(net, train_iter, test_iter, num_epochs, history, **settings):
            history.completed = True
            yield history.add(num_epochs, 1, 0.5, train_acc, 0.7, 70, 1.0)

        monkeypatch.setattr(training, "GOAL", 0.85)
        monkeypatch.setattr(training, "fit", fit)

    return set_to


def test_too_low_an_accuracy_comes_with_advice(tiny_data, trained_to):
    trained_to(0.7)
    assert_refused(training.small_net, [
        ("all layers", layers, "underfits", "0.150 short of 0.85", "only 0.700"),
        ("no batch norm", lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(2704, 10)),
         "no_batch_norm", "0.150 short of 0.85"),
        ("linear", lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), "no_convolution", "0.150 short of 0.85"),
    ])
    trained_to(0.97)
    assert_refused(training.small_net, [("all layers", layers, "overfits", "0.150 short of 0.85", "0.970")])


def test_too_low_an_accuracy_is_told_in_a_sentence(tiny_data, trained_to):
    trained_to(0.7)
    assert training.small_net(layers).message == (
        "test accuracy 0.700 with 98 parameters: 0.150 short of 0.85. On the training images it reaches only 0.700: it "
        "can do too little, or learns too slowly. More channels, or less shrinking at the start?")


@pytest.mark.parametrize("raised", [False, True])
def test_training_that_is_cut_says_how_far_it_came(tiny_data, monkeypatch, raised):
    def fit(*arguments, history, **settings):
        yield history.add(1.5, 1, 0.5, 0.5, None, 70, 1.0)
        if raised:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "fit", fit)
    for seconds, code, part in ((0, "too_slow", "after 0 seconds it had come to epoch 1.5 of 6"),
                                (120, "interrupted", "after 1.5 of 6")):
        monkeypatch.setattr(training, "SECONDS", seconds)
        assert_refused(training.small_net, [(f"{seconds} s", layers, code, part)])


def test_time_limit_ends_a_training_that_is_too_slow(tiny_data, monkeypatch):
    """Half a second: `fit` takes the interrupt of the limit for the stop button, and the check for what it is."""
    class Slow(Small):
        def forward(self, X):
            time.sleep(0.1 if self.training else 0)  # the limit falls into the training
            return super().forward(X)

    monkeypatch.setattr(training, "SECONDS", 0.5)
    monkeypatch.setitem(EXERCISES, "small_net", EXERCISES["small_net"])
    check = exercise(4, "a small net", seconds=0.5)(training.small_net.__wrapped__)
    assert_refused(check, [("slow", Slow, "too_slow", "after 0.5 seconds it had come to epoch")])


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
    assert verdict.code == "no_convolution" and "with 7,850 parameters" in verdict.message, verdict
    assert 0.7 < float(re.search(r"test accuracy (\d\.\d+)", verdict.message)[1]) < 0.85


# --- five questions ---

RIGHT = {"1": "b", "2": "c", "3": "a", "4": "b", "5": "a"}


def test_right_letters_are_accepted():
    assert_accepted(training.training_questions, [
        ("letters", RIGHT), ("with spaces and in capitals", {q: f" {letter.upper()} " for q, letter in RIGHT.items()})])


def test_wrong_letters_get_their_explanation():
    assert_refused(training.training_questions, [
        *((f"{question} {letter}", RIGHT | {question: letter}, f"question_{question}_{letter}",
           training.QUESTIONS[question][1][letter])
          for question, right in RIGHT.items() for letter in "abc" if letter != right),
        ("no such letter", RIGHT | {"2": "d"}, "no_letter", "question 2", "'d'"),
        ("number", RIGHT | {"4": 2}, "no_letter", "question 4"),
        ("blank", RIGHT | {"3": ...}, "no_answer", "question 3"),
    ])


def test_every_option_has_an_explanation():
    for letter, why in training.QUESTIONS.values():
        assert list(why) == ["a", "b", "c"] and letter in why and all(len(text) > 30 for text in why.values())
