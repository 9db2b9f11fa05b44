"""The picture of further/beyond_one_machine: what a step costs on many GPUs."""

from resnet_helpers.pictures.looks import LEGEND
from resnet_helpers.plotting import GREEN, PINK, show, subplots


def step_times(times):
    """How long a step's computing and its all-reduce take, against the number of GPUs.

    Args:
        times: {GPUs: (seconds of computing if they share the batch, if each has its own, seconds
            of the all-reduce)}.
    """
    fig, ax = subplots(figsize=(7, 4))
    shared, own, exchange = zip(*times.values(), strict=True)
    for seconds, name, colour, style in (
            (own, "computing, 256 images each", GREEN, "-s"),
            (shared, "computing, 256 images shared", GREEN, "--o"),
            (exchange, "all-reduce", PINK, "-D")):
        ax.plot(times.keys(), [1e3 * s for s in seconds], style, color=colour, label=name)
    ax.set(xlabel="GPUs", ylabel="milliseconds a step", xscale="log")
    ax.set_yscale("log", nonpositive="mask")  # one GPU has nothing to exchange
    ax.set_xticks(list(times), list(times))
    ax.set_yticks([0.01, 0.1, 1, 10], ["0.01", "0.1", "1", "10"])
    ax.minorticks_off()
    ax.legend(**LEGEND)
    first, last = min(times), max(times)
    show(fig, "Time of a step against the number of GPUs\n"
              f"From {first} to {last} GPUs the computing of a shared batch falls from "
              f"{1e3 * shared[0]:.3f} to {1e3 * shared[-1]:.3f} ms, that of 256 images each stays "
              f"at {1e3 * own[0]:.3f} ms, and the all-reduce rises from {1e3 * exchange[0]:.3f} to "
              f"{1e3 * exchange[-1]:.3f} ms.")
