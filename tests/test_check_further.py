"""The exercises of notebooks/further: right answers in several forms, each mistake by its name."""

import copy
import math

import numpy as np
import pytest
import torch
from answers import expect, outcome, raises
from torch import nn
from torch.nn import functional as F

from resnet_helpers.check.attempts import FURTHER
from resnet_helpers.check.inside_exercises import fold_forward
from resnet_helpers.check.machine_exercises import accumulated_step, combine_gradients
from resnet_helpers.check.recipe_exercises import (
    NUMBERS,
    mirror_images,
    recipe_numbers,
    warm_up_rate,
)
from resnet_helpers.check.verdicts import EXERCISES
from resnet_helpers.data import ImageBatches
from resnet_helpers.publish import NOTEBOOKS

FUNCTIONS = (mirror_images, warm_up_rate, fold_forward, combine_gradients, accumulated_step)


@pytest.mark.parametrize("check, code", [
    (recipe_numbers, "no_dict"), *((check, "no_function") for check in FUNCTIONS)])
def test_junk_is_wrong(check, code):
    for junk in (None, "all of them", 7, nn.Linear, nn.Linear(64, 64), [None], object()):
        assert outcome(check(junk)) == code, junk


def test_functions_that_fail_are_wrong():
    for check in FUNCTIONS:
        expect(check, {"raises": (raises, "raised"),
                       "no arguments": (lambda: 0, "wrong_arguments")})


def test_the_exercises_belong_to_notebooks_that_are_there():
    numbers = {exercise.notebook for exercise in EXERCISES.values()}
    assert numbers <= {1, 2, 3, 4, *FURTHER}
    for number in numbers & set(FURTHER):
        assert (NOTEBOOKS / "further" / f"{FURTHER[number]}.ipynb").is_file()


# --- recipe_numbers ---

RIGHT = {"versions": 50, "right_class": 0.82, "other_class": 0.02, "steps": 4690,
         "longer_steps": 20}


def test_recipe_numbers():
    expect(recipe_numbers, {
        "right": (RIGHT, "solved"),
        "computed": (RIGHT | {"right_class": 1 - 0.2 + 0.2 / 10, "longer_steps": 1 / (1 - 0.95)},
                     "solved"),
        "tensors": ({name: torch.tensor(value) for name, value in RIGHT.items()}, "solved"),
        "numpy": ({name: np.float64(value) for name, value in RIGHT.items()}, "solved"),
        "one missing": (RIGHT | {"steps": ...}, "no_answer"),
        "text": (RIGHT | {"steps": "4690"}, "no_number"),
        "another number": (RIGHT | {"versions": 51}, "wrong_versions"),
        "blank": (dict.fromkeys(RIGHT, ...), "open"),
    })
    expect(recipe_numbers, {
        (name, value): (RIGHT | {name: value}, code)
        for name, (_, _, mistakes) in NUMBERS.items() for value, (code, _) in mistakes.items()})


def test_the_numbers_are_those_of_the_package():
    """Counted on images, on PyTorch's own loss and on its own momentum."""
    torch.manual_seed(0)
    images = torch.arange(81, dtype=torch.uint8).view(1, 9, 9).expand(3000, 9, 9)
    batches = ImageBatches(images, torch.zeros(3000).long(), 3000, flip=True, shift=2)
    assert len(next(iter(batches))[0].unique(dim=0)) == RIGHT["versions"]

    logits = torch.randn(1, 10, requires_grad=True)
    nn.CrossEntropyLoss(label_smoothing=0.2)(logits, torch.tensor([3])).backward()
    target = (logits.softmax(1) - logits.grad)[0]  # the gradient is softmax - target
    assert math.isclose(target[3].item(), RIGHT["right_class"], rel_tol=1e-4)
    assert math.isclose(target[0].item(), RIGHT["other_class"], rel_tol=1e-4)

    many = ImageBatches(torch.zeros(60_000, 1, 1, dtype=torch.uint8),
                        torch.zeros(60_000).long(), 128)
    assert 10 * len(many) == RIGHT["steps"]

    weight = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=1.0, momentum=0.95)
    for _ in range(400):
        before = weight.item()
        weight.grad = torch.ones_like(weight)
        optimizer.step()
    assert math.isclose(before - weight.item(), RIGHT["longer_steps"], rel_tol=1e-6)


# --- mirror_images ---

def with_where(X, flips):
    return torch.where(flips[:, None, None, None], X.flip(-1), X)


def with_mask(X, flips):
    Y = X.clone()
    Y[flips] = X[flips].flip(3)
    return Y


def with_loop(X, flips):
    return torch.stack([image.flip(-1) if flip else image
                        for image, flip in zip(X, flips, strict=True)])


def with_indices(X, flips):
    columns = torch.arange(X.shape[-1])
    return torch.stack([image[:, :, columns.flip(0)] if flip else image
                        for image, flip in zip(X, flips.tolist(), strict=True)])


def in_place(X, flips):
    X[flips] = X[flips].flip(-1)
    return X


def forgets_the_result(X, flips):
    X[flips].flip(-1)
    return X


def turns_by_a_quarter(X, flips):
    return torch.where(flips[:, None, None, None], X.transpose(2, 3), X)


def test_mirror_images():
    right = (with_where, with_mask, with_loop, with_indices)
    expect(mirror_images, {function.__name__: (function, "solved") for function in right})
    expect(mirror_images, {
        "in place": (in_place, "changes_input"),
        "nothing": (lambda X, flips: X, "not_mirrored"),
        "result dropped": (forgets_the_result, "not_mirrored"),
        "all": (lambda X, flips: X.flip(-1), "all_mirrored"),
        "the others": (lambda X, flips: with_where(X, ~flips), "others_mirrored"),
        "upside down": (lambda X, flips: torch.where(flips[:, None, None, None], X.flip(-2), X),
                        "upside_down"),
        "half a turn": (lambda X, flips: torch.where(flips[:, None, None, None], X.flip(2, 3), X),
                        "turned"),
        "the batch": (lambda X, flips: X.flip(0), "order_changed"),
        "transposed": (turns_by_a_quarter, "not_right"),
        "None": (lambda X, flips: print(end=""), "returns_none"),
        "one image": (lambda X, flips: X[0], "wrong_shape"),
        "shapes do not fit": (lambda X, flips: torch.where(flips, X.flip(-1), X), "raised"),
    })


# --- warm_up_rate ---

def with_if(step, steps, highest):
    if step < steps / 4:
        return highest * step / (steps / 4)
    return highest * (steps - step) / (steps - steps / 4)


def with_min(step, steps, highest):
    return highest * min(4 * step / steps, 4 / 3 * (1 - step / steps))


def with_numpy(step, steps, highest):
    return np.interp(step, [0, steps / 4, steps], [0, highest, 0])


def with_tensor(step, steps, highest):
    return torch.tensor(with_if(step, steps, highest))


def falls_at_the_same_pace(step, steps, highest):
    top = steps / 4
    return highest * step / top if step < top else highest * (2 - step / top)


def along_a_cosine(step, steps, highest):
    top = steps / 4
    if step < top:
        return highest * (1 - math.cos(math.pi * step / top)) / 2
    return highest * (1 + math.cos(math.pi * (step - top) / (steps - top))) / 2


def only_rises(step, steps, highest):
    return highest * min(1, 4 * step / steps)


def rises_for_half(step, steps, highest):
    return highest * (1 - abs(1 - 2 * step / steps))


def forgets_to_fall(step, steps, highest):
    if step < steps / 4:
        return highest * step / (steps / 4)


def test_warm_up_rate():
    right = (with_if, with_min, with_numpy, with_tensor)
    expect(warm_up_rate, {function.__name__: (function, "solved") for function in right})
    expect(warm_up_rate, {
        "constant": (lambda step, steps, highest: highest, "constant"),
        "a share": (lambda step, steps, highest: with_if(step, steps, 1.0), "a_share"),
        "falls only": (lambda step, steps, highest: highest * (1 - step / steps), "no_rise"),
        "rises only": (only_rises, "no_fall"),
        "for half": (rises_for_half, "other_top"),
        "too fast": (falls_at_the_same_pace, "below_zero"),
        "cosine": (along_a_cosine, "not_straight"),
        "no second case": (forgets_to_fall, "returns_none"),
        "text": (lambda step, steps, highest: "0.05", "no_number"),
        "a number": (0.05, "no_function"),
    })


# --- fold_forward ---

def factor_of(bn):
    return bn.weight / (bn.running_var + bn.eps).sqrt()


def folded(linear, weight, bias):
    """A copy of a linear layer with other numbers."""
    copied = copy.deepcopy(linear)
    copied.weight.data, copied.bias.data = weight, bias
    return copied


def with_copy(bn, linear):
    a = factor_of(bn)
    b = bn.bias - a * bn.running_mean
    return folded(linear, linear.weight * a, linear.weight @ b + linear.bias)


def with_new_layer(bn, linear):
    a = factor_of(bn)
    new = nn.Linear(linear.in_features, linear.out_features)
    with torch.no_grad():
        new.weight.copy_(linear.weight @ torch.diag(a))
        new.bias.copy_(linear(bn.bias - a * bn.running_mean))
    return new


def with_images(bn, linear):
    """Without any formula: what both make of zeros, and of each single feature."""
    size = linear.in_features
    with torch.no_grad():
        bias = linear(bn(torch.zeros(1, size)))[0]
        columns = linear(bn(torch.eye(size))) - bias
    return folded(linear, columns.T, bias)


def with_factor(factor):
    """A function that folds with the factors that this one takes from the batch norm."""
    def fold(bn, linear):
        a = factor(bn)
        b = bn.bias - a * bn.running_mean
        return folded(linear, linear.weight * a, linear.weight @ b + linear.bias)
    return fold


def with_bias(bias):
    """A function that folds with this bias, made of the batch norm, the layer, and a."""
    def fold(bn, linear):
        a = factor_of(bn)
        return folded(linear, linear.weight * a, bias(bn, linear, a))
    return fold


def with_rows(bn, linear):
    """As if the batch norm came behind the layer."""
    a = factor_of(bn)
    return folded(linear, linear.weight * a[:, None],
                  linear.bias * a + bn.bias - a * bn.running_mean)


def without_bias(bn, linear):
    new = nn.Linear(linear.in_features, linear.out_features, bias=False)
    new.weight.data = linear.weight * factor_of(bn)
    return new


def fold_in_place(bn, linear):
    linear.load_state_dict(with_copy(bn, linear).state_dict())
    return copy.deepcopy(linear)


def with_the_batchs_own(bn, linear):
    bn.train()(torch.rand(8, linear.in_features))
    return with_copy(bn, linear)


def test_fold_forward():
    right = (with_copy, with_new_layer, with_images, with_factor(factor_of))
    expect(fold_forward, {function: (function, "solved") for function in right})
    expect(fold_forward, {
        "rows": (with_rows, "rows_scaled"),
        "in place": (fold_in_place, "changes_input"),
        "the same layer": (lambda bn, linear: linear, "changes_input"),
        "running averages moved": (with_the_batchs_own, "changes_input"),
        "nothing": (lambda bn, linear: copy.deepcopy(linear), "weight_unchanged"),
        "usual eps": (with_factor(lambda bn: bn.weight / (bn.running_var + 1e-5).sqrt()),
                      "eps_left_out"),
        "a class": (nn.Sequential, "no_function"),
        "both": (lambda bn, linear: nn.Sequential(bn, linear), "no_linear"),
        "None": (lambda bn, linear: print(end=""), "returns_none"),
        "no bias": (without_bias, "bias_forgotten"),
        "other weight": (with_factor(lambda bn: factor_of(bn) + 1), "wrong_weight"),
        "other shape": (lambda bn, linear: nn.Linear(2, 2), "wrong_shape"),
        "other bias": (with_bias(lambda bn, linear, a: linear.bias[:2]), "wrong_shape"),
        "infinite": (with_factor(lambda bn: bn.weight / 0), "not_finite"),
    })


def test_fold_forward_knows_other_factors():
    factors = {
        "eps_left_out": lambda bn: bn.weight / bn.running_var.sqrt(),
        "eps_outside": lambda bn: bn.weight / (bn.running_var.sqrt() + bn.eps),
        "root_left_out": lambda bn: bn.weight / (bn.running_var + bn.eps),
        "multiplied": lambda bn: bn.weight * (bn.running_var + bn.eps).sqrt(),
        "scale_left_out": lambda bn: 1 / (bn.running_var + bn.eps).sqrt(),
        "only_scale": lambda bn: bn.weight,
    }
    expect(fold_forward, {code: (with_factor(factor), code) for code, factor in factors.items()})


def test_fold_forward_knows_other_biases():
    biases = {
        "bias_forgotten": lambda bn, linear, a: linear.bias,
        "old_bias_lost": lambda bn, linear, a: linear.weight @ (bn.bias - a * bn.running_mean),
        "sign_of_mean": lambda bn, linear, a: linear(bn.bias + a * bn.running_mean),
        "mean_not_scaled": lambda bn, linear, a: linear(bn.bias - bn.running_mean),
        "mean_left_out": lambda bn, linear, a: linear(bn.bias),
        "shift_left_out": lambda bn, linear, a: linear(-a * bn.running_mean),
        "scaled_twice": lambda bn, linear, a: linear(a * (bn.bias - a * bn.running_mean)),
        "not_through_weight": lambda bn, linear, a: (
            linear.bias + bn.bias - a * bn.running_mean),
        "wrong_bias": lambda bn, linear, a: linear.bias + 7,
    }
    expect(fold_forward, {code: (with_bias(bias), code) for code, bias in biases.items()})


def test_what_fold_forward_calls_right_is_the_function_of_both():
    torch.manual_seed(0)
    bn, linear, X = nn.BatchNorm1d(6), nn.Linear(6, 4), 3 * torch.rand(50, 6)
    bn(X)
    nn.init.normal_(bn.weight)
    torch.testing.assert_close(with_copy(bn.eval(), linear)(X), linear(bn(X)))


# --- combine_gradients ---

def with_sum(gradients, sizes):
    return sum(size * g for size, g in zip(sizes, gradients, strict=True)) / sum(sizes)


def with_matrix(gradients, sizes):
    sizes = torch.tensor(sizes).float()
    return sizes / sizes.sum() @ torch.stack(gradients)


def with_running_sum(gradients, sizes):
    total = torch.zeros_like(gradients[0])
    for g, size in zip(gradients, sizes, strict=True):
        total += size / sum(sizes) * g
    return total


def in_double(gradients, sizes):
    return with_sum([g.double() for g in gradients], sizes)


def into_the_first(gradients, sizes):
    total = gradients[0]
    total *= sizes[0]
    for g, size in zip(gradients[1:], sizes[1:], strict=True):
        total += size * g
    return total / sum(sizes)


def empties_the_lists(gradients, sizes):
    total, count = 0, sum(sizes)
    while sizes:
        total = total + sizes.pop() * gradients.pop()
    return total / count


def weighted(weigh):
    """A function that combines by weights which this one makes of the sizes."""
    def combine(gradients, sizes):
        return weigh(torch.tensor(sizes).float()) @ torch.stack(gradients)
    return combine


def test_combine_gradients():
    right = (with_sum, with_matrix, with_running_sum, in_double)
    expect(combine_gradients, {function.__name__: (function, "solved") for function in right})
    expect(combine_gradients, {
        "mean": (lambda gradients, sizes: sum(gradients) / len(gradients), "plain_mean"),
        "sum": (lambda gradients, sizes: sum(gradients), "sum_of_all"),
        "not divided": (weighted(lambda n: n), "weights_do_not_sum_to_1"),
        "by the number of parts": (weighted(lambda n: n / len(n)), "weights_do_not_sum_to_1"),
        "divided twice": (weighted(lambda n: n / n.sum() / len(n)), "weights_do_not_sum_to_1"),
        "always 256": (weighted(lambda n: n / 256), "weights_do_not_sum_to_1"),
        "squares": (weighted(lambda n: n**2 / (n**2).sum()), "squared"),
        "squares, by all": (weighted(lambda n: (n / n.sum()) ** 2), "squared"),
        "inverse": (weighted(lambda n: 1 / n / (1 / n).sum()), "inverse"),
        "divided by sizes": (weighted(lambda n: 1 / n), "inverse"),
        "turned round": (weighted(lambda n: n.flip(0) / n.sum()), "other_order"),
        "roots": (weighted(lambda n: n.sqrt() / n.sqrt().sum()), "wrong_weights"),
        "zero": (weighted(lambda n: 0 * n), "wrong_weights"),
        "the first": (lambda gradients, sizes: gradients[0].clone(), "wrong_weights"),
        "shortened": (lambda gradients, sizes: with_sum(gradients, sizes).clamp(-0.1, 0.1),
                      "no_combination"),
        "in place": (into_the_first, "changes_input"),
        "lists emptied": (empties_the_lists, "changes_input"),
        "None": (lambda gradients, sizes: print(end=""), "returns_none"),
        "a number": (lambda gradients, sizes: 0.5, "returns_no_tensor"),
        "several": (lambda gradients, sizes: torch.stack(gradients), "wrong_shape"),
        "raises": (lambda gradients, sizes: gradients / sizes, "raised"),
    })


def test_what_combine_gradients_calls_right_is_the_gradient_of_the_whole():
    torch.manual_seed(0)
    net, X, y = nn.Linear(4, 3), torch.randn(10, 4), torch.randint(3, (10,))

    def gradient(X, y):
        gradients = torch.autograd.grad(F.cross_entropy(net(X), y), list(net.parameters()))
        return torch.cat([g.flatten() for g in gradients])

    parts = [gradient(*part) for part in zip(X.split([3, 7]), y.split([3, 7]), strict=True)]
    torch.testing.assert_close(with_sum(parts, [3, 7]), gradient(X, y))


# --- accumulated_step ---

def pairs(X, y, parts):
    return list(zip(X.chunk(parts), y.chunk(parts), strict=True))


def in_chunks(net, optimizer, X, y, parts):
    optimizer.zero_grad()
    for part_X, part_y in pairs(X, y, parts):
        (F.cross_entropy(net(part_X), part_y) / parts).backward()
    optimizer.step()


def with_sums(net, optimizer, X, y, parts):
    optimizer.zero_grad(set_to_none=False)
    size = len(X) // parts
    for i in range(0, len(X), size):
        loss = F.cross_entropy(net(X[i:i + size]), y[i:i + size], reduction="sum")
        (loss / len(X)).backward()
    optimizer.step()
    optimizer.zero_grad()


def one_by_one(net, optimizer, X, y, parts):
    net.zero_grad()
    for i in range(len(X)):
        (nn.CrossEntropyLoss()(net(X[i:i + 1]), y[i:i + 1]) / len(X)).backward()
    optimizer.step()


def divided_at_the_end(net, optimizer, X, y, parts):
    optimizer.zero_grad()
    for part_X, part_y in pairs(X, y, parts):
        F.cross_entropy(net(part_X), part_y).backward()
    for p in net.parameters():
        p.grad /= parts
    optimizer.step()


def with_lists(net, optimizer, X, y, parts):
    """The gradients are kept beside the net, and put into it at the end."""
    parameters = list(net.parameters())
    sums = [torch.zeros_like(p) for p in parameters]
    for part_X, part_y in pairs(X, y, parts):
        loss = F.cross_entropy(net(part_X), part_y)
        for total, g in zip(sums, torch.autograd.grad(loss, parameters), strict=True):
            total += g / parts
    for p, total in zip(parameters, sums, strict=True):
        p.grad = total
    optimizer.step()


def looks_at_the_loss(net, optimizer, X, y, parts):
    in_chunks(net, optimizer, X, y, parts)
    with torch.no_grad():
        return sum(F.cross_entropy(net(part_X), part_y) for part_X, part_y in pairs(X, y, parts))


def in_parts(cut=pairs, clear="before", divide=True, step="after", factor=1):
    """A function that makes such a step, with one thing or another done wrong."""
    def my_step(net, optimizer, X, y, parts):
        if clear == "before":
            optimizer.zero_grad()
        for part_X, part_y in cut(X, y, parts):
            if clear == "inside":
                optimizer.zero_grad()
            loss = factor * F.cross_entropy(net(part_X), part_y)
            (loss / parts if divide else loss).backward()
            if step == "inside":
                optimizer.step()
            if clear == "behind backward":
                optimizer.zero_grad()
        if clear == "after":
            optimizer.zero_grad()
        if step == "after":
            optimizer.step()
    return my_step


def whole(net, optimizer, X, y, parts):
    optimizer.zero_grad()
    F.cross_entropy(net(X), y).backward()
    optimizer.step()


def one_backward(net, optimizer, X, y, parts):
    optimizer.zero_grad()
    losses = [F.cross_entropy(net(part_X), part_y) for part_X, part_y in pairs(X, y, parts)]
    (sum(losses) / parts).backward()
    optimizer.step()


def no_backward(net, optimizer, X, y, parts):
    for part_X, part_y in pairs(X, y, parts):
        F.cross_entropy(net(part_X), part_y)
    optimizer.step()


def own_optimizer(net, optimizer, X, y, parts):
    in_chunks(net, torch.optim.SGD(net.parameters(), lr=0.1), X, y, parts)


def clips(net, optimizer, X, y, parts):
    in_parts(step="never")(net, optimizer, X, y, parts)
    nn.utils.clip_grad_value_(net.parameters(), 0.01)
    optimizer.step()


def test_accumulated_step():
    right = (in_chunks, with_sums, one_by_one, divided_at_the_end, with_lists, looks_at_the_loss,
             in_parts())
    expect(accumulated_step, {function.__name__: (function, "solved") for function in right})
    expect(accumulated_step, {
        "nothing cleared": (in_parts(clear="never"), "zero_grad_forgotten"),
        "nothing cleared or divided": (in_parts(clear="never", divide=False),
                                       "zero_grad_forgotten"),
        "cleared inside": (in_parts(clear="inside"), "zero_grad_inside"),
        "cleared behind backward": (in_parts(clear="behind backward"), "gradient_cleared"),
        "cleared after": (in_parts(clear="after"), "gradient_cleared"),
        "not divided": (in_parts(divide=False), "not_divided"),
        "divided twice": (lambda net, optimizer, X, y, parts: in_parts(factor=1 / parts)(
            net, optimizer, X, y, parts), "divided_twice"),
        "twice as long": (in_parts(factor=2), "other_length"),
        "uphill": (in_parts(factor=-1), "other_length"),
        "a step each": (in_parts(step="inside"), "step_in_loop"),
        "a step each, cleared": (in_parts(step="inside", clear="inside"), "step_in_loop"),
        "no step": (in_parts(step="never"), "no_step"),
        "another optimizer": (own_optimizer, "no_step"),
        "no backward": (no_backward, "no_backward"),
        "nothing": (lambda net, optimizer, X, y, parts: 0, "net_not_called"),
        "a step only": (lambda net, optimizer, X, y, parts: optimizer.step(), "net_not_called"),
        "whole": (whole, "whole_batch"),
        "halves": (in_parts(lambda X, y, parts: pairs(X, y, 2)), "parts_too_large"),
        "one backward": (one_backward, "one_backward"),
        "split": (in_parts(lambda X, y, parts: list(zip(X.split(parts), y.split(parts),
                                                        strict=True))), "other_parts"),
        "the last left out": (in_parts(lambda X, y, parts: pairs(X, y, parts)[:-1]),
                              "images_missed"),
        "other labels": (in_parts(lambda X, y, parts: pairs(X, y.flip(0), parts)), "wrong_step"),
        "clipped": (clips, "wrong_step"),
        "images in place": (lambda net, optimizer, X, y, parts: in_chunks(
            net, optimizer, X.mul_(2), y, parts), "changes_input"),
    })
