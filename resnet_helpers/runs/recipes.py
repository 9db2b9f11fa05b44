"""A training run described by its settings alone, the named recipes, and what `fit` needs to train one."""

import math
import reprlib
from dataclasses import asdict, dataclass, fields, replace

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


@dataclass(frozen=True)
class RunSettings:
    """All that decides how a run goes. The defaults are the quick run of notebook 4.

    Attributes:
        data: "subset", the 6,000 + 1,000 images that come with the package, or "full", all 70,000.
        image_size: height and width in pixels that the images are resized to.
        depth: 18, 34, 50, 101 or 152.
        shortcuts: residual connections, or the plain network of the same layers.
        stem: "7x7", "3x3-pool" or "3x3", see `models.resnet`.
        normalize: subtract the mean of the training images and divide by their standard deviation.
        flip: mirror each training image left to right with a probability of one half.
        shift: move each training image by up to so many of its 28 x 28 pixels.
        optimizer: a name in `OPTIMIZERS`.
        lr: learning rate, above 0; with a schedule, the highest.
        weight_decay: at least 0; for the weights of convolutions and linear layers, not for biases and batch norm.
        schedule: "constant"; "linear", which falls to zero in a straight line; or "one-cycle", which rises for the
            first quarter and falls to zero along a cosine (Smith, Topin, "Super-Convergence", 2018).
        label_smoothing: probability, from 0 and below 1, that is taken from the right class and spread over all.
        batch_size, num_epochs: at least 1.
        seed: of the weights and of all that is random in the batches.
        precision: "float32", "bfloat16" or "auto", see `precision.Arithmetic`.
        sync_batch_norm: where several processes train together, batch norm over all of a batch, not each one's part;
            see `distributed`.
        held_out: hold `SHARE_HELD_OUT` of the training images back and measure accuracy on them instead of on the test
            images: for choosing settings.

    Raises:
        ValueError: a value of another type, or outside its range.
    """

    data: str = "subset"
    image_size: int = 28
    depth: int = 18
    shortcuts: bool = True
    stem: str = "7x7"
    normalize: bool = False
    flip: bool = False
    shift: int = 0
    optimizer: str = "SGD"
    lr: float = 0.05
    weight_decay: float = 0.0
    schedule: str = "linear"
    label_smoothing: float = 0.0
    batch_size: int = 64
    num_epochs: int = 6
    seed: int = 0
    precision: str = "auto"
    sync_batch_norm: bool = False
    held_out: bool = False

    def __post_init__(self):
        for field in fields(self):
            value, (kinds, words) = getattr(self, field.name), KINDS[field.type]
            too_large = 2 if field.type is bool else 2**63
            if not isinstance(value, kinds) or (isinstance(value, int) and abs(value) >= too_large):
                raise ValueError(f"{field.name} must be {words}, got {reprlib.repr(value)}")
        expect_sizes(image_size=self.image_size, batch_size=self.batch_size, num_epochs=self.num_epochs)
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(map(str, allowed))}, got {getattr(self, name)!r}")
        if not 0 < self.lr < float("inf"):
            raise ValueError(f"lr must be above 0 and finite, got {self.lr!r}")
        if not 0 <= self.weight_decay < float("inf"):
            raise ValueError(f"weight_decay must be at least 0 and finite, got {self.weight_decay!r}")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must be from 0 and below 1, got {self.label_smoothing!r}")
        if not 0 <= self.shift < 28:
            raise ValueError(f"shift must be from 0 to 27 pixels, got {self.shift!r}")

    @property
    def model(self):
        """The name of the network."""
        return f"ResNet-{self.depth}" if self.shortcuts else f"plain-{self.depth}"


KINDS = {str: (str, "a string"), bool: (int, "True or False"), int: (int, "a whole number of 64 bits"),
         float: ((float, int), "a number")}
CHOICES = {"data": ("subset", "full"), "depth": tuple(MODELS), "stem": STEMS, "optimizer": tuple(OPTIMIZERS),
           "schedule": SCHEDULES, "precision": PRECISIONS}


@dataclass(frozen=True)
class Rung:
    """A step on the way from the article's settings to today's: what changes, in words, and the settings then."""

    change: str
    settings: RunSettings


def _climb(settings, *changes):
    """A `Rung` for each pair of words and changed settings; each keeps the changes of those before it."""
    rungs = []
    for words, changed in changes:
        settings = replace(settings, **changed)
        rungs.append(Rung(words, settings))
    return tuple(rungs)


ARTICLE = RunSettings(data="full", image_size=96, batch_size=256, schedule="constant", num_epochs=10)
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


def _rung(change):
    return next(rung.settings for rung in LADDER if rung.change == change)


RECIPES = {
    "quick": RunSettings(),
    "article": ARTICLE,
    "modern": LADDER[-1].settings,  # what ten years taught, all of it
    "fast": replace(_rung("one-cycle learning rate"), num_epochs=3),  # for a class that has three minutes
}


@dataclass
class PreparedRun:
    """What a run trains, and on what.

    Attributes:
        settings: its `RunSettings`.
        net, optimizer, scheduler, loss: ready for `fit`; the scheduler is None if the learning rate stays.
        train_iter, test_iter: batches.
        generator: where all that is random in the batches comes from.
    """

    settings: RunSettings
    net: nn.Module
    train_iter: ImageBatches
    test_iter: ImageBatches
    optimizer: torch.optim.Optimizer
    scheduler: object
    loss: nn.Module
    generator: torch.Generator

    def fit(self, **kwargs):
        """The generator `fit` for this run; a wrapped net, other batches and whatever else it takes can be given.

        The history's `config` gets the settings too, but names the number of epochs and the precision of `fit`.
        """
        history = kwargs.setdefault("history", History())
        progress = fit(**{"net": self.net, "train_iter": self.train_iter, "test_iter": self.test_iter,
                          "num_epochs": self.settings.num_epochs, "optimizer": self.optimizer,
                          "scheduler": self.scheduler, "loss": self.loss, "precision": self.settings.precision,
                          **kwargs})
        history.config |= {**asdict(self.settings), "model": self.settings.model,
                           **{name: history.config[name] for name in ("num_epochs", "precision")}}
        return progress

    def state_dict(self):
        """Weights, optimiser, schedule and random states, as tensors, numbers and strings."""
        return {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict(),
                "scheduler": self.scheduler.state_dict() if self.scheduler else None,
                "batches": self.generator.get_state(), "torch": torch.get_rng_state(),
                "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}

    def load_state_dict(self, state):
        """Bring everything into the state that `state_dict` described.

        Only what training changes is taken from there: the settings decide the rest, such as the momentum.

        Raises:
            ValueError: it is not the state of such a run; this one may have been changed in part then.
        """
        try:
            self._load_weights(state["net"])
            self._load_optimizer(state["optimizer"])
            if self.scheduler:
                self._load_scheduler(state["scheduler"]["last_epoch"])
            self.generator.set_state(state["batches"])
            torch.set_rng_state(state["torch"])
            if len(state["cuda"]) == torch.cuda.device_count():  # on another machine its GPUs' states mean nothing
                torch.cuda.set_rng_state_all(state["cuda"])
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            reason = str(error).split("\n")[0]
            raise ValueError(f"this is not the state of a run of {self.settings.model} with {self.settings.optimizer} "
                             f"({type(error).__name__}: {reason})") from None

    def _load_weights(self, weights):
        for name, own in self.net.state_dict().items():
            _check_kind(name, weights[name], own.shape, own.dtype)
        self.net.load_state_dict(weights)

    def _load_optimizer(self, saved):
        kind, options = OPTIMIZERS[self.settings.optimizer]
        sample = nn.Parameter(torch.zeros(1))  # after a step it shows what such an optimiser keeps for a weight
        sample.grad = torch.zeros(1)
        example = kind([sample], lr=self.settings.lr, **options)
        example.step()
        kept = {name: value for name, value in example.state[sample].items() if value is not None}
        state, own = {}, self.optimizer.state_dict()["param_groups"]
        params = [p for group in self.optimizer.param_groups for p in group["params"]]
        for i, p in enumerate(params if kept else []):
            state[i] = {name: saved["state"][i][name] for name in kept}
            for name, value in kept.items():
                _check_kind(name, state[i][name], p.shape if value.dim() else value.shape, value.dtype)
        rates = [group["lr"] for group in saved["param_groups"]]
        if len(rates) != len(own) or not all(isinstance(lr, (float, int)) and 0 <= lr < math.inf for lr in rates):
            raise ValueError(f"learning rates {reprlib.repr(rates)}")
        groups = [{**group, "lr": lr} for group, lr in zip(own, rates, strict=True)]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})

    def _load_scheduler(self, steps):
        total = self.settings.num_epochs * len(self.train_iter)
        if not isinstance(steps, int) or not 0 <= steps <= total:
            raise ValueError(f"{reprlib.repr(steps)} steps of a schedule of {total}")
        rates = [group["lr"] for group in self.optimizer.param_groups]
        self.scheduler.load_state_dict({**self.scheduler.state_dict(), "last_epoch": steps, "_step_count": steps + 1,
                                        "_last_lr": rates})


def _check_kind(name, tensor, shape, dtype):
    """Raise ValueError unless it is a tensor of this shape and type."""
    if not torch.is_tensor(tensor) or tensor.shape != shape or tensor.dtype != dtype:
        kind = f"{tuple(tensor.shape)} {tensor.dtype}" if torch.is_tensor(tensor) else type(tensor).__name__
        raise ValueError(f"{name} is {kind}, not {tuple(shape)} {dtype}")


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
        torch.default_generator.manual_seed(settings.seed)  # not those of GPUs: weights begin on the CPU
        net = MODELS[settings.depth](shortcuts=settings.shortcuts, stem=settings.stem).apply(init_weights).to(device)
    optimizer = _make_optimizer(settings, net)
    scheduler = _make_scheduler(settings, optimizer, settings.num_epochs * len(train_iter))
    loss = nn.CrossEntropyLoss(label_smoothing=settings.label_smoothing)
    return PreparedRun(settings, net, train_iter, test_iter, optimizer, scheduler, loss, generator)


def _load_batches(settings, device, root, generator):
    data = load_fashion_mnist_subset() if settings.data == "subset" else load_fashion_mnist(root)
    train, test = (data.train_images, data.train_labels), (data.test_images, data.test_labels)
    if settings.held_out:  # the same images whatever the seed
        order = torch.randperm(len(data.train_labels), generator=torch.Generator().manual_seed(0))
        num_held_out = round(SHARE_HELD_OUT * len(order))
        train, test = (tuple(tensor[part] for tensor in train) for part in (order[num_held_out:], order[:num_held_out]))
    scale = {}
    if settings.normalize:
        pixels = train[0].float() / 255
        scale = {"mean": pixels.mean().item(), "std": pixels.std().item()}
    return (ImageBatches(*train, settings.batch_size, True, settings.image_size, device, generator,
                         flip=settings.flip, shift=settings.shift, **scale),
            ImageBatches(*test, settings.batch_size, False, settings.image_size, device, **scale))


def _make_optimizer(settings, net):
    kind, options = OPTIMIZERS[settings.optimizer]
    decayed, others = ([p for p in net.parameters() if (p.dim() > 1) == is_matrix] for is_matrix in (True, False))
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return kind(groups, lr=settings.lr, **options)


def _make_scheduler(settings, optimizer, steps):
    if settings.schedule == "linear":
        return torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)
    if settings.schedule == "one-cycle":
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.lr, total_steps=max(steps, 5), pct_start=0.25,
                                                   cycle_momentum=False)  # with 4 steps it divides by zero
    return None
