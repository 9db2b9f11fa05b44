"""What a batch meets on its way through a network, and where two networks differ first."""

from dataclasses import dataclass, field

import torch
from torch import nn

from resnet_helpers.models import in_mode

SETTINGS = {  # in which two layers of one kind must agree
    "Conv2d": ("in_channels", "kernel_size", "out_channels", "stride", "padding", "dilation",
               "groups", "bias"),
    "BatchNorm2d": ("num_features",),
    "MaxPool2d": ("kernel_size", "stride", "padding"),
    "AdaptiveAvgPool2d": ("output_size",),
    "Linear": ("in_features", "out_features", "bias"),
}


@dataclass(eq=False)
class LayerCall:
    """One call of a layer, or of a residual block.

    Attributes:
        name: of the module in its network, such as "2.0.conv1".
        module: the layer or block.
        X, Y: copies of input and output; Y is None if the call failed.
        inside: the calls of a block's layers.
    """

    name: str
    module: nn.Module
    X: torch.Tensor
    Y: torch.Tensor = None
    inside: list = field(default_factory=list)

    @property
    def kind(self):
        """Name of the layer's class, or "ResidualBlock"."""
        return "ResidualBlock" if _is_block(self.module) else type(self.module).__name__

    @property
    def has_weights(self):
        """Does it learn?"""
        return any(True for _ in self.module.parameters())

    @property
    def layers(self):
        """The calls of a block's layers that learn, the 1x1 convolution on the shortcut last."""
        def is_on_shortcut(call):
            has_1x1 = getattr(call.module, "kernel_size", None) == (1, 1)
            return has_1x1 and (call.X.shape, call.Y.shape) == (self.X.shape, self.Y.shape)

        return sorted((call for call in self.inside if call.has_weights), key=is_on_shortcut)


def follow(net, X):
    """Run a network in train mode on a batch, and take down what the batch meets.

    Returns:
        The calls of layers and residual blocks in order, the output of the network, and the error
        with which it failed; one of the two is None.
    """
    calls, open_calls, handles, Y, failure = [], [], [], None, None
    names = {module: name for name, module in net.named_modules()}

    def enter(module, inputs, named):
        X = next(iter((*inputs, *named.values())))
        call = LayerCall(names[module], module, X.detach().clone())
        (open_calls[-1].inside if open_calls else calls).append(call)
        open_calls.append(call)

    def leave(module, inputs, output):
        open_calls.pop().Y = output.detach().clone()

    for module in names:
        is_layer = not any(True for _ in module.children()) and not isinstance(module, nn.Identity)
        if module is not net and (is_layer or _is_block(module)):
            handles.append(module.register_forward_pre_hook(enter, with_kwargs=True))
            handles.append(module.register_forward_hook(leave))
    try:
        with in_mode(net, training=True):
            Y = net(X.clone())  # it may work in place
    except Exception as error:
        failure = error
    finally:
        for handle in handles:
            handle.remove()
    return calls, Y, failure


def first_difference(mine, expected):
    """Where two lists of calls differ first: (what, my call or None, expected call or None).

    `what` is "without" for a layer that is missing, "with" for one too many, or else a setting.
    """
    for i in range(max(len(mine), len(expected))):
        have, want = (calls[i] if i < len(calls) else None for calls in (mine, expected))
        if have is None or want is None or have.kind != want.kind:
            others = ["ResidualBlock", *[call.kind for call in mine[i:]]]
            is_missing = want is not None and want.kind not in others
            return ("without" if is_missing else "with"), have, want
        for name in SETTINGS.get(want.kind, ()):
            if layer_setting(have.module, name) != layer_setting(want.module, name):
                return name, have, want
    return None


def layer_setting(layer, name):
    """A setting of a layer: (3, 3) is given as 3, and of a bias only whether there is one."""
    value = getattr(layer, name)
    if name == "bias":
        return value is not None
    if value == "same":
        return layer.kernel_size[0] // 2
    return value[0] if isinstance(value, tuple) and len(set(value)) == 1 else value


def _is_block(module):
    """Has it two convolutions or more, and is no mere sequence?"""
    num_convs = sum(isinstance(child, nn.Conv2d) for child in module.children())
    return num_convs >= 2 and not isinstance(module, (nn.Sequential, nn.ModuleList))
