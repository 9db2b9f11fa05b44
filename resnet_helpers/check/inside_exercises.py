"""The exercise of notebooks/further/inside_a_resnet: a batch norm, folded into what follows it."""

import torch
from torch import nn

from resnet_helpers.check.verdicts import (
    close,
    diagnose,
    exercise,
    expect,
    expect_function,
    kind_of,
)

INSIDE_A_RESNET = 6  # number of the notebook, see `attempts.FURTHER`
FACTOR = "a must be bn.weight / (bn.running_var + bn.eps).sqrt()"
SHIFT = "The shift is b = bn.bias - a * bn.running_mean"


@exercise(INSIDE_A_RESNET, "fold a batch norm forward", hints=(
    "In eval mode the batch norm gives a * x + b, one factor a and one shift b for each of its "
    "features. Write linear(a * x + b) out: weight @ (a * x + b) + bias.",
    "Each column of the weight belongs to one input feature, so column j gets the factor a[j]. "
    "What is left over, weight @ b + bias, is the same for every x: it is the new bias.",
    "a = bn.weight / (bn.running_var + bn.eps).sqrt() and b = bn.bias - a * bn.running_mean. The "
    "new weight is linear.weight * a, the new bias linear.weight @ b + linear.bias; put both into "
    "a copy, copy.deepcopy(linear).",
))
def fold_forward(fold):
    """A function of bn and the linear layer behind it that gives one linear layer for both."""
    expect_function(fold, "bn", "linear")
    for in_features, out_features in ((5, 5), (6, 3)):  # square first: there scaled rows run, too
        bn, linear = _norm_and_linear(in_features, out_features)
        state = [value.clone() for value in _state(bn, linear)]
        folded = fold(bn, linear)
        same = all(map(torch.equal, state, _state(bn, linear)))
        expect(same and folded is not linear, "changes_input",
               "after the call bn or linear holds other numbers than before. Work on a copy, "
               "copy.deepcopy(linear), and leave both as they are.")
        _expect_linear(folded)
        _expect_weight(folded, bn, linear)
        _expect_bias(folded, bn, linear)
    return ("right. One layer does the work of two, in this direction as well. It works because "
            "nothing that is not linear lies between them: a ReLU in the middle would forbid it.")


def _norm_and_linear(in_features, out_features):
    """A batch norm that has seen something, in eval mode, and a linear layer behind it."""
    torch.default_generator.manual_seed(0)  # checks put the reader's state back
    bn, linear = nn.BatchNorm1d(in_features, eps=0.02).eval(), nn.Linear(in_features, out_features)
    with torch.no_grad():
        bn.running_mean.uniform_(0.5, 2)
        bn.running_var.uniform_(0.1, 3)
        bn.weight.uniform_(0.5, 2)
        bn.bias.uniform_(-1, 1)
    return bn, linear


def _state(*modules):
    """All parameters and running averages of modules, as a list."""
    return [value for module in modules for value in module.state_dict().values()]


def _expect_linear(folded):
    expect(folded is not None, "returns_none",
           "your function returns None: is its last line a `return`?")
    expect(isinstance(folded, nn.Linear), "no_linear",
           f"your function returns {kind_of(folded)}, where one nn.Linear was expected that does "
           f"the work of both.")


def _expect_numbers(numbers, old, name):
    """Wrong unless a weight or a bias has the shape of the old one, and finite numbers."""
    expect(numbers.shape == old.shape, "wrong_shape",
           f"the {name} of your layer has the shape {tuple(numbers.shape)}, where that of linear "
           f"has {tuple(old.shape)}. It must be the same.")
    expect(numbers.isfinite().all(), "not_finite",
           f"the {name} of your layer has numbers that are infinite or not a number.")


@torch.no_grad()
def _expect_weight(folded, bn, linear):
    """Wrong, with what it is, unless the columns of the weight are scaled as they must be."""
    weight = linear.weight
    _expect_numbers(folded.weight, weight, "weight")
    a, others = _factors(bn)
    if close(folded.weight, weight * a):
        return
    rows = ("the rows of the weight are scaled. They belong to what comes out of the linear layer, "
            "and the batch norm lies before it: scale the columns.")
    diagnose(folded.weight, (
        ("weight_unchanged", "the weight is still that of linear. Scale its columns.",
         lambda: weight),
        *(("rows_scaled", rows, lambda factor=factor: weight * factor[:, None])
          for factor in (a, *(factor for _, _, factor in others))),
        *((code, message, lambda factor=factor: weight * factor)
          for code, message, factor in others),
    ), ("wrong_weight", f"the weight is not right. Column j must be that of linear, times a[j], "
        f"and {FACTOR}."))


def _factors(bn):
    """The right factors, one for each feature, and triples of others: code, message, factors."""
    var, eps = bn.running_var, bn.eps
    right = bn.weight / (var + eps).sqrt()
    return right, (
        ("eps_left_out", f"eps is missing from the factor, or is 1e-5, where this batch norm has "
         f"{eps:g}: {FACTOR}.", bn.weight / var.sqrt()),
        ("eps_outside", f"eps is added to the root. It belongs to the variance: {FACTOR}.",
         bn.weight / (var.sqrt() + eps)),
        ("root_left_out", f"you divide by the variance. The root is missing: {FACTOR}.",
         bn.weight / (var + eps)),
        ("multiplied", "you multiply by the standard deviation, where a batch norm divides by it.",
         bn.weight * (var + eps).sqrt()),
        ("scale_left_out", "bn.weight, the scale that the batch norm has learnt, is missing from "
         f"the factor: {FACTOR}.", right / bn.weight),
        ("only_scale", "the factor is bn.weight alone. A batch norm also divides by the standard "
         f"deviation: {FACTOR}.", bn.weight),
    )


@torch.no_grad()
def _expect_bias(folded, bn, linear):
    """Wrong, with what it is, unless the bias is right; the weight is."""
    weight, bias, mean = linear.weight, linear.bias, bn.running_mean
    a, _ = _factors(bn)
    b = bn.bias - a * mean
    expect(folded.bias is not None, "bias_forgotten",
           "the weight is right, but your layer has no bias, and so the shift of the batch norm is "
           "gone.")
    _expect_numbers(folded.bias, bias, "bias")
    if close(folded.bias, weight @ b + bias):
        return
    told = f"the weight is right, the bias is not. {SHIFT}"
    diagnose(folded.bias, (
        ("bias_forgotten", "the weight is right, but the bias is still that of linear. The shift "
         "of the batch norm goes through the weight, and is added.", lambda: bias),
        ("old_bias_lost", "the weight is right, but the bias of linear is lost. Add it.",
         lambda: weight @ b),
        ("sign_of_mean", f"{told}: look at the sign of the mean.",
         lambda: weight @ (bn.bias + a * mean) + bias),
        ("mean_not_scaled", f"{told}: the mean is scaled, too.",
         lambda: weight @ (bn.bias - mean) + bias),
        ("mean_left_out", f"{told}: the mean is missing.", lambda: weight @ bn.bias + bias),
        ("shift_left_out", f"{told}: bn.bias is missing.", lambda: weight @ (-a * mean) + bias),
        ("scaled_twice", "the weight is right, but in the bias the shift meets the new weight, "
         "which is scaled already. Take that of linear.", lambda: (weight * a) @ b + bias),
        ("not_through_weight", "the weight is right, but in the bias the shift of the batch norm "
         "is added as it is. It goes through the linear layer, too: weight @ b.", lambda: b + bias),
    ), ("wrong_bias", f"{told}, and the new bias is linear.weight @ b + linear.bias."))
