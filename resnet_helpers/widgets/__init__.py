"""Explorers for the notebooks. Each shows the result of a plain function, tested without it."""

from resnet_helpers.widgets.block_explorer import BlockExplorer
from resnet_helpers.widgets.function_class_explorer import FunctionClassExplorer
from resnet_helpers.widgets.model_explorer import ModelExplorer
from resnet_helpers.widgets.prediction_browser import PredictionBrowser
from resnet_helpers.widgets.training_panel import TrainingPanel

__all__ = [
    "BlockExplorer", "FunctionClassExplorer", "ModelExplorer", "PredictionBrowser", "TrainingPanel",
]
