"""The residual block: its switches, its shapes, its costs, and what it makes of an image."""

from itertools import zip_longest

import ipywidgets as widgets
import traitlets

from resnet_helpers.costs import block_costs, block_remedies
from resnet_helpers.data import FASHION_MNIST_CLASSES
from resnet_helpers.diagrams import draw_block, path_costs
from resnet_helpers.experiments import block_feature_maps
from resnet_helpers.widgets.explorer import (
    FITTING,
    ROW,
    Explorer,
    OneOf,
    Whole,
    choice,
    dropdown,
    number,
    switch,
)

MAX_CHANNELS, MAX_SIZE, MOST_REMEDIES = 64, 56, 2


class BlockExplorer(Explorer):
    """A `Residual` block drawn with the shape on every edge, its costs, and real feature maps.

    If branch and shortcut cannot be added, it says why, and has a button for each change that
    mends it.

    Args, and attributes to read or set:
        use_1x1conv, strides, input_channels, num_channels: as for `Residual`; channels from 1 to
            64, strides 1 or 2.
        size: height and width of the image in pixels, 1 to 56.
        shortcut_kernel_size: 1 for the true 1x1 convolution, 3 for the article's.
        image: which image goes in: a class name of Fashion-MNIST.

    Attributes:
        remedies: what would mend the block, {words: {trait: value}}; empty if it works.
    """

    remedies = {}

    use_1x1conv = traitlets.Bool(False)
    strides = OneOf((1, 2), 1)
    input_channels = Whole(3, min=1, max=MAX_CHANNELS)
    num_channels = Whole(3, min=1, max=MAX_CHANNELS)
    size = Whole(28, min=1, max=MAX_SIZE)
    shortcut_kernel_size = OneOf((1, 3), 1)
    image = OneOf(FASHION_MNIST_CLASSES, "ankle boot")

    def _make_controls(self):
        # Buttons that come and go would take more messages, and the focus with them.
        self._shown, self._hidden = widgets.Layout(**FITTING), widgets.Layout(display="none")
        self._mending = widgets.HBox(
            [widgets.Button(layout=self._hidden) for _ in range(MOST_REMEDIES)], layout=ROW)
        for button in self._mending.children:
            button.on_click(self._mend)
        self.above = (self._mending,)
        traits = self.traits()
        kernel_sizes = (("conv3: true 1×1", 1), ("conv3: article's 3×3", 3))
        return {"use_1x1conv": switch("use_1x1conv"),
                "strides": choice("strides", (1, 2)),
                "shortcut_kernel_size": choice("conv3", kernel_sizes),
                "input_channels": number("input_channels", traits["input_channels"]),
                "num_channels": number("num_channels", traits["num_channels"]),
                "size": number("image size", traits["size"]),
                "image": dropdown("image", FASHION_MNIST_CLASSES)}

    def _block(self):
        return {name: getattr(self, name) for name in (
            "input_channels", "num_channels", "use_1x1conv", "strides", "size")}

    def _picture(self):
        block = {**self._block(), "shortcut_kernel_size": self.shortcut_kernel_size}
        costs, label = block_costs(**block), FASHION_MNIST_CLASSES.index(self.image)
        return (draw_block(costs, block_feature_maps(label, **block)),
                describe_block(costs, self.use_1x1conv, self.strides))

    def _update_more(self):
        """A button for each change that would make the block work; none if it works."""
        self.remedies = {_words(change): change for change in block_remedies(**self._block())}
        for button, words in zip_longest(self._mending.children, self.remedies):
            with button.hold_sync():  # one message
                button.layout = self._shown if words else self._hidden
                if words:
                    button.description, button.tooltip = f"Set {words}", f"mends the block: {words}"

    def _mend(self, button):
        change = self.remedies[button.description.removeprefix("Set ")]
        with self.hold_trait_notifications():
            for name, value in change.items():
                setattr(self, name, value)
        self._controls["use_1x1conv"].input.focus()  # the button is gone

    def close(self):
        """Remove the explorer from the page and free what it holds."""
        super().close()
        for layout in (self._shown, self._hidden):
            layout.close()


def _words(change):
    """A change of some traits as it stands in a call: "strides=1, num_channels=3"."""
    return ", ".join(f"{name}={value}" for name, value in change.items())


def describe_block(costs, use_1x1conv, strides):
    """A `BlockCosts` in a sentence: the call and its output shape, or why there is none."""
    call = (f"Residual({costs.input_shape[0]}, {costs.branch_shape[0]}, "
            f"use_1x1conv={use_1x1conv}, strides={strides})")
    if costs.shortcut and costs.shortcut[0].operation.startswith("3"):
        call += " with the article's 3×3 conv3"
    if costs.output_shape:
        return (f"{call}: input shape {costs.input_shape}, output shape {costs.output_shape}. "
                f"Costs: branch {path_costs(costs.branch)}; "
                f"shortcut {path_costs(costs.shortcut)}.")
    shapes = f"the branch brings {costs.branch_shape}, the shortcut {costs.shortcut_shape}"
    if costs.error:
        return (f"{call} gives no output: {shapes}, and they cannot be added. torch says: "
                f"{costs.error}.")
    return (f"{call} is refused: {shapes}. torch would say nothing and stretch the shortcut, "
            f"which is not what a block means.")
