"""Helpers of the ResNet notebooks. `import resnet_helpers as d2l` runs the code of the article they follow."""

from resnet_helpers.article import train_ch6
from resnet_helpers.data import (
    DatasetUnavailableError,
    get_fashion_mnist_labels,
    load_data_fashion_mnist,
    load_fashion_mnist,
    load_fashion_mnist_subset,
)
from resnet_helpers.engine import cores  # noqa: F401, before torch
from resnet_helpers.errors import MemoryFullError, UnsuitableBatchError
from resnet_helpers.history import History, Progress
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
    Accumulator,
    NonFiniteLossError,
    Timer,
    accuracy,
    evaluate_accuracy,
    evaluate_accuracy_gpu,
    fit,
    init_weights,
    try_all_gpus,
    try_gpu,
)


def __getattr__(name):
    if name == "plt":  # as d2l.plt in the article's family of notebooks; imported when it is asked for
        import matplotlib.pyplot
        return matplotlib.pyplot
    if name in ELSEWHERE:
        raise AttributeError(f"{name} is of another chapter or edition of Dive into Deep Learning; this package has "
                             f"what the Chinese chapter on ResNet needs, with PyTorch. Use {ELSEWHERE[name]} instead")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# Names of the package d2l, and what does the same here.
ELSEWHERE = {
    **dict.fromkeys(("Trainer", "train_ch3", "train_ch13", "train_batch_ch13"), "d2l.train_ch6 or d2l.fit"),
    **dict.fromkeys(("Classifier", "Module", "HyperParameters", "add_to_class"), "a torch.nn.Module of your own"),
    **dict.fromkeys(("ResNet", "ResNeXtBlock", "LeNet", "DenseBlock"),
                    "d2l.resnet18 to d2l.resnet152, d2l.Residual and d2l.Bottleneck, or your own nn.Module"),
    **dict.fromkeys(("FashionMNIST", "DataModule", "load_array", "get_dataloader_workers"),
                    "d2l.load_data_fashion_mnist, or torch.utils.data.DataLoader"),
    **dict.fromkeys(("ProgressBoard", "set_axes", "use_svg_display"), "d2l.Animator, d2l.plot or d2l.subplots"),
    **dict.fromkeys(("gpu", "num_gpus", "try_gpus"), "d2l.try_gpu or d2l.try_all_gpus"),
    **dict.fromkeys(("evaluate_loss", "predict_ch3"), "d2l.evaluate_accuracy, or resnet_helpers.predictions"),
    **dict.fromkeys(("sgd", "linreg", "squared_loss", "synthetic_data", "corr2d", "softmax"),
                    "what torch.nn, torch.nn.functional and torch.optim have"),
}


__all__ = [
    "Accumulator", "Animator", "Bottleneck", "DatasetUnavailableError", "History", "MemoryFullError",
    "NonFiniteLossError", "PlainBlock", "PlainBottleneck", "Progress", "Residual", "Timer",
    "UnsuitableBatchError", "accuracy", "copy_torchvision_weights", "count_parameters", "evaluate_accuracy",
    "evaluate_accuracy_gpu", "fit", "get_fashion_mnist_labels", "init_weights", "list_recordings",
    "load_data_fashion_mnist", "load_fashion_mnist", "load_fashion_mnist_subset", "load_recording", "play",
    "plot", "resnet", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnet_block",
    "set_figsize", "show", "show_images", "subplots", "train_ch6", "try_all_gpus", "try_gpu", "use_style",
]
