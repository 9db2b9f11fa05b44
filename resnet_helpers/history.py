"""What is known about a training run: where it stands, how it went, and on which machine.

With the stopwatch and the sums that measure it.
"""

import contextlib
import json
import math
import platform
import reprlib
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import nn

from resnet_helpers.engine.cores import usable_cores
from resnet_helpers.models import count_parameters
from resnet_helpers.runs.files import refuse_special, written_whole


@dataclass(frozen=True)
class Progress:
    """Where a training run stands.

    Attributes:
        epoch: epochs done, with the part of the current one: 1.4 is two fifths into the second.
        step: optimiser steps done.
        train_loss, train_acc: mean over the examples of the current epoch so far.
        test_acc: accuracy on the test batches at the end of an epoch, else None.
        examples: training examples seen so far, all epochs together.
        seconds: wall-clock time spent training so far: fetching batches and computing steps, but
            neither evaluating nor what the consumer of the records does.
    """

    epoch: float
    step: int
    train_loss: float
    train_acc: float
    test_acc: float | None
    examples: int
    seconds: float


@dataclass
class History:
    """All that is known about a training run; `fit` fills it in as it goes.

    Attributes:
        config: the settings of the run.
        records: the `Progress` records, in order.
        hardware, versions: what it ran on.
        completed: it reached its last epoch.
    """

    config: dict = field(default_factory=dict)
    records: list = field(default_factory=list)
    hardware: dict = field(default_factory=dict)
    versions: dict = field(default_factory=dict)
    completed: bool = False

    FORMAT = "resnet_helpers history, version 1"
    MAX_BYTES = 2**25  # of a file: over 100,000 records

    def describe(self, net, optimizer, scheduler, num_epochs, device, precision):
        """Note what is about to be trained, and on what."""
        if isinstance(net, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            net = net.module
        net = getattr(net, "_orig_mod", net)  # in what torch.compile gives
        settings = {name: value for name, value in optimizer.defaults.items()
                    if isinstance(value, (int, float, str, bool))}
        self.config = {
            "model": type(net).__name__, "parameters": count_parameters(net),
            "num_epochs": num_epochs, "optimizer": type(optimizer).__name__, **settings,
            "scheduler": type(scheduler).__name__ if scheduler else None,
            "precision": precision, "seed": torch.initial_seed()}
        self.hardware, self.versions = describe_hardware(device), describe_versions()
        self.completed = bool(self.records) and self.records[-1].epoch >= num_epochs

    def keep_whole_epochs(self):
        """Drop the records after the last whole epoch; ValueError if there is none."""
        while self.records and self.records[-1].epoch != int(self.records[-1].epoch):
            self.records.pop()
        if not self.records:
            raise ValueError("there is nothing to resume: the history holds no whole epoch")

    def add(self, *values):
        """Append and return `Progress(*values)`."""
        self.records.append(Progress(*values))
        return self.records[-1]

    @property
    def train_loss(self):
        """Training loss of the last record; None before the first."""
        return self.records[-1].train_loss if self.records else None

    @property
    def train_acc(self):
        """Training accuracy of the last record; None before the first."""
        return self.records[-1].train_acc if self.records else None

    @property
    def test_acc(self):
        """Test accuracy of the last epoch that ended; None before that."""
        return next((r.test_acc for r in reversed(self.records) if r.test_acc is not None), None)

    @property
    def tested_on(self):
        """The images that `test_acc` was measured on: "test", or "held-out" training images."""
        return "held-out" if self.config.get("held_out") else "test"

    @property
    def examples_per_second(self):
        """Training examples by wall-clock seconds, loading included (see `Progress.seconds`)."""
        last = self.records[-1] if self.records else None
        return last.examples / last.seconds if last and last.seconds else None

    @property
    def machine(self):
        """What it ran on, as in "AMD EPYC, 2 cores, torch 2.14.1"; "" if that is not known."""
        name, torch_version = self.hardware.get("name"), self.versions.get("torch")
        if not (isinstance(name, str) and isinstance(torch_version, str)):
            return ""
        processes = self.config.get("processes", 1)
        is_several = isinstance(processes, int) and processes > 1
        several = f", {processes} processes" if is_several else ""
        return f"{name_hardware(self.hardware)}{several}, torch {torch_version.partition('+')[0]}"

    def __repr__(self):
        if not self.records:
            return "History: nothing recorded yet"
        return (f"History: {self.records[-1].epoch:.3g} of {self.config.get('num_epochs', '?')} "
                f"epochs, {results(self)}")

    def to_dict(self):
        """All of it as dicts, lists, numbers and strings."""
        return {"format": self.FORMAT, **asdict(self)}

    @classmethod
    def from_dict(cls, content):
        """The history of which `to_dict` gave this.

        Raises:
            ValueError: none did, or that of a newer version.
        """
        found = content.get("format") if isinstance(content, dict) else None
        if found != cls.FORMAT:
            raise ValueError(f"its format is {reprlib.repr(found)}, not {cls.FORMAT!r}")
        try:
            parts = {name: part for name, part in content.items() if name != "format"}
            records = [Progress(**record) for record in parts["records"]]
            for record in records:
                numbers = [value for value in vars(record).values() if value is not None]
                if not all(map(math.isfinite, numbers)):
                    raise ValueError("a record has numbers that are not finite")
            history = cls(**{**parts, "records": records})
            if not all(isinstance(part, dict)
                       for part in (history.config, history.hardware, history.versions)):
                raise TypeError
            return history
        except (TypeError, KeyError, AttributeError):
            raise ValueError("it has more, less or other parts than a history") from None

    def save(self, path):
        """Write the run to a JSON file, which is replaced only once the new one is complete."""
        text = json.dumps(self.to_dict(), indent=1)
        with written_whole(path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path):
        """Read a run that `save` wrote.

        Raises:
            ValueError: the file is no such run, is damaged, or of a newer version.
            OSError: it could not be read.
        """
        try:
            refuse_special(path)
            with open(path, "rb") as file:
                content = file.read(cls.MAX_BYTES + 1)
            if len(content) > cls.MAX_BYTES:
                raise ValueError(f"it has more than {cls.MAX_BYTES:,} bytes")
            # utf-8-sig, since Windows' editor begins files with a mark
            return cls.from_dict(json.loads(content.decode("utf-8-sig")))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is not a training history that this version can read "
                             f"({error}); histories are written by History.save") from None


def results(history):
    """The article's line of results: `loss 0.012, train acc 0.997, test acc 0.893`."""
    accuracy = "not measured" if history.test_acc is None else f"{history.test_acc:.3f}"
    return (f"loss {history.train_loss:.3f}, train acc {history.train_acc:.3f}, "
            f"{history.tested_on} acc {accuracy}")


# --- what measures it ---

class Accumulator:
    """Sums over `n` quantities.

        metric = Accumulator(2)
        metric.add(correct, total)
        metric[0] / metric[1]
    """

    def __init__(self, n):
        self.data = [0.0] * n

    def add(self, *args):
        """Add one number to each of the n sums."""
        self.data = [a + (b.item() if isinstance(b, torch.Tensor) else float(b))
                     for a, b in zip(self.data, args, strict=True)]

    def reset(self):
        """Set all sums to zero."""
        self.data = [0.0] * len(self.data)

    def __getitem__(self, i):
        return self.data[i]


class Timer:
    """A stopwatch that keeps every lap, in seconds. It starts when it is made."""

    def __init__(self):
        self.times = []
        self.start()

    def start(self):
        """Begin a lap."""
        self.tik = time.perf_counter()

    def stop(self):
        """End the lap and return its length."""
        self.times.append(time.perf_counter() - self.tik)
        return self.times[-1]

    def avg(self):
        """Mean of the laps."""
        return sum(self.times) / len(self.times)

    def sum(self):
        """Sum of the laps."""
        return sum(self.times)

    def cumsum(self):
        """Running sums of the laps, as a list."""
        return torch.tensor(self.times, dtype=torch.float64).cumsum(0).tolist()


# --- on which machine ---

def describe_hardware(device):
    """What computes, as a dict: its name, and its memory in bytes or its cores and threads."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return {"device": str(device), "name": properties.name,
                "memory_bytes": properties.total_memory}
    if device.type != "cpu":
        return {"device": str(device), "name": f"{device.type.upper()}, {_cpu_name()}"}
    return {"device": str(device), "name": _cpu_name(), "cores": usable_cores(),
            "threads": torch.get_num_threads()}


def name_hardware(hardware):
    """What `describe_hardware` gave, in a few words: its name, and a CPU's number of cores."""
    return hardware["name"] + (f", {hardware['cores']} cores" if "cores" in hardware else "")


def _cpu_name():
    with contextlib.suppress(OSError):  # Linux; platform.processor() is empty there
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def describe_versions():
    """Versions that a result depends on."""
    return {"python": platform.python_version(), "torch": str(torch.__version__),
            "cuda": torch.version.cuda, "system": platform.system()}
