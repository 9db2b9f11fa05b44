"""A training run described by its settings alone, named recipes, and what `fit` needs for one."""

import reprlib
from dataclasses import asdict, dataclass, field, fields, replace

import torch
from torch import nn

from resnet_helpers.data import ImageBatches, load_fashion_mnist, load_fashion_mnist_subset
from resnet_helpers.engine.arithmetic import PRECISIONS
from resnet_helpers.history import History
from resnet_helpers.models import MODELS, STEMS, expect_sizes
from resnet_helpers.training import fit, init_weights, try_gpu

OPTIMIZERS = {
    "SGD": (torch.optim.SGD, {}),
    "SGD, momentum 0.9": (torch.optim.SGD, {"momentum": 0.9}),
    "SGD, Nesterov momentum 0.9": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "Adam": (torch.optim.Adam, {}),
}
SCHEDULES = ("constant", "linear", "one-cycle")
SHARE_HELD_OUT = 1 / 12  # of the training images: 5,000 of 60,000
KINDS = {str: (str, "a string"), bool: (int, "True or False"),
         int: (int, "a whole number of 64 bits"), float: ((float, int), "a number")}


# --- settings ---

def setting(default, help, choices=None):
    """A field of `RunSettings`: its default, what it means, and the values that it can have."""
    return field(default=default, metadata={"help": help, "choices": choices})


@dataclass(frozen=True)
class RunSettings:
    """All that decides how a run goes. The defaults are the quick run of notebook 4.

    `python -m resnet_helpers.train --help` lists the settings and says what each of them means.

    Raises:
        ValueError: a value of another type, or outside its range.
    """

    data: str = setting(
        "subset", "the 7,000 images that come with the package, or all 70,000", ("subset", "full"))
    image_size: int = setting(28, "height and width in pixels that the images are resized to")
    depth: int = setting(18, "layers of the network", tuple(MODELS))
    shortcuts: bool = setting(True, "residual connections, or a plain network of the same layers")
    stem: str = setting(
        "7x7", "first convolution; with stride 2 if 7x7, and with pooling unless 3x3", STEMS)
    normalize: bool = setting(
        False, "subtract the mean of the training images, divide by their standard deviation")
    flip: bool = setting(False, "mirror each training image with a probability of one half")
    shift: int = setting(0, "pixels by which training images are moved at random, at most")
    optimizer: str = setting("SGD", "kind of gradient descent", tuple(OPTIMIZERS))
    lr: float = setting(0.05, "learning rate; with a schedule, the highest")
    weight_decay: float = setting(0.0, "for all weights but biases and those of batch norm")
    schedule: str = setting(
        "linear", "how the learning rate changes; linear falls to zero in a straight line, "
        "one-cycle rises for the first quarter and falls to zero along a cosine", SCHEDULES)
    label_smoothing: float = setting(0.0, "share of the probability that all classes get alike")
    batch_size: int = setting(64, "images a step, of all processes together")
    num_epochs: int = setting(6, "passes over the training images")
    seed: int = setting(0, "of the weights and of all that is random in the batches")
    precision: str = setting("auto", "auto is bfloat16 where that is much faster", PRECISIONS)
    sync_batch_norm: bool = setting(
        False, "with several processes: batch norm over all of a batch, not each process's part")
    held_out: bool = setting(False, "test on training images that are held back for that")

    def __post_init__(self):
        for item in fields(self):
            value, choices = getattr(self, item.name), item.metadata["choices"]
            types, kind = KINDS[item.type]
            largest = 1 if item.type is bool else 2**63 - 1
            if not isinstance(value, types) or (isinstance(value, int) and abs(value) > largest):
                raise ValueError(f"{item.name} must be {kind}, got {reprlib.repr(value)}")
            if choices and value not in choices:
                raise ValueError(f"{item.name} must be one of {', '.join(map(str, choices))}, "
                                 f"got {value!r}")
        expect_sizes(image_size=self.image_size, batch_size=self.batch_size,
                     num_epochs=self.num_epochs)
        if not 0 < self.lr < float("inf"):
            raise ValueError(f"lr must be above 0 and finite, got {self.lr!r}")
        if not 0 <= self.weight_decay < float("inf"):
            raise ValueError(f"weight_decay must be at least 0 and finite, got {self.weight_decay}")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must be from 0 and below 1, got "
                             f"{self.label_smoothing!r}")
        if not 0 <= self.shift < 28:
            raise ValueError(f"shift must be from 0 to 27 pixels, got {self.shift!r}")

    @property
    def model(self):
        """The name of the network."""
        return f"ResNet-{self.depth}" if self.shortcuts else f"plain-{self.depth}"


# --- recipes ---

@dataclass(frozen=True)
class Rung:
    """A step on the way from the article's settings to today's: the change, and the settings."""

    change: str
    settings: RunSettings


def _climb(settings, *changes):
    """A `Rung` for each pair of words and changed settings; it keeps the changes before it."""
    rungs = []
    for words, changed in changes:
        settings = replace(settings, **changed)
        rungs.append(Rung(words, settings))
    return tuple(rungs)


ARTICLE = RunSettings(
    data="full", image_size=96, batch_size=256, schedule="constant", num_epochs=10)
LADDER = _climb(
    ARTICLE,
    ("the article, at 28 pixels", {"image_size": 28}),
    ("normalised images", {"normalize": True}),
    ("momentum, weight decay", {"optimizer": "SGD, Nesterov momentum 0.9", "weight_decay": 5e-4}),
    ("one-cycle learning rate", {"schedule": "one-cycle"}),
    ("flips and shifts", {"flip": True, "shift": 1}),
    ("label smoothing", {"label_smoothing": 0.1}),
    ("batches of 128", {"batch_size": 128}),
    ("a stem for small images", {"stem": "3x3"}),
)
RECIPES = {
    "quick": RunSettings(),
    "article": ARTICLE,
    "modern": LADDER[-1].settings,  # what ten years taught, all of it
    # for a class that has three minutes
    "fast": replace(next(rung.settings for rung in LADDER
                         if rung.change == "one-cycle learning rate"), num_epochs=3),
}


# --- runs ---

@dataclass
class PreparedRun:
    """What `fit` needs for a run, and how to go on with one later."""

    settings: RunSettings
    net: nn.Module
    train_iter: ImageBatches
    test_iter: ImageBatches
    optimizer: torch.optim.Optimizer
    scheduler: object  # of the learning rate; None if it stays
    loss: nn.Module
    generator: torch.Generator  # of all that is random in the batches

    def fit(self, **kwargs):
        """The generator `fit` for this run; arguments of `fit` replace what this run has.

        The history's `config` gets the settings too, but names the number of epochs and the
        precision of `fit`.
        """
        history = kwargs.setdefault("history", History())
        own = {"net": self.net, "train_iter": self.train_iter, "test_iter": self.test_iter,
               "optimizer": self.optimizer, "scheduler": self.scheduler, "loss": self.loss,
               "num_epochs": self.settings.num_epochs, "precision": self.settings.precision}
        progress = fit(**{**own, **kwargs})
        of_fit = {name: history.config[name] for name in ("num_epochs", "precision")}
        history.config |= {**asdict(self.settings), "model": self.settings.model, **of_fit}
        return progress

    def state_dict(self):
        """Weights, optimiser, schedule and random states, as tensors, numbers and strings."""
        return {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict(),
                "scheduler": self.scheduler.state_dict() if self.scheduler else None,
                "batches": self.generator.get_state(), "torch": torch.get_rng_state(),
                "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}

    def load_state_dict(self, state):
        """Bring everything into the state that `state_dict` described.

        Raises:
            ValueError: it is not the state of such a run; a part may have been loaded then.
        """
        try:
            self.net.load_state_dict(state["net"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.scheduler:
                self.scheduler.load_state_dict(state["scheduler"])
            self.generator.set_state(state["batches"])
            torch.set_rng_state(state["torch"])
            if len(state["cuda"]) == torch.cuda.device_count():  # else: on another machine
                torch.cuda.set_rng_state_all(state["cuda"])
        except Exception as error:  # whatever does not fit
            reason = str(error).split("\n")[0]
            raise ValueError(
                f"this is not the state of a run of {self.settings.model} with "
                f"{self.settings.optimizer} ({type(error).__name__}: {reason})") from None


def prepare_run(settings, device=None, root=None):
    """Load the data and make the network for `RunSettings`.

    The global random state is left as it was.

    Args:
        device: where to train; None means `try_gpu()`.
        root: folder of the full data set, as for `load_fashion_mnist`.

    Raises:
        DatasetUnavailableError: the full data set is not here and could not be downloaded.
    """
    device = try_gpu() if device is None else torch.device(device)
    generator = torch.Generator().manual_seed(settings.seed)
    train_iter, test_iter = _load_batches(settings, device, root, generator)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(settings.seed)  # weights begin on the CPU
        net = MODELS[settings.depth](shortcuts=settings.shortcuts, stem=settings.stem)
        net = net.apply(init_weights).to(device)
    optimizer = _make_optimizer(settings, net)
    scheduler = _make_scheduler(settings, optimizer, settings.num_epochs * len(train_iter))
    loss = nn.CrossEntropyLoss(label_smoothing=settings.label_smoothing)
    return PreparedRun(settings, net, train_iter, test_iter, optimizer, scheduler, loss, generator)


def _load_batches(settings, device, root, generator):
    """The `ImageBatches` to train and to test on."""
    is_subset = settings.data == "subset"
    data = load_fashion_mnist_subset() if is_subset else load_fashion_mnist(root)
    train, test = (data.train_images, data.train_labels), (data.test_images, data.test_labels)
    if settings.held_out:  # the same images whatever the seed
        order = torch.randperm(len(train[0]), generator=torch.Generator().manual_seed(0))
        held_out, kept = order.tensor_split([round(SHARE_HELD_OUT * len(order))])
        test = [tensor[held_out] for tensor in train]
        train = [tensor[kept] for tensor in train]
    scale = {}
    if settings.normalize:
        pixels = train[0].float() / 255
        scale = {"mean": pixels.mean().item(), "std": pixels.std().item()}
    train_iter = ImageBatches(
        *train, settings.batch_size, True, settings.image_size, device, generator,
        flip=settings.flip, shift=settings.shift, **scale)
    test_iter = ImageBatches(
        *test, settings.batch_size, False, settings.image_size, device, **scale)
    return train_iter, test_iter


def _make_optimizer(settings, net):
    """The optimiser; weight decay spares biases and batch norm, which are vectors."""
    kind, options = OPTIMIZERS[settings.optimizer]
    matrices = [p for p in net.parameters() if p.dim() > 1]
    vectors = [p for p in net.parameters() if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": settings.weight_decay},
              {"params": vectors, "weight_decay": 0.0}]
    return kind(groups, lr=settings.lr, **options)


def _make_scheduler(settings, optimizer, steps):
    """The scheduler of the learning rate for so many steps; None if it stays.

    Source of "one-cycle": Smith, Topin, "Super-Convergence" (2018).
    """
    if settings.schedule == "linear":
        return torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)
    if settings.schedule == "one-cycle":
        steps = max(steps, 5)  # with 4 it divides by zero
        return torch.optim.lr_scheduler.OneCycleLR(
            optimizer, settings.lr, steps, pct_start=0.25, cycle_momentum=False)
    return None
