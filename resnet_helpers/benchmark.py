"""The article's training loop against this package's, on this machine: `python -m resnet_helpers.benchmark --help`.

Each measurement runs in a Python process of its own, so that memory and start-up times are its own too.
"""

import argparse
import contextlib
import itertools
import json
import math
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from resnet_helpers.costs import model_costs
from resnet_helpers.engine.arithmetic import matmul_seconds, synchronize
from resnet_helpers.errors import DatasetUnavailableError
from resnet_helpers.history import describe_hardware, describe_versions, name_hardware
from resnet_helpers.runs.files import picture_kind, picture_obstacle, write_obstacle, written_whole
from resnet_helpers.training import try_gpu

BATCH_SIZE, LR, REPORTS_PER_EPOCH = 256, 0.05, 5
LOOPS = ("article", "package")
SUBSET, FULL_SET = 6000, 60_000  # training images
FLOPS_PER_MULTIPLY_ADD, PASSES = 2, 3  # forward, and backward to inputs and to weights
EPILOG = """\
Columns of the table:
  ratio      images/s, in those of the article's loop
  of peak    arithmetic that is done, in what matrix products reach
  of memory  traffic that the activations need at least, in what copying reaches
  curves     share of the time that drawing takes
  memory     the most that the process and its workers held at once (Linux only)
  1st point  from the start of Python to the first point of the curves"""


@dataclass
class Measurement:
    """One loop over a part of Fashion-MNIST.

    Attributes:
        loop: "article" or "package".
        size: height and width of the images in pixels.
        data: how many training images there are.
        images: how many of them went through.
        seconds: wall-clock time of the loop, everything counted: batches, steps, and curves.
        plotting_seconds: what of it went into the curves.
        first_point_seconds: from the start of the process to the first point drawn, Python's imports included.
        memory_bytes: the most that process and workers had in memory together, plus what a GPU held; 0 if unknown.
        train_loss, precision: of the run.
    """

    loop: str
    size: int
    data: int
    images: int
    seconds: float
    plotting_seconds: float
    first_point_seconds: float
    memory_bytes: int
    train_loss: float
    precision: str

    @property
    def images_per_second(self):
        """Throughput with everything counted."""
        return self.images / self.seconds


class TimedPlot:
    """Calls a function for each point and sums up how long that took."""

    def __init__(self, add):
        self.add, self.seconds, self.first_point = add, 0.0, None

    def __call__(self, *point):
        begin = time.perf_counter()
        self.add(*point)
        self.first_point = self.first_point or time.time()
        self.seconds += time.perf_counter() - begin


# --- the two loops ---

def run_article(size, images, labels, steps, device, plot):
    """The article's loop: PIL resizes in worker processes, float32, sums read after every batch.

    Returns:
        (images that went through, mean training loss, "float32").
    """
    from torch import nn
    from torch.utils.data import DataLoader

    from resnet_helpers.models import resnet18
    from resnet_helpers.training import Accumulator, accuracy, init_weights, report_batches
    batches = FirstBatches(DataLoader(PilImages(images, labels, size), BATCH_SIZE, shuffle=True, num_workers=4), steps)
    net = resnet18().apply(init_weights).to(device)
    optimizer, loss = torch.optim.SGD(net.parameters(), lr=LR), nn.CrossEntropyLoss()
    metric, due = Accumulator(3), report_batches(batches, REPORTS_PER_EPOCH) | {steps}  # as `fit` does
    net.train()
    for i, (X, y) in enumerate(batches, start=1):
        optimizer.zero_grad()
        X, y = X.to(device), y.to(device)
        y_hat = net(X)
        l = loss(y_hat, y)
        l.backward()
        optimizer.step()
        with torch.no_grad():
            metric.add(l * X.shape[0], accuracy(y_hat, y), X.shape[0])
        if i in due:
            plot(i / steps, (metric[0] / metric[2], metric[1] / metric[2], None))
    return int(metric[2]), metric[0] / metric[2], "float32"


class PilImages:
    """A data set of single images that PIL resizes, as torchvision's `Resize` and `ToTensor` do it."""

    def __init__(self, images, labels, size):
        from torchvision import transforms
        self.images, self.labels = images.numpy(), labels
        self.transform = transforms.Compose([transforms.Resize((size, size)), transforms.ToTensor()])

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        from PIL import Image
        return self.transform(Image.fromarray(self.images[i])), int(self.labels[i])


def run_package(size, images, labels, steps, device, plot):
    """This package's loop: `fit` on images that stay in memory as bytes, in the precision that suits the machine.

    Returns:
        (images that went through, mean training loss, precision).
    """
    from resnet_helpers.data import ImageBatches
    from resnet_helpers.history import History
    from resnet_helpers.models import resnet18
    from resnet_helpers.training import fit, init_weights
    batches = FirstBatches(ImageBatches(images, labels, BATCH_SIZE, True, size, device), steps)
    net, history = resnet18().apply(init_weights), History()
    for p in fit(net, batches, None, 1, LR, device, history=history, precision="auto",
                 reports_per_epoch=REPORTS_PER_EPOCH):
        plot(p.epoch, (p.train_loss, p.train_acc, p.test_acc))
    return history.records[-1].examples, history.train_loss, history.config["precision"]


class FirstBatches:
    """The first `steps` batches of as many epochs as that takes, as if they were one epoch."""

    def __init__(self, batches, steps):
        self.batches, self.steps = batches, steps

    def __len__(self):
        return self.steps

    def __iter__(self):
        return itertools.islice(itertools.chain.from_iterable(itertools.repeat(self.batches)), self.steps)


class PngPlot:
    """The curves as PNG: anew for every point, as the article's way of plotting does, or as an `Animator` sees fit."""

    def __init__(self, always):
        from resnet_helpers.plotting import RUN_CURVES, Animator
        self.always = always
        self.animator = Animator(xlabel="epoch", xlim=[0, 1], legend=RUN_CURVES, picture=self)

    def add(self, x, y):
        """Add a point to each curve."""
        self.animator.add(x, y)
        if self.always:
            self.animator.draw()

    def is_possible(self):
        """There is always somewhere to draw."""
        return True

    is_current = is_possible

    def update(self, fig, alt, at_end_of_cell=None, png=None):
        """Make the picture that a notebook would get."""
        from resnet_helpers.plotting import to_png
        to_png(fig) if self.always else png()


def measure(loop, size, data, steps, began):
    """Run one loop in this process.

    Args:
        data: number of training images: up to 6,000 are of the subset, more of the full set.
        began: `time.time()` when the process was started.

    Returns:
        `Measurement`.
    """
    from resnet_helpers.data import load_fashion_mnist, load_fashion_mnist_subset
    dataset = load_fashion_mnist_subset() if data <= SUBSET else load_fashion_mnist()
    images, labels = dataset.train_images[:data], dataset.train_labels[:data]
    device = try_gpu()
    torch.manual_seed(0)
    plot = TimedPlot(PngPlot(always=loop == "article").add)
    with PeakMemory(device) as memory:
        begin = time.perf_counter()
        examples, loss, precision = {"article": run_article, "package": run_package}[loop](
            size, images, labels, steps, device, plot)
        synchronize(device)
        seconds = time.perf_counter() - begin
    return Measurement(loop, size, len(images), examples, seconds, plot.seconds, plot.first_point - began, memory.bytes,
                       loss, precision)


class PeakMemory:
    """The largest sum of what this process and its children have in memory, looked at now and then; Linux only.

    Pages that they share are counted once (proportional set size). To count them keeps a core busy, 40 ms for 3 GB: so
    it is done in 2% of the time at most, or it would slow down what is measured. `bytes` is 0 where it cannot be read.
    """

    SHARE = 0.02

    def __init__(self, device):
        self.device, self.bytes = device, 0

    def __enter__(self):
        import threading
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()
        if self.device.type == "cuda" and self.bytes:  # a part is not the sum
            self.bytes += torch.cuda.max_memory_allocated(self.device)

    def _watch(self):
        while True:
            begin = time.perf_counter()
            self.bytes = max(self.bytes, sum(map(proportional_memory, [os.getpid(), *children(os.getpid())])))
            took = time.perf_counter() - begin
            if self._done.wait(max(0.05, took / self.SHARE)):
                return


def children(pid):
    """Process numbers of the children of a process."""
    try:
        return [int(child) for task in Path(f"/proc/{pid}/task").iterdir()
                for child in (task / "children").read_text().split()]
    except OSError:
        return []


def proportional_memory(pid):
    """Bytes that a process has in memory, shared pages divided among those who share them; 0 if unknown."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    return 0


# --- the machine's limits ---

def machine_peaks(device):
    """What the hardware does at best: matrix products in FLOP/s for both precisions, copying in bytes/s."""
    side = 2048 if device.type == "cpu" else 8192
    with products_as_in_convolutions():
        peaks = {name: FLOPS_PER_MULTIPLY_ADD * side**3 / matmul_seconds(getattr(torch, name), device, side, 5)
                 for name in ("float32", "bfloat16")}
    source = torch.ones(64 * 2**20, dtype=torch.float32, device=device)
    target, times = torch.empty_like(source), []
    for _ in range(6):
        synchronize(device)
        begin = time.perf_counter()
        target.copy_(source)
        synchronize(device)
        times.append(time.perf_counter() - begin)
    return {**peaks, "bandwidth": 2 * source.nbytes / min(times)}


@contextlib.contextmanager
def products_as_in_convolutions():
    """A context in which GPUs round float32 inputs of matrix products to TF32 if they do so in convolutions."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def flops_per_image(size):
    """FLOP of a training step for one image: a product and a sum for each multiply-add, forward and twice backward."""
    multiply_adds = sum(stage.multiply_adds for stage in model_costs(18, size))
    return FLOPS_PER_MULTIPLY_ADD * PASSES * multiply_adds


def least_bytes_per_image(size, precision):
    """Least memory traffic of a training step for one image: what is kept is written once and read once."""
    kept = sum(stage.activation_bytes for stage in model_costs(18, size))
    return 2 * kept * (0.5 if precision == "bfloat16" else 1)


# --- the report ---

def run_all(sizes, data, steps, progress=print):
    """Measure both loops at each size and number of images, each in a fresh process.

    Returns:
        Dict for JSON: "hardware", "versions", "batch_size", "steps", "peaks", "measurements".

    Raises:
        RuntimeError: one failed.
    """
    device = try_gpu()
    report = {"hardware": describe_hardware(device), "versions": describe_versions(), "batch_size": BATCH_SIZE,
              "steps": steps, "peaks": machine_peaks(device), "measurements": []}
    for size in sizes:
        for number in data:
            for loop in LOOPS:
                progress(f"measuring: {loop}, {size} px, {number:,} images ...")
                report["measurements"].append(vars(measure_in_new_process(loop, size, number, steps)))
    return report


def measure_in_new_process(loop, size, data, steps):
    """`measure` in a Python process of its own.

    Raises:
        RuntimeError: it failed; the message has what it printed.
    """
    command = [sys.executable, "-m", "resnet_helpers.benchmark", "--one", loop, str(size), str(data), str(steps),
               repr(time.time())]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{result.stderr.strip()[-2000:]}")
    return Measurement(**json.loads(result.stdout.splitlines()[-1]))


def describe(report):
    """A report as lines of text: the machine, a table, and what changes with the number of images."""
    hardware, versions, peaks = report["hardware"], report["versions"], report["peaks"]
    yield (f"{name_hardware(hardware)}; {versions['system']}, Python {versions['python']}, "
           f"torch {versions['torch']}")
    yield (f"at best: {peaks['float32'] / 1e9:,.0f} GFLOP/s in float32, {peaks['bfloat16'] / 1e9:,.0f} in bfloat16 "
           f"(matrix products), {peaks['bandwidth'] / 1e9:.1f} GB/s (copying)")
    yield (f"ResNet-18, {report['steps']} batches of {report['batch_size']}, in several epochs where one has fewer; "
           f"images/s with everything counted, curves too; 1st point: seconds from the start of Python to the first "
           f"point of the curves, after {math.ceil(report['steps'] / REPORTS_PER_EPOCH)} batches at most")
    yield ""
    yield (f"{'px':>4} {'data':>7}  {'loop':8} {'precision':9} {'images/s':>9} {'ratio':>6} {'of peak':>8} "
           f"{'of memory':>9} {'curves':>7} {'memory':>8} {'1st point':>9}")
    by_key = {(m["size"], m["data"], m["loop"]): Measurement(**m) for m in report["measurements"]}
    for (size, data, loop), m in by_key.items():
        article = by_key.get((size, data, "article"))
        ratio = f"{m.images_per_second / article.images_per_second:.2f}" if article else ""
        of_peak = m.images_per_second * flops_per_image(size) / peaks[m.precision]
        of_memory = m.images_per_second * least_bytes_per_image(size, m.precision) / peaks["bandwidth"]
        yield (f"{size:>4} {data:>7,}  {loop:8} {m.precision:9} {m.images_per_second:>9,.1f} {ratio:>6} "
               f"{of_peak:>8.0%} {of_memory:>9.0%} {m.plotting_seconds / m.seconds:>7.1%} "
               f"{f'{m.memory_bytes / 2**30:.2f} G' if m.memory_bytes else 'unknown':>8} "
               f"{m.first_point_seconds:>7.1f} s")
    yield ""
    yield from _growth(by_key)


def _growth(by_key):
    for size, loop in sorted({(size, loop) for size, _, loop in by_key}, reverse=True):
        numbers = sorted(data for s, data, name in by_key if (s, name) == (size, loop))
        if len(numbers) > 1:
            few, many = (by_key[size, number, loop] for number in (numbers[0], numbers[-1]))
            growth = (f"{(many.memory_bytes - few.memory_bytes) / 2**20:+,.0f} MiB"
                      if few.memory_bytes and many.memory_bytes else "unknown")
            yield (f"{loop}, {size} px, from {few.data:,} to {many.data:,} images: throughput times "
                   f"{many.images_per_second / few.images_per_second:.2f}, memory {growth}")


def draw(report):
    """Throughput of both loops as bars, a group for each image size and number of images; a Figure."""
    from resnet_helpers.plotting import BLUE, GREY, subplots
    measurements = [Measurement(**m) for m in report["measurements"]]
    groups = list(dict.fromkeys((m.size, m.data) for m in measurements))
    fig, axes = subplots(1, len(groups), figsize=(2.6 * len(groups) + 0.6, 3.2), squeeze=False)
    for ax, group in zip(axes.flat, groups, strict=True):
        here = [m for m in measurements if (m.size, m.data) == group]
        bars = ax.bar([f"{m.loop}\n{m.precision}" for m in here], [m.images_per_second for m in here],
                      color=[BLUE if m.loop == "package" else GREY for m in here])
        ax.bar_label(bars, [f"{m.images_per_second:,.0f}" for m in here])
        ax.set(title=f"{group[0]} px, {group[1]:,} images", ylabel="images/s")
        ax.margins(y=0.12)  # room for the labels
        ax.grid(False)
    return fig


def main(arguments=None):
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m resnet_helpers.benchmark", description=__doc__.split("\n")[0],
                                     epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[96, 28], metavar="PX", help="image sizes (96 28)")
    parser.add_argument("--data", type=int, nargs="+", metavar="N", help="numbers of training images (6000, the subset "
                        "that comes with the package, and 60000, the full set, which is downloaded if it is not here)")
    parser.add_argument("--steps", type=int, default=40, help="batches of 256 a measurement (40)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the measurements there")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw them there (.png, .svg, .pdf)")
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        loop, size, data, steps, began = options.one
        print(json.dumps(vars(measure(loop, int(size), int(data), int(steps), float(began)))))
        return 0
    data = options.data or [SUBSET, FULL_SET]
    if min(options.sizes) < 1 or not all(1 <= n <= FULL_SET for n in data) or options.steps < 1:
        parser.error("sizes and steps must be at least 1, numbers of images between 1 and 60000")
    if any(n % BATCH_SIZE == 1 for n in data):
        parser.error(f"the last batch would have one image, too few for batch norm: take a number of images other than "
                     f"{', '.join(str(n) for n in data if n % BATCH_SIZE == 1)}")
    for path, find_obstacle in ((options.json, write_obstacle), (options.picture, picture_obstacle)):
        if path and (obstacle := find_obstacle(path)):
            parser.error(obstacle)
    try:
        if max(data) > SUBSET and (problem := why_not_all_data()):
            if options.data:
                raise RuntimeError(problem)
            tell(f"only the {SUBSET:,} images that come with the package: {problem}")
            data = [SUBSET]
        report = run_all(options.sizes, data, options.steps, tell)
    except RuntimeError as error:
        tell(f"{parser.prog}: error: {error}")
        return 1
    print(*describe(report), sep="\n")
    if options.json:
        with written_whole(options.json) as temporary:
            temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if options.picture:
        with written_whole(options.picture) as temporary:
            draw(report).savefig(temporary, format=picture_kind(options.picture))
    return 0


def tell(line):
    """Print what is no result."""
    print(line, file=sys.stderr)


def why_not_all_data():
    """Why the full data set cannot be had, in words; "" if it is there."""
    from resnet_helpers.data import load_fashion_mnist
    try:
        load_fashion_mnist()
    except DatasetUnavailableError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    sys.exit(main())
