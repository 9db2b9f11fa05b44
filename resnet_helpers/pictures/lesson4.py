"""The pictures of notebook 4: images, runs and mistakes."""

from resnet_helpers.data import FASHION_MNIST_CLASSES
from resnet_helpers.pictures.looks import KINDS
from resnet_helpers.plotting import (
    BLACK,
    BLUE,
    PALETTE,
    RUN_CURVES,
    WHITE,
    Animator,
    show,
    show_images,
    subplots,
)
from resnet_helpers.runs.recordings import play


def images_of_each_class(images, labels, rows=3):
    """The first images of each class, a column for each of the ten.

    Args:
        images, labels: tensors (n, 1, H, W) and (n,), with at least `rows` images of each class.
        rows: how many images of a class.
    """
    number = len(FASHION_MNIST_CLASSES)
    found = [images[labels == c][:rows].cpu() for c in range(number)]
    sheet = [found[c][row] for row in range(rows) for c in range(number)]
    axes = show_images(sheet, rows, number, titles=FASHION_MNIST_CLASSES, scale=0.98)
    for ax in axes[:number]:
        ax.title.set_fontsize(13)
    show(axes[0].figure, f"Images of each class\nA column of {rows} small grey images for each of "
                         f"{', '.join(FASHION_MNIST_CLASSES)}.")


class RunCurves(Animator):
    """The curves of a training run, the loss on the left and the accuracies on the right.

    The alt text says how far each of them has come.

    Args:
        num_epochs: of the run.
        share_of_time: as for `Animator`.
        words: the alt text, if it is known from the start.
    """

    def __init__(self, num_epochs, share_of_time=0.01, words=None):
        xlim = [0, 1.02 * num_epochs]  # so that the last point is whole
        super().__init__(xlabel="epoch", ylabel="loss", xlim=xlim, legend=RUN_CURVES, ncols=2,
                         figsize=(9, 3.6), share_of_time=share_of_time)
        self.axes[1].set(xlabel="epoch", ylabel="accuracy", xlim=xlim, ylim=[0.3, 1])
        self.axes[1].set_prop_cycle(color=PALETTE[1:])
        self.words = words

    def draw(self):
        """Bring picture and words up to date now."""
        self.alt = self.words or describe_curves(self.Y)
        super().draw()

    def _axes_of(self, i):
        return self.axes[min(i, 1)]


def describe_curves(curves):
    """Alt text of the curves of a run, each a list of numbers in the order of `RUN_CURVES`."""
    *names, last = RUN_CURVES
    ends = [f"{name} from {values[0]:.3f} to {values[-1]:.3f}"
            for name, values in zip(RUN_CURVES, curves, strict=False) if values]
    return f"{', '.join(names)} and {last} against epoch\n{', '.join(ends)}".capitalize()


def replay(recording, seconds=6):
    """The curves of a recorded run, as they grew while it trained, only faster.

    Args:
        recording: a `History`.
        seconds: how long it takes.
    """
    records = recording.records
    words = describe_curves(  # from the start, as nbval sees no other
        [[r.train_loss for r in records], [r.train_acc for r in records],
         [r.test_acc for r in records if r.test_acc is not None]])
    curves = RunCurves(recording.config["num_epochs"], share_of_time=0.2, words=words)
    for p in play(recording, seconds=seconds):
        curves.add(p.epoch, (p.train_loss, p.train_acc, p.test_acc))


def confusion_matrix(counts):
    """How often images of each class (row) got each answer (column).

    Args:
        counts: integer tensor (10, 10).
    """
    from matplotlib.colors import LinearSegmentedColormap
    names, counts = FASHION_MNIST_CLASSES, counts.tolist()
    most = max(map(max, counts))
    fig, ax = subplots(figsize=(8.2, 6.2))
    ax.imshow([[count ** 0.5 for count in row] for row in counts], vmin=0, vmax=most ** 0.5,
              cmap=LinearSegmentedColormap.from_list("counts", [WHITE, BLUE]))
    ax.set_xlabel("answer of the network", fontsize=14)
    ax.set_ylabel("true class", fontsize=14)
    ax.set_yticks(range(len(names)), names, fontsize=13)
    ax.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=13)
    ax.grid(False)
    for true, row in enumerate(counts):
        for guess, count in enumerate(row):
            if count:
                ax.text(guess, true, count, ha="center", va="center", fontsize=13,
                        color=WHITE if count > most / 3 else BLACK)
    right = ", ".join(f"{name} {counts[c][c]} of {sum(counts[c])}" for c, name in enumerate(names))
    show(fig, f"Confusion matrix\nRight answers, on the diagonal: {right}.")


def answers(images, labels, predicted, columns=8):
    """Images under the network's answers, with the true class in brackets.

    Args:
        images, labels, predicted: tensors (n, 1, H, W), (n,) and (n,).
        columns: how many in a row.
    """
    pairs = [(FASHION_MNIST_CLASSES[guess], FASHION_MNIST_CLASSES[true])
             for guess, true in zip(predicted.tolist(), labels.tolist(), strict=True)]
    axes = show_images(images.cpu(), -(-len(pairs) // columns), columns, scale=1.3,
                       titles=[f"{guess}?\n({true})" for guess, true in pairs])
    for ax in axes:
        ax.title.set_fontsize(12)
    words = ", ".join(f"{guess} for {true}" for guess, true in pairs)
    show(axes[0].figure, f"Images and the network's answers\n{words}.")


def depth_runs(runs):
    """Training loss of networks with and without shortcuts, two depths each.

    Args:
        runs: {name: `History`}; a name such as "ResNet-18" or "plain-34".
    """
    fig, ax = subplots(figsize=(7.5, 4.2))
    words = []
    for name, run in runs.items():
        style = KINDS["plain" if name.startswith("plain") else "residual"]
        filled = style["color"] if name.endswith("34") else WHITE
        whole = [record for record in run.records if record.test_acc is not None]
        ax.plot([record.epoch for record in whole], [record.train_loss for record in whole],
                **style, markerfacecolor=filled, markersize=8, label=name)
        words.append(f"{name} from {whole[0].train_loss:.2f} to {run.train_loss:.3f}")
    ticks = [0.02, 0.05, 0.1, 0.2, 0.5]
    ax.set_yscale("log")
    ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    ax.set_xlabel("epoch", fontsize=14)
    ax.set_ylabel("training loss", fontsize=14)
    ax.set_xticks(range(0, 11, 2))
    ax.legend(fontsize=13, loc="lower left")
    show(fig, f"Training loss of four networks against epoch\n{', '.join(words)}.")
