"""Exercises that check themselves: `check.residual_block(MyResidual)` says what is right or wrong.

For readers, in the notebooks, and for teachers, who grade a folder of them with `check.grade`.
"""

from resnet_helpers.check.attempts import progress_file, summarize
from resnet_helpers.check.inside_exercises import fold_forward
from resnet_helpers.check.machine_exercises import accumulated_step, combine_gradients
from resnet_helpers.check.notebook1 import (
    class_questions,
    identity_layer,
    nested_or_not,
    own_family,
)
from resnet_helpers.check.notebook2 import (
    block_parameters,
    block_questions,
    block_shapes,
    bottleneck_block,
    broken_blocks,
    identity_initialization,
    preactivation_block,
    residual_block,
)
from resnet_helpers.check.notebook3 import (
    model_parameters,
    model_questions,
    model_shapes,
    resnet34_and_50,
    small_stem,
)
from resnet_helpers.check.notebook4 import (
    chance_level,
    evaluate_accuracy,
    mend_training_loop,
    quick_run,
    small_net,
    training_questions,
)
from resnet_helpers.check.recipe_exercises import mirror_images, recipe_numbers, warm_up_rate
from resnet_helpers.check.verdicts import EXERCISES, Verdict

_hints_given = {}  # name of an exercise -> how many


def progress():
    """Which exercises are solved, notebook by notebook, drawn; and where that is kept."""
    return summarize(EXERCISES)


def hint(name):
    """The next hint for an exercise; each says a little more, and after the last they begin again.

    Args:
        name: as in `check.NAME`, for example "residual_block".

    Raises:
        ValueError: there is no such exercise.
    """
    name = getattr(name, "__name__", name)
    if name not in EXERCISES:
        raise ValueError(f"there is no exercise {name!r}; those there are: {', '.join(EXERCISES)}")
    exercise = EXERCISES[name]
    number = _hints_given.get(name, 0) % len(exercise.hints) + 1
    _hints_given[name] = number
    text = f"hint {number} of {len(exercise.hints)}: {exercise.hints[number - 1]}"
    if number == len(exercise.hints):
        text += "\nThat was the last one; a folded cell below the check may hold a solution."
    return Verdict(exercise.title, "open", text)


__all__ = [
    "EXERCISES", "Verdict", "accumulated_step", "block_parameters", "block_questions",
    "block_shapes", "bottleneck_block", "broken_blocks", "chance_level", "class_questions",
    "combine_gradients", "evaluate_accuracy", "fold_forward", "hint", "identity_initialization",
    "identity_layer", "mend_training_loop", "mirror_images", "model_parameters",
    "model_questions", "model_shapes", "nested_or_not", "own_family", "preactivation_block",
    "progress", "progress_file", "quick_run", "recipe_numbers", "residual_block",
    "resnet34_and_50", "small_net", "small_stem", "training_questions", "warm_up_rate",
]
