"""Explorers for the notebooks. Each shows the result of a plain function that is tested without it."""

from resnet_helpers.widgets.block import BlockExplorer

__all__ = ["BlockExplorer"]
