"""The residual block with its two switches."""

import base64
import html

import ipywidgets as widgets
import traitlets

from resnet_helpers.diagrams import draw_block, trace_block
from resnet_helpers.plotting import to_png


class BlockExplorer(widgets.VBox):
    """Controls for `use_1x1conv`, `strides` and `num_channels`, above a drawing of the block that follows them.

    Args:
        use_1x1conv, strides, num_channels: the state to start from.
        input_channels, size: the image that goes in, `input_channels` x `size` x `size`.

    Attributes:
        use_1x1conv, strides, num_channels: the state; setting one moves its control.
        text: the result in words, for example "Output shape: (6, 3, 3)".

    Raises:
        traitlets.TraitError: a stride other than 1 or 2, or channels that are not among the choices.
    """

    use_1x1conv = traitlets.Bool(False)
    strides = traitlets.Enum((1, 2), 1)
    num_channels = traitlets.Int(3)
    text = traitlets.Unicode(read_only=True)

    def __init__(self, use_1x1conv=False, strides=1, num_channels=None, *, input_channels=3, size=6):
        num_channels = input_channels if num_channels is None else num_channels
        self._image = (input_channels, size)
        self._switch = widgets.Checkbox(description="use_1x1conv", indent=False, layout={"width": "130px"},
                                        tooltip="put a 1x1 convolution on the shortcut")
        self._strides = _choice("strides", (1, 2), "stride of conv1, and of the 1x1 convolution")
        self._channels = _choice("num_channels", sorted({input_channels, 2 * input_channels, num_channels}),
                                 "output channels of the block")
        self._drawing = widgets.HTML()
        super().__init__([widgets.HBox([self._switch, self._strides, self._channels],
                                       layout={"flex_flow": "row wrap", "grid_gap": "4px 24px"}), self._drawing])
        with self.hold_trait_notifications():
            self.use_1x1conv, self.strides, self.num_channels = use_1x1conv, strides, num_channels
        for name, control in (("use_1x1conv", self._switch), ("strides", self._strides),
                              ("num_channels", self._channels)):
            traitlets.link((self, name), (control, "value"))
        self.observe(self._draw, ("use_1x1conv", "strides", "num_channels"))
        self._draw()

    @traitlets.validate("num_channels")
    def _check_num_channels(self, proposal):
        if proposal.value not in self._channels.options:
            raise traitlets.TraitError(f"num_channels must be one of {self._channels.options}, "
                                       f"got {proposal.value}")
        return proposal.value

    def _draw(self, _=None):
        channels, size = self._image
        trace = trace_block(channels, self.num_channels, self.use_1x1conv, self.strides, size)
        self._png = to_png(draw_block(trace))
        call = (f"Residual({channels}, {self.num_channels}, use_1x1conv={self.use_1x1conv}, "
                f"strides={self.strides})")
        self.set_trait("text", f"{call} — " + (f"output shape {trace.output_shape}" if trace.output_shape
                                               else f"no output: {trace.error}"))
        self._drawing.value = (
            f'<img alt="Drawing of {html.escape(self.text)}" style="width: 1000px; max-width: 100%; height: auto" '
            f'src="data:image/png;base64,{base64.b64encode(self._png).decode()}">'
            f'<p role="status" style="max-width: 1000px; line-height: 1.4">{html.escape(self.text)}</p>')

    def _repr_mimebundle_(self, **kwargs):
        """The live widget, and a picture of its present state for pages without a kernel."""
        data = {**super()._repr_mimebundle_(**kwargs), "text/plain": f"BlockExplorer: {self.text}",
                "image/png": base64.b64encode(self._png).decode()}
        return data, {"image/png": {"width": 1000, "alt": f"Drawing of {self.text}"}}


def _choice(name, options, tooltip):
    return widgets.ToggleButtons(options=options, description=name, tooltips=[tooltip] * len(options),
                                 style={"button_width": "44px", "description_width": "initial"},
                                 layout={"width": "auto"})
