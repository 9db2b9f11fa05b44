"""Explorers for the notebooks. Each shows the result of a plain function that is tested without it."""

from resnet_helpers.widgets.block import BlockExplorer
from resnet_helpers.widgets.function_classes import FunctionClassExplorer
from resnet_helpers.widgets.model import ModelExplorer
from resnet_helpers.widgets.predictions import PredictionBrowser
from resnet_helpers.widgets.training import TrainingPanel

__all__ = ["BlockExplorer", "FunctionClassExplorer", "ModelExplorer", "PredictionBrowser", "TrainingPanel"]
