"""The pictures of the notebooks, one call each: they draw, show themselves and say what is seen.

The first line of each alt text is a neutral title, for a cell whose answer is still folded.
"""

from resnet_helpers.pictures.inside_lesson import (
    branch_sizes_by_block,
    brightest_images,
    loss_surfaces,
    path_lengths,
    purity_by_depth,
    unrolled_paths,
)
from resnet_helpers.pictures.lesson1 import (
    best_steps,
    class_distances,
    depth_curves,
    inserted_layers,
    regions,
    row_of_images,
    targets,
)
from resnet_helpers.pictures.lesson2 import (
    gradient_curves,
    maps_along_block,
    plain_and_residual,
)
from resnet_helpers.pictures.lesson3 import (
    basic_and_bottleneck,
    model_to_scale,
    parameters_and_computing,
    without_one_block,
)
from resnet_helpers.pictures.lesson4 import (
    RunCurves,
    answers,
    confusion_matrix,
    depth_runs,
    describe_curves,
    images_of_each_class,
    replay,
)
from resnet_helpers.pictures.machines_lesson import (
    step_times,
)
from resnet_helpers.pictures.recipe_lesson import (
    held_out_curves,
    ladder_curves,
    losses_by_lead,
    rate_curves,
    stored_and_moved,
    two_recipes,
)

__all__ = [
    "RunCurves",
    "answers",
    "basic_and_bottleneck",
    "best_steps",
    "branch_sizes_by_block",
    "brightest_images",
    "class_distances",
    "confusion_matrix",
    "depth_curves",
    "depth_runs",
    "describe_curves",
    "gradient_curves",
    "held_out_curves",
    "images_of_each_class",
    "inserted_layers",
    "ladder_curves",
    "loss_surfaces",
    "losses_by_lead",
    "maps_along_block",
    "model_to_scale",
    "parameters_and_computing",
    "path_lengths",
    "plain_and_residual",
    "purity_by_depth",
    "rate_curves",
    "regions",
    "replay",
    "row_of_images",
    "step_times",
    "stored_and_moved",
    "two_recipes",
    "targets",
    "unrolled_paths",
    "without_one_block",
]
