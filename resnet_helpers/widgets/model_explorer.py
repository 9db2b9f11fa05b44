"""ResNet-18 to ResNet-152: the stages, what they cost, and a drawing to scale."""

import ipywidgets as widgets
import traitlets

from resnet_helpers.costs import model_costs
from resnet_helpers.diagrams import draw_resnet
from resnet_helpers.models import MODELS
from resnet_helpers.widgets.explorer import Explorer, OneOf, Whole, choice, number, switch, table


class ModelExplorer(Explorer):
    """A ResNet drawn to scale, above a table of its stages: shapes, blocks, costs, memory.

    Args, and attributes to read or set:
        depth: 18, 34, 50, 101 or 152.
        size: height and width of the image in pixels, 32 to 256.
        num_classes: 1 to 1000.
        in_channels: channels of the image, 1 to 4.
        batch_size: images at once, for the memory, 1 to 512.
        shortcuts: residual connections, or the plain network of the same layers.
    """

    depth = OneOf(tuple(MODELS), 18)
    size = Whole(224, min=32, max=256)
    num_classes = Whole(10, min=1, max=1000)
    in_channels = Whole(1, min=1, max=4)
    batch_size = Whole(256, min=1, max=512)
    shortcuts = traitlets.Bool(True)

    def _make_controls(self):
        self._table = widgets.HTML()
        self.below = (self._table,)
        traits = self.traits()
        return {"depth": choice("depth", [(f"ResNet-{depth}", depth) for depth in MODELS]),
                "shortcuts": switch("residual connections"),
                "size": number("image size", traits["size"]),
                "in_channels": number("image channels", traits["in_channels"]),
                "num_classes": number("classes", traits["num_classes"]),
                "batch_size": number("batch size", traits["batch_size"])}

    def _stages(self):
        return model_costs(self.depth, self.size, self.num_classes, self.in_channels,
                           self.shortcuts)

    def _picture(self):
        stages = self._stages()
        name = f"ResNet-{self.depth}" if self.shortcuts else f"Plain net of {self.depth} layers"
        return (draw_resnet(stages, self.size, self.in_channels, self.shortcuts),
                describe_model(name, stages, self.batch_size))

    def _update_more(self):
        self._table.value = stage_table(self._stages(), self.batch_size)


def describe_model(name, stages, batch_size):
    """Totals of a tuple of `StageCosts` in a sentence."""
    parameters, multiply_adds, activations = totals(stages)
    return (f"{name}: {parameters:,} parameters, {multiply_adds / 1e9:.3g} billion multiply-adds "
            f"for one image; training with a batch of {batch_size} keeps "
            f"{bytes_in_words(activations * batch_size)} of activations.")


def totals(stages):
    """(parameters, multiply-adds, bytes of activations) of all `StageCosts`, for one image."""
    return tuple(sum(getattr(stage, what) for stage in stages)
                 for what in ("parameters", "multiply_adds", "activation_bytes"))


def stage_table(stages, batch_size):
    """`StageCosts` as an HTML table, a row per stage and one for all of them."""
    head = ("stage", "blocks", "output shape", "parameters", "multiply-adds",
            f"activations, batch of {batch_size}")
    rows = [(stage.name, len(stage.blocks) or "", "×".join(map(str, stage.shape)),
             stage.parameters, stage.multiply_adds, stage.activation_bytes) for stage in stages]
    rows.append(("together", sum(len(stage.blocks) for stage in stages), "", *totals(stages)))
    rows = [(*row, bytes_in_words(activations * batch_size)) for *row, activations in rows]
    return table(head, rows,
                 "For one image, except the last column: what training keeps in float32 for the "
                 "backward pass. Multiply-adds: convolutions and linear layer.")


def bytes_in_words(n):
    """Bytes as text in the unit that suits: 12,345,678 is 11.8 MiB."""
    if n >= 2**30:
        return f"{n / 2**30:.2f} GiB"
    return f"{n / 2**20:.1f} MiB" if n >= 2**20 else f"{n / 2**10:.1f} KiB"
