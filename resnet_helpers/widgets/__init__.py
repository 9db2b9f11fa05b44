"""The explorers, one a file: controls, and a picture that follows them at once.

For readers, in any notebook. Each shows what a plain function gives, which is tested without it.
"""

from resnet_helpers.widgets.block_explorer import BlockExplorer
from resnet_helpers.widgets.function_class_explorer import FunctionClassExplorer
from resnet_helpers.widgets.model_explorer import ModelExplorer
from resnet_helpers.widgets.prediction_browser import PredictionBrowser
from resnet_helpers.widgets.training_panel import TrainingPanel

__all__ = [
    "BlockExplorer", "FunctionClassExplorer", "ModelExplorer", "PredictionBrowser", "TrainingPanel",
]
