"""The article's training loop against this package's: `python -m resnet_helpers.benchmark`.

For whoever wants to know what this machine can do. Each measurement is a process of its own.
"""

import argparse
import io
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path

import torch

from resnet_helpers.costs import model_costs
from resnet_helpers.data import ImageBatches, load_fashion_mnist, load_fashion_mnist_subset
from resnet_helpers.engine.arithmetic import (
    PRECISIONS,
    TRICKS,
    Arithmetic,
    matmul_seconds,
    synchronize,
)
from resnet_helpers.history import (
    Accumulator,
    History,
    describe_hardware,
    describe_versions,
    name_hardware,
)
from resnet_helpers.models import resnet18
from resnet_helpers.plotting import RUN_CURVES, Animator
from resnet_helpers.runs.files import write_obstacle
from resnet_helpers.training import accuracy, fit, init_weights, report_batches, try_gpu

BATCH_SIZE, LR, SUBSET = 256, 0.05, 6000
EPILOG = """\
images/s counts everything: batches, steps, and five pictures of the curves.
ratio    images/s, in those of the article's loop
of peak  arithmetic that is done, in what products of matrices alone reach here
memory   the most that the process itself held (not its workers, and not on Windows)"""


# --- the two loops ---

def run_article(size, images, labels, steps, device, curves):
    """The article's loop: PIL resizes in worker processes, sums are read after every batch."""
    loader = torch.utils.data.DataLoader(PilImages(images, labels, size), BATCH_SIZE, shuffle=True,
                                         num_workers=4)
    batches, net = FirstBatches(loader, steps), resnet18().apply(init_weights).to(device)
    optimizer = torch.optim.SGD(net.parameters(), lr=LR)
    loss, metric, due = torch.nn.CrossEntropyLoss(), Accumulator(3), report_batches(batches, 5)
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
        if i in due or i == steps:
            curves(i / steps, metric[0] / metric[2], metric[1] / metric[2])
    return int(metric[2]), "float32"


def run_package(size, images, labels, steps, device, curves, precision="auto", without=()):
    """This package's loop: `fit` on images that stay in memory as bytes."""
    batches = FirstBatches(ImageBatches(images, labels, BATCH_SIZE, True, size, device), steps)
    net, history = resnet18().apply(init_weights), History()
    for p in fit(net, batches, None, 1, LR, device, history=history,
                 precision=Arithmetic(precision, device, without)):
        curves(p.epoch, p.train_loss, p.train_acc)
    return history.records[-1].examples, history.config["precision"]


class PilImages:
    """A data set of single images that PIL resizes, as the article's does."""

    def __init__(self, images, labels, size):
        from torchvision import transforms
        self.images, self.labels = images.numpy(), labels
        self.transform = transforms.Compose([transforms.Resize((size, size)),
                                             transforms.ToTensor()])

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        from PIL import Image
        return self.transform(Image.fromarray(self.images[i])), int(self.labels[i])


class FirstBatches:
    """The first `steps` batches of as many epochs as that takes, as if they were one epoch."""

    def __init__(self, batches, steps):
        self.batches, self.steps = batches, steps

    def __len__(self):
        return self.steps

    def __iter__(self):
        endless = itertools.chain.from_iterable(itertools.repeat(self.batches))
        return itertools.islice(endless, self.steps)


# --- measurements ---

def measure(loop, size, number, steps, precision="auto", without=()):
    """Run a loop in this process.

    Args:
        loop: "article" or "package".
        size: height and width of the images in pixels.
        number: of training images; more than those of the subset are of the full set.
        precision, without: as for `Arithmetic`, of the package's loop.

    Returns:
        Dict with these, "images_per_second", and "memory_bytes", which is 0 if unknown.
    """
    data = load_fashion_mnist_subset() if number <= SUBSET else load_fashion_mnist()
    device, animator = try_gpu(), Animator(xlabel="epoch", xlim=[0, 1], legend=RUN_CURVES)

    def curves(*point):
        animator.add(point[0], (*point[1:], None))
        animator.savefig(io.BytesIO())

    torch.manual_seed(0)
    run = run_article if loop == "article" else run_package
    options = {} if loop == "article" else {"precision": precision, "without": without}
    begin = time.perf_counter()
    images, used = run(size, data.train_images[:number], data.train_labels[:number], steps, device,
                       curves, **options)
    synchronize(device)
    seconds = time.perf_counter() - begin
    return {"loop": loop, "size": size, "number": number, "precision": used,
            "without": list(without), "images_per_second": images / seconds,
            "memory_bytes": peak_memory()}


def peak_memory():
    """The most bytes that this process has held; 0 where that is not known."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure_in_new_process(*arguments):
    """`measure` in a Python process of its own.

    Raises:
        RuntimeError: it failed; the message has what it printed.
    """
    command = [sys.executable, "-m", "resnet_helpers.benchmark", "--one", json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the measurement failed:\n{done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def machine_peaks(device):
    """What products of matrices reach here, in FLOP/s, for both precisions."""
    side = 2048 if device.type == "cpu" else 8192
    return {name: 2 * side**3 / matmul_seconds(getattr(torch, name), device, side, 5)
            for name in ("float32", "bfloat16")}


def flops_per_image(size):
    """FLOP of a training step for one image: 2 a multiply-add, forward and twice backward."""
    return 2 * 3 * sum(stage.multiply_adds for stage in model_costs(18, size))


# --- the report ---

def plan(options):
    """The arguments of `measure` for each measurement, in order."""
    for size, number in itertools.product(options.sizes, options.data):
        yield "article", size, number, options.steps
        yield "package", size, number, options.steps, options.precision
        for trick in TRICKS if options.tricks else ():
            yield "package", size, number, options.steps, options.precision, [trick]


def describe(report):
    """A report as lines of text: the machine and its limits, then a table."""
    versions, peaks = report["versions"], report["peaks"]
    yield (f"{name_hardware(report['hardware'])}; {versions['system']}, Python "
           f"{versions['python']}, torch {versions['torch']}")
    yield (f"products of matrices: {peaks['float32'] / 1e9:,.0f} GFLOP/s in float32, "
           f"{peaks['bfloat16'] / 1e9:,.0f} in bfloat16")
    yield f"ResNet-18, {report['steps']} batches of {BATCH_SIZE}"
    yield (f"{'px':>4} {'data':>7}  {'loop':28} {'precision':9} {'images/s':>9} {'ratio':>6} "
           f"{'of peak':>7} {'memory':>8}")
    article = None
    for m in report["measurements"]:
        speed = m["images_per_second"]
        article = speed if m["loop"] == "article" else article
        loop = m["loop"] + "".join(f" without {trick}" for trick in m["without"])
        of_peak = speed * flops_per_image(m["size"]) / peaks[m["precision"]]
        yield (f"{m['size']:>4} {m['number']:>7,}  {loop:28} {m['precision']:9} {speed:>9,.1f} "
               f"{speed / article:>6.2f} {of_peak:>7.0%} {m['memory_bytes'] / 2**30:>6.2f} G")


def main(arguments=None):
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m resnet_helpers.benchmark", description=__doc__.split("\n")[0],
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[96, 28], metavar="PX",
                        help="image sizes (96 28)")
    parser.add_argument("--data", type=int, nargs="+", default=[SUBSET], metavar="N",
                        help=f"numbers of training images ({SUBSET}, those that come with the "
                             f"package; with more the full set is read, or downloaded)")
    parser.add_argument("--steps", type=int, default=40, help="batches of 256 each time (40)")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto",
                        help="of the package's loop (auto)")
    parser.add_argument("--tricks", action="store_true",
                        help="also measure the package's loop without each of its tricks")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the measurements there")
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        print(json.dumps(measure(*options.one)))
        return 0
    if min(*options.sizes, *options.data, options.steps, 10**9) < 1 or max(options.data) > 60_000:
        parser.error("sizes and steps must be at least 1, numbers of images from 1 to 60000")
    if any(number % BATCH_SIZE == 1 for number in options.data):
        parser.error("the last batch would have one image, too few for batch norm: take another "
                     "number of images")
    if options.json and (obstacle := write_obstacle(options.json)):
        parser.error(obstacle)
    device = try_gpu()
    report = {"hardware": describe_hardware(device), "versions": describe_versions(),
              "steps": options.steps, "peaks": machine_peaks(device), "measurements": []}
    for planned in plan(options):
        print(f"measuring: {' '.join(map(str, planned))} ...", file=sys.stderr)
        try:
            report["measurements"].append(measure_in_new_process(*planned))
        except RuntimeError as error:
            print(f"{parser.prog}: error: {error}", file=sys.stderr)
            return 1
    print(*describe(report), sep="\n")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
