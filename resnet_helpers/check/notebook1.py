"""The exercises of notebook 1: nested or not, a family of the reader's own, and a layer that is the identity."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from resnet_helpers import function_classes
from resnet_helpers.check.verdicts import Wrong, choose, exercise

# --- nested or not ---

FAMILIES = {  # letter -> (is it nested?, why)
    "A": (True, "doubling k halves every piece, so all the old cuts stay; give both halves the height of the old "
                "piece, and the old function is still there. It is the step from 2 to 3 that loses a cut, and this "
                "family leaves it out."),
    "B": (True, "a polynomial of degree at most k is one of degree at most k + 1: the new coefficient may be zero."),
    "C": (False, "degree exactly k means that the coefficient of x to the power k is not zero, so a straight line is "
                 "no member of F_2: two of these classes have no function in common."),
    "D": (True, "the new cosine may have the amplitude zero, and then the sum is one of F_k. It would be otherwise if "
                "F_k held the one cosine of frequency k alone."),
    "E": (False, "the discs grow, but they walk away faster: F_1 reaches from 1 to 3 along the axis and F_2 from 2 to "
                 "6, so the point (1, 0) is lost."),
}


@exercise(1, "nested or not", hints=(
    "Not size decides, but this: is every single function of F_k also a member of the next class?",
    "For a family of formulas: can the new coefficient be zero? For pieces: are all the old cuts still there? For "
    "discs: look at the leftmost point of each.",
))
def nested_or_not(answers):
    """{letter: True or False} for the five families of the task."""
    if not isinstance(answers, dict):
        raise Wrong("no_dict", 'the answer must be a dict such as {"A": True, "B": False, ...}.')
    answers = {key.strip().upper() if isinstance(key, str) else key: answer for key, answer in answers.items()}
    unknown = [key for key in answers if key not in FAMILIES]
    if unknown:
        raise Wrong("unknown_family", f"there is no family {unknown[0]!r}: they are {', '.join(FAMILIES)}.")
    for letter in FAMILIES:
        if answers.get(letter, ...) is ...:
            raise Wrong("no_answer", f"family {letter} has no answer yet.")
        if type(answers[letter]).__name__ not in ("bool", "bool_"):  # bool_ is numpy's
            raise Wrong("no_bool",
                        f"family {letter}: answer True (nested) or False (not nested), without quotation marks; got "
                        f"{answers[letter]!r}.")
    mistakes = [letter for letter, (nested, _) in FAMILIES.items() if bool(answers[letter]) != nested]
    if mistakes:
        nested, why = FAMILIES[mistakes[0]]
        raise Wrong(f"family_{mistakes[0].lower()}_wrong",
                    f"{len(FAMILIES) - len(mistakes)} of {len(FAMILIES)} are right. Family {mistakes[0]} is "
                    f"{'nested' if nested else 'not nested'}: {why}")
    doubled = function_classes.best_distances(function_classes.TARGETS["jump"], 8, nested=False)
    return ("all right.\n"
            f"A, for the target of section 1.3: {', '.join(f'{doubled[k - 1]:.3f} at k = {k}' for k in (1, 2, 4, 8))}; "
            f"a doubling never makes it worse.\n"
            "C is not nested, and yet a larger degree does no harm: with a coefficient near zero it comes as near to "
            "F_k as you like. Nested classes never fit the data worse; others may.")


# --- a family of the reader's own ---

MAX_K = 6
LEAST_CHANGE = 0.001  # what is called worse must be visible in three places


@exercise(1, "a family of your own", hints=(
    "The target \"bump\" rises from 0.1 on, is highest at 0.3, and is nearly flat again from 0.5 on. Where must the "
    "cuts be to follow it? Where are cuts wasted?",
    "Give F_3 two good cuts around the bump. F_4 has three cuts, but nothing forces it to keep those two.",
    "Equal pieces for every k but 4; for k = 4, cuts that all lie to the right of 0.65.",
))
def own_family(my_edges):
    """A function of k that returns the k + 1 ends of the k pieces of F_k."""
    if isinstance(my_edges, (type, nn.Module)) or not callable(my_edges):
        raise Wrong("no_function",
                    "the answer must be the function my_edges itself: a function of k that returns the ends of k "
                    "pieces.")
    edges = {k: _ends(my_edges(k), k) for k in (3, 4, 1, 2, *range(5, MAX_K + 1))}  # a message about k = 1 says little
    for k in range(MAX_K, 0, -1):  # in another order, to find what is kept from call to call
        if not torch.equal(_ends(my_edges(k), k, again=True), edges[k]):
            raise Wrong("other_ends_later",
                        f"my_edges({k}) gives other ends when it is called again. A class has fixed pieces, and only "
                        f"the k heights are free: no random numbers, and no list that is kept between the calls.")
    d = {k: function_classes.best_distance(function_classes.TARGETS["bump"], edges[k]) for k in sorted(edges)}
    told = ", ".join(f"F_{k} {d[k]:.3f}" for k in d)
    if d[4] - d[3] < LEAST_CHANGE:
        code, message = _why_not_worse(edges, d)
        raise Wrong(code, f"{message}\nYour distances: {told}.")
    lost = ", ".join(f"{cut:.3f}" for cut in edges[3].tolist() if not _contains(edges[4], cut))
    return (f"right: {told}. F_4 has one number more, but no longer the cut at {lost}, and with it the functions that "
            f"jump there are gone.")


def _ends(returned, k, again=False):
    """What my_edges(k) returned, as a sorted tensor (k + 1,) from 0 to 1; Wrong if it is none."""
    call = f"my_edges({k})" + (", called again," if again else "")
    if returned is None or returned is ...:
        raise Wrong("returns_none",
                    f"{call} returns {returned!r}. It must return the ends of the pieces for every k from 1 to "
                    f"{MAX_K}.")
    values = returned.tolist() if hasattr(returned, "tolist") else returned
    try:
        if not isinstance(values, (list, tuple, range)):
            raise TypeError
        ends = torch.tensor([float(value) for value in values], dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise Wrong("no_list_of_numbers",
                    f"{call} must return a list or tensor of {k + 1} numbers, the ends of its {k} pieces; it returns "
                    f"{str(returned)[:80]}.") from None
    _expect_count(ends, k, call)
    shown = _show(ends)
    if not ends.isfinite().all():
        raise Wrong("not_finite", f"{call} returns {shown}: that holds something which is no number.")
    if (ends.diff() < 0).any():
        raise Wrong("not_sorted", f"{call} returns {shown}: the ends must go up from 0 to 1. Sort them.")
    if (ends.diff() == 0).any():
        raise Wrong("zero_width",
                    f"{call} returns {shown}: a piece from one end to the same end has no width, so there are fewer "
                    f"than {k} pieces, and fewer than {k} free numbers.")
    if abs(ends[0]) > 1e-6 or abs(ends[-1] - 1) > 1e-6:
        code, question = "not_from_0_to_1", ""
        if ends[-1] == k > 1:
            code, question = "not_divided_by_k", " Did you forget to divide by k?"
        raise Wrong(code, f"{call} returns {shown}: the pieces must cover the interval from 0 to 1, so the first end "
                          f"is 0 and the last is 1.{question}")
    return ends


def _expect_count(ends, k, call):
    n = len(ends)
    if n == k + 1:
        return
    pieces = "1 piece has" if k == 1 else f"{k} pieces have"
    if n == k > 1 and ends.min() > 0 and math.isclose(ends.sum(), 1, abs_tol=1e-5):
        raise Wrong("widths_for_ends",
                    f"{call} returns {_many(n)} that make 1 together: those look like the widths of the pieces. Return "
                    f"where the pieces end: 0, the first width, the sum of the first two, and so on.")
    if n == k:
        raise Wrong("one_end_missing",
                    f"{call} returns {_many(n)}, but {pieces} {k + 1} ends: 0 and 1 are both among them.")
    if n == k - 1:
        raise Wrong("cuts_alone",
                    f"{call} returns {_many(n)}: those are the cuts inside the interval. Put 0 before and 1 behind "
                    f"them, which makes {k + 1}.")
    code, question = "too_few_ends", ""
    if n > k + 1:
        code, question = "too_many_ends", " Is a list kept from one call to the next, and grows?"
    raise Wrong(code, f"{call} returns {_many(n)}, but {pieces} {k + 1} ends.{question}")


def _many(n):
    return "1 number" if n == 1 else f"{n} numbers"


def _show(ends):
    return "[" + ", ".join(f"{end:.4g}" for end in ends.tolist()) + "]"


def _contains(edges, end):
    return (edges - end).abs().min() < 1e-6


def _why_not_worse(edges, d):
    """Code and message: why F_4 is not worse than F_3."""
    keeps = {k: all(_contains(edges[k], end) for end in edges[k - 1].tolist()) for k in range(2, MAX_K + 1)}
    if all(keeps.values()):
        return ("nested_family",
                "your family is nested: the ends of each F_k are also ends of the next class. Then it cannot get worse "
                "for any target. Let F_4 give up a cut that F_3 needs.")
    if keeps[4]:
        return ("f3_inside_f4",
                f"F_4 keeps all ends of F_3 ({_show(edges[3])}), so F_3 is contained in F_4, and F_4 cannot be worse. "
                f"Let it give up a cut that F_3 needs.")
    if d[4] > d[3] + 1e-9:
        return ("hardly_worse",
                f"F_4 is worse than F_3, but by less than {LEAST_CHANGE}. Let F_4 lose more: which cut of F_3 matters "
                f"most to the bump?")
    worse = [k for k in range(2, MAX_K + 1) if d[k] - d[k - 1] >= LEAST_CHANGE]
    if worse:
        return ("worse_elsewhere",
                f"your family gets worse at k = {', '.join(map(str, worse))}, but not at k = 4, where the task wants "
                f"it.")
    return ("not_worse",
            "F_3 is not contained in F_4, so F_4 could be worse, but for this target it is not: F_3 may have no good "
            "cuts yet, or F_4 has some as good. Move the cuts of F_3 to the bump, and those of F_4 away from it.")


# --- a layer that is the identity ---

SIZE = 64


@exercise(1, "a layer that is the identity", hints=(
    "linear(x) = W x + b. Which matrix W and which vector b give x again?",
    "The functions of nn.init whose names end in an underscore change a tensor in place, without recording a gradient.",
    "nn.init.eye_ for the weight, nn.init.zeros_ for the bias.",
))
def identity_layer(make_identity):
    """A function that changes an nn.Linear(64, 64) so that with ReLU behind it, what is not negative is passed on."""
    if isinstance(make_identity, (type, nn.Module)) or not callable(make_identity):
        raise Wrong("no_function",
                    "the answer must be the function make_identity itself: it takes a layer and changes its weights.")
    for seed in (0, 1):
        torch.default_generator.manual_seed(seed)
        linear = nn.Linear(SIZE, SIZE)
        W, b = linear.weight.detach().clone(), linear.bias.detach().clone()
        result = _run_make_identity(make_identity, linear)
        _expect_parameters(linear)
        _expect_identity(linear, W, b, result)
    numbers, ones = SIZE * SIZE + SIZE, SIZE
    return (f"right. The deeper network can still be what it was before. To find this by training, a layer has to hit "
            f"{ones} ones and {numbers - ones:,} zeros, the biases included; with a shortcut, {numbers:,} zeros are "
            f"enough.")


def _run_make_identity(make_identity, linear):
    try:
        return make_identity(linear)
    except TypeError as error:
        if "cannot assign" in str(error):
            raise Wrong("bare_tensor_assigned",
                        "nn.Linear takes no bare tensor in place of its weight or bias. Change the numbers in the one "
                        "it has: with a function of nn.init, or with copy_ under torch.no_grad().") from None
        raise
    except RuntimeError as error:
        if "leaf Variable" in str(error) or "leaf variable" in str(error):
            raise Wrong("no_grad_missing",
                        "autograd forbids changing a parameter in place, unless it is told not to record that: put the "
                        "line under `with torch.no_grad():`, or use a function of nn.init.") from None
        raise


def _expect_parameters(linear):
    """Wrong unless the layer still has a weight, and perhaps a bias, that fit and can be trained."""
    for name, shape in (("weight", (SIZE, SIZE)), ("bias", (SIZE,))):
        tensor = getattr(linear, name, None)
        if tensor is None and name == "bias":
            continue  # taken away: that is zero as well
        if not isinstance(tensor, nn.Parameter):
            raise Wrong(f"{name}_is_no_parameter",
                        f"linear.{name} is no parameter any more, so no optimizer would find it. Change the numbers in "
                        f"the parameter that is there.")
        if tuple(tensor.shape) != shape or tensor.dtype != torch.float32:
            part = "dtype" if tuple(tensor.shape) == shape else "shape"
            raise Wrong(f"wrong_{name}_{part}",
                        f"linear.{name} now has shape {tuple(tensor.shape)} and type {tensor.dtype}; it must stay "
                        f"{shape} and torch.float32.")
        if not tensor.requires_grad:
            raise Wrong(f"{name}_frozen",
                        f"linear.{name} has requires_grad=False now: training could not change it any more, and so "
                        f"not make anything better of it.")
        if not tensor.isfinite().all():
            raise Wrong(f"{name}_not_finite", f"linear.{name} holds numbers that are infinite or not a number.")


@torch.no_grad()
def _expect_identity(linear, old_W, old_b, result):
    """Wrong unless weight and bias are those of the identity, with a message that fits them."""
    W, b = linear.weight, torch.zeros(SIZE) if linear.bias is None else linear.bias
    X = torch.rand(8, SIZE) * 3
    is_replaced = not torch.equal(linear(X), F.linear(X, W, linear.bias))
    if torch.equal(W, old_W) and torch.equal(b, old_b):
        if is_replaced:
            raise Wrong("forward_replaced",
                        "the layer's forward was replaced, and its weights are as random as before. It is the weight "
                        "and the bias that must make it the identity.")
        if isinstance(result, nn.Module) and result is not linear:
            raise Wrong("returns_new_layer",
                        "make_identity returns a new layer and leaves the one it gets as it was. Change the numbers in "
                        "linear.weight and linear.bias.")
        raise Wrong("nothing_changed",
                    "weight and bias are the same as before. Change them in place, as nn.init.zeros_(tensor) does; "
                    "`linear = ...` or `W = ...` only gives a name to something else.")
    eye = torch.eye(SIZE)
    if not torch.equal(W, eye):
        raise Wrong(*_wrong_weight(W, b, old_W))
    if torch.equal(b, old_b):
        raise Wrong("bias_unchanged",
                    "the weight is right, but the bias is as random as before: the output is x + b. Set it to zero.")
    if not torch.equal(b, torch.zeros(SIZE)):
        raise Wrong("bias_not_zero",
                    f"the weight is right, but the bias is not: the output is x + b, and b has numbers up to "
                    f"{b.abs().max():g}. It must be zero.")
    if is_replaced:
        raise Wrong("weights_right_forward_replaced",
                    "weight and bias are right, but the layer's forward was replaced or has a hook, and gives "
                    "something else.")


def _wrong_weight(W, b, old_W):
    """Code and message."""
    eye = torch.eye(SIZE)
    off_diagonal, diagonal = W - W.diag().diag(), W.diag()
    if torch.equal(W, old_W):
        return ("weight_unchanged",
                "only the bias was changed: the weight is as random as before. Which matrix leaves every vector as it "
                "is?")
    if not W.any():
        return ("weight_zero",
                f"the weight is zero, so the output is {'the bias' if b.any() else 'zero'}, whatever x is. Zeros are "
                f"right for a layer with a shortcut, x + linear(x); here there is none, and the layer itself must pass "
                f"x on.")
    if torch.equal(W, torch.ones(SIZE, SIZE)):
        return ("weight_all_ones",
                "the weight is one everywhere: each output is then the sum of all 64 inputs. Ones belong on the "
                "diagonal alone.")
    if torch.equal(W, -eye):
        return ("wrong_sign",
                "the sign is wrong: the layer gives -x, and the ReLU makes zero of all that is not negative in x.")
    if not off_diagonal.any() and (diagonal == diagonal[0]).all():
        return ("identity_scaled",
                f"the layer multiplies its input by {diagonal[0]:g}: the numbers on the diagonal must be 1.")
    if not off_diagonal.any():
        return "diagonal_not_ones", "zero beside the diagonal is right, but not all numbers on the diagonal are 1."
    if torch.equal(diagonal, torch.ones(SIZE)) and torch.equal(off_diagonal, old_W - old_W.diag().diag()):
        return ("only_diagonal_set",
                "the diagonal is right, but the numbers beside it are as random as before: they mix the inputs. They "
                "must be zero.")
    if torch.equal(W, old_W + eye):
        return "ones_added", "the ones were added to the old weights, which are still in there. They must replace them."
    if ((W == 0) | (W == 1)).all() and (W.sum(0) == 1).all() and (W.sum(1) == 1).all():
        return ("wrong_order",
                "the layer gives the right numbers in another order: the ones must lie on the diagonal, from top left.")
    if (W - eye).abs().max() < 0.05:
        return ("nearly_identity",
                f"the weight is nearly right, but off by up to {(W - eye).abs().max():.1g}. Do not train it or add "
                f"noise: set it to the exact numbers.")
    if torch.allclose(W @ W.T, eye, atol=1e-4):
        return "orthogonal", "that is an orthogonal matrix: it keeps the length of a vector, but not its numbers."
    return "not_identity", "the output is not x: the weight must have ones on its diagonal and zeros everywhere else."


# --- questions ---

QUESTIONS = {
    "1": ("b", {
        "a": "The function that names every image correctly is f* itself, without a subscript. It need not lie in F at "
             "all.",
        "b": "It is the best that the architecture can do on the data: the argmin of the loss over the members of F. "
             "What training finds is at best that.",
        "c": "Training may stop at a member of F that is worse. f*_F is the best there is in F, found or not.",
        "d": "There is no average in it: one member of F is chosen, the one with the smallest loss.",
    }),
    "2": ("c", {
        "a": "Section 1.3 computed the opposite: three equal pieces fit the jump worse than two. More functions, but "
             "not those that were needed.",
        "b": "It may be farther but need not: for the ramp the family that is not nested never got worse.",
        "c": "Without F inside F', nothing follows: F' may or may not hold a function as near to f* as the best of F.",
        "d": "Two classes can be of any size and in any place: the number of parameters does not decide about the "
             "distance.",
    }),
    "3": ("a", {
        "a": "All functions of F are still candidates in F', so the smallest loss on the data over F' is at most that "
             "over F. More is not promised.",
        "b": "On new images the richer class may be worse: section 1.3 showed the loss on the data fall while the "
             "distance to f* rose.",
        "c": "Nesting says that a better member exists, not that gradient descent gets there. In section 1.4 the "
             "identity was in the class, yet a random layer is far from it.",
        "d": "Not strictly: a nested family can stand still, as it did for the jump after k = 2.",
    }),
    "4": ("d", {
        "a": "The best fit to the data never gets worse in a larger nested class, however large.",
        "b": "They stay nested: the new layer can be the identity at any depth.",
        "c": "Adding members to a class takes none away: the identity remains possible.",
        "d": "The guarantee is about the loss on the data. A richer class can follow the noise in it, needs more data "
             "to be held down, is harder to search, and costs time and memory.",
    }),
}


@exercise(1, "four questions about classes", hints=(
    "Sections 1.1 and 1.2 for question 1, 1.3 for 2, its end for 3 and 4.",
    "For 3 and 4: the guarantee is a sentence about a minimum over more candidates. A minimum of what, and on which "
    "data?",
))
def class_questions(answers):
    """Letters for questions 1 to 4."""
    return choose(answers, QUESTIONS)
