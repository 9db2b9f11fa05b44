"""Experiments on small networks that show why residual connections matter, on a laptop and in seconds."""

from resnet_helpers.experiments.activations import feature_maps, most_activating
from resnet_helpers.experiments.inside import branch_sizes, signal_and_gradient, with_blocks
from resnet_helpers.experiments.loss_surface import loss_surface
from resnet_helpers.experiments.small_nets import small_net, train_small_net

__all__ = ["branch_sizes", "feature_maps", "loss_surface", "most_activating", "signal_and_gradient", "small_net",
           "train_small_net", "with_blocks"]
