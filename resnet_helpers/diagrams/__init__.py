"""Drawings of function classes, blocks, models and runs, from computed numbers.

For the notebooks and the explorers: each `draw_...` takes values and returns a `Sketch`.
"""

from resnet_helpers.diagrams.block import (
    draw_block,
    path_costs,
)
from resnet_helpers.diagrams.block_kinds import (
    draw_basic_and_bottleneck,
    draw_plain_and_residual,
)
from resnet_helpers.diagrams.classes import (
    FAMILIES,
    class_name,
    draw_class_fit,
    draw_function_classes,
)
from resnet_helpers.diagrams.curves import (
    draw_runs,
    draw_training,
)
from resnet_helpers.diagrams.network import (
    draw_resnet,
)

__all__ = [
    "FAMILIES",
    "class_name",
    "draw_basic_and_bottleneck",
    "draw_block",
    "draw_class_fit",
    "draw_function_classes",
    "draw_plain_and_residual",
    "draw_resnet",
    "draw_runs",
    "draw_training",
    "path_costs",
]
