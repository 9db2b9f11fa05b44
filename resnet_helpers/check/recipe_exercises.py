"""The exercises of notebooks/further/better_recipes: numbers, mirrored images, a learning rate."""

import math

import torch

from resnet_helpers.check.verdicts import (
    call,
    close,
    diagnose,
    exercise,
    expect,
    expect_function,
    expect_number,
    expect_tensor,
)

BETTER_RECIPES = 5  # number of the notebook, see `attempts.FURTHER`

# --- the numbers of a recipe ---

NUMBERS = {  # name -> (right, what to say about any other number, {number: (code, what it is)})
    "versions": (50, "mirrored or not, times the places up and down, times those left and right. "
                 "How many places does a shift of at most 2 allow?", {
        18: ("one_pixel", "that is for at most one pixel. With two there are five places each way: "
             "-2, -1, 0, 1 and 2."),
        25: ("flips_missing", "those are the places. Each of them can be mirrored or not."),
        32: ("no_rest_place", "an image may also stay where it is: five places each way."),
        8: ("one_direction", "an image moves to both sides, and may stay: five places each way."),
        20: ("places_added", "each place up and down goes with each one left and right: multiply."),
        10: ("one_axis", "that is for one direction. It moves up or down, and left or right."),
    }),
    "right_class": (0.82, "the share 0.2 is spread over all ten classes, the right one too.", {
        0.8: ("own_part_missing", "the right class is one of the ten, and gets its tenth of the "
              "0.2 as well."),
        0.02: ("wrong_class", "that is what each wrong class is to get."),
        0.91: ("other_smoothing", "that is for a smoothing of 0.1."),
        0.98: ("one_part_taken", "that takes a tenth of 0.2 away. All of the 0.2 is taken, and a "
               "tenth of it comes back."),
    }),
    "other_class": (0.02, "the share 0.2 is spread evenly over all ten classes.", {
        0.2 / 9: ("nine_classes", "the 0.2 is spread over all ten classes, not over the nine wrong "
                  "ones."),
        0.2: ("not_divided", "that is more than all wrong classes get together. Divide by ten."),
        0.01: ("other_smoothing", "that is for a smoothing of 0.1."),
    }),
    "steps": (4690, "steps an epoch, rounded up, times the number of epochs.", {
        469: ("one_epoch", "that is one epoch. The run has ten."),
        468: ("one_epoch", "that is one epoch, rounded down. The run has ten."),
        4680: ("rounded_down", "60,000 is not a multiple of 128: each epoch ends with a smaller "
               "batch, which is a step too."),
        4687.5: ("part_of_step", "there is no part of a step: each epoch ends with a smaller "
                 "batch, and a step all the same."),
        4688: ("rounded_at_end", "each epoch ends with a smaller batch: round up an epoch, then "
               "take it ten times."),
        2350: ("other_batch_size", "that is for batches of 256."),
    }),
    "longer_steps": (20, "1 + 0.95 + 0.95² + ... is a geometric series.", {
        10: ("other_momentum", "that is for a momentum of 0.9."),
        0.05: ("not_inverted", "that is 1 - 0.95. The sum is one over it."),
        1.95: ("two_terms", "those are the first two terms. The sum goes on."),
        19: ("first_term_missing", "the sum begins with 1, the step itself."),
    }),
}


@exercise(BETTER_RECIPES, "the numbers of a recipe", hints=(
    "versions: at most two pixels means five places up and down and five left and right, and in "
    "each an image is mirrored or not.",
    "right_class and other_class: with a smoothing s over ten classes, each class gets s / 10, and "
    "the right one 1 - s on top of that.",
    "steps: round up the batches of one epoch, then multiply by the epochs. longer_steps: "
    "1 + m + m² + ... = 1 / (1 - m).",
))
def recipe_numbers(numbers):
    """A dict with versions, right_class, other_class, steps and longer_steps."""
    keys = ", ".join(NUMBERS)
    expect(isinstance(numbers, dict), "no_dict", f"the answer must be a dict with the keys {keys}.")
    for name, (right, otherwise, mistakes) in NUMBERS.items():
        expect(numbers.get(name, ...) is not ..., "no_answer",
               f"{name!r} has no answer yet: the dict needs {keys}.")
        answer = expect_number(numbers[name], f"{name!r}")
        for value, (code, text) in mistakes.items():
            expect(not _is_like(answer, value), code, f"{name}: {text}")
        expect(_is_like(answer, right), f"wrong_{name}", f"{name}: {otherwise}")
    return ("right. Fifty versions of each image, a target that never asks for certainty, steps "
            "that grow to twenty times their length where they agree: know such numbers of a "
            "recipe before you start it.")


def _is_like(answer, value):
    return math.isclose(answer, value, rel_tol=1e-4)  # 4,687.5 is not 4,688


# --- mirrored images ---

@exercise(BETTER_RECIPES, "mirror some images", hints=(
    "X.flip(-1) mirrors all images left to right: the last dimension of (N, 1, H, W) is the width.",
    "torch.where(condition, A, B) takes A where the condition holds, else B. flips has the shape "
    "(N,), X has (N, 1, H, W): give flips three more dimensions of length 1.",
    "torch.where(flips[:, None, None, None], X.flip(-1), X)",
))
def mirror_images(mirror):
    """A function of X (N, C, H, W) and flips, bool (N,), that mirrors those images it says."""
    expect_function(mirror, "X", "flips")
    generator = torch.Generator().manual_seed(0)
    for shape in ((6, 1, 5, 5), (4, 3, 4, 7)):  # square first: there a transpose runs, too
        X = torch.rand(shape, generator=generator)
        flips = torch.arange(len(X)) % 3 == 0
        for chosen in (flips, torch.zeros_like(flips), torch.ones_like(flips)):
            _expect_mirrored(call(mirror, X, chosen, what="your function"), X, chosen)
    return ("right. In each epoch the flips are drawn anew, so half of the images come mirrored, "
            "and another half the next time.")


def _expect_mirrored(Y, X, flips):
    """Wrong unless Y is X with the images mirrored left to right that `flips` says."""
    expect_tensor(Y, X.shape, "your function")
    mirrored = flips[:, None, None, None]
    if close(Y, torch.where(mirrored, X.flip(-1), X)):
        return
    diagnose(Y, (
        ("upside_down", "the right images are mirrored, but top to bottom. The width is the last "
         "dimension, -1.", lambda: torch.where(mirrored, X.flip(-2), X)),
        ("turned", "the right images are turned by half a turn: only the width is to be mirrored.",
         lambda: torch.where(mirrored, X.flip(-1, -2), X)),
        ("others_mirrored", "the other way round: those images are mirrored that flips says to "
         "leave alone.", lambda: torch.where(mirrored, X, X.flip(-1))),
        ("all_mirrored", f"all images are mirrored, where flips names {int(flips.sum())} of "
         f"{len(flips)}.", lambda: X.flip(-1)),
        ("order_changed", "the images have changed places. flip(0) turns the order of the batch "
         "round, and labels would no longer fit.", lambda: X.flip(0)),
        ("not_mirrored", "the images come out as they went in. X.flip(-1) returns a new tensor and "
         "leaves X as it is: use what it returns.", lambda: X),
    ), ("not_right", "some images are not what they should be. Send a batch of two small images "
        "through your function, with flips True and False, and print both."))


# --- a learning rate ---

@exercise(BETTER_RECIPES, "a rate that rises and falls", hints=(
    "Two cases: in the first quarter of the steps the rate rises from 0 to highest, afterwards it "
    "falls to 0.",
    "Rising: highest * step / (steps / 4). Falling: what share of the last three quarters is still "
    "to come?",
    "if step < steps / 4: return highest * step / (steps / 4); else "
    "return highest * (steps - step) / (steps - steps / 4)",
))
def warm_up_rate(my_rate):
    """A function of step, steps and highest that gives the learning rate of that step."""
    expect_function(my_rate, "step", "steps", "highest")
    for steps, highest in ((100, 0.05), (400, 0.4)):
        quarter = steps // 4
        points = {0: 0.0, quarter: highest, steps: 0.0, quarter // 5: highest / 5,
                  quarter + 3 * quarter // 5: 0.8 * highest, steps - quarter: highest / 3}
        rates = {step: _expect_rate(my_rate, step, steps, highest) for step in points}
        _expect_shape(rates, steps, highest)
        for step, right in points.items():
            expect(math.isclose(rates[step], right, rel_tol=1e-3, abs_tol=1e-6 * highest),
                   "not_straight",
                   f"{_call_of(step, steps, highest)} is {rates[step]:.4g}, and should be "
                   f"{right:.4g}: the rate rises in a straight line for a quarter of the run, and "
                   f"falls in a straight line over the rest.")
    return ("right. With torch.optim.lr_scheduler.LambdaLR, which multiplies the optimiser's rate, "
            "my_rate(step, steps, 1.0) becomes a schedule that fit takes.")


def _call_of(step, steps, highest):
    return f"my_rate({step}, {steps}, {highest:g})"


def _expect_rate(my_rate, step, steps, highest):
    """The reader's rate at one step, a float."""
    rate, asked = my_rate(step, steps, highest), _call_of(step, steps, highest)
    expect(rate is not None, "returns_none",
           f"{asked} returns None: does each case end in a `return`?")
    return expect_number(rate, asked)


def _expect_shape(rates, steps, highest):
    """Wrong, with what it is, for the shapes that are most easily mistaken for the right one."""
    quarter = steps // 4
    expect(len(set(rates.values())) > 1, "constant",
           f"the rate is {rates[0]:.4g} at every step. It is to rise first, and then to fall.")
    expect(not math.isclose(max(rates.values()), 1.0, rel_tol=1e-3), "a_share",
           f"the largest rate is 1: that is a share of the highest rate. Multiply by highest, "
           f"{highest:g} here.")
    expect(not math.isclose(rates[0], highest, rel_tol=1e-3), "no_rise",
           f"{_call_of(0, steps, highest)} is {rates[0]:.4g}, the highest rate. A run begins with "
           f"0 and rises for a quarter of its steps.")
    expect(not math.isclose(rates[steps], highest, rel_tol=1e-3), "no_fall",
           f"{_call_of(steps, steps, highest)} is {rates[steps]:.4g}, the highest rate. At the end "
           f"the rate must be 0, so that the weights come to rest.")
    expect(rates[steps] >= 0, "below_zero",
           f"{_call_of(steps, steps, highest)} is {rates[steps]:.4g}. Below 0 a step would climb: "
           f"the fall takes three quarters of the run, not one.")
    expect(math.isclose(rates[quarter], highest, rel_tol=1e-3), "other_top",
           f"after a quarter of the run, {_call_of(quarter, steps, highest)}, the rate is "
           f"{rates[quarter]:.4g}. That is where it should be at its highest, {highest:g}.")
