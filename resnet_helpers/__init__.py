"""Helpers of the ResNet notebooks. `import resnet_helpers as d2l` runs the code of the article they follow."""

from resnet_helpers import threads  # noqa: F401, before torch
from resnet_helpers.article import train_ch6
from resnet_helpers.data import (
    DatasetUnavailableError,
    get_fashion_mnist_labels,
    load_data_fashion_mnist,
    load_fashion_mnist,
    load_fashion_mnist_subset,
)
from resnet_helpers.errors import MemoryFullError, UnsuitableBatchError
from resnet_helpers.models import (
    Bottleneck,
    PlainBlock,
    PlainBottleneck,
    Residual,
    copy_torchvision_weights,
    count_parameters,
    resnet,
    resnet18,
    resnet34,
    resnet50,
    resnet101,
    resnet152,
    resnet_block,
)
from resnet_helpers.plotting import Animator, plot, set_figsize, show, show_images, subplots, use_style
from resnet_helpers.recordings import list_recordings, load_recording, play
from resnet_helpers.training import (
    Accumulator,
    History,
    NonFiniteLossError,
    Progress,
    Timer,
    accuracy,
    evaluate_accuracy,
    evaluate_accuracy_gpu,
    fit,
    init_weights,
    try_gpu,
)


def __getattr__(name):
    if name == "plt":  # as d2l.plt in the article's family of notebooks; imported when it is asked for
        import matplotlib.pyplot
        return matplotlib.pyplot
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "Accumulator", "Animator", "Bottleneck", "DatasetUnavailableError", "History", "MemoryFullError",
    "NonFiniteLossError", "PlainBlock", "PlainBottleneck", "Progress", "Residual", "Timer",
    "UnsuitableBatchError", "accuracy", "copy_torchvision_weights", "count_parameters", "evaluate_accuracy",
    "evaluate_accuracy_gpu", "fit", "get_fashion_mnist_labels", "init_weights", "list_recordings",
    "load_data_fashion_mnist", "load_fashion_mnist", "load_fashion_mnist_subset", "load_recording", "play",
    "plot", "resnet", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnet_block",
    "set_figsize", "show", "show_images", "subplots", "train_ch6", "try_gpu", "use_style",
]
