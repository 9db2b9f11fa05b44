"""The exercises of notebooks/further: right answers in several forms, each mistake by its name."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from resnet_helpers.check.attempts import FURTHER
from resnet_helpers.check.further import NUMBERS, mirror_images, recipe_numbers, warm_up_rate
from resnet_helpers.check.verdicts import EXERCISES
from resnet_helpers.data import ImageBatches
from resnet_helpers.publish import NOTEBOOKS


def outcome(verdict):
    """The code of the mistake; "solved" or "open" if there is none."""
    return verdict.code if verdict.state == "wrong" else verdict.state


def expect(check, cases):
    """Compare what a check makes of {case: (answer, outcome)}."""
    assert {case: outcome(check(answer)) for case, (answer, _) in cases.items()} == {
        case: right for case, (_, right) in cases.items()}


def raises(*_):
    raise LookupError("nothing here")


@pytest.mark.parametrize("check, code", [
    (recipe_numbers, "no_dict"), (mirror_images, "no_function"), (warm_up_rate, "no_function")])
def test_junk_is_wrong(check, code):
    for junk in (None, "all of them", 7, nn.Linear, nn.Linear(64, 64), [None], object()):
        assert outcome(check(junk)) == code, junk


def test_functions_that_fail_are_wrong():
    for check in (mirror_images, warm_up_rate):
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
