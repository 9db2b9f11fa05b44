"""The exercises of notebook 1: nested or not, a family of the reader's own, an identity layer."""

import torch
from torch import nn

from resnet_helpers import function_classes
from resnet_helpers.check.verdicts import Wrong, choose, exercise, expect, expect_function

# --- nested or not ---

FAMILIES = {  # letter -> (is it nested?, why)
    "A": (True, "doubling k halves every piece, so all the old cuts stay; give both halves the "
                "height of the old piece, and the old function is still there. It is the step from "
                "2 to 3 that loses a cut, and this family leaves it out."),
    "B": (True, "a polynomial of degree at most k is one of degree at most k + 1: the new "
                "coefficient may be zero."),
    "C": (False, "degree exactly k means that the coefficient of x to the power k is not zero, so "
                 "a straight line is no member of F_2: two of these classes have no function in "
                 "common."),
    "D": (True, "the new cosine may have the amplitude zero, and then the sum is one of F_k. It "
                "would be otherwise if F_k held the one cosine of frequency k alone."),
    "E": (False, "the discs grow, but they walk away faster: F_1 reaches from 1 to 3 along the "
                 "axis and F_2 from 2 to 6, so the point (1, 0) is lost."),
}


@exercise(1, "nested or not", hints=(
    "Not size decides, but this: is every single function of F_k also a member of the next class?",
    "For a family of formulas: can the new coefficient be zero? For pieces: are all the old cuts "
    "still there? For discs: look at the leftmost point of each.",
))
def nested_or_not(answers):
    """{letter: True or False} for the five families of the task."""
    expect(isinstance(answers, dict), "no_dict",
           'the answer must be a dict such as {"A": True, "B": False, ...}.')
    answers = {str(letter).strip().upper(): answer for letter, answer in answers.items()}
    for letter in FAMILIES:
        answer = answers.get(letter, ...)
        expect(answer is not ..., "no_answer", f"family {letter} has no answer yet.")
        expect(type(answer).__name__ in ("bool", "bool_"), "no_bool",  # bool_ is NumPy's
               f"family {letter}: answer True (nested) or False (not nested), without quotation "
               f"marks; got {answer!r}.")
    right = [letter for letter, (is_nested, _) in FAMILIES.items() if answers[letter] == is_nested]
    for letter, (is_nested, why) in FAMILIES.items():
        expect(letter in right, f"family_{letter.lower()}_wrong",
               f"{len(right)} of {len(FAMILIES)} are right. Family {letter} is "
               f"{'nested' if is_nested else 'not nested'}: {why}")
    jump = function_classes.TARGETS["jump"]
    distances = function_classes.best_distances(jump, 8, nested=False)
    told = ", ".join(f"{distances[k - 1]:.3f} at k = {k}" for k in (1, 2, 4, 8))
    return (f"all right.\n"
            f"A, for the target of section 1.3: {told}; a doubling never makes it worse.\n"
            f"C is not nested, and yet a larger degree does no harm: with a coefficient near zero "
            f"it comes as near to F_k as you like. Nested classes never fit the data worse; others "
            f"may.")


# --- a family of the reader's own ---

LEAST_CHANGE = 0.001  # what is called worse must be visible in three places


@exercise(1, "a family of your own", hints=(
    "The target \"bump\" rises from 0.1 on, is highest at 0.3, and is nearly flat again from 0.5 "
    "on. Where must the cuts be to follow it? Where are cuts wasted?",
    "Give F_3 two good cuts around the bump. F_4 has three cuts, but nothing forces it to keep "
    "those two.",
    "Equal pieces for every k but 4; for k = 4, cuts that all lie to the right of 0.65.",
))
def own_family(my_edges):
    """A function of k that returns the k + 1 ends of the k pieces of F_k."""
    expect_function(my_edges, "k")
    edges = {k: _expect_ends(my_edges(k), k) for k in (3, 4, 1, 2, 5, 6)}  # k = 1 says little
    bump = function_classes.TARGETS["bump"]
    distances = {k: function_classes.best_distance(bump, edges[k]) for k in sorted(edges)}
    told = ", ".join(f"F_{k} {distance:.3f}" for k, distance in distances.items())
    lost = [end for end in edges[3].tolist() if (edges[4] - end).abs().min() > 1e-6]
    if distances[4] - distances[3] >= LEAST_CHANGE:
        return (f"right: {told}. F_4 has one number more, but no longer the cut at "
                f"{', '.join(f'{cut:.3f}' for cut in lost)}, and with it the functions that jump "
                f"there are gone.")
    expect(lost, "f3_inside_f4",
           f"F_4 keeps all ends of F_3, so F_3 is contained in F_4, and F_4 cannot be worse, "
           f"whatever the target. Let it give up a cut that F_3 needs.\nYour distances: {told}.")
    raise Wrong("not_worse",
                f"F_3 is not contained in F_4, so F_4 could be worse, but for this target it is "
                f"not, or by less than {LEAST_CHANGE}: F_3 may have no good cuts yet, or F_4 has "
                f"some as good. Move the cuts of F_3 to the bump, and those of F_4 away from it.\n"
                f"Your distances: {told}.")


def _expect_ends(returned, k):
    """What my_edges(k) returned, as a sorted tensor (k + 1,) from 0 to 1; Wrong if it is none."""
    try:
        ends = torch.as_tensor(returned, dtype=torch.float64)
        if ends.dim() != 1:
            raise ValueError
    except (TypeError, ValueError, RuntimeError):
        raise Wrong("no_list_of_numbers",
                    f"my_edges({k}) must return a list or tensor of {k + 1} numbers, the ends of "
                    f"the {k} pieces; it returns {str(returned)[:80]}.") from None
    start = f"my_edges({k}) returns [{', '.join(f'{end:.4g}' for end in ends.tolist())}]: "
    expect(len(ends) != k - 1, "cuts_alone", f"{start}those are the cuts inside the interval. Put "
           f"0 before and 1 behind them, which makes {k + 1} ends.")
    expect(len(ends) == k + 1, "wrong_number_of_ends", f"{start}a class with k = {k} has {k + 1} "
           f"ends, 0 and 1 among them.")
    expect((ends.diff() > 0).all(), "not_sorted", f"{start}the ends must go up, and no piece may "
           f"be empty.")
    expect(abs(ends[0]) < 1e-6 and abs(ends[-1] - 1) < 1e-6, "not_from_0_to_1",
           f"{start}the pieces must cover the interval, so the first end is 0 and the last is 1.")
    return ends


# --- a layer that is the identity ---

SIZE = 64


@exercise(1, "a layer that is the identity", hints=(
    "linear(x) = W x + b. Which matrix W and which vector b give x again?",
    "The functions of nn.init whose names end in an underscore change a tensor in place, without "
    "recording a gradient.",
    "nn.init.eye_ for the weight, nn.init.zeros_ for the bias.",
))
def identity_layer(make_identity):
    """A function that makes an nn.Linear(64, 64) pass on all that is not negative, behind ReLU."""
    expect_function(make_identity, "linear")
    torch.default_generator.manual_seed(0)
    linear = nn.Linear(SIZE, SIZE)
    old_W, old_b = linear.weight.detach().clone(), linear.bias.detach().clone()
    try:
        returned = make_identity(linear)
    except (TypeError, RuntimeError) as error:
        expect("cannot assign" not in str(error), "bare_tensor_assigned",
               "nn.Linear takes no bare tensor in place of its weight or bias. Change the numbers "
               "in the one it has: with a function of nn.init, or with copy_ under "
               "torch.no_grad().")
        expect("leaf variable" not in str(error).lower(), "no_grad_missing",
               "autograd forbids changing a parameter in place, unless it is told not to record "
               "that: put the line under `with torch.no_grad():`, or use a function of nn.init.")
        raise
    W, b = linear.weight, torch.zeros(SIZE) if linear.bias is None else linear.bias
    expect(all(p.requires_grad for p in linear.parameters()), "frozen",
           "a parameter has requires_grad=False now: training could not change it any more, and so "
           "not make anything better of it.")
    is_same = torch.equal(W, old_W) and torch.equal(b, old_b)
    expect(not is_same or returned is None or returned is linear, "returns_new_layer",
           "make_identity returns something new and leaves the layer it gets as it was. Change the "
           "numbers in linear.weight and linear.bias.")
    expect(not is_same, "nothing_changed",
           "weight and bias are the same as before. Change them in place, as "
           "nn.init.zeros_(tensor) does; `linear = ...` or `W = ...` only gives a name to "
           "something else.")
    expect(W.any(), "weight_zero",
           "the weight is zero, so the output is the bias, whatever x is. Zeros are right for a "
           "layer with a shortcut, x + linear(x); here there is none, and the layer itself must "
           "pass x on.")
    expect(not (W == 1).all(), "weight_all_ones", "the weight is one everywhere: each output is "
           "then the sum of all 64 inputs. Ones belong on the diagonal alone.")
    expect(not torch.equal(W, old_W.fill_diagonal_(1)), "only_diagonal_set",
           "the diagonal is right, but the numbers beside it are as random as before: they mix the "
           "inputs. They must be zero.")
    expect(torch.equal(W, torch.eye(SIZE)), "not_identity", "the output is not x: the weight must "
           "have ones on its diagonal and zeros everywhere else.")
    expect(not torch.equal(b, old_b), "bias_unchanged", "the weight is right, but the bias is as "
           "random as before: the output is x + b. Set it to zero.")
    expect(not b.any(), "bias_not_zero", f"the weight is right, but the bias is not: the output is "
           f"x + b, and b has numbers up to {b.abs().max():g}. It must be zero.")
    return (f"right. The deeper network can still be what it was before. To find this by training, "
            f"a layer has to hit {SIZE} ones and {SIZE * SIZE:,} zeros, the biases included; with "
            f"a shortcut, {SIZE * SIZE + SIZE:,} zeros are enough.")


# --- questions ---

QUESTIONS = {
    "1": ("b", {
        "a": "The function that names every image correctly is f* itself, without a subscript. It "
             "need not lie in F at all.",
        "b": "It is the best that the architecture can do on the data: the argmin of the loss over "
             "the members of F. What training finds is at best that.",
        "c": "Training may stop at a member of F that is worse. f*_F is the best there is in F, "
             "found or not.",
        "d": "There is no average in it: one member of F is chosen, that with the smallest loss.",
    }),
    "2": ("c", {
        "a": "Section 1.3 computed the opposite: three equal pieces fit the jump worse than two. "
             "More functions, but not those that were needed.",
        "b": "It may be farther but need not: for the ramp the family that is not nested never got "
             "worse.",
        "c": "Without F inside F', nothing follows: F' may or may not hold a function as near to "
             "f* as the best of F.",
        "d": "Two classes can be of any size and in any place: the number of parameters does not "
             "decide about the distance.",
    }),
    "3": ("a", {
        "a": "All functions of F are still candidates in F', so the smallest loss on the data over "
             "F' is at most that over F. More is not promised.",
        "b": "On new images the richer class may be worse: in the explorer of section 1.3 the "
             "class gets no worse, and yet its fit to noisy data can get farther from f*.",
        "c": "Nesting says that a better member exists, not that gradient descent gets there. In "
             "section 1.1 a network of 56 layers ended worse than one of 20, though it could have "
             "done the same.",
        "d": "Not strictly: a nested family can stand still, as it did for the jump after k = 2.",
    }),
    "4": ("d", {
        "a": "The best fit to the data never gets worse in a larger nested class, however large.",
        "b": "They stay nested: the new layer can be the identity at any depth.",
        "c": "Adding members to a class takes none away: the identity remains possible.",
        "d": "The guarantee is about the loss on the data. A richer class can follow the noise in "
             "it, needs more data to be held down, is harder to search, and costs time and memory.",
    }),
}


@exercise(1, "four questions about classes", hints=(
    "Section 1.2 for question 1, 1.3 for 2, its explorer and fine print for 3 and 4.",
    "For 3 and 4: the guarantee is a sentence about a minimum over more candidates. A minimum of "
    "what, and on which data?",
))
def class_questions(answers):
    """Letters for questions 1 to 4."""
    return choose(answers, QUESTIONS)
