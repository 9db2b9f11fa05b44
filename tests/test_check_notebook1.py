"""The exercises of notebook 1: right answers in several forms, and each mistake by its name."""

import itertools

import numpy as np
import pytest
import torch
from answers import expect, outcome, raises
from torch import nn

from resnet_helpers.check import notebook1
from resnet_helpers.check.notebook1 import (
    class_questions,
    identity_layer,
    nested_or_not,
    own_family,
)


@pytest.mark.parametrize("check, code", [
    (nested_or_not, "no_dict"), (own_family, "no_function"), (identity_layer, "no_function"),
    (class_questions, "no_dict")])
def test_junk_is_wrong(check, code):
    for junk in (None, "all of them", 7, nn.Linear, nn.Linear(64, 64), [None], object()):
        assert outcome(check(junk)) == code, junk
    assert outcome(check("a", "b")) == "wrong_number_of_answers"


def test_functions_that_fail_are_wrong():
    for check in (own_family, identity_layer):
        expect(check, {"raises": (raises, "raised"),
                       "no arguments": (lambda: [0, 1], "wrong_arguments")})
        assert "LookupError: nothing here" in check(raises).message


# --- nested_or_not ---

NESTED = {"A": True, "B": True, "C": False, "D": True, "E": False}


def test_nested_or_not_accepts_one_answer_in_several_forms():
    expect(nested_or_not, {
        "in another order": (dict(reversed(NESTED.items())), "solved"),
        "small letters": ({key.lower(): answer for key, answer in NESTED.items()}, "solved"),
        "numpy": ({key: np.bool_(answer) for key, answer in NESTED.items()}, "solved"),
    })
    assert "0.407 at k = 1" in nested_or_not(NESTED).message
    solved = [answers for answers in itertools.product((True, False), repeat=5)
              if nested_or_not(dict(zip("ABCDE", answers, strict=True))).solved]
    assert solved == [tuple(NESTED.values())]


def test_nested_or_not_explains_each_family():
    for letter, nested in NESTED.items():
        verdict = nested_or_not(NESTED | {letter: not nested})
        assert outcome(verdict) == f"family_{letter.lower()}_wrong"
        is_nested = "nested" if nested else "not nested"
        assert (f"4 of 5 are right. Family {letter} is {is_nested}: "
                f"{notebook1.FAMILIES[letter][1]}") in verdict.message


def test_nested_or_not_asks_for_what_it_needs():
    expect(nested_or_not, {
        "D blank": (NESTED | {"D": ...}, "no_answer"),
        "only A": ({"A": True}, "no_answer"),
        "in quotation marks": (NESTED | {"B": "True"}, "no_bool"),
        "0": (NESTED | {"C": 0}, "no_bool"),
        "blank": (dict.fromkeys("ABCDE", ...), "open"),
    })
    assert "family D has no answer yet" in nested_or_not(NESTED | {"D": ...}).message


def test_the_families_are_as_the_check_says():
    """Family A by its ends, E by the leftmost and rightmost points of its discs."""
    ends = [set(torch.linspace(0, 1, k + 1).tolist()) for k in (1, 2, 4, 8)]
    assert all(a <= b for a, b in itertools.pairwise(ends)) == NESTED["A"]
    contained = all(2 * k - k >= 2 * (k + 1) - (k + 1) for k in (1, 2, 3))
    assert contained == NESTED["E"]


# --- own_family ---

def equal(k):
    return torch.linspace(0, 1, k + 1).tolist()


def equal_but_for_4(k):
    return [0, 0.7, 0.8, 0.9, 1] if k == 4 else equal(k)


def as_tensor(k):
    if k == 3:
        return torch.tensor([0, 0.2, 0.4, 1])
    return torch.linspace(0, 1, k + 1) ** (0.1 if k == 4 else 1)  # F_4 has its cuts at the right


def as_array(k):
    return np.linspace(0, 1, k + 1) if k != 4 else np.array([0.0, 0.25, 0.9, 0.95, 1.0])


def as_mixed_list(k):
    return [torch.tensor(0.0), *equal_but_for_4(k)[1:]]


def test_own_family_accepts():
    families = (equal_but_for_4, as_tensor, as_array, as_mixed_list)
    expect(own_family, {family.__name__: (family, "solved") for family in families})
    assert "no longer the cut at 0.333, 0.667, and" in own_family(as_array).message


def halves(k):
    edges = [0.0, 1.0]
    for _ in range(k - 1):
        i = max(range(len(edges) - 1), key=lambda i: edges[i + 1] - edges[i])
        edges.insert(i + 1, (edges[i] + edges[i + 1]) / 2)
    return edges


OTHERS = {  # ends of F_3 and F_4 that do not make F_4 worse
    "F_3 inside F_4": (equal(3), [0, 1 / 3, 2 / 3, 0.9, 1]),
    "never worse": ([0, 0.19, 0.41, 1], [0, 0.18, 0.25, 0.42, 1]),
    "hardly worse": ([0, 0.2, 0.4, 1], [0, 0.2025, 0.4, 0.99, 1]),
}


def other(case):
    return lambda k: {3: OTHERS[case][0], 4: OTHERS[case][1]}.get(k, equal(k))


FAMILIES = {
    "nested": (halves, "f3_inside_f4"),
    "equal pieces": (equal, "not_worse"),
    "F_3 inside F_4": (other("F_3 inside F_4"), "f3_inside_f4"),
    "never worse": (other("never worse"), "not_worse"),
    "hardly worse": (other("hardly worse"), "not_worse"),
    "downwards": (lambda k: equal(k)[::-1], "not_sorted"),
    "two ends alike": (lambda k: [0] * k + [1], "not_sorted"),
    "nan": (lambda k: [0] * k + [float("nan")], "not_sorted"),
    "cuts alone": (lambda k: equal(k)[1:-1], "cuts_alone"),
    "an end missing": (lambda k: equal(k)[1:], "wrong_number_of_ends"),
    "right but for k = 1": (lambda k: equal_but_for_4(k) if k > 1 else [1], "wrong_number_of_ends"),
    "too many": (lambda k: equal(k + 1), "wrong_number_of_ends"),
    "not divided": (lambda k: list(range(k + 1)), "not_from_0_to_1"),
    "from -1": (lambda k: np.linspace(-1, 1, k + 1), "not_from_0_to_1"),
    "not for every k": (lambda k: equal(k) if k in (3, 4) else None, "no_list_of_numbers"),
    "text": (lambda k: "0, 0.5, 1", "no_list_of_numbers"),
    "pairs": (lambda k: [(0, 0.5), (0.5, 1)], "no_list_of_numbers"),
    "a single number": (lambda k: torch.tensor(1.0), "no_list_of_numbers"),
    "a dict": (lambda k: {0: 1}, "no_list_of_numbers"),
    "its result": (equal(4), "no_function"),
}


def test_own_family_explains():
    expect(own_family, FAMILIES)
    for case, told in {
        "nested": "F_1 0.324, F_2 0.248",
        "an end missing": "my_edges(3) returns [0.3333, 0.6667, 1]: a class with k = 3 has 4 ends",
        "right but for k = 1": "my_edges(1) returns [1]: a class with k = 1 has 2 ends",
        "not for every k": "the ends of the 1 pieces; it returns None",
        "text": "my_edges(3) must return a list or tensor of 4 numbers",
    }.items():
        assert told in own_family(FAMILIES[case][0]).message


# --- identity_layer ---

def with_init(linear):
    nn.init.eye_(linear.weight)
    nn.init.zeros_(linear.bias)


def with_no_grad(linear):
    with torch.no_grad():
        linear.weight.copy_(torch.eye(64))
        linear.bias.zero_()
    return linear


def with_data(linear):
    linear.weight.data = torch.diag(torch.ones(64))
    linear.bias.data.fill_(0)
    return nn.Sequential(linear, nn.ReLU())


def with_new_parameters(linear):
    linear.weight = nn.Parameter(torch.eye(linear.in_features))
    linear.bias = nn.Parameter(torch.zeros(linear.out_features))


def without_bias(linear):
    nn.init.eye_(linear.weight)
    linear.bias = None


def test_identity_layer_accepts():
    functions = (with_init, with_no_grad, with_data, with_new_parameters, without_bias)
    expect(identity_layer, {make.__name__: (make, "solved") for make in functions})
    assert "64 ones and 4,096 zeros" in identity_layer(with_init).message


def setting(weight=None, bias=None):
    """A function that changes weight and bias in place."""
    @torch.no_grad()
    def make_identity(linear):
        if weight is not None:
            linear.weight.copy_(weight)
        if bias is not None:
            linear.bias.copy_(bias)
    return make_identity


def forgets_no_grad(linear):
    linear.weight.fill_(0)


def assigns_tensor(linear):
    linear.weight = torch.eye(64)


def makes_new(linear):
    new = nn.Linear(64, 64)
    with_init(new)
    return new


def rebinds(linear):
    linear = nn.Linear(64, 64)
    with_init(linear)


def freezes(linear):
    linear.weight = nn.Parameter(torch.eye(64), requires_grad=False)
    nn.init.zeros_(linear.bias)


def replaces_forward(linear):
    linear.forward = lambda X: X


EYE, ZERO = torch.eye(64), torch.zeros(64)
LAYERS = {
    "nothing done": (lambda linear: linear, "nothing_changed"),
    "another name": (rebinds, "nothing_changed"),
    "forward replaced": (replaces_forward, "nothing_changed"),
    "a new layer": (makes_new, "returns_new_layer"),
    "tensors": (lambda linear: (EYE, ZERO), "returns_new_layer"),
    "ones": (setting(torch.ones(64, 64), ZERO), "weight_all_ones"),
    "bias left": (setting(EYE), "bias_unchanged"),
    "bias of ones": (setting(EYE, torch.ones(64)), "bias_not_zero"),
    "weight left": (setting(None, ZERO), "not_identity"),
    "zeros": (setting(0 * EYE, ZERO), "weight_zero"),
    "zeros, bias left": (setting(0 * EYE), "weight_zero"),
    "diagonal alone": (lambda linear: linear.weight.data.fill_diagonal_(1), "only_diagonal_set"),
    "negative": (setting(-EYE, ZERO), "not_identity"),
    "flipped": (setting(EYE.flip(0), ZERO), "not_identity"),
    "noisy": (setting(EYE + 0.001, ZERO), "not_identity"),
    "nan": (setting(EYE * float("nan"), ZERO), "not_identity"),
    "no no_grad": (forgets_no_grad, "no_grad_missing"),
    "tensor for parameter": (assigns_tensor, "bare_tensor_assigned"),
    "frozen": (freezes, "frozen"),
    "a tensor": (EYE, "no_function"),
}


def test_identity_layer_explains():
    expect(identity_layer, LAYERS)
    assert "b has numbers up to 1." in identity_layer(LAYERS["bias of ones"][0]).message


def test_identity_layer_makes_the_layer_pass_on_what_is_not_negative():
    """The criterion of the check, against the sentence in the task."""
    linear, X = nn.Linear(64, 64), torch.rand(8, 64)
    with_init(linear)
    assert torch.equal(torch.relu(linear(X)), X)


# --- class_questions ---

RIGHT = {"1": "b", "2": "c", "3": "a", "4": "d"}


def test_class_questions():
    assert "4: The guarantee is about the loss on the data" in class_questions(RIGHT).message
    expect(class_questions, {
        (question, letter): (RIGHT | {question: letter},
                             "solved" if letter == right else f"question_{question}_{letter}")
        for question, right in RIGHT.items() for letter in "abcd"})
