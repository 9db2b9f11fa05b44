"""Helpers of the ResNet notebooks, for their readers: the article's names.

`import resnet_helpers as d2l` runs the article's code. `python -m resnet_helpers` lists commands.
"""

from resnet_helpers.engine import cores  # noqa: F401, before torch

# isort: split
from resnet_helpers.article import train_ch6
from resnet_helpers.data import (
    DatasetUnavailableError,
    get_fashion_mnist_labels,
    load_data_fashion_mnist,
    load_fashion_mnist,
    load_fashion_mnist_subset,
)
from resnet_helpers.errors import MemoryFullError, NonFiniteLossError, UnsuitableBatchError
from resnet_helpers.history import Accumulator, History, Progress, Timer
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
from resnet_helpers.plotting import (
    Animator,
    plot,
    set_figsize,
    show,
    show_images,
    subplots,
    use_style,
)
from resnet_helpers.runs.recordings import list_recordings, load_recording, play
from resnet_helpers.training import (
    accuracy,
    evaluate_accuracy,
    evaluate_accuracy_gpu,
    fit,
    init_weights,
    try_all_gpus,
    try_gpu,
)

# Names of the package d2l that other chapters or editions use, and what does the same here.
ELSEWHERE = {
    "d2l.train_ch6 or d2l.fit": ("Trainer", "train_ch3", "train_ch13", "train_batch_ch13"),
    "a torch.nn.Module of your own": ("Classifier", "Module", "HyperParameters", "add_to_class"),
    "d2l.resnet18 to d2l.resnet152, d2l.Residual and d2l.Bottleneck, or your own nn.Module":
        ("ResNet", "ResNeXtBlock", "LeNet", "DenseBlock"),
    "d2l.load_data_fashion_mnist, or torch.utils.data.DataLoader":
        ("FashionMNIST", "DataModule", "load_array", "get_dataloader_workers"),
    "d2l.Animator, d2l.plot or d2l.subplots": ("ProgressBoard", "set_axes", "use_svg_display"),
    "d2l.try_gpu or d2l.try_all_gpus": ("gpu", "num_gpus", "try_gpus"),
    "d2l.evaluate_accuracy, or resnet_helpers.predictions": ("evaluate_loss", "predict_ch3"),
    "what torch.nn, torch.nn.functional and torch.optim have":
        ("sgd", "linreg", "squared_loss", "synthetic_data", "corr2d", "softmax"),
}


def __getattr__(name):
    if name == "plt":  # as d2l.plt in the article's family of notebooks
        import matplotlib.pyplot
        return matplotlib.pyplot
    for instead, names in ELSEWHERE.items():
        if name in names:
            raise AttributeError(
                f"{name} is of another chapter or edition of Dive into Deep Learning; this package "
                f"has what the Chinese chapter on ResNet needs, with PyTorch. Use {instead} "
                f"instead")
    if name == "__version__":
        from importlib.metadata import version
        return version("resnet-helpers")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "Accumulator", "Animator", "Bottleneck", "DatasetUnavailableError", "History",
    "MemoryFullError", "NonFiniteLossError", "PlainBlock", "PlainBottleneck", "Progress",
    "Residual", "Timer", "UnsuitableBatchError", "accuracy", "copy_torchvision_weights",
    "count_parameters", "evaluate_accuracy", "evaluate_accuracy_gpu", "fit",
    "get_fashion_mnist_labels", "init_weights", "list_recordings", "load_data_fashion_mnist",
    "load_fashion_mnist", "load_fashion_mnist_subset", "load_recording", "play", "plot", "resnet",
    "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnet_block", "set_figsize",
    "show", "show_images", "subplots", "train_ch6", "try_all_gpus", "try_gpu", "use_style",
]
