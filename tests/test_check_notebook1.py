"""The exercises of notebook 1: right answers of several kinds are accepted, and each mistake is called by its name."""

import inspect
import itertools

import numpy as np
import torch
from torch import nn

from resnet_helpers.check import notebook1 as checks
from resnet_helpers.check.verdicts import EXERCISES


def outcome(verdict):
    """The code of the mistake; "solved" or "open" if there is none."""
    return verdict.code if verdict.state == "wrong" else verdict.state


def expect(check, expected):
    """Compare what a check makes of {case: (answer, outcome)}."""
    assert {case: outcome(check(answer)) for case, (answer, _) in expected.items()} == {
        case: right for case, (_, right) in expected.items()}


JUNK = {"None": None, "a string": "all of them", "a number": 7, "a class": nn.Linear, "a list": [None],
        "an object": object()}
JUNK_CODES = {checks.nested_or_not: "no_dict", checks.own_family: "no_function", checks.identity_layer: "no_function",
              checks.class_questions: "no_dict"}


def test_junk_is_wrong():
    found = {check.__name__: {name: outcome(check(junk)) for name, junk in JUNK.items()} for check in JUNK_CODES}
    assert found == {check.__name__: dict.fromkeys(JUNK, code) for check, code in JUNK_CODES.items()}


def test_there_are_hints():
    hints = {check.__name__: EXERCISES[check.__name__].hints for check in JUNK_CODES}
    assert not {name: texts for name, texts in hints.items() if not (2 <= len(texts) <= 3 and all(texts))}


def test_each_check_takes_one_answer():
    for check in JUNK_CODES:
        assert len(inspect.signature(check).parameters) == 1
        assert outcome(check("a", "b")) == "wrong_number_of_answers"


def raises(*_):
    raise LookupError("nothing here")


def no_arguments():
    return [0.0, 1.0]


def test_functions_that_fail_are_wrong():
    for check in (checks.own_family, checks.identity_layer):
        expect(check, {"raises": (raises, "raised"), "no arguments": (no_arguments, "raised")})
        assert "LookupError: nothing here" in check(raises).message and "TypeError" in check(no_arguments).message


# --- nested_or_not ---

NESTED = {"A": True, "B": True, "C": False, "D": True, "E": False}


def test_nested_or_not_accepts():
    expect(checks.nested_or_not, {
        "as asked": (NESTED, "solved"),
        "in another order": (dict(reversed(NESTED.items())), "solved"),
        "small letters": ({letter.lower(): answer for letter, answer in NESTED.items()}, "solved"),
        "numpy": ({letter: np.bool_(answer) for letter, answer in NESTED.items()}, "solved"),
    })
    assert "0.407 at k = 1" in checks.nested_or_not(NESTED).message


def test_nested_or_not_accepts_nothing_else():
    verdicts = [checks.nested_or_not(dict(zip("ABCDE", answers, strict=True)))
                for answers in itertools.product((True, False), repeat=5)]
    assert [verdict.state for verdict in verdicts].count("solved") == 1


def test_nested_or_not_explains_each_family():
    for letter, nested in NESTED.items():
        verdict = checks.nested_or_not(NESTED | {letter: not nested})
        assert outcome(verdict) == f"family_{letter.lower()}_wrong"
        is_nested = "nested" if nested else "not nested"
        assert f"4 of 5 are right. Family {letter} is {is_nested}: {checks.FAMILIES[letter][1]}" in verdict.message


def test_nested_or_not_asks_for_what_it_needs():
    expect(checks.nested_or_not, {
        "D blank": (NESTED | {"D": ...}, "no_answer"),
        "only A": ({"A": True}, "no_answer"),
        "a sixth family": (NESTED | {"F": True}, "unknown_family"),
        "a number for a letter": (NESTED | {3: True}, "unknown_family"),
        "in quotation marks": (NESTED | {"B": "True"}, "no_bool"),
        "0": (NESTED | {"C": 0}, "no_bool"),
        "None": (NESTED | {"A": None}, "no_bool"),
        "a list": (list(NESTED.values()), "no_dict"),
        "nothing": ({}, "no_answer"),
    })
    assert "family D has no answer yet" in checks.nested_or_not(NESTED | {"D": ...}).message
    assert "family B has no answer yet" in checks.nested_or_not({"A": True}).message
    assert "there is no family 3" in checks.nested_or_not(NESTED | {3: True}).message


def test_nested_or_not_open():
    expect(checks.nested_or_not, {"blank letters": (dict.fromkeys("ABCDE", ...), "open"), "blank": (..., "open")})


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


def test_own_family_accepts():
    families = (equal_but_for_4, as_tensor, as_array, worse_everywhere)
    expect(checks.own_family, {family.__name__: (family, "solved") for family in families})


def test_own_family_names_the_cut_that_is_lost():
    assert "no longer the cut at 0.333, 0.667, and" in checks.own_family(as_array).message


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
    "nested": (halves, "nested_family"),
    "equal pieces": (equal, "worse_elsewhere"),
    "F_3 inside F_4": (keeps_3_in_4, "f3_inside_f4"),
    "never worse": (lucky, "not_worse"),
    "hardly worse": (a_little_worse, "hardly_worse"),
    "not sorted": (lambda k: [0, *reversed(equal(k)[1:-1]), 1], "not_sorted"),
    "downwards": (lambda k: equal(k)[::-1], "not_sorted"),
    "cuts alone": (lambda k: equal(k)[1:-1] or [], "cuts_alone"),
    "last end missing": (lambda k: equal(k)[:-1], "one_end_missing"),
    "first end missing": (lambda k: equal(k)[1:], "one_end_missing"),
    "right but for k = 1": (lambda k: equal_but_for_4(k) if k > 1 else [1], "one_end_missing"),
    "widths": (lambda k: [1 / k] * k, "widths_for_ends"),
    "too many": (lambda k: equal(k + 1), "too_many_ends"),
    "too few": (lambda k: [], "too_few_ends"),
    "same two ends twice": (lambda k: [0] * k + [1], "zero_width"),
    "not divided": (lambda k: list(range(k + 1)), "not_divided_by_k"),
    "from -1": (lambda k: np.linspace(-1, 1, k + 1), "not_from_0_to_1"),
    "to 0.9": (lambda k: np.linspace(0, 0.9, k + 1), "not_from_0_to_1"),
    "nan": (lambda k: [0] * k + [float("nan")], "not_finite"),
    "random": (randomly, "other_ends_later"),
    "other ends later": (kept, "other_ends_later"),
    "a list that grows": (grows, "too_many_ends"),
    "another answer each time": (shrinks, "other_ends_later"),
    "not for every k": (only_4, "returns_none"),
    "text": (lambda k: "0, 0.5, 1", "no_list_of_numbers"),
    "pairs": (lambda k: [(0, 0.5), (0.5, 1)], "no_list_of_numbers"),
    "a matrix": (lambda k: torch.zeros(2, 2), "no_list_of_numbers"),
    "a single number": (lambda k: torch.tensor(1.0), "no_list_of_numbers"),
    "a dict": (lambda k: {0: 1}, "no_list_of_numbers"),
    "complex": (lambda k: [0j, 1j], "no_list_of_numbers"),
}


def test_own_family_explains():
    expect(checks.own_family, FAMILIES)


def test_own_family_tells_the_numbers():
    for case, told in {
        "nested": "F_1 0.324, F_2 0.248",
        "equal pieces": "gets worse at k = 3, 6, but not at k = 4",
        "first end missing": "my_edges(3) returns 3 numbers, but 3 pieces have 4 ends",
        "right but for k = 1": "my_edges(1) returns 1 number, but 1 piece has 2 ends",
        "too many": "my_edges(3) returns 5 numbers, but 3 pieces have 4 ends",
        "not for every k": "my_edges(1) returns None",
        "text": "my_edges(3) must return a list or tensor of 4 numbers",
    }.items():
        assert told in checks.own_family(FAMILIES[case][0]).message


def test_own_family_wants_the_function():
    expect(checks.own_family, {"its result": (equal(4), "no_function"), "a tuple": ((equal, equal), "no_function"),
                               "a class": (nn.Identity, "no_function"), "a module": (nn.Identity(), "no_function")})


def test_own_family_open():
    def my_edges(k):
        """The ends of the k pieces."""
        ...
    expect(checks.own_family, {"untouched": (my_edges, "open"), "blank": (..., "open")})
    assert checks.own_family().state == "open"


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


def test_identity_layer_accepts():
    functions = (with_init, with_no_grad, with_data, with_new_parameters, with_indices, without_bias)
    expect(checks.identity_layer, {make.__name__: (make, "solved") for make in functions})
    assert "64 ones and 4,096 zeros" in checks.identity_layer(with_init).message


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
    "nothing done": (lambda linear: linear, "nothing_changed"),
    "another name": (rebinds, "nothing_changed"),
    "returns tensors": (computes, "nothing_changed"),
    "a new layer": (makes_new, "returns_new_layer"),
    "nn.Identity": (lambda linear: nn.Identity(), "returns_new_layer"),
    "ones": (setting(torch.ones(64, 64), ZERO), "weight_all_ones"),
    "nn.init.ones_": (lambda linear: [nn.init.ones_(p) for p in linear.parameters()], "weight_all_ones"),
    "bias left": (setting(EYE), "bias_unchanged"),
    "bias of ones": (setting(EYE, torch.ones(64)), "bias_not_zero"),
    "weight left": (setting(None, ZERO), "weight_unchanged"),
    "zeros": (setting(0 * EYE, ZERO), "weight_zero"),
    "zeros, bias left": (setting(0 * EYE), "weight_zero"),
    "zeros, bias of ones": (setting(0 * EYE, torch.ones(64)), "weight_zero"),
    "negative": (setting(-EYE, ZERO), "wrong_sign"),
    "doubled": (setting(2 * EYE, ZERO), "identity_scaled"),
    "a sixty-fourth": (setting(EYE / 64, ZERO), "identity_scaled"),
    "diagonal not all ones": (setting(torch.arange(64.0).diag(), ZERO), "diagonal_not_ones"),
    "diagonal alone": (setting(lambda W: W.clone().fill_diagonal_(1), ZERO), "only_diagonal_set"),
    "added": (setting(lambda W: W + EYE, ZERO), "ones_added"),
    "flipped": (setting(EYE.flip(0), ZERO), "wrong_order"),
    "noisy": (setting(EYE + 0.001, ZERO), "nearly_identity"),
    "orthogonal": (lambda linear: (nn.init.orthogonal_(linear.weight), nn.init.zeros_(linear.bias)), "orthogonal"),
    "triangle": (setting(torch.ones(64, 64).tril(), ZERO), "not_identity"),
    "Xavier": (lambda linear: nn.init.xavier_uniform_(linear.weight), "not_identity"),
    "nan": (setting(EYE * float("nan"), ZERO), "weight_not_finite"),
    "no no_grad": (forgets_no_grad, "no_grad_missing"),
    "tensor for parameter": (assigns_tensor, "bare_tensor_assigned"),
    "parameter removed": (removes_parameter, "weight_is_no_parameter"),
    "smaller": (makes_smaller, "wrong_weight_shape"),
    "float64": (makes_double, "wrong_weight_dtype"),
    "frozen": (freezes, "weight_frozen"),
    "frozen parameter": (freezes_all, "weight_frozen"),
    "forward replaced": (replaces_forward, "forward_replaced"),
    "forward replaced too": (sets_and_replaces_forward, "weights_right_forward_replaced"),
}


def test_identity_layer_explains():
    expect(checks.identity_layer, LAYERS)


def test_identity_layer_tells_the_numbers():
    for case, told in {
        "bias of ones": "b has numbers up to 1.",
        "zeros": "the output is zero",
        "zeros, bias left": "the output is the bias",
        "zeros, bias of ones": "the output is the bias",
        "doubled": "multiplies its input by 2:",
        "a sixty-fourth": "multiplies its input by 0.015625:",
        "smaller": "linear.weight now has shape (32, 32)",
        "float64": "and type torch.float64",
    }.items():
        assert told in checks.identity_layer(LAYERS[case][0]).message


def test_identity_layer_wants_the_function():
    expect(checks.identity_layer, {"a layer": (nn.Linear(64, 64), "no_function"), "a tensor": (EYE, "no_function"),
                                   "a class": (nn.Identity, "no_function")})


def test_identity_layer_open():
    def make_identity(linear):
        ...
    assert checks.identity_layer(make_identity).state == "open"


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
    verdict = checks.class_questions(RIGHT)
    assert verdict.solved and "4: The guarantee is about the loss on the data" in verdict.message
    assert checks.class_questions({question: f" {letter.upper()} " for question, letter in RIGHT.items()}).solved


def test_class_questions_explain_each_wrong_letter():
    expect(checks.class_questions, {
        (question, letter): (RIGHT | {question: letter}, f"question_{question}_{letter}")
        for question, (right, why) in checks.QUESTIONS.items() for letter in why if letter != right})


def test_class_questions_ask_for_what_they_need():
    expect(checks.class_questions, {
        "2 blank": (RIGHT | {"2": ...}, "no_answer"),
        "no such letter": (RIGHT | {"3": "f"}, "no_letter"),
        "a number": (RIGHT | {"3": 1}, "no_letter"),
        "a list": (["b", "c", "a", "d"], "no_dict"),
        "blank": (dict.fromkeys("1234", ...), "open"),
    })
