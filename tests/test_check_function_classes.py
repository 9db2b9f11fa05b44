"""The exercises of notebook 1: right answers of several kinds are accepted, each mistake gets the message that fits."""

import inspect
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from resnet_helpers.check import function_classes as checks
from resnet_helpers.check.engine import EXERCISES


def expect(verdict, state, part=""):
    assert verdict.state == state, verdict
    assert part in verdict.message, verdict


JUNK = {"None": None, "a string": "all of them", "a number": 7, "a class": nn.Linear, "a list": [None],
        "an object": object()}
ALL_CHECKS = (checks.nested_or_not, checks.own_family, checks.identity_layer, checks.class_questions)


@pytest.mark.parametrize("check", ALL_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK.keys())
def test_junk_is_wrong(check, junk):
    expect(check(junk), "wrong")


@pytest.mark.parametrize("check", ALL_CHECKS, ids=lambda check: check.__name__)
def test_there_are_hints(check):
    hints = EXERCISES[check.__name__].hints
    assert 2 <= len(hints) <= 3 and all(hints)


def raises(*_):
    raise LookupError("nothing here")


def no_arguments():
    return [0.0, 1.0]


@pytest.mark.parametrize("check", [checks.own_family, checks.identity_layer])
def test_functions_that_fail_are_wrong(check):
    expect(check(raises), "wrong", "LookupError: nothing here")
    expect(check(no_arguments), "wrong", "TypeError")


# --- nested_or_not ---

NESTED = {"A": True, "B": True, "C": False, "D": True, "E": False}


@pytest.mark.parametrize("answers", [
    NESTED,
    dict(reversed(NESTED.items())),
    {letter.lower(): answer for letter, answer in NESTED.items()},
    {letter: np.bool_(answer) for letter, answer in NESTED.items()},
], ids=["as asked", "in another order", "small letters", "numpy"])
def test_nested_or_not_accepts(answers):
    expect(checks.nested_or_not(answers), "solved", "0.407 at k = 1")


def test_nested_or_not_accepts_nothing_else():
    verdicts = [checks.nested_or_not(dict(zip("ABCDE", answers, strict=True)))
                for answers in itertools.product((True, False), repeat=5)]
    assert [verdict.state for verdict in verdicts].count("solved") == 1


@pytest.mark.parametrize(("letter", "part"), [
    ("A", "doubling k halves every piece"),
    ("B", "the new coefficient may be zero"),
    ("C", "the coefficient of x to the power k is not zero"),
    ("D", "amplitude zero"),
    ("E", "walk away faster"),
])
def test_nested_or_not_explains(letter, part):
    verdict = checks.nested_or_not(NESTED | {letter: not NESTED[letter]})
    expect(verdict, "wrong", part)
    assert f"4 of 5 are right. Family {letter} is {'nested' if NESTED[letter] else 'not nested'}" in verdict.message


@pytest.mark.parametrize(("answers", "part"), [
    (NESTED | {"D": ...}, "family D has no answer yet"),
    ({"A": True}, "family B has no answer yet"),
    (NESTED | {"F": True}, "there is no family 'F'"),
    (NESTED | {3: True}, "there is no family 3"),
    (NESTED | {"B": "True"}, "without quotation marks"),
    (NESTED | {"C": 0}, "answer True (nested) or False"),
    (NESTED | {"A": None}, "answer True (nested) or False"),
    (list(NESTED.values()), "must be a dict"),
    ({}, "family A has no answer yet"),
])
def test_nested_or_not_asks_for_what_it_needs(answers, part):
    expect(checks.nested_or_not(answers), "wrong", part)


def test_nested_or_not_open():
    expect(checks.nested_or_not(dict.fromkeys("ABCDE", ...)), "open")
    expect(checks.nested_or_not(...), "open")


def test_the_families_are_as_the_check_says():
    """Family A by its ends, E by the leftmost and rightmost points of its discs."""
    ends = [set(torch.linspace(0, 1, k + 1).tolist()) for k in (1, 2, 4, 8)]
    assert all(a <= b for a, b in itertools.pairwise(ends)) == NESTED["A"]
    contained = all(2 * k - k >= 2 * (k + 1) - (k + 1) and 3 * k <= 3 * (k + 1) for k in (1, 2, 3))
    assert contained == NESTED["E"]


# --- own_family ---

def equal(k):
    return torch.linspace(0, 1, k + 1).tolist()


def equal_but_for_4(k):
    return [0, 0.7, 0.8, 0.9, 1] if k == 4 else equal(k)


def as_tensor(k):
    if k == 3:
        return torch.tensor([0, 0.2, 0.4, 1])
    return torch.linspace(0, 1, k + 1) ** (0.1 if k == 4 else 1)  # the cuts of F_4 crowd at the right


def as_array(k):
    return np.linspace(0, 1, k + 1) if k != 4 else np.array([0.0, 0.25, 0.9, 0.95, 1.0])


def worse_everywhere(k):
    """Its classes move away from the bump with every k: also at 4."""
    return [0, *np.linspace(0.25 + 0.1 * k, 0.99, k - 1), 1] if k > 1 else (0, 1)


@pytest.mark.parametrize("family", [equal_but_for_4, as_tensor, as_array, worse_everywhere])
def test_own_family_accepts(family):
    expect(checks.own_family(family), "solved", "F_4 has one number more, but no longer the cut at")


def test_own_family_names_the_cut_that_is_lost():
    expect(checks.own_family(as_array), "solved", "no longer the cut at 0.333, 0.667, and")


def halves(k):
    edges = [0.0, 1.0]
    for _ in range(k - 1):
        i = max(range(len(edges) - 1), key=lambda i: edges[i + 1] - edges[i])
        edges.insert(i + 1, (edges[i] + edges[i + 1]) / 2)
    return edges


def keeps_3_in_4(k):
    return [0, 1 / 3, 2 / 3, 0.9, 1] if k == 4 else equal(k)


def lucky(k):
    """Not nested, and never worse for this target."""
    return {1: [0, 1], 2: [0, 0.5, 1], 3: [0, 0.19, 0.41, 1], 4: [0, 0.18, 0.25, 0.42, 1]}.get(k, halves(4) + [1]) \
        if k < 5 else sorted({0, 1, *torch.linspace(0.1, 0.5, k - 1).tolist()})


def a_little_worse(k):
    return {3: [0, 0.2, 0.4, 1], 4: [0, 0.2025, 0.4, 0.99, 1]}.get(k, equal(k))


def grows(k, edges=[0.0]):  # noqa: B006, the mistake that is meant
    edges += [(i + 1) / k for i in range(k)]
    return edges


def shrinks(k, calls=[]):  # noqa: B006
    calls.append(k)
    return [end ** len(calls) for end in equal(k)]


def randomly(k):
    return sorted([0, 1, *torch.rand(k - 1).tolist()])


def kept(k):
    """Right numbers on the first round; the second call gives others."""
    kept.calls = getattr(kept, "calls", 0) + 1
    return equal(k) if kept.calls <= 6 else [0, *(0.9 * end for end in equal(k)[1:-1]), 1]


def only_4(k):
    if k == 4:
        return [0, 0.7, 0.8, 0.9, 1]
    if k == 3:
        return equal(3)


FAMILIES = {
    "nested": (halves, "your family is nested"),
    "equal pieces": (equal, "gets worse at k = 3, 6, but not at k = 4"),
    "F_3 inside F_4": (keeps_3_in_4, "F_4 keeps all ends of F_3"),
    "never worse": (lucky, "for this target it is not"),
    "hardly worse": (a_little_worse, "by less than 0.001"),
    "not sorted": (lambda k: [0, *reversed(equal(k)[1:-1]), 1], "must go up from 0 to 1. Sort them"),
    "downwards": (lambda k: equal(k)[::-1], "must go up"),
    "cuts alone": (lambda k: equal(k)[1:-1] or [], "those are the cuts inside the interval"),
    "last end missing": (lambda k: equal(k)[:-1], "3 pieces have 4 ends: 0 and 1 are both among them"),
    "first end missing": (lambda k: equal(k)[1:], "3 pieces have 4 ends: 0 and 1 are both among them"),
    "right but for k = 1": (lambda k: equal_but_for_4(k) if k > 1 else [1], "my_edges(1) returns 1 number"),
    "widths": (lambda k: [1 / k] * k, "look like the widths of the pieces"),
    "too many": (lambda k: equal(k + 1), "returns 5 numbers, but 3 pieces have 4 ends"),
    "same two ends twice": (lambda k: [0] * k + [1], "has no width"),
    "not divided": (lambda k: list(range(k + 1)), "Did you forget to divide by k?"),
    "from -1": (lambda k: np.linspace(-1, 1, k + 1), "the first end is 0"),
    "to 0.9": (lambda k: np.linspace(0, 0.9, k + 1), "the last is 1"),
    "nan": (lambda k: [0] * k + [float("nan")], "which is no number"),
    "random": (randomly, "gives other ends when it is called again"),
    "other ends later": (kept, "gives other ends when it is called again"),
    "a list that grows": (grows, "Is a list kept from one call to the next"),
    "another answer each time": (shrinks, "when it is called again"),
    "not for every k": (only_4, "my_edges(1) returns None. It must return the ends of the pieces for every k"),
    "text": (lambda k: "0, 0.5, 1", "must return a list or tensor of 4 numbers"),
    "pairs": (lambda k: [(0, 0.5), (0.5, 1)], "must return a list or tensor"),
    "a matrix": (lambda k: torch.zeros(2, 2), "must return a list or tensor"),
    "a single number": (lambda k: torch.tensor(1.0), "must return a list or tensor"),
    "a dict": (lambda k: {0: 1}, "must return a list or tensor"),
    "complex": (lambda k: [0j, 1j], "must return a list or tensor"),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_own_family_explains(name):
    family, part = FAMILIES[name]
    expect(checks.own_family(family), "wrong", part)


def test_own_family_shows_the_distances():
    expect(checks.own_family(halves), "wrong", "F_1 0.324, F_2 0.248")


@pytest.mark.parametrize("answer", [equal(4), (equal, equal), nn.Identity, nn.Identity()])
def test_own_family_wants_the_function(answer):
    expect(checks.own_family(answer), "wrong", "must be the function my_edges itself")


def test_own_family_open():
    def my_edges(k):
        """The ends of the k pieces."""
        ...
    expect(checks.own_family(my_edges), "open")
    expect(checks.own_family(...), "open")
    expect(checks.own_family(), "open")


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


def with_indices(linear):
    with torch.no_grad():
        for parameter in linear.parameters():
            parameter *= 0
        for i in range(64):
            linear.weight[i, i] = 1


def without_bias(linear):
    nn.init.eye_(linear.weight)
    linear.bias = None


@pytest.mark.parametrize("make", [with_init, with_no_grad, with_data, with_new_parameters, with_indices, without_bias])
def test_identity_layer_accepts(make):
    expect(checks.identity_layer(make), "solved", "64 ones and 4,096 zeros")


def setting(weight=None, bias=None):
    """A function that changes weight and bias in place."""
    def make_identity(linear):
        with torch.no_grad():
            if weight is not None:
                linear.weight.copy_(weight(linear.weight) if callable(weight) else weight)
            if bias is not None:
                linear.bias.copy_(bias)
    return make_identity


def forgets_no_grad(linear):
    linear.weight.fill_(0)
    linear.weight.fill_diagonal_(1)


def assigns_tensor(linear):
    linear.weight = torch.eye(64)


def makes_new(linear):
    new = nn.Linear(64, 64)
    with_init(new)
    return new


def rebinds(linear):
    linear = nn.Linear(64, 64)
    with_init(linear)


def computes(linear):
    return torch.eye(64), torch.zeros(64)


def freezes(linear):
    with_init(linear)
    linear.weight.requires_grad_(False)


def freezes_all(linear):
    linear.weight = nn.Parameter(torch.eye(64), requires_grad=False)
    nn.init.zeros_(linear.bias)


def replaces_forward(linear):
    linear.forward = lambda X: X


def sets_and_replaces_forward(linear):
    with_init(linear)
    linear.forward = lambda X: 2 * X


def removes_parameter(linear):
    del linear.weight
    linear.weight = torch.eye(64)
    nn.init.zeros_(linear.bias)


def makes_smaller(linear):
    linear.weight = nn.Parameter(torch.eye(32))


def makes_double(linear):
    with_init(linear.double())


EYE, ZERO = torch.eye(64), torch.zeros(64)
LAYERS = {
    "nothing done": (lambda linear: linear, "the same as before"),
    "another name": (rebinds, "only gives a name to something else"),
    "returns tensors": (computes, "the same as before"),
    "a new layer": (makes_new, "returns a new layer and leaves the one it gets as it was"),
    "nn.Identity": (lambda linear: nn.Identity(), "returns a new layer"),
    "ones": (setting(torch.ones(64, 64), ZERO), "one everywhere"),
    "nn.init.ones_": (lambda linear: [nn.init.ones_(p) for p in linear.parameters()], "one everywhere"),
    "bias left": (setting(EYE), "the bias is as random as before"),
    "bias of ones": (setting(EYE, torch.ones(64)), "b has numbers up to 1"),
    "weight left": (setting(None, ZERO), "only the bias was changed"),
    "zeros": (setting(0 * EYE, ZERO), "right for a layer with a shortcut"),
    "zeros, bias left": (setting(0 * EYE), "the output is the bias"),
    "zeros, bias of ones": (setting(0 * EYE, torch.ones(64)), "the output is the bias"),
    "negative": (setting(-EYE, ZERO), "the sign is wrong"),
    "doubled": (setting(2 * EYE, ZERO), "multiplies its input by 2"),
    "a sixty-fourth": (setting(EYE / 64, ZERO), "multiplies its input by 0.015625"),
    "diagonal not all ones": (setting(torch.arange(64.0).diag(), ZERO), "not all numbers on the diagonal are 1"),
    "diagonal alone": (setting(lambda W: W.clone().fill_diagonal_(1), ZERO), "the numbers beside it are as random"),
    "added": (setting(lambda W: W + EYE, ZERO), "added to the old weights"),
    "flipped": (setting(EYE.flip(0), ZERO), "in another order"),
    "noisy": (setting(EYE + 0.001, ZERO), "nearly right"),
    "orthogonal": (lambda linear: (nn.init.orthogonal_(linear.weight), nn.init.zeros_(linear.bias)), "orthogonal "
                                                                                                     "matrix"),
    "triangle": (setting(torch.ones(64, 64).tril(), ZERO), "ones on its diagonal and zeros everywhere else"),
    "Xavier": (lambda linear: nn.init.xavier_uniform_(linear.weight), "ones on its diagonal and zeros everywhere else"),
    "nan": (setting(EYE * float("nan"), ZERO), "not a number"),
    "no no_grad": (forgets_no_grad, "with torch.no_grad()"),
    "tensor for parameter": (assigns_tensor, "takes no bare tensor"),
    "parameter removed": (removes_parameter, "no parameter any more"),
    "smaller": (makes_smaller, "has shape (32, 32)"),
    "float64": (makes_double, "torch.float64"),
    "frozen": (freezes, "requires_grad=False"),
    "frozen parameter": (freezes_all, "requires_grad=False"),
    "forward replaced": (replaces_forward, "the layer's forward was replaced"),
    "forward replaced too": (sets_and_replaces_forward, "forward was replaced or has a hook"),
}


@pytest.mark.parametrize("name", LAYERS)
def test_identity_layer_explains(name):
    make, part = LAYERS[name]
    expect(checks.identity_layer(make), "wrong", part)


@pytest.mark.parametrize("answer", [nn.Linear(64, 64), nn.Identity, EYE])
def test_identity_layer_wants_the_function(answer):
    expect(checks.identity_layer(answer), "wrong", "must be the function make_identity itself")


def test_identity_layer_open():
    def make_identity(linear):
        ...
    expect(checks.identity_layer(make_identity), "open")


def test_identity_layer_keeps_the_readers_random_state():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    checks.identity_layer(with_init)
    assert torch.equal(torch.rand(1), expected)


def test_identity_layer_makes_the_layer_pass_on_what_is_not_negative():
    """The criterion of the check, against the sentence in the task."""
    linear, X = nn.Linear(64, 64), torch.rand(8, 64)
    with_init(linear)
    assert torch.equal(torch.relu(linear(X)), X)


# --- class_questions ---

RIGHT = {question: letter for question, (letter, _) in checks.QUESTIONS.items()}


def test_class_questions_accepts():
    assert RIGHT == {"1": "b", "2": "c", "3": "a", "4": "d"}
    expect(checks.class_questions(RIGHT), "solved", "4: The guarantee is about the loss on the data")
    expect(checks.class_questions({question: f" {letter.upper()} " for question, letter in RIGHT.items()}), "solved")


@pytest.mark.parametrize(("question", "letter"), [
    (question, letter) for question, (right, why) in checks.QUESTIONS.items() for letter in why if letter != right])
def test_class_questions_explain_each_wrong_letter(question, letter):
    expect(checks.class_questions(RIGHT | {question: letter}), "wrong",
           f"question {question}: not {letter}. {checks.QUESTIONS[question][1][letter]}")


@pytest.mark.parametrize(("answers", "part"), [
    (RIGHT | {"2": ...}, "question 2 has no answer yet"),
    (RIGHT | {"3": "f"}, "answer with one of the letters a, b, c, d"),
    (RIGHT | {"3": 1}, "answer with one of the letters"),
    (["b", "c", "a", "d"], "must be a dict"),
])
def test_class_questions_ask_for_what_they_need(answers, part):
    expect(checks.class_questions(answers), "wrong", part)


def test_class_questions_open():
    expect(checks.class_questions(dict.fromkeys("1234", ...)), "open")


def test_each_check_takes_one_answer():
    for check in ALL_CHECKS:
        assert len(inspect.signature(check).parameters) == 1
        expect(check("a", "b"), "wrong", "takes 1 answer")
